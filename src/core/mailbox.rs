//! The bounded queue between a connection and one subscriber.
//!
//! It never makes the connection wait. When it is full, its [`LagPolicy`] says what gives way, and a
//! [`Push::Lagged`] tells of it: loss is an item like any other (B70).

use std::collections::VecDeque;
use std::sync::Arc;

use super::effect::Push;
use super::snapshot::Snapshot;

/// The fewest items a mailbox must be able to hold: a snapshot, a lag notice, the newest item and the end.
pub const ITEMS_MIN: usize = 4;

/// What happens to a subscriber that reads too slowly. Each of them tells it with a [`Push::Lagged`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LagPolicy {
    /// The oldest items give way, one by one; the latest snapshot that waits stays. For those who want
    /// as much of the recent past as there is room for.
    #[default]
    DropOldest,
    /// Everything that waits gives way to the state as of now: after the notice comes the latest snapshot,
    /// then the newest item and what follows. For those who show a state and would only skip what they
    /// missed.
    Resnapshot,
    /// The notice and [`Push::Closed`] are all that is left. For those to whom a stream with a hole is
    /// worth nothing.
    Close,
}

/// The items waiting for one subscriber.
///
/// The first item that is ever taken out is a snapshot, also after an overflow, unless the overflow closed
/// the mailbox: the latest snapshot is never evicted, and what came before it is obsolete by definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Mailbox {
    items: VecDeque<Push>,
    bytes: usize,
    max_items: usize,
    max_bytes: usize,
    policy: LagPolicy,
    /// Whether the subscriber has taken an item.
    begun: bool,
    closed: bool,
}

impl Mailbox {
    /// An empty mailbox for at most `max_items` items (at least [`ITEMS_MIN`]) holding at most `max_bytes`
    /// bytes of frames. The newest item and the latest snapshot are kept even if they alone are larger.
    #[must_use]
    pub fn new(max_items: usize, max_bytes: usize) -> Self {
        Self {
            items: VecDeque::new(),
            bytes: 0,
            max_items: max_items.max(ITEMS_MIN),
            max_bytes,
            policy: LagPolicy::default(),
            begun: false,
            closed: false,
        }
    }

    /// The same mailbox with another rule for an overflow.
    #[must_use]
    pub fn with_policy(mut self, policy: LagPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Adds an item. If that is one too many, the policy makes room; `latest` is the connection's
    /// snapshot as of now, if it has one.
    pub fn push(&mut self, push: Push, latest: Option<&Arc<Snapshot>>) {
        if self.closed {
            return;
        }
        self.closed = push == Push::Closed;
        self.add(push);
        match (self.policy, latest) {
            (LagPolicy::Resnapshot, Some(latest)) => self.begin_anew(latest),
            // Without a connection there is no state to begin anew from: the config has just changed.
            (LagPolicy::DropOldest, _) | (LagPolicy::Resnapshot, None) => {
                while self.is_over() && self.evict() {}
            }
            (LagPolicy::Close, _) => self.give_up(),
        }
    }

    /// The oldest item.
    pub fn pop(&mut self) -> Option<Push> {
        let push = self.items.pop_front()?;
        self.begun = true;
        self.bytes -= weight(&push);
        Some(push)
    }

    /// Items waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether nothing can be added any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    fn add(&mut self, push: Push) {
        self.bytes += weight(&push);
        self.items.push_back(push);
    }

    fn is_over(&self) -> bool {
        self.items.len() > self.max_items || self.bytes > self.max_bytes
    }

    /// Whether there is too much, and any of it is more than the newest item and the latest snapshot,
    /// which nobody can do without.
    fn has_backlog(&self) -> bool {
        let latest = self.items.iter().rposition(|push| matches!(push, Push::Snapshot(_)));
        let newest = self.items.len().saturating_sub(1);
        let gives_way = |(index, push): (usize, &Push)| {
            index != newest && Some(index) != latest && !matches!(push, Push::Lagged { .. })
        };
        self.is_over() && self.items.iter().enumerate().any(gives_way)
    }

    /// The newest item stays: it may be the last for a long time, like the status of a pause. A snapshot
    /// that gives way to a later one is no loss.
    fn begin_anew(&mut self, latest: &Arc<Snapshot>) {
        if !self.has_backlog() {
            return;
        }
        let newest = self.items.pop_back().expect("a backlog has items");
        self.items.retain(|push| !matches!(push, Push::Snapshot(_)));
        let missed = self.clear();
        let lagged = (missed > 0).then_some(Push::Lagged { missed });
        let is_snapshot = matches!(newest, Push::Snapshot(_));
        let (snapshot, rest) =
            if is_snapshot { (newest, None) } else { (Push::Snapshot(Arc::clone(latest)), Some(newest)) };
        // A subscriber's very first item is a snapshot, whatever happened.
        let in_order =
            if self.begun { [lagged, Some(snapshot), rest] } else { [Some(snapshot), lagged, rest] };
        in_order.into_iter().flatten().for_each(|push| self.add(push));
    }

    /// Ends the subscription, unless it ends anyway.
    fn give_up(&mut self) {
        if !self.has_backlog() {
            return;
        }
        if self.items.back() == Some(&Push::Closed) {
            self.items.pop_back();
        }
        let missed = self.clear();
        self.add(Push::Lagged { missed });
        self.add(Push::Closed);
        self.closed = true;
    }

    /// Drops everything that waits, and says how much that was.
    fn clear(&mut self) -> u64 {
        self.bytes = 0;
        self.items.drain(..).map(|push| missed(&push)).sum()
    }

    /// Makes room by one step; false when there is nothing left to give way. The newest item and
    /// the latest snapshot stay.
    fn evict(&mut self) -> bool {
        let latest = self.items.iter().rposition(|push| matches!(push, Push::Snapshot(_)));
        match latest {
            Some(0) => self.evict_at(1),
            Some(index) => self.drop_before(index),
            None => self.evict_at(0),
        }
    }

    /// Everything before the latest snapshot is replaced by it; the count of what is gone follows.
    fn drop_before(&mut self, snapshot: usize) -> bool {
        let gone: Vec<Push> = self.items.drain(..snapshot).collect();
        self.bytes -= gone.iter().map(weight).sum::<usize>();
        self.note_lag(1, gone.iter().map(missed).sum());
        true
    }

    fn evict_at(&mut self, index: usize) -> bool {
        let is_lag = matches!(self.items.get(index), Some(Push::Lagged { .. }));
        let victim = if is_lag { index + 1 } else { index };
        let is_newest = victim + 1 >= self.items.len();
        if is_newest {
            return false;
        }
        let gone = self.items.remove(victim).expect("the victim is before the newest item");
        self.bytes -= weight(&gone);
        self.note_lag(index, missed(&gone));
        true
    }

    fn note_lag(&mut self, index: usize, more: u64) {
        if let Some(Push::Lagged { missed }) = self.items.get_mut(index) {
            *missed += more;
        } else {
            self.items.insert(index, Push::Lagged { missed: more });
        }
    }
}

/// How many items a subscriber misses when it misses this one.
fn missed(push: &Push) -> u64 {
    match push {
        Push::Lagged { missed } => *missed,
        Push::Snapshot(_) | Push::Event(_) | Push::Gap(_) | Push::Status(_) | Push::Closed => 1,
    }
}

/// The bytes that an item keeps alive: those of the whole frame, of which a payload may be the least.
fn weight(push: &Push) -> usize {
    match push {
        Push::Snapshot(snapshot) => snapshot.hello.raw.frame_len(),
        Push::Event(event) => event.payload.frame_len(),
        Push::Gap(_) | Push::Status(_) | Push::Lagged { .. } | Push::Closed => 0,
    }
}
