//! `cargo sim` and `cargo sim explore`.

use std::borrow::Cow;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressStyle};
use onesocket_sim::judge::marks::{Coverage, Mark};
use onesocket_sim::judge::oracle::Violation;
use onesocket_sim::plan::Tier;
use onesocket_sim::plan::{Fault, Plan};
use onesocket_sim::report::picture;
use onesocket_sim::search::explore::{
    Exploration, ExplorationReport, Failure, Progress, explore as run_exploration, run_judged,
};
use onesocket_sim::search::guided::{self, Guided};
use onesocket_sim::trace::StatusKind;

use super::arguments::Explore;
use super::error::{CliError, Verdict};
use super::interrupt;
use super::output::{is_stdout, say, shown, write, write_json};

/// How long the main job stays on each tier.
const MAIN_JOB: [(Tier, Duration); 3] = [
    (Tier::Machine, Duration::from_secs(20)),
    (Tier::Stream, Duration::from_secs(20)),
    (Tier::Turmoil, Duration::from_secs(15)),
];
/// Violations after which an exploration stops: one needs only one to begin with.
const VIOLATIONS_MAX: usize = 10;

/// Records that are shown of the first failing run.
const RECORDS_SHOWN: usize = 20;

/// Explores fresh seeds on all tiers and reports.
pub(super) fn main_job() -> Result<Verdict, CliError> {
    let seeds = fresh_seeds();
    interrupt::listen();
    say(false, &format!("Exploring seeds from {} on three tiers for about a minute.", seeds.start));
    let mut all = Vec::new();
    for (tier, time) in MAIN_JOB {
        let exploration = Exploration {
            tier,
            seeds: seeds.clone(),
            time: Some(time),
            jobs: jobs(None),
            violations_max: VIOLATIONS_MAX,
            check: false,
        };
        let report = watched(&exploration, run_exploration);
        say(false, &summary(&report));
        all.push(report);
        if interrupt::is_received() {
            break;
        }
    }
    report_coverage(&all, false);
    Ok(complete(verdict(&all, &default_folder(), false)?, false))
}

/// Explores one tier.
pub(super) fn explore(arguments: &Explore) -> Result<Verdict, CliError> {
    let json_on_stdout = is_stdout(arguments.json.as_deref()) || is_stdout(arguments.html.as_deref());
    let time = match (&arguments.seeds, arguments.time()) {
        (None, None) => Some(Duration::from_secs(20)),
        (_, time) => time,
    };
    let exploration = Exploration {
        tier: arguments.tier,
        seeds: arguments.seeds.clone().unwrap_or_else(fresh_seeds),
        time,
        jobs: jobs(arguments.jobs),
        violations_max: VIOLATIONS_MAX,
        check: arguments.check,
    };
    interrupt::listen();
    let seeds = if exploration.seeds.end == u64::MAX {
        format!("seeds from {}", exploration.seeds.start)
    } else {
        format!("seeds {}..{}", exploration.seeds.start, exploration.seeds.end)
    };
    let tier = exploration.tier.name();
    say(json_on_stdout, &format!("Exploring {seeds} on {tier}; Ctrl-C ends it with a report."));
    let report = if arguments.guided {
        let Guided { report, corpus, mutated } = watched(&exploration, guided::search);
        let fresh = report.runs - mutated;
        let told = format!("guided: {fresh} plans from seeds, {mutated} from the {corpus} that were kept");
        say(json_on_stdout, &told);
        report
    } else {
        watched(&exploration, run_exploration)
    };
    if let Some(path) = &arguments.json {
        write_json(path, &report.to_json())?;
    }
    say(json_on_stdout, &summary(&report));
    let all = [report];
    if let Some(path) = &arguments.html {
        write(path, &picture::of_explorations(&all))?;
    }
    report_coverage(&all, json_on_stdout);
    let folder = arguments.out.clone().unwrap_or_else(default_folder);
    let verdict = complete(verdict(&all, &folder, json_on_stdout)?, json_on_stdout);
    if verdict != Verdict::Clean || !arguments.require_marks {
        return Ok(verdict);
    }
    let missed: Vec<Cow<'static, str>> = all[0].coverage.missed(&[all[0].tier]).map(Mark::name).collect();
    if missed.is_empty() {
        return Ok(Verdict::Clean);
    }
    say(
        json_on_stdout,
        &format!("{} required marks were never reached: {}", missed.len(), missed.join(", ")),
    );
    Ok(Verdict::Incomplete)
}

/// What is clean in an exploration that was interrupted is not clean as a whole.
fn complete(verdict: Verdict, json_on_stdout: bool) -> Verdict {
    match verdict {
        Verdict::Clean if interrupt::is_received() => {
            say(json_on_stdout, "interrupted: the report is of what ran until then");
            Verdict::Incomplete
        }
        Verdict::Clean | Verdict::Violated | Verdict::Incomplete => verdict,
    }
}

/// Seeds that nobody has tried, most likely.
fn fresh_seeds() -> Range<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs() * 1_000_000..u64::MAX
}

pub(super) fn jobs(wanted: Option<u32>) -> usize {
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    wanted.map_or_else(cores, |jobs| usize::try_from(jobs).unwrap_or(1))
}

/// Explores with a progress line on standard error and an orderly end on a signal.
fn watched<T: Send>(exploration: &Exploration, run: impl Fn(&Exploration, &Progress) -> T + Sync) -> T {
    let progress = Progress::default();
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {prefix}: {msg} in {elapsed}")
        .expect("the template is valid");
    bar.set_style(style);
    bar.set_prefix(exploration.tier.name());
    let report = thread::scope(|scope| {
        let worker = scope.spawn(|| run(exploration, &progress));
        let started = std::time::Instant::now();
        while !worker.is_finished() {
            if interrupt::is_received() {
                progress.stop();
            }
            bar.set_message(progress_line(&progress, started.elapsed()));
            bar.tick();
            thread::sleep(Duration::from_millis(100));
        }
        worker.join().expect("the exploration does not panic")
    });
    bar.finish_and_clear();
    report
}

fn progress_line(progress: &Progress, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(0.001);
    let (runs, simulated) = (progress.runs(), progress.simulated().as_secs_f64());
    let (pairs, marks) = progress.reached();
    format!(
        "{runs} runs, {:.0}/s, {:.0} sim:wall, {pairs} faults × states, {} triples, {marks} of {} marks",
        runs as f64 / seconds,
        simulated / seconds,
        progress.triples(),
        Mark::all().len(),
    )
}

fn summary(report: &ExplorationReport) -> String {
    let wall = report.wall.as_secs_f64().max(0.001);
    let simulated = report.simulated.as_secs_f64();
    format!(
        "{:<8} {:>8} runs  {:>7.0} runs/s  {:>10} simulated  {:>7.0} sim:wall  {:>9} records  {} violations  digest {:016x}",
        report.tier.name(),
        report.runs,
        report.runs as f64 / wall,
        hours(simulated),
        simulated / wall,
        report.events,
        report.failures.len(),
        report.digest,
    )
}

fn hours(seconds: f64) -> String {
    if seconds < 3_600.0 { format!("{seconds:.0} s") } else { format!("{:.1} h", seconds / 3_600.0) }
}

/// Faults × states, and marks, over all tiers that ran.
fn report_coverage(all: &[ExplorationReport], json_on_stdout: bool) {
    let mut coverage = Coverage::default();
    for report in all {
        coverage.merge(&report.coverage);
    }
    report_faults(&coverage, json_on_stdout);
    let tiers: Vec<Tier> = all.iter().map(|report| report.tier).collect();
    let missed: Vec<Cow<'static, str>> = coverage.missed(&tiers).map(Mark::name).collect();
    let mut hit: Vec<(u64, Cow<'static, str>)> =
        coverage.marks.iter().map(|(mark, count)| (*count, mark.name())).collect();
    hit.sort_unstable();
    let rarest: Vec<String> = hit.iter().take(5).map(|(count, name)| format!("{name} ({count})")).collect();
    let possible = Mark::of_tiers(&tiers).len();
    let reached = possible - missed.len();
    say(json_on_stdout, &format!("\nmarks: {reached} of {possible} reached; rarest: {}", rarest.join(", ")));
    if !missed.is_empty() {
        say(json_on_stdout, &format!("marks missed: {}", missed.join(", ")));
    }
    for report in all {
        say(json_on_stdout, &told_triples(report));
    }
}

/// How often each fault began in each state of the client.
fn report_faults(coverage: &Coverage, json_on_stdout: bool) {
    let line = |first: &str, cell: &dyn Fn(StatusKind) -> String| {
        let width = |state: StatusKind| state.name().len().max(8);
        let cells = StatusKind::ALL.iter().map(|state| format!(" {:>1$}", cell(*state), width(*state)));
        say(json_on_stdout, &format!("{first:<20}{}", cells.collect::<String>()));
    };
    say(json_on_stdout, "\nHow often each fault began while the client was");
    line("", &|state| state.name().to_owned());
    for fault in Fault::ALL.iter().copied() {
        line(fault.name(), &|state| coverage.faults.get(&(fault, state)).copied().unwrap_or(0).to_string());
    }
}

/// What was reached of client state × gateway state × fault on a tier, and what is likely to be left.
fn told_triples(report: &ExplorationReport) -> String {
    let rarest = report.triples.by_rarity();
    let rarest: Vec<String> =
        rarest.iter().take(3).map(|(count, triple)| format!("{triple} ({count})")).collect();
    let chance = report.triples.chance_of_new().unwrap_or(1.0) * 100.0;
    format!(
        "{}: {} triples of client/gateway/fault reached; rarest: {}; the next run of this kind reaches a new one with {chance:.2} % (Good–Turing)",
        report.tier.name(),
        report.triples.len(),
        rarest.join(", "),
    )
}

/// Where plans go that no seed stands for.
pub(super) fn default_folder() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("sim is a member of the workspace");
    root.join("target/sim")
}

/// Lists the violations and shows how the first came about; the last line replays it.
fn verdict(all: &[ExplorationReport], folder: &Path, json_on_stdout: bool) -> Result<Verdict, CliError> {
    let found = all.iter().flat_map(|report| report.failures.iter().map(|found| (report.tier, found)));
    let mut first = None;
    for (tier, found) in found {
        let name = name_of(found, tier, folder)?;
        let kind = if found.plan.is_some() { "plan" } else { "seed" };
        say(json_on_stdout, &format!("{} {kind} {name}: {}", tier.name(), found.violation));
        first.get_or_insert((tier, found, kind, name));
    }
    let Some((tier, found, kind, name)) = first else { return Ok(Verdict::Clean) };
    let finished = run_judged(tier, &found.plan());
    let skipped = finished.records.len().saturating_sub(RECORDS_SHOWN);
    let tier = tier.name();
    say(json_on_stdout, &format!("\nthe last records of {kind} {name} on {tier}:"));
    for record in &finished.records[skipped..] {
        say(json_on_stdout, &record.to_string());
    }
    say(json_on_stdout, &found.violation.to_string());
    say(json_on_stdout, &format!("cargo sim shrink {name} --tier {tier}"));
    say(json_on_stdout, &format!("cargo sim replay {name} --tier {tier}"));
    Ok(Verdict::Violated)
}

/// What `replay` and `shrink` call a plan: its seed, or the file that it is written to for them.
fn name_of(found: &Failure, tier: Tier, folder: &Path) -> Result<String, CliError> {
    let Some(plan) = &found.plan else { return Ok(found.seed.to_string()) };
    let slug = found.violation.invariant.name().replace('_', "-");
    let name = format!("guided-{}-{}-{slug}.toml", tier.name(), found.seed);
    store_plan(&folder.join(name), plan, &found.violation, tier)
}

/// Writes a plan that breaks something, with what it breaks, and gives its path as one would type it.
pub(super) fn store_plan(
    path: &Path,
    plan: &Plan,
    violation: &Violation,
    tier: Tier,
) -> Result<String, CliError> {
    let failed = |why| CliError::Output { path: path.display().to_string(), why };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    // What a panic says has lines of its own.
    let violation = violation.to_string().replace('\n', " ");
    let (name, tier) = (shown(path), tier.name());
    let head = format!("# {violation}\n# Seen on {tier}. To replay: cargo sim replay {name} --tier {tier}");
    write(path, &format!("{head}\n{}", plan.to_text().trim_end()))?;
    Ok(name)
}
