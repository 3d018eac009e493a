//! What every tier gives back, and how a run records itself.

use onesocket::core::Instant;

use crate::judge::event_rate::{self, EventRateLimit};
use crate::judge::logs::{self, LogLine};
use crate::judge::milestones::Milestones;
use crate::judge::oracle::{Invariant, Judge, Violation};
use crate::plan::Plan;
use crate::trace::{Event, Record, Trace};

/// A run that is over.
#[derive(Clone, Debug)]
pub struct Finished {
    /// What happened.
    pub records: Vec<Record>,
    /// The digest of what happened.
    pub digest: u64,
    /// How much simulated time passed.
    pub simulated: Instant,
    /// The first broken invariant.
    pub violation: Option<Violation>,
    /// What was logged, as far as it was kept.
    pub logs: Vec<LogLine>,
}

/// The lines of a run: its records, and between them what was logged.
pub fn timeline(finished: &Finished) -> impl Iterator<Item = String> + '_ {
    let mut logs = finished.logs.iter().peekable();
    let mut records = finished.records.iter().enumerate().peekable();
    std::iter::from_fn(move || {
        let before = records.peek().map_or(usize::MAX, |(index, _)| *index);
        if let Some(line) = logs.next_if(|line| line.after <= before) {
            return Some(line.to_string());
        }
        records.next().map(|(_, record)| record.to_string())
    })
}

/// Records what happens and has it judged as it happens.
pub struct Recorder {
    trace: Trace,
    judge: Judge,
    milestones: Milestones,
    event_rate: EventRateLimit,
}

impl Recorder {
    /// A recorder for a run of `plan`.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self {
            trace: Trace::default(),
            judge: Judge::new(plan),
            milestones: Milestones::new(plan),
            event_rate: EventRateLimit::default(),
        }
    }

    /// Records one event; true if a step of the plan waits for it.
    pub fn record(&mut self, at: Instant, event: Event) -> bool {
        logs::recorded(self.trace.records().len() + 1);
        let record = self.trace.push(at, event);
        self.judge.observe(record);
        self.milestones.observe(record)
    }

    /// Counts something that happens, whether it is recorded or not.
    pub fn count_event(&mut self, at: Instant) {
        if !self.event_rate.count(at) {
            self.judge.report(Invariant::NoSpin, at, event_rate::too_much);
        }
    }

    /// A step of the plan, by its index, whose milestone was reached, and when that was.
    pub fn take_reached(&mut self) -> Option<(usize, Instant)> {
        self.milestones.take_reached()
    }

    /// Whether an invariant is broken already.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.judge.violation().is_some()
    }

    /// Closes the book.
    #[must_use]
    pub fn finish(self) -> Finished {
        Finished {
            digest: self.trace.digest(),
            simulated: self.trace.now(),
            violation: self.judge.violation().cloned(),
            records: self.trace.into_records(),
            logs: Vec::new(),
        }
    }
}
