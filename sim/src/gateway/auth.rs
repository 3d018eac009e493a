//! Whether a schema-valid connect is admitted, in the gateway's order of checks (protocol 3.8, 4, 6, 18.4).

use std::sync::Arc;

use super::config::Auth;
use super::connect::Connect;
use super::effect::Peer;
use super::frame::ErrorShape;
use super::handshake::startup;
use super::model::{GatewayModel, Turn};
use super::scope::Scopes;
use super::session::{Grant, Refusal};

/// The protocol version spoken.
const PROTOCOL: i64 = 4;
/// The oldest version a probe or a node may be limited to.
const PROTOCOL_MIN: i64 = 3;

type Checked<T> = Result<T, Box<Refusal>>;

impl GatewayModel {
    /// `snapshot.authMode`.
    pub(super) fn auth_mode(&self) -> &'static str {
        match &self.auth {
            Auth::None => "none",
            Auth::Token(_) => "token",
            Auth::Password(_) => "password",
        }
    }

    /// Decides on a connect. `nonce` is that of the socket's challenge.
    pub(super) fn admit(
        &mut self,
        turn: &mut Turn<'_>,
        peer: &Peer,
        nonce: &str,
        id: Arc<str>,
        connect: Connect,
    ) -> Checked<Grant> {
        let _ = nonce;
        if self.uptime(turn.now) < self.config.timing.startup {
            return Err(Box::new(startup()));
        }
        check_protocol(&connect)?;
        check_role(&connect)?;
        let shared = self.shared_verdict(&connect);
        let _ = peer;
        match shared {
            Shared::Right => {}
            Shared::Missing | Shared::Wrong => return Err(Box::new(self.unauthorized(&connect, shared))),
        }
        let scopes = self.kept_scopes(peer, &connect);
        Ok(Grant { id, scopes, connect, shared_generation: Some(self.generation), device_token: None })
    }

    fn kept_scopes(&self, _peer: &Peer, connect: &Connect) -> Scopes {
        connect.scopes.clone()
    }

    fn shared_verdict(&self, connect: &Connect) -> Shared {
        let (secret, presented) = match &self.auth {
            Auth::None => return Shared::Right,
            Auth::Token(secret) => (secret, &connect.presented.token),
            Auth::Password(secret) => (secret, &connect.presented.password),
        };
        match presented {
            None => Shared::Missing,
            Some(presented) if **presented == **secret => Shared::Right,
            Some(_) => Shared::Wrong,
        }
    }

    fn unauthorized(&self, _connect: &Connect, shared: Shared) -> Refusal {
        let (message, details) = match shared {
            Shared::Missing => (
                "unauthorized: gateway token missing (provide gateway auth token)",
                r#"{"code":"AUTH_TOKEN_MISSING","authReason":"token_missing","canRetryWithDeviceToken":false,"recommendedNextStep":"update_auth_configuration"}"#,
            ),
            Shared::Wrong | Shared::Right => (
                "unauthorized: gateway token mismatch (provide gateway auth token)",
                r#"{"code":"AUTH_TOKEN_MISMATCH","authReason":"token_mismatch","canRetryWithDeviceToken":false,"recommendedNextStep":"update_auth_credentials"}"#,
            ),
        };
        Refusal::new("AUTH_TOKEN_MISMATCH", ErrorShape::invalid_request(message).with_details(details))
    }
}

/// What the shared secret check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shared {
    Right,
    Missing,
    Wrong,
}

/// The version matrix (protocol 4).
fn check_protocol(connect: &Connect) -> Checked<()> {
    let (min, max) = (connect.min_protocol, connect.max_protocol);
    let mode = &*connect.client.mode;
    let accepted = (max >= PROTOCOL && min <= PROTOCOL)
        || (mode == "probe" && max >= PROTOCOL_MIN && min <= PROTOCOL)
        || (mode == "node" && connect.is_node() && max >= PROTOCOL_MIN && min <= PROTOCOL_MIN);
    if accepted {
        return Ok(());
    }
    let details = format!(
        r#"{{"code":"PROTOCOL_MISMATCH","clientMinProtocol":{min},"clientMaxProtocol":{max},"expectedProtocol":{PROTOCOL},"minimumProbeProtocol":{PROTOCOL_MIN}}}"#
    );
    let error = ErrorShape::invalid_request("protocol mismatch").with_details(details);
    Err(Box::new(Refusal::new("PROTOCOL_MISMATCH", error).closing(1002, "protocol mismatch")))
}

fn check_role(connect: &Connect) -> Checked<()> {
    match connect.role.as_deref() {
        None | Some("operator" | "node") => Ok(()),
        Some(_) => {
            Err(Box::new(Refusal::new("INVALID_REQUEST", ErrorShape::invalid_request("invalid role"))))
        }
    }
}
