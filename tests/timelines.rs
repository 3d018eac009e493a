//! Three scenarios are written out in full, so that a change of what a client does is seen in review.

use std::fs;
use std::path::Path;

use onesocket_sim::plan::Tier;
use onesocket_sim::scenario::Scenario;
use onesocket_sim::search::explore::run_judged;

fn timeline(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(format!("{name}.toml"));
    let text = fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let scenario = Scenario::parse(&text).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let finished = run_judged(Tier::Machine, &scenario.plan);
    assert_eq!(finished.violation, None);
    finished.records.iter().map(|record| format!("{record}\n")).collect()
}

#[test]
fn restart_storm() {
    insta::assert_snapshot!(timeline("restart-storm"));
}

#[test]
fn token_change_in_flight() {
    insta::assert_snapshot!(timeline("token-change-in-flight"));
}

#[test]
fn partition_then_heal() {
    insta::assert_snapshot!(timeline("partition-then-heal"));
}
