//! What failed authentication costs a client (protocol 8.1 to 8.4).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::config::RateLimit;
use super::effect::Peer;

/// Who is counted together. The model knows no addresses, so all remote peers are one client.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bucket {
    Loopback,
    Remote,
    /// A browser counts by its origin and is never exempt.
    Origin(Arc<str>),
}

impl Bucket {
    pub(super) fn of(peer: &Peer) -> Self {
        match &peer.origin {
            Some(origin) => Bucket::Origin(origin.clone()),
            None if peer.loopback => Bucket::Loopback,
            None => Bucket::Remote,
        }
    }

    fn is_exempt(&self, limits: &RateLimit) -> bool {
        *self == Bucket::Loopback && limits.exempt_loopback
    }
}

/// Failures by client.
#[derive(Debug, Clone, Default)]
pub(super) struct Lockout {
    clients: BTreeMap<Bucket, Failures>,
}

#[derive(Debug, Clone, Default)]
struct Failures {
    /// When, within the window.
    recent: VecDeque<Duration>,
    locked_until: Option<Duration>,
}

impl Lockout {
    /// How much longer a client is locked out.
    pub(super) fn remaining(&self, bucket: &Bucket, now: Duration, limits: &RateLimit) -> Option<Duration> {
        if bucket.is_exempt(limits) {
            return None;
        }
        let until = self.clients.get(bucket)?.locked_until?;
        until.checked_sub(now).filter(|remaining| !remaining.is_zero())
    }

    /// Counts a failure; the answer to it is late by this much.
    pub(super) fn failed(&mut self, bucket: &Bucket, now: Duration, limits: &RateLimit) -> Duration {
        let failures = self.clients.entry(bucket.clone()).or_default();
        if failures.locked_until.is_some_and(|until| until <= now) {
            *failures = Failures::default();
        }
        while failures.recent.front().is_some_and(|at| now.saturating_sub(*at) >= limits.window) {
            failures.recent.pop_front();
        }
        failures.recent.push_back(now);
        if bucket.is_exempt(limits) {
            let doublings = u32::try_from(failures.recent.len() - 1).unwrap_or(u32::MAX).min(20);
            return limits.delay_initial.saturating_mul(1 << doublings).min(limits.delay_max);
        }
        if failures.recent.len() >= limits.max_attempts as usize {
            failures.locked_until = Some(now + limits.lockout);
        }
        Duration::ZERO
    }

    /// A success clears the client's record.
    pub(super) fn succeeded(&mut self, bucket: &Bucket) {
        self.clients.remove(bucket);
    }
}
