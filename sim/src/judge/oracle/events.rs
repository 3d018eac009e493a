//! `snapshot_first` and `gap_before_event`: the grammar of every subscription.
//!
//! ```text
//!   subscription = ( Snapshot(e) ( Status | Lagged | Event(e) | Gap(e) Event(e) )* )* Closed
//!   one that resnapshots when it lags:   Lagged is followed by Snapshot(e), with e as before or newer
//! ```

use std::collections::{BTreeMap, BTreeSet};

use onesocket::core::Instant;

use super::Oracle;
use crate::plan::consumer::Lag;
use crate::trace::{Deviation, Event, GatewayEvent, Item, Record, StatusKind};

/// The first item is a snapshot, each connection begins with one, and a newcomer gets the latest. Who resnapshots when
/// it lags gets one with the news of its lag, and nobody gets anything after the end.
#[derive(Default)]
pub(super) struct SnapshotFirst {
    subscriptions: BTreeMap<u32, Reading>,
    latest: u64,
    /// Whether the client may be without a snapshot of its config, and when it last may have been.
    stateless: bool,
    stateless_at: Option<Instant>,
}

/// What is known of one subscription.
#[derive(Default)]
struct Reading {
    lag: Lag,
    /// The epoch of its latest snapshot; `None` before the first.
    epoch: Option<u64>,
    /// What its first snapshot must be of at least, from the time it subscribed.
    least: u64,
    /// The item before, and when it was read.
    last: Option<(Instant, Item)>,
    /// When the one before that was read, if there was one.
    earlier: Option<Instant>,
    /// Whether a snapshot of the same connection comes next.
    resnapshot: Resnapshot,
    /// Whether it was told that the connection of its latest snapshot is over.
    is_over: bool,
}

/// Whether a subscription resnapshots.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Resnapshot {
    #[default]
    Never,
    /// It was notified of a lag, and it is not known whether there was a snapshot when it lagged.
    Maybe,
    /// It was notified of a lag.
    Now,
    /// It has done so, and is notified of the lag next.
    Done,
}

impl Reading {
    fn take(&mut self, item: Item, at: Instant, stateless_at: Option<Instant>) -> Result<(), String> {
        let before = self.last.replace((at, item));
        let (read, previous) = before.unzip();
        let earlier = std::mem::replace(&mut self.earlier, read);
        if previous == Some(Item::Closed) {
            return Err(format!("gets {item} after the end"));
        }
        self.outlives(item)?;
        let resnapshot = std::mem::take(&mut self.resnapshot);
        match (item, self.epoch) {
            (Item::Snapshot { epoch: new }, old) => {
                // One that waits is not replaced where there is none to take its place: then the lag comes behind it.
                let stays =
                    self.lag == Lag::Resnapshot && stateless_at.is_some_and(|then| Some(then) >= read);
                if resnapshot == Resnapshot::Never && stays && old == Some(new) {
                    self.resnapshot = Resnapshot::Done;
                    return Ok(());
                }
                let is_old = old
                    .is_some_and(|old| if resnapshot == Resnapshot::Never { new <= old } else { new < old });
                if new < self.least || is_old {
                    return Err(format!("gets the old snapshot of epoch {new}"));
                }
                self.epoch = Some(new);
                Ok(())
            }
            (Item::Closed, _) => Ok(()),
            (Item::Lagged { .. }, Some(_)) if resnapshot == Resnapshot::Done => Ok(()),
            _ if resnapshot == Resnapshot::Done => {
                Err(format!("gets {item} after the same snapshot again, and no lag"))
            }
            // The snapshot was not read either before the next lag came.
            (Item::Lagged { .. }, Some(_)) if resnapshot != Resnapshot::Never => {
                self.resnapshot = resnapshot;
                Ok(())
            }
            _ if resnapshot == Resnapshot::Now => Err(format!("gets {item} after a lag, and no snapshot")),
            // A lag may be all that such a subscription was ever good for.
            (Item::Lagged { .. }, None) if self.lag == Lag::Close => Ok(()),
            (_, None) => Err(format!("gets {item} before any snapshot")),
            (Item::Event { epoch: of, .. } | Item::Gap { epoch: of, .. }, Some(current)) if of != current => {
                Err(format!("gets {item} after the snapshot of epoch {current}"))
            }
            (Item::Lagged { .. }, Some(_)) if self.lag == Lag::Resnapshot => {
                // A snapshot stays before the news of a lag if it is the very first item, or if there was none to take
                // its place. Everything before that was read by then.
                let is_after_snapshot = matches!(previous, Some(Item::Snapshot { .. }));
                let lagged_after = if is_after_snapshot { earlier } else { read };
                let had_snapshot = stateless_at.is_none_or(|then| Some(then) < lagged_after);
                self.resnapshot =
                    if had_snapshot && lagged_after.is_some() { Resnapshot::Now } else { Resnapshot::Maybe };
                Ok(())
            }
            (Item::Event { .. } | Item::Gap { .. } | Item::Status(_) | Item::Lagged { .. }, Some(_)) => {
                Ok(())
            }
        }
    }

    /// Nothing of a connection comes after the news that there is none.
    fn outlives(&mut self, item: Item) -> Result<(), String> {
        match item {
            Item::Snapshot { .. } => self.is_over = false,
            Item::Status(status) => self.is_over = status != StatusKind::Ready,
            Item::Event { .. } | Item::Gap { .. } if self.is_over => {
                return Err(format!("gets {item} of a connection that is over"));
            }
            Item::Event { .. } | Item::Gap { .. } | Item::Lagged { .. } | Item::Closed => {}
        }
        Ok(())
    }
}

impl Oracle for SnapshotFirst {
    fn observe(&mut self, record: &Record) -> Result<(), String> {
        match &record.event {
            Event::Subscribed { subscription, lag, .. } => {
                let reading = Reading { lag: *lag, least: self.latest, ..Reading::default() };
                self.subscriptions.insert(*subscription, reading);
            }
            // A new config has no snapshot until its own first hello, so the old one is no measure.
            Event::Configured { changed: true, .. } | Event::Unconfigured { changed: true } => {
                self.latest = 0;
                self.stateless = true;
                self.stateless_at = Some(record.at);
            }
            Event::Status(StatusKind::Ready) if self.stateless => {
                self.stateless = false;
                self.stateless_at = Some(record.at);
            }
            Event::Pushed { subscription, item } => {
                if let Item::Snapshot { epoch } = item {
                    self.latest = self.latest.max(*epoch);
                }
                let stateless_at = if self.stateless { Some(record.at) } else { self.stateless_at };
                let reading = self.subscriptions.entry(*subscription).or_default();
                let taken = reading.take(*item, record.at, stateless_at);
                return taken.map_err(|what| format!("subscription {subscription} {what}"));
            }
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
    /// The highest number before a snapshot of the same connection, which is newer than all until then.
    floor: Option<u64>,
}

impl Numbers {
    fn take(&mut self, item: Item, bent: &BTreeSet<u64>) -> Result<(), String> {
        // A slow subscriber may have lost the event that the gap was about: to a lag, of which it is notified, or to a new
        // connection, whose snapshot takes the place of what was not read.
        let goes_on = matches!(item, Item::Event { .. } | Item::Lagged { .. } | Item::Snapshot { .. });
        // Events from before hello that did not fit are a gap that no event revealed: the next may never come.
        let is_early = self.highest.is_none() && matches!(item, Item::Status(_) | Item::Closed);
        if let (Some((_, received)), false) = (self.gap, goes_on || is_early) {
            return Err(format!("a gap up to {received} is followed by {item}"));
        }
        match item {
            Item::Snapshot { epoch } => {
                let floor = self.highest.max(self.floor).filter(|_| epoch == self.epoch);
                *self = Self { epoch, floor, ..Self::default() };
            }
            // What was lost is reported; the next number starts over.
            Item::Lagged { .. } => {
                self.floor = self.floor.max(self.highest);
                (self.highest, self.gap) = (None, None);
            }
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
        if let (Some(seq), Some(floor), None) = (seq, self.floor, self.highest)
            && seq <= floor
        {
            return Err(format!("event {seq} of epoch {} comes again after a lag", self.epoch));
        }
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
    fn observe(&mut self, record: &Record) -> Result<(), String> {
        match &record.event {
            Event::Pushed { subscription, item } => {
                let numbers = self.subscriptions.entry(*subscription).or_default();
                let taken = numbers.take(*item, &self.bent);
                return taken.map_err(|what| format!("subscription {subscription}: {what}"));
            }
            Event::Gateway {
                event: GatewayEvent::Misbehaved { deviation: Deviation::SequenceBent, .. },
                ..
            } => {
                self.bending = true;
            }
            Event::Gateway { event: GatewayEvent::EventSent { seq, .. }, .. } if self.bending => {
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

    fn read(lag: Lag, items: &[Item]) -> Option<usize> {
        let subscribed = Event::Subscribed { consumer: 0, subscription: 1, lag };
        let pushed = items.iter().map(|item| Event::Pushed { subscription: 1, item: *item });
        let history = std::iter::once(subscribed).chain(pushed);
        // The number of the item, from 1.
        first_broken(&mut SnapshotFirst::default(), (0..).map(|number| number * 100).zip(history))
    }

    #[test]
    fn who_resnapshots_after_a_lag_gets_a_snapshot_with_the_news() {
        let snapshot = |epoch| Item::Snapshot { epoch };
        let event = |seq| Item::Event { epoch: 3, seq: Some(seq) };
        let lag = Item::Lagged { missed: 2 };
        assert_eq!(read(Lag::Resnapshot, &[snapshot(3), event(1), lag, snapshot(3), event(4)]), None);
        assert_eq!(read(Lag::Resnapshot, &[snapshot(3), lag, event(4), lag, snapshot(4)]), None);
        assert_eq!(read(Lag::Resnapshot, &[snapshot(3), event(1), lag, event(4)]), Some(4));
        assert_eq!(read(Lag::Resnapshot, &[snapshot(3), event(1), lag, snapshot(2)]), Some(4));
        assert_eq!(read(Lag::Resnapshot, &[snapshot(3), event(1), lag, lag, snapshot(3)]), None);
        assert_eq!(read(Lag::Resnapshot, &[snapshot(3), lag, snapshot(3), lag, snapshot(3)]), None);
        assert_eq!(read(Lag::Resnapshot, &[snapshot(3), lag, snapshot(3), lag, event(4)]), Some(5));
        assert_eq!(read(Lag::Resnapshot, &[snapshot(3), event(1), snapshot(3)]), Some(3));
        assert_eq!(read(Lag::DropOldest, &[snapshot(3), event(1), lag, event(4)]), None);
        assert_eq!(read(Lag::DropOldest, &[snapshot(3), event(1), lag, snapshot(3)]), Some(4));
    }

    #[test]
    fn nothing_follows_the_end_of_a_connection() {
        let event = Item::Event { epoch: 3, seq: Some(1) };
        let gap = Item::Gap { epoch: 3, expected: 2, received: 4 };
        let (begin, next) = (Item::Snapshot { epoch: 3 }, Item::Snapshot { epoch: 4 });
        for over in [StatusKind::Closing, StatusKind::Backoff, StatusKind::Paused].map(Item::Status) {
            assert_eq!(read(Lag::DropOldest, &[begin, over, next, Item::Status(StatusKind::Ready)]), None);
            assert_eq!(read(Lag::DropOldest, &[begin, event, over, event]), Some(4));
            assert_eq!(read(Lag::DropOldest, &[begin, over, gap]), Some(3));
        }
    }

    #[test]
    fn without_a_snapshot_of_the_config_nobody_resnapshots() {
        let pushed = |at_ms, item| (at_ms, Event::Pushed { subscription: 1, item });
        let history = |ready_ms| {
            [
                (0, Event::Subscribed { consumer: 0, subscription: 1, lag: Lag::Resnapshot }),
                pushed(100, Item::Snapshot { epoch: 3 }),
                (200, Event::Unconfigured { changed: true }),
                (ready_ms, Event::Status(StatusKind::Ready)),
                pushed(800, Item::Status(StatusKind::Ready)),
                pushed(900, Item::Lagged { missed: 2 }),
                pushed(950, Item::Status(StatusKind::Backoff)),
            ]
        };
        assert_eq!(first_broken(&mut SnapshotFirst::default(), history(800)), None);
        assert_eq!(first_broken(&mut SnapshotFirst::default(), history(700)), Some(6));
        // The snapshot that waits stays, and the lag is reported behind it.
        let mut stays = history(850);
        let again = pushed(900, Item::Snapshot { epoch: 3 });
        stays[5] = again;
        stays[6] = pushed(950, Item::Lagged { missed: 2 });
        assert_eq!(first_broken(&mut SnapshotFirst::default(), stays.clone()), None);
        stays[6] = pushed(950, Item::Status(StatusKind::Backoff));
        assert_eq!(first_broken(&mut SnapshotFirst::default(), stays), Some(6));
    }

    #[test]
    fn what_ends_with_a_lag_needs_no_snapshot_and_gets_nothing_more() {
        let lag = Item::Lagged { missed: 9 };
        let event = Item::Event { epoch: 3, seq: Some(1) };
        assert_eq!(read(Lag::Close, &[lag, Item::Closed]), None);
        assert_eq!(read(Lag::DropOldest, &[lag, Item::Closed]), Some(1));
        assert_eq!(read(Lag::Close, &[Item::Snapshot { epoch: 3 }, lag, Item::Closed, event]), Some(4));
    }

    fn broken(items: &[Item]) -> Option<usize> {
        let history = items.iter().map(|item| (1, Event::Pushed { subscription: 1, item: *item }));
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
        let (lag, again) = (Item::Lagged { missed: 1 }, Item::Snapshot { epoch: 1 });
        assert_eq!(broken(&[again, event(3), lag, again, event(5), event(6)]), None);
        assert_eq!(broken(&[again, event(3), lag, again, event(3)]), Some(4));
        let (next, over) = (Item::Snapshot { epoch: 2 }, Item::Status(StatusKind::Backoff));
        assert_eq!(broken(&[again, event(1), gap, over]), Some(3));
        assert_eq!(broken(&[again, gap, over, next]), None);
        assert_eq!(broken(&[again, event(3), lag, next, Item::Event { epoch: 2, seq: Some(1) }]), None);
    }
}
