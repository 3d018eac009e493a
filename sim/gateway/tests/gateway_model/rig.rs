//! A driver for model tests: one model, one virtual clock, and what each socket was sent.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::time::Duration;

use onesocket_gateway::config::{Auth, GatewayConfig};
use onesocket_gateway::{ConnectionId, Effect, GatewayModel, Input, Message, Order, Peer};
use serde_json::{Value, json};

use crate::validator::Inspector;

/// The token of the default configuration.
pub(crate) const TOKEN: &str = "test-token";

/// What happened to one socket.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Frames not yet looked at.
    pub(crate) frames: Vec<Value>,
    /// Code and reason of the gateway's close frame.
    pub(crate) closed: Option<(u16, String)>,
    /// Whether the gateway dropped it.
    pub(crate) terminated: bool,
    /// Pings received.
    pub(crate) pings: usize,
}

/// A model under test.
pub(crate) struct Rig {
    /// The model.
    pub(crate) model: GatewayModel,
    /// The time.
    pub(crate) now: Duration,
    /// Everything it did.
    pub(crate) log: Vec<Effect>,
    /// Per socket.
    pub(crate) seen: BTreeMap<ConnectionId, Seen>,
    /// Checks everything sent, in every test.
    inspector: Inspector,
    next: u32,
}

impl Default for Rig {
    fn default() -> Self {
        Rig::new(GatewayConfig::default())
    }
}

impl Rig {
    /// A model with this configuration.
    pub(crate) fn new(config: GatewayConfig) -> Self {
        let mut rig = Rig::just_booted(config);
        rig.advance(Duration::from_secs(1));
        rig
    }

    /// As [`new`](Self::new), without the second in which the gateway collects its first health snapshot.
    pub(crate) fn just_booted(config: GatewayConfig) -> Self {
        Rig {
            model: GatewayModel::new(config, 1),
            now: Duration::ZERO,
            log: Vec::new(),
            seen: BTreeMap::new(),
            inspector: Inspector::default(),
            next: 0,
        }
    }

    /// A model with this way to authenticate.
    pub(crate) fn with_auth(auth: Auth) -> Self {
        Rig::new(GatewayConfig { auth, ..GatewayConfig::default() })
    }

    /// One input.
    pub(crate) fn step(&mut self, input: Input) {
        let mut effects = Vec::new();
        if let Input::Order(Order::Emit { event, .. }) = &input {
            self.inspector.ordered_events.insert(event.clone());
        }
        self.model.step(self.now, input, &mut effects);
        self.inspector.inspect(&effects);
        for effect in &effects {
            match effect {
                Effect::Send { connection, text } => {
                    let frame =
                        serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_string()));
                    self.seen.entry(*connection).or_default().frames.push(frame);
                }
                Effect::SendBinary { connection, data } => {
                    let text = String::from_utf8_lossy(data).into_owned();
                    self.seen.entry(*connection).or_default().frames.push(Value::String(text));
                }
                Effect::Ping { connection } => self.seen.entry(*connection).or_default().pings += 1,
                Effect::Close { connection, code, reason } => {
                    self.seen.entry(*connection).or_default().closed = Some((*code, reason.to_string()));
                }
                Effect::Terminate { connection } => {
                    self.seen.entry(*connection).or_default().terminated = true;
                }
                Effect::ModelEvent(_) => {}
            }
        }
        self.log.extend(effects);
    }

    /// Lets time pass, firing every deadline on the way.
    pub(crate) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(due) = self.model.next_deadline().filter(|due| *due <= end) {
            assert!(due >= self.now, "a deadline in the past");
            self.now = due;
            self.step(Input::Timeout);
        }
        self.now = end;
    }

    /// Lets time pass while a socket answers every ping.
    pub(crate) fn pong_until(&mut self, connection: ConnectionId, end: Duration) {
        while let Some(due) = self.model.next_deadline().filter(|due| *due <= end) {
            self.now = due;
            self.step(Input::Timeout);
            self.step(Input::Pong { connection });
        }
        self.now = end;
    }

    /// A new local socket.
    pub(crate) fn open(&mut self) -> ConnectionId {
        self.open_from(Peer::LOCAL)
    }

    /// A new socket of this peer.
    pub(crate) fn open_from(&mut self, peer: Peer) -> ConnectionId {
        self.next += 1;
        let connection = ConnectionId(self.next);
        self.step(Input::Accepted { connection, peer });
        connection
    }

    /// The client goes away.
    pub(crate) fn disconnect(&mut self, connection: ConnectionId) {
        self.step(Input::Disconnected { connection });
    }

    /// A text message.
    pub(crate) fn text(&mut self, connection: ConnectionId, text: &str) {
        self.step(Input::Received { connection, message: Message::Text(text.into()) });
    }

    /// A JSON message.
    pub(crate) fn send(&mut self, connection: ConnectionId, frame: &Value) {
        self.text(connection, &frame.to_string());
    }

    /// A request; its id is the method's name unless the params say otherwise.
    pub(crate) fn request(
        &mut self,
        connection: ConnectionId,
        id: &str,
        method: &str,
        params: &Value,
    ) -> Option<Value> {
        self.send(connection, &json!({"type": "req", "id": id, "method": method, "params": params}));
        self.response(connection, id)
    }

    /// The first unread response with this id.
    pub(crate) fn response(&mut self, connection: ConnectionId, id: &str) -> Option<Value> {
        let frames = &mut self.seen.entry(connection).or_default().frames;
        let index = frames.iter().position(|frame| frame["type"] == "res" && frame["id"] == id)?;
        Some(frames.remove(index))
    }

    /// An order.
    pub(crate) fn order(&mut self, order: Order) {
        self.step(Input::Order(order));
    }

    /// Takes the frames sent to a socket since the last look.
    pub(crate) fn sent(&mut self, connection: ConnectionId) -> Vec<Value> {
        std::mem::take(&mut self.seen.entry(connection).or_default().frames)
    }

    /// How the gateway closed a socket.
    pub(crate) fn closed(&mut self, connection: ConnectionId) -> Option<(u16, String)> {
        self.seen.entry(connection).or_default().closed.clone()
    }

    /// Whether the gateway dropped a socket.
    pub(crate) fn terminated(&mut self, connection: ConnectionId) -> bool {
        self.seen.entry(connection).or_default().terminated
    }

    /// Connects as a device-less backend with this token and returns the answer, delayed or not.
    pub(crate) fn connect(&mut self, connection: ConnectionId, token: &str) -> Value {
        let mut params = backend();
        params["auth"] = json!({"token": token});
        self.connect_with(connection, &params)
    }

    /// A new local socket of a device-less backend that is connected and has read all it was sent; and its hello.
    pub(crate) fn greeted(&mut self) -> (ConnectionId, Value) {
        let connection = self.open();
        let answer = self.connect(connection, TOKEN);
        assert_eq!(answer["ok"], true, "{answer}");
        self.advance(Duration::from_millis(20));
        self.sent(connection);
        (connection, answer["payload"].clone())
    }

    /// The payload of the challenge a socket was sent.
    pub(crate) fn challenge(&mut self, connection: ConnectionId) -> Value {
        let frames = &self.seen.entry(connection).or_default().frames;
        let challenge = frames.iter().find(|frame| frame["event"] == "connect.challenge");
        challenge.map(|frame| frame["payload"].clone()).unwrap_or_default()
    }

    /// Sends the connect of a device-less backend without waiting for the answer.
    pub(crate) fn send_connect(&mut self, connection: ConnectionId, token: &str) {
        let mut params = backend();
        params["auth"] = json!({"token": token});
        self.send(
            connection,
            &json!({"type": "req", "id": "connect", "method": "connect", "params": params}),
        );
    }

    /// Connects with these params and returns the answer, waiting up to ten seconds for it.
    pub(crate) fn connect_with(&mut self, connection: ConnectionId, params: &Value) -> Value {
        if let Some(answer) = self.request(connection, "connect", "connect", params) {
            return answer;
        }
        let end = self.now + Duration::from_secs(10);
        while let Some(due) = self.model.next_deadline().filter(|due| *due <= end) {
            self.now = due;
            self.step(Input::Timeout);
            if let Some(answer) = self.response(connection, "connect") {
                return answer;
            }
        }
        Value::Null
    }
}

/// Connect params of a device-less backend without credentials.
pub(crate) fn backend() -> Value {
    client("gateway-client", "backend", &["operator.admin"])
}

/// Connect params of a client without device or credentials.
pub(crate) fn client(id: &str, mode: &str, scopes: &[&str]) -> Value {
    json!({
        "minProtocol": 4, "maxProtocol": 4,
        "client": {"id": id, "version": "0.1.0", "platform": "linux", "mode": mode},
        "role": "operator", "scopes": scopes, "caps": [],
    })
}
