//! What failed authentication costs a client (protocol 8.1 to 8.4).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::config::RateLimit;
use super::effect::Peer;

/// Clients remembered at a time: whoever makes up origins must not fill the memory.
const CLIENTS_MAX: usize = 1000;

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
        self.make_room(now, limits);
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

    /// Forgets clients whose record is over, and any of them if all are fresh.
    fn make_room(&mut self, now: Duration, limits: &RateLimit) {
        if self.clients.len() < CLIENTS_MAX {
            return;
        }
        self.clients.retain(|_, failures| {
            let locked = failures.locked_until.is_some_and(|until| until > now);
            let last = failures.recent.back().is_some_and(|at| now.saturating_sub(*at) < limits.window);
            locked || last
        });
        while self.clients.len() >= CLIENTS_MAX {
            self.clients.pop_last();
        }
    }

    /// A success clears the client's record.
    pub(super) fn succeeded(&mut self, bucket: &Bucket) {
        self.clients.remove(bucket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_origins_do_not_fill_the_memory() {
        let (mut lockout, limits) = (Lockout::default(), RateLimit::default());
        for n in 0..10 * CLIENTS_MAX {
            let bucket = Bucket::Origin(format!("http://{n}.test").into());
            lockout.failed(&bucket, Duration::ZERO, &limits);
            assert!(lockout.clients.len() <= CLIENTS_MAX);
        }
        // Once they are old, all of them make room for one.
        let late = limits.window + limits.lockout;
        lockout.failed(&Bucket::Remote, late, &limits);
        assert_eq!(lockout.clients.len(), 1);
    }
}
