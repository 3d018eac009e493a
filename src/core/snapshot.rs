//! What the gateway says in hello, and the state that subscribers start from.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::config::Secret;
use super::event::{Event, StateVersion};
use super::id::Epoch;
use super::payload::Payload;
use super::peer_text::PeerText;

/// The gateway's hello (protocol 3.9). Everything not named here is in [`raw`](Self::raw).
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Hello {
    /// The connection it opened.
    pub epoch: Epoch,
    /// The protocol version spoken.
    pub protocol: u32,
    /// The gateway's version.
    pub server_version: PeerText,
    /// The gateway's name for this connection.
    pub connection_id: PeerText,
    /// Changes whenever the gateway starts anew.
    pub boot_id: Option<PeerText>,
    /// The role that was granted.
    pub role: Option<PeerText>,
    /// The scopes that were granted to this connection.
    pub scopes: Vec<PeerText>,
    /// The token that this device may present from now on.
    pub device_token: Option<Secret>,
    /// The tokens that this device was handed over for its roles, after a bootstrap (protocol 3.9).
    pub device_tokens: Vec<RoleToken>,
    /// The gateway's limits.
    pub policy: Policy,
    /// The whole payload.
    pub raw: Payload,
}

/// A token that a gateway hands over for one role.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoleToken {
    /// The role.
    pub role: PeerText,
    /// The token.
    pub token: Secret,
    /// The scopes it was granted.
    pub scopes: Vec<PeerText>,
}

/// Scopes that `Debug` shows: a gateway may name very many.
const SHOWN_SCOPES_MAX: usize = 16;

impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hello")
            .field("epoch", &self.epoch)
            .field("protocol", &self.protocol)
            .field("server_version", &self.server_version)
            .field("connection_id", &self.connection_id)
            .field("boot_id", &self.boot_id)
            .field("role", &self.role)
            .field("scopes", &Scopes(&self.scopes))
            .field("device_token", &self.device_token)
            .field("device_tokens", &self.device_tokens)
            .field("policy", &self.policy)
            .field("raw", &self.raw)
            .finish()
    }
}

impl fmt::Debug for RoleToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoleToken")
            .field("role", &self.role)
            .field("token", &self.token)
            .field("scopes", &Scopes(&self.scopes))
            .finish()
    }
}

struct Scopes<'a>(&'a [PeerText]);

impl fmt::Debug for Scopes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().take(SHOWN_SCOPES_MAX);
        match self.0.len().checked_sub(SHOWN_SCOPES_MAX) {
            None | Some(0) => f.debug_list().entries(shown).finish(),
            Some(more) => f.debug_list().entries(shown).entry(&format_args!("… ({more} more)")).finish(),
        }
    }
}

/// The gateway's limits (protocol 3.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// How often the gateway promises to send something.
    pub tick_interval: Duration,
    /// The largest message it accepts, in bytes.
    pub max_payload: usize,
}

/// The latest state: hello, with presence and health kept current by the events since.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The hello of the connection it belongs to.
    pub hello: Arc<Hello>,
    /// The list of presence entries (protocol 10.2).
    pub presence: Payload,
    /// The health summary; `{}` just after the gateway's start (protocol 10.1).
    pub health: Payload,
    /// The versions of the two.
    pub state_version: StateVersion,
}

impl Snapshot {
    /// The connection it belongs to.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.hello.epoch
    }

    /// The snapshot after `event`, if the event changes it: presence and health events replace
    /// their part whole, unless they are older than what is known (protocol 10.3, 10.4).
    pub(super) fn after(&self, event: &Event) -> Option<Self> {
        let version = event.state_version?;
        match &*event.name {
            "presence" if version.presence >= self.state_version.presence => {
                let presence = event.payload.part("presence")?;
                let state_version = StateVersion { presence: version.presence, ..self.state_version };
                Some(Self { presence, state_version, ..self.clone() })
            }
            "health" if version.health >= self.state_version.health => {
                let state_version = StateVersion { health: version.health, ..self.state_version };
                Some(Self { health: event.payload.clone(), state_version, ..self.clone() })
            }
            _ => None,
        }
    }
}

/// Roles that a gateway may hand tokens over for. There are two in the protocol (3.6).
const ROLES_MAX: usize = 8;

/// Shortest and longest tick interval that are believed: below, every delay would look like death;
/// above, a dead peer would not be noticed in useful time.
const TICK_INTERVAL_MIN: Duration = Duration::from_secs(1);
const TICK_INTERVAL_MAX: Duration = Duration::from_secs(600);

/// Reads the payload of a successful `connect` answer.
///
/// `None` means that it is not a hello this client can work with.
pub(super) fn read_hello(epoch: Epoch, payload: &Payload, default_tick: Duration) -> Option<Snapshot> {
    let wire: WireHello<'_> = serde_json::from_str(payload.get()).ok()?;
    if wire.kind != "hello-ok" || wire.protocol != super::handshake::PROTOCOL_VERSION {
        return None;
    }
    let policy = wire.policy.unwrap_or_default();
    let auth = wire.auth.unwrap_or_default();
    let tick_interval =
        policy.tick_interval_ms.and_then(|wish| milliseconds(wish.get())).unwrap_or(default_tick);
    let hello = Hello {
        epoch,
        protocol: wire.protocol,
        server_version: wire.server.version,
        connection_id: wire.server.conn_id,
        boot_id: wire.server.boot_id,
        role: auth.role,
        scopes: auth.scopes,
        device_token: auth.device_token.as_deref().and_then(Secret::trimmed),
        device_tokens: auth.device_tokens.map(role_tokens).unwrap_or_default(),
        policy: Policy {
            tick_interval: tick_interval.clamp(TICK_INTERVAL_MIN, TICK_INTERVAL_MAX),
            max_payload: policy
                .max_payload
                .and_then(|bytes| serde_json::from_str(bytes.get()).ok())
                .unwrap_or(usize::MAX),
        },
        raw: payload.clone(),
    };
    Some(Snapshot {
        hello: Arc::new(hello),
        presence: payload.slice(wire.snapshot.presence),
        health: payload.slice(wire.snapshot.health),
        state_version: wire.snapshot.state_version,
    })
}

/// The handed over tokens that make sense. One that does not is no reason to refuse the gateway.
fn role_tokens(list: &RawValue) -> Vec<RoleToken> {
    let entries: Vec<&RawValue> = serde_json::from_str(list.get()).unwrap_or_default();
    let read = |entry: &&RawValue| {
        let wire: WireRoleToken = serde_json::from_str(entry.get()).ok()?;
        let role = wire.role.trim();
        let token = Secret::trimmed(&wire.device_token)?;
        (!role.is_empty()).then(|| RoleToken { role: role.into(), token, scopes: wire.scopes })
    };
    entries.iter().take(ROLES_MAX).filter_map(read).collect()
}

/// A time that JSON gives in milliseconds, whole or not. `None` if it is none.
fn milliseconds(json: &str) -> Option<Duration> {
    let milliseconds: f64 = serde_json::from_str(json).ok()?;
    let is_time = milliseconds >= 0.0;
    is_time.then(|| Duration::try_from_secs_f64(milliseconds / 1_000.0).unwrap_or(Duration::MAX))
}

#[derive(Deserialize)]
struct WireHello<'a> {
    #[serde(rename = "type")]
    #[serde(borrow)]
    kind: Cow<'a, str>,
    protocol: u32,
    server: WireServer,
    #[serde(borrow)]
    snapshot: WireSnapshot<'a>,
    #[serde(borrow, default)]
    auth: Option<WireAuth<'a>>,
    #[serde(borrow, default)]
    policy: Option<WirePolicy<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireServer {
    version: PeerText,
    conn_id: PeerText,
    #[serde(default)]
    boot_id: Option<PeerText>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireSnapshot<'a> {
    #[serde(borrow)]
    presence: &'a RawValue,
    #[serde(borrow)]
    health: &'a RawValue,
    state_version: StateVersion,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireAuth<'a> {
    #[serde(default)]
    role: Option<PeerText>,
    #[serde(default)]
    scopes: Vec<PeerText>,
    #[serde(default)]
    device_token: Option<String>,
    #[serde(borrow, default)]
    device_tokens: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireRoleToken {
    device_token: String,
    role: String,
    #[serde(default)]
    scopes: Vec<PeerText>,
}

/// Kept raw, because a number that makes no sense is no reason to refuse the whole gateway.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePolicy<'a> {
    #[serde(borrow, default)]
    tick_interval_ms: Option<&'a RawValue>,
    #[serde(borrow, default)]
    max_payload: Option<&'a RawValue>,
}
