//! A bound on how much happens in a simulated second.
//!
//! Two ends that answer each other for ever break no promise to a consumer, and a run of theirs ends as any other,
//! only later. What happens is therefore counted, whether it is in the trace or not, and has to be in proportion to
//! what goes on.

use onesocket::core::Instant;

/// What may happen at once: a hello with all that waited for it, a burst of requests, many times over.
const BURST: u64 = 4_000;
/// What may happen in each second, for ever.
const PER_SECOND: u64 = 100;

/// A leaky bucket of events.
#[derive(Debug, Default)]
pub(crate) struct EventRateLimit {
    /// In millionths of an event.
    level: u64,
    last: Instant,
}

impl EventRateLimit {
    /// Counts an event; false if there are too many.
    pub(crate) fn count(&mut self, now: Instant) -> bool {
        let leaked = now.as_micros().saturating_sub(self.last.as_micros()).saturating_mul(PER_SECOND);
        self.last = self.last.max(now);
        self.level = self.level.saturating_sub(leaked) + 1_000_000;
        self.level <= BURST * 1_000_000
    }
}

/// In words.
pub(crate) fn too_much() -> String {
    format!("more happens than {BURST} events at once and {PER_SECOND} in each second")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ends_that_answer_each_other_are_noticed_and_a_burst_is_not() {
        let mut pace = EventRateLimit::default();
        assert!((0..4_000).all(|_| pace.count(Instant::from_millis(1))), "a burst");
        let mut pace = EventRateLimit::default();
        assert!((0..100_000).all(|turn| pace.count(Instant::from_millis(turn * 10))), "an even pace");
        let mut pace = EventRateLimit::default();
        let noticed = (0..100_000).find(|turn| !pace.count(Instant::from_millis(*turn)));
        assert!(noticed.is_some_and(|turn| turn < 6_000), "one answer each millisecond: {noticed:?}");
    }
}
