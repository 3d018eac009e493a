//! What a link is like while nothing in particular happens to it.

use std::num::{NonZeroU32, NonZeroUsize};

use serde::{Deserialize, Serialize};

/// The ordinary properties of a [`Link`](super::Link). It is data: a plan can hold it.
///
/// Tokio's timers tick once per millisecond, so arrivals that differ by less happen at the same time. They keep
/// their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Profile {
    /// The shortest latency of a segment.
    pub latency_min_us: u64,
    /// The longest latency of a segment. One write is one segment; order is kept in each direction.
    pub latency_max_us: u64,
    /// Reads return a drawn number of bytes between one and this.
    pub chop_read_bytes: Option<NonZeroU32>,
    /// Writes accept a drawn number of bytes between one and this.
    pub chop_write_bytes: Option<NonZeroU32>,
    /// Whether one read may return several segments.
    pub coalesce: bool,
    /// How many bytes each direction carries in a millisecond.
    pub bandwidth_bytes_per_ms: Option<NonZeroU32>,
    /// How many bytes may be on their way in one direction of one stream, unread ones included. Writers wait
    /// while it is used up.
    pub capacity_bytes: NonZeroUsize,
}

impl Default for Profile {
    /// No latency, no limits but a capacity of 256 KiB.
    fn default() -> Self {
        Profile {
            latency_min_us: 0,
            latency_max_us: 0,
            chop_read_bytes: None,
            chop_write_bytes: None,
            coalesce: true,
            bandwidth_bytes_per_ms: None,
            capacity_bytes: const { NonZeroUsize::new(256 * 1024).expect("not zero") },
        }
    }
}

impl Profile {
    /// The default with this range of latencies.
    pub fn with_latency_us(min: u64, max: u64) -> Self {
        Profile { latency_min_us: min, latency_max_us: max, ..Profile::default() }
    }
}

/// A direction of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the client to the gateway.
    ToGateway,
    /// From the gateway to the client.
    ToClient,
}

impl Direction {
    /// Both directions.
    pub const BOTH: [Direction; 2] = [Direction::ToGateway, Direction::ToClient];
}

/// What becomes of dials that reach the far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dials {
    /// They succeed.
    #[default]
    Answered,
    /// They fail with `ConnectionRefused`.
    Refused,
    /// They are never answered, not even when this ends.
    Ignored,
}
