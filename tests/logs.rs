//! What a production app finds in its log: little, and never a secret.

use onesocket_sim::plan::{Plan, Tier};
use onesocket_sim::scenario::Scenario;
use tracing_test::traced_test;

/// The token of the simulated gateway.
const TOKEN: &str = Plan::FIRST_TOKEN;

fn run(name: &str) {
    let path = format!("{}/scenarios/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the scenario is stored");
    let scenario = Scenario::parse(&text).expect("the scenario is valid");
    assert_eq!(Tier::Stream.run(&scenario.plan).violation, None);
}

fn lines_of<'l>(lines: &[&'l str], level: &str) -> Vec<&'l str> {
    let mine = lines.iter().filter(|line| line.contains("onesocket::"));
    mine.filter(|line| line.contains(&format!(" {level} "))).copied().collect()
}

#[traced_test]
#[test]
fn a_reconnect_logs_two_lines_and_never_the_token() {
    run("restart-storm");
    logs_assert(|lines| {
        if let Some(line) = lines.iter().find(|line| line.contains(TOKEN)) {
            return Err(format!("the token is in the log: {line}"));
        }
        // Three restarts: a line when the connection ends and one when it is back, after the first.
        let (info, all) =
            (lines_of(lines, "INFO"), lines.iter().filter(|l| l.contains("onesocket::")).count());
        let loud = lines_of(lines, "WARN").len() + lines_of(lines, "ERROR").len();
        match (info.len(), loud, all) {
            (1..=7, 0, ..=40) => Ok(()),
            (info, loud, all) => {
                Err(format!("{info} info, {loud} louder, {all} in all:\n{}", lines.join("\n")))
            }
        }
    });
}

#[traced_test]
#[test]
fn a_pause_is_one_warning_for_the_person_who_must_act() {
    run("token-change-in-flight");
    logs_assert(|lines| {
        let warnings = lines_of(lines, "WARN");
        match warnings.as_slice() {
            [warning] if warning.contains("reconnecting is paused") && !warning.contains(TOKEN) => Ok(()),
            _ => Err(format!("expected one warning about the pause:\n{}", lines.join("\n"))),
        }
    });
}
