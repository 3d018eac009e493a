//! An app writes a scenario of its own in under thirty lines.

#[path = "../examples/own_scenario.rs"]
mod own_scenario;

#[test]
fn an_own_scenario_has_under_thirty_lines_and_runs() {
    let lines = include_str!("../examples/own_scenario.rs").lines().count();
    assert!(lines < 30, "{lines} lines");
    own_scenario::main();
}
