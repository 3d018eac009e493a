//! The methods and what they answer. Which exist, who may call them and with what is data.

use std::time::Duration;

use serde_json::Value;

use super::answers;
use super::device_methods::{self, TokenEnd};
use super::effect::ConnectionId;
use super::frame::{ErrorShape, Request};
use super::gateway_model::{GatewayModel, Turn};
use super::order::RestartMode;
use super::schema::{NON_EMPTY, Property, STRING, Shape, closed, optional, required};
use super::scope::Scope;

/// What a request leads to.
#[derive(Debug)]
pub(super) enum Reply {
    /// A successful answer with this payload, as JSON text.
    Payload(String),
    /// As above, but a second response follows (protocol 12.4).
    Accepted(String),
    /// A response from `"ok"` on.
    Outcome {
        body: String,
        ok: bool,
    },
    Error(Box<ErrorShape>),
    /// Something else will answer, or nothing ever.
    Later,
}

/// One method.
struct Method {
    name: &'static str,
    /// The scope an operator needs; `None` is open to both roles, all others to operators only.
    scope: Option<Scope>,
    params: &'static Shape,
    call: Call,
}

/// What a method does.
#[derive(Debug, Clone, Copy)]
enum Call {
    /// Always the same payload.
    Fixed(&'static str),
    Health,
    SystemPresence,
    SystemEvent,
    SetHeartbeats,
    ChatSend,
    Agent,
    AgentWait,
    RestartRequest,
    ListDevices,
    ResolvePairing {
        approve: bool,
    },
    RemoveDevice,
    EndToken(TokenEnd),
    Echo,
    Never,
}

static ANY: Shape = Shape::Any;
static SYSTEM_EVENT: Shape = Shape::Object { properties: &[required("text", NON_EMPTY)], closed: false };
static CHAT_HISTORY: Shape = closed(CHAT_HISTORY_PROPERTIES);
static CHAT_HISTORY_PROPERTIES: &[Property] =
    &[required("sessionKey", NON_EMPTY), optional("limit", Shape::Integer { min: 1 })];
static SESSIONS_LIST: Shape =
    Shape::Object { properties: &[optional("limit", Shape::Integer { min: 1 })], closed: false };
static AGENT: Shape = Shape::Object {
    properties: &[
        required("message", NON_EMPTY),
        required("idempotencyKey", NON_EMPTY),
        optional("sessionKey", STRING),
    ],
    closed: false,
};
static AGENT_WAIT: Shape = closed(AGENT_WAIT_PROPERTIES);
static AGENT_WAIT_PROPERTIES: &[Property] =
    &[required("runId", NON_EMPTY), optional("timeoutMs", Shape::Integer { min: 0 })];

const fn method(name: &'static str, scope: Option<Scope>, params: &'static Shape, call: Call) -> Method {
    Method { name, scope, params, call }
}

static METHODS: &[Method] = &[
    method("health", None, &ANY, Call::Health),
    method("status", Some(Scope::Read), &ANY, Call::Fixed(answers::STATUS)),
    method("system-presence", Some(Scope::Read), &ANY, Call::SystemPresence),
    method("system-event", Some(Scope::Admin), &SYSTEM_EVENT, Call::SystemEvent),
    method("last-heartbeat", Some(Scope::Read), &ANY, Call::Fixed("null")),
    method("set-heartbeats", Some(Scope::Admin), &ANY, Call::SetHeartbeats),
    method("gateway.identity.get", Some(Scope::Read), &ANY, Call::Fixed(answers::IDENTITY)),
    method("gateway.restart.request", Some(Scope::Admin), &ANY, Call::RestartRequest),
    method("config.get", Some(Scope::Read), &ANY, Call::Fixed(answers::CONFIG)),
    method("config.set", Some(Scope::Admin), &ANY, Call::Fixed(answers::OK)),
    method("update.run", Some(Scope::Admin), &ANY, Call::Fixed(answers::OK)),
    method("sessions.list", Some(Scope::Read), &SESSIONS_LIST, Call::Fixed(r#"{"sessions":[]}"#)),
    method("sessions.subscribe", Some(Scope::Read), &ANY, Call::Fixed(r#"{"subscribed":true}"#)),
    method("sessions.unsubscribe", Some(Scope::Read), &ANY, Call::Fixed(r#"{"subscribed":false}"#)),
    method("chat.history", Some(Scope::Read), &CHAT_HISTORY, Call::Fixed(r#"{"messages":[]}"#)),
    method("chat.abort", Some(Scope::Write), &ANY, Call::Fixed(answers::NOTHING_ABORTED)),
    method("chat.send", Some(Scope::Write), &ANY, Call::ChatSend),
    method("agent", Some(Scope::Write), &AGENT, Call::Agent),
    method("agent.wait", Some(Scope::Write), &AGENT_WAIT, Call::AgentWait),
    method("device.pair.list", Some(Scope::Pairing), &device_methods::NOTHING, Call::ListDevices),
    method(
        "device.pair.approve",
        Some(Scope::Pairing),
        &device_methods::REQUEST_ID,
        Call::ResolvePairing { approve: true },
    ),
    method(
        "device.pair.reject",
        Some(Scope::Pairing),
        &device_methods::REQUEST_ID,
        Call::ResolvePairing { approve: false },
    ),
    method("device.pair.remove", Some(Scope::Pairing), &device_methods::DEVICE_ID, Call::RemoveDevice),
    method(
        "device.token.rotate",
        Some(Scope::Pairing),
        &device_methods::ROTATE,
        Call::EndToken(TokenEnd::Rotate),
    ),
    method(
        "device.token.revoke",
        Some(Scope::Pairing),
        &device_methods::REVOKE,
        Call::EndToken(TokenEnd::Revoke),
    ),
    method("test.echo", None, &ANY, Call::Echo),
    method("test.never", None, &ANY, Call::Never),
];

/// Consecutive calls a role may not make before its connection is closed (protocol 6.8).
const UNAUTHORIZED_CALLS_MAX: u32 = 10;

impl GatewayModel {
    /// Calls the method a request names. Its answer will be delayed by `delay`.
    pub(super) fn call(
        &mut self,
        turn: &mut Turn<'_>,
        connection: ConnectionId,
        request: &Request,
        delay: Duration,
    ) -> Reply {
        if &*request.method == "connect" {
            return invalid("connect is only valid as the first request");
        }
        let Some(method) = METHODS.iter().find(|method| *method.name == *request.method) else {
            return self.call_fixed(turn, connection, request);
        };
        if let Some(refused) = self.missing_scope(turn, connection, method.scope) {
            return refused;
        }
        if let Shape::Any = method.params {
            return self.perform(turn, connection, request, method.call, delay);
        }
        match method.params.complaint(&request.params_value()) {
            Some(complaint) => invalid(format!("invalid {} params: {complaint}", method.name)),
            None => self.perform(turn, connection, request, method.call, delay),
        }
    }

    fn call_fixed(&mut self, turn: &mut Turn<'_>, connection: ConnectionId, request: &Request) -> Reply {
        let Some(fixed) = self.config.fixed_methods.get(&*request.method) else {
            return invalid(format!("unknown method: {}", request.method));
        };
        let (scope, payload) = (fixed.scope.as_deref().and_then(Scope::named), fixed.payload.clone());
        match self.missing_scope(turn, connection, scope) {
            Some(refused) => refused,
            None => Reply::Payload(payload),
        }
    }

    /// Why the caller may not call a method (protocol 5.5, 6.8, 6.9).
    fn missing_scope(
        &mut self,
        turn: &mut Turn<'_>,
        connection: ConnectionId,
        scope: Option<Scope>,
    ) -> Option<Reply> {
        let established = self.sessions.get_mut(&connection)?.established_mut()?;
        let Some(scope) = scope else {
            established.unauthorized_calls = 0;
            return None;
        };
        if established.node {
            established.unauthorized_calls += 1;
            if established.unauthorized_calls > UNAUTHORIZED_CALLS_MAX {
                self.close(turn, connection, 1008, "repeated unauthorized calls");
            }
            return Some(invalid("unauthorized role: node"));
        }
        if established.scopes.allow(scope) {
            return None;
        }
        let name = scope.name();
        let details =
            format!(r#"{{"code":"MISSING_SCOPE","missingScope":"{name}","requiredScopes":["{name}"]}}"#);
        let error = ErrorShape::new("FORBIDDEN", format!("missing scope: {name}")).with_details(details);
        Some(Reply::Error(Box::new(error)))
    }

    fn perform(
        &mut self,
        turn: &mut Turn<'_>,
        connection: ConnectionId,
        request: &Request,
        call: Call,
        delay: Duration,
    ) -> Reply {
        match call {
            Call::Fixed(payload) => Reply::Payload(payload.to_owned()),
            Call::Health => {
                if self.health.text.is_none() {
                    // Nothing is cached just after boot, so this call collects.
                    let unix_ms = self.unix_ms(turn.now);
                    self.health.refresh(unix_ms);
                }
                Reply::Payload(self.health.json().to_owned())
            }
            Call::SystemPresence => Reply::Payload(self.presence.json(turn.now, self.config.epoch_ms)),
            Call::SystemEvent => self.system_event(turn, request),
            Call::SetHeartbeats => set_heartbeats(request),
            Call::ChatSend => self.chat_send(turn, request, delay),
            Call::Agent => self.agent(turn, connection, request, delay),
            Call::AgentWait => self.agent_wait(turn, connection, request),
            Call::RestartRequest => {
                self.restart(turn, RestartMode::Graceful, self.config.timing.restart_down);
                Reply::Payload(answers::RESTART_SCHEDULED.to_owned())
            }
            Call::ListDevices => self.list_devices(),
            Call::ResolvePairing { approve } => self.resolve_pairing(turn, request, approve),
            Call::RemoveDevice => self.remove_device(turn, connection, request, delay),
            Call::EndToken(end) => self.end_device_token(turn, connection, request, delay, end),
            Call::Echo => Reply::Payload(request.params.as_ref().map_or("null", |raw| raw.get()).to_owned()),
            Call::Never => Reply::Later,
        }
    }

    /// A row in the presence list on behalf of the caller (protocol 10.6).
    fn system_event(&mut self, turn: &mut Turn<'_>, request: &Request) -> Reply {
        let params = request.params_value();
        let mut row = serde_json::Map::new();
        for name in ["text", "host", "ip", "version", "platform", "mode", "reason", "instanceId"] {
            if let Some(value @ Value::String(_)) = params.get(name) {
                row.insert(name.to_owned(), value.clone());
            }
        }
        let key = ["instanceId", "host", "text"].iter().find_map(|name| row.get(*name)?.as_str());
        let key = format!("event:{}", key.unwrap_or_default());
        let mut fields = Value::Object(row).to_string();
        fields.pop();
        self.presence.reported(turn.now, &key, fields);
        self.broadcast_presence(turn);
        Reply::Payload(r#"{"ok":true}"#.to_owned())
    }
}

fn set_heartbeats(request: &Request) -> Reply {
    match request.params_value().get("enabled") {
        Some(Value::Bool(enabled)) => Reply::Payload(format!(r#"{{"ok":true,"enabled":{enabled}}}"#)),
        Some(_) | None => invalid("invalid set-heartbeats params: enabled (boolean) required"),
    }
}

/// An INVALID_REQUEST error.
pub(super) fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Reply {
    Reply::Error(Box::new(ErrorShape::invalid_request(message)))
}
