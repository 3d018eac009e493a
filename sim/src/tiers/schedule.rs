//! What of the plan comes when, on the async tiers.

use std::collections::BTreeMap;

use onesocket::core::Instant;

use crate::tiers::executor::PlanEvent;

/// Events in order of time. At the same time steps come before the ends of faults, and both in the order they were
/// added in.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    events: BTreeMap<(Instant, bool, u64), PlanEvent>,
    added: u64,
}

impl Schedule {
    pub(crate) fn add(&mut self, at: Instant, event: PlanEvent) {
        self.added += 1;
        self.events.insert((at, matches!(event, PlanEvent::Heal(_)), self.added), event);
    }

    pub(crate) fn next_time(&self) -> Option<Instant> {
        self.events.first_key_value().map(|((at, _, _), _)| *at)
    }

    /// The first event, if its time has come.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<PlanEvent> {
        if self.next_time()? > now {
            return None;
        }
        self.events.pop_first().map(|(_, event)| event)
    }
}
