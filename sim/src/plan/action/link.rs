//! What becomes of the path between the client and a gateway.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Action;
use crate::pipe::{Direction, Profile};

/// What becomes of the path between the client and a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum LinkFault {
    /// Fault: what is sent between client and gateway vanishes, and connections that exist
    /// meanwhile stay dead.
    Partition {
        /// For how long.
        for_ms: u64,
    },
    /// Fault: what is sent between client and gateway arrives late, in order.
    Blip {
        /// For how long nothing arrives.
        for_ms: u64,
    },
    /// Fault: what is sent in one direction vanishes, and connections that exist meanwhile stay deaf that way. Dials
    /// are never answered.
    Lose {
        /// Which way.
        direction: Direction,
        /// For how long.
        for_ms: u64,
    },
    /// Fault: nothing arrives in one direction, and nothing is lost.
    Stall {
        /// Which way.
        direction: Direction,
        /// For how long.
        for_ms: u64,
    },
    /// Fault: the connections that exist die without a word to either end, and new ones work.
    HalfOpen {},
    /// Fault: everything takes longer.
    Delay {
        /// By how much.
        by_ms: u64,
        /// For how long.
        for_ms: u64,
    },
    /// Fault: the link is slow and has a deep buffer. The more it is given, the longer everything takes, until the
    /// buffer is empty again.
    Bufferbloat {
        /// How many bytes each direction carries in a millisecond, at least one.
        per_ms: NonZeroU32,
        /// The longest that anything waits in the buffer.
        up_to_ms: u64,
        /// For how long.
        for_ms: u64,
    },
    /// Fault: both ends of every connection see a reset.
    Reset {},
    /// Fault: dials are refused.
    RefuseDials {
        /// For how long.
        for_ms: u64,
    },
    /// Fault: dials are never answered, not even when this ends.
    IgnoreDials {
        /// For how long.
        for_ms: u64,
    },
    /// Fault: dials succeed, and their websocket upgrade is never answered.
    IgnoreUpgrades {
        /// For how long.
        for_ms: u64,
    },
    /// Fault: the client's close frames are never answered.
    IgnoreCloses {
        /// For how long.
        for_ms: u64,
    },
    /// Fault: the client's close frames are answered late.
    LateCloses {
        /// How late.
        by_ms: u64,
        /// For how long.
        for_ms: u64,
    },
    /// Fault: bytes come in other pieces, or slowly.
    Bytes {
        /// Reads and writes move a drawn number of bytes between one and this; any number if it is 0.
        #[serde(default)]
        chop: u32,
        /// Whether one read may return what was written in several pieces.
        #[serde(default)]
        coalesce: bool,
        /// How many bytes each direction carries in a millisecond; any number if it is 0.
        #[serde(default)]
        per_ms: u32,
        /// For how long.
        for_ms: u64,
    },
}

impl LinkFault {
    /// The fault of the path to the gateway of this number.
    #[must_use]
    pub fn to(self, gateway: u8) -> Action {
        Action::Link { gateway, fault: self }
    }

    /// The longest that a line goes on delivering, once it is fast again, what it held back while it was slow.
    pub(crate) fn drain(&self) -> Duration {
        match self {
            Self::Bytes { per_ms: per_ms @ 1.., .. } => {
                let capacity = Profile::default().capacity_bytes.get() as u64;
                Duration::from_millis(capacity / u64::from(*per_ms))
            }
            Self::Bufferbloat { up_to_ms, .. } => Duration::from_millis(*up_to_ms),
            Self::Partition { .. }
            | Self::Blip { .. }
            | Self::Lose { .. }
            | Self::Stall { .. }
            | Self::HalfOpen {}
            | Self::Delay { .. }
            | Self::Reset {}
            | Self::RefuseDials { .. }
            | Self::IgnoreDials { .. }
            | Self::IgnoreUpgrades { .. }
            | Self::IgnoreCloses { .. }
            | Self::LateCloses { .. }
            | Self::Bytes { .. } => Duration::ZERO,
        }
    }

    /// The names in plans.
    pub(super) const NAMES: [&str; 14] = [
        "partition",
        "blip",
        "lose",
        "stall",
        "half-open",
        "delay",
        "bufferbloat",
        "reset",
        "refuse-dials",
        "ignore-dials",
        "ignore-upgrades",
        "ignore-closes",
        "late-closes",
        "bytes",
    ];

    /// How long it goes on, if it does not end where it begins.
    pub(super) fn lasts_ms(&self) -> Option<u64> {
        match self {
            Self::Partition { for_ms }
            | Self::Lose { for_ms, .. }
            | Self::Blip { for_ms }
            | Self::Stall { for_ms, .. }
            | Self::Delay { for_ms, .. }
            | Self::Bufferbloat { for_ms, .. }
            | Self::RefuseDials { for_ms }
            | Self::IgnoreDials { for_ms }
            | Self::IgnoreUpgrades { for_ms }
            | Self::IgnoreCloses { for_ms }
            | Self::LateCloses { for_ms, .. }
            | Self::Bytes { for_ms, .. } => Some(*for_ms),
            Self::HalfOpen {} | Self::Reset {} => None,
        }
    }
}
