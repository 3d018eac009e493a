//! From the open socket to hello or refusal (protocol 2.4, 3, 4).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::auth::{Door, Method, PROTOCOL};
use super::config::Release;
use super::connect::{CONNECT, Connect};
use super::effect::{ConnectionId, Deviation, Effect, Message, ModelEvent, Secret, TerminateCause};
use super::frame::{self, ErrorShape, Frame, Request};
use super::gateway_model::{GatewayModel, Turn};
use super::order::{HandshakeFault, Rejection};
use super::payload::{self, Moment};
use super::session::{Established, Grant, Phase, Refusal, Verdict};
use super::timer::Timer;

/// Modes that leave no row in the presence list (protocol 10.6).
const EPHEMERAL_MODES: &[&str] = &["cli", "backend", "probe"];

impl GatewayModel {
    /// Sends the challenge, unless an order interferes.
    pub(super) fn begin_handshake(&mut self, turn: &mut Turn<'_>, connection: ConnectionId) {
        let fault = self.sessions.get(&connection).and_then(|session| session.fault.clone());
        match fault {
            Some(HandshakeFault::NoChallenge) => {
                self.misbehaved(turn, connection, Deviation::ChallengeWithheld);
            }
            Some(HandshakeFault::LateChallenge { by }) => {
                self.misbehaved(turn, connection, Deviation::ChallengeDelayed);
                self.timers.insert(turn.now + by, Timer::Challenge(connection));
            }
            Some(HandshakeFault::ChallengeWithoutNonce) => {
                self.misbehaved(turn, connection, Deviation::ChallengeWithheld);
                let payload = format!(r#"{{"ts":{}}}"#, self.unix_ms(turn.now));
                let text = frame::event("connect.challenge", &payload, None, None);
                turn.effects.push(Effect::Send { connection, text });
            }
            Some(
                HandshakeFault::NoHello
                | HandshakeFault::LateHello { .. }
                | HandshakeFault::EarlyEvents { .. }
                | HandshakeFault::KickAfterHello { .. }
                | HandshakeFault::TerminateAfterHello { .. }
                | HandshakeFault::TerminateBeforeHello
                | HandshakeFault::Reject(_)
                | HandshakeFault::Startup
                | HandshakeFault::Draining
                | HandshakeFault::Payload { .. }
                | HandshakeFault::WrongId { .. },
            )
            | None => self.send_challenge(turn, connection),
        }
    }

    pub(super) fn send_challenge(&mut self, turn: &mut Turn<'_>, connection: ConnectionId) {
        let Some(session) = self.sessions.get(&connection) else { return };
        let mut payload = String::with_capacity(80);
        payload.push_str(r#"{"nonce":""#);
        payload.push_str(&session.nonce);
        payload.push_str(r#"","ts":"#);
        frame::push_number(&mut payload, self.unix_ms(turn.now));
        match self.config.release {
            Release::R2026_9_1 => payload.push('}'),
            Release::R2026_9_6 => payload.push_str(r#","capabilities":["model-catalog-snapshot"]}"#),
        }
        let text = frame::event("connect.challenge", &payload, None, None);
        turn.effects.push(Effect::Send { connection, text });
        turn.note(ModelEvent::ChallengeSent { connection });
    }

    pub(super) fn on_handshake_expired(&mut self, turn: &mut Turn<'_>, connection: ConnectionId) {
        let Some(session) = self.sessions.get(&connection) else { return };
        match session.phase {
            // A clean close without a reason (protocol 3.1).
            Phase::AwaitingConnect | Phase::Deciding { .. } => self.close(turn, connection, 1000, ""),
            Phase::Mute | Phase::Established(_) | Phase::Closing { .. } => {}
        }
    }

    /// The refusal matrix of protocol 2.4.
    pub(super) fn on_first_message(
        &mut self,
        turn: &mut Turn<'_>,
        connection: ConnectionId,
        message: &Message,
    ) {
        let request = match frame::read(&message.text()) {
            Frame::Request(request) => request,
            Frame::Invalid { .. } => {
                turn.note(ModelEvent::Refused { connection, code: "".into(), retry_after: None });
                self.close(turn, connection, 1008, "invalid request frame");
                return;
            }
            Frame::Garbage => {
                turn.note(ModelEvent::Refused { connection, code: "".into(), retry_after: None });
                self.close(turn, connection, 1000, "");
                return;
            }
        };
        let verdict = match self.read_connect(turn, connection, &request) {
            Ok(connect) => self.decide(turn, connection, &request, connect),
            Err(refusal) => Verdict::Refuse { id: request.id, refusal: *refusal },
        };
        self.schedule_verdict(turn, connection, verdict);
    }

    fn read_connect(
        &mut self,
        turn: &mut Turn<'_>,
        connection: ConnectionId,
        request: &Request,
    ) -> Result<Connect, Box<Refusal>> {
        let refuse =
            |message: String| Box::new(Refusal::new("INVALID_REQUEST", ErrorShape::invalid_request(message)));
        if &*request.method != "connect" {
            return Err(refuse("invalid handshake: first request must be connect".to_owned()));
        }
        let params = request.params_value();
        if let Some(complaint) = CONNECT.complaint(&params) {
            return Err(refuse(format!("invalid connect params: {complaint}")));
        }
        let connect = Connect::read(&params);
        let presented = Arc::new(connect.presented.clone());
        turn.note(ModelEvent::ConnectReceived { connection, id: request.id.clone(), presented });
        Ok(connect)
    }

    fn decide(
        &mut self,
        turn: &mut Turn<'_>,
        connection: ConnectionId,
        request: &Request,
        connect: Connect,
    ) -> Verdict {
        let Some(session) = self.sessions.get(&connection) else {
            unreachable!("a message is only handled for a socket that is there");
        };
        let door = Door { peer: session.peer.clone(), nonce: session.nonce.clone() };
        let id = request.id.clone();
        let ordered = match &session.fault {
            Some(HandshakeFault::Reject(rejection)) => Some(refusal_of(rejection)),
            Some(HandshakeFault::Startup) => Some(startup()),
            Some(HandshakeFault::Draining) => Some(draining()),
            Some(
                HandshakeFault::NoChallenge
                | HandshakeFault::LateChallenge { .. }
                | HandshakeFault::ChallengeWithoutNonce
                | HandshakeFault::NoHello
                | HandshakeFault::LateHello { .. }
                | HandshakeFault::EarlyEvents { .. }
                | HandshakeFault::KickAfterHello { .. }
                | HandshakeFault::TerminateAfterHello { .. }
                | HandshakeFault::TerminateBeforeHello
                | HandshakeFault::Payload { .. }
                | HandshakeFault::WrongId { .. },
            )
            | None => None,
        };
        if let Some(refusal) = ordered {
            self.misbehaved(turn, connection, Deviation::ConnectRejected);
            return Verdict::Refuse { id, refusal };
        }
        if self.process.is_draining() {
            return Verdict::Refuse { id, refusal: draining() };
        }
        match self.admit(turn, &door, id.clone(), connect) {
            Ok(grant) => Verdict::Admit(Box::new(grant)),
            Err(refusal) => Verdict::Refuse { id, refusal: *refusal },
        }
    }

    /// Answers now, or later when something delays the answer.
    fn schedule_verdict(&mut self, turn: &mut Turn<'_>, connection: ConnectionId, verdict: Verdict) {
        let mut delay = self.random.latency(self.config.latency.connect);
        match &verdict {
            Verdict::Refuse { refusal, .. } => delay += refusal.delay,
            Verdict::Admit(_) => delay += self.hello_delay(turn, connection),
        }
        let Some(session) = self.sessions.get_mut(&connection) else { return };
        if delay == Duration::ZERO {
            return self.answer_connect(turn, connection, verdict);
        }
        session.phase = Phase::Deciding { verdict: Box::new(verdict), queued: VecDeque::new() };
        self.timers.insert(turn.now + delay, Timer::Verdict(connection));
    }

    /// What an ordered late hello adds.
    fn hello_delay(&self, turn: &mut Turn<'_>, connection: ConnectionId) -> Duration {
        let fault = self.sessions.get(&connection).and_then(|session| session.fault.as_ref());
        let Some(HandshakeFault::LateHello { by }) = fault else { return Duration::ZERO };
        self.misbehaved(turn, connection, Deviation::HelloDelayed);
        *by
    }

    pub(super) fn on_verdict_due(&mut self, turn: &mut Turn<'_>, connection: ConnectionId) {
        let Some(session) = self.sessions.get_mut(&connection) else { return };
        let Phase::Deciding { verdict, queued } =
            std::mem::replace(&mut session.phase, Phase::AwaitingConnect)
        else {
            unreachable!("stale verdicts are dropped with their timer's session");
        };
        self.answer_connect(turn, connection, *verdict);
        for message in queued {
            self.on_queued(turn, connection, &message);
        }
    }

    fn on_queued(&mut self, turn: &mut Turn<'_>, connection: ConnectionId, message: &Message) {
        if self.sessions.get(&connection).is_some_and(|session| session.established().is_some()) {
            self.on_message(turn, connection, message);
        }
    }

    fn answer_connect(&mut self, turn: &mut Turn<'_>, connection: ConnectionId, verdict: Verdict) {
        match verdict {
            Verdict::Refuse { id, refusal } => self.refuse(turn, connection, &id, refusal),
            Verdict::Admit(grant) => {
                if self.process.is_draining() {
                    return self.refuse(turn, connection, &grant.id, draining());
                }
                let outdated = grant.shared_generation.is_some_and(|used| used != self.generation);
                if outdated {
                    // The secret changed while the connect was being decided (protocol 3.8).
                    turn.note(ModelEvent::Refused { connection, code: "".into(), retry_after: None });
                    self.close(turn, connection, 4001, "gateway auth changed");
                } else {
                    self.welcome(turn, connection, &grant);
                }
            }
        }
    }

    fn refuse(&mut self, turn: &mut Turn<'_>, connection: ConnectionId, id: &str, refusal: Refusal) {
        if let Some(error) = refusal.error.as_ref().filter(|_| !self.config.refusals_by_close) {
            let text = frame::response(&frame::string(id), &frame::error_body(None, error));
            turn.effects.push(Effect::Send { connection, text });
        }
        let retry_after = refusal.error.as_ref().and_then(ErrorShape::retry_after);
        turn.note(ModelEvent::Refused { connection, code: refusal.code, retry_after });
        if let Some((code, reason)) = refusal.close {
            self.close(turn, connection, code, reason);
        }
    }

    /// Registers the client, broadcasts presence, and only then sends hello (protocol 3.8, 10.5).
    fn welcome(&mut self, turn: &mut Turn<'_>, connection: ConnectionId, grant: &Grant) {
        let Some(session) = self.sessions.get_mut(&connection) else { return };
        let (conn_id, fault) = (session.conn_id.clone(), session.fault.take());
        match &fault {
            Some(HandshakeFault::NoHello) => {
                session.phase = Phase::Mute;
                return self.misbehaved(turn, connection, Deviation::HelloWithheld);
            }
            Some(HandshakeFault::TerminateBeforeHello) => {
                self.misbehaved(turn, connection, Deviation::HelloWithheld);
                return self.terminate(turn, connection, TerminateCause::Ordered);
            }
            Some(
                HandshakeFault::NoChallenge
                | HandshakeFault::LateChallenge { .. }
                | HandshakeFault::ChallengeWithoutNonce
                | HandshakeFault::LateHello { .. }
                | HandshakeFault::EarlyEvents { .. }
                | HandshakeFault::KickAfterHello { .. }
                | HandshakeFault::TerminateAfterHello { .. }
                | HandshakeFault::Reject(_)
                | HandshakeFault::Startup
                | HandshakeFault::Draining
                | HandshakeFault::Payload { .. }
                | HandshakeFault::WrongId { .. },
            )
            | None => {}
        }
        let presence_key = track(grant, &conn_id);
        session.phase = Phase::Established(Box::new(Established {
            node: grant.connect.is_node(),
            scopes: grant.scopes.clone(),
            shared_generation: grant.shared_generation,
            device: grant.connect.device.as_ref().map(|device| device.id.clone()),
            presence_key: presence_key.clone(),
            seq: 0,
            ping_outstanding: false,
            unauthorized_calls: 0,
            last_event: None,
            last_response: None,
        }));
        self.wind_clocks(turn.now);
        if let Some(key) = presence_key {
            self.presence.connected(turn.now, key, &grant.connect, &grant.scopes);
            self.broadcast_presence(turn);
        }
        if let Some(HandshakeFault::EarlyEvents { count }) = fault {
            let payload = format!(r#"{{"reason":"create","ts":{}}}"#, self.unix_ms(turn.now));
            (0..count).for_each(|_| self.emit(turn, "sessions.changed".to_owned(), &payload));
        }
        self.send_hello(turn, connection, grant, fault.as_ref());
        self.after_hello(turn, connection, fault);
    }

    fn send_hello(
        &mut self,
        turn: &mut Turn<'_>,
        connection: ConnectionId,
        grant: &Grant,
        fault: Option<&HandshakeFault>,
    ) {
        let Some(session) = self.sessions.get(&connection) else { return };
        let conn_id = session.conn_id.clone();
        let (mut id, mut spoiled) = (frame::string(&grant.id), None);
        if let Some(HandshakeFault::WrongId { id: wrong }) = fault {
            id = frame::string(wrong);
            self.misbehaved(turn, connection, Deviation::HelloSpoiled);
        }
        if let Some(HandshakeFault::Payload { payload }) = fault {
            spoiled = Some(payload.to_string());
            let deviation =
                if is_of_other_version(payload) { Deviation::VersionBent } else { Deviation::HelloSpoiled };
            self.misbehaved(turn, connection, deviation);
        }
        let hello = spoiled.clone().unwrap_or_else(|| self.hello(turn.now, &conn_id, grant));
        let text = frame::response(&id, &frame::ok_body(&hello));
        turn.effects.push(Effect::Send { connection, text });
        if spoiled.is_some() {
            return;
        }
        let handed_over = grant.handed_over.as_ref().map(|other| Secret(other.token.clone()));
        if grant.method == Method::Bootstrap {
            let spent = &grant.connect.presented.bootstrap_token;
            self.config.pairing.bootstrap_tokens.retain(|token| spent.as_deref() != Some(token.as_str()));
        }
        turn.note(ModelEvent::HelloSent {
            connection,
            boot: self.process.boot,
            conn_id,
            presence_version: self.presence.version,
            health_version: self.health.version,
            device_token: grant.device_token.as_ref().map(|(token, _)| Secret(token.clone())),
            handed_over,
        });
    }

    fn hello(&self, now: Duration, conn_id: &str, grant: &Grant) -> String {
        let moment = Moment {
            boot_id: &self.process.boot_id,
            conn_id,
            presence: &self.presence.json(now, self.config.epoch_ms),
            health: self.health.json(),
            state_version: &self.state_version(),
            uptime_ms: self.uptime_ms(now),
            auth_mode: self.auth_mode(),
        };
        payload::hello(&self.payloads, self.config.release, &moment, grant)
    }

    fn after_hello(&mut self, turn: &mut Turn<'_>, connection: ConnectionId, fault: Option<HandshakeFault>) {
        let timing = &self.config.timing;
        if !timing.ping_interval.is_zero() {
            self.timers.insert(turn.now + timing.ping_interval, Timer::Ping(connection));
        }
        let delay = timing.health_refresh_delay;
        self.schedule_refresh(turn.now, delay);
        if let Some(HandshakeFault::KickAfterHello { after, code, reason }) = fault {
            self.timers.insert(turn.now + after, Timer::Kick { connection, code, reason });
        } else if let Some(HandshakeFault::TerminateAfterHello { after }) = fault {
            self.timers.insert(turn.now + after, Timer::Drop(connection));
        }
    }
}

/// The presence key of a client whose mode is tracked: the device of a node, the connection of anyone else.
fn track(grant: &Grant, conn_id: &Arc<str>) -> Option<Arc<str>> {
    if EPHEMERAL_MODES.contains(&&*grant.connect.client.mode) {
        return None;
    }
    match &grant.connect.device {
        Some(device) if grant.connect.is_node() => Some(Arc::from(&*device.id)),
        Some(_) | None => Some(conn_id.clone()),
    }
}

/// Whether a payload is a hello but for its protocol version.
fn is_of_other_version(payload: &str) -> bool {
    let Ok(hello) = serde_json::from_str::<serde_json::Value>(payload) else { return false };
    hello["type"] == "hello-ok" && hello["protocol"].as_i64().is_some_and(|version| version != PROTOCOL)
}

/// A connect during startup (protocol 17.1).
pub(super) fn startup() -> Refusal {
    let error = ErrorShape::new("UNAVAILABLE", "gateway starting; retry shortly")
        .with_details(r#"{"reason":"startup-sidecars"}"#)
        .retryable(Some(500));
    Refusal::new("startup-sidecars", error).closing(1013, "gateway starting")
}

/// A connect on an open socket while the gateway drains (protocol 16.4).
fn draining() -> Refusal {
    let error = ErrorShape::new("UNAVAILABLE", "connect unavailable during gateway restart")
        .with_details(r#"{"method":"connect","reason":"gateway-restarting","phase":"draining"}"#)
        .retryable(Some(1000));
    Refusal::new("gateway-restarting", error).closing(1013, "gateway restart in progress")
}

fn refusal_of(rejection: &Rejection) -> Refusal {
    let details: Option<serde_json::Value> =
        rejection.details.as_ref().and_then(|details| serde_json::from_str(details).ok());
    let code = details.as_ref().and_then(|details| details.get("code")?.as_str().map(str::to_owned));
    Refusal {
        code: code.unwrap_or_else(|| rejection.code.clone()).into(),
        error: Some(rejection.into()),
        close: rejection.close.clone().map(|(code, reason)| (code, reason.into())),
        delay: Duration::ZERO,
    }
}

impl From<&Rejection> for ErrorShape {
    fn from(rejection: &Rejection) -> Self {
        ErrorShape {
            code: rejection.code.clone().into(),
            message: rejection.message.clone().into(),
            details: rejection.details.clone().map(Into::into),
            retryable: rejection.retryable,
            retry_after_ms: rejection.retry_after_ms.clone().map(Into::into),
        }
    }
}
