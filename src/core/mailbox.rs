//! The bounded queue between a connection and one subscriber.
//!
//! It never makes the connection wait. When it is full the oldest items give way, and a
//! [`Push::Lagged`] stands where they were: loss is an item like any other (B70).

use std::collections::VecDeque;

use super::effect::Push;

/// The items waiting for one subscriber.
///
/// The first item that is ever taken out is a snapshot, also after an overflow: the latest
/// snapshot is never evicted, and what came before it is obsolete by definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Mailbox {
    items: VecDeque<Push>,
    bytes: usize,
    max_items: usize,
    max_bytes: usize,
}

impl Mailbox {
    /// An empty mailbox for at most `max_items` items (at least 4) holding at most `max_bytes`
    /// bytes of frames. One item larger than all of `max_bytes` is still kept while it is the
    /// newest.
    #[must_use]
    pub fn new(max_items: usize, max_bytes: usize) -> Self {
        Self { items: VecDeque::new(), bytes: 0, max_items: max_items.max(4), max_bytes }
    }

    /// Adds an item, evicting old ones if there is no room.
    pub fn push(&mut self, push: Push) {
        self.bytes += weight(&push);
        self.items.push_back(push);
        while (self.items.len() > self.max_items || self.bytes > self.max_bytes) && self.evict() {}
    }

    /// The oldest item.
    pub fn pop(&mut self) -> Option<Push> {
        let push = self.items.pop_front()?;
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
