//! The harness is seen to notice: the core is broken on purpose and the right oracle fires.
//!
//! Two mutants are tried here; `cargo sim mutants` tries all of `scenarios/mutants/`, at least one for
//! each oracle.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use onesocket_sim::judge::oracle::Invariant;
use onesocket_sim::plan::Plan;
use onesocket_sim::search::mutants::{self, MutantResult};

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("sim is a member of the workspace")
}

#[test]
fn a_late_close_and_a_forgotten_timer_are_noticed_shrunk_and_drawn() {
    let ids = ["late-close-kills-the-live-socket", "shutdown-keeps-the-backoff-timer"].map(str::to_owned);
    for mutant in &mutants::load(workspace(), &ids).expect("the mutants can be read") {
        let outcome = mutants::try_out(workspace(), mutant, true).unwrap_or_else(|error| panic!("{error}"));
        assert!(outcome.found, "{outcome}");
        let shrunk = outcome.shrunk.as_ref().expect("what was found is shrunk");
        assert!(shrunk.minimal && shrunk.steps <= 6, "{outcome}\n{}", shrunk.plan);
        Plan::parse(&shrunk.plan).unwrap_or_else(|error| panic!("{outcome}: {error}"));
        tells_how_to_go_on(&outcome);
        is_drawn(&outcome, &shrunk.plan);
    }
}

/// The small plan, replayed by the broken simulator, breaks the same and becomes a page that marks it.
fn is_drawn(outcome: &MutantResult, plan: &str) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (plan_file, page_file) = (folder.join("mutant.toml"), folder.join("mutant.html"));
    // What an earlier test drew proves nothing.
    let _ = fs::remove_file(&page_file);
    fs::write(&plan_file, plan).expect("the plan can be written");
    let output = Command::new(&outcome.binary)
        .args(["replay", "--tier", outcome.tier.name(), "--html"])
        .args([&page_file, &plan_file])
        .output()
        .expect("the mutated simulator runs");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let page = fs::read_to_string(&page_file).expect("the page was written");
    let says = format!("{} broken at ", outcome.invariant.name());
    assert!(page.contains(r#"id="violation""#) && page.contains(&says), "{says}");
}

/// A failing exploration shows the last records, the violation, and how to shrink and replay it, in this order.
fn tells_how_to_go_on(outcome: &MutantResult) {
    let seed = outcome.seeds_to_find - 1;
    let output = Command::new(&outcome.binary)
        .args(["explore", "--tier", outcome.tier.name(), "--seeds", &format!("{seed}..{}", seed + 1)])
        .output()
        .expect("the mutated simulator runs");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = text.lines().rev().take(4).collect();
    let tier = outcome.tier.name();
    assert_eq!(lines[0], format!("cargo sim replay {seed} --tier {tier}"), "{text}");
    assert_eq!(lines[1], format!("cargo sim shrink {seed} --tier {tier}"), "{text}");
    assert!(lines[2].starts_with(&format!("{} broken at ", outcome.invariant.name())), "{text}");
    assert!(lines[3].contains("s  "), "a record is a time and what happened: {text}");
}

/// A core that changes takes its mutants along.
#[test]
fn every_mutant_applies_to_the_core_of_today() {
    for mutant in mutants::load(workspace(), &[]).expect("the mutants can be read") {
        mutant.mutated(workspace()).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Except for the two that any broken assertion or draw would fire.
#[test]
fn every_oracle_has_a_mutant() {
    let all = mutants::load(workspace(), &[]).expect("the mutants can be read");
    let covered: BTreeSet<Invariant> = all.iter().map(|mutant| mutant.invariant).collect();
    for invariant in Invariant::ALL.iter().copied() {
        let needs_none = [Invariant::NoPanic, Invariant::Deterministic].contains(&invariant);
        assert!(needs_none || covered.contains(&invariant), "{} has no mutant", invariant.name());
    }
}
