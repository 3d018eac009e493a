//! Every plan under `scenarios/` runs clean on every tier, and three of them are told in full.

use std::fs;
use std::path::Path;

use onesocket_sim::plan::Plan;
use onesocket_sim::run::{Finished, Tier};

fn plan(name: &str) -> Plan {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(format!("{name}.toml"));
    let text = fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    Plan::parse(&text).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

fn run(tier: Tier, plan: &Plan) -> Finished {
    let finished = onesocket_sim::explore::run_judged(tier, plan);
    if let Some(violation) = &finished.violation {
        panic!("{} on {}\n{violation}", tell(&finished), tier.name());
    }
    finished
}

fn tell(finished: &Finished) -> String {
    finished.records.iter().map(|record| format!("{record}\n")).collect()
}

#[test]
fn restart_storm() {
    insta::assert_snapshot!(tell(&run(Tier::Machine, &plan("restart-storm"))));
}

#[test]
fn token_change_in_flight() {
    insta::assert_snapshot!(tell(&run(Tier::Machine, &plan("token-change-in-flight"))));
}

#[test]
fn partition_then_heal() {
    insta::assert_snapshot!(tell(&run(Tier::Machine, &plan("partition-then-heal"))));
}

/// A stored plan is a test without any code.
#[test]
fn every_stored_plan_is_clean_on_every_tier() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = Vec::new();
    for folder in ["scenarios", "scenarios/regressions"] {
        let Ok(entries) = fs::read_dir(root.join(folder)) else { continue };
        for entry in entries {
            let path = entry.expect("the folder can be read").path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                names.push(format!("{}/{}", folder.trim_start_matches("scenarios"), stem(&path)));
            }
        }
    }
    assert!(names.len() >= 3, "the stored plans were not found");
    for name in names {
        for tier in Tier::ALL {
            run(tier, &plan(name.trim_start_matches('/')));
        }
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned()
}
