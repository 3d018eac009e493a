//! `no_storm` and `no_wedge`: never too many dials, and in the end always a connection.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use onesocket::core::Instant;

use super::Oracle;
use super::suspension::TICK;
use crate::plan::{Fault, Plan};
use crate::trace::{Event, GatewayEvent, Record, StatusKind};

/// Two dials without a reason in between are at least the first wait apart, and nothing is dialed
/// in a pause, but by a client that is to ask again while it waits to be paired: no sooner than it may. A changed config is
/// a reason, and no better one each time: two dials that follow changes are that far apart, too, however often it changes.
/// The one retry with a stored device token after a refused one may come sooner
/// (protocol 7.10): once, until the next hello or config.
pub(super) struct NoStorm {
    first_wait: Duration,
    /// How often the client may ask whether it is paired by now.
    poll: Option<Duration>,
    /// Whether the latest refusal is that of a device that is not paired.
    unpaired: bool,
    last_dial: Option<Instant>,
    excused: bool,
    /// The config has changed since the latest dial.
    changed: bool,
    /// The latest dial that followed a change of the config.
    last_changed_dial: Option<Instant>,
    paused: bool,
    /// When the app last did something that ends a pause.
    pause_ended: Option<Instant>,
    token_refused: bool,
    device_retry_used: bool,
    /// The latest refusal may have been one of a gateway that is starting.
    starting: bool,
}

/// The shortest wait after the word that a gateway is starting (protocol 17.2).
const STARTUP_WAIT: Duration = Duration::from_millis(100);

impl NoStorm {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            first_wait: Duration::from_millis(plan.params.backoff_ms),
            poll: plan.params.pairing_poll_ms.map(Duration::from_millis),
            unpaired: false,
            last_dial: None,
            excused: false,
            changed: false,
            last_changed_dial: None,
            paused: false,
            pause_ended: None,
            token_refused: false,
            device_retry_used: false,
            starting: false,
        }
    }

    fn dialed(&mut self, socket: u32, at: Instant) -> Result<(), String> {
        if self.paused && !self.may_ask(at) {
            return Err(format!("socket {socket} is dialed in a pause"));
        }
        let wait = if self.starting { STARTUP_WAIT.min(self.first_wait) } else { self.first_wait };
        let too_soon = self.last_dial.is_some_and(|last| at.since(last) < wait);
        if too_soon && !self.excused && !self.may_retry_device_token() {
            return Err(format!(
                "socket {socket} is dialed less than {:?} after the one before",
                self.first_wait
            ));
        }
        if std::mem::take(&mut self.changed) {
            // A dial is seen when its socket is first polled.
            if self.last_changed_dial.is_some_and(|last| at.since(last) + TICK < self.first_wait) {
                return Err(format!(
                    "socket {socket} is dialed less than {:?} after the one before, and a config that keeps changing is no reason",
                    self.first_wait
                ));
            }
            self.last_changed_dial = Some(at);
        }
        self.last_dial = Some(at);
        self.excused = false;
        self.token_refused = false;
        self.starting = false;
        Ok(())
    }

    fn may_ask(&self, at: Instant) -> bool {
        let since = self.last_dial.map(|last| at.since(last));
        self.unpaired && self.poll.zip(since).is_some_and(|(poll, since)| since >= poll)
    }

    fn may_retry_device_token(&mut self) -> bool {
        self.token_refused && !std::mem::replace(&mut self.device_retry_used, true)
    }

    fn pause_ends(&mut self, at: Instant) {
        self.excused = true;
        self.paused = false;
        self.pause_ended = Some(at);
    }
}

impl Oracle for NoStorm {
    fn observe(&mut self, record: &Record) -> Result<(), String> {
        match &record.event {
            Event::Dialed { socket, .. } => return self.dialed(*socket, record.at),
            Event::Configured { changed: true, .. } | Event::Unconfigured { changed: true } => {
                self.device_retry_used = false;
                self.changed = true;
                self.pause_ends(record.at);
            }
            Event::Resumed => self.pause_ends(record.at),
            // A watcher may tell of a pause a moment after it ended.
            Event::Status(status) => {
                self.paused = *status == StatusKind::Paused && self.pause_ended != Some(record.at);
                // The attempt for the new config is over, also when it failed before anything was dialed.
                self.changed &= *status != StatusKind::Backoff;
            }
            Event::Gateway { event: GatewayEvent::Hello { .. }, .. } => self.device_retry_used = false,
            Event::Gateway { event: GatewayEvent::Refused { code, .. }, .. } => {
                self.token_refused = code == "AUTH_TOKEN_MISMATCH";
                self.starting = code == "startup-sidecars";
                self.unpaired = code == "PAIRING_REQUIRED";
            }
            _ => {}
        }
        Ok(())
    }
}

/// A computed time after the last trouble, a connection that is wanted is ready, and stays so. A client that never
/// tells a status is not judged.
///
/// A gateway answers wrong credentials later and later (protocol 8.3). A client whose patience for a hello is shorter
/// than that never learns that they are wrong, and cannot but try again: that is trouble as well.
pub(super) struct NoWedge {
    bound: Duration,
    /// The least that a client waits for an answer to its connect.
    patience: Duration,
    /// Connects that have no answer yet, and when they came.
    unanswered: BTreeMap<(u8, u32), Instant>,
    healed_at: Instant,
    wanted: bool,
    stopping: bool,
    /// Whether there is anything to connect to.
    configured: bool,
    status: Option<StatusKind>,
    lasting: BTreeMap<(Fault, u8), u32>,
    /// Gateways that nobody can connect to.
    down: BTreeSet<u8>,
    /// Connections that a gateway welcomed and holds.
    held: BTreeSet<(u8, u32)>,
}

impl NoWedge {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            bound: plan.params.convergence(),
            // What the client waits begins at its own end of the link, a journey or two away.
            patience: Duration::from_millis(plan.params.stage_ms / 2),
            unanswered: BTreeMap::new(),
            healed_at: Instant::ZERO,
            wanted: false,
            stopping: false,
            configured: true,
            status: None,
            lasting: BTreeMap::new(),
            down: BTreeSet::new(),
            held: BTreeSet::new(),
        }
    }

    /// Whether there is nothing that could keep a wanted connection from becoming ready.
    fn is_calm(&self) -> bool {
        self.wanted
            && !self.stopping
            && self.down.is_empty()
            && self.lasting.values().all(|count| *count == 0)
    }

    fn is_settled(&self) -> bool {
        let Some(status) = self.status else { return true };
        match status {
            StatusKind::Ready => self.configured && !self.held.is_empty(),
            // A pause is a promise to wait for a person; `no_storm` and `pauses_have_causes` judge it.
            StatusKind::Paused => self.configured,
            StatusKind::NotConfigured => !self.configured,
            StatusKind::Stopped => true,
            StatusKind::Idle
            | StatusKind::Connecting
            | StatusKind::Handshaking
            | StatusKind::Backoff
            | StatusKind::Settling
            | StatusKind::Closing => false,
        }
    }
}

impl Oracle for NoWedge {
    fn observe(&mut self, record: &Record) -> Result<(), String> {
        // In the order of what they cost: most records are not later than the bound, or find the client settled.
        if record.at > self.healed_at + self.bound && !self.is_settled() && self.is_calm() {
            let since = self.healed_at;
            let status = self.status.unwrap_or(StatusKind::Idle);
            return Err(format!("the client is {status:?} although nothing is wrong since {since}"));
        }
        match &record.event {
            Event::RequestMade { .. } | Event::Subscribed { .. } | Event::Wanted if !self.wanted => {
                self.wanted = true;
                self.healed_at = self.healed_at.max(record.at);
            }
            Event::Configured { changed: true, .. } => {
                self.configured = true;
                self.healed_at = record.at;
            }
            Event::Unconfigured { changed: true } => {
                self.configured = false;
                self.healed_at = record.at;
            }
            Event::Resumed => self.healed_at = record.at,
            Event::Fault { fault, gateway } => {
                self.healed_at = record.at;
                if fault.lasts() {
                    *self.lasting.entry((*fault, *gateway)).or_default() += 1;
                }
            }
            Event::Healed { fault, gateway } => {
                self.healed_at = record.at;
                *self.lasting.entry((*fault, *gateway)).or_default() -= 1;
            }
            // A partition may cost a connection long after it: a gateway that misses a pong says nothing for
            // most of a minute and then drops it.
            Event::Gateway { gateway, event: GatewayEvent::Dropped { connection } } => {
                self.held.remove(&(*gateway, *connection));
                self.healed_at = record.at;
            }
            // What was ordered may take effect long after.
            Event::Gateway { event: GatewayEvent::Misbehaved { .. }, .. } => self.healed_at = record.at,
            Event::Gateway { gateway, event: GatewayEvent::Down } => {
                self.down.insert(*gateway);
                self.held.retain(|(of, _)| of != gateway);
            }
            Event::Gateway { gateway, event: GatewayEvent::Booted } => {
                self.down.remove(gateway);
                self.healed_at = record.at;
            }
            Event::Gateway { gateway, event: GatewayEvent::Connect { connection, .. } } => {
                self.unanswered.insert((*gateway, *connection), record.at);
            }
            Event::Gateway { gateway, event: GatewayEvent::Hello { connection, .. } } => {
                self.unanswered.remove(&(*gateway, *connection));
                self.held.insert((*gateway, *connection));
            }
            Event::Gateway { gateway, event: GatewayEvent::Refused { connection, .. } } => {
                self.unanswered.remove(&(*gateway, *connection));
            }
            Event::Gateway { gateway, event: GatewayEvent::Closed { connection, .. } } => {
                self.held.remove(&(*gateway, *connection));
            }
            Event::Gateway { gateway, event: GatewayEvent::Gone { connection } } => {
                self.held.remove(&(*gateway, *connection));
                let since = self.unanswered.remove(&(*gateway, *connection));
                if since.is_some_and(|since| record.at.since(since) >= self.patience) {
                    self.healed_at = record.at;
                }
            }
            Event::ShutdownCalled => self.stopping = true,
            Event::Status(status) => self.status = Some(*status),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::first_broken;
    use super::*;
    use crate::plan::environment::ConfigRef;

    fn at_gateway(event: GatewayEvent) -> Event {
        Event::Gateway { gateway: 0, event }
    }

    /// The bound of the plan that `broken` judges by.
    fn bound() -> u64 {
        u64::try_from(Plan::new(1).params.convergence().as_millis()).expect("a bound is short")
    }

    fn broken(history: &[(u64, Event)]) -> Option<usize> {
        first_broken(&mut NoWedge::new(&Plan::new(1)), history.iter().cloned())
    }

    #[test]
    fn a_config_that_keeps_changing_is_no_reason_to_dial_in_a_storm() {
        let wait = Plan::new(1).params.backoff_ms;
        let broken = |history: &[(u64, Event)]| {
            first_broken(&mut NoStorm::new(&Plan::new(1)), history.iter().cloned())
        };
        let dialed = |at, socket| (at, Event::Dialed { socket, gateway: 0 });
        let changed = |at| (at, Event::Configured { config: ConfigRef::first(), changed: true });
        let equal = |at| (at, Event::Configured { config: ConfigRef::first(), changed: false });
        let gone = |at| (at, Event::Unconfigured { changed: true });
        // One change is a reason, also right after a dial, and so is another one after the wait.
        let apart = [dialed(0, 1), changed(1), dialed(1, 2), changed(2), dialed(1 + wait, 3)];
        assert_eq!(broken(&apart), None);
        // A change is not that of the dial before, whatever else has made that.
        let others = [changed(0), dialed(0, 1), dialed(wait, 2), changed(wait), dialed(wait, 3)];
        assert_eq!(broken(&others), None);
        // A tick of a network may have delayed the dial before.
        let storm = [dialed(0, 1), changed(1), dialed(1, 2), changed(2), dialed(wait - 10, 3)];
        assert_eq!(broken(&storm), Some(4));
        let on_and_off = [changed(0), dialed(0, 1), gone(1), changed(2), dialed(2, 2)];
        assert_eq!(broken(&on_and_off), Some(4));
        let no_change = [dialed(0, 1), equal(1), dialed(1, 2)];
        assert_eq!(broken(&no_change), Some(2));
    }

    #[test]
    fn a_client_asks_in_a_pause_only_if_it_may_and_no_sooner() {
        let dial = |at_ms, socket| (at_ms, Event::Dialed { socket, gateway: 0 });
        let asks = |poll, code: &'static str, after| {
            let refused =
                at_gateway(GatewayEvent::Refused { connection: 1, code: code.into(), retry_after: None });
            let paused = Event::Status(StatusKind::Paused);
            let history = [dial(0, 1), (5, refused), (9, paused), dial(after, 2)];
            let plan = Plan::new(1).with(|params| params.pairing_poll_ms = poll);
            first_broken(&mut NoStorm::new(&plan), history)
        };
        assert_eq!(asks(Some(5_000), "PAIRING_REQUIRED", 5_009), None);
        assert_eq!(asks(Some(5_000), "PAIRING_REQUIRED", 4_900), Some(3));
        assert_eq!(asks(Some(5_000), "PAIRING_REJECTED", 5_009), Some(3));
        assert_eq!(asks(None, "PAIRING_REQUIRED", 5_009), Some(3));
    }

    #[test]
    fn a_connection_that_is_wanted_is_ready_in_the_end() {
        let history = |status| [(0, Event::Wanted), (5, Event::Status(status)), (bound() + 1, Event::Woken)];
        for status in [
            StatusKind::Idle,
            StatusKind::Backoff,
            StatusKind::Settling,
            StatusKind::Closing,
            StatusKind::NotConfigured,
        ] {
            assert_eq!(broken(&history(status)), Some(2), "{status:?}");
        }
        for status in [StatusKind::Paused, StatusKind::Stopped] {
            assert_eq!(broken(&history(status)), None, "{status:?}");
        }
    }

    #[test]
    fn a_ready_client_has_a_connection_that_its_gateway_holds() {
        let hello = GatewayEvent::Hello { connection: 1, issued: None, handed_over: None };
        let ready = [(0, Event::Wanted), (4, at_gateway(hello)), (5, Event::Status(StatusKind::Ready))];
        let later = (bound() + 10, Event::Woken);
        assert_eq!(broken(&[&ready[..], std::slice::from_ref(&later)].concat()), None);
        for end in [GatewayEvent::Closed { connection: 1, code: 1000 }, GatewayEvent::Gone { connection: 1 }]
        {
            assert_eq!(broken(&[&ready[..], &[(9, at_gateway(end)), later.clone()]].concat()), Some(4));
        }
        assert_eq!(broken(&[&ready[..1], &ready[2..], &[later]].concat()), Some(2));
    }

    #[test]
    fn without_a_config_there_is_nothing_to_connect_to() {
        let history = |status| {
            [
                (0, Event::Wanted),
                (5, Event::Unconfigured { changed: true }),
                (6, Event::Status(status)),
                (bound() + 6, Event::Woken),
            ]
        };
        assert_eq!(broken(&history(StatusKind::NotConfigured)), None);
        for status in [StatusKind::Idle, StatusKind::Ready, StatusKind::Backoff] {
            assert_eq!(broken(&history(status)), Some(3), "{status:?}");
        }
    }

    #[test]
    fn what_was_never_answered_is_trouble_and_what_was_given_up_early_is_not() {
        let stage = Plan::new(1).params.stage_ms;
        let history = |waited| {
            let connect = GatewayEvent::Connect {
                connection: 1,
                token: None,
                device_token: None,
                bootstrap_token: None,
            };
            [
                (0, Event::Wanted),
                (0, Event::Status(StatusKind::Handshaking)),
                (bound() - waited, at_gateway(connect)),
                (bound(), at_gateway(GatewayEvent::Gone { connection: 1 })),
                (bound() + 1, Event::Woken),
            ]
        };
        assert_eq!(broken(&history(stage)), None);
        assert_eq!(broken(&history(stage / 4)), Some(4));
    }
}
