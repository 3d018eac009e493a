//! The vocabulary of the core: what goes in, what comes out.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::config::{Config, Endpoint, Secret};
use super::driver_end::DriverEnd;
use super::error::{ConnectionError, DialError, PauseReason, RequestError};
use super::event::{Event, Gap, Ignored};
use super::headers::Headers;
use super::id::{Epoch, RequestId, SubscriptionId};
use super::payload::Payload;
use super::pins::PinPolicy;
use super::snapshot::Snapshot;
use super::store_error::StoreError;
use super::time::Instant;

/// Everything that can happen to a connection.
///
/// Inputs from the transport carry the epoch they belong to; [`Connection::step`] drops those of a
/// past epoch in one place, so nothing stale can act on the live socket.
///
/// [`Connection::step`]: super::Connection::step
#[derive(Clone, Debug)]
pub enum Input {
    /// A consumer wants something.
    Command(Command),
    /// The dial succeeded: TCP, TLS and the websocket upgrade are done.
    Opened {
        /// The attempt this belongs to.
        epoch: Epoch,
    },
    /// The dial failed.
    DialFailed {
        /// The attempt this belongs to.
        epoch: Epoch,
        /// Why.
        error: DialError,
    },
    /// A whole message arrived.
    Received {
        /// The socket it arrived on.
        epoch: Epoch,
        /// Its text. Binary messages that are UTF-8 count as text (protocol 1.6).
        text: WireText,
    },
    /// A whole message arrived that is no text.
    Unreadable {
        /// The socket it arrived on.
        epoch: Epoch,
    },
    /// Something arrived that carries no message: a ping or a pong. It shows that the peer is alive.
    Activity {
        /// The socket it arrived on.
        epoch: Epoch,
    },
    /// Bytes arrived that make no whole message yet, or no more: they show that the peer is alive as well. To be
    /// given when a message is about to take more than a moment, and then before the deadline of
    /// [`DeadlineReason::Silence`](super::DeadlineReason::Silence), not for every byte.
    Bytes {
        /// The socket they arrived on.
        epoch: Epoch,
        /// When the latest arrived.
        latest: Instant,
        /// When the message began that is not complete, if there is one.
        message_began: Option<Instant>,
    },
    /// The transport wrote this many of the frames it was given.
    Written {
        /// The socket they went to.
        epoch: Epoch,
        /// How many.
        frames: usize,
    },
    /// The socket is gone.
    Closed {
        /// The socket.
        epoch: Epoch,
        /// Why.
        error: ConnectionError,
    },
    /// The token store answered [`Effect::LoadToken`].
    TokenLoaded {
        /// The attempt that asked.
        epoch: Epoch,
        /// What it holds.
        result: Result<Option<StoredToken>, StoreError>,
    },
    /// The token store finished a [`Effect::SaveToken`], [`Effect::AdoptToken`] or [`Effect::ClearToken`],
    /// well or not.
    TokenStored,
    /// The deadline that [`Connection::next_deadline`](super::Connection::next_deadline) named has come.
    Timeout,
}

/// What consumers can want. `Debug` shows the length of parameters only: they may hold secrets.
#[derive(Clone)]
pub enum Command {
    /// Connect, and stay connected.
    Connect,
    /// Call a method.
    Request {
        /// The caller's name for it.
        id: RequestId,
        /// The method.
        method: Arc<str>,
        /// Its parameters, as JSON text.
        params: Option<Arc<str>>,
        /// The time for queueing, writing and the reply together; `None` waits for ever.
        timeout: Option<Duration>,
        /// How much of that time is over already, as when the process was suspended between the call and this.
        waited: Duration,
        /// Which answer ends it.
        reply: Reply,
        /// The only connection it may go over, if there is just one: it fails as not sent when that
        /// one is not ready, and makes nobody connect.
        only_on: Option<Epoch>,
        /// The account it is meant for, if it must be that one.
        expected_profile_id: Option<Arc<str>>,
    },
    /// The caller no longer wants the answer. Local only: the protocol has no cancel frame (2.1).
    Cancel {
        /// The request.
        id: RequestId,
    },
    /// A new subscriber.
    Subscribe {
        /// The caller's name for it.
        id: SubscriptionId,
    },
    /// A subscriber left.
    Unsubscribe {
        /// The subscription.
        id: SubscriptionId,
    },
    /// This is the config from now on; `None` means that there is no gateway to connect to.
    Configure(Option<Arc<Config>>),
    /// The network is back, or the machine was asleep: do not wait for the backoff to end, and find out whether the
    /// connection still lives.
    Wake,
    /// Whatever paused reconnecting has been dealt with.
    Resume,
    /// Close, fail what is pending, and never dial again.
    ShutDown,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("Connect"),
            Self::Request { id, method, params, timeout, waited, reply, only_on, expected_profile_id } => f
                .debug_struct("Request")
                .field("id", id)
                .field("method", method)
                .field("params", &params.clone().map(WireText))
                .field("timeout", timeout)
                .field("waited", waited)
                .field("reply", reply)
                .field("only_on", only_on)
                .field("expected_profile_id", expected_profile_id)
                .finish(),
            Self::Cancel { id } => f.debug_struct("Cancel").field("id", id).finish(),
            Self::Subscribe { id } => f.debug_struct("Subscribe").field("id", id).finish(),
            Self::Unsubscribe { id } => f.debug_struct("Unsubscribe").field("id", id).finish(),
            Self::Configure(config) => f.debug_tuple("Configure").field(config).finish(),
            Self::Wake => f.write_str("Wake"),
            Self::Resume => f.write_str("Resume"),
            Self::ShutDown => f.write_str("ShutDown"),
        }
    }
}

/// Which answer ends a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reply {
    /// The first one.
    #[default]
    First,
    /// The first whose `payload.status` is not `accepted` (protocol 12.4).
    Final,
}

/// What the core wants done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Open a socket to this endpoint. Never emitted while another socket of this connection is
    /// dialing, open or closing.
    Dial {
        /// The new attempt.
        epoch: Epoch,
        /// Where to.
        endpoint: Endpoint,
        /// What the request for the upgrade carries beside its own headers.
        headers: Arc<Headers>,
    },
    /// Send this message, after those before it.
    Transmit {
        /// The socket.
        epoch: Epoch,
        /// The frame.
        text: WireText,
    },
    /// Send a ping. Anything that arrives will do for its answer.
    Ping {
        /// The socket.
        epoch: Epoch,
    },
    /// End the socket, or abort the dial.
    HangUp {
        /// The socket.
        epoch: Epoch,
        /// How.
        close: Close,
    },
    /// Ask the token store; answer with [`Input::TokenLoaded`]. The store does one thing after the
    /// other, so that a token is stored before it is loaded.
    LoadToken {
        /// The attempt that asks.
        epoch: Epoch,
        /// Whose token.
        key: TokenKey,
    },
    /// Store this token; answer with [`Input::TokenStored`].
    SaveToken {
        /// Whose token.
        key: TokenKey,
        /// The token.
        token: StoredToken,
    },
    /// Store this token, unless the very same one is stored already: that keeps its scopes, because a
    /// narrower session must not narrow the next. Nothing is stored while the store cannot be read.
    /// Answer with [`Input::TokenStored`].
    AdoptToken {
        /// Whose token.
        key: TokenKey,
        /// The token.
        token: StoredToken,
    },
    /// Forget this token, if it still is the stored one; answer with [`Input::TokenStored`].
    ClearToken {
        /// Whose token.
        key: TokenKey,
        /// The token that was refused.
        token: Secret,
    },
    /// A two-phase request was accepted; its final answer is still to come. Emitted at most once for
    /// each, however often the gateway repeats it.
    Accepted {
        /// The request.
        id: RequestId,
        /// The acknowledgement.
        payload: Payload,
    },
    /// A request ended. Emitted exactly once for each, unless it was cancelled.
    Complete {
        /// The request.
        id: RequestId,
        /// How it ended.
        outcome: Result<Response, RequestError>,
    },
    /// An item for a subscriber.
    Deliver {
        /// The subscriber.
        to: SubscriptionId,
        /// The item.
        push: Push,
    },
    /// The status changed.
    Status(Status),
    /// A message had no effect, for this reason.
    Ignored(Ignored),
    /// Shut down completely: no socket, no pending request, no deadline is left.
    Stopped,
}

/// A frame, or a part of one, as it is on the wire. `Debug` shows its length only: `connect` holds our credentials,
/// and hello may hold a device token.
#[derive(Clone, PartialEq, Eq)]
pub struct WireText(pub Arc<str>);

impl fmt::Debug for WireText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WireText({} bytes)", self.0.len())
    }
}

impl From<&str> for WireText {
    fn from(text: &str) -> Self {
        Self(Arc::from(text))
    }
}

/// Whose token it is: a device, in a role, at a gateway.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenKey {
    /// The device's id.
    pub device_id: String,
    /// The role it was granted.
    pub role: String,
    /// The gateway, as its whole endpoint: one port may lead to several gateways. It is the url with the path,
    /// then `?` and a hash of the query, and `#` and the pins with commas between, where the endpoint has these. It
    /// holds no `|`.
    pub gateway: String,
}

impl TokenKey {
    /// The key of a device's token in a role at the gateway behind `endpoint`.
    #[must_use]
    pub fn new(device_id: &str, role: &str, endpoint: &Endpoint) -> Self {
        Self { device_id: device_id.to_owned(), role: role.to_owned(), gateway: whole(endpoint) }
    }

    /// The keys under which a store keeps this token: one for each pin, because whoever is found by one of them is this
    /// gateway (see [`Pins`](super::Pins)), and one without where the trust of the system is enough. Mostly, it is
    /// this one.
    #[must_use]
    pub fn by_pin(&self) -> Vec<Self> {
        let Some((endpoint, pins)) = self.gateway.split_once('#') else { return vec![self.clone()] };
        let gateway = |pin| if pin == UNPINNED { endpoint.to_owned() } else { format!("{endpoint}#{pin}") };
        pins.split(',').map(|pin| Self { gateway: gateway(pin), ..self.clone() }).collect()
    }

    /// The key under which earlier versions kept this token: `host:port` instead of the whole endpoint.
    ///
    /// `None` for an endpoint with a path or a query of its own, because the earlier key does not say which of the
    /// gateways behind that port its token is from.
    #[must_use]
    pub fn by_host_and_port(&self) -> Option<Self> {
        let endpoint = self.gateway.split_once('#').map_or(&*self.gateway, |(endpoint, _)| endpoint);
        let (_, rest) = endpoint.split_once("://")?;
        let authority = rest.strip_suffix('/').filter(|authority| !authority.contains(['/', '?']))?;
        // That key had no brackets around an IPv6 address.
        Some(Self { gateway: authority.replace(['[', ']'], ""), ..self.clone() })
    }
}

/// Stands among the pins of a key for a gateway that the system trusts.
const UNPINNED: &str = "system";

/// All that tells one endpoint from another, without the text of the query, which may be a secret.
fn whole(endpoint: &Endpoint) -> String {
    let url = endpoint.url();
    let (place, query) = url.split_once('?').map_or((&*url, None), |(place, query)| (place, Some(query)));
    let mut whole = place.replace('|', "%7C");
    if !place.split_once("://").is_some_and(|(_, rest)| rest.contains('/')) {
        whole.push('/');
    }
    if let Some(query) = query {
        whole.push_str("?sha256:");
        Sha256::digest(query).iter().for_each(|byte| whole.push_str(&format!("{byte:02x}")));
    }
    if let Some(pins) = endpoint.pins() {
        // Where the system must trust the gateway as well, it is the same gateway.
        let unpinned = match pins.policy() {
            PinPolicy::Alone | PinPolicy::AndSystem => None,
            PinPolicy::OrSystem => Some(UNPINNED.to_owned()),
        };
        let known_by: Vec<String> =
            unpinned.into_iter().chain(pins.iter().map(|pin| pin.to_string())).collect();
        whole.push_str(&format!("#{}", known_by.join(",")));
    }
    whole
}

/// A device token with the scopes it was granted. `Debug` does not show the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredToken {
    /// The token.
    pub token: Secret,
    /// The scopes it was granted.
    pub scopes: Vec<String>,
}

/// How to end a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Close {
    /// Drop it now. A close frame may be tried without waiting; no `Closed` input is expected.
    Now {
        /// The close code for the attempt at a close frame.
        code: u16,
        /// Its reason.
        reason: &'static str,
    },
    /// Discard what is unwritten, send a close frame and report `Closed` when the peer has
    /// answered or the socket is gone.
    Graceful {
        /// The close code.
        code: u16,
        /// The reason.
        reason: &'static str,
    },
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The connection it came over.
    pub epoch: Epoch,
    /// What the gateway answered.
    pub payload: Payload,
}

/// An item of a subscription.
///
/// The order is the order things happened in. The first item is always a snapshot.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Push {
    /// The state as of now. Whatever was known before is replaced by it: it comes first in every
    /// subscription, and again first on every new connection.
    Snapshot(Arc<Snapshot>),
    /// The gateway pushed an event.
    Event(Arc<Event>),
    /// Events are missing. Comes before the event that revealed it. Nothing replays them: fetch
    /// again what you derive from events (protocol 11.4).
    Gap(Gap),
    /// The status of the connection changed.
    Status(Status),
    /// This subscriber was too slow and lost items; its [`LagPolicy`](super::LagPolicy) says which, and
    /// what comes next.
    Lagged {
        /// How many items are gone.
        missed: u64,
    },
    /// The subscription is over, and this is its last item: the client was shut down or lost, which the status
    /// before this says, or the subscriber lagged and wanted this to be the end.
    Closed,
}

/// Where the connection stands.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Status {
    /// Nobody wants a connection yet.
    Idle,
    /// A connection is wanted, and there is no config to connect with.
    NotConfigured,
    /// A socket is being opened.
    Connecting {
        /// The attempt.
        epoch: Epoch,
        /// Attempts since the last stable connection, starting at 1.
        attempt: u32,
    },
    /// The socket is open and the gateway has not said hello yet.
    Handshaking {
        /// The attempt.
        epoch: Epoch,
    },
    /// Requests are answered and events flow.
    Ready {
        /// The connection.
        epoch: Epoch,
    },
    /// The last attempt or connection failed; the next dial has a time.
    Backoff {
        /// Attempts since the last stable connection.
        attempt: u32,
        /// When the next dial happens.
        until: Instant,
        /// Why the last one ended.
        cause: Arc<ConnectionError>,
    },
    /// The config keeps changing: the one that is in force by then is dialed at this time, or later if it goes on. See
    /// [`Options::config_settle`](super::Options::config_settle).
    Settling {
        /// When the next dial happens.
        until: Instant,
    },
    /// Reconnecting waits for somebody to act.
    Paused(Arc<PauseReason>),
    /// The old socket is closing, because of a new config or a shutdown.
    Closing,
    /// Shut down. It is the last status.
    Stopped,
    /// The client ended without a shutdown, and this is why. It is the last status. No [`Connection`] is ever in it:
    /// whoever drives one says so in its place.
    ///
    /// [`Connection`]: super::Connection
    Lost(Arc<DriverEnd>),
}

impl Status {
    /// Whether it is the last one: the client is over, and another one must be made to go on.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Stopped | Self::Lost(_) => true,
            Self::Idle
            | Self::NotConfigured
            | Self::Connecting { .. }
            | Self::Handshaking { .. }
            | Self::Ready { .. }
            | Self::Backoff { .. }
            | Self::Settling { .. }
            | Self::Paused(_)
            | Self::Closing => false,
        }
    }
}
