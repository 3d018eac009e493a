//! What is known of one subscription, and what it got.

use std::collections::BTreeMap;

use onesocket::core::Instant;

use crate::plan::consumer::Lag;
use crate::trace::Item;

/// What is known of one subscription.
pub(super) struct Reading {
    pub(super) prompt: bool,
    pub(super) lag: Lag,
    pub(super) opened: Instant,
    pub(super) tally: Tally,
    /// Of others that read at once, the tallies they had when this subscription began with a snapshot: from then
    /// on both get the same.
    pub(super) twins: BTreeMap<u32, Tally>,
    pub(super) last: Option<Item>,
    /// Ended because it lagged.
    pub(super) gave_up: bool,
    /// The number of the latest event of the healthy connection; none before its snapshot.
    pub(super) seq: Option<u64>,
    /// The number from which on it got, or was notified that it lost, every event of that connection.
    pub(super) first: Option<u64>,
    /// Got the last item.
    pub(super) closed: bool,
    /// Dropped by its consumer.
    pub(super) left: bool,
}

/// What a subscription got.
#[derive(Clone, Copy, Default)]
pub(super) struct Tally {
    /// Items read, and items it was notified that it lost.
    pub(super) total: u64,
    /// Snapshots among those read.
    pub(super) snapshots: u64,
    /// Whether it lost anything.
    pub(super) lagged: bool,
}

impl Tally {
    pub(super) fn take(&mut self, item: Item) {
        self.total += match item {
            Item::Lagged { missed } => missed,
            Item::Snapshot { .. }
            | Item::Event { .. }
            | Item::Gap { .. }
            | Item::Status(_)
            | Item::Closed => 1,
        };
        self.snapshots += u64::from(matches!(item, Item::Snapshot { .. }));
        self.lagged |= matches!(item, Item::Lagged { .. });
    }

    pub(super) fn plain(self) -> u64 {
        self.total - self.snapshots
    }
}

impl Reading {
    /// Whether it got event `seq` of the healthy connection, or was notified that it lost it.
    pub(super) fn has(&self, seq: u64) -> bool {
        self.seq >= Some(seq) && self.first.is_none_or(|first| first <= seq)
    }
}
