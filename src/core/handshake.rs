//! The handshake: challenge in, `connect` out, hello or a refusal back (protocol 3).

use std::time::Duration;

use serde::Serialize;

use super::config::{Config, Secret};
use super::device::{Claim, Proof};
use super::error::{BadMember, GatewayError};
use super::frame::ErrorShape;
use super::members::{Members, kind};
use super::payload::Payload;
use super::peer_text::PeerText;
use super::selection::Selection;

/// The protocol version this client speaks, and the only one.
pub(super) const PROTOCOL_VERSION: u32 = 4;

/// The gateway's challenge. Its nonce must come back in a device proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    /// The nonce, never blank.
    pub(super) nonce: PeerText,
    /// The gateway's clock in milliseconds, if it said so (protocol 3.3).
    pub(super) ts: Option<u64>,
    /// What the gateway can make use of in `connect`.
    pub(super) capabilities: Vec<PeerText>,
}

impl Challenge {
    /// Reads the payload of `connect.challenge`. Only a device signs the time, and needs one (protocol 3.3).
    ///
    /// # Errors
    /// [`BadMember`] if there is nothing that could be signed.
    pub(super) fn read(payload: &Payload, needs_time: bool) -> Result<Self, BadMember> {
        const CHALLENGE: &str = "connect.challenge";
        let repaired = payload.repaired();
        let payload = repaired.as_ref().unwrap_or(payload);
        let challenge = Members::of(payload.get()).ok_or(BadMember {
            of: CHALLENGE,
            member: "payload",
            found: kind(payload.get()),
            wanted: "an object",
        })?;
        let fault = |member, wanted| challenge.fault(CHALLENGE, member, member, wanted);
        let nonce = challenge.text("nonce").ok_or_else(|| fault("nonce", "a string"))?;
        if nonce.trim().is_empty() {
            return Err(BadMember { found: "blank", ..fault("nonce", "a string") });
        }
        let ts = challenge.whole("ts");
        if needs_time && ts.is_none() {
            return Err(fault("ts", "a time in milliseconds"));
        }
        Ok(Self { nonce, ts, capabilities: challenge.texts("capabilities") })
    }

    /// Whether the gateway can make use of this capability of the client. Most need nothing from it.
    fn takes(&self, cap: &str) -> bool {
        let needed = CAPS_THAT_NEED.iter().find(|(name, _)| *name == cap);
        needed.is_none_or(|(_, capability)| self.capabilities.iter().any(|offered| *offered == **capability))
    }
}

/// Client capabilities that only a gateway with a capability of its own understands: an older one might refuse them.
const CAPS_THAT_NEED: [(&str, &str); 1] = [("model-catalog-snapshot", "model-catalog-snapshot")];

/// The parameters of `connect` (protocol 3.6), as JSON text. It holds the credentials: it goes to
/// the transport and nowhere else.
pub(super) fn connect_params(config: &Config, selection: &Selection<'_>, challenge: &Challenge) -> String {
    let client = &config.client;
    let signed = config.proof.device.as_ref().zip(config.proof.signature());
    let device = signed.map(|(device, version)| {
        device.prove(&Claim {
            version,
            client_id: &client.id,
            client_mode: &client.mode,
            role: &config.role,
            scopes: &selection.scopes,
            signed_at: challenge.ts.unwrap_or_default(),
            token: selection.signed_token(),
            nonce: &challenge.nonce,
            platform: &client.platform,
            device_family: client.device_family.as_deref().unwrap_or_default(),
        })
    });
    let params = ConnectParams {
        min_protocol: PROTOCOL_VERSION,
        max_protocol: PROTOCOL_VERSION,
        client: WireClient {
            id: &client.id,
            version: &client.version,
            platform: &client.platform,
            mode: &client.mode,
            display_name: client.display_name.as_deref(),
            device_family: client.device_family.as_deref(),
            instance_id: client.instance_id.as_deref(),
        },
        role: &config.role,
        scopes: &selection.scopes,
        caps: config
            .caps
            .in_order_given()
            .iter()
            .filter(|cap| challenge.takes(cap))
            .map(String::as_str)
            .collect(),
        device,
        auth: WireAuth::of(selection),
    };
    serde_json::to_string(&params).expect("connect parameters are plain strings and numbers")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConnectParams<'a> {
    min_protocol: u32,
    max_protocol: u32,
    client: WireClient<'a>,
    role: &'a str,
    scopes: &'a [String],
    caps: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<Proof>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: Option<WireAuth<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireClient<'a> {
    id: &'a str,
    version: &'a str,
    platform: &'a str,
    mode: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_family: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_id: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireAuth<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bootstrap_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
}

impl<'a> WireAuth<'a> {
    /// `auth` is left out when there is nothing to present (protocol 6.3).
    fn of(selection: &Selection<'a>) -> Option<Self> {
        let auth = Self {
            token: selection.token.map(Secret::expose),
            bootstrap_token: selection.bootstrap_token.map(Secret::expose),
            device_token: selection.device_token.map(Secret::expose),
            password: selection.password.map(Secret::expose),
        };
        let any = [auth.token, auth.bootstrap_token, auth.device_token, auth.password];
        any.iter().any(Option::is_some).then_some(auth)
    }
}

/// The gateway's error with everything a decision needs, sharing the text of its frame.
pub(super) fn gateway_error(
    frame: &Payload,
    error: Option<ErrorShape<'_>>,
    payload: Option<Payload>,
) -> GatewayError {
    let Some(error) = error else {
        // A failure without an error object still failed; the defaults are those of protocol 5.8.
        return GatewayError {
            code: "UNAVAILABLE".into(),
            message: "request failed".into(),
            detail_code: None,
            details: None,
            retryable: false,
            retry_after: None,
            payload,
            close_code: None,
        };
    };
    let details = error.details.map(|raw| frame.slice(raw));
    GatewayError {
        code: error.code.into(),
        message: error.message.into(),
        detail_code: details.as_ref().and_then(|details| text_member(details, "code")),
        details,
        retryable: error.retryable,
        retry_after: error.retry_after,
        payload,
        close_code: None,
    }
}

/// A string member of a JSON object.
pub(super) fn text_member(object: &Payload, key: &str) -> Option<PeerText> {
    object.part(key)?.decode().ok()
}

/// The startup hint (protocol 17.2): how long to wait when the gateway is still starting. Such an
/// answer does not consume a backoff attempt.
pub(super) fn startup_delay(error: &GatewayError) -> Option<Duration> {
    let reason = error.details.as_ref().and_then(|details| text_member(details, "reason"));
    let starting =
        error.code == "UNAVAILABLE" && error.retryable && reason.as_deref() == Some("startup-sidecars");
    let hint = error.retry_after.unwrap_or(Duration::from_millis(500));
    starting.then(|| hint.clamp(Duration::from_millis(100), Duration::from_millis(2_000)))
}
