//! One-call checks, for the tests of other crates.
//!
//! ```
//! use onesocket_sim::plan::{AppAction, GatewayAction, Plan};
//! use onesocket_sim::plan::Tier;
//! use onesocket_sim::scenario::check;
//!
//! let plan = Plan::new(7)
//!     .with(|params| params.end_ms = 20_000)
//!     .at(0, AppAction::Subscribe { consumer: 0 })
//!     .at(1_000, GatewayAction::Restart { down_ms: 2_000, crash: true }.of(0));
//! check(&plan, Tier::Stream);
//! ```

use std::fmt::Write;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use onesocket::Client;

use crate::judge::logs::Keep;
use crate::judge::recorder::{Finished, timeline};
use crate::plan::{Plan, Tier};
use crate::search::explore::judged;
use crate::tiers::stream;

/// How much of a timeline a failed check shows.
const LINES_SHOWN: usize = 60;

/// Runs `plan` with onesocket on `tier` and has it judged, with its whole log.
///
/// # Panics
/// When the plan makes no sense, and when an invariant is broken: with the end of the timeline, the plan as text, and
/// how to replay it.
pub fn check(plan: &Plan, tier: Tier) -> Finished {
    check_with(plan, tier.name(), |plan| tier.run(plan))
}

/// As [`check`], for any client and tier: `run` is such as `stream::run_with::<MyClient>`, and `tier` its name.
///
/// # Panics
/// As [`check`].
pub fn check_with(plan: &Plan, tier: &str, run: impl FnOnce(&Plan) -> Finished) -> Finished {
    if let Err(error) = plan.check() {
        panic!("{error}");
    }
    let finished = judged(Keep::Everything, || run(plan));
    if finished.violation.is_some() {
        panic!("{}", report(plan, tier, &finished));
    }
    finished
}

/// As [`check`] on the tier `stream`, with an app's own code beside the consumers of the plan. The app is given the
/// client under test and a paused clock; a panic in it, such as of an assertion, fails the check.
///
/// # Panics
/// As [`check`], and when the app is not done when the plan ends.
pub fn check_app<F>(plan: &Plan, app: impl FnOnce(Client) -> F) -> Finished
where
    F: Future<Output = ()> + Send + 'static,
{
    let done = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&done);
    let finished = check_with(plan, Tier::Stream.name(), |plan| {
        stream::run_app(plan, |client: Client| {
            let app = app(client);
            async move {
                app.await;
                told.store(true, Ordering::Relaxed);
            }
        })
    });
    assert!(
        done.load(Ordering::Relaxed),
        "the app is not done at {} ms, when the plan ends",
        plan.params.end_ms
    );
    finished
}

fn report(plan: &Plan, tier: &str, finished: &Finished) -> String {
    let lines: Vec<String> = timeline(finished).collect();
    let left_out = lines.len().saturating_sub(LINES_SHOWN);
    let mut text = String::new();
    if left_out > 0 {
        let _ = writeln!(text, "({left_out} lines before)");
    }
    for line in &lines[left_out..] {
        let _ = writeln!(text, "{line}");
    }
    if let Some(violation) = &finished.violation {
        let _ = writeln!(text, "\n{violation}\n");
    }
    let _ =
        writeln!(text, "# To replay it, store this as plan.toml, and: sim replay plan.toml --tier {tier}");
    text.push_str(&plan.to_text());
    text
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;
    use crate::plan::AppAction;

    fn plan() -> Plan {
        Plan::new(1).with(|params| params.end_ms = 10_000).at(0, AppAction::Connect {})
    }

    #[test]
    fn what_an_app_asserts_and_does_not_finish_fails_its_check() {
        let text = |app: fn(Client) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
            let panic = catch_unwind(|| check_app(&plan(), app)).err()?;
            panic.downcast_ref::<String>().cloned()
        };
        assert_eq!(text(|client| Box::pin(async move { drop(client.ready().await) })), None);
        let wrong = text(|_| Box::pin(async { panic!("this app is wrong") })).expect("a panic");
        assert!(wrong.contains("this app is wrong") && wrong.contains("sim replay plan.toml --tier stream"));
        let endless = text(|_| Box::pin(std::future::pending())).expect("a panic");
        assert!(endless.contains("the app is not done at 10000 ms"), "{endless}");
    }
}
