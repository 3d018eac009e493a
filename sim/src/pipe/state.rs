//! What a link consists of, and how it draws.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::task::Waker;
use std::time::Duration;

use rand_core::Rng;
use rand_xoshiro::Xoshiro256PlusPlus;
use tokio::time::Instant;

use super::half_pipe::HalfPipe;
use super::profile::{Dials, Direction, Profile};

/// With a limited bandwidth, a write is cut so that no segment occupies the line for longer than this.
const SEGMENT_MS_MAX: usize = 50;
/// Why the lookup of a stream by its number cannot fail.
pub(super) const KNOWN: &str = "a stream is known until both its ends are dropped";

/// Everything about a link.
pub(super) struct State {
    pub(super) profile: Profile,
    pub(super) dials: Dials,
    /// Which directions lose everything.
    pub(super) black: PerDirection<bool>,
    /// Since when a direction stands still.
    pub(super) held: PerDirection<Option<Instant>>,
    pub(super) latency_draws: Xoshiro256PlusPlus,
    pub(super) chop_draws: Xoshiro256PlusPlus,
    pub(super) pipes: BTreeMap<u64, Pipe>,
    pub(super) dialing: BTreeMap<u64, Dial>,
    /// Numbers for streams and dials.
    pub(super) next: u64,
    pub(super) dials_begun: u64,
}

/// A stream: two halves and two ends.
pub(super) struct Pipe {
    pub(super) halves: PerDirection<HalfPipe>,
    pub(super) client_open: bool,
    pub(super) gateway_open: bool,
    pub(super) reset: bool,
}

/// A dial on its way.
#[derive(Default)]
pub(super) struct Dial {
    pub(super) lost: bool,
    pub(super) waker: Option<Waker>,
}

/// One of something for each direction.
#[derive(Default)]
pub(super) struct PerDirection<T> {
    pub(super) to_gateway: T,
    pub(super) to_client: T,
}

impl<T> PerDirection<T> {
    pub(super) fn get(&self, direction: Direction) -> &T {
        match direction {
            Direction::ToGateway => &self.to_gateway,
            Direction::ToClient => &self.to_client,
        }
    }

    pub(super) fn get_mut(&mut self, direction: Direction) -> &mut T {
        match direction {
            Direction::ToGateway => &mut self.to_gateway,
            Direction::ToClient => &mut self.to_client,
        }
    }
}

/// Whose end of a stream it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Gateway,
}

impl Side {
    pub(super) fn outgoing(self) -> Direction {
        match self {
            Side::Client => Direction::ToGateway,
            Side::Gateway => Direction::ToClient,
        }
    }

    pub(super) fn incoming(self) -> Direction {
        match self {
            Side::Client => Direction::ToClient,
            Side::Gateway => Direction::ToGateway,
        }
    }
}

impl State {
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn pipe(&mut self, number: u64) -> &mut Pipe {
        self.pipes.get_mut(&number).expect(KNOWN)
    }

    /// The time up to which a direction has delivered.
    pub(super) fn horizon(&self, direction: Direction, now: Instant) -> Instant {
        self.held.get(direction).unwrap_or(now)
    }

    /// When something sent now, without bytes, arrives.
    pub(super) fn arrival_of_news(&mut self) -> Instant {
        Instant::now() + latency(&self.profile, &mut self.latency_draws)
    }
}

/// How many bytes one read or write may move.
pub(super) fn chop(most: Option<NonZeroU32>, draws: &mut Xoshiro256PlusPlus) -> usize {
    most.map_or(usize::MAX, |most| 1 + below(draws, u64::from(most.get())) as usize)
}

pub(super) fn segment_max(profile: &Profile) -> usize {
    profile
        .bandwidth_bytes_per_ms
        .map_or(usize::MAX, |rate| (rate.get() as usize).saturating_mul(SEGMENT_MS_MAX))
}

pub(super) fn latency(profile: &Profile, draws: &mut Xoshiro256PlusPlus) -> Duration {
    let spread = profile.latency_max_us.saturating_sub(profile.latency_min_us);
    let extra = if spread == 0 { 0 } else { below(draws, spread.saturating_add(1)) };
    Duration::from_micros(profile.latency_min_us.saturating_add(extra))
}

/// How long the line is busy with this many bytes.
pub(super) fn line_time(profile: &Profile, len: usize) -> Duration {
    profile.bandwidth_bytes_per_ms.map_or(Duration::ZERO, |rate| {
        let micros = (len as u64).saturating_mul(1000).div_ceil(u64::from(rate.get()));
        Duration::from_micros(micros)
    })
}

/// A draw from `0..bound`, without the bias of a remainder.
fn below(draws: &mut Xoshiro256PlusPlus, bound: u64) -> u64 {
    ((u128::from(draws.next_u64()) * u128::from(bound)) >> 64) as u64
}

/// Tasks to wake once the link is unlocked, because waking can run foreign code.
#[derive(Default)]
pub(super) struct Wake(pub(super) Vec<Waker>);

impl Wake {
    pub(super) fn everybody(&mut self, pipe: &mut Pipe) {
        for direction in Direction::BOTH {
            let half = pipe.halves.get_mut(direction);
            self.0.extend(half.take_reader());
            self.0.extend(half.take_writer());
        }
    }

    pub(super) fn now(self) {
        for waker in self.0 {
            waker.wake();
        }
    }
}
