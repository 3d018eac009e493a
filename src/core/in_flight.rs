//! The requests that have not ended yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::effect::{Reply, WireText};
use super::id::{Epoch, RequestId};
use super::time::Instant;

/// A request that has not ended yet.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pending {
    pub(super) method: Arc<str>,
    pub(super) params: Option<WireText>,
    pub(super) timeout: Option<Duration>,
    pub(super) reply: Reply,
    /// The only connection it may go over, if there is just one.
    pub(super) only_on: Option<Epoch>,
    /// The account it is meant for, if it must be that one.
    pub(super) expected_profile_id: Option<Arc<str>>,
}

impl Pending {
    /// What it takes in the queue.
    pub(super) fn bytes(&self) -> usize {
        let text = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len());
        let params = self.params.as_ref().map_or(0, |params| params.0.len());
        self.method.len() + params + text(&self.expected_profile_id)
    }
}

/// What is written of a request.
pub(super) struct Outgoing {
    pub(super) id: RequestId,
    pub(super) method: Arc<str>,
    pub(super) params: Option<WireText>,
    pub(super) expected_profile_id: Option<Arc<str>>,
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Not given to any transport: the gateway cannot have seen it.
    Queued,
    /// Given to the transport: the gateway may have seen it.
    Sent,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    pending: Pending,
    progress: Progress,
    accepted: bool,
    deadline: Option<Instant>,
}

/// Bounded by what its owner lets in; every way out removes all traces of a request.
///
/// Queued requests leave in the order of their ids, which is the order they were made in.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct InFlight {
    entries: BTreeMap<RequestId, Entry>,
    queued: BTreeSet<RequestId>,
    deadlines: BTreeSet<(Instant, RequestId)>,
    queued_bytes: usize,
}

impl InFlight {
    pub(super) fn queued(&self) -> usize {
        self.queued.len()
    }

    pub(super) fn is_queued(&self, id: RequestId) -> bool {
        self.queued.contains(&id)
    }

    pub(super) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    pub(super) fn sent(&self) -> usize {
        self.entries.len() - self.queued.len()
    }

    /// Adds a request to the queue that has `waited` for it already.
    ///
    /// # Panics
    /// If the id is in use: callers never reuse ids.
    pub(super) fn queue(&mut self, now: Instant, waited: Duration, id: RequestId, pending: Pending) {
        let deadline = pending.timeout.map(|timeout| now + timeout.saturating_sub(waited));
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, id));
        }
        self.queued_bytes += pending.bytes();
        self.queued.insert(id);
        let entry = Entry { pending, progress: Progress::Queued, accepted: false, deadline };
        assert!(self.entries.insert(id, entry).is_none(), "request id {} is used twice", id.0);
    }

    /// The oldest queued request, now counted as sent. Its parameters are handed over.
    pub(super) fn send_next(&mut self) -> Option<Outgoing> {
        let id = self.queued.pop_first()?;
        let entry = self.entries.get_mut(&id).expect("queued requests have an entry");
        self.queued_bytes -= entry.pending.bytes();
        entry.progress = Progress::Sent;
        let Pending { method, params, expected_profile_id, .. } = &mut entry.pending;
        let (method, expected_profile_id) = (Arc::clone(method), expected_profile_id.clone());
        Some(Outgoing { id, method, params: params.take(), expected_profile_id })
    }

    pub(super) fn reply(&self, id: RequestId) -> Option<Reply> {
        self.entries
            .get(&id)
            .filter(|entry| entry.progress == Progress::Sent)
            .map(|entry| entry.pending.reply)
    }

    /// Notes that a request was acknowledged; true the first time.
    pub(super) fn accept(&mut self, id: RequestId) -> bool {
        self.entries.get_mut(&id).is_some_and(|entry| !std::mem::replace(&mut entry.accepted, true))
    }

    /// Removes a request that ended.
    pub(super) fn take(&mut self, id: RequestId) -> Option<(Pending, Progress)> {
        let entry = self.entries.remove(&id)?;
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        if self.queued.remove(&id) {
            self.queued_bytes -= entry.pending.bytes();
        }
        Some((entry.pending, entry.progress))
    }

    /// The oldest request, or the oldest sent one.
    pub(super) fn first(&self, progress: Option<Progress>) -> Option<RequestId> {
        match progress {
            None => self.entries.keys().next().copied(),
            Some(Progress::Queued) => self.queued.first().copied(),
            Some(Progress::Sent) => {
                self.entries.iter().find(|(_, entry)| entry.progress == Progress::Sent).map(|(id, _)| *id)
            }
        }
    }

    /// The oldest queued request that is bound to one connection.
    pub(super) fn first_bound(&self) -> Option<RequestId> {
        self.queued.iter().find(|id| self.entries[*id].pending.only_on.is_some()).copied()
    }

    /// A request whose deadline has come.
    pub(super) fn expired(&self, now: Instant) -> Option<RequestId> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|(_, id)| *id)
    }

    /// A request that still waits in the queue, and whose deadline has come.
    pub(super) fn expired_in_queue(&self, now: Instant) -> Option<RequestId> {
        let mut expired = self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now);
        expired.find(|(_, id)| self.queued.contains(id)).map(|(_, id)| *id)
    }

    /// The request that runs out of time first, and when.
    pub(super) fn next_deadline(&self) -> Option<(Instant, RequestId)> {
        self.deadlines.first().copied()
    }
}
