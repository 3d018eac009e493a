//! What a plan breaks, as far as a smaller plan has to break the same.

use crate::judge::logs::Keep;
use crate::judge::oracle::{Invariant, Violation};
use crate::plan::{Plan, Tier};
use crate::search::explore::{judged, run_judged};

/// What is compared of two violations.
///
/// The invariant is enough for most of them. For a failed assertion it is not: a smaller plan that fails another
/// one has found another mistake, perhaps one of its own. So the place in the source counts as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symptom {
    /// The broken invariant.
    pub invariant: Invariant,
    /// Where the panic was raised, as file, line and column; only for [`Invariant::NoPanic`].
    pub place: Option<String>,
}

impl Symptom {
    /// What of a violation is compared.
    #[must_use]
    pub fn of(violation: &Violation) -> Self {
        let place = (violation.invariant == Invariant::NoPanic).then(|| place(&violation.what).to_owned());
        Self { invariant: violation.invariant, place }
    }

    /// Runs `plan` and gives the violation back if it is this one.
    #[must_use]
    pub fn of_run(&self, tier: Tier, plan: &Plan) -> Option<Violation> {
        let violation = match self.invariant {
            Invariant::Deterministic => differs(tier, plan, run_judged(tier, plan).digest),
            // A secret may be in any line of the log, and most runs keep none.
            Invariant::RightCredential => logged(tier, plan),
            Invariant::OneSocket
            | Invariant::StopIsFinal
            | Invariant::OneReconnectPerChange
            | Invariant::SharedAttempt
            | Invariant::SnapshotFirst
            | Invariant::GapBeforeEvent
            | Invariant::SettlesOnce
            | Invariant::NoStorm
            | Invariant::PausesHaveCauses
            | Invariant::RequestsAreServed
            | Invariant::BackoffIsKept
            | Invariant::NoWedge
            | Invariant::DeadIsDetected
            | Invariant::IsolatedConsumers
            | Invariant::NoSpin
            | Invariant::NoErrorLog
            | Invariant::NoPanic => run_judged(tier, plan).violation,
        };
        violation.filter(|violation| Self::of(violation) == *self)
    }
}

/// Runs `plan`, again with its whole log and once more if nothing is wrong before, and says what is broken.
#[must_use]
pub fn judge(tier: Tier, plan: &Plan) -> Option<Violation> {
    let run = run_judged(tier, plan);
    run.violation.or_else(|| logged(tier, plan)).or_else(|| differs(tier, plan, run.digest))
}

fn logged(tier: Tier, plan: &Plan) -> Option<Violation> {
    judged(Keep::Everything, || tier.run(plan)).violation
}

/// Runs `plan` once more and compares with the digest of a first run.
fn differs(tier: Tier, plan: &Plan, first: u64) -> Option<Violation> {
    let second = run_judged(tier, plan);
    (first != second.digest).then(|| Violation {
        invariant: Invariant::Deterministic,
        at: second.simulated,
        what: format!("the digest is {first:016x} in one run and {:016x} in the next", second.digest),
    })
}

/// `panicked at file:line:column: message` without the message.
fn place(what: &str) -> &str {
    let place = what.strip_prefix("panicked at ").unwrap_or(what);
    place.split_once(": ").map_or(place, |(place, _)| place)
}

#[cfg(test)]
mod tests {
    use onesocket::core::Instant;

    use super::*;

    fn symptom(invariant: Invariant, what: &str) -> Symptom {
        Symptom::of(&Violation { invariant, at: Instant::ZERO, what: what.to_owned() })
    }

    #[test]
    fn panics_are_told_apart_by_their_place_and_nothing_else() {
        let panic = |what| symptom(Invariant::NoPanic, what);
        assert_eq!(panic("panicked at src/a.rs:3:9: left: 1"), panic("panicked at src/a.rs:3:9: left: 2"));
        assert_ne!(panic("panicked at src/a.rs:3:9: x"), panic("panicked at src/a.rs:4:9: x"));
        assert_eq!(symptom(Invariant::NoStorm, "socket 3 …"), symptom(Invariant::NoStorm, "socket 5 …"));
        assert_ne!(symptom(Invariant::NoStorm, "x"), symptom(Invariant::NoWedge, "x"));
    }
}
