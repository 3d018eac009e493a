//! The methods that manage paired devices (protocol 7.5 to 7.8), as 2026.9.6 answers them.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::effect::ConnectionId;
use super::frame::Request as Call;
use super::gateway_model::{GatewayModel, Turn};
use super::methods::{Reply, invalid};
use super::pairing::{Approved, Claim, DEVICE_REMOVED, Request, Role};
use super::schema::{NON_EMPTY, Property, Shape, closed, optional, required};
use super::scope::{Scope, Scopes};
use super::timer::Timer;

pub(super) static NOTHING: Shape = closed(&[]);
pub(super) static REQUEST_ID: Shape = closed(REQUEST_ID_PROPERTIES);
static REQUEST_ID_PROPERTIES: &[Property] = &[required("requestId", NON_EMPTY)];
pub(super) static DEVICE_ID: Shape = closed(DEVICE_ID_PROPERTIES);
static DEVICE_ID_PROPERTIES: &[Property] = &[required("deviceId", NON_EMPTY)];
pub(super) static ROTATE: Shape = closed(ROTATE_PROPERTIES);
static ROTATE_PROPERTIES: &[Property] = &[
    required("deviceId", NON_EMPTY),
    required("role", NON_EMPTY),
    optional("scopes", Shape::List(&NON_EMPTY)),
];
pub(super) static REVOKE: Shape = closed(REVOKE_PROPERTIES);
static REVOKE_PROPERTIES: &[Property] = &[required("deviceId", NON_EMPTY), required("role", NON_EMPTY)];

/// How long after its answer a caller is closed that ended its own token.
const MOMENT: Duration = Duration::from_millis(1);

/// What is done to a device's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenEnd {
    /// The next hello brings another one.
    Rotate,
    /// The role has to be approved again.
    Revoke,
}

impl GatewayModel {
    pub(super) fn list_devices(&self) -> Reply {
        let paired = self.pairing.devices.iter().map(|(id, approved)| {
            let mut device = described(id, approved);
            device.insert(
                "connected".into(),
                (!self.connections(|session| session.is_of(id, None)).is_empty()).into(),
            );
            Value::Object(device)
        });
        let paired: Vec<Value> = paired.collect();
        let pending: Vec<Value> = self.pairing.pending.iter().map(pending).collect();
        Reply::Payload(json!({"pending": pending, "paired": paired}).to_string())
    }

    pub(super) fn resolve_pairing(&mut self, turn: &mut Turn<'_>, call: &Call, approve: bool) -> Reply {
        let params = call.params_value();
        let Some(request) = self.pairing.take_request(text(&params, "requestId")) else {
            return invalid("unknown requestId");
        };
        let (id, device) = (request.id.clone(), request.device.clone());
        self.finish_request(turn, request, approve, "owner");
        let answer = match self.pairing.devices.get(&device).filter(|_| approve) {
            Some(approved) => json!({"requestId": id, "device": described(&device, approved)}),
            None => json!({"requestId": id, "deviceId": device}),
        };
        Reply::Payload(answer.to_string())
    }

    /// Forgets a device. The caller's own socket is closed after its answer.
    pub(super) fn remove_device(
        &mut self,
        turn: &mut Turn<'_>,
        caller: ConnectionId,
        call: &Call,
        delay: Duration,
    ) -> Reply {
        let params = call.params_value();
        let device = text(&params, "deviceId");
        if !self.pairing.remove(device) {
            return invalid("unknown deviceId");
        }
        self.close_after_answer(turn, caller, device, None, delay);
        Reply::Payload(json!({"deviceId": device}).to_string())
    }

    /// Ends the token of one role of a device. The caller's own socket is closed after its answer.
    pub(super) fn end_device_token(
        &mut self,
        turn: &mut Turn<'_>,
        caller: ConnectionId,
        call: &Call,
        delay: Duration,
        end: TokenEnd,
    ) -> Reply {
        let params = call.params_value();
        let (device, role) = (text(&params, "deviceId"), text(&params, "role"));
        let node = role == "node";
        let known = matches!(role, "node" | "operator");
        let scopes = known.then(|| self.pairing.end_token(device, node, end == TokenEnd::Revoke)).flatten();
        let now_ms = self.unix_ms(turn.now);
        let answer = match (scopes, end) {
            (None, TokenEnd::Rotate) => return invalid("device token rotation denied"),
            (None, TokenEnd::Revoke) => return invalid("device token revocation denied"),
            (Some(scopes), TokenEnd::Rotate) => json!({
                "deviceId": device,
                "role": role,
                "scopes": opened(&scopes),
                "rotatedAtMs": now_ms,
                // Only a device that came in with the token it replaces is told the next one, and only by real gateways.
                "tokenDelivery": "withheld-cross-device",
            }),
            (Some(_), TokenEnd::Revoke) => json!({"deviceId": device, "role": role, "revokedAtMs": now_ms}),
        };
        self.close_after_answer(turn, caller, device, Some(node), delay);
        Reply::Payload(answer.to_string())
    }

    fn close_after_answer(
        &mut self,
        turn: &mut Turn<'_>,
        caller: ConnectionId,
        device: &str,
        node: Option<bool>,
        delay: Duration,
    ) {
        for connection in self.connections(|session| session.is_of(device, node)) {
            if connection == caller {
                let kick = Timer::Kick { connection, code: 4001, reason: DEVICE_REMOVED.to_owned() };
                self.timers.insert(turn.now + delay + MOMENT, kick);
            } else {
                self.close(turn, connection, 4001, DEVICE_REMOVED);
            }
        }
    }
}

/// A request as `device.pair.list` and `device.pair.requested` show it.
pub(super) fn pending(request: &Request) -> Value {
    let mut shown = Map::new();
    shown.insert("requestId".into(), (&*request.id).into());
    shown.insert("deviceId".into(), (&*request.device).into());
    add_claim(&mut shown, &request.claim);
    shown.insert("role".into(), role_name(request.node).into());
    shown.insert("roles".into(), request.roles.iter().rev().map(|node| role_name(*node)).collect());
    shown.insert("scopes".into(), request.scopes.names().collect());
    shown.insert("silent".into(), false.into());
    shown.insert("isRepair".into(), request.again.into());
    shown.insert("ts".into(), request.ts.into());
    Value::Object(shown)
}

/// An approved device as `device.pair.list` and `device.pair.approve` show it.
fn described(id: &str, approved: &Approved) -> Map<String, Value> {
    let mut shown = Map::new();
    shown.insert("deviceId".into(), id.into());
    add_claim(&mut shown, &approved.claim);
    shown.insert("role".into(), role_name(approved.node).into());
    shown.insert("roles".into(), approved.roles.keys().map(|node| role_name(*node)).collect());
    let scopes = approved.roles.values().fold(Scopes::default(), |all, role| all.union(&role.scopes));
    shown.insert("scopes".into(), scopes.names().collect());
    shown.insert("approvedVia".into(), approved.via.into());
    shown.insert("createdAtMs".into(), approved.created_ms.into());
    shown.insert("approvedAtMs".into(), approved.approved_ms.into());
    let tokens = approved.roles.iter().map(|(node, role)| token(*node, role, approved)).collect();
    shown.insert("tokens".into(), Value::Array(tokens));
    shown
}

/// A token without its secret.
fn token(node: bool, role: &Role, approved: &Approved) -> Value {
    let issued = role.token.as_ref().map_or(approved.approved_ms, |token| token.issued_at_ms);
    let mut shown = json!({
        "role": role_name(node),
        "scopes": opened(&role.scopes),
        "createdAtMs": approved.created_ms,
    });
    if issued > approved.created_ms {
        shown["rotatedAtMs"] = issued.into();
    }
    shown
}

fn add_claim(shown: &mut Map<String, Value>, claim: &Claim) {
    shown.insert("publicKey".into(), (&*claim.public_key).into());
    shown.insert("platform".into(), (&*claim.platform).into());
    if let Some(family) = &claim.device_family {
        shown.insert("deviceFamily".into(), (&**family).into());
    }
    shown.insert("clientId".into(), (&*claim.client_id).into());
    shown.insert("clientMode".into(), (&*claim.client_mode).into());
}

/// A token's scopes, with those that its scopes include, in alphabetical order.
fn opened(scopes: &Scopes) -> Vec<String> {
    let included = [Scope::Read, Scope::Write].map(Scope::name);
    let admin = scopes.names().any(|name| name == Scope::Admin.name());
    let write = scopes.names().any(|name| name == Scope::Write.name());
    let mut names: Vec<String> = scopes.names().map(str::to_owned).collect();
    names.extend(
        included
            .iter()
            .filter(|name| admin || (write && **name == Scope::Read.name()))
            .map(|name| (*name).to_owned()),
    );
    names.sort_unstable();
    names.dedup();
    names
}

const fn role_name(node: bool) -> &'static str {
    if node { "node" } else { "operator" }
}

fn text<'a>(params: &'a Value, name: &str) -> &'a str {
    params[name].as_str().unwrap_or_default().trim()
}
