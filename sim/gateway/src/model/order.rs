//! Steering: what a plan or an operator can make the gateway do.
//!
//! Orders are data. Durations are whole milliseconds when serialised.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One thing a plan or an operator makes the gateway do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// Restarts the gateway. Ignored while it is down or already going down.
    Restart {
        /// How the old boot ends.
        mode: RestartMode,
        /// How long nothing listens in between.
        #[serde(with = "super::config::duration_ms")]
        down: Duration,
    },
    /// Stops the gateway as SIGTERM does (protocol 16.1). Also cancels a pending automatic boot.
    Stop,
    /// Boots a stopped gateway at once.
    Start,
    /// Changes the shared token; sockets that used a shared secret are closed with 4001 (protocol 6.7).
    ChangeToken {
        /// The new token.
        token: String,
    },
    /// Changes the shared password, with the same consequence.
    ChangePassword {
        /// The new password.
        password: String,
    },
    /// Closes every connection.
    Kick {
        /// The close code.
        code: u16,
        /// The close reason.
        reason: String,
    },
    /// Drops every connection without a close frame.
    Terminate,
    /// Broadcasts an event to every connection allowed to see it.
    Emit {
        /// The event's name.
        event: String,
        /// The payload, as JSON text.
        payload: Arc<str>,
    },
    /// The next event consumes its sequence numbers and is not sent (protocol 11.2).
    DropNextEvent,
    /// Approves the oldest pending pairing request.
    ApprovePairing,
    /// Rejects the oldest pending pairing request.
    RejectPairing,
    /// Replaces every device token by a new one; sockets that used one are closed with 4001.
    RotateDeviceTokens,
    /// Forgets every paired device; their sockets are closed with 4001.
    RevokeDevices,
    /// Deviates from the protocol.
    Misbehave(Misbehave),
}

/// How a boot ends at a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartMode {
    /// As SIGUSR1 does: a new boot in the same process. State versions go on (protocol 16.2, 10.7).
    Graceful,
    /// The process dies: every TCP connection drops, nothing is said, and the next boot is a new process.
    Crash,
}

/// A deviation from the protocol.
///
/// Those with a `count` apply to the next `count` occasions; the others act at once on every established connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Misbehave {
    /// Spoils the handshake of the next accepted sockets.
    Handshake {
        /// How many sockets.
        count: u32,
        /// What happens to each.
        fault: HandshakeFault,
    },
    /// Sends no `tick` for a while; everything else goes on.
    StarveTicks {
        /// For how long.
        #[serde(with = "super::config::duration_ms")]
        lasting: Duration,
    },
    /// Neither sends pings nor acts on missed pongs for a while.
    StarvePings {
        /// For how long.
        #[serde(with = "super::config::duration_ms")]
        lasting: Duration,
    },
    /// Sets the gateway's clock forward or, below zero, back. What it writes and how it judges the age of a device
    /// proof follow; its timers do not.
    SkewClock {
        /// By how much, in milliseconds.
        by_ms: i64,
    },
    /// The next events consume their sequence numbers and are not sent.
    DropEvents {
        /// How many events.
        count: u32,
    },
    /// Sends the last event of each connection again, with the same sequence number.
    RepeatLastEvent,
    /// Emits an event whose sequence number is `by` below the one due, without advancing the counter.
    OlderEvent {
        /// How far below.
        by: u64,
    },
    /// Advances every connection's counter as if that many events had been lost.
    SkipSequence {
        /// How many numbers are skipped.
        by: u64,
    },
    /// Sends this text as it is.
    Text {
        /// The whole message.
        text: Arc<str>,
    },
    /// Sends these bytes as a binary message.
    Binary {
        /// The whole message.
        data: Vec<u8>,
    },
    /// Sends an otherwise valid event of this size.
    Giant {
        /// The size of the message in bytes.
        bytes: u32,
    },
    /// Sends an event name no client knows, with fields no client knows.
    UnknownEvent,
    /// Adds an unknown field to the next responses and their payloads.
    ExtraFields {
        /// How many responses.
        count: u32,
    },
    /// Sends a response whose id is a number.
    NumericId,
    /// Sends a successful response to an id that nobody on this connection used.
    ForeignResponse {
        /// The id.
        id: String,
    },
    /// Sends the last response of each connection again.
    RepeatLastResponse,
    /// Never answers the next requests.
    WithholdResponses {
        /// How many requests.
        count: u32,
    },
    /// Answers the next requests only after this delay, whatever their method.
    DelayResponses {
        /// How many requests.
        count: u32,
        /// How much later than they would be.
        #[serde(with = "super::config::duration_ms")]
        by: Duration,
    },
    /// Refuses the next requests for lack of start capacity (protocol 8.5).
    RefuseCapacity {
        /// How many requests.
        count: u32,
    },
    /// Fails the next requests with this error.
    FailRequests {
        /// How many requests.
        count: u32,
        /// The error.
        error: Rejection,
    },
    /// Answers dials with HTTP 503 "Too many unauthenticated sockets" for a while (protocol 1.4).
    RefuseUpgrades {
        /// For how long.
        #[serde(with = "super::config::duration_ms")]
        lasting: Duration,
    },
    /// Ends every misbehaviour that is still pending.
    Behave,
}

/// What happens to one handshake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum HandshakeFault {
    /// The challenge is never sent.
    NoChallenge,
    /// The challenge is sent late.
    LateChallenge {
        /// How late.
        #[serde(with = "super::config::duration_ms")]
        by: Duration,
    },
    /// The challenge has no nonce.
    ChallengeWithoutNonce,
    /// A valid connect is never answered; the handshake timer is off too, so the socket stays silent.
    NoHello,
    /// A valid connect is answered late.
    LateHello {
        /// How late.
        #[serde(with = "super::config::duration_ms")]
        by: Duration,
    },
    /// Events are pushed between the registration of the connection and hello, as a busy gateway does (protocol 10.5).
    EarlyEvents {
        /// How many.
        count: u32,
    },
    /// The connection is closed some time after hello.
    KickAfterHello {
        /// How long after.
        #[serde(with = "super::config::duration_ms")]
        after: Duration,
        /// The close code.
        code: u16,
        /// The close reason.
        reason: String,
    },
    /// The connection is dropped without a close frame some time after hello.
    TerminateAfterHello {
        /// How long after.
        #[serde(with = "super::config::duration_ms")]
        after: Duration,
    },
    /// The socket is dropped instead of answering the connect.
    TerminateBeforeHello,
    /// The connect is refused with this error, whatever it says.
    Reject(Rejection),
    /// The connect is refused as during startup (protocol 17.1).
    Startup,
    /// The connect is refused as during a drain (protocol 16.4).
    Draining,
    /// The connect is answered with `ok: true` and this payload instead of a hello-ok.
    Payload {
        /// The payload, as JSON text.
        payload: Arc<str>,
    },
    /// The connect is answered under another request id.
    WrongId {
        /// The id used.
        id: String,
    },
}

/// An error response chosen freely.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rejection {
    /// `error.code`.
    pub code: String,
    /// `error.message`.
    pub message: String,
    /// `error.details`, as JSON text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
    /// `error.retryable`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retryable: Option<bool>,
    /// `error.retryAfterMs`, as JSON text so that absurd values are possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<String>,
    /// How the socket is closed after the refusal of a connect; `None` leaves it open. Unused for other requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close: Option<(u16, String)>,
}
