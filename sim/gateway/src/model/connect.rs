//! The params of `connect` (protocol 3.6).

use serde_json::Value;

use super::effect::Presented;
use super::schema::{NON_EMPTY, Property, STRING, Shape, closed, optional, required};
use super::scope::Scopes;

const fn positive() -> Shape {
    Shape::Integer { min: 1 }
}

const fn text_up_to(max: usize) -> Shape {
    Shape::Text { min: 1, max }
}

static CLIENT_IDS: &[&str] = &[
    "webchat-ui",
    "openclaw-control-ui",
    "openclaw-browser-copilot",
    "openclaw-tui",
    "webchat",
    "cli",
    "gateway-client",
    "openclaw-macos",
    "openclaw-linux",
    "openclaw-ios",
    "openclaw-watchos",
    "openclaw-android",
    "node-host",
    "openclaw-worker",
    "test",
    "fingerprint",
    "openclaw-probe",
];

static CLIENT_MODES: &[&str] = &["webchat", "cli", "ui", "backend", "node", "worker", "probe", "test"];

static CLIENT: &[Property] = &[
    required("id", Shape::OneOf(CLIENT_IDS)),
    optional("displayName", NON_EMPTY),
    required("version", NON_EMPTY),
    optional("buildId", text_up_to(96)),
    required("platform", NON_EMPTY),
    optional("deviceFamily", NON_EMPTY),
    optional("modelIdentifier", NON_EMPTY),
    optional("timeZone", text_up_to(64)),
    required("mode", Shape::OneOf(CLIENT_MODES)),
    optional("instanceId", NON_EMPTY),
];

static DEVICE: &[Property] = &[
    required("id", NON_EMPTY),
    required("publicKey", NON_EMPTY),
    required("signature", NON_EMPTY),
    required("signedAt", Shape::Integer { min: 0 }),
    required("nonce", NON_EMPTY),
];

static AUTH: &[Property] = &[
    optional("token", STRING),
    optional("bootstrapToken", STRING),
    optional("deviceToken", STRING),
    optional("password", STRING),
    optional("approvalRuntimeToken", STRING),
    optional("agentRuntimeIdentityToken", STRING),
];

/// The schema of `connect`'s params.
pub(super) static CONNECT: Shape = closed(&[
    required("minProtocol", positive()),
    required("maxProtocol", positive()),
    required("client", closed(CLIENT)),
    optional("caps", Shape::List(&NON_EMPTY)),
    optional("commands", Shape::List(&NON_EMPTY)),
    optional("computerUse", Shape::Any),
    optional("workerRuns", Shape::Any),
    optional("permissions", Shape::Map(&Shape::Bool)),
    optional("pathEnv", STRING),
    optional("role", NON_EMPTY),
    optional("scopes", Shape::List(&NON_EMPTY)),
    optional("device", closed(DEVICE)),
    optional("auth", closed(AUTH)),
    optional("locale", STRING),
    optional("userAgent", STRING),
]);

/// A schema-valid `connect`.
#[derive(Debug, Clone)]
pub(super) struct Connect {
    pub(super) min_protocol: i64,
    pub(super) max_protocol: i64,
    pub(super) client: Client,
    /// `None` when absent, which means operator.
    pub(super) role: Option<Box<str>>,
    /// Requested scopes; absent means none.
    pub(super) scopes: Scopes,
    pub(super) device: Option<Device>,
    pub(super) presented: Presented,
}

/// `connect.client`.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) id: Box<str>,
    pub(super) display_name: Option<Box<str>>,
    pub(super) version: Box<str>,
    pub(super) platform: Box<str>,
    pub(super) mode: Box<str>,
    pub(super) device_family: Option<Box<str>>,
    pub(super) model_identifier: Option<Box<str>>,
    pub(super) time_zone: Option<Box<str>>,
    pub(super) instance_id: Option<Box<str>>,
}

/// `connect.device` (protocol 7.1).
#[derive(Debug, Clone)]
pub(super) struct Device {
    pub(super) id: Box<str>,
    pub(super) public_key: Box<str>,
    pub(super) signature: Box<str>,
    pub(super) signed_at: i64,
    pub(super) nonce: Box<str>,
}

impl Connect {
    /// Reads params that satisfy [`CONNECT`].
    pub(super) fn read(params: &Value) -> Connect {
        let scopes = params.get("scopes").and_then(Value::as_array);
        let scopes = scopes.into_iter().flatten().filter_map(Value::as_str).map(Box::from).collect();
        let device = params.get("device").map(|device| Device {
            id: text(device, "id"),
            public_key: text(device, "publicKey"),
            signature: text(device, "signature"),
            signed_at: integer(device, "signedAt"),
            nonce: text(device, "nonce"),
        });
        let auth = &params["auth"];
        let presented = Presented {
            token: secret(auth, "token"),
            device_token: secret(auth, "deviceToken"),
            bootstrap_token: secret(auth, "bootstrapToken"),
            password: secret(auth, "password"),
            device_id: device.as_ref().map(|device| device.id.clone()),
        };
        Connect {
            min_protocol: integer(params, "minProtocol"),
            max_protocol: integer(params, "maxProtocol"),
            client: Client::read(&params["client"]),
            role: optional_text(params, "role"),
            scopes: Scopes::new(scopes),
            device,
            presented,
        }
    }

    /// Whether any part claims the closed worker protocol (protocol 3.6).
    pub(super) fn is_worker(&self) -> bool {
        self.role.as_deref() == Some("worker")
            || &*self.client.id == "openclaw-worker"
            || &*self.client.mode == "worker"
    }

    /// Whether it is an operator's interface, which needs a device; the one in a terminal counts, too.
    pub(super) fn is_control_ui(&self) -> bool {
        matches!(&*self.client.id, "openclaw-control-ui" | "openclaw-tui")
    }

    /// Whether a shared token or password came along, right or wrong.
    pub(super) fn presents_shared_secret(&self) -> bool {
        self.presented.token.is_some() || self.presented.password.is_some()
    }

    /// Whether the role is `node`.
    pub(super) fn is_node(&self) -> bool {
        self.role.as_deref() == Some("node")
    }

    /// The role's name.
    pub(super) fn role_name(&self) -> &'static str {
        role_name(self.is_node())
    }
}

/// The name of a role.
pub(super) fn role_name(node: bool) -> &'static str {
    if node { "node" } else { "operator" }
}

impl Client {
    fn read(client: &Value) -> Client {
        Client {
            id: text(client, "id"),
            display_name: optional_text(client, "displayName"),
            version: text(client, "version"),
            platform: text(client, "platform"),
            mode: text(client, "mode"),
            device_family: optional_text(client, "deviceFamily"),
            model_identifier: optional_text(client, "modelIdentifier"),
            time_zone: optional_text(client, "timeZone"),
            instance_id: optional_text(client, "instanceId"),
        }
    }
}

fn optional_text(object: &Value, name: &str) -> Option<Box<str>> {
    object.get(name).and_then(Value::as_str).map(Box::from)
}

fn text(object: &Value, name: &str) -> Box<str> {
    optional_text(object, name).unwrap_or_default()
}

fn integer(object: &Value, name: &str) -> i64 {
    let value = object.get(name);
    let integer = value.and_then(Value::as_i64);
    integer.or_else(|| value.and_then(Value::as_f64).map(|number| number as i64)).unwrap_or_default()
}

/// A credential: trimmed, and absent when blank, as the gateway normalises it.
fn secret(auth: &Value, name: &str) -> Option<Box<str>> {
    let text = auth.get(name)?.as_str()?.trim();
    (!text.is_empty()).then(|| text.into())
}
