//! When a config is dialed that has changed: at once, unless it changes all the time.

use std::time::Duration;

use super::time::Instant;

/// The latest changes of the config, and the dials that they led to.
///
/// A change is dialed at once. Others that follow it quickly are waited out, so that the last of them wins; and
/// however long they go on, one is dialed in each interval and no more. So a source that flaps makes no storm, and
/// the connection comes back as soon as it stops.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ConfigChanges {
    burst: Option<Burst>,
    /// No dial has followed the latest change.
    is_undialed: bool,
    /// The latest dial that followed a change.
    last_dial: Option<Instant>,
}

/// Changes that follow each other quickly.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Burst {
    first: Instant,
    latest: Instant,
}

impl ConfigChanges {
    /// The config changed, less than `settle` after the change before or not.
    pub(super) fn changed(&mut self, now: Instant, settle: Duration) {
        self.is_undialed = true;
        let first = match self.burst {
            Some(burst) if now.since(burst.latest) < settle => burst.first,
            Some(_) | None => now,
        };
        self.burst = Some(Burst { first, latest: now });
    }

    /// A dial begins.
    pub(super) fn dialed(&mut self, now: Instant) {
        if std::mem::take(&mut self.is_undialed) {
            self.last_dial = Some(now);
        }
    }

    /// When the present config may be dialed. Between two dials of changed ones lies an `interval`.
    pub(super) fn due(&self, now: Instant, settle: Duration, interval: Duration) -> Instant {
        if !self.is_undialed {
            return now;
        }
        // Changes at one moment are one.
        let burst = self.burst.filter(|burst| burst.latest > burst.first);
        let quiet = burst.map_or(now, |burst| (burst.latest + settle).min(burst.first + interval));
        let next = self.last_dial.map_or(now, |last| last + interval);
        now.max(quiet).max(next)
    }
}
