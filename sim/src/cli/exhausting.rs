//! `cargo sim exhaust`.

use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use onesocket_sim::plan::Tier;
use onesocket_sim::search::exhaust::{self as search, Exhausted, FAULTS, MILESTONES, PLACEMENTS, Progress};
use serde::Serialize;

use super::arguments::Exhaust;
use super::error::{CliError, Verdict};
use super::exploring::{default_folder, jobs, store_plan};
use super::interrupt;
use super::output::{is_stdout, say, write_json};

/// Violations whose plans are written and told; all are counted.
const SHOWN_MAX: usize = 10;

/// Runs every placement and reports.
pub(super) fn exhaust(arguments: &Exhaust) -> Result<Verdict, CliError> {
    let json_on_stdout = is_stdout(arguments.json.as_deref());
    let talk = |line: &str| say(json_on_stdout, line);
    interrupt::listen();
    let faults = usize::from(arguments.faults);
    let wanted = search::count(faults);
    talk(&format!(
        "Every choice of up to {faults} of {PLACEMENTS} placements ({} faults × {} milestones): {wanted} runs; Ctrl-C ends them with a report.",
        FAULTS.len(),
        MILESTONES.len(),
    ));
    let started = Instant::now();
    let exhausted = watched(faults, wanted, jobs(arguments.jobs));
    let wall = started.elapsed();
    let folder = arguments.out.clone().unwrap_or_else(default_folder);
    let mut names = Vec::new();
    for broken in exhausted.broken.iter().take(SHOWN_MAX) {
        let path = folder.join(format!("exhaust-{}.toml", broken.number));
        let name = store_plan(&path, &search::plan(&broken.placements), &broken.violation, Tier::Machine)?;
        let placed: Vec<String> = broken.placements.iter().map(ToString::to_string).collect();
        talk(&format!("plan {name} ({}): {}", placed.join(", "), broken.violation));
        names.push(name);
    }
    if let Some(path) = &arguments.json {
        write_json(path, &to_json(&exhausted, faults, wanted, wall, &names))?;
    }
    talk(&summary(&exhausted, wanted, wall));
    let Some(name) = names.first() else {
        let is_whole = exhausted.runs == wanted;
        return Ok(if is_whole { Verdict::Clean } else { Verdict::Incomplete });
    };
    talk(&format!("cargo sim shrink {name} --tier machine"));
    talk(&format!("cargo sim replay {name} --tier machine"));
    Ok(Verdict::Violated)
}

/// Searches with a progress bar on standard error and an orderly end on a signal.
fn watched(faults: usize, wanted: u64, jobs: usize) -> Exhausted {
    let progress = Progress::default();
    let bar = ProgressBar::new(wanted);
    let style = ProgressStyle::with_template("{bar:30} {pos} of {len} runs, {per_sec}, {msg}, {eta} left")
        .expect("the template is valid");
    bar.set_style(style);
    let exhausted = thread::scope(|scope| {
        let worker = scope.spawn(|| search::exhaust(faults, jobs, &progress));
        while !worker.is_finished() {
            if interrupt::is_received() {
                progress.stop();
            }
            bar.set_position(progress.runs());
            bar.set_message(format!("{} violations", progress.broken()));
            thread::sleep(Duration::from_millis(50));
        }
        worker.join().expect("the search does not panic")
    });
    bar.finish_and_clear();
    exhausted
}

fn summary(exhausted: &Exhausted, wanted: u64, wall: Duration) -> String {
    let Exhausted { runs, broken, traces, courses } = exhausted;
    let whole = if *runs == wanted { "all".to_owned() } else { format!("interrupted: {runs} of") };
    let seconds = wall.as_secs_f64().max(0.001);
    format!(
        "{whole} {wanted} runs in {seconds:.1} s, {:.0} runs/s: {} violations, {traces} different traces, {courses} different courses of events",
        *runs as f64 / seconds,
        broken.len(),
    )
}

fn to_json(exhausted: &Exhausted, faults: usize, wanted: u64, wall: Duration, names: &[String]) -> String {
    #[derive(Serialize)]
    struct Json<'a> {
        faults: usize,
        placements: u64,
        runs_wanted: u64,
        runs: u64,
        wall_seconds: f64,
        traces: usize,
        courses: usize,
        violations: usize,
        plans: &'a [String],
    }
    let json = Json {
        faults,
        placements: PLACEMENTS,
        runs_wanted: wanted,
        runs: exhausted.runs,
        wall_seconds: wall.as_secs_f64(),
        traces: exhausted.traces,
        courses: exhausted.courses,
        violations: exhausted.broken.len(),
        plans: names,
    };
    serde_json::to_string(&json).expect("a report is plain data")
}
