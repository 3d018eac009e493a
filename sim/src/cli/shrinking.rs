//! `cargo sim shrink`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use onesocket_sim::judge::oracle::Violation;
use onesocket_sim::plan::{Plan, Tier};
use onesocket_sim::scenario::regression;
use onesocket_sim::search::shrink::{self, End, Limits, Shrunk, Symptom};
use serde::Serialize;

use super::arguments::Shrink;
use super::error::{CliError, Verdict};
use super::output::{is_stdout, say, shown, write, write_json};
use super::{interrupt, replaying};

/// Makes a plan that breaks something small, and stores it.
pub(super) fn shrink(arguments: &Shrink) -> Result<Verdict, CliError> {
    let plan = replaying::load_for(&arguments.plan, arguments.tier)?.plan;
    interrupt::listen();
    let json_on_stdout = is_stdout(arguments.json.as_deref());
    let talk = |line: &str| say(json_on_stdout, line);
    let Some(violation) = shrink::judge(arguments.tier, &plan) else {
        let (name, tier) = (&arguments.plan, arguments.tier.name());
        talk(&format!("plan {name} breaks nothing on {tier}: there is nothing to shrink"));
        return Ok(Verdict::Clean);
    };
    talk(&format!("{} steps on {}: {violation}", plan.steps.len(), arguments.tier.name()));
    let symptom = Symptom::of(&violation);
    let tier = search_tier(arguments.tier, &plan, &symptom);
    if tier != arguments.tier {
        talk(&format!("it breaks the same on {}, which is faster: shrinking there", tier.name()));
    }
    let limits = Limits { runs: arguments.runs, time: Duration::from_secs(arguments.seconds) };
    let shrunk = watched(&plan, tier, &symptom, limits);
    let violation = symptom.of_run(tier, &shrunk.plan).unwrap_or(violation);
    talk(&summary(&shrunk));
    if tier != arguments.tier {
        let also = symptom.of_run(arguments.tier, &shrunk.plan).is_some();
        let verdict = if also { "breaks the same" } else { "does not break it" };
        talk(&format!("on {} the small plan {verdict}", arguments.tier.name()));
    }
    let path = store(arguments, &shrunk, &violation, tier, &symptom)?;
    talk(&violation.to_string());
    for line in outline(&shrunk.plan) {
        talk(&line);
    }
    let shown = shown(&path);
    talk(&format!("written to {shown}"));
    if let Some(json) = &arguments.json {
        write_json(json, &to_json(&shrunk, &violation, tier, &shown))?;
    }
    talk(&format!("cargo sim replay {shown} --tier {}", tier.name()));
    Ok(Verdict::Violated)
}

/// The machine, if the plan breaks the same there: it is faster by far.
fn search_tier(wanted: Tier, plan: &Plan, symptom: &Symptom) -> Tier {
    let is_possible = wanted != Tier::Machine && plan.check_for(Tier::Machine).is_ok();
    let machine_too = is_possible && symptom.of_run(Tier::Machine, plan).is_some();
    if machine_too { Tier::Machine } else { wanted }
}

/// Shrinks with a progress line; Ctrl-C keeps the best so far.
fn watched(plan: &Plan, tier: Tier, symptom: &Symptom, limits: Limits) -> Shrunk {
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {msg} in {elapsed}").expect("the template is valid");
    bar.set_style(style);
    let (mut runs, mut steps) = (0_u64, plan.steps.len());
    let mut breaks = |plan: &Plan| {
        runs += 1;
        let violation = symptom.of_run(tier, plan)?;
        steps = steps.min(plan.steps.len());
        bar.set_message(format!("{steps} steps, {runs} runs"));
        bar.tick();
        Some(violation.at.as_micros() / 1_000)
    };
    let shrunk = shrink::shrink(plan, limits, &mut breaks, &interrupt::is_received);
    bar.finish_and_clear();
    shrunk
}

fn summary(shrunk: &Shrunk) -> String {
    let steps = shrunk.plan.steps.len();
    let proof = match shrunk.end {
        End::Minimal => "1-minimal: without any single one of them the violation is gone",
        End::OutOfRuns => "perhaps not minimal: the limit of runs was reached (--runs)",
        End::OutOfTime => "perhaps not minimal: the time was up (--seconds)",
        End::Stopped => "perhaps not minimal: interrupted",
    };
    let seconds = shrunk.wall.as_secs_f64();
    format!(
        "shrunk from {} steps to {steps} with {} runs in {seconds:.1} s; {proof}",
        shrunk.steps_before, shrunk.runs
    )
}

/// The steps, a line for each, as they stand in the file.
fn outline(plan: &Plan) -> Vec<String> {
    let text = plan.to_text();
    let steps = text.split("\n[[steps]]\n").skip(1);
    steps.map(|step| format!("  {}", step.lines().collect::<Vec<_>>().join(", "))).collect()
}

fn store(
    arguments: &Shrink,
    shrunk: &Shrunk,
    violation: &Violation,
    tier: Tier,
    symptom: &Symptom,
) -> Result<PathBuf, CliError> {
    // The command stores next to the sources it was built from, where the tests look.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("sim is a member of the workspace");
    let path = match &arguments.out {
        Some(path) => path.clone(),
        None => {
            let folder = root.join("scenarios/regressions");
            let failed = |why| CliError::Output { path: folder.display().to_string(), why };
            fs::create_dir_all(&folder).map_err(failed)?;
            regression::next_path(&folder, &regression::slug(symptom, &shrunk.plan)).map_err(failed)?
        }
    };
    // The file is read elsewhere, too: it names itself as seen from the root of the workspace.
    let text = regression::stored(shrunk, violation, tier, path.strip_prefix(root).unwrap_or(&path));
    write(&path, text.trim_end())?;
    Ok(path)
}

fn to_json(shrunk: &Shrunk, violation: &Violation, tier: Tier, path: &str) -> String {
    #[derive(Serialize)]
    struct Json<'a> {
        tier: &'static str,
        invariant: &'static str,
        at_ms: u64,
        steps_before: usize,
        steps: usize,
        minimal: bool,
        runs: u64,
        wall_seconds: f64,
        path: &'a str,
        plan: String,
    }
    let json = Json {
        tier: tier.name(),
        invariant: violation.invariant.name(),
        at_ms: violation.at.as_micros() / 1_000,
        steps_before: shrunk.steps_before,
        steps: shrunk.plan.steps.len(),
        minimal: shrunk.end == End::Minimal,
        runs: shrunk.runs,
        wall_seconds: shrunk.wall.as_secs_f64(),
        path,
        plan: shrunk.plan.to_text(),
    };
    serde_json::to_string(&json).expect("a report is plain data")
}
