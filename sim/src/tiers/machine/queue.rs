//! What is due when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use onesocket::core::{Epoch, Instant};

use crate::tiers::executor::PlanEvent;

/// Something that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Something of the plan.
    Plan(PlanEvent),
    /// The next parcel on its way to the gateway on this socket.
    ArriveAtGateway(Epoch),
    /// The next parcel on its way to the client on this socket.
    ArriveAtClient(Epoch),
    /// The token store is done with the oldest errand.
    StoreAnswers,
    /// The slow reader of this subscription takes an item.
    Read(u32),
    /// A gateway's late answer to the client's close frame on this socket.
    AnswerClose(Epoch),
}

/// Ordered by time, then by a drawn number, then by age.
#[derive(Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<Entry>>,
    pushed: u64,
}

struct Entry {
    at: Instant,
    tie: u64,
    age: u64,
    due: Due,
}

impl Queue {
    pub(super) fn push(&mut self, at: Instant, tie: u64, due: Due) {
        self.pushed += 1;
        self.heap.push(Reverse(Entry { at, tie, age: self.pushed, due }));
    }

    pub(super) fn next_time(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    /// The next thing due.
    ///
    /// # Panics
    /// If nothing is.
    pub(super) fn pop(&mut self) -> Due {
        self.heap.pop().expect("something is due").0.due
    }
}

impl Entry {
    fn key(&self) -> (Instant, u64, u64) {
        (self.at, self.tie, self.age)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}
