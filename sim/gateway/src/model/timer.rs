//! The one queue of everything that will happen later.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::effect::ConnectionId;

/// Something due at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Timer {
    /// The socket should have said hello by now.
    HandshakeExpired(ConnectionId),
    /// A delayed challenge is due.
    Challenge(ConnectionId),
    /// The verdict on a connect is due.
    Verdict(ConnectionId),
    /// The next ping is due, and the previous one should be answered.
    Ping(ConnectionId),
    /// An answer is due.
    Answer { connection: ConnectionId, answer: Box<Answer> },
    /// Requests waiting to start may start.
    Starts,
    /// The run of this id tells that it began.
    RunBegins(Arc<str>),
    /// A call of `agent.wait` has waited long enough.
    WaitExpires { connection: ConnectionId, id: Arc<str> },
    /// The run of this id ends.
    RunEnds(Arc<str>),
    /// The global tick.
    Tick,
    /// The health refresh triggered by a hello.
    HealthRefresh,
    /// The periodic health refresh.
    HealthInterval,
    /// Sockets of an older shared-auth generation are closed.
    SecretChange,
    /// The drain is over: announce the shutdown.
    AnnounceShutdown,
    /// Close every socket and stop listening.
    CloseAll,
    /// The close handshake of this socket should have finished by now.
    CloseExpired(ConnectionId),
    /// Drop sockets that are still there long after they were closed.
    DropStragglers,
    /// The next boot.
    Boot,
    /// Upgrades are admitted again after an order refused them.
    AdmitUpgrades,
    /// An ordered close.
    Kick { connection: ConnectionId, code: u16, reason: String },
    /// An ordered drop.
    Drop(ConnectionId),
}

/// A response that is ready but not due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// The request id.
    pub(super) id: Arc<str>,
    /// The response frame from `"ok"` on.
    pub(super) body: String,
    /// The response's `ok`.
    pub(super) ok: bool,
    /// Whether a second response follows.
    pub(super) accepted: bool,
}

/// Timers in order of time, then of insertion.
#[derive(Debug, Clone, Default)]
pub(super) struct Timers {
    queue: BTreeMap<(Duration, u64), Timer>,
    inserted: u64,
}

impl Timers {
    pub(super) fn insert(&mut self, at: Duration, timer: Timer) {
        self.inserted += 1;
        self.queue.insert((at, self.inserted), timer);
    }

    /// The earliest timer and its time.
    pub(super) fn first(&self) -> Option<(Duration, &Timer)> {
        self.queue.first_key_value().map(|((at, _), timer)| (*at, timer))
    }

    /// Removes the earliest timer.
    pub(super) fn pop(&mut self) -> Option<Timer> {
        self.queue.pop_first().map(|(_, timer)| timer)
    }

    /// Removes the earliest timer if it is due.
    pub(super) fn pop_due(&mut self, now: Duration) -> Option<Timer> {
        match self.first() {
            Some((at, _)) if at <= now => self.pop(),
            Some(_) | None => None,
        }
    }

    /// Keeps only the timers `keep` says.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Timer) -> bool) {
        self.queue.retain(|_, timer| keep(timer));
    }
}
