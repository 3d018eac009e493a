//! The judges of a run. Each looks at the trace only, record by record, and knows one invariant.
//!
//! To add one: write a type with the trait `Oracle`, and give it a row in the table of [`Invariant`]. `tests/mutants.rs` then
//! asks for a mutant in `scenarios/mutants/` that it catches.
//!
//! An oracle looks for few things among many, so that its match ends in `_`: a new kind of record cannot break what it
//! does not concern. Everything else that matches on records names them all.

mod backoff;
mod config;
mod consumers;
mod credential;
mod events;
mod liveness;
mod pause;
mod requests;
mod service;
mod shutdown;
mod silence;
mod sockets;
mod suspension;

use std::fmt;

use onesocket::core::Instant;
use onesocket_gateway::named;

use crate::plan::Plan;
#[cfg(test)]
use crate::trace::Event;
use crate::trace::Record;

/// An oracle that a thread of its own may run.
type BoxedOracle = Box<dyn Oracle + Send>;

/// Declares the invariants: what each says, its stable name, and how its oracle is made. `None` is for what no record
/// shows: the harness reports it.
macro_rules! invariants {
    (
        $(#[$about:meta])*
        pub enum Invariant {
            $($(#[$doc:meta])* $variant:ident = $name:literal => $oracle:expr,)*
        }
    ) => {
        named! {
            $(#[$about])*
            pub enum Invariant {
                $($(#[$doc])* $variant = $name,)*
            }
        }

        /// How the oracle of each invariant is made, in the order in which they see a record.
        const ORACLES: &[(Invariant, Option<fn(&Plan) -> BoxedOracle>)] = &[$((Invariant::$variant, $oracle),)*];
    };
}

invariants! {
    /// What must hold. The names are stable: marks, mutants, tests and stored plans use them.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Invariant {
        /// At most one live socket per effective config at every step.
        OneSocket = "one_socket" => Some(|_| Box::new(sockets::OneSocket::default())),
        /// Callers share one attempt and one socket, and none of them can end it for the others.
        SharedAttempt = "shared_attempt" => Some(|plan| Box::new(sockets::SharedAttempt::new(plan))),
        /// A config change retires the old socket and connects once, to the latest config.
        OneReconnectPerChange = "one_reconnect_per_change" => Some(|plan| Box::new(config::OneReconnectPerChange::new(plan))),
        /// A subscriber's first item, and the first item of every connection, is a snapshot.
        SnapshotFirst = "snapshot_first" => Some(|_| Box::new(events::SnapshotFirst::default())),
        /// A hole in the numbers is reported before the event that reveals it, and only then.
        GapBeforeEvent = "gap_before_event" => Some(|_| Box::new(events::GapBeforeEvent::default())),
        /// Every request ends exactly once, by its own answer or with the truth about its delivery.
        SettlesOnce = "settles_once" => Some(|_| Box::new(requests::SettlesOnce::default())),
        /// A request leaves in time and in order while it can, and fails only for a cause that came up since it was made.
        RequestsAreServed = "requests_are_served" => Some(|plan| Box::new(service::RequestsAreServed::new(plan))),
        /// A silent peer is noticed in time, pending work fails then, and the socket of a live one is never closed.
        DeadIsDetected = "dead_is_detected" => Some(|plan| Box::new(silence::DeadIsDetected::new(plan))),
        /// After shutdown returns there is nothing left, and it returns promptly.
        StopIsFinal = "stop_is_final" => Some(|plan| Box::new(shutdown::StopIsFinal::new(plan))),
        /// Dials respect the backoff, and a pause leaves no timer.
        NoStorm = "no_storm" => Some(|plan| Box::new(liveness::NoStorm::new(plan))),
        /// A client pauses only for a refusal that waiting does not mend, and that is newer than what the app did about it.
        PausesHaveCauses = "pauses_have_causes" => Some(|_| Box::new(pause::PausesHaveCauses::default())),
        /// Each wait is as long as the backoff says: it grows, has an end, and honours what a gateway asks for.
        BackoffIsKept = "backoff_is_kept" => Some(|plan| Box::new(backoff::BackoffIsKept::new(plan))),
        /// A wanted connection becomes ready within a computed bound once faults have ended.
        NoWedge = "no_wedge" => Some(|plan| Box::new(liveness::NoWedge::new(plan))),
        /// The credential presented is the configured one or one that was issued; no secret reaches a log or an error.
        RightCredential = "right_credential" => Some(|plan| Box::new(credential::RightCredential::new(plan))),
        /// A slow, stuck, panicking or vanished consumer harms no other, and lag is reported and counted.
        IsolatedConsumers = "isolated_consumers" => Some(|plan| Box::new(consumers::IsolatedConsumers::new(plan))),
        /// Nothing is logged at level `error`.
        NoErrorLog = "no_error_log" => None,
        /// What happens is in proportion to what goes on.
        NoSpin = "no_spin" => None,
        /// No assertion of the core, the model or the harness fails.
        NoPanic = "no_panic" => None,
        /// The same plan gives the same digest.
        Deterministic = "deterministic" => None,
    }
}

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// When it showed.
    pub at: Instant,
    /// What was seen, in a sentence.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} broken at {}: {}", self.invariant.name(), self.at, self.what)
    }
}

/// A judge of one invariant.
trait Oracle {
    /// Looks at the next record; a sentence about what is wrong ends the run.
    fn observe(&mut self, record: &Record) -> Result<(), String>;
}

/// All judges together.
pub struct Judge {
    oracles: Vec<(Invariant, BoxedOracle)>,
    violation: Option<Violation>,
}

impl Judge {
    /// Judges for a run of `plan`.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let made = ORACLES.iter().filter_map(|(invariant, new)| new.map(|new| (*invariant, new(plan))));
        Self { oracles: made.collect(), violation: None }
    }

    /// Shows a record to every judge. The first violation stands.
    pub fn observe(&mut self, record: &Record) {
        if self.violation.is_some() {
            return;
        }
        for (invariant, oracle) in &mut self.oracles {
            if let Err(what) = oracle.observe(record) {
                self.violation = Some(Violation { invariant: *invariant, at: record.at, what });
                return;
            }
        }
    }

    /// Something is wrong that no record shows. The first violation stands.
    pub(crate) fn report(&mut self, invariant: Invariant, at: Instant, what: impl FnOnce() -> String) {
        self.violation.get_or_insert_with(|| Violation { invariant, at, what: what() });
    }

    /// The first broken invariant.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }
}

/// The number of the first record of a made-up history that an oracle objects to. Times are in milliseconds.
#[cfg(test)]
fn first_broken(oracle: &mut dyn Oracle, history: impl IntoIterator<Item = (u64, Event)>) -> Option<usize> {
    let mut history =
        history.into_iter().map(|(at_ms, event)| Record { at: Instant::from_millis(at_ms), event });
    history.position(|record| oracle.observe(&record).is_err())
}
