//! The judges of a run. Each looks at the trace only, record by record, and knows one invariant.
//!
//! To add one: write a type with the trait `Oracle`, name its [`Invariant`], list it in [`Judge::new`], add a
//! mutant to `scenarios/mutants/` that it catches, and say in `tests/` that it does.
//!
//! An oracle looks for few things among many, so that its match ends in `_`: a new kind of record cannot break what it
//! does not concern. Everything else that matches on records names them all.

mod config;
mod consumers;
mod credential;
mod events;
mod liveness;
mod requests;
mod shutdown;
mod silence;
mod sockets;
mod suspension;

use std::fmt;

use onesocket::core::Instant;

use crate::plan::Plan;
#[cfg(test)]
use crate::trace::Event;
use crate::trace::Record;

/// What must hold. The ids are stable: marks, mutants, tests and stored plans name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// At most one live socket per effective config at every step.
    OneSocket,
    /// After shutdown returns there is nothing left, and it returns promptly.
    StopIsFinal,
    /// A config change retires the old socket and connects once, to the latest config.
    OneReconnectPerChange,
    /// Callers share one attempt and one socket, and none of them can end it for the others.
    SharedAttempt,
    /// A subscriber's first item, and the first item of every connection, is a snapshot.
    SnapshotFirst,
    /// A hole in the numbers is told before the event that reveals it, and only then.
    GapBeforeEvent,
    /// Every request ends exactly once, by its own answer or with the truth about its delivery.
    SettlesOnce,
    /// Dials respect the backoff, and a pause leaves no timer.
    NoStorm,
    /// A wanted connection becomes ready within a computed bound once faults have ended.
    NoWedge,
    /// The credential presented is the configured one or one that was issued; no secret reaches a log or an error.
    RightCredential,
    /// A slow, stuck, panicking or vanished consumer harms no other, and lag is told and counted.
    IsolatedConsumers,
    /// Nothing is logged at level `error`.
    NoErrorLog,
    /// A silent peer is noticed in time, pending work fails then, and a live one is never let go.
    DeadIsDetected,
    /// What happens is in proportion to what goes on.
    NoSpin,
    /// No assertion of the core, the model or the harness fails.
    NoPanic,
    /// The same plan gives the same digest.
    Deterministic,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::OneSocket,
        Self::StopIsFinal,
        Self::OneReconnectPerChange,
        Self::SharedAttempt,
        Self::SnapshotFirst,
        Self::GapBeforeEvent,
        Self::SettlesOnce,
        Self::NoStorm,
        Self::NoWedge,
        Self::RightCredential,
        Self::IsolatedConsumers,
        Self::NoErrorLog,
        Self::DeadIsDetected,
        Self::NoSpin,
        Self::NoPanic,
        Self::Deterministic,
    ];

    /// The stable id.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::OneSocket => "one_socket",
            Self::StopIsFinal => "stop_is_final",
            Self::OneReconnectPerChange => "one_reconnect_per_change",
            Self::SharedAttempt => "shared_attempt",
            Self::SnapshotFirst => "snapshot_first",
            Self::GapBeforeEvent => "gap_before_event",
            Self::SettlesOnce => "settles_once",
            Self::NoStorm => "no_storm",
            Self::NoWedge => "no_wedge",
            Self::RightCredential => "right_credential",
            Self::IsolatedConsumers => "isolated_consumers",
            Self::NoErrorLog => "no_error_log",
            Self::DeadIsDetected => "dead_is_detected",
            Self::NoSpin => "no_spin",
            Self::NoPanic => "no_panic",
            Self::Deterministic => "deterministic",
        }
    }

    /// The invariant with this id.
    #[must_use]
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|invariant| invariant.id() == id)
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
        write!(f, "{} broken at {}: {}", self.invariant.id(), self.at, self.what)
    }
}

/// A judge of one invariant.
trait Oracle {
    /// Its invariant.
    fn invariant(&self) -> Invariant;
    /// Looks at the next record; a sentence about what is wrong ends the run.
    fn observe(&mut self, record: &Record) -> Result<(), String>;
}

/// All judges together.
pub struct Judge {
    oracles: Vec<Box<dyn Oracle + Send>>,
    violation: Option<Violation>,
}

impl Judge {
    /// Judges for a run of `plan`.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let oracles: Vec<Box<dyn Oracle + Send>> = vec![
            Box::new(sockets::OneSocket::default()),
            Box::new(sockets::SharedAttempt::new(plan)),
            Box::new(config::OneReconnectPerChange::new(plan)),
            Box::new(events::SnapshotFirst::default()),
            Box::new(events::GapBeforeEvent::default()),
            Box::new(requests::SettlesOnce::default()),
            Box::new(silence::DeadIsDetected::new(plan)),
            Box::new(shutdown::StopIsFinal::new(plan)),
            Box::new(liveness::NoStorm::new(plan)),
            Box::new(liveness::NoWedge::new(plan)),
            Box::new(credential::RightCredential::new(plan)),
            Box::new(consumers::IsolatedConsumers::new(plan)),
        ];
        Self { oracles, violation: None }
    }

    /// Shows a record to every judge. The first violation stands.
    pub fn observe(&mut self, record: &Record) {
        if self.violation.is_some() {
            return;
        }
        for oracle in &mut self.oracles {
            if let Err(what) = oracle.observe(record) {
                self.violation = Some(Violation { invariant: oracle.invariant(), at: record.at, what });
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
