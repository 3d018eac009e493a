//! The model's randomness: one seeded stream per concern, so that using one does not shift the others.

use std::time::Duration;

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::config::Latency;

/// All random streams of one model.
#[derive(Debug, Clone)]
pub(super) struct Random {
    /// Nonces, connection ids, request ids and tokens.
    identity: Xoshiro256PlusPlus,
    /// Latency jitter.
    latency: Xoshiro256PlusPlus,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        let mut identity = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut latency = identity.clone();
        // A jump of 2^128 steps keeps the two streams disjoint.
        latency.jump();
        identity.next_u64();
        Random { identity, latency }
    }

    /// A random string in the form of a version 4 uuid.
    pub(super) fn uuid(&mut self) -> String {
        let (high, low) = (self.identity.next_u64(), self.identity.next_u64());
        let high = (high & !0xf000) | 0x4000;
        let low = (low & !(0b11 << 62)) | (0b10 << 62);
        let mut text = String::with_capacity(36);
        for (index, nibble) in nibbles(high).chain(nibbles(low)).enumerate() {
            if matches!(index, 8 | 12 | 16 | 20) {
                text.push('-');
            }
            text.push(char::from(HEX[nibble]));
        }
        text
    }

    /// A random string in the form of the gateway's secrets: so many base64url symbols.
    pub(super) fn secret(&mut self, symbols: usize) -> String {
        let mut text = String::with_capacity(symbols);
        while text.len() < symbols {
            let mut bits = self.identity.next_u64();
            for _ in 0..10.min(symbols - text.len()) {
                text.push(char::from(BASE64URL[(bits & 63) as usize]));
                bits >>= 6;
            }
        }
        text
    }

    /// One draw of a latency.
    pub(super) fn latency(&mut self, latency: Latency) -> Duration {
        if latency.jitter.is_zero() {
            return latency.fixed;
        }
        // Drawn in microseconds: fine enough to reorder answers, coarse enough to print.
        let span = u64::try_from(latency.jitter.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
        let share = (u128::from(self.latency.next_u64()) * u128::from(span)) >> 64;
        latency.fixed + Duration::from_micros(share as u64)
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";
const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn nibbles(word: u64) -> impl Iterator<Item = usize> {
    (0..16).rev().map(move |index| ((word >> (index * 4)) & 15) as usize)
}
