//! Events: numbering, gates, slow consumers (protocol 10.8, 11).

use std::borrow::Cow;
use std::time::Duration;

use super::effect::{ConnectionId, Deviation, Effect, ModelEvent, TerminateCause};
use super::frame;
use super::gateway_model::{GatewayModel, Turn};
use super::payload;
use super::scope::Scope;
use super::session::Gate;

/// An event about to be broadcast.
#[derive(Debug, Clone)]
pub(super) struct Event<'a> {
    pub(super) name: Cow<'static, str>,
    /// JSON text.
    pub(super) payload: &'a str,
    pub(super) gate: Gate,
    /// Whether a full outgoing buffer drops the event instead of the connection.
    pub(super) drop_if_slow: bool,
    /// Whether the frame carries `stateVersion`.
    pub(super) versioned: bool,
}

impl<'a> Event<'a> {
    pub(super) fn new(name: impl Into<Cow<'static, str>>, payload: &'a str) -> Self {
        Event { name: name.into(), payload, gate: Gate::Everyone, drop_if_slow: false, versioned: false }
    }

    pub(super) fn gated(self, scope: Scope) -> Self {
        Event { gate: Gate::Scope(scope), ..self }
    }

    pub(super) fn droppable(self) -> Self {
        Event { drop_if_slow: true, ..self }
    }

    pub(super) fn versioned(self) -> Self {
        Event { versioned: true, ..self }
    }
}

impl GatewayModel {
    /// `stateVersion` as JSON.
    pub(super) fn state_version(&self) -> String {
        let mut out = String::with_capacity(40);
        out.push_str(r#"{"presence":"#);
        frame::push_number(&mut out, self.presence.version);
        out.push_str(r#","health":"#);
        frame::push_number(&mut out, self.health.version);
        out.push('}');
        out
    }

    /// Sends an event to every established connection that may see it.
    pub(super) fn broadcast(&mut self, turn: &mut Turn<'_>, event: &Event<'_>) {
        let state_version = event.versioned.then(|| self.state_version());
        let limit = self.config.limits.buffered_bytes;
        let dropped = self.deviation.take_event_drop();
        let mut slow: Vec<ConnectionId> = Vec::new();
        for (&connection, session) in &mut self.sessions {
            let full = session.buffered > limit;
            let Some(established) =
                session.established_mut().filter(|established| established.sees(event.gate))
            else {
                continue;
            };
            if full && !event.drop_if_slow {
                slow.push(connection);
                continue;
            }
            established.seq = established.seq.saturating_add(1);
            let seq = established.seq;
            if full || dropped {
                turn.note(ModelEvent::EventDropped { connection, event: event.name.clone(), seq });
                continue;
            }
            let text = frame::event(&event.name, event.payload, Some(seq), state_version.as_deref());
            established.last_event = Some((text.clone(), event.name.clone(), seq));
            turn.effects.push(Effect::Send { connection, text });
            turn.note(ModelEvent::EventSent { connection, event: event.name.clone(), seq });
        }
        for connection in slow {
            // The close frame never gets out because terminate follows at once (protocol 11.6).
            self.terminate(turn, connection, TerminateCause::SlowConsumer);
        }
    }

    /// Broadcasts the whole presence list (protocol 10.3).
    pub(super) fn broadcast_presence(&mut self, turn: &mut Turn<'_>) {
        if !self.sessions.values().any(|session| session.established().is_some()) {
            return;
        }
        let list = self.presence.json(turn.now, self.config.epoch_ms);
        let payload = format!(r#"{{"presence":{list}}}"#);
        self.broadcast(turn, &Event::new("presence", &payload).gated(Scope::Read).droppable().versioned());
    }

    /// Collects health anew and broadcasts it (protocol 10.4).
    pub(super) fn refresh_health(&mut self, turn: &mut Turn<'_>) {
        self.health.refreshing = false;
        let first = std::mem::take(&mut self.process.loading);
        let unix_ms = self.unix_ms(turn.now);
        self.health.refresh(unix_ms);
        let Some(text) = self.health.text.clone() else { return };
        self.broadcast(turn, &Event::new("health", &text).versioned());
        if first {
            let payload = format!(r#"{{"reason":"cron-bindings-loaded","ts":{unix_ms}}}"#);
            self.broadcast(turn, &Event::new("sessions.changed", &payload).gated(Scope::Read));
        }
    }

    /// The global tick (protocol 14.1).
    pub(super) fn tick(&mut self, turn: &mut Turn<'_>) {
        if self.deviation.ticks_starved(turn.now) {
            turn.note(ModelEvent::Misbehaved { connection: None, deviation: Deviation::TickStarved });
            return;
        }
        let mut payload = String::from(r#"{"ts":"#);
        frame::push_number(&mut payload, self.unix_ms(turn.now));
        payload.push('}');
        self.broadcast(turn, &Event::new("tick", &payload));
    }

    /// Emits an event on order. Names the gateway gates by scope stay gated; all others go to everyone.
    pub(super) fn emit(&mut self, turn: &mut Turn<'_>, name: String, payload: &str) {
        let gate = gate_of(&name);
        let droppable = name == "presence" || name.contains(".pair.");
        let event = Event { gate, drop_if_slow: droppable, ..Event::new(name, payload) };
        self.broadcast(turn, &event);
    }
}

/// Who may see an event (protocol 10.8). A gateway never delivers unknown events; on order the model does.
fn gate_of(name: &str) -> Gate {
    match name {
        "presence" | "agent" | "chat" | "cron" | "task" | "talk.event" => Gate::Scope(Scope::Read),
        name if name.starts_with("sessions.") || name.starts_with("session.") => Gate::Scope(Scope::Read),
        name if name.starts_with("exec.approval.") => Gate::Scope(Scope::Approvals),
        name if name.starts_with("question.") => Gate::Scope(Scope::Questions),
        name if name.starts_with("device.pair.") || name.starts_with("node.pair.") => {
            Gate::Scope(Scope::Pairing)
        }
        name if name.starts_with("plugin.") => Gate::Scope(Scope::Write),
        _ => Gate::Everyone,
    }
}

/// The cached health snapshot.
#[derive(Debug, Clone)]
pub(super) struct Health {
    /// `stateVersion.health`.
    pub(super) version: u64,
    /// The snapshot as JSON; `None` just after boot (protocol 10.1).
    pub(super) text: Option<std::sync::Arc<str>>,
    /// Whether the next refresh lacks event loop statistics, as the first one after an in-process restart does.
    pub(super) without_loop: bool,
    /// Whether a refresh is on its way; a second hello does not ask for another.
    pub(super) refreshing: bool,
    /// Until when the periodic refreshes are counted in.
    pub(super) settled: Duration,
}

impl Health {
    pub(super) fn new() -> Self {
        Health { version: 1, text: None, without_loop: false, refreshing: false, settled: Duration::ZERO }
    }

    /// Commits one refresh made at `unix_ms`.
    pub(super) fn refresh(&mut self, unix_ms: u64) {
        self.text = Some(payload::health(unix_ms, 4, !std::mem::take(&mut self.without_loop)));
        self.version += 1;
    }

    /// The snapshot as JSON.
    pub(super) fn json(&self) -> &str {
        self.text.as_deref().unwrap_or("{}")
    }
}
