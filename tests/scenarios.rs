//! Every plan under `scenarios/` is a test on each of its tiers, named for its situation: `restart-storm::machine`.
//!
//! A plan is a test without any code. It passes if its run breaks no invariant and came to its situation, which it
//! describes with `about` and proves with `expect`. Regressions, which `cargo sim shrink` writes, are small enough to
//! need neither.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use onesocket_sim::plan::Tier;
use onesocket_sim::scenario::Scenario;
use onesocket_sim::scenario::expectation::shortfalls;
use onesocket_sim::search::explore::run_judged;

/// Records that a failing scenario shows.
const RECORDS_SHOWN: usize = 30;
/// Situations there are at least: fewer mean that the folder was not found.
const SCENARIOS_MIN: usize = 25;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let scenarios = plans("scenarios");
    let regressions = plans("scenarios/regressions");
    let count = scenarios.len();
    let mut trials = vec![Trial::test("there-are-scenarios", move || {
        if count >= SCENARIOS_MIN { Ok(()) } else { Err(format!("only {count} were found").into()) }
    })];
    trials.extend(scenarios.into_iter().flat_map(|path| trials_of(&path, true)));
    trials.extend(regressions.into_iter().flat_map(|path| trials_of(&path, false)));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The plan files of a folder, in the order of their names.
fn plans(folder: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| is_plan(path))
        .collect();
    paths.sort();
    paths
}

fn is_plan(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "toml")
}

/// A test for each tier of a plan; one that fails if it is none.
fn trials_of(path: &Path, tells_its_situation: bool) -> Vec<Trial> {
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
    let text = fs::read_to_string(path).map_err(|why| why.to_string());
    let scenario = match text.and_then(|text| Scenario::parse(&text).map_err(|why| why.to_string())) {
        Ok(scenario) => scenario,
        Err(why) => return vec![Trial::test(name, move || Err(why.into()))],
    };
    let is_silent = tells_its_situation && (scenario.about.is_empty() || scenario.expect.is_empty());
    let trial = |tier: Tier| {
        let scenario = scenario.clone();
        Trial::test(format!("{name}::{}", tier.name()), move || {
            if is_silent {
                return Err("it must say what its situation is (about) and how that is seen (expect)".into());
            }
            check(tier, &scenario)
        })
    };
    Tier::ALL.into_iter().filter(|tier| scenario.is_for(*tier)).map(trial).collect()
}

fn check(tier: Tier, scenario: &Scenario) -> Result<(), Failed> {
    let finished = run_judged(tier, &scenario.plan);
    let mut wrong: Vec<String> = finished.violation.iter().map(ToString::to_string).collect();
    if wrong.is_empty() {
        wrong = shortfalls(scenario, &finished);
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let mut report = String::new();
    let skipped = finished.records.len().saturating_sub(RECORDS_SHOWN);
    for record in &finished.records[skipped..] {
        let _ = writeln!(report, "{record}");
    }
    for line in wrong {
        let _ = writeln!(report, "{line}");
    }
    Err(report.into())
}
