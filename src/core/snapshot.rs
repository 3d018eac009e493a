//! What the gateway says in hello, and the state that subscribers start from.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

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
    /// The gateway's version; empty if it names none.
    pub server_version: PeerText,
    /// The gateway's name for this connection; empty if it has none.
    pub connection_id: PeerText,
    /// Changes whenever the gateway starts anew.
    pub boot_id: Option<PeerText>,
    /// What the gateway can do beyond its methods and events, like `session-goal-start-v1`.
    pub capabilities: Vec<PeerText>,
    /// What it offered already in its challenge: capabilities that change what a client may say in `connect`.
    pub challenge_capabilities: Vec<PeerText>,
    /// What admitted this connection, if the gateway says so.
    pub auth_method: Option<AuthMethod>,
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

/// What admitted a connection (`auth.method`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthMethod {
    /// The gateway asks for no credential.
    None,
    /// The shared token.
    Token,
    /// The shared password.
    Password,
    /// A device token.
    DeviceToken,
    /// A bootstrap token.
    BootstrapToken,
    /// The identity that Tailscale vouches for.
    Tailscale,
    /// The identity that a trusted proxy vouches for.
    TrustedProxy,
    /// One that this version does not know.
    Other(PeerText),
}

/// Texts of a list that `Debug` shows: a gateway may name very many.
const SHOWN_TEXTS_MAX: usize = 16;

impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hello")
            .field("epoch", &self.epoch)
            .field("protocol", &self.protocol)
            .field("server_version", &self.server_version)
            .field("connection_id", &self.connection_id)
            .field("boot_id", &self.boot_id)
            .field("capabilities", &Texts(&self.capabilities))
            .field("challenge_capabilities", &Texts(&self.challenge_capabilities))
            .field("auth_method", &self.auth_method)
            .field("role", &self.role)
            .field("scopes", &Texts(&self.scopes))
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
            .field("scopes", &Texts(&self.scopes))
            .finish()
    }
}

struct Texts<'a>(&'a [PeerText]);

impl fmt::Debug for Texts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().take(SHOWN_TEXTS_MAX);
        match self.0.len().checked_sub(SHOWN_TEXTS_MAX) {
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
