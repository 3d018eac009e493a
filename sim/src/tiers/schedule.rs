//! What the executor of an async tier does, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::plan::{Plan, When};

/// Something the executor does: the step of the plan with this index, or the end of the fault it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScheduledEvent {
    Act(usize),
    Heal(usize),
}

/// Cues in order of time. At the same time steps come before the ends of faults, and both in the order they were
/// added in.
#[derive(Debug)]
pub(crate) struct Schedule {
    events: BTreeMap<(Duration, bool, u64), ScheduledEvent>,
    added: u64,
}

impl Schedule {
    /// The steps whose time the plan knows.
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut schedule = Self { events: BTreeMap::new(), added: 0 };
        for (index, step) in plan.steps.iter().enumerate() {
            if let When::At { at_ms } = step.when {
                schedule.add(Duration::from_millis(at_ms), ScheduledEvent::Act(index));
            }
        }
        schedule
    }

    pub(crate) fn add(&mut self, at: Duration, event: ScheduledEvent) {
        self.added += 1;
        self.events.insert((at, matches!(event, ScheduledEvent::Heal(_)), self.added), event);
    }

    pub(crate) fn next_time(&self) -> Option<Duration> {
        self.events.first_key_value().map(|((at, _, _), _)| *at)
    }

    /// The first event, if its time has come.
    pub(crate) fn take_due(&mut self, now: Duration) -> Option<ScheduledEvent> {
        if self.next_time()? > now {
            return None;
        }
        self.events.pop_first().map(|(_, event)| event)
    }
}
