//! The vocabulary of the model's one method: what goes in and what comes out.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::order::Order;
use crate::named;

/// Identifies one accepted socket; never reused within a model.
///
/// The caller assigns it when it accepts the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnectionId(pub u32);

/// What the gateway knows about the far end of a socket from its upgrade request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Whether the client dialled the gateway directly over the loopback interface.
    pub loopback: bool,
    /// The `Origin` header, which native clients must not send (protocol 18.4).
    pub origin: Option<Arc<str>>,
}

impl Peer {
    /// A native client on the same machine: loopback, no `Origin`.
    pub const LOCAL: Peer = Peer { loopback: true, origin: None };
    /// A native client on another machine: no `Origin`.
    pub const REMOTE: Peer = Peer { loopback: false, origin: None };
}

/// One whole WebSocket message from the client.
///
/// The gateway treats a binary message exactly like a text one (protocol 1.6), but only a binary one can hold
/// invalid UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A text message.
    Text(Arc<str>),
    /// A binary message.
    Binary(Arc<[u8]>),
}

impl Message {
    /// The payload's size, which the limits of protocol 1.7 count.
    pub fn len(&self) -> usize {
        match self {
            Message::Text(text) => text.len(),
            Message::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether the payload is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The payload as text; invalid UTF-8 becomes replacement characters, as it does in the gateway.
    pub(super) fn text(&self) -> Cow<'_, str> {
        match self {
            Message::Text(text) => Cow::Borrowed(text),
            Message::Binary(bytes) => String::from_utf8_lossy(bytes),
        }
    }
}

/// One thing that happens to the gateway.
#[derive(Debug, Clone)]
pub enum Input {
    /// The WebSocket upgrade of a new socket completed.
    ///
    /// Only legal while [`admission`](super::GatewayModel::admission) is open. If the gateway closed in between, the
    /// socket is terminated.
    Accepted {
        /// The new socket.
        connection: ConnectionId,
        /// Who dialled.
        peer: Peer,
    },
    /// One whole message arrived.
    Received {
        /// The socket it arrived on.
        connection: ConnectionId,
        /// The message.
        message: Message,
    },
    /// The client answered a WebSocket ping.
    Pong {
        /// The socket the pong arrived on.
        connection: ConnectionId,
    },
    /// The level of the socket's outgoing buffer changed, for the slow consumer policy (protocol 11.6).
    Buffered {
        /// The socket.
        connection: ConnectionId,
        /// Bytes sent but not yet taken by the transport.
        bytes: u64,
    },
    /// The socket went away: the peer closed or reset it, or a close handshake finished.
    Disconnected {
        /// The socket that is gone.
        connection: ConnectionId,
    },
    /// The time said by [`next_deadline`](super::GatewayModel::next_deadline) has come.
    Timeout,
    /// Steering from a plan or an operator.
    Order(Order),
}

/// One thing the gateway does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A text message.
    Send {
        /// To this socket.
        connection: ConnectionId,
        /// The whole message.
        text: Arc<str>,
    },
    /// A binary message; only sent when ordered, a real gateway sends text only (protocol 1.6).
    SendBinary {
        /// To this socket.
        connection: ConnectionId,
        /// The whole message.
        data: Arc<[u8]>,
    },
    /// A WebSocket ping.
    Ping {
        /// To this socket.
        connection: ConnectionId,
    },
    /// Begins the close handshake.
    Close {
        /// Of this socket.
        connection: ConnectionId,
        /// The close code.
        code: u16,
        /// The close reason, already cut to 120 bytes (protocol 9).
        reason: Cow<'static, str>,
    },
    /// Drops the TCP connection without a close frame; the client sees 1006.
    Terminate {
        /// The socket to drop.
        connection: ConnectionId,
    },
    /// What the model did, for traces, oracles and logs.
    ModelEvent(ModelEvent),
}

/// The credentials one `connect` carried, for the oracle of `right_credential`.
///
/// These are the secrets themselves: the trace must compare them, not print them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Presented {
    /// `auth.token`.
    pub token: Option<Box<str>>,
    /// `auth.deviceToken`.
    pub device_token: Option<Box<str>>,
    /// `auth.bootstrapToken`.
    pub bootstrap_token: Option<Box<str>>,
    /// `auth.password`.
    pub password: Option<Box<str>>,
    /// `device.id`.
    pub device_id: Option<Box<str>>,
}

impl std::fmt::Debug for Presented {
    /// Shows which credentials are present and never their values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Presented")
            .field("token", &self.token.is_some())
            .field("device_token", &self.device_token.is_some())
            .field("bootstrap_token", &self.bootstrap_token.is_some())
            .field("password", &self.password.is_some())
            .field("device_id", &self.device_id)
            .finish()
    }
}

/// A secret that can be compared but is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Arc<str>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why a socket was dropped without a close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TerminateCause {
    /// The previous ping was still unanswered when the next one was due (protocol 1.9).
    MissedPong,
    /// The outgoing buffer was over its limit (protocol 11.6).
    SlowConsumer,
    /// The close handshake did not finish in time (protocol 16.3).
    CloseGrace,
    /// The socket had not said hello when the gateway stopped (protocol 16.1).
    PreAuthAtShutdown,
    /// The process died.
    Crash,
    /// The upgrade finished after the listener had closed.
    NotListening,
    /// An order said so.
    Ordered,
}

named! {
    /// Which order-driven misbehaviour took effect.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Deviation {
        /// No `connect.challenge` was sent.
        ChallengeWithheld = "challenge-withheld",
        /// The `connect.challenge` is sent late.
        ChallengeDelayed = "challenge-delayed",
        /// The answer to `connect` is never sent.
        HelloWithheld = "hello-withheld",
        /// The answer to `connect` is sent late.
        HelloDelayed = "hello-delayed",
        /// The answer to `connect` is replaced by something a client cannot accept.
        HelloSpoiled = "hello-spoiled",
        /// The answer to `connect` is replaced by a hello of another protocol version.
        VersionBent = "version-bent",
        /// The connect is refused whatever it says.
        ConnectRejected = "connect-rejected",
        /// A `tick` that was due is not sent.
        TickStarved = "tick-starved",
        /// A response is withheld.
        ResponseWithheld = "response-withheld",
        /// A response is sent twice.
        ResponseRepeated = "response-repeated",
        /// A response nobody asked for is sent.
        ResponseInvented = "response-invented",
        /// A sequence number is used that a faithful gateway would not use.
        SequenceBent = "sequence-bent",
        /// A frame is sent that is not one a faithful gateway sends.
        FrameInvented = "frame-invented",
        /// A request is refused for lack of capacity that is not really lacking.
        CapacityRefused = "capacity-refused",
        /// An established connection is ended without a reason.
        EndedEarly = "ended-early",
        /// Pings are not sent and missed pongs are not acted on.
        PingStarved = "ping-starved",
    }
}

/// What the model did, without any formatting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelEvent {
    /// A gateway process began to listen. The first boot is number 1.
    Booted {
        /// Number of this boot.
        boot: u32,
    },
    /// The gateway stopped admitting sockets and requests.
    Draining {
        /// Number of the boot that is ending.
        boot: u32,
        /// Whether it will come back by itself.
        restarting: bool,
    },
    /// The gateway process, or its in-process server, ended.
    Stopped {
        /// Number of the boot that ended.
        boot: u32,
        /// Whether it ended without a shutdown.
        crashed: bool,
    },
    /// The shared secret changed.
    SecretChanged {
        /// Number of the shared-auth generation now valid.
        generation: u32,
    },
    /// A socket was accepted.
    Accepted {
        /// The socket.
        connection: ConnectionId,
    },
    /// `connect.challenge` was sent.
    ChallengeSent {
        /// The socket.
        connection: ConnectionId,
    },
    /// A schema-valid `connect` arrived.
    ConnectReceived {
        /// The socket.
        connection: ConnectionId,
        /// The request id.
        id: Arc<str>,
        /// The credentials it carried.
        presented: Arc<Presented>,
    },
    /// A hello-ok was sent; the connection is established.
    HelloSent {
        /// The socket.
        connection: ConnectionId,
        /// The boot it belongs to.
        boot: u32,
        /// The `server.connId` in the payload.
        conn_id: Arc<str>,
        /// `snapshot.stateVersion.presence` in the payload.
        presence_version: u64,
        /// `snapshot.stateVersion.health` in the payload.
        health_version: u64,
        /// The device token in the payload, if one was issued.
        device_token: Option<Secret>,
        /// The device token for the device's other role, if one was handed over.
        handed_over: Option<Secret>,
    },
    /// A connect was refused.
    Refused {
        /// The socket.
        connection: ConnectionId,
        /// `error.details.code`, or `error.code` when there is none, or `""` when nothing was answered.
        code: Cow<'static, str>,
        /// `error.retryAfterMs`, where it is a number of milliseconds.
        retry_after: Option<Duration>,
    },
    /// A request arrived after hello.
    RequestReceived {
        /// The socket.
        connection: ConnectionId,
        /// The request id.
        id: Arc<str>,
        /// The method.
        method: Arc<str>,
    },
    /// A frame that is not a valid request arrived after hello.
    FrameRejected {
        /// The socket.
        connection: ConnectionId,
        /// Whether it was at least JSON, and was therefore answered (protocol 2.3).
        answered: bool,
    },
    /// A response was sent.
    ResponseSent {
        /// The socket.
        connection: ConnectionId,
        /// The request id.
        id: Arc<str>,
        /// The response's `ok`.
        ok: bool,
        /// Whether it is an `accepted` of a two-phase request, which a second response follows.
        accepted: bool,
    },
    /// A run began on behalf of a request; it happens at most once for one idempotency key.
    RunStarted {
        /// The run id, which is the idempotency key.
        run: Arc<str>,
    },
    /// An event was sent.
    EventSent {
        /// The socket.
        connection: ConnectionId,
        /// The event's name.
        event: Cow<'static, str>,
        /// Its sequence number on this connection.
        seq: u64,
    },
    /// An event consumed a sequence number and was not sent.
    EventDropped {
        /// The socket.
        connection: ConnectionId,
        /// The event's name.
        event: Cow<'static, str>,
        /// The number it consumed on this connection.
        seq: u64,
    },
    /// The gateway began to close a socket.
    Closed {
        /// The socket.
        connection: ConnectionId,
        /// The close code.
        code: u16,
    },
    /// The gateway dropped a socket.
    Terminated {
        /// The socket.
        connection: ConnectionId,
        /// Why.
        cause: TerminateCause,
    },
    /// The socket is gone for the gateway.
    Disconnected {
        /// The socket.
        connection: ConnectionId,
    },
    /// An ordered misbehaviour took effect.
    Misbehaved {
        /// The socket, unless it concerns none.
        connection: Option<ConnectionId>,
        /// What was done.
        deviation: Deviation,
    },
}

/// Whether a new TCP connection and its upgrade are admitted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The upgrade succeeds.
    Open,
    /// Nothing listens: the dial fails with ECONNREFUSED.
    Refused,
    /// The upgrade is answered with HTTP 503 and this text as the body (protocol 1.4).
    Unavailable(&'static str),
}
