//! Shrunk plans as files that `cargo test` picks up.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::judge::oracle::Violation;
use crate::plan::{Params, Plan, Tier};
use crate::search::shrink::{End, Shrunk, Symptom, names};

/// Where the next regression goes: the folder's next free number, and `slug`.
///
/// # Errors
/// When the folder is there and cannot be read.
pub fn next_path(folder: &Path, slug: &str) -> io::Result<PathBuf> {
    let mut last = 0;
    match fs::read_dir(folder) {
        Ok(entries) => {
            for entry in entries {
                let name = entry?.file_name();
                let number = name.to_str().and_then(|name| name.split_once('-')).map(|(number, _)| number);
                last = last.max(number.and_then(|number| number.parse().ok()).unwrap_or(0));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(folder.join(format!("{:04}-{slug}.toml", last + 1)))
}

/// A short name: the invariant, and the faults that it takes or, without any, the last steps.
#[must_use]
pub fn slug(symptom: &Symptom, plan: &Plan) -> String {
    let mut words = vec![symptom.invariant.name().replace('_', "-")];
    let faults: Vec<&str> = plan.faults().into_iter().map(|fault| fault.name()).collect();
    if faults.is_empty() {
        let mut names = names(&plan.steps);
        names.dedup();
        words.extend(names.into_iter().rev().take(2).rev());
    } else {
        words.extend(faults.into_iter().take(3).map(str::to_owned));
    }
    words.join("-")
}

/// The text of a regression: what was seen, how to see it again, and the plan without what is as usual.
#[must_use]
pub fn stored(shrunk: &Shrunk, violation: &Violation, tier: Tier, path: &Path) -> String {
    let mut text = String::new();
    for line in wrapped(&violation.to_string(), 110) {
        let _ = writeln!(text, "# {line}");
    }
    let steps = shrunk.plan.steps.len();
    let proof = match shrunk.end {
        End::Minimal => "without any one of them it does not happen",
        End::OutOfRuns | End::OutOfTime | End::Stopped => "perhaps not all of them are needed",
    };
    let _ = writeln!(
        text,
        "# Seen on {}. Shrunk from {} steps to {steps}: {proof}.",
        tier.name(),
        shrunk.steps_before
    );
    let _ = writeln!(text, "# To replay: cargo sim replay {} --tier {}", path.display(), tier.name());
    text + &sparse(&shrunk.plan)
}

/// The text of a plan without the parameters that have their default value.
fn sparse(plan: &Plan) -> String {
    let usual = toml::to_string(&Params::default()).expect("parameters are plain data");
    let mut section = "";
    let mut sparse = String::new();
    let text = plan.to_text();
    for line in text.lines() {
        if line.starts_with('[') {
            section = line;
        }
        if section != "[params]" || !usual.lines().any(|usual| usual == line) {
            sparse.push_str(line);
            sparse.push('\n');
        }
    }
    sparse
}

/// Lines of at most `width` characters, as far as words allow; what a panic says has lines of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is one");
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + 1 + word.len() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use onesocket::core::Instant;

    use super::*;
    use crate::judge::oracle::Invariant;
    use crate::plan::{Action, AppAction, GatewayAction, Step};

    fn small() -> Plan {
        let restart =
            Action::Gateway { gateway: 0, order: GatewayAction::Restart { down_ms: 10, crash: true } };
        let steps = [(5, Action::App(AppAction::Connect {})), (6, restart)];
        let steps = steps.into_iter().map(|(at_ms, action)| Step::at(at_ms, action)).collect();
        Plan { steps, ..Plan::new(3).with(|params| params.tick_ms = 1_000) }
    }

    #[test]
    fn a_stored_plan_tells_its_story_and_is_the_plan() {
        let plan = small();
        let what = "a word ".repeat(40);
        let violation = Violation { invariant: Invariant::NoStorm, at: Instant::ZERO, what };
        let shrunk =
            Shrunk { plan: plan.clone(), steps_before: 40, runs: 9, wall: Duration::ZERO, end: End::Minimal };
        let text = stored(&shrunk, &violation, Tier::Stream, Path::new("x/0001-no-storm.toml"));
        assert!(text.contains("# Seen on stream. Shrunk from 40 steps to 2: without any one"), "{text}");
        assert!(text.contains("# To replay: cargo sim replay x/0001-no-storm.toml --tier stream"), "{text}");
        assert!(text.contains("tick_ms = 1000\n\n[[steps]]\nat_ms = 5\ndo ="), "{text}");
        assert!(!text.contains("backoff_ms"), "{text}");
        assert_eq!(Plan::parse(&text), Ok(plan));
    }

    #[test]
    fn names_say_what_is_broken_by_what() {
        let symptom = Symptom { invariant: Invariant::OneSocket, place: None };
        assert_eq!(slug(&symptom, &small()), "one-socket-crash");
        let mut calm = small();
        calm.steps.truncate(1);
        assert_eq!(slug(&symptom, &calm), "one-socket-connect");
    }

    #[test]
    fn numbers_go_on_from_the_highest() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/no-such-folder");
        let first = next_path(&folder, "x").expect("a folder that is missing is empty");
        assert!(first.ends_with("0001-x.toml"), "{}", first.display());
    }
}
