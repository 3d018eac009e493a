//! What a connection has done so far, in numbers that cost next to nothing.
//!
//! The driver adds to atomic counters, and anybody reads them at any time, without a lock and without
//! asking the driver. With the feature `metrics` the same numbers go to the recorder of the
//! [`metrics`](https://docs.rs/metrics) crate, summed over all clients of the process.

#[cfg(feature = "metrics")]
mod export;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::core::Ignored;
use crate::core::frame::FrameError;

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
    /// Messages that had no effect, by the reason. They count in [`frames_in`](Self::frames_in) as well.
    pub ignored: IgnoredMessages,
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

/// Messages of the gateway that had no effect, by the reason: see [`Ignored`] and [`FrameError`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IgnoredMessages {
    /// Binary messages that are no text.
    pub not_text: u64,
    /// Text that is no JSON object.
    pub malformed: u64,
    /// Frames of an unknown type, or without one.
    pub unknown_type: u64,
    /// Responses without an id that is text.
    pub response_id: u64,
    /// Malformed answers to nobody. One to a request that waits ends it, and is not ignored.
    pub response_shape: u64,
    /// Events without a name, or with a number that is none.
    pub event_shape: u64,
    /// Answers to requests that nobody waits for: that have ended, were answered before, or are none of ours.
    pub unawaited: u64,
    /// Challenges after `connect` was sent.
    pub challenge: u64,
}

impl IgnoredMessages {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self {
            not_text,
            malformed,
            unknown_type,
            response_id,
            response_shape,
            event_shape,
            unawaited,
            challenge,
        } = self;
        not_text
            + malformed
            + unknown_type
            + response_id
            + response_shape
            + event_shape
            + unawaited
            + challenge
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
    IgnoredNotText,
    IgnoredMalformed,
    IgnoredUnknownType,
    IgnoredResponseId,
    IgnoredResponseShape,
    IgnoredEventShape,
    IgnoredUnawaited,
    IgnoredChallenge,
}

/// How many totals there are.
const TOTALS: usize = 16;

impl Total {
    /// Messages that were ignored for this reason.
    pub(crate) fn ignored(reason: Ignored) -> Self {
        match reason {
            Ignored::NotText => Self::IgnoredNotText,
            Ignored::NoFrame(FrameError::Malformed) => Self::IgnoredMalformed,
            Ignored::NoFrame(FrameError::UnknownType) => Self::IgnoredUnknownType,
            Ignored::NoFrame(FrameError::ResponseId) => Self::IgnoredResponseId,
            Ignored::NoFrame(FrameError::ResponseShape) => Self::IgnoredResponseShape,
            Ignored::NoFrame(FrameError::EventShape) => Self::IgnoredEventShape,
            Ignored::Unawaited => Self::IgnoredUnawaited,
            Ignored::Challenge => Self::IgnoredChallenge,
        }
    }
}

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

    /// A message came in, of so many bytes of text.
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
            ignored: IgnoredMessages {
                not_text: total(Total::IgnoredNotText),
                malformed: total(Total::IgnoredMalformed),
                unknown_type: total(Total::IgnoredUnknownType),
                response_id: total(Total::IgnoredResponseId),
                response_shape: total(Total::IgnoredResponseShape),
                event_shape: total(Total::IgnoredEventShape),
                unawaited: total(Total::IgnoredUnawaited),
                challenge: total(Total::IgnoredChallenge),
            },
            pending: level(Level::Pending),
            subscriptions: level(Level::Subscriptions),
            last_round_trip: (round_trip_us != NEVER).then(|| Duration::from_micros(round_trip_us)),
        }
    }
}
