//! `cargo sim replay`.

use std::fs;

use onesocket_sim::explore::{judged, run_judged};
use onesocket_sim::generate;
use onesocket_sim::logs::Keep;
use onesocket_sim::picture;
use onesocket_sim::plan::Plan;
use onesocket_sim::run::{Finished, timeline};
use serde::Serialize;

use super::output::{is_stdout, say, write};
use super::{CliError, Replay, Verdict};

/// Runs one plan and prints what happens.
pub(super) fn replay(arguments: &Replay) -> Result<Verdict, CliError> {
    let plan = load(&arguments.plan)?;
    let json_on_stdout = is_stdout(arguments.json.as_deref()) || is_stdout(arguments.html.as_deref());
    if arguments.print_plan {
        say(json_on_stdout, &plan.to_text());
        return Ok(Verdict::Clean);
    }
    let finished = judged(Keep::Everything, || arguments.tier.run(&plan));
    if let Some(path) = &arguments.json {
        write(path, &to_json(arguments, &finished))?;
    }
    if let Some(path) = &arguments.html {
        let run =
            picture::Run { name: &arguments.plan, tier: arguments.tier, plan: &plan, finished: &finished };
        write(path, &picture::of_run(run))?;
    }
    for line in timeline(&finished) {
        say(json_on_stdout, &line);
    }
    say(json_on_stdout, &format!("digest {:016x}, {} records", finished.digest, finished.records.len()));
    let mut verdict = Verdict::Clean;
    if let Some(violation) = &finished.violation {
        say(json_on_stdout, &violation.to_string());
        verdict = Verdict::Violated;
    }
    if arguments.check && !is_repeatable(arguments, &plan, &finished, json_on_stdout) {
        verdict = Verdict::Violated;
    }
    if verdict == Verdict::Violated {
        say(json_on_stdout, &format!("cargo sim replay {} --tier {}", arguments.plan, arguments.tier.name()));
    }
    Ok(verdict)
}

/// A seed, or the path of a plan.
pub(super) fn load(argument: &str) -> Result<Plan, CliError> {
    if let Ok(seed) = argument.parse() {
        return Ok(generate::plan(seed));
    }
    let text =
        fs::read_to_string(argument).map_err(|why| CliError::NoPlan { plan: argument.to_owned(), why })?;
    Plan::parse(&text).map_err(|why| CliError::Plan { path: argument.to_owned(), why })
}

/// Runs again and shows the first record that differs.
fn is_repeatable(arguments: &Replay, plan: &Plan, first: &Finished, json_on_stdout: bool) -> bool {
    let second = run_judged(arguments.tier, plan);
    if second.digest == first.digest {
        say(json_on_stdout, "a second run gives the same digest");
        return true;
    }
    let differs = first.records.iter().zip(&second.records).position(|(one, other)| one != other);
    let index = differs.unwrap_or_else(|| first.records.len().min(second.records.len()));
    say(json_on_stdout, &format!("a second run differs from record {} on:", index + 1));
    for (name, run) in [("first", first), ("second", &second)] {
        let line = run.records.get(index).map_or_else(|| "the end".to_owned(), ToString::to_string);
        say(json_on_stdout, &format!("  {name:<6} {line}"));
    }
    false
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
        invariant: violation.invariant.id(),
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
