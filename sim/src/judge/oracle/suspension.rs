//! Time in which the client's process does not run, and cannot be blamed for what it does not do.

use std::time::Duration;

use onesocket::core::Instant;

use crate::plan::Fault;
use crate::trace::{Event, Record};

/// Timers of the async tiers count whole milliseconds, and turmoil's clock has ticks.
pub(super) const LATE: Duration = Duration::from_millis(20);

/// A little more than a tick of turmoil's clock, by which what its hosts do may seem early or late to each other.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// Whether the client's process runs, and since when.
#[derive(Default)]
pub(super) struct Suspension {
    depth: u32,
    woke: Instant,
}

impl Suspension {
    pub(super) fn observe(&mut self, record: &Record) {
        match &record.event {
            Event::Fault { fault: Fault::Suspend, .. } => self.depth += 1,
            Event::Healed { fault: Fault::Suspend, .. } => {
                self.depth = self.depth.saturating_sub(1);
                self.woke = record.at;
            }
            _ => {}
        }
    }

    pub(super) fn is_awake(&self) -> bool {
        self.depth == 0
    }

    /// Since when the process had all of its time, for something that began at `at`.
    pub(super) fn awake_since(&self, at: Instant) -> Instant {
        at.max(self.woke)
    }

    /// Whether something that has to happen by `deadline` is missing at `now`: a process that slept through its
    /// deadline is due when it wakes, and no later than any other.
    pub(super) fn is_overdue(&self, deadline: Instant, now: Instant) -> bool {
        self.is_awake() && now > deadline.max(self.woke) + LATE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_slept_through_is_due_at_waking() {
        let at = |ms, event| Record { at: Instant::from_millis(ms), event };
        let mut suspension = Suspension::default();
        let deadline = Instant::from_millis(100);
        assert!(suspension.is_overdue(deadline, Instant::from_millis(121)));
        suspension.observe(&at(90, Event::Fault { fault: Fault::Suspend, gateway: 0 }));
        assert!(!suspension.is_overdue(deadline, Instant::from_millis(5_000)));
        suspension.observe(&at(6_000, Event::Healed { fault: Fault::Suspend, gateway: 0 }));
        assert!(!suspension.is_overdue(deadline, Instant::from_millis(6_020)));
        assert!(suspension.is_overdue(deadline, Instant::from_millis(6_021)));
    }
}
