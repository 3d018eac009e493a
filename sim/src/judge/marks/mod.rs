//! Rare situations that an exploration must reach, and which fault met which state.
//!
//! Counting runs says nothing about what was tried. A mark is a situation seen in a trace; one that
//! is never reached means that the generator does not go there, whatever the invariants say.
//!
//! To add one: name it in [`Situation`], and say in `coverage_collector` how a trace shows it.

mod coverage_collector;

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::plan::{Fault, Tier};
use crate::trace::{Record, StatusKind};
use onesocket_gateway::Deviation;
use onesocket_gateway::named;

use coverage_collector::CoverageCollector;

/// Something worth reaching.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// A situation that stands for itself.
    In(Situation),
    /// A fault began while the client was in this state.
    Met(Fault, StatusKind),
    /// A gateway deviated from the protocol in this way.
    Deviated(Deviation),
}

named! {
    /// A situation of the client and its consumers.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Situation {
        /// A second connection became ready.
        Reconnected = "reconnected",
        /// A subscriber was notified of a gap.
        GapReported = "gap-reported",
        /// A subscriber got the snapshot of a second connection.
        SnapshotAgain = "snapshot-again",
        /// Somebody subscribed while the client was connected.
        LateSubscriber = "late-subscriber",
        /// A subscription was dropped while the client was connected.
        LeftWhileReady = "left-while-ready",
        /// Reconnecting was paused.
        Paused = "paused",
        /// The client recovered from a pause.
        Resumed = "resumed",
        /// The config changed while the client was dialing.
        ChangedWhileConnecting = "changed-while-connecting",
        /// The config changed during the handshake.
        ChangedWhileHandshaking = "changed-while-handshaking",
        /// The config changed while the client was ready.
        ChangedWhileReady = "changed-while-ready",
        /// The config changed while the old socket was closing.
        ChangedWhileClosing = "changed-while-closing",
        /// The config changed in a backoff.
        ChangedInBackoff = "changed-in-backoff",
        /// The config changed once more before the one before had settled.
        ChangedWhileSettling = "changed-while-settling",
        /// The config changed twice at one moment.
        ChangedTwice = "changed-twice",
        /// The app took the config away.
        ConfigTakenAway = "config-taken-away",
        /// An equal config was applied while the client was ready.
        SameConfig = "same-config",
        /// The shutdown came while the client was dialing.
        StopWhileConnecting = "stop-while-connecting",
        /// The shutdown came during the handshake.
        StopWhileHandshaking = "stop-while-handshaking",
        /// The shutdown came in a backoff.
        StopInBackoff = "stop-in-backoff",
        /// The shutdown came while the old socket was closing.
        StopWhileClosing = "stop-while-closing",
        /// The shutdown came in a pause.
        StopInPause = "stop-in-pause",
        /// A request ended because its connection did.
        RequestLost = "request-lost",
        /// A request was not sent in time.
        NeverSent = "never-sent",
        /// A request was sent and not answered in time.
        NeverAnswered = "never-answered",
        /// A request that was bound to one connection was answered.
        BoundAnswered = "bound-answered",
        /// A request was refused because it was bound to a connection that was not there any more.
        BoundRefused = "bound-refused",
        /// A request ended, unanswered, with the connection it was bound to.
        BoundLost = "bound-lost",
        /// A request without a deadline was answered.
        UnboundedAnswered = "unbounded-answered",
        /// A request without a deadline ended with its connection.
        UnboundedLost = "unbounded-lost",
        /// The end of a piece of work was reported to somebody who waited for it.
        WorkEnded = "work-ended",
        /// A piece of work was asked for again after the answer was lost, and that was answered.
        AskedAgain = "asked-again",
        /// A request was refused by the gateway.
        Rejected = "rejected",
        /// A request was refused because of a pause.
        RefusedInPause = "refused-in-pause",
        /// A request was dropped by its caller while the client was ready.
        Dropped = "dropped",
        /// A request that waited for a connection was answered.
        WaitedForConnection = "waited-for-connection",
        /// A backoff was cut short by the network's return.
        Woken = "woken",
        /// The client closed a socket because the peer was silent or too slow.
        GaveUp = "gave-up",
        /// A slow subscriber was notified of a loss.
        Lagged = "lagged",
        /// A subscriber that resnapshots when it lags did.
        Resnapshotted = "resnapshotted",
        /// A subscription that is to end when it lags did.
        EndedByLag = "ended-by-lag",
        /// A subscriber panicked while it handled an item.
        Panicked = "panicked",
        /// A bootstrap token was presented.
        Bootstrapped = "bootstrapped",
        /// After a bootstrap tokens were handed over.
        HandedOver = "handed-over",
        /// A device token was presented by a client that has no other.
        DeviceTokenAlone = "device-token-alone",
        /// A device token was presented beside a refused shared one.
        DeviceTokenRetried = "device-token-retried",
        /// A step came too late to begin.
        Skipped = "skipped",
        /// The client slept, and found its connection ended when it woke.
        LostAsleep = "lost-asleep",
        /// The client slept for longer than it grants a peer, and kept its connection.
        KeptAsleep = "kept-asleep",
        /// A close frame of the client was not answered in time.
        CloseUnanswered = "close-unanswered",
    }
}

/// The states in which every fault has to meet the client.
const MET_IN: [StatusKind; 4] =
    [StatusKind::Connecting, StatusKind::Handshaking, StatusKind::Ready, StatusKind::Backoff];

impl Mark {
    /// All of them.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let situations = Situation::ALL.iter().copied().map(Self::In);
        let met = Fault::ALL.iter().flat_map(|fault| MET_IN.map(|state| Self::Met(*fault, state)));
        let deviated = Deviation::ALL.iter().copied().map(Self::Deviated);
        situations.chain(met).chain(deviated).collect()
    }

    /// Those that a run on one of `tiers` can reach: a fault meets no client where it cannot happen.
    #[must_use]
    pub fn of_tiers(tiers: &[Tier]) -> Vec<Self> {
        let is_possible = |mark: &Self| match mark {
            Self::Met(fault, _) => tiers.iter().any(|tier| fault.applies_to(*tier)),
            Self::In(_) | Self::Deviated(_) => true,
        };
        Self::all().into_iter().filter(is_possible).collect()
    }

    /// The mark of this name; `begun-anew` is the old name of `resnapshotted`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        // Scenarios of the last version still say it this way.
        let name = if name == "begun-anew" { Situation::Resnapshotted.name() } else { name };
        Self::all().into_iter().find(|mark| mark.name() == name)
    }

    /// The name used in reports.
    #[must_use]
    pub fn name(self) -> Cow<'static, str> {
        match self {
            Self::In(situation) => situation.name().into(),
            // Not "while": the fault `stop` would share its names with the shutdown.
            Self::Met(fault, state) => format!("{}-meets-{state:?}", fault.name()).to_lowercase().into(),
            Self::Deviated(deviation) => deviation.name().into(),
        }
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
        let mut collector = CoverageCollector::default();
        for record in records {
            collector.take(record, &mut self.faults);
        }
        for mark in collector.reached {
            *self.marks.entry(mark).or_default() += 1;
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

    /// The marks that no run reached, and that a run on one of `tiers` can reach.
    pub fn missed(&self, tiers: &[Tier]) -> impl Iterator<Item = Mark> + '_ {
        Mark::of_tiers(tiers).into_iter().filter(|mark| self.marks.get(mark).copied().unwrap_or(0) == 0)
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
