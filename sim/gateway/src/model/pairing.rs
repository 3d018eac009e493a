//! The store of paired devices: approvals, upgrades, tokens (protocol 7.5 to 7.8).
//!
//! The store is on the gateway's disk: it survives restarts and crashes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::auth::{Checked, Door, Method};
use super::broadcast::Event;
use super::config::Pairing;
use super::connect::{Connect, Device};
use super::frame::{self, ErrorShape, push_string};
use super::gateway_model::{GatewayModel, Turn};
use super::scope::{Scope, Scopes};
use super::session::{HandedOver, Refusal};

/// The reason of the close whenever a device loses a token, also if it is not removed.
pub(super) const DEVICE_REMOVED: &str = "device removed";

/// Paired devices and requests to be.
#[derive(Debug, Clone, Default)]
pub(super) struct Store {
    pub(super) devices: BTreeMap<Box<str>, Approved>,
    pub(super) pending: Vec<Request>,
}

/// What a device said about itself when it was approved.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub(super) public_key: Box<str>,
    pub(super) platform: Box<str>,
    pub(super) device_family: Option<Box<str>>,
    pub(super) client_id: Box<str>,
    pub(super) client_mode: Box<str>,
}

impl Claim {
    fn of(device: &Device, connect: &Connect) -> Self {
        let client = &connect.client;
        Claim {
            public_key: device.public_key.clone(),
            platform: client.platform.clone(),
            device_family: client.device_family.clone(),
            client_id: client.id.clone(),
            client_mode: client.mode.clone(),
        }
    }
}

/// What a device may do.
#[derive(Debug, Clone)]
pub(super) struct Approved {
    /// By role: `false` is operator, `true` is node.
    pub(super) roles: BTreeMap<bool, Role>,
    pub(super) claim: Claim,
    /// The role it asked for last.
    pub(super) node: bool,
    /// Who approved it last: `silent` is the gateway by itself, `owner` a person.
    pub(super) via: &'static str,
    pub(super) created_ms: u64,
    pub(super) approved_ms: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Role {
    pub(super) scopes: Scopes,
    pub(super) token: Option<Token>,
    /// Its token was taken away: the role has to be approved again.
    revoked: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Token {
    secret: Arc<str>,
    pub(super) issued_at_ms: u64,
}

/// A request that waits for approval.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) id: String,
    pub(super) device: Box<str>,
    /// The role asked for last, which is one of `roles`.
    pub(super) node: bool,
    pub(super) roles: BTreeSet<bool>,
    pub(super) scopes: Scopes,
    pub(super) claim: Claim,
    /// Whether the device has been approved before.
    pub(super) again: bool,
    pub(super) ts: u64,
}

impl Request {
    /// Whether whoever approves this approves all of that, too.
    fn covers(&self, node: bool, scopes: &Scopes) -> bool {
        self.node == node && self.scopes.cover(scopes)
    }
}

/// The entry of the store a connect may use.
#[derive(Debug, Clone)]
pub(super) struct Paired {
    device: Box<str>,
    node: bool,
}

impl Paired {
    /// The same device in its other role.
    pub(super) fn in_other_role(&self) -> Self {
        Self { device: self.device.clone(), node: !self.node }
    }
}

/// What an operator that is set up with a code may do, as far as clients keep it.
const SETUP_SCOPES: [&str; 5] =
    ["operator.approvals", "operator.questions", "operator.read", "operator.talk.secrets", "operator.write"];

/// What a presented device token is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenVerdict {
    Right,
    /// The right token, but more scopes than it has.
    ScopeMismatch,
    Wrong,
}

/// What became of a wish to be approved.
struct Asked {
    /// The id of the request that stands for it now.
    id: String,
    /// The requests it takes the place of.
    replaces: Vec<String>,
    /// Whether nobody has been told of it.
    is_new: bool,
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

    /// As [`issue`](Self::issue), with all there is to say about it.
    pub(super) fn hand_over(
        &mut self,
        paired: &Paired,
        secret: impl FnOnce() -> String,
        now_ms: u64,
    ) -> Option<HandedOver> {
        let (token, issued_at_ms) = self.issue(paired, secret, now_ms)?;
        let scopes = self.devices.get(&paired.device)?.roles.get(&paired.node)?.scopes.clone();
        Some(HandedOver { token, node: paired.node, scopes, issued_at_ms })
    }

    /// Whether a setup code would add anything to what the device may do.
    fn lacks_setup(&self, device: &str, setup: &Scopes) -> bool {
        self.devices.get(device).is_none_or(|approved| {
            let lacks = |node| approved.roles.get(&node).is_none_or(|role| role.revoked);
            lacks(true) || lacks(false) || !approved.roles[&false].scopes.cover(setup)
        })
    }

    /// What of this connect is not approved.
    fn missing(&self, device: &Device, connect: &Connect) -> Option<Upgrade> {
        let Some(approved) = self.devices.get(&device.id) else { return Some(Upgrade::NotPaired) };
        let (client, claim) = (&connect.client, &approved.claim);
        if claim.platform != client.platform || claim.device_family != client.device_family {
            return Some(Upgrade::Metadata);
        }
        match approved.roles.get(&connect.is_node()) {
            None => Some(Upgrade::Role),
            Some(role) if role.revoked => Some(Upgrade::Role),
            Some(role) if !role.scopes.cover(&connect.scopes) => Some(Upgrade::Scope),
            Some(_) => None,
        }
    }

    /// The pending request for this connect, and the ids of those it replaces. A request that covers this one is
    /// renewed; others become part of a new one.
    fn request(&mut self, device: &Device, connect: &Connect, id: impl FnOnce() -> String, ts: u64) -> Asked {
        let (mut earlier, others): (Vec<Request>, Vec<Request>) =
            std::mem::take(&mut self.pending).into_iter().partition(|request| request.device == device.id);
        self.pending = others;
        let node = connect.is_node();
        if let [only] = &mut *earlier
            && only.covers(node, &connect.scopes)
        {
            only.claim = Claim::of(device, connect);
            let id = only.id.clone();
            self.pending.append(&mut earlier);
            return Asked { id, replaces: Vec::new(), is_new: false };
        }
        let request = Request {
            id: id(),
            device: device.id.clone(),
            node,
            roles: earlier.iter().flat_map(|request| &request.roles).copied().chain([node]).collect(),
            scopes: earlier
                .iter()
                .fold(Scopes::default(), |all, request| all.union(&request.scopes))
                .union(&connect.scopes),
            claim: Claim::of(device, connect),
            again: self.devices.contains_key(&device.id),
            ts,
        };
        let asked = Asked {
            id: request.id.clone(),
            replaces: earlier.into_iter().map(|request| request.id).collect(),
            is_new: true,
        };
        self.pending.push(request);
        asked
    }

    /// Grants what was requested. A role that had a token gets another one (as seen in 2026.9.6).
    fn approve(&mut self, request: Request, via: &'static str, now_ms: u64) {
        let approved = self.devices.entry(request.device).or_insert_with(|| Approved {
            roles: BTreeMap::new(),
            claim: request.claim.clone(),
            node: request.node,
            via,
            created_ms: now_ms,
            approved_ms: now_ms,
        });
        (approved.claim, approved.node, approved.via) = (request.claim, request.node, via);
        approved.approved_ms = now_ms;
        // Scopes are for operators, and only a request of a node alone can hold some that are not.
        let owner = !request.roles.contains(&false);
        for node in request.roles {
            let role = approved.roles.entry(node).or_default();
            (role.token, role.revoked) = (None, false);
            if node == owner {
                role.scopes = role.scopes.union(&request.scopes);
            }
        }
    }

    /// Forgets the request of this id.
    pub(super) fn take_request(&mut self, id: &str) -> Option<Request> {
        let index = self.pending.iter().position(|request| request.id == id)?;
        Some(self.pending.remove(index))
    }

    /// Ends the token of a device's role; `None` if there is none. A rotated role gets another one with its next
    /// hello, a revoked one has to be approved again.
    pub(super) fn end_token(&mut self, device: &str, node: bool, revoke: bool) -> Option<Scopes> {
        let role = self.devices.get_mut(device)?.roles.get_mut(&node)?;
        if role.revoked {
            return None;
        }
        (role.token, role.revoked) = (None, revoke);
        Some(role.scopes.clone())
    }

    /// Forgets a device and what it asks for; whether it was known.
    pub(super) fn remove(&mut self, device: &str) -> bool {
        self.pending.retain(|request| *request.device != *device);
        self.devices.remove(device).is_some()
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
        if method == Method::Bootstrap {
            self.set_up(turn, device, connect);
        }
        let Some(upgrade) = self.pairing.missing(device, connect) else { return Ok(Some(paired)) };
        let trusted = match method {
            Method::None | Method::Shared => door.is_local(),
            Method::DeviceToken | Method::Bootstrap => false,
        };
        let backend = (&*connect.client.id, &*connect.client.mode) == ("gateway-client", "backend");
        if trusted && backend && upgrade == Upgrade::NotPaired {
            // The gateway's own helpers bring a device only to sign with (protocol 3.9).
            return Ok(None);
        }
        let waiting = self.pairing.pending.iter().any(|request| request.device == device.id);
        let (random, ts) = (&mut self.random, self.config.epoch_ms + turn.now.as_millis() as u64);
        let asked = self.pairing.request(device, connect, || random.uuid(), ts);
        for id in &asked.replaces {
            self.announce_decision(turn, id, &device.id, "rejected");
        }
        // What waits for a person is not approved along with something else.
        let automatic = trusted && !waiting && self.config.pairing.auto_approve_local;
        if automatic && is_automatic(upgrade, connect) {
            if let Some(request) = self.pairing.take_request(&asked.id) {
                self.finish_request(turn, request, true, "silent");
            }
            return Ok(Some(paired));
        }
        if asked.is_new {
            self.announce_request(turn, &asked.id);
        }
        Err(Box::new(self.pairing_refusal(device, connect, upgrade, &asked.id)))
    }

    /// Approves the device in both roles, as whoever made the setup code wanted.
    fn set_up(&mut self, turn: &mut Turn<'_>, device: &Device, connect: &Connect) {
        let scopes = Scopes::new(SETUP_SCOPES.map(Box::from).to_vec());
        if !self.pairing.lacks_setup(&device.id, &scopes) {
            return;
        }
        self.pairing.pending.retain(|request| request.device != device.id);
        let request = Request {
            id: self.random.uuid(),
            device: device.id.clone(),
            node: connect.is_node(),
            roles: BTreeSet::from([false, true]),
            scopes,
            claim: Claim::of(device, connect),
            again: self.pairing.devices.contains_key(&device.id),
            ts: self.unix_ms(turn.now),
        };
        self.finish_request(turn, request, true, "silent");
    }

    fn pairing_refusal(&self, device: &Device, connect: &Connect, upgrade: Upgrade, id: &str) -> Refusal {
        let (reason, requirement, hint) = upgrade.words();
        let mut details = format!(
            r#"{{"code":"PAIRING_REQUIRED","reason":"{reason}","requestId":"{id}","remediationHint":"{hint}","deviceId":{},"requestedRole":"{}""#,
            frame::string(&device.id),
            connect.role_name(),
        );
        if !connect.scopes.is_empty() {
            details.push_str(&format!(r#","requestedScopes":{}"#, connect.scopes.json()));
        }
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

    /// Tells those who may pair of a request (protocol 7.8).
    fn announce_request(&mut self, turn: &mut Turn<'_>, id: &str) {
        let Some(request) = self.pairing.pending.iter().find(|request| request.id == id) else { return };
        let payload = super::device_methods::pending(request).to_string();
        self.broadcast(
            turn,
            &Event::new("device.pair.requested", &payload).gated(Scope::Pairing).droppable(),
        );
    }

    /// Tells those who may pair of a decision (protocol 7.8).
    fn announce_decision(&mut self, turn: &mut Turn<'_>, id: &str, device: &str, decision: &str) {
        let (device, ts) = (frame::string(device), self.unix_ms(turn.now));
        let payload =
            format!(r#"{{"requestId":"{id}","deviceId":{device},"decision":"{decision}","ts":{ts}}}"#);
        self.broadcast(turn, &Event::new("device.pair.resolved", &payload).gated(Scope::Pairing).droppable());
    }

    /// Approves or rejects the oldest pending request, if there is one.
    pub(super) fn resolve_oldest(&mut self, turn: &mut Turn<'_>, approved: bool) {
        if let Some(request) = self.pairing.oldest() {
            self.finish_request(turn, request, approved, "owner");
        }
    }

    /// Approves or rejects a request that is no longer pending.
    pub(super) fn finish_request(
        &mut self,
        turn: &mut Turn<'_>,
        request: Request,
        approved: bool,
        via: &'static str,
    ) {
        let (id, device) = (request.id.clone(), request.device.clone());
        if approved {
            let now_ms = self.unix_ms(turn.now);
            self.pairing.approve(request, via, now_ms);
        }
        self.announce_decision(turn, &id, &device, if approved { "approved" } else { "rejected" });
    }

    /// Replaces every device token; whoever is connected with a device has to come back with the new one.
    pub(super) fn rotate_device_tokens(&mut self, turn: &mut Turn<'_>) {
        let devices: Vec<Box<str>> = self.pairing.devices.keys().cloned().collect();
        for device in &devices {
            for node in [false, true] {
                self.pairing.end_token(device, node, false);
            }
            self.close_device(turn, device, None);
        }
    }

    /// Forgets every device.
    pub(super) fn revoke_devices(&mut self, turn: &mut Turn<'_>) {
        let devices: Vec<Box<str>> = self.pairing.devices.keys().cloned().collect();
        for device in &devices {
            self.pairing.remove(device);
            self.close_device(turn, device, None);
        }
    }

    /// Closes the sockets of a device, in one role or in all. The credential they came in with does not matter.
    pub(super) fn close_device(&mut self, turn: &mut Turn<'_>, device: &str, node: Option<bool>) {
        for connection in self.connections(|session| session.is_of(device, node)) {
            self.close(turn, connection, 4001, DEVICE_REMOVED);
        }
    }
}

/// What local trust approves without asking (protocol 7.5).
fn is_automatic(upgrade: Upgrade, connect: &Connect) -> bool {
    match upgrade {
        Upgrade::NotPaired => true,
        Upgrade::Role | Upgrade::Scope => !connect.is_node(),
        Upgrade::Metadata => {
            let native = matches!(
                &*connect.client.id,
                "openclaw-macos"
                    | "openclaw-linux"
                    | "openclaw-ios"
                    | "openclaw-watchos"
                    | "openclaw-android"
            );
            native && &*connect.client.mode == "ui" && !connect.is_node()
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
