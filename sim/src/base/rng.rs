//! Named streams of random numbers.
//!
//! Each concern draws from a stream of its own, so that one more draw for one concern does not
//! shift the draws of all others.

use rand_core::{Rng as _, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The random numbers of one concern.
#[derive(Clone, Debug)]
pub struct Rng(Xoshiro256PlusPlus);

impl Rng {
    /// The stream called `name` of the run `seed`.
    #[must_use]
    pub fn new(seed: u64, name: &str) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(xxh3_64_with_seed(name.as_bytes(), seed)))
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// An even draw from `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "an empty range {low}..={high}");
        let span = u128::from(high - low) + 1;
        // Multiply-shift: the bias is below 2^-32 for every range used here, and it is the same
        // bias on every machine.
        low + u64::try_from((u128::from(self.any()) * span) >> 64).expect("the product fits its range")
    }

    /// True in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.between(1, 100) <= percent
    }

    /// A draw from `low..=high` whose logarithm is even: small values are as likely as large ones.
    pub fn log_between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low >= 1 && low <= high, "a log-uniform range needs 1 <= {low} <= {high}");
        let doublings = u64::from((high / low).ilog2());
        let base = low << self.between(0, doublings);
        self.between(base, base.saturating_mul(2).min(high))
    }

    /// One of `choices`.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let index = self.between(0, choices.len() as u64 - 1);
        &choices[usize::try_from(index).expect("an index of a slice")]
    }
}
