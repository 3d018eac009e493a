//! One pass over a trace that notes what it comes to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use onesocket::core::{Delivery, Instant};

use super::{MET_IN, Mark, Situation};
use crate::plan::Fault;
use crate::plan::consumer::Lag;
use crate::trace::{Event, FailureKind, GatewayEvent, Item, Outcome, Record, StatusKind};

/// One pass over a trace.
pub(super) struct CoverageCollector {
    pub(super) reached: BTreeSet<Mark>,
    status: StatusKind,
    readies: u32,
    paused: bool,
    woken: bool,
    closed_by_gateway: bool,
    /// Close frames are not answered now.
    close_unanswered: bool,
    /// When the config last changed.
    changed: Option<Instant>,
    made_unready: BTreeMap<u32, bool>,
    /// Requests that are not like any other.
    special_requests: BTreeMap<u32, Wish>,
    /// Work whose answer was lost.
    in_doubt: BTreeSet<u32>,
    /// Subscriptions that do not just drop what is oldest, and whether each was just notified of a lag.
    lagging: BTreeMap<u32, (Lag, bool)>,
    /// When the client fell asleep while it was ready.
    asleep_ready: Option<Instant>,
    /// When a client that was ready woke, and how long it had slept.
    woke_ready: Option<(Instant, Duration)>,
}

/// Within this time of waking, what follows from the sleep has followed.
const AT_ONCE: Duration = Duration::from_millis(50);
/// Silence that is longer than any client grants its peer in generated runs: twice the longest tick interval.
const LONG_SLEEP: Duration = Duration::from_secs(10);

impl Default for CoverageCollector {
    fn default() -> Self {
        Self {
            reached: BTreeSet::new(),
            status: StatusKind::Idle,
            readies: 0,
            paused: false,
            woken: false,
            closed_by_gateway: false,
            close_unanswered: false,
            changed: None,
            made_unready: BTreeMap::new(),
            special_requests: BTreeMap::new(),
            in_doubt: BTreeSet::new(),
            lagging: BTreeMap::new(),
            asleep_ready: None,
            woke_ready: None,
        }
    }
}

impl CoverageCollector {
    fn reach(&mut self, situation: Situation) {
        self.reached.insert(Mark::In(situation));
    }

    pub(super) fn take(&mut self, record: &Record, faults: &mut BTreeMap<(Fault, StatusKind), u64>) {
        let what = &record.event;
        self.look_awake(record);
        self.look_at_lag(what);
        match what {
            Event::Fault { fault, .. } => {
                *faults.entry((*fault, self.status)).or_default() += 1;
                if MET_IN.contains(&self.status) {
                    self.reached.insert(Mark::Met(*fault, self.status));
                }
            }
            Event::Gateway { event: GatewayEvent::Misbehaved { deviation, .. }, .. } => {
                self.reached.insert(Mark::Deviated(*deviation));
            }
            Event::Skipped { .. } => self.reach(Situation::Skipped),
            Event::Released { .. } if self.status == StatusKind::Closing && self.close_unanswered => {
                self.reach(Situation::CloseUnanswered);
            }
            Event::Status(status) => self.status_changed(*status),
            Event::Configured { changed, .. } => {
                if *changed && self.changed.replace(record.at) == Some(record.at) {
                    self.reach(Situation::ChangedTwice);
                }
                self.configured(*changed);
            }
            Event::Unconfigured { changed: true } => self.reach(Situation::ConfigTakenAway),
            Event::ShutdownCalled => self.stopping(),
            Event::RequestMade { request, .. } => {
                self.made_unready.insert(*request, self.status != StatusKind::Ready);
                self.look_at_wish(what);
            }
            Event::RequestSettled { request, outcome } => {
                self.settled(*request, *outcome);
                if let Some(wish) = self.special_requests.remove(request) {
                    self.settled_wish(wish, *outcome);
                }
            }
            Event::RequestDropped { .. } if self.status == StatusKind::Ready => {
                self.reach(Situation::Dropped);
            }
            Event::Subscribed { .. } if self.status == StatusKind::Ready => {
                self.reach(Situation::LateSubscriber);
            }
            Event::Unsubscribed { .. } if self.status == StatusKind::Ready => {
                self.reach(Situation::LeftWhileReady);
            }
            Event::Pushed { item: Item::Gap { .. }, .. } => self.reach(Situation::GapReported),
            Event::Pushed { item: Item::Lagged { .. }, .. } => self.reach(Situation::Lagged),
            Event::Panicked { .. } => self.reach(Situation::Panicked),
            Event::Gateway { event: GatewayEvent::Connect { bootstrap_token: Some(_), .. }, .. } => {
                self.reach(Situation::Bootstrapped);
            }
            Event::Gateway { event: GatewayEvent::Hello { handed_over: Some(_), .. }, .. } => {
                self.reach(Situation::HandedOver);
            }
            Event::Gateway { event: GatewayEvent::Connect { token, device_token: Some(_), .. }, .. } => {
                let alone = token.is_none();
                self.reach(if alone { Situation::DeviceTokenAlone } else { Situation::DeviceTokenRetried });
            }
            Event::Pushed { item: Item::Snapshot { .. }, .. }
                if self.readies > 0 && self.status != StatusKind::Ready =>
            {
                self.reach(Situation::SnapshotAgain);
            }
            Event::Woken if self.status == StatusKind::Backoff => self.woken = true,
            Event::Dialed { .. } => {
                if self.woken {
                    self.reach(Situation::Woken);
                }
                self.woken = false;
                self.closed_by_gateway = false;
            }
            Event::Gateway {
                event:
                    GatewayEvent::Closed { .. } | GatewayEvent::Dropped { .. } | GatewayEvent::Refused { .. },
                ..
            } => {
                self.closed_by_gateway = true;
            }
            Event::Released { .. } if self.status == StatusKind::Ready && !self.closed_by_gateway => {
                self.reach(Situation::GaveUp);
            }
            _ => {}
        }
    }

    /// What followed a lag.
    fn look_at_lag(&mut self, what: &Event) {
        match what {
            Event::Subscribed { subscription, lag: lag @ (Lag::Resnapshot | Lag::Close), .. } => {
                self.lagging.insert(*subscription, (*lag, false));
            }
            Event::Pushed { subscription, item } => {
                let Some((lag, notified)) = self.lagging.get_mut(subscription) else { return };
                let was_notified = std::mem::replace(notified, matches!(item, Item::Lagged { .. }));
                match (*lag, item) {
                    (Lag::Resnapshot, Item::Snapshot { .. }) if was_notified => {
                        self.reach(Situation::Resnapshotted);
                    }
                    (Lag::Close, Item::Closed) if was_notified => self.reach(Situation::EndedByLag),
                    (Lag::DropOldest | Lag::Resnapshot | Lag::Close, _) => {}
                }
            }
            _ => {}
        }
    }

    /// What became of a connection while the client slept.
    fn look_awake(&mut self, record: &Record) {
        match &record.event {
            Event::Fault { fault: Fault::IgnoreCloses, .. } => self.close_unanswered = true,
            Event::Healed { fault: Fault::IgnoreCloses, .. } => self.close_unanswered = false,
            Event::Fault { fault: Fault::Suspend, .. } if self.status == StatusKind::Ready => {
                self.asleep_ready.get_or_insert(record.at);
            }
            Event::Healed { fault: Fault::Suspend, .. } => {
                self.woke_ready = self.asleep_ready.take().map(|since| (record.at, record.at.since(since)));
            }
            Event::Released { .. }
                if self.woke_ready.is_some_and(|(woke, _)| record.at.since(woke) < AT_ONCE) =>
            {
                self.reach(Situation::LostAsleep);
                self.woke_ready = None;
            }
            _ => {}
        }
        if let Some((woke, slept)) = self.woke_ready
            && record.at.since(woke) >= AT_ONCE
        {
            if slept > LONG_SLEEP {
                self.reach(Situation::KeptAsleep);
            }
            self.woke_ready = None;
        }
    }

    fn status_changed(&mut self, status: StatusKind) {
        self.status = status;
        match status {
            StatusKind::Ready => {
                self.readies += 1;
                if self.readies > 1 {
                    self.reach(Situation::Reconnected);
                }
                if self.paused {
                    self.reach(Situation::Resumed);
                }
                self.paused = false;
            }
            StatusKind::Paused => {
                self.reach(Situation::Paused);
                self.paused = true;
            }
            StatusKind::Idle
            | StatusKind::NotConfigured
            | StatusKind::Connecting
            | StatusKind::Handshaking
            | StatusKind::Backoff
            | StatusKind::Closing
            | StatusKind::Settling
            | StatusKind::Stopped => {}
        }
    }

    fn configured(&mut self, changed: bool) {
        match (self.status, changed) {
            (StatusKind::Connecting, true) => self.reach(Situation::ChangedWhileConnecting),
            (StatusKind::Handshaking, true) => self.reach(Situation::ChangedWhileHandshaking),
            (StatusKind::Ready, true) => self.reach(Situation::ChangedWhileReady),
            (StatusKind::Closing, true) => self.reach(Situation::ChangedWhileClosing),
            (StatusKind::Backoff, true) => self.reach(Situation::ChangedInBackoff),
            (StatusKind::Settling, true) => self.reach(Situation::ChangedWhileSettling),
            (StatusKind::Ready, false) => self.reach(Situation::SameConfig),
            (
                StatusKind::Idle
                | StatusKind::NotConfigured
                | StatusKind::Connecting
                | StatusKind::Handshaking
                | StatusKind::Backoff
                | StatusKind::Paused
                | StatusKind::Closing
                | StatusKind::Settling
                | StatusKind::Stopped,
                true | false,
            ) => {}
        }
    }

    fn stopping(&mut self) {
        match self.status {
            StatusKind::Connecting => self.reach(Situation::StopWhileConnecting),
            StatusKind::Handshaking => self.reach(Situation::StopWhileHandshaking),
            StatusKind::Backoff => self.reach(Situation::StopInBackoff),
            StatusKind::Closing => self.reach(Situation::StopWhileClosing),
            StatusKind::Paused => self.reach(Situation::StopInPause),
            StatusKind::Idle
            | StatusKind::NotConfigured
            | StatusKind::Ready
            | StatusKind::Settling
            | StatusKind::Stopped => {}
        }
    }

    fn look_at_wish(&mut self, what: &Event) {
        let Event::RequestMade { request, timeout_ms, bound_to, key, to_the_end, .. } = what else { return };
        let wish = match (bound_to, key) {
            (Some(_), _) => Wish::Bound,
            (None, Some(key)) => {
                Wish::Work { key: *key, to_the_end: *to_the_end, again: self.in_doubt.contains(key) }
            }
            (None, None) if timeout_ms.is_none() => Wish::Unbounded,
            (None, None) => return,
        };
        self.special_requests.insert(*request, wish);
    }

    fn settled_wish(&mut self, wish: Wish, outcome: Outcome) {
        match (wish, outcome) {
            (Wish::Bound, Outcome::Answered { .. }) => self.reach(Situation::BoundAnswered),
            (Wish::Bound, Outcome::Failed { kind: FailureKind::OtherConnection, .. }) => {
                self.reach(Situation::BoundRefused);
            }
            (Wish::Bound, Outcome::Failed { kind: FailureKind::Disconnected, .. }) => {
                self.reach(Situation::BoundLost);
            }
            (Wish::Unbounded, Outcome::Answered { .. }) => self.reach(Situation::UnboundedAnswered),
            (Wish::Unbounded, Outcome::Failed { kind: FailureKind::Disconnected, .. }) => {
                self.reach(Situation::UnboundedLost);
            }
            (Wish::Work { to_the_end, again, .. }, Outcome::Answered { .. }) => {
                if to_the_end {
                    self.reach(Situation::WorkEnded);
                }
                if again {
                    self.reach(Situation::AskedAgain);
                }
            }
            (Wish::Work { key, .. }, Outcome::Failed { delivery: Delivery::Unknown, .. }) => {
                self.in_doubt.insert(key);
            }
            (Wish::Bound | Wish::Unbounded | Wish::Work { .. }, Outcome::Failed { .. }) => {}
        }
    }

    fn settled(&mut self, request: u32, outcome: Outcome) {
        let waited = self.made_unready.remove(&request).unwrap_or(false);
        match outcome {
            Outcome::Answered { .. } if waited => self.reach(Situation::WaitedForConnection),
            Outcome::Answered { .. } => {}
            Outcome::Failed { kind: FailureKind::Disconnected, delivery: Delivery::Unknown } => {
                self.reach(Situation::RequestLost);
            }
            Outcome::Failed { kind: FailureKind::TimedOut, delivery: Delivery::NotSent } => {
                self.reach(Situation::NeverSent);
            }
            Outcome::Failed { kind: FailureKind::TimedOut, .. } => self.reach(Situation::NeverAnswered),
            Outcome::Failed { kind: FailureKind::Rejected, .. } => self.reach(Situation::Rejected),
            Outcome::Failed { kind: FailureKind::Paused, .. } => self.reach(Situation::RefusedInPause),
            Outcome::Failed {
                kind:
                    FailureKind::Disconnected
                    | FailureKind::OtherConnection
                    | FailureKind::ShutDown
                    | FailureKind::Limit
                    | FailureKind::Other,
                ..
            } => {}
        }
    }
}

/// How a request differs from others.
#[derive(Clone, Copy)]
enum Wish {
    Bound,
    Unbounded,
    Work {
        key: u32,
        to_the_end: bool,
        /// Whether an answer to it was lost before.
        again: bool,
    },
}
