//! Rare situations that an exploration must reach, and which fault met which state.
//!
//! Counting runs says nothing about what was tried. A mark is a situation seen in a trace; one that
//! is never reached means that the generator does not go there, whatever the invariants say.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use onesocket::core::{Delivery, Instant};

use crate::consumer::Lag;
use crate::gateway::Mischief;
use crate::plan::Fault;
use crate::trace::{FailureKind, Item, Outcome, Record, Seen, StatusKind, What};

/// A situation worth reaching.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// A second connection became ready.
    Reconnected,
    /// A subscriber was told of a gap.
    GapReported,
    /// A subscriber got the snapshot of a second connection.
    SnapshotAgain,
    /// Somebody subscribed while the client was connected.
    LateSubscriber,
    /// A subscription was dropped while the client was connected.
    LeftWhileReady,
    /// Reconnecting was paused.
    Paused,
    /// The client recovered from a pause.
    Resumed,
    /// The config changed while the client was dialing.
    ChangedWhileConnecting,
    /// The config changed during the handshake.
    ChangedWhileHandshaking,
    /// The config changed while the client was ready.
    ChangedWhileReady,
    /// The config changed while the old socket was closing.
    ChangedWhileClosing,
    /// The config changed in a backoff.
    ChangedInBackoff,
    /// The config changed twice at one moment.
    ChangedTwice,
    /// The app took the config away.
    ConfigTakenAway,
    /// An equal config was applied while the client was ready.
    SameConfig,
    /// The shutdown came while the client was dialing.
    StopWhileConnecting,
    /// The shutdown came during the handshake.
    StopWhileHandshaking,
    /// The shutdown came in a backoff.
    StopInBackoff,
    /// The shutdown came while the old socket was closing.
    StopWhileClosing,
    /// The shutdown came in a pause.
    StopInPause,
    /// A request ended because its connection did.
    RequestLost,
    /// A request was not sent in time.
    NeverSent,
    /// A request was sent and not answered in time.
    NeverAnswered,
    /// A request that was bound to one connection was answered.
    BoundAnswered,
    /// A request was refused because it was bound to a connection that was not there any more.
    BoundRefused,
    /// A request ended, unanswered, with the connection it was bound to.
    BoundLost,
    /// A request without a deadline was answered.
    UnboundedAnswered,
    /// A request without a deadline ended with its connection.
    UnboundedLost,
    /// The end of a piece of work was told to somebody who waited for it.
    WorkEnded,
    /// A piece of work was asked for again after the answer was lost, and that was answered.
    AskedAgain,
    /// A request was refused by the gateway.
    Rejected,
    /// A request was refused because of a pause.
    RefusedInPause,
    /// A request was dropped by its caller while the client was ready.
    Dropped,
    /// A request that waited for a connection was answered.
    WaitedForConnection,
    /// A backoff was cut short by the network's return.
    Woken,
    /// The client let go of a socket because the peer was silent or too slow.
    GaveUp,
    /// A slow subscriber was told of a loss.
    Lagged,
    /// A subscriber that wants to begin anew when it lags did.
    BegunAnew,
    /// A subscription that is to end when it lags did.
    EndedByLag,
    /// A subscriber panicked while it handled an item.
    Panicked,
    /// A bootstrap token was presented.
    Bootstrapped,
    /// After a bootstrap tokens were handed over.
    HandedOver,
    /// A device token was presented by a client that has no other.
    DeviceTokenAlone,
    /// A device token was presented beside a refused shared one.
    DeviceTokenRetried,
    /// A step came too late to begin.
    Skipped,
    /// The client slept, and found its connection ended when it woke.
    LostAsleep,
    /// The client slept for longer than it grants a peer, and kept its connection.
    KeptAsleep,
    /// A close frame of the client was not answered in time.
    CloseUnanswered,
    /// A fault began while the client was in this state.
    Met(Fault, StatusKind),
    /// A gateway deviated from the protocol in this way.
    Deviated(Mischief),
}

/// The states in which every fault has to meet the client.
const MET_IN: [StatusKind; 4] =
    [StatusKind::Connecting, StatusKind::Handshaking, StatusKind::Ready, StatusKind::Backoff];

impl Mark {
    /// All of them.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let met = Fault::ALL.iter().flat_map(|fault| MET_IN.map(|state| Self::Met(*fault, state)));
        let deviated = Mischief::ALL.into_iter().map(|(mischief, _)| Self::Deviated(mischief));
        Self::SITUATIONS.into_iter().chain(met).chain(deviated).collect()
    }

    /// Those that are single situations.
    const SITUATIONS: [Self; 48] = [
        Self::Reconnected,
        Self::GapReported,
        Self::SnapshotAgain,
        Self::LateSubscriber,
        Self::LeftWhileReady,
        Self::Paused,
        Self::Resumed,
        Self::ChangedWhileConnecting,
        Self::ChangedWhileHandshaking,
        Self::ChangedWhileReady,
        Self::ChangedWhileClosing,
        Self::ChangedInBackoff,
        Self::ChangedTwice,
        Self::ConfigTakenAway,
        Self::SameConfig,
        Self::StopWhileConnecting,
        Self::StopWhileHandshaking,
        Self::StopInBackoff,
        Self::StopWhileClosing,
        Self::StopInPause,
        Self::RequestLost,
        Self::NeverSent,
        Self::NeverAnswered,
        Self::BoundAnswered,
        Self::BoundRefused,
        Self::BoundLost,
        Self::UnboundedAnswered,
        Self::UnboundedLost,
        Self::WorkEnded,
        Self::AskedAgain,
        Self::Rejected,
        Self::RefusedInPause,
        Self::Dropped,
        Self::WaitedForConnection,
        Self::Woken,
        Self::GaveUp,
        Self::Lagged,
        Self::BegunAnew,
        Self::EndedByLag,
        Self::Panicked,
        Self::Bootstrapped,
        Self::HandedOver,
        Self::DeviceTokenAlone,
        Self::DeviceTokenRetried,
        Self::Skipped,
        Self::LostAsleep,
        Self::KeptAsleep,
        Self::CloseUnanswered,
    ];

    /// The mark of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|mark| mark.name() == name)
    }

    /// The name used in reports.
    #[must_use]
    pub fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Met(fault, state) => {
                // Not "while": the fault `stop` would share its names with the shutdown.
                return format!("{}-meets-{state:?}", fault.name()).to_lowercase().into();
            }
            Self::Deviated(mischief) => {
                let named = Mischief::ALL.into_iter().find(|(other, _)| *other == mischief);
                return named.expect("every deviation has a name").1.into();
            }
            Self::Skipped => "skipped",
            Self::LostAsleep => "lost-asleep",
            Self::KeptAsleep => "kept-asleep",
            Self::CloseUnanswered => "close-unanswered",
            Self::Reconnected => "reconnected",
            Self::GapReported => "gap-reported",
            Self::SnapshotAgain => "snapshot-again",
            Self::LateSubscriber => "late-subscriber",
            Self::LeftWhileReady => "left-while-ready",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::ChangedWhileConnecting => "changed-while-connecting",
            Self::ChangedWhileHandshaking => "changed-while-handshaking",
            Self::ChangedWhileReady => "changed-while-ready",
            Self::ChangedWhileClosing => "changed-while-closing",
            Self::ChangedInBackoff => "changed-in-backoff",
            Self::ChangedTwice => "changed-twice",
            Self::ConfigTakenAway => "config-taken-away",
            Self::SameConfig => "same-config",
            Self::StopWhileConnecting => "stop-while-connecting",
            Self::StopWhileHandshaking => "stop-while-handshaking",
            Self::StopInBackoff => "stop-in-backoff",
            Self::StopWhileClosing => "stop-while-closing",
            Self::StopInPause => "stop-in-pause",
            Self::RequestLost => "request-lost",
            Self::NeverSent => "never-sent",
            Self::NeverAnswered => "never-answered",
            Self::BoundAnswered => "bound-answered",
            Self::BoundRefused => "bound-refused",
            Self::BoundLost => "bound-lost",
            Self::UnboundedAnswered => "unbounded-answered",
            Self::UnboundedLost => "unbounded-lost",
            Self::WorkEnded => "work-ended",
            Self::AskedAgain => "asked-again",
            Self::Rejected => "rejected",
            Self::RefusedInPause => "refused-in-pause",
            Self::Dropped => "dropped",
            Self::WaitedForConnection => "waited-for-connection",
            Self::Woken => "woken",
            Self::GaveUp => "gave-up",
            Self::Lagged => "lagged",
            Self::BegunAnew => "begun-anew",
            Self::EndedByLag => "ended-by-lag",
            Self::Panicked => "panicked",
            Self::Bootstrapped => "bootstrapped",
            Self::HandedOver => "handed-over",
            Self::DeviceTokenAlone => "device-token-alone",
            Self::DeviceTokenRetried => "device-token-retried",
        })
    }
}

/// What runs reached: how often each mark, and each fault in each state of the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// In how many runs each mark was reached.
    pub marks: BTreeMap<Mark, u64>,
    /// How often each fault began while the client was in each state.
    pub faults: BTreeMap<(Fault, StatusKind), u64>,
}

impl Coverage {
    /// Adds what one run reached.
    pub fn add(&mut self, records: &[Record]) {
        let mut walk = Walk::default();
        for record in records {
            walk.take(record, &mut self.faults);
        }
        for (mark, reached) in walk.reached {
            *self.marks.entry(mark).or_default() += u64::from(reached);
        }
    }

    /// Adds what other runs reached.
    pub fn merge(&mut self, other: &Self) {
        for (mark, count) in &other.marks {
            *self.marks.entry(*mark).or_default() += count;
        }
        for (pair, count) in &other.faults {
            *self.faults.entry(*pair).or_default() += count;
        }
    }

    /// The marks that no run reached.
    pub fn missed(&self) -> impl Iterator<Item = Mark> + '_ {
        Mark::all().into_iter().filter(|mark| self.marks.get(mark).copied().unwrap_or(0) == 0)
    }

    /// How often each fault class began.
    #[must_use]
    pub fn fault_totals(&self) -> BTreeMap<Fault, u64> {
        let mut totals = BTreeMap::new();
        for ((fault, _), count) in &self.faults {
            *totals.entry(*fault).or_default() += count;
        }
        totals
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

/// One pass over a trace.
struct Walk {
    reached: BTreeMap<Mark, bool>,
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
    wishes: BTreeMap<u32, Wish>,
    /// Work whose answer was lost.
    in_doubt: BTreeSet<u32>,
    /// Subscriptions that do not just drop what is oldest, and whether each was just told of a lag.
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

impl Default for Walk {
    fn default() -> Self {
        Self {
            reached: BTreeMap::new(),
            status: StatusKind::Idle,
            readies: 0,
            paused: false,
            woken: false,
            closed_by_gateway: false,
            close_unanswered: false,
            changed: None,
            made_unready: BTreeMap::new(),
            wishes: BTreeMap::new(),
            in_doubt: BTreeSet::new(),
            lagging: BTreeMap::new(),
            asleep_ready: None,
            woke_ready: None,
        }
    }
}

impl Walk {
    fn reach(&mut self, mark: Mark) {
        self.reached.insert(mark, true);
    }

    fn take(&mut self, record: &Record, faults: &mut BTreeMap<(Fault, StatusKind), u64>) {
        let what = &record.what;
        self.look_awake(record);
        self.look_at_lag(what);
        match what {
            What::Fault { fault, .. } => {
                *faults.entry((*fault, self.status)).or_default() += 1;
                if MET_IN.contains(&self.status) {
                    self.reach(Mark::Met(*fault, self.status));
                }
            }
            What::Gateway { seen: Seen::Misbehaved { mischief, .. }, .. } => {
                self.reach(Mark::Deviated(*mischief));
            }
            What::Skipped { .. } => self.reach(Mark::Skipped),
            What::Released { .. } if self.status == StatusKind::Closing && self.close_unanswered => {
                self.reach(Mark::CloseUnanswered);
            }
            What::Status(status) => self.status_changed(*status),
            What::Configured { changed, .. } => {
                if *changed && self.changed.replace(record.at) == Some(record.at) {
                    self.reach(Mark::ChangedTwice);
                }
                self.configured(*changed);
            }
            What::Unconfigured { changed: true } => self.reach(Mark::ConfigTakenAway),
            What::ShutdownCalled => self.stopping(),
            What::RequestMade { request, .. } => {
                self.made_unready.insert(*request, self.status != StatusKind::Ready);
                self.look_at_wish(what);
            }
            What::RequestSettled { request, outcome } => {
                self.settled(*request, *outcome);
                if let Some(wish) = self.wishes.remove(request) {
                    self.settled_wish(wish, *outcome);
                }
            }
            What::RequestDropped { .. } if self.status == StatusKind::Ready => self.reach(Mark::Dropped),
            What::Subscribed { .. } if self.status == StatusKind::Ready => self.reach(Mark::LateSubscriber),
            What::Unsubscribed { .. } if self.status == StatusKind::Ready => self.reach(Mark::LeftWhileReady),
            What::Pushed { item: Item::Gap { .. }, .. } => self.reach(Mark::GapReported),
            What::Pushed { item: Item::Lagged { .. }, .. } => self.reach(Mark::Lagged),
            What::Panicked { .. } => self.reach(Mark::Panicked),
            What::Gateway { seen: Seen::Connect { bootstrap_token: Some(_), .. }, .. } => {
                self.reach(Mark::Bootstrapped);
            }
            What::Gateway { seen: Seen::Hello { handed_over: Some(_), .. }, .. } => {
                self.reach(Mark::HandedOver);
            }
            What::Gateway {
                seen: Seen::Connect { token: Some(token), device_token: Some(device), .. },
                ..
            } => {
                let alone = token == device;
                self.reach(if alone { Mark::DeviceTokenAlone } else { Mark::DeviceTokenRetried });
            }
            What::Pushed { item: Item::Snapshot { .. }, .. }
                if self.readies > 0 && self.status != StatusKind::Ready =>
            {
                self.reach(Mark::SnapshotAgain);
            }
            What::Woken if self.status == StatusKind::Backoff => self.woken = true,
            What::Dialed { .. } => {
                if self.woken {
                    self.reach(Mark::Woken);
                }
                self.woken = false;
                self.closed_by_gateway = false;
            }
            What::Gateway {
                seen: Seen::Closed { .. } | Seen::Dropped { .. } | Seen::Refused { .. }, ..
            } => {
                self.closed_by_gateway = true;
            }
            What::Released { .. } if self.status == StatusKind::Ready && !self.closed_by_gateway => {
                self.reach(Mark::GaveUp);
            }
            _ => {}
        }
    }

    /// What followed a lag.
    fn look_at_lag(&mut self, what: &What) {
        match what {
            What::Subscribed { subscription, lag: lag @ (Lag::Resnapshot | Lag::Close), .. } => {
                self.lagging.insert(*subscription, (*lag, false));
            }
            What::Pushed { subscription, item } => {
                let Some((lag, told)) = self.lagging.get_mut(subscription) else { return };
                let was_told = std::mem::replace(told, matches!(item, Item::Lagged { .. }));
                match (*lag, item) {
                    (Lag::Resnapshot, Item::Snapshot { .. }) if was_told => self.reach(Mark::BegunAnew),
                    (Lag::Close, Item::Closed) if was_told => self.reach(Mark::EndedByLag),
                    (Lag::DropOldest | Lag::Resnapshot | Lag::Close, _) => {}
                }
            }
            _ => {}
        }
    }

    /// What became of a connection while the client slept.
    fn look_awake(&mut self, record: &Record) {
        match &record.what {
            What::Fault { fault: Fault::IgnoreCloses, .. } => self.close_unanswered = true,
            What::Healed { fault: Fault::IgnoreCloses, .. } => self.close_unanswered = false,
            What::Fault { fault: Fault::Suspend, .. } if self.status == StatusKind::Ready => {
                self.asleep_ready.get_or_insert(record.at);
            }
            What::Healed { fault: Fault::Suspend, .. } => {
                self.woke_ready = self.asleep_ready.take().map(|since| (record.at, record.at.since(since)));
            }
            What::Released { .. }
                if self.woke_ready.is_some_and(|(woke, _)| record.at.since(woke) < AT_ONCE) =>
            {
                self.reach(Mark::LostAsleep);
                self.woke_ready = None;
            }
            _ => {}
        }
        if let Some((woke, slept)) = self.woke_ready
            && record.at.since(woke) >= AT_ONCE
        {
            if slept > LONG_SLEEP {
                self.reach(Mark::KeptAsleep);
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
                    self.reach(Mark::Reconnected);
                }
                if self.paused {
                    self.reach(Mark::Resumed);
                }
                self.paused = false;
            }
            StatusKind::Paused => {
                self.reach(Mark::Paused);
                self.paused = true;
            }
            StatusKind::Idle
            | StatusKind::NotConfigured
            | StatusKind::Connecting
            | StatusKind::Handshaking
            | StatusKind::Backoff
            | StatusKind::Closing
            | StatusKind::Stopped => {}
        }
    }

    fn configured(&mut self, changed: bool) {
        match (self.status, changed) {
            (StatusKind::Connecting, true) => self.reach(Mark::ChangedWhileConnecting),
            (StatusKind::Handshaking, true) => self.reach(Mark::ChangedWhileHandshaking),
            (StatusKind::Ready, true) => self.reach(Mark::ChangedWhileReady),
            (StatusKind::Closing, true) => self.reach(Mark::ChangedWhileClosing),
            (StatusKind::Backoff, true) => self.reach(Mark::ChangedInBackoff),
            (StatusKind::Ready, false) => self.reach(Mark::SameConfig),
            (
                StatusKind::Idle
                | StatusKind::NotConfigured
                | StatusKind::Connecting
                | StatusKind::Handshaking
                | StatusKind::Backoff
                | StatusKind::Paused
                | StatusKind::Closing
                | StatusKind::Stopped,
                true | false,
            ) => {}
        }
    }

    fn stopping(&mut self) {
        match self.status {
            StatusKind::Connecting => self.reach(Mark::StopWhileConnecting),
            StatusKind::Handshaking => self.reach(Mark::StopWhileHandshaking),
            StatusKind::Backoff => self.reach(Mark::StopInBackoff),
            StatusKind::Closing => self.reach(Mark::StopWhileClosing),
            StatusKind::Paused => self.reach(Mark::StopInPause),
            StatusKind::Idle | StatusKind::NotConfigured | StatusKind::Ready | StatusKind::Stopped => {}
        }
    }

    fn look_at_wish(&mut self, what: &What) {
        let What::RequestMade { request, timeout_ms, bound_to, key, to_the_end, .. } = what else { return };
        let wish = match (bound_to, key) {
            (Some(_), _) => Wish::Bound,
            (None, Some(key)) => {
                Wish::Work { key: *key, to_the_end: *to_the_end, again: self.in_doubt.contains(key) }
            }
            (None, None) if timeout_ms.is_none() => Wish::Unbounded,
            (None, None) => return,
        };
        self.wishes.insert(*request, wish);
    }

    fn settled_wish(&mut self, wish: Wish, outcome: Outcome) {
        match (wish, outcome) {
            (Wish::Bound, Outcome::Answered { .. }) => self.reach(Mark::BoundAnswered),
            (Wish::Bound, Outcome::Failed { kind: FailureKind::OtherConnection, .. }) => {
                self.reach(Mark::BoundRefused);
            }
            (Wish::Bound, Outcome::Failed { kind: FailureKind::Disconnected, .. }) => {
                self.reach(Mark::BoundLost);
            }
            (Wish::Unbounded, Outcome::Answered { .. }) => self.reach(Mark::UnboundedAnswered),
            (Wish::Unbounded, Outcome::Failed { kind: FailureKind::Disconnected, .. }) => {
                self.reach(Mark::UnboundedLost);
            }
            (Wish::Work { to_the_end, again, .. }, Outcome::Answered { .. }) => {
                if to_the_end {
                    self.reach(Mark::WorkEnded);
                }
                if again {
                    self.reach(Mark::AskedAgain);
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
            Outcome::Answered { .. } if waited => self.reach(Mark::WaitedForConnection),
            Outcome::Answered { .. } => {}
            Outcome::Failed { kind: FailureKind::Disconnected, delivery: Delivery::Unknown } => {
                self.reach(Mark::RequestLost);
            }
            Outcome::Failed { kind: FailureKind::TimedOut, delivery: Delivery::NotSent } => {
                self.reach(Mark::NeverSent);
            }
            Outcome::Failed { kind: FailureKind::TimedOut, .. } => self.reach(Mark::NeverAnswered),
            Outcome::Failed { kind: FailureKind::Rejected, .. } => self.reach(Mark::Rejected),
            Outcome::Failed { kind: FailureKind::Paused, .. } => self.reach(Mark::RefusedInPause),
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
