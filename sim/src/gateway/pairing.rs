//! The store of paired devices: approvals, upgrades, tokens (protocol 7.5 to 7.8).
//!
//! The store is on the gateway's disk: it survives restarts and crashes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::auth::{Checked, Door, Method};
use super::broadcast::Event;
use super::config::Pairing;
use super::connect::{Connect, Device};
use super::frame::{self, ErrorShape, push_string};
use super::model::{GatewayModel, Turn};
use super::random::Random;
use super::scope::{Scope, Scopes};
use super::session::{Refusal, Session};

/// Paired devices and requests to be.
#[derive(Debug, Clone, Default)]
pub(super) struct Store {
    devices: BTreeMap<Box<str>, Approved>,
    pending: Vec<Request>,
}

/// What a device may do.
#[derive(Debug, Clone)]
struct Approved {
    /// By role: `false` is operator, `true` is node.
    roles: BTreeMap<bool, Role>,
    platform: Box<str>,
    device_family: Option<Box<str>>,
}

#[derive(Debug, Clone, Default)]
struct Role {
    scopes: Scopes,
    token: Option<Token>,
}

#[derive(Debug, Clone)]
struct Token {
    secret: Arc<str>,
    issued_at_ms: u64,
}

/// A request that waits for approval.
#[derive(Debug, Clone)]
struct Request {
    id: String,
    device: Box<str>,
    node: bool,
    scopes: Scopes,
    platform: Box<str>,
    device_family: Option<Box<str>>,
}

/// The entry of the store a connect may use.
#[derive(Debug, Clone)]
pub(super) struct Paired {
    device: Box<str>,
    node: bool,
}

/// What a presented device token is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenVerdict {
    Right,
    /// The right token, but more scopes than it has.
    ScopeMismatch,
    Wrong,
}

/// Why approval is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upgrade {
    NotPaired,
    Role,
    Scope,
    Metadata,
}

impl Upgrade {
    /// `details.reason`, the requirement in the message, and `details.remediationHint`.
    const fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Upgrade::NotPaired => (
                "not-paired",
                "device is not approved yet",
                "Approve this device from the pending pairing requests.",
            ),
            Upgrade::Role => (
                "role-upgrade",
                "device is asking for a higher role than currently approved",
                "Review the requested role upgrade, then approve the pending request.",
            ),
            Upgrade::Scope => (
                "scope-upgrade",
                "device is asking for more scopes than currently approved",
                "Review the requested scopes, then approve the pending upgrade.",
            ),
            Upgrade::Metadata => (
                "metadata-upgrade",
                "device identity changed and must be re-approved",
                "Review the refreshed device details, then approve the pending request.",
            ),
        }
    }
}

impl Store {
    /// Compares a presented device token with the stored one.
    pub(super) fn check_token(
        &self,
        device: &Device,
        node: bool,
        token: &str,
        scopes: &Scopes,
    ) -> TokenVerdict {
        let role = self.devices.get(&device.id).and_then(|approved| approved.roles.get(&node));
        match role.and_then(|role| Some((role, role.token.as_ref()?))) {
            Some((role, stored)) if *stored.secret == *token => {
                if role.scopes.cover(scopes) {
                    TokenVerdict::Right
                } else {
                    TokenVerdict::ScopeMismatch
                }
            }
            Some(_) | None => TokenVerdict::Wrong,
        }
    }

    /// The token of a paired device's role: the same one each time (protocol 3.9).
    pub(super) fn issue(
        &mut self,
        paired: &Paired,
        secret: impl FnOnce() -> String,
        now_ms: u64,
    ) -> Option<(Arc<str>, u64)> {
        let role = self.devices.get_mut(&paired.device)?.roles.get_mut(&paired.node)?;
        let token = role.token.get_or_insert_with(|| Token { secret: secret().into(), issued_at_ms: now_ms });
        Some((token.secret.clone(), token.issued_at_ms))
    }

    /// What of this connect is not approved.
    fn missing(&self, device: &Device, connect: &Connect) -> Option<Upgrade> {
        let Some(approved) = self.devices.get(&device.id) else { return Some(Upgrade::NotPaired) };
        let client = &connect.client;
        if approved.platform != client.platform || approved.device_family != client.device_family {
            return Some(Upgrade::Metadata);
        }
        match approved.roles.get(&connect.is_node()) {
            None => Some(Upgrade::Role),
            Some(role) if !role.scopes.cover(&connect.scopes) => Some(Upgrade::Scope),
            Some(_) => None,
        }
    }

    /// The pending request for this connect; a device has at most one, which it renews.
    fn request(&mut self, device: &Device, connect: &Connect, random: &mut Random) -> (String, bool) {
        let known = self.pending.iter().position(|request| request.device == device.id);
        let id = match known {
            Some(index) => self.pending.remove(index).id,
            None => random.uuid(),
        };
        self.pending.push(Request {
            id: id.clone(),
            device: device.id.clone(),
            node: connect.is_node(),
            scopes: connect.scopes.clone(),
            platform: connect.client.platform.clone(),
            device_family: connect.client.device_family.clone(),
        });
        (id, known.is_none())
    }

    fn approve(&mut self, request: Request) {
        let approved = self.devices.entry(request.device).or_insert_with(|| Approved {
            roles: BTreeMap::new(),
            platform: "".into(),
            device_family: None,
        });
        approved.platform = request.platform;
        approved.device_family = request.device_family;
        let role = approved.roles.entry(request.node).or_default();
        role.scopes = role.scopes.union(&request.scopes);
    }

    fn oldest(&mut self) -> Option<Request> {
        (!self.pending.is_empty()).then(|| self.pending.remove(0))
    }
}

impl GatewayModel {
    /// Whether the device may do what it asks for. `None` is a client that needs no pairing.
    pub(super) fn check_pairing(
        &mut self,
        turn: &mut Turn<'_>,
        door: &Door,
        connect: &Connect,
        method: Method,
    ) -> Checked<Option<Paired>> {
        let Some(device) = &connect.device else { return Ok(None) };
        let paired = Paired { device: device.id.clone(), node: connect.is_node() };
        let Some(upgrade) = self.pairing.missing(device, connect) else { return Ok(Some(paired)) };
        let trusted = match method {
            Method::None | Method::Shared => door.is_local(),
            Method::DeviceToken => false,
        };
        let backend = (&*connect.client.id, &*connect.client.mode) == ("gateway-client", "backend");
        if trusted && backend && upgrade == Upgrade::NotPaired {
            // The gateway's own helpers bring a device only to sign with (protocol 3.9).
            return Ok(None);
        }
        let (id, fresh) = self.pairing.request(device, connect, &mut self.random);
        if trusted && self.config.pairing.auto_approve_local && is_automatic(upgrade, connect) {
            self.resolve_request(turn, &id, true);
            return Ok(Some(paired));
        }
        if fresh {
            self.announce_request(turn, &id, connect);
        }
        Err(Box::new(self.pairing_refusal(device, connect, upgrade, &id)))
    }

    fn pairing_refusal(&self, device: &Device, connect: &Connect, upgrade: Upgrade, id: &str) -> Refusal {
        let (reason, requirement, hint) = upgrade.words();
        let mut details = format!(
            r#"{{"code":"PAIRING_REQUIRED","reason":"{reason}","requestId":"{id}","remediationHint":"{hint}","deviceId":{},"requestedRole":"{}","requestedScopes":{}"#,
            frame::string(&device.id),
            connect.role_name(),
            connect.scopes.json(),
        );
        if let Some(approved) = self.pairing.devices.get(&device.id) {
            push_approved(&mut details, approved);
        }
        push_advice(&mut details, &self.config.pairing);
        details.push('}');
        let message = format!("pairing required: {requirement}");
        let reason = format!("{message} (requestId: {id})");
        let error = ErrorShape::new("NOT_PAIRED", message).with_details(details);
        Refusal::new("PAIRING_REQUIRED", error).closing(1008, reason)
    }

    fn announce_request(&mut self, turn: &mut Turn<'_>, id: &str, connect: &Connect) {
        let Some(device) = &connect.device else { return };
        let ts = self.unix_ms(turn.now);
        let mut payload = format!(r#"{{"requestId":"{id}","deviceId":"#);
        push_string(&mut payload, &device.id);
        payload.push_str(r#","publicKey":"#);
        push_string(&mut payload, &device.public_key);
        payload.push_str(r#","role":""#);
        payload.push_str(connect.role_name());
        payload.push_str(r#"","scopes":"#);
        payload.push_str(&connect.scopes.json());
        payload.push_str(&format!(r#","ts":{ts}}}"#));
        self.broadcast(
            turn,
            &Event::new("device.pair.requested", &payload).gated(Scope::Pairing).droppable(),
        );
    }

    /// Approves or rejects a pending request and tells those who may pair (protocol 7.8).
    fn resolve_request(&mut self, turn: &mut Turn<'_>, id: &str, approved: bool) {
        let index = self.pairing.pending.iter().position(|request| request.id == id);
        let Some(index) = index else { return };
        let request = self.pairing.pending.remove(index);
        self.finish_request(turn, request, approved);
    }

    /// Approves or rejects the oldest pending request, if there is one.
    pub(super) fn resolve_oldest(&mut self, turn: &mut Turn<'_>, approved: bool) {
        if let Some(request) = self.pairing.oldest() {
            self.finish_request(turn, request, approved);
        }
    }

    fn finish_request(&mut self, turn: &mut Turn<'_>, request: Request, approved: bool) {
        let decision = if approved { "approved" } else { "rejected" };
        let (id, device, ts) = (&request.id, frame::string(&request.device), self.unix_ms(turn.now));
        let payload =
            format!(r#"{{"requestId":"{id}","deviceId":{device},"decision":"{decision}","ts":{ts}}}"#);
        if approved {
            self.pairing.approve(request);
        }
        self.broadcast(turn, &Event::new("device.pair.resolved", &payload).gated(Scope::Pairing).droppable());
    }

    /// Replaces every device token; whoever is connected with a device has to come back with the new one.
    pub(super) fn rotate_device_tokens(&mut self, turn: &mut Turn<'_>) {
        for role in self.pairing.devices.values_mut().flat_map(|approved| approved.roles.values_mut()) {
            role.token = None;
        }
        self.invalidate_devices(turn, "client invalidated: device-token-rotated");
    }

    /// Forgets every device.
    pub(super) fn revoke_devices(&mut self, turn: &mut Turn<'_>) {
        self.pairing.devices.clear();
        self.invalidate_devices(turn, "client invalidated: device-removed");
    }

    fn invalidate_devices(&mut self, turn: &mut Turn<'_>, reason: &'static str) {
        let with_device =
            |session: &Session| session.established().is_some_and(|established| established.device_token);
        for connection in self.connections(with_device) {
            self.close(turn, connection, 4001, reason);
        }
    }
}

/// What local trust approves without asking (protocol 7.5).
fn is_automatic(upgrade: Upgrade, connect: &Connect) -> bool {
    match upgrade {
        Upgrade::NotPaired | Upgrade::Scope => true,
        Upgrade::Role => false,
        Upgrade::Metadata => {
            let native = matches!(
                &*connect.client.id,
                "openclaw-macos"
                    | "openclaw-linux"
                    | "openclaw-ios"
                    | "openclaw-watchos"
                    | "openclaw-android"
            );
            native && &*connect.client.mode == "ui"
        }
    }
}

fn push_approved(details: &mut String, approved: &Approved) {
    details.push_str(r#","approvedRoles":["#);
    for (index, node) in approved.roles.keys().enumerate() {
        if index > 0 {
            details.push(',');
        }
        details.push_str(if *node { r#""node""# } else { r#""operator""# });
    }
    let scopes = approved.roles.values().fold(Scopes::default(), |all, role| all.union(&role.scopes));
    details.push_str(r#"],"approvedScopes":"#);
    details.push_str(&scopes.sorted().json());
}

fn push_advice(details: &mut String, pairing: &Pairing) {
    if let Some(step) = &pairing.recommended_next_step {
        details.push_str(r#","recommendedNextStep":"#);
        push_string(details, step);
    }
    if let Some(pause) = pairing.pause_reconnect {
        details.push_str(if pause { r#","pauseReconnect":true"# } else { r#","pauseReconnect":false"# });
    }
}
