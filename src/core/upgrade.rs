//! What comes of asking for a websocket over HTTP: refusals ([`UpgradeRefusal`]), answers that break the rules
//! ([`UpgradeFault`]), and peers that do not speak HTTP at all ([`PeerProtocol`]).

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use super::peer_text::{OneLine, PeerText};

/// An HTTP answer to the upgrade other than `101 Switching Protocols`, from the gateway (protocol 1.4) or from
/// whatever stands in front of it.
///
/// The fields hold what came; `Display` is one line, and says what to do. Where an answer repeats what the request
/// presented (values of headers, the query), errors have `[redacted]` in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpgradeRefusal {
    /// The HTTP status.
    pub status: u16,
    /// The reason phrase behind the status, which may be empty.
    pub reason: PeerText,
    /// `Location`: where a redirect points to. It is never followed, because the next place would be sent the
    /// credentials of this one.
    pub location: Option<PeerText>,
    /// `WWW-Authenticate` or `Proxy-Authenticate`: what credentials are wanted. Several are joined with commas.
    pub authenticate: Option<PeerText>,
    /// `Retry-After`, counted from the moment of the answer.
    pub retry_after: Option<Duration>,
    /// The first 2 KiB of the body, as far as they came within a second.
    pub body: PeerText,
}

/// What makes a later upgrade succeed where this one was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UpgradeRemedy {
    /// Nothing but time: the server is overloaded, starting or restarting, or says itself when to come again.
    Wait,
    /// Credentials for whatever stands in front of the gateway, as [headers](super::Config::headers).
    Credentials,
    /// The endpoint that the redirect names; or credentials, where that is a page to log in.
    Redirect,
    /// The same endpoint with `wss://`.
    Tls,
    /// Another endpoint, or a change where this one leads: what answers there opens no websocket.
    Endpoint,
}

impl UpgradeRefusal {
    /// A refusal without anything but its status.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self {
            status,
            reason: PeerText::default(),
            location: None,
            authenticate: None,
            retry_after: None,
            body: PeerText::default(),
        }
    }

    /// What has to be done about it. Reconnecting waits for a person for everything but [`UpgradeRemedy::Wait`].
    #[must_use]
    pub fn remedy(&self) -> UpgradeRemedy {
        match self.status {
            // Who says when to come again does not mean never, whatever the status.
            _ if self.retry_after.is_some() => UpgradeRemedy::Wait,
            408 | 425 | 429 => UpgradeRemedy::Wait,
            400 if self.wants_tls() => UpgradeRemedy::Tls,
            401 | 403 | 407 => UpgradeRemedy::Credentials,
            300..=399 => UpgradeRemedy::Redirect,
            200..=299 | 400..=499 => UpgradeRemedy::Endpoint,
            _ => UpgradeRemedy::Wait,
        }
    }

    /// What nginx, Go and Apache answer where `wss://` was meant.
    fn wants_tls(&self) -> bool {
        let sentences = [
            "HTTP request was sent to HTTPS port",
            "HTTP request to an HTTPS server",
            "plain HTTP to an SSL",
        ];
        sentences.iter().any(|sentence| self.body.contains(sentence))
    }

    /// What to do, for people; nothing where time does it.
    fn advice(&self) -> Option<&'static str> {
        Some(match (self.remedy(), self.status) {
            (UpgradeRemedy::Wait, _) => return None,
            (UpgradeRemedy::Tls, _) => "this port speaks TLS, use wss://",
            (UpgradeRemedy::Credentials, 407) => {
                "a proxy wants credentials: configure them as a Proxy-Authorization header"
            }
            (UpgradeRemedy::Credentials, 401) => {
                "what stands in front of the gateway wants credentials: configure the header that it asks for"
            }
            (UpgradeRemedy::Credentials, _) => {
                "what stands in front of the gateway does not let this client through: configure the headers that it wants"
            }
            (UpgradeRemedy::Redirect, _) if self.location.is_none() => {
                "the redirect names no place: configure another endpoint, or mend what answers there"
            }
            (UpgradeRemedy::Redirect, _) => {
                "redirects are not followed: configure that endpoint, or, if it is a page to log in, the headers that stand for a login"
            }
            (UpgradeRemedy::Endpoint, 200..=299) => {
                "what answers there opens no websocket: it is no gateway, or a proxy in front of it drops the Upgrade header"
            }
            (UpgradeRemedy::Endpoint, 404 | 405 | 410) => {
                "there is no gateway at this path: configure another endpoint, or mend the proxy in front of it"
            }
            (UpgradeRemedy::Endpoint, 426) => {
                "the request for a websocket did not get through: a proxy in front of the gateway drops the Upgrade header"
            }
            (UpgradeRemedy::Endpoint, _) => {
                "asking again does not help: configure another endpoint, or mend what answers there"
            }
        })
    }
}

impl fmt::Display for UpgradeRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP {:03}", self.status)?;
        if !self.reason.is_empty() {
            write!(f, " {}", self.reason)?;
        }
        if let Some(location) = &self.location {
            write!(f, " to {location}")?;
        }
        if let Some(authenticate) = &self.authenticate {
            write!(f, " ({authenticate})")?;
        }
        let words: Vec<&str> = self.body.split_whitespace().collect();
        // The reason phrase says as much as a page of HTML does.
        if words.first().is_some_and(|first| !first.starts_with('<')) {
            write!(f, ": {}", OneLine::cut(&words.join(" ")))?;
        }
        if let Some(retry_after) = self.retry_after {
            write!(f, "; it is to be asked again after {} s", retry_after.as_secs())?;
        }
        if let Some(advice) = self.advice() {
            write!(f, "; {advice}")?;
        }
        Ok(())
    }
}

/// What makes an answer with status 101 unusable, or an answer unreadable (RFC 6455, 4.1).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UpgradeFault {
    /// The head is no HTTP.
    #[error("the head of the answer is malformed: {0}")]
    Malformed(&'static str),
    /// A websocket needs HTTP/1.1.
    #[error("the answer is HTTP/1.0, which has no upgrade")]
    OldHttp,
    /// `Upgrade` is missing, or names something else.
    #[error("the answer does not upgrade to websocket")]
    NotWebSocket,
    /// `Connection` has no token `upgrade`.
    #[error("the answer's Connection header does not say upgrade")]
    NoConnectionUpgrade,
    /// `Sec-WebSocket-Accept` is missing, or is not made from our key.
    #[error("the answer's Sec-WebSocket-Accept does not belong to this request")]
    AcceptMismatch,
    /// A subprotocol was chosen, and none was offered.
    #[error("the answer chooses a subprotocol, and none was offered")]
    UnaskedSubprotocol,
    /// An extension was chosen, and none was offered.
    #[error("the answer uses a websocket extension, and none was offered")]
    UnaskedExtension,
}

/// What a peer speaks instead of HTTP, as its first bytes show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerProtocol {
    /// TLS, where `ws://` was dialed.
    Tls,
    /// SSH.
    Ssh,
    /// HTTP/2 without an upgrade to it.
    Http2,
    /// SMTP or FTP, whose greetings are alike.
    SmtpOrFtp,
    /// POP3.
    Pop3,
    /// IMAP.
    Imap,
    /// Redis.
    Redis,
    /// MySQL.
    MySql,
    /// AMQP, as RabbitMQ does.
    Amqp,
    /// VNC.
    Vnc,
}

impl PeerProtocol {
    /// Recognises a protocol by the first bytes of a peer, which may be fewer than it takes.
    #[must_use]
    pub fn of_first_bytes(first: &[u8]) -> Option<Self> {
        match first {
            [0x15 | 0x16, 3, 0..=4, ..] => Some(Self::Tls),
            [b'S', b'S', b'H', b'-', ..] => Some(Self::Ssh),
            // A frame with settings on stream 0, or the notice that ends a connection.
            [0, 0, _, 4 | 7, _, 0, 0, 0, 0, ..] => Some(Self::Http2),
            [b'2', b'2', b'0', b' ' | b'-', ..] => Some(Self::SmtpOrFtp),
            [b'+', b'O', b'K', ..] => Some(Self::Pop3),
            [b'*', b' ', b'O', b'K', ..] => Some(Self::Imap),
            [b'-', b'E', b'R', b'R', ..] | [b'-', b'D', b'E', b'N', ..] => Some(Self::Redis),
            // The first packet of a connection, with version 10 of the protocol.
            [_, 0, 0, 0, 10, b'0'..=b'9', ..] => Some(Self::MySql),
            [b'A', b'M', b'Q', b'P', ..] => Some(Self::Amqp),
            [b'R', b'F', b'B', b' ', ..] => Some(Self::Vnc),
            _ => None,
        }
    }
}

impl fmt::Display for PeerProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "TLS, use wss://",
            Self::Ssh => "SSH, not HTTP",
            Self::Http2 => "HTTP/2 only, and a websocket begins with HTTP/1.1",
            Self::SmtpOrFtp => "SMTP or FTP, not HTTP",
            Self::Pop3 => "POP3, not HTTP",
            Self::Imap => "IMAP, not HTTP",
            Self::Redis => "Redis, not HTTP",
            Self::MySql => "MySQL, not HTTP",
            Self::Amqp => "AMQP, not HTTP",
            Self::Vnc => "VNC, not HTTP",
        })
    }
}
