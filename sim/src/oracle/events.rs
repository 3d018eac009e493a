//! `snapshot_first` and `gap_before_event`: the grammar of every subscription.
//!
//! ```text
//!   subscription = ( Snapshot(e) ( Status | Lagged | Event(e) | Gap(e) Event(e) )* )* Closed
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::{Invariant, Oracle};
use crate::trace::{Item, Mischief, Record, Seen, What};

/// The first item is a snapshot, each connection begins with one, and a newcomer gets the latest.
#[derive(Default)]
pub(super) struct SnapshotFirst {
    /// The epoch of the latest snapshot of each subscription; `None` before the first.
    epochs: BTreeMap<u32, Option<u64>>,
    /// What a newcomer must get at least, from the time it subscribed.
    least: BTreeMap<u32, u64>,
    latest: u64,
}

impl SnapshotFirst {
    fn pushed(&mut self, subscription: u32, item: Item) -> Result<(), String> {
        let least = self.least.get(&subscription).copied().unwrap_or(0);
        let epoch = self.epochs.entry(subscription).or_default();
        match (item, *epoch) {
            (Item::Snapshot { epoch: new }, old) => {
                if new < least || old.is_some_and(|old| new <= old) {
                    return Err(format!("subscription {subscription} gets the old snapshot of epoch {new}"));
                }
                *epoch = Some(new);
                self.latest = self.latest.max(new);
                Ok(())
            }
            (Item::Closed, _) => Ok(()),
            (_, None) => Err(format!("subscription {subscription} gets {item} before any snapshot")),
            (Item::Event { epoch: of, .. } | Item::Gap { epoch: of, .. }, Some(current)) if of != current => {
                Err(format!("subscription {subscription} gets {item} after the snapshot of epoch {current}"))
            }
            (Item::Event { .. } | Item::Gap { .. } | Item::Status(_) | Item::Lagged { .. }, Some(_)) => {
                Ok(())
            }
        }
    }
}

impl Oracle for SnapshotFirst {
    fn invariant(&self) -> Invariant {
        Invariant::SnapshotFirst
    }

    fn observe(&mut self, record: &Record) -> Result<(), String> {
        match &record.what {
            What::Subscribed { subscription, .. } => {
                self.least.insert(*subscription, self.latest);
            }
            // A new config has no snapshot until its own first hello, so the old one is no measure.
            What::Configured { changed: true, .. } | What::Unconfigured { changed: true } => self.latest = 0,
            What::Pushed { subscription, item } => return self.pushed(*subscription, *item),
            _ => {}
        }
        Ok(())
    }
}

/// Numbers rise by one, or a gap says by how much more just before. A gap is never false.
#[derive(Default)]
pub(super) struct GapBeforeEvent {
    subscriptions: BTreeMap<u32, Numbers>,
    /// Numbers that were used again on order. A newcomer whose first event has one learns nothing from it.
    bent: BTreeSet<u64>,
    bending: bool,
}

#[derive(Default)]
struct Numbers {
    epoch: u64,
    highest: Option<u64>,
    gap: Option<(u64, u64)>,
}

impl Numbers {
    fn take(&mut self, item: Item, bent: &BTreeSet<u64>) -> Result<(), String> {
        // A slow subscriber may have lost the event that the gap was about: to a lag, of which it is told, or to a new
        // connection, whose snapshot takes the place of what was not read.
        let goes_on = matches!(item, Item::Event { .. } | Item::Lagged { .. } | Item::Snapshot { .. });
        if let (Some((_, received)), false) = (self.gap, goes_on) {
            return Err(format!("a gap up to {received} is followed by {item}"));
        }
        match item {
            Item::Snapshot { epoch } => *self = Self { epoch, ..Self::default() },
            // What was lost is told; the next number begins anew.
            Item::Lagged { .. } => (self.highest, self.gap) = (None, None),
            Item::Gap { expected, received, .. } => {
                let wanted = self.highest.map_or(expected, |highest| highest + 1);
                if expected != wanted || received <= expected {
                    return Err(format!("{item} is reported where {wanted} is expected"));
                }
                self.gap = Some((expected, received));
            }
            Item::Event { seq: Some(seq), .. } if self.highest.is_none() && bent.contains(&seq) => {
                self.gap = None;
            }
            Item::Event { seq, .. } => return self.event(seq),
            Item::Status(_) | Item::Closed => {}
        }
        Ok(())
    }

    fn event(&mut self, seq: Option<u64>) -> Result<(), String> {
        match (self.gap.take(), seq) {
            (Some((_, received)), seq) if seq != Some(received) => {
                return Err(format!("a gap up to {received} is followed by event {seq:?}"));
            }
            (None, Some(seq)) if self.highest.is_some_and(|highest| seq > highest + 1) => {
                return Err(format!(
                    "event {seq} of epoch {} reveals a gap that was not reported",
                    self.epoch
                ));
            }
            (Some(_) | None, Some(_) | None) => {}
        }
        self.highest = self.highest.max(seq);
        Ok(())
    }
}

impl Oracle for GapBeforeEvent {
    fn invariant(&self) -> Invariant {
        Invariant::GapBeforeEvent
    }

    fn observe(&mut self, record: &Record) -> Result<(), String> {
        match &record.what {
            What::Pushed { subscription, item } => {
                let numbers = self.subscriptions.entry(*subscription).or_default();
                let taken = numbers.take(*item, &self.bent);
                return taken.map_err(|what| format!("subscription {subscription}: {what}"));
            }
            What::Gateway { seen: Seen::Misbehaved { mischief: Mischief::SequenceBent, .. }, .. } => {
                self.bending = true;
            }
            What::Gateway { seen: Seen::EventSent { seq, .. }, .. } if self.bending => {
                self.bending = false;
                self.bent.insert(*seq);
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::first_broken;
    use super::*;

    fn broken(items: &[Item]) -> Option<usize> {
        let history = items.iter().map(|item| (1, What::Pushed { subscription: 1, item: *item }));
        first_broken(&mut GapBeforeEvent::default(), history)
    }

    #[test]
    fn a_gap_is_followed_by_its_event_or_by_the_news_that_it_was_lost() {
        let event = |seq| Item::Event { epoch: 1, seq: Some(seq) };
        let gap = Item::Gap { epoch: 1, expected: 2, received: 4 };
        assert_eq!(broken(&[event(1), gap, event(4), event(5)]), None);
        assert_eq!(broken(&[event(1), gap, Item::Lagged { missed: 1 }, event(7)]), None);
        assert_eq!(broken(&[event(1), gap, event(5)]), Some(2));
        assert_eq!(broken(&[event(1), gap, Item::Snapshot { epoch: 2 }]), None);
        assert_eq!(broken(&[event(1), event(4)]), Some(1));
    }
}
