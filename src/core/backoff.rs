//! How long to wait before the next dial.

use std::time::Duration;

use rand_core::Rng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::config::BackoffOptions;

/// Counts the attempts since the last stable connection and turns them into waiting times.
///
/// The n-th wait is drawn evenly from `[d / (1 + jitter), d]` with
/// `d = min(cap, initial * growth^(n-1) * (1 + jitter))`: with the defaults the first wait is 1.0
/// to 1.2 s, and at the cap waits spread over 25 to 30 s, so that a fleet does not return in step. With
/// [`Patience`](super::config::Patience) there is a second cap.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Backoff {
    options: BackoffOptions,
    attempts: u32,
}

impl Backoff {
    pub(super) fn new(options: BackoffOptions) -> Self {
        Self { options, attempts: 0 }
    }

    /// Attempts made since the last reset.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Forgets earlier failures: after a stable connection, a new config, or a human's word.
    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// The next wait. `floor` is the gateway's own wish: it lengthens the wait, never shortens it,
    /// and is jittered upward for the same reason as the wait itself (B55).
    pub(super) fn next_delay(&mut self, floor: Option<Duration>, rng: &mut Xoshiro256PlusPlus) -> Duration {
        self.attempts = self.attempts.saturating_add(1);
        let top = self.ceiling(self.attempts);
        let spread = 1.0 + self.options.jitter;
        let low = top.div_f64(spread);
        let drawn = low + (top - low).mul_f64(unit(rng));
        // What is believed of a wish is decided first, or a low limit would shorten the wait.
        match floor.map(|floor| floor.min(self.options.retry_after_max)) {
            Some(floor) if floor > drawn => {
                floor.saturating_add(floor.mul_f64(self.options.jitter * unit(rng)).min(self.options.cap))
            }
            Some(_) | None => drawn,
        }
    }

    /// A wait of at least this long, jittered upward.
    pub(super) fn spread(&self, wait: Duration, rng: &mut Xoshiro256PlusPlus) -> Duration {
        wait.saturating_add(wait.mul_f64(self.options.jitter * unit(rng)))
    }

    /// A wish of the gateway as far as it is believed.
    pub(super) fn believed(&self, floor: Duration) -> Duration {
        floor.min(self.options.retry_after_max)
    }

    /// The longest wait before attempt `attempt` (1-based) when the gateway gives no floor. Patience goes on from where
    /// the first cap had led.
    fn ceiling(&self, attempt: u32) -> Duration {
        let options = &self.options;
        let eager = options.patience.map_or(attempt, |patience| patience.after_attempts.clamp(1, attempt));
        let first = options.initial.as_secs_f64() * (1.0 + options.jitter);
        let reached = self.grown(first, eager - 1, options.cap);
        let patient = options.patience.filter(|_| attempt > eager);
        patient.map_or(reached, |patience| self.grown(reached.as_secs_f64(), attempt - eager, patience.cap))
    }

    /// `seconds`, after growing so many times, and no longer than `cap`.
    fn grown(&self, mut seconds: f64, times: u32, cap: Duration) -> Duration {
        // Plain multiplication, not `powi`, whose rounding may differ from machine to machine.
        for _ in 0..times {
            if seconds >= cap.as_secs_f64() {
                break;
            }
            seconds *= self.options.growth;
        }
        // The longest durations are no exact `f64`; what does not fit is at the cap anyway.
        Duration::try_from_secs_f64(seconds.min(cap.as_secs_f64())).unwrap_or(cap)
    }
}

/// An even draw from [0, 1) with 53 bits, the precision of an `f64`.
fn unit(rng: &mut Xoshiro256PlusPlus) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;
    use crate::core::config::Patience;

    fn delays(count: usize, floor: Option<Duration>) -> Vec<f64> {
        let mut backoff = Backoff::new(BackoffOptions::default());
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
        (0..count).map(|_| backoff.next_delay(floor, &mut rng).as_secs_f64()).collect()
    }

    #[test]
    fn no_storm_waits_grow_to_the_cap_and_stay_jittered() {
        let waits = delays(12, None);
        for (index, wait) in waits.iter().enumerate() {
            let nominal = f64::from(1 << index.min(5)).min(25.0);
            assert!(*wait >= nominal && *wait <= nominal * 1.2 + 1e-9, "wait {index} was {wait}");
        }
        assert!((waits[10] - waits[11]).abs() > 1e-6, "waits at the cap must still differ");
    }

    #[test]
    fn no_storm_patience_goes_on_from_the_cap() {
        let waits = |after_attempts, count| -> Vec<u64> {
            let patience = Some(Patience { after_attempts, cap: Duration::from_secs(900) });
            let mut backoff =
                Backoff::new(BackoffOptions { patience, jitter: 0.0, ..BackoffOptions::default() });
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
            let waits = (0..count).map(|_| backoff.next_delay(None, &mut rng).as_secs()).collect();
            backoff.reset();
            assert_eq!(backoff.next_delay(None, &mut rng), Duration::from_secs(1));
            waits
        };
        assert_eq!(waits(8, 15), [1, 2, 4, 8, 16, 30, 30, 30, 60, 120, 240, 480, 900, 900, 900]);
        assert_eq!(waits(3, 8), [1, 2, 4, 8, 16, 32, 64, 128]);
        assert_eq!(waits(0, 6), [1, 2, 4, 8, 16, 32]);
        assert_eq!(waits(u32::MAX, 7), [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn no_storm_a_floor_lengthens_and_an_absurd_floor_is_capped() {
        assert!(delays(1, Some(Duration::from_secs(90)))[0] >= 90.0);
        assert!(delays(1, Some(Duration::from_millis(1)))[0] >= 1.0);
        let max = BackoffOptions::default().retry_after_max.as_secs_f64();
        let wait = delays(1, Some(Duration::from_secs(u64::MAX / 4)))[0];
        assert!(wait >= max && wait <= max + 30.0, "wait was {wait}");
    }
}
