//! The state of one socket.
//!
//! ```text
//!  Accepted
//!     |  connect.challenge
//!     v                      invalid frame, refusal
//!  AwaitingConnect ------------------------------------> Closing
//!     |  valid connect          |                          ^ |
//!     |                         | withheld answer          | |
//!     v                         v                          | |
//!  Deciding --- refusal ---> (Closing)     Mute            | |
//!     |  later messages queue                              | |
//!     |  hello-ok                                          | |
//!     v                                                    | |
//!  Established ------ close by the gateway ----------------+ |
//!     |                                                      |
//!     +------------- Disconnected / Terminate ---------------+--> forgotten
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::auth::Method;
use super::connect::Connect;
use super::effect::{Message, Peer};
use super::frame::ErrorShape;
use super::order::HandshakeFault;
use super::scope::{Scope, Scopes};

/// One socket.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) peer: Peer,
    /// The nonce of its challenge.
    pub(super) nonce: Arc<str>,
    /// `server.connId`.
    pub(super) conn_id: Arc<str>,
    /// Level of the outgoing buffer.
    pub(super) buffered: u64,
    /// What an order wants to happen to its handshake.
    pub(super) fault: Option<HandshakeFault>,
    pub(super) phase: Phase,
}

/// Where a socket is in its life.
#[derive(Debug, Clone)]
pub(super) enum Phase {
    /// The challenge is out, or deliberately not; the connect is awaited.
    AwaitingConnect,
    /// A connect is decided but not answered yet.
    Deciding { verdict: Box<Verdict>, queued: VecDeque<Message> },
    /// Nothing on this socket is ever answered.
    Mute,
    /// Hello was sent.
    Established(Box<Established>),
    /// The gateway began the close handshake; what still arrives is ignored.
    Closing {
        /// The presence row to mark when the socket is gone.
        presence_key: Option<Arc<str>>,
    },
}

/// The answer to a connect.
#[derive(Debug, Clone)]
pub(super) enum Verdict {
    /// hello-ok.
    Admit(Box<Grant>),
    /// An error response and a close.
    Refuse {
        /// The id of the connect request.
        id: Arc<str>,
        refusal: Refusal,
    },
}

/// Why and how a connect is refused.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    /// The response; `None` closes without one.
    pub(super) error: Option<ErrorShape>,
    /// `details.code`, or the error's code.
    pub(super) code: std::borrow::Cow<'static, str>,
    /// Code and reason of the close; `None` leaves the socket open.
    pub(super) close: Option<(u16, std::borrow::Cow<'static, str>)>,
    /// How late the answer is sent (protocol 8.3).
    pub(super) delay: Duration,
}

impl Refusal {
    /// The usual refusal: a response, and 1008 with the same text (protocol 9).
    pub(super) fn new(code: &'static str, error: ErrorShape) -> Self {
        let reason = error.message.clone();
        Refusal { error: Some(error), code: code.into(), close: Some((1008, reason)), delay: Duration::ZERO }
    }

    /// A close without a response.
    pub(super) fn silent(close_code: u16, reason: &'static str) -> Self {
        Refusal {
            error: None,
            code: "".into(),
            close: Some((close_code, reason.into())),
            delay: Duration::ZERO,
        }
    }

    pub(super) fn closing(mut self, code: u16, reason: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        self.close = Some((code, reason.into()));
        self
    }
}

/// What an admitted connect gets.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    /// The id of the connect request.
    pub(super) id: Arc<str>,
    pub(super) connect: Connect,
    /// The scopes of this socket, which may be fewer than requested (protocol 6.6).
    pub(super) scopes: Scopes,
    /// The shared-auth generation the grant depends on, if it does (protocol 6.7).
    pub(super) shared_generation: Option<u32>,
    /// The token issued to the device, and when.
    pub(super) device_token: Option<(Arc<str>, u64)>,
    /// The token for its other role, which comes with it after a setup code.
    pub(super) handed_over: Option<HandedOver>,
    /// What admitted it.
    pub(super) method: Method,
}

/// A device token that is handed over beside that of the connection (protocol 3.9).
#[derive(Debug, Clone)]
pub(super) struct HandedOver {
    pub(super) token: Arc<str>,
    pub(super) node: bool,
    pub(super) scopes: Scopes,
    pub(super) issued_at_ms: u64,
}

/// A socket after hello.
#[derive(Debug, Clone)]
pub(super) struct Established {
    pub(super) node: bool,
    pub(super) scopes: Scopes,
    pub(super) shared_generation: Option<u32>,
    /// The device it proved to be.
    pub(super) device: Option<Box<str>>,
    /// The key of its presence row, if its mode is tracked (protocol 10.6).
    pub(super) presence_key: Option<Arc<str>>,
    /// The last sequence number used (protocol 11.1).
    pub(super) seq: u64,
    /// Whether the last ping is unanswered.
    pub(super) ping_outstanding: bool,
    /// Consecutive calls of methods its role may not call (protocol 6.8).
    pub(super) unauthorized_calls: u32,
    /// The last event sent, for orders that repeat it.
    pub(super) last_event: Option<(Arc<str>, std::borrow::Cow<'static, str>, u64)>,
    /// The last response sent and its id, for orders that repeat it.
    pub(super) last_response: Option<(Arc<str>, Arc<str>, bool)>,
}

impl Session {
    /// The socket after hello, if it got there and is not closing.
    pub(super) fn established(&self) -> Option<&Established> {
        match &self.phase {
            Phase::Established(established) => Some(established),
            Phase::AwaitingConnect | Phase::Deciding { .. } | Phase::Mute | Phase::Closing { .. } => None,
        }
    }

    /// Whether it is an established connection of this device, in this role or in any.
    pub(super) fn is_of(&self, device: &str, node: Option<bool>) -> bool {
        self.established().is_some_and(|established| {
            established.device.as_deref() == Some(device) && node.is_none_or(|node| established.node == node)
        })
    }

    /// As [`established`](Self::established).
    pub(super) fn established_mut(&mut self) -> Option<&mut Established> {
        match &mut self.phase {
            Phase::Established(established) => Some(established),
            Phase::AwaitingConnect | Phase::Deciding { .. } | Phase::Mute | Phase::Closing { .. } => None,
        }
    }

    /// Whether the socket still has to say hello.
    pub(super) fn is_preauth(&self) -> bool {
        match &self.phase {
            Phase::AwaitingConnect | Phase::Deciding { .. } | Phase::Mute => true,
            Phase::Established(_) | Phase::Closing { .. } => false,
        }
    }

    /// Whether the gateway has begun to close it.
    pub(super) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. })
    }
}

impl Established {
    /// Whether events with this gate are delivered to it (protocol 10.8).
    pub(super) fn sees(&self, gate: Gate) -> bool {
        match gate {
            Gate::Everyone => true,
            Gate::Scope(scope) => !self.node && self.scopes.allow(scope),
        }
    }
}

/// Who an event is delivered to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// Every established connection.
    Everyone,
    /// Operators with this scope.
    Scope(Scope),
}
