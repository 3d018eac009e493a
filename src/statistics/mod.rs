//! What a connection has done so far, in numbers that cost next to nothing.
//!
//! The driver adds to atomic counters, and anybody reads them at any time, without a lock and without
//! asking the driver. With the feature `metrics` the same numbers go to the recorder of the
//! [`metrics`](https://docs.rs/metrics) crate, summed over all clients of the process.

#[cfg(feature = "metrics")]
mod export;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a client has done since it was made. See [`Client::statistics`](crate::Client::statistics).
///
/// Read one after the other while the driver goes on, so two numbers need not fit each other exactly.
/// Totals only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Dials begun.
    pub dials: u64,
    /// Connections that got as far as hello.
    pub connects: u64,
    /// Messages received, before and after hello. Pings and the like do not count.
    pub frames_in: u64,
    /// Their size: bytes of JSON text, without the framing of the websocket and TLS.
    pub bytes_in: u64,
    /// Messages handed to the transport.
    pub frames_out: u64,
    /// Their size, measured like [`bytes_in`](Self::bytes_in).
    pub bytes_out: u64,
    /// Holes in the numbering of events that were reported to subscribers. Each counts once, however
    /// many subscribers there are, and not at all if there is none.
    pub gaps: u64,
    /// Items that subscribers were too slow for, counted when they read of it.
    pub lagged_items: u64,
    /// Requests that have not ended, as of now.
    pub pending: u64,
    /// Subscriptions that have not ended, as of now.
    pub subscriptions: u64,
    /// From handing the latest answered request to the transport until its first answer, the gateway's
    /// work included. Requests that had to wait in the queue are left out.
    pub last_round_trip: Option<Duration>,
}

impl Statistics {
    /// Connections after the first.
    #[must_use]
    pub fn reconnects(&self) -> u64 {
        self.connects.saturating_sub(1)
    }
}

/// Something that only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Total {
    Dials,
    Connects,
    FramesIn,
    BytesIn,
    FramesOut,
    BytesOut,
    Gaps,
    LaggedItems,
}

/// How many totals there are.
const TOTALS: usize = 8;

/// Something that goes up and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Pending,
    Subscriptions,
}

/// How many levels there are.
const LEVELS: usize = 2;

/// No round trip yet.
const NEVER: u64 = u64::MAX;

/// The numbers behind [`Statistics`].
pub(crate) struct Counters {
    totals: [AtomicU64; TOTALS],
    levels: [AtomicU64; LEVELS],
    last_round_trip_us: AtomicU64,
    #[cfg(feature = "metrics")]
    exported: export::Exported,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            totals: Default::default(),
            levels: Default::default(),
            last_round_trip_us: AtomicU64::new(NEVER),
            #[cfg(feature = "metrics")]
            exported: export::Exported::register(),
        }
    }

    pub(crate) fn add(&self, total: Total, more: u64) {
        // The numbers order nothing else, so the cheapest ordering will do, here and below.
        self.totals[total as usize].fetch_add(more, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        self.exported.add(total, more);
    }

    /// A message came in.
    pub(crate) fn received(&self, bytes: usize) {
        self.add(Total::FramesIn, 1);
        self.add(Total::BytesIn, bytes as u64);
    }

    /// A message went out.
    pub(crate) fn sent(&self, bytes: usize) {
        self.add(Total::FramesOut, 1);
        self.add(Total::BytesOut, bytes as u64);
    }

    /// So many there are of them now.
    pub(crate) fn set(&self, level: Level, now: usize) {
        let now = now as u64;
        let cell = &self.levels[level as usize];
        // The driver is the only one that writes.
        if cell.load(Ordering::Relaxed) != now {
            let _before = cell.swap(now, Ordering::Relaxed);
            #[cfg(feature = "metrics")]
            self.exported.set(level, _before, now);
        }
    }

    /// A request was answered.
    pub(crate) fn round_trip(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(NEVER - 1);
        self.last_round_trip_us.store(micros, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        self.exported.round_trip(took);
    }

    pub(crate) fn read(&self) -> Statistics {
        let total = |total: Total| self.totals[total as usize].load(Ordering::Relaxed);
        let level = |level: Level| self.levels[level as usize].load(Ordering::Relaxed);
        let round_trip_us = self.last_round_trip_us.load(Ordering::Relaxed);
        Statistics {
            dials: total(Total::Dials),
            connects: total(Total::Connects),
            frames_in: total(Total::FramesIn),
            bytes_in: total(Total::BytesIn),
            frames_out: total(Total::FramesOut),
            bytes_out: total(Total::BytesOut),
            gaps: total(Total::Gaps),
            lagged_items: total(Total::LaggedItems),
            pending: level(Level::Pending),
            subscriptions: level(Level::Subscriptions),
            last_round_trip: (round_trip_us != NEVER).then(|| Duration::from_micros(round_trip_us)),
        }
    }
}
