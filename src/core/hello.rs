//! Reading hello: what a client cannot do without is named if it is missing, and everything else has a default.
//!
//! | member | without it, or if it is something else |
//! |---|---|
//! | the payload itself, and `snapshot` | no hello |
//! | `type` | missing is as good as `hello-ok`; another one is no hello |
//! | `protocol` | no hello; another version than ours is one that waiting does not change |
//! | `server.version`, `server.connId` | empty |
//! | `server.bootId`, `auth.role`, `auth.method`, `auth.deviceToken` | none |
//! | `auth.scopes`, `auth.deviceTokens`, `features.capabilities` | empty; an odd entry is left out |
//! | `snapshot.presence`, `snapshot.health` | `[]` and `{}` |
//! | `snapshot.stateVersion`, either part | 0, so that the first event replaces what there is |
//! | `policy.tickIntervalMs` | the interval of the options; too short and too long ones are clamped |
//! | `policy.maxPayload` | the limit of known gateways (protocol 1.7) |

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use super::config::Secret;
use super::error::{BadMember, ConnectionError};
use super::event::StateVersion;
use super::handshake::PROTOCOL_VERSION;
use super::id::Epoch;
use super::members::{Members, kind};
use super::payload::Payload;
use super::peer_text::PeerText;
use super::snapshot::{AuthMethod, Hello, Policy, RoleToken, Snapshot};

/// Roles that a gateway may hand tokens over for. There are two in the protocol (3.6).
const ROLES_MAX: usize = 8;

/// Shortest and longest tick interval that are believed: below, every delay would look like death;
/// above, a dead peer would not be noticed in useful time.
const TICK_INTERVAL_MIN: Duration = Duration::from_secs(1);
const TICK_INTERVAL_MAX: Duration = Duration::from_secs(600);

/// What a gateway accepts that does not say what it accepts (protocol 1.7).
const PAYLOAD_MAX: usize = 26_214_400;

/// The name of the message, for [`BadMember`].
const HELLO: &str = "hello";

/// Why this client cannot work with a hello.
pub(super) enum HelloFault {
    Member(BadMember),
    /// It is of this protocol version.
    Version(u64),
}

/// Reads the payload of a successful `connect` answer. `offered` are the capabilities of the challenge.
///
/// # Errors
/// [`HelloFault`] if this client cannot work with it.
pub(super) fn read_hello(
    epoch: Epoch,
    payload: &Payload,
    offered: &[PeerText],
    default_tick: Duration,
) -> Result<Snapshot, HelloFault> {
    let hello = Members::of(payload.get()).ok_or(BadMember {
        of: HELLO,
        member: "payload",
        found: kind(payload.get()),
        wanted: "an object",
    })?;
    check_version(&hello)?;
    let state = hello.get("snapshot").and_then(|raw| Members::of(raw.get()));
    let state = state.ok_or_else(|| hello.fault(HELLO, "snapshot", "snapshot", "an object"))?;
    let server = hello.object("server");
    let auth = hello.object("auth");
    let hello = Hello {
        epoch,
        protocol: PROTOCOL_VERSION,
        server_version: server.text("version").unwrap_or_default(),
        connection_id: server.text("connId").unwrap_or_default(),
        boot_id: server.text("bootId"),
        capabilities: hello.object("features").texts("capabilities"),
        challenge_capabilities: offered.to_vec(),
        auth_method: auth.text("method").map(auth_method),
        role: auth.text("role"),
        scopes: auth.texts("scopes"),
        device_token: auth.text("deviceToken").as_deref().and_then(Secret::trimmed),
        device_tokens: role_tokens(&auth),
        policy: policy(&hello.object("policy"), default_tick),
        raw: payload.clone(),
    };
    let part = |name: &str, first: char| state.get(name).filter(|raw| raw.get().starts_with(first));
    let or = |raw: Option<&RawValue>, default: &str| {
        raw.map_or_else(|| Payload::from_text(default), |raw| payload.slice(raw))
    };
    let versions = state.object("stateVersion");
    let version = |name: &str| versions.whole(name).unwrap_or_default();
    Ok(Snapshot {
        hello: Arc::new(hello),
        presence: or(part("presence", '['), "[]"),
        health: or(part("health", '{'), "{}"),
        state_version: StateVersion { presence: version("presence"), health: version("health") },
    })
}

impl From<BadMember> for HelloFault {
    fn from(fault: BadMember) -> Self {
        Self::Member(fault)
    }
}

impl From<HelloFault> for ConnectionError {
    fn from(fault: HelloFault) -> Self {
        match fault {
            HelloFault::Member(fault) => Self::BadMember(fault),
            HelloFault::Version(answered) => Self::ProtocolVersion { offered: PROTOCOL_VERSION, answered },
        }
    }
}

fn check_version(hello: &Members<'_>) -> Result<(), HelloFault> {
    if hello.get("type").is_some() && hello.text("type").as_deref() != Some("hello-ok") {
        return Err(hello.fault(HELLO, "type", "type", "hello-ok").into());
    }
    match hello.whole("protocol") {
        Some(version) if version == u64::from(PROTOCOL_VERSION) => Ok(()),
        Some(answered) => Err(HelloFault::Version(answered)),
        None => Err(hello.fault(HELLO, "protocol", "protocol", "a version").into()),
    }
}

fn auth_method(name: PeerText) -> AuthMethod {
    match &*name {
        "none" => AuthMethod::None,
        "token" => AuthMethod::Token,
        "password" => AuthMethod::Password,
        "device-token" => AuthMethod::DeviceToken,
        "bootstrap-token" => AuthMethod::BootstrapToken,
        "tailscale" => AuthMethod::Tailscale,
        "trusted-proxy" => AuthMethod::TrustedProxy,
        _ => AuthMethod::Other(name),
    }
}

/// The handed over tokens that make sense. One that does not is no reason to refuse the gateway.
fn role_tokens(auth: &Members<'_>) -> Vec<RoleToken> {
    let read = |entry: &&RawValue| {
        let entry = Members::of(entry.get())?;
        let role = entry.text("role")?;
        let token = Secret::trimmed(&entry.text("deviceToken")?)?;
        let role = role.trim();
        (!role.is_empty()).then(|| RoleToken { role: role.into(), token, scopes: entry.texts("scopes") })
    };
    auth.list("deviceTokens").iter().take(ROLES_MAX).filter_map(read).collect()
}

fn policy(policy: &Members<'_>, default_tick: Duration) -> Policy {
    let is_time = |milliseconds: &f64| *milliseconds >= 0.0;
    let tick = policy
        .number("tickIntervalMs")
        .filter(is_time)
        .map(|milliseconds| Duration::try_from_secs_f64(milliseconds / 1_000.0).unwrap_or(Duration::MAX));
    let payload = policy.number("maxPayload").filter(|bytes| *bytes >= 1.0);
    Policy {
        tick_interval: tick.unwrap_or(default_tick).clamp(TICK_INTERVAL_MIN, TICK_INTERVAL_MAX),
        // Beyond what a `usize` holds is the largest there is.
        max_payload: payload.map_or(PAYLOAD_MAX, |bytes| bytes as usize),
    }
}
