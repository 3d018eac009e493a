//! The model's state and its one method.

use std::collections::BTreeMap;
use std::time::Duration;

use super::broadcast::Health;
use super::config::{Auth, GatewayConfig};
use super::device::LastKey;
use super::effect::{
    Admission, ConnectionId, Deviation, Effect, Input, Message, ModelEvent, Peer, TerminateCause,
};
use super::lockout::Lockout;
use super::misbehave::PendingDeviations;
use super::order::Order;
use super::pairing::Store;
use super::payload::Payloads;
use super::presence::Presence;
use super::process::Process;
use super::random::Random;
use super::requests::Starts;
use super::runs::Outcomes;
use super::session::{Phase, Session};
use super::timer::{Timer, Timers};

/// A whole gateway, without any I/O: inputs and the time in, effects out.
///
/// It is deterministic: equal configurations, seeds and inputs give equal effects.
#[derive(Debug, Clone)]
pub struct GatewayModel {
    pub(super) config: GatewayConfig,
    /// The authentication in force, which orders change.
    pub(super) auth: Auth,
    /// Counts changes of the shared secret (protocol 6.7).
    pub(super) generation: u32,
    pub(super) payloads: Payloads,
    pub(super) random: Random,
    pub(super) timers: Timers,
    pub(super) process: Process,
    pub(super) sessions: BTreeMap<ConnectionId, Session>,
    pub(super) presence: Presence,
    pub(super) health: Health,
    pub(super) starts: Starts,
    pub(super) outcomes: Outcomes,
    pub(super) pairing: Store,
    pub(super) lockout: Lockout,
    pub(super) deviation: PendingDeviations,
    /// A cache: without it everything would be the same, and slower.
    pub(super) last_key: LastKey,
}

/// One call of [`GatewayModel::step`]: the time, and where effects go.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) now: Duration,
    pub(super) effects: &'a mut Vec<Effect>,
}

impl Turn<'_> {
    pub(super) fn note(&mut self, note: ModelEvent) {
        self.effects.push(Effect::ModelEvent(note));
    }
}

impl GatewayModel {
    /// A gateway that booted at time zero.
    pub fn new(config: GatewayConfig, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let process = Process::booted(random.uuid());
        let presence = Presence::new(random.uuid(), config.limits.presence_rows, config.timing.presence_ttl);
        let boot_refresh_delay = config.timing.boot_refresh_delay;
        let mut model = GatewayModel {
            auth: config.auth.clone(),
            generation: 1,
            payloads: Payloads::new(&config, random.secret(43)),
            random,
            timers: Timers::default(),
            process,
            sessions: BTreeMap::new(),
            presence,
            health: Health::new(),
            starts: Starts::default(),
            outcomes: Outcomes::default(),
            pairing: Store::default(),
            lockout: Lockout::default(),
            deviation: PendingDeviations::default(),
            last_key: LastKey::default(),
            config,
        };
        model.schedule_refresh(Duration::ZERO, boot_refresh_delay);
        model
    }

    /// Takes one input at `now`; effects are appended in order. Time must not go back.
    pub fn step(&mut self, now: Duration, input: Input, effects: &mut Vec<Effect>) {
        let turn = &mut Turn { now, effects };
        match input {
            Input::Accepted { connection, peer } => self.on_accepted(turn, connection, peer),
            Input::Received { connection, message } => self.on_received(turn, connection, message),
            Input::Pong { connection } => self.on_pong(connection),
            Input::Buffered { connection, bytes } => {
                if let Some(session) = self.sessions.get_mut(&connection) {
                    session.buffered = bytes;
                }
            }
            Input::Disconnected { connection } => self.on_disconnected(turn, connection),
            Input::Timeout => self.on_timeout(turn),
            Input::Order(order) => self.on_order(turn, order),
        }
        self.finish_shutdown(turn);
        self.drop_stale_timers();
    }

    /// When [`Input::Timeout`] is due next.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| at)
    }

    /// Whether a new TCP connection and its upgrade are admitted now.
    pub fn admission(&self) -> Admission {
        match self.process.admission() {
            Admission::Open => {}
            closed @ (Admission::Refused | Admission::Unavailable(_)) => return closed,
        }
        let preauth = self.sessions.values().filter(|session| session.is_preauth()).count();
        if self.deviation.upgrades_refused || preauth >= self.config.limits.preauth_connections {
            return Admission::Unavailable("Too many unauthenticated sockets");
        }
        Admission::Open
    }

    /// Sockets the gateway holds and has not begun to close.
    pub fn live_connections(&self) -> usize {
        self.sessions.values().filter(|session| !session.is_closing()).count()
    }

    /// Sockets the gateway holds, closing ones included.
    pub fn open_sockets(&self) -> usize {
        self.sessions.len()
    }

    /// Sockets that were sent a hello and are not closing.
    pub fn established_connections(&self) -> usize {
        self.sessions.values().filter(|session| session.established().is_some()).count()
    }

    /// Whether this socket was sent a hello and is not closing.
    pub fn is_established(&self, connection: ConnectionId) -> bool {
        self.sessions.get(&connection).is_some_and(|session| session.established().is_some())
    }

    /// Number of the current boot; the first is 1. While the gateway is down it is the number of the last boot.
    pub fn boot(&self) -> u32 {
        self.process.boot
    }

    /// `server.bootId` of the current boot.
    pub fn boot_id(&self) -> &str {
        &self.process.boot_id
    }

    /// The configuration it was built with; orders do not change it.
    pub fn config(&self) -> &GatewayConfig {
        &self.config
    }

    /// The secret in force, if there is one.
    pub fn secret(&self) -> Option<&str> {
        match &self.auth {
            Auth::None => None,
            Auth::Token(secret) | Auth::Password(secret) => Some(secret),
        }
    }

    pub(super) fn unix_ms(&self, now: Duration) -> u64 {
        self.config.epoch_ms + now.as_millis() as u64
    }

    fn on_accepted(&mut self, turn: &mut Turn<'_>, connection: ConnectionId, peer: Peer) {
        turn.note(ModelEvent::Accepted { connection });
        if !matches!(self.process.admission(), Admission::Open) {
            turn.effects.push(Effect::Terminate { connection });
            turn.note(ModelEvent::Terminated { connection, cause: TerminateCause::NotListening });
            return;
        }
        let session = Session {
            peer,
            nonce: self.next_nonce(),
            conn_id: self.random.uuid().into(),
            buffered: 0,
            fault: self.deviation.take_handshake_fault().or_else(|| self.config.handshake_fault.clone()),
            phase: Phase::AwaitingConnect,
        };
        let previous = self.sessions.insert(connection, session);
        assert!(previous.is_none(), "{connection:?} was accepted twice");
        self.timers
            .insert(turn.now + self.config.timing.handshake_timeout, Timer::HandshakeExpired(connection));
        self.begin_handshake(turn, connection);
    }

    /// The nonce of the next challenge: random, unless a recording is being replayed.
    fn next_nonce(&mut self) -> std::sync::Arc<str> {
        match self.config.scripted.nonces.pop_front() {
            Some(nonce) => nonce.into(),
            None => self.random.uuid().into(),
        }
    }

    fn on_received(&mut self, turn: &mut Turn<'_>, connection: ConnectionId, message: Message) {
        let Some(session) = self.sessions.get_mut(&connection) else { return };
        let limits = &self.config.limits;
        let limit = if session.is_preauth() { limits.preauth_bytes } else { limits.payload_bytes };
        match &mut session.phase {
            Phase::Mute | Phase::Closing { .. } => {}
            Phase::AwaitingConnect | Phase::Deciding { .. } | Phase::Established(_)
                if message.len() > limit =>
            {
                // The WebSocket layer gives up before any handler sees the message (protocol 1.7).
                self.close(turn, connection, 1009, "");
            }
            Phase::AwaitingConnect => self.on_first_message(turn, connection, &message),
            Phase::Deciding { queued, .. } => {
                if queued.len() < limits.preauth_queue {
                    queued.push_back(message);
                } else {
                    self.close(turn, connection, 1008, "gateway message handler loading");
                }
            }
            Phase::Established(_) => self.on_message(turn, connection, &message),
        }
    }

    fn on_pong(&mut self, connection: ConnectionId) {
        if let Some(established) = self.sessions.get_mut(&connection).and_then(Session::established_mut) {
            established.ping_outstanding = false;
        }
    }

    fn on_disconnected(&mut self, turn: &mut Turn<'_>, connection: ConnectionId) {
        if let Some(session) = self.sessions.remove(&connection) {
            turn.note(ModelEvent::Disconnected { connection });
            self.forget(turn, connection, session);
        }
    }

    /// Marks the presence row of a socket that is gone and tells the others (protocol 10.6).
    fn forget(&mut self, turn: &mut Turn<'_>, connection: ConnectionId, session: Session) {
        self.forget_waits(connection);
        let key = match session.phase {
            Phase::Established(established) => established.presence_key,
            Phase::Closing { presence_key } => presence_key,
            Phase::AwaitingConnect | Phase::Deciding { .. } | Phase::Mute => None,
        };
        if let Some(key) = key {
            self.presence.disconnected(turn.now, &key);
            self.broadcast_presence(turn);
        }
    }

    /// Begins the close handshake.
    pub(super) fn close(
        &mut self,
        turn: &mut Turn<'_>,
        connection: ConnectionId,
        code: u16,
        reason: impl Into<std::borrow::Cow<'static, str>>,
    ) {
        let Some(session) = self.sessions.get_mut(&connection).filter(|session| !session.is_closing()) else {
            return;
        };
        let presence_key = match &mut session.phase {
            Phase::Established(established) => established.presence_key.take(),
            Phase::AwaitingConnect | Phase::Deciding { .. } | Phase::Mute | Phase::Closing { .. } => None,
        };
        session.phase = Phase::Closing { presence_key };
        turn.effects.push(Effect::Close { connection, code, reason: super::frame::close_reason(reason) });
        turn.note(ModelEvent::Closed { connection, code });
        self.timers.insert(turn.now + self.config.timing.close_timeout, Timer::CloseExpired(connection));
    }

    /// Drops the TCP connection.
    pub(super) fn terminate(&mut self, turn: &mut Turn<'_>, connection: ConnectionId, cause: TerminateCause) {
        if let Some(session) = self.sessions.remove(&connection) {
            turn.effects.push(Effect::Terminate { connection });
            turn.note(ModelEvent::Terminated { connection, cause });
            self.forget(turn, connection, session);
        }
    }

    /// The ids of sockets for which `wanted` holds, in order.
    pub(super) fn connections(&self, wanted: impl Fn(&Session) -> bool) -> Vec<ConnectionId> {
        self.sessions.iter().filter(|(_, session)| wanted(session)).map(|(id, _)| *id).collect()
    }

    fn on_timeout(&mut self, turn: &mut Turn<'_>) {
        while let Some(timer) = self.timers.pop_due(turn.now) {
            self.on_timer(turn, timer);
        }
    }

    fn on_timer(&mut self, turn: &mut Turn<'_>, timer: Timer) {
        match timer {
            Timer::HandshakeExpired(connection) => self.on_handshake_expired(turn, connection),
            Timer::Challenge(connection) => self.send_challenge(turn, connection),
            Timer::Verdict(connection) => self.on_verdict_due(turn, connection),
            Timer::Ping(connection) => self.on_ping_due(turn, connection),
            Timer::Answer { connection, answer } => self.deliver(turn, connection, &answer),
            Timer::Starts => self.on_starts_due(turn),
            Timer::RunBegins(run) => self.on_run_begins(turn, &run),
            Timer::WaitExpires { connection, id } => self.on_wait_expires(turn, connection, &id),
            Timer::RunEnds(run) => self.on_run_ends(turn, &run),
            Timer::Tick => self.on_tick_due(turn),
            Timer::HealthRefresh => self.refresh_health(turn),
            Timer::HealthInterval => self.on_health_due(turn),
            Timer::SecretChange => self.on_secret_change_due(turn),
            Timer::AnnounceShutdown => self.announce_shutdown(turn),
            Timer::CloseAll => self.close_all(turn),
            Timer::CloseExpired(connection) => self.terminate(turn, connection, TerminateCause::CloseGrace),
            Timer::DropStragglers => self.drop_stragglers(turn),
            Timer::Boot => self.boot_now(turn),
            Timer::AdmitUpgrades => self.deviation.upgrades_refused = false,
            Timer::Kick { connection, code, reason } => {
                self.misbehaved(turn, connection, Deviation::EndedEarly);
                self.close(turn, connection, code, reason);
            }
            Timer::Drop(connection) => {
                self.misbehaved(turn, connection, Deviation::EndedEarly);
                self.terminate(turn, connection, TerminateCause::Ordered);
            }
        }
    }

    fn on_order(&mut self, turn: &mut Turn<'_>, order: Order) {
        match order {
            Order::Restart { mode, down } => self.restart(turn, mode, down),
            Order::Stop => self.stop(turn),
            Order::Start => self.start(turn),
            Order::ChangeToken { token } => self.change_secret(turn, Auth::Token(token)),
            Order::ChangePassword { password } => self.change_secret(turn, Auth::Password(password)),
            Order::Kick { code, reason } => {
                for connection in self.connections(|session| !session.is_closing()) {
                    self.close(turn, connection, code, reason.clone());
                }
            }
            Order::Terminate => {
                for connection in self.connections(|_| true) {
                    self.terminate(turn, connection, TerminateCause::Ordered);
                }
            }
            Order::Emit { event, payload } => self.emit(turn, event, &payload),
            Order::DropNextEvent => self.deviation.drop_event(),
            Order::ApprovePairing => self.resolve_oldest(turn, true),
            Order::RejectPairing => self.resolve_oldest(turn, false),
            Order::RotateDeviceTokens => self.rotate_device_tokens(turn),
            Order::RevokeDevices => self.revoke_devices(turn),
            Order::Misbehave(misbehave) => self.misbehave(turn, misbehave),
        }
    }

    /// Removes timers at the front whose moment has passed by, so that nobody is woken for nothing.
    fn drop_stale_timers(&mut self) {
        while let Some((_, timer)) = self.timers.first() {
            let session = |id: &ConnectionId| self.sessions.get(id);
            let stale = match timer {
                Timer::HandshakeExpired(id) => session(id).is_none_or(|session| !session.is_preauth()),
                Timer::Challenge(id) => {
                    session(id).is_none_or(|session| !matches!(session.phase, Phase::AwaitingConnect))
                }
                Timer::Verdict(id) => {
                    session(id).is_none_or(|session| !matches!(session.phase, Phase::Deciding { .. }))
                }
                Timer::Ping(id)
                | Timer::Answer { connection: id, .. }
                | Timer::WaitExpires { connection: id, .. }
                | Timer::Kick { connection: id, .. }
                | Timer::Drop(id) => session(id).is_none_or(|session| session.established().is_none()),
                Timer::CloseExpired(id) => session(id).is_none_or(|session| !session.is_closing()),
                Timer::DropStragglers => self.sessions.is_empty(),
                Timer::Starts
                | Timer::RunBegins(_)
                | Timer::RunEnds(_)
                | Timer::Tick
                | Timer::HealthRefresh => false,
                Timer::HealthInterval | Timer::SecretChange | Timer::AnnounceShutdown => false,
                Timer::CloseAll | Timer::Boot | Timer::AdmitUpgrades => false,
            };
            if !stale {
                break;
            }
            self.timers.pop();
        }
    }
}
