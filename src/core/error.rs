//! Why a config was refused, why a connection ended, and why a request failed.
//!
//! All of these are `Clone` and comparable. What the other end wrote is in them as [`PeerText`], so their `Display` and
//! `Debug` are short, on one line, and without a character that does something to a terminal.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::driver_end::DriverEnd;
use super::frame::FrameError;
use super::handshake::text_member;
use super::id::Epoch;
pub use super::pause::{AfterApproval, PauseReason};
use super::payload::Payload;
use super::peer_text::{OneLine, PeerText};
use super::proxy::ProxyProblem;
use super::reach::{AddressFailures, NameProblem, Shortage};
use super::store_error::StoreError;
use super::tls::{CertificateProblem, PresentedCertificate, TlsFailure};
use super::upgrade::{PeerProtocol, UpgradeFault, UpgradeRefusal};

/// A config or an option that cannot be used. Nothing was dialed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The url cannot be used.
    #[error("the gateway url {:?} cannot be used: {}", OneLine::cut(url), OneLine::whole(why))]
    Url {
        /// The url, without user info and query.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The url of a proxy cannot be used.
    #[error("the proxy url {:?} cannot be used: {}", OneLine::cut(url), OneLine::whole(why))]
    Proxy {
        /// The url, without credentials.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Credentials would cross a network in the clear (protocol 18.1). [`Plaintext`](super::Plaintext) says what can
    /// be done about it.
    #[error(
        "plaintext ws:// is only for loopback and private hosts, and {:?} is neither: use wss://",
        OneLine::cut(host)
    )]
    PlaintextToPublicHost {
        /// The host that was named.
        host: String,
    },
    /// The text holds no Ed25519 private key in PKCS#8 form.
    #[error("the device identity is no Ed25519 private key in PKCS#8 PEM form")]
    Identity,
    /// The text is no pin.
    #[error(
        "a pin is a certificate's SHA-256 in 64 hexadecimal digits, with or without colons, or sha256// and a public key's SHA-256 in base64"
    )]
    Pin,
    /// A set of pins is empty: leave it out instead.
    #[error("a set of pins holds at least one")]
    NoPins,
    /// A certificate is pinned where none is presented (protocol 18.2).
    #[error("a pinned certificate needs wss://")]
    PinWithoutTls,
    /// A header for the upgrade cannot be sent.
    #[error("the header {:?} cannot be sent: {why}", OneLine::cut(name))]
    Header {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Headers for the upgrade, which may be secrets, would cross a network in the clear.
    #[error("headers on the upgrade may be secrets and are only sent over wss:// or within this machine")]
    HeadersInTheClear,
    /// An option is out of range.
    #[error("option {name} {why}")]
    Option {
        /// The option's name, with its group.
        name: &'static str,
        /// What it must be instead.
        why: &'static str,
    },
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Initiator {
    /// We did: shutdown, a new config, or a watchdog.
    Local,
    /// The gateway did, by a refusal or a close frame.
    Gateway,
    /// The network did.
    Transport,
}

/// The part of an attempt that ran out of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// TCP and the websocket upgrade (B57).
    Dial,
    /// Waiting for `connect.challenge`.
    Challenge,
    /// Waiting for the token store, with the challenge at hand.
    TokenStore,
    /// Waiting for the answer to `connect`.
    Hello,
}

impl Stage {
    /// Who did not do what, for the text of [`ConnectionError::Timeout`].
    fn omission(self) -> &'static str {
        match self {
            Self::Dial => "the gateway did not finish the Dial stage",
            Self::Challenge => "the gateway did not finish the Challenge stage",
            Self::TokenStore => "the token store did not answer",
            Self::Hello => "the gateway did not finish the Hello stage",
        }
    }
}

/// Why a dial came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DialError {
    /// Nothing listens there.
    #[error("the connection was refused")]
    Refused,
    /// The network knows no way there.
    #[error("the host cannot be reached")]
    Unreachable,
    /// No answer came: the operating system gave up, or the time was up.
    #[error("the connection attempt timed out")]
    TimedOut,
    /// The host has several addresses, and none could be reached.
    #[error("{0}")]
    Addresses(AddressFailures),
    /// The host's name led to no address.
    #[error("the name {:?} could not be resolved: {problem}", OneLine::cut(name))]
    Name {
        /// The name.
        name: String,
        /// Why.
        problem: NameProblem,
    },
    /// The network interface that the address belongs to is not there (yet).
    #[error("this machine has no network interface {:?}: check its name, or bring it up", OneLine::cut(zone))]
    Zone {
        /// The interface, as the url has it.
        zone: String,
    },
    /// The proxy did not lead to the gateway.
    #[error("the proxy {proxy}: {problem}")]
    Proxy {
        /// The proxy, without credentials.
        proxy: String,
        /// Why not.
        problem: ProxyProblem,
    },
    /// This system has run out of something.
    #[error("{0}")]
    System(Shortage),
    /// This system forbids it: a firewall, a sandbox or a policy of this machine.
    #[error("this system does not permit the connection: look at its firewall or sandbox")]
    Denied,
    /// The connection broke before the upgrade was answered.
    #[error("the connection was reset during the upgrade")]
    Reset,
    /// A peer of `ws://` ended or reset the connection without a byte, as some servers do that expect TLS.
    #[error("the connection ended without an answer to the upgrade; if this port speaks TLS, use wss://")]
    Unanswered,
    /// The upgrade was answered with another status than 101 (protocol 1.4, 1.5).
    #[error("the upgrade was answered with {0}")]
    Upgrade(Box<UpgradeRefusal>),
    /// The answer to the upgrade breaks the rules for one.
    #[error("the websocket upgrade failed: {0}")]
    Handshake(#[from] UpgradeFault),
    /// The head of the answer does not end.
    #[error(
        "the head of the answer to the upgrade is longer than {limit} bytes; if that is honest, raise max_upgrade_bytes"
    )]
    UpgradeTooLong {
        /// The bytes it may have.
        limit: usize,
    },
    /// The peer speaks another protocol; retrying does not help.
    #[error("this port speaks {0}")]
    OtherProtocol(PeerProtocol),
    /// The answer to the upgrade is neither HTTP nor another protocol that is known here.
    #[error("the answer to the upgrade is not HTTP: it begins with {start:?}")]
    NotHttp {
        /// Its first bytes.
        start: PeerText,
    },
    /// The gateway's certificate was not taken, and nothing was sent to it. An app can show the certificate to its
    /// user and configure its pin. Without that it is retried like any failure of the transport (protocol 18.2): a
    /// captive portal goes away, a certificate is renewed, an authority is installed, a clock is set; and a pause
    /// would outlast it.
    #[error("the gateway's certificate {reason} ({presented} was presented)")]
    Certificate {
        /// What was presented.
        presented: Arc<PresentedCertificate>,
        /// Why it was not taken.
        reason: CertificateProblem,
    },
    /// The certificates of the authorities that this system trusts could not be read, so no gateway can be trusted.
    /// They are read again for the next dial.
    #[error("the certificates that this system trusts could not be read: {0}")]
    TrustStore(PeerText),
    /// Something else than TLS answers at the port of a `wss://` url.
    #[error("this port does not speak TLS: if the gateway is meant to be reached without it, use ws://")]
    NotTls,
    /// TLS failed otherwise.
    #[error("TLS failed: {0}")]
    Tls(TlsFailure),
    /// This network cannot reach such endpoints; retrying does not help.
    #[error("this network cannot dial the endpoint: {0}")]
    Unsupported(PeerText),
    /// Anything else the operating system reported.
    #[error("the connection could not be made: {0}")]
    Io(PeerText),
}

/// An `ok:false` answer of the gateway, kept as it came (protocol 5).
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{code}: {message}")]
pub struct GatewayError {
    /// The top-level code, like `INVALID_REQUEST`. Unknown codes are kept.
    pub code: PeerText,
    /// The gateway's words, for humans; never branch on them.
    pub message: PeerText,
    /// `details.code`, which says more than `code` where it exists.
    pub detail_code: Option<PeerText>,
    /// All of `details`.
    pub details: Option<Payload>,
    /// Whether the gateway says that a retry may help.
    pub retryable: bool,
    /// The gateway's wish for the time before a retry.
    pub retry_after: Option<Duration>,
    /// A payload that came along with the error (protocol 5.7).
    pub payload: Option<Payload>,
    /// The close code, where the gateway closed the connection instead of answering. `message` is the reason of the
    /// close then, and `code` and `detail_code` are those of the answer that gateways give for such a reason.
    pub close_code: Option<u16>,
}

impl GatewayError {
    /// Whether the gateway says that it may have carried out what it refuses: `details.execution` is
    /// `may_have_executed`.
    #[must_use]
    pub fn may_have_executed(&self) -> bool {
        let execution = self.details.as_ref().and_then(|details| text_member(details, "execution"));
        execution.as_deref() == Some("may_have_executed")
    }
}

/// A member of a message that is missing, or not what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{member} of {of} is {found} and must be {wanted}")]
pub struct BadMember {
    /// The message, like `hello`.
    pub of: &'static str,
    /// The member's name.
    pub member: &'static str,
    /// What it is, in a word or two: `missing`, or the kind of JSON that is there.
    pub found: &'static str,
    /// What it must be.
    pub wanted: &'static str,
}

/// Why a connection, or the attempt to make one, ended.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The dial failed.
    #[error("dial failed: {0}")]
    Dial(#[from] DialError),
    /// A part of the attempt took too long: see [`Stage`] for who is late.
    #[error("{} in time", stage.omission())]
    Timeout {
        /// Which part.
        stage: Stage,
    },
    /// The gateway refused `connect`.
    #[error("the gateway refused to connect: {0}")]
    Refused(GatewayError),
    /// The gateway answered something that cannot be a handshake.
    #[error("the gateway broke the handshake: {0}")]
    Handshake(&'static str),
    /// A message of the handshake lacks what this client cannot do without.
    #[error("the gateway broke the handshake: {0}")]
    BadMember(#[from] BadMember),
    /// The gateway answered `connect` with a protocol version that this client does not speak.
    #[error("the gateway answered with protocol version {answered}, and this client speaks {offered}")]
    ProtocolVersion {
        /// What this client offered.
        offered: u32,
        /// What the gateway answered with.
        answered: u64,
    },
    /// The gateway closed the connection.
    #[error("the gateway closed the connection: {code} {reason:?}")]
    Closed {
        /// The websocket close code; 1005 when the frame carried none.
        code: u16,
        /// The reason, as sent.
        reason: PeerText,
    },
    /// The transport failed or ended without a close frame.
    #[error("the connection was lost: {0}")]
    Lost(PeerText),
    /// Nothing at all arrived, not even a byte of a message: for twice the tick interval (protocol 14), or for
    /// `wake_timeout` after the app said that the network is back.
    #[error("nothing arrived for {silent_for:?}")]
    Silent {
        /// How long the peer was silent.
        silent_for: Duration,
    },
    /// A message was begun and not completed, although its bytes kept coming.
    #[error(
        "the gateway did not complete a message within {limit:?}; if the line is that slow, raise max_message_duration"
    )]
    SlowMessage {
        /// The time that a message may take.
        limit: Duration,
    },
    /// The gateway pings faster than it reads the answers.
    #[error(
        "the gateway pings faster than it reads: more than {limit} bytes of answers wait; if that is honest, raise max_pong_bytes"
    )]
    PingFlood {
        /// The bytes of answers that may wait.
        limit: usize,
    },
    /// The stored device token could not be read, and there is no other credential.
    #[error("the device token could not be read: {0}")]
    TokenStore(#[from] StoreError),
    /// A different config took over.
    #[error("a new configuration replaced this connection")]
    Superseded,
    /// The client was shut down.
    #[error("the client was shut down")]
    ShutDown,
}

impl ConnectionError {
    /// Who ended it.
    #[must_use]
    pub fn initiator(&self) -> Initiator {
        match self {
            Self::Timeout { .. }
            | Self::Silent { .. }
            | Self::SlowMessage { .. }
            | Self::PingFlood { .. }
            | Self::TokenStore(_)
            | Self::Superseded
            | Self::ShutDown => Initiator::Local,
            Self::Refused(_)
            | Self::Handshake(_)
            | Self::BadMember(_)
            | Self::ProtocolVersion { .. }
            | Self::Closed { .. } => Initiator::Gateway,
            // Whatever answers there.
            Self::Dial(
                DialError::Upgrade(_)
                | DialError::Handshake(_)
                | DialError::UpgradeTooLong { .. }
                | DialError::OtherProtocol(_)
                | DialError::NotHttp { .. },
            ) => Initiator::Gateway,
            Self::Dial(
                DialError::TrustStore(_) | DialError::System(_) | DialError::Denied | DialError::Zone { .. },
            ) => Initiator::Local,
            Self::Dial(_) | Self::Lost(_) => Initiator::Transport,
        }
    }

    /// The close code, if the gateway sent a close frame.
    #[must_use]
    pub fn close_code(&self) -> Option<u16> {
        match self {
            Self::Closed { code, .. } => Some(*code),
            Self::Dial(_)
            | Self::Timeout { .. }
            | Self::Refused(_)
            | Self::Handshake(_)
            | Self::BadMember(_)
            | Self::ProtocolVersion { .. }
            | Self::Lost(_)
            | Self::Silent { .. }
            | Self::SlowMessage { .. }
            | Self::PingFlood { .. }
            | Self::TokenStore(_)
            | Self::Superseded
            | Self::ShutDown => None,
        }
    }
}

/// What is known about a failed request's way to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// The gateway never saw it: sending it again is safe.
    NotSent,
    /// It was handed to the connection and the answer was lost or malformed, or the gateway itself does not know: it
    /// may or may not have been done.
    Unknown,
    /// The gateway answered no, and has not done it.
    Rejected,
}

/// Why a request failed, and whether the gateway can have seen it.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{} failed ({delivery:?}): {kind}", OneLine::cut(method))]
pub struct RequestError {
    /// The method that was called.
    pub method: Arc<str>,
    /// What went wrong.
    pub kind: RequestErrorKind,
    /// Whether the gateway can have seen the request.
    pub delivery: Delivery,
}

/// What went wrong with a request.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum RequestErrorKind {
    /// The gateway answered no.
    #[error("{0}")]
    Rejected(Arc<GatewayError>),
    /// The deadline passed.
    #[error("no answer within {after:?}")]
    TimedOut {
        /// The whole time the request was given.
        after: Duration,
    },
    /// The connection ended first.
    #[error("{0}")]
    Disconnected(Arc<ConnectionError>),
    /// It was bound to a connection that is not the ready one: look at the snapshot of the present
    /// connection before asking anew.
    #[error("connection {bound_to}, to which the request is bound, is not ready")]
    OtherConnection {
        /// The connection it was bound to.
        bound_to: Epoch,
    },
    /// Reconnecting is paused; act on the reason and try again.
    #[error("the connection is paused: {0}")]
    Paused(Arc<PauseReason>),
    /// There is no config to connect with: configure one.
    #[error("no gateway is configured")]
    NotConfigured,
    /// Too many requests are queued: wait for some of them.
    #[error("too much is queued already: the limit is {limit}")]
    Overloaded {
        /// The limit that was reached, in requests or in bytes.
        limit: usize,
    },
    /// This handle has its share of the places for requests, and what is left is for others: wait for some of its
    /// requests, or raise `max_queued`.
    #[error("this handle has {held} requests open, and the places that are left are for others")]
    HandleOverloaded {
        /// The requests of this handle that have not ended.
        held: usize,
    },
    /// The request is larger than the gateway accepts, or than the whole queue: it can never be sent.
    #[error("the request has {bytes} bytes and the limit is {limit}")]
    TooLarge {
        /// The size of the request.
        bytes: usize,
        /// The gateway's limit, or our own before hello.
        limit: usize,
    },
    /// The parameters cannot be written as JSON.
    #[error("the parameters are not JSON: {0}")]
    Params(PeerText),
    /// The gateway answered something that is neither yes nor no.
    #[error("the answer was malformed: {0}")]
    MalformedAnswer(FrameError),
    /// The answer does not have the expected shape.
    #[error("the answer cannot be decoded: {0}")]
    Decode(PeerText),
    /// The client was shut down.
    #[error("the client was shut down")]
    ShutDown,
    /// The client ended without a shutdown; no request of it can be made any more. Make another client.
    #[error("{0}")]
    Lost(Arc<DriverEnd>),
}

impl RequestError {
    /// Whether the same request may be sent again without doing anything twice.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match (&self.kind, self.delivery) {
            (RequestErrorKind::Rejected(error), Delivery::Rejected) => error.retryable,
            (
                RequestErrorKind::Overloaded { .. } | RequestErrorKind::HandleOverloaded { .. },
                Delivery::NotSent,
            )
            | (RequestErrorKind::Disconnected(_), Delivery::NotSent)
            | (RequestErrorKind::TimedOut { .. }, Delivery::NotSent) => true,
            (_, Delivery::NotSent | Delivery::Unknown | Delivery::Rejected) => false,
        }
    }

    /// The gateway's wish for the time before a retry.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.gateway().and_then(|error| error.retry_after)
    }

    /// The gateway's own error, if it was the gateway that said no.
    #[must_use]
    pub fn gateway(&self) -> Option<&GatewayError> {
        if let RequestErrorKind::Rejected(error) = &self.kind { Some(error) } else { None }
    }

    /// The close code of the connection that was lost, if the gateway sent one.
    #[must_use]
    pub fn close_code(&self) -> Option<u16> {
        if let RequestErrorKind::Disconnected(error) = &self.kind { error.close_code() } else { None }
    }
}
