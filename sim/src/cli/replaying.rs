//! `cargo sim replay`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use onesocket_sim::judge::logs::Keep;
use onesocket_sim::judge::recorder::{Finished, timeline};
use onesocket_sim::plan::{Plan, Tier};
use onesocket_sim::report::compare::{self, Difference, RecordLine, Strictness};
use onesocket_sim::report::picture;
use onesocket_sim::scenario::Scenario;
use onesocket_sim::scenario::expectation::shortfalls;
use onesocket_sim::search::explore::{judged, run_judged};
use onesocket_sim::search::generate;
use serde::Serialize;

use super::arguments::Replay;
use super::error::{CliError, Verdict};
use super::output::{is_stdout, say, write, write_json};

/// Runs one plan and prints what happens.
pub(super) fn replay(arguments: &Replay) -> Result<Verdict, CliError> {
    let scenario = load_for(&arguments.plan, arguments.tier)?;
    let plan = &scenario.plan;
    let on_stdout = |path: &Option<PathBuf>| is_stdout(path.as_deref());
    let data_on_stdout = [&arguments.json, &arguments.records, &arguments.html].into_iter().any(on_stdout);
    let talk = |line: &str| say(data_on_stdout, line);
    if arguments.print_plan {
        talk(&scenario.to_text());
        return Ok(Verdict::Clean);
    }
    let finished = judged(Keep::Everything, || arguments.tier.run(plan));
    if let Some(path) = &arguments.json {
        write_json(path, &to_json(arguments, &finished))?;
    }
    if let Some(path) = &arguments.records {
        write_json(path, &compare::to_text(&compare::lines(&finished.records)))?;
    }
    if let Some(path) = &arguments.html {
        let run = picture::Run { name: &arguments.plan, tier: arguments.tier, plan, finished: &finished };
        write(path, &picture::of_run(run))?;
    }
    for line in timeline(&finished) {
        talk(&line);
    }
    talk(&format!("digest {:016x}, {} records", finished.digest, finished.records.len()));
    let mut is_clean = true;
    if let Some(violation) = &finished.violation {
        talk(&violation.to_string());
        is_clean = false;
    }
    if finished.violation.is_none() && scenario.is_for(arguments.tier) {
        for shortfall in shortfalls(&scenario, &finished) {
            talk(&shortfall);
            is_clean = false;
        }
    }
    is_clean &= compared(arguments, plan, &finished, &talk)?;
    if is_clean {
        return Ok(Verdict::Clean);
    }
    talk(&format!("cargo sim replay {} --tier {}", arguments.plan, arguments.tier.name()));
    Ok(Verdict::Violated)
}

/// A seed, or the path of a plan that `tier` can carry out.
pub(super) fn load_for(argument: &str, tier: Tier) -> Result<Scenario, CliError> {
    if let Ok(seed) = argument.parse() {
        return Ok(Scenario::of(generate::plan_for(seed, tier)));
    }
    let scenario = load(argument)?;
    let refused = |why| CliError::Plan { path: argument.to_owned(), why };
    scenario.plan.check_for(tier).map_err(refused)?;
    Ok(scenario)
}

/// A seed, or the path of a plan, whatever tiers can carry it out.
pub(super) fn load(argument: &str) -> Result<Scenario, CliError> {
    if let Ok(seed) = argument.parse() {
        return Ok(Scenario::of(generate::plan(seed)));
    }
    let text =
        fs::read_to_string(argument).map_err(|why| CliError::NoPlan { plan: argument.to_owned(), why })?;
    Scenario::parse(&text).map_err(|why| CliError::Plan { path: argument.to_owned(), why })
}

/// Compares the run with all that it is to be compared with, and says whether it is like all of them.
fn compared(
    arguments: &Replay,
    plan: &Plan,
    finished: &Finished,
    talk: &dyn Fn(&str),
) -> Result<bool, CliError> {
    let mut is_alike = true;
    let lines = compare::lines(&finished.records);
    let mut compare = |name: &str, other: &[RecordLine], strictness| {
        let difference = compare::first_difference(&lines, other, strictness);
        match &difference {
            None => talk(&format!("{name} is the same to the last record")),
            Some(difference) => tell(name, difference, talk),
        }
        is_alike &= difference.is_none();
        difference.is_none()
    };
    if arguments.check {
        let second = run_judged(arguments.tier, plan);
        let is_same = compare("a second run", &compare::lines(&second.records), Strictness::Exact);
        // The digest also knows what the words of a record leave out.
        if is_same && second.digest != finished.digest {
            talk(&format!("a second run reads the same and has digest {:016x}", second.digest));
            return Ok(false);
        }
        compare("a run in another process", &elsewhere(arguments)?, Strictness::Exact);
    }
    if let Some(path) = &arguments.against {
        compare(&path.display().to_string(), &stored(path)?, Strictness::Exact);
    }
    if let Some(tier) = arguments.against_tier {
        let other = run_judged(tier, plan);
        compare(
            &format!("the run on {}", tier.name()),
            &compare::lines(&other.records),
            Strictness::Timeless,
        );
    }
    Ok(is_alike)
}

fn tell(name: &str, difference: &Difference, talk: &dyn Fn(&str)) {
    talk(&format!("{name} differs from record {} on:", difference.number));
    for line in &difference.before {
        talk(&format!("  both   {line}"));
    }
    for (whose, line) in [("this", &difference.first), ("other", &difference.second)] {
        let line = line.as_ref().map_or_else(|| "the end".to_owned(), ToString::to_string);
        talk(&format!("  {whose:<5}  {line}"));
    }
}

/// The records of the same plan in another process.
fn elsewhere(arguments: &Replay) -> Result<Vec<RecordLine>, CliError> {
    let failed = |why: String| CliError::OtherProcess(why);
    let program = std::env::current_exe().map_err(|why| failed(why.to_string()))?;
    let output = Command::new(program)
        .args(["replay", &arguments.plan, "--tier", arguments.tier.name(), "--records", "-"])
        .output()
        .map_err(|why| failed(why.to_string()))?;
    let text = String::from_utf8(output.stdout).map_err(|why| failed(why.to_string()))?;
    compare::parse(&text).map_err(|why| failed(why.to_string()))
}

fn stored(path: &Path) -> Result<Vec<RecordLine>, CliError> {
    let failed = |why: String| CliError::Records { path: path.display().to_string(), why };
    let text = fs::read_to_string(path).map_err(|why| failed(why.to_string()))?;
    compare::parse(&text).map_err(|why| failed(why.to_string()))
}

fn to_json(arguments: &Replay, finished: &Finished) -> String {
    #[derive(Serialize)]
    struct Json {
        tier: &'static str,
        digest: String,
        events: usize,
        violation: Option<Broken>,
    }
    #[derive(Serialize)]
    struct Broken {
        invariant: &'static str,
        at_ms: u64,
        what: String,
    }
    let violation = finished.violation.as_ref().map(|violation| Broken {
        invariant: violation.invariant.name(),
        at_ms: violation.at.as_micros() / 1_000,
        what: violation.what.clone(),
    });
    let json = Json {
        tier: arguments.tier.name(),
        digest: format!("{:016x}", finished.digest),
        events: finished.records.len(),
        violation,
    };
    serde_json::to_string(&json).expect("a report is plain data")
}
