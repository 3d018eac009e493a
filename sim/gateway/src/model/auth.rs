//! Whether a schema-valid connect is admitted, in the gateway's order of checks (protocol 3.8, 4, 6, 18.4).

use std::sync::Arc;

use super::config::Auth;
use super::connect::Connect;
use super::device;
use super::effect::Peer;
use super::frame::ErrorShape;
use super::gateway_model::{GatewayModel, Turn};
use super::handshake::startup;
use super::lockout::Bucket;
use super::pairing::{Paired, TokenVerdict};
use super::rejection::{AuthReason, Missing, unauthorized};
use super::scope::Scopes;
use super::session::{Grant, Refusal};

/// The protocol version spoken.
pub(super) const PROTOCOL: i64 = 4;
/// The oldest version a probe or a node may be limited to.
const PROTOCOL_MIN: i64 = 3;

/// A check's result; refusals are large and rare.
pub(super) type Checked<T> = Result<T, Box<Refusal>>;

/// The socket a connect arrived on.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) peer: Peer,
    /// The nonce of its challenge.
    pub(super) nonce: Arc<str>,
}

impl Door {
    /// Whether the client runs on the gateway's machine and is not a browser (protocol 7.5, 18.4).
    pub(super) fn is_local(&self) -> bool {
        self.peer.loopback && self.peer.origin.is_none()
    }
}

/// What the check of the shared secret found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shared {
    /// The gateway asks for none.
    Open,
    Right,
    Missing,
    Wrong,
    /// Nobody looked: the client is locked out for so many more milliseconds.
    Locked(u64),
}

/// What finally admitted a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    None,
    Shared,
    DeviceToken,
    /// A setup code, which is spent with the hello.
    Bootstrap,
}

impl GatewayModel {
    /// `snapshot.authMode`.
    pub(super) fn auth_mode(&self) -> &'static str {
        match &self.auth {
            Auth::None => "none",
            Auth::Token(_) => "token",
            Auth::Password(_) => "password",
        }
    }

    /// Decides on a connect.
    pub(super) fn admit(
        &mut self,
        turn: &mut Turn<'_>,
        door: &Door,
        id: Arc<str>,
        connect: Connect,
    ) -> Checked<Grant> {
        if connect.is_worker() {
            return Err(Box::new(Refusal::silent(1008, "invalid-handshake")));
        }
        if self.up_for(turn.now) < self.config.timing.startup {
            return Err(Box::new(startup()));
        }
        check_protocol(&connect)?;
        check_role(&connect)?;
        self.check_origin(&door.peer)?;
        let bucket = Bucket::of(&door.peer);
        let shared = self.check_shared(turn, &bucket, &connect);
        if let Some(proof) = &connect.device {
            let unix_ms = self.unix_ms(turn.now);
            let signatures = self.config.pairing.verify_signatures;
            device::verify(proof, &connect, &door.nonce, unix_ms, signatures, &mut self.last_key)?;
        } else {
            self.check_missing_device(turn, door, &bucket, &connect, shared)?;
        }
        let method = self.check_credential(turn, door, &bucket, &connect, shared)?;
        self.lockout.succeeded(&bucket);
        let paired = self.check_pairing(turn, door, &connect, method)?;
        Ok(self.grant(turn, door, id, connect, method, paired))
    }

    /// Any client that sends an `Origin` is checked (protocol 18.4). Same-origin private hosts are not modelled.
    fn check_origin(&self, peer: &Peer) -> Checked<()> {
        let Some(origin) = &peer.origin else { return Ok(()) };
        let listed = |allowed: &String| allowed == "*" || **allowed == **origin;
        if self.config.allowed_origins.iter().any(listed) || (peer.loopback && is_loopback_origin(origin)) {
            return Ok(());
        }
        let error = ErrorShape::invalid_request(
            "origin not allowed (open the Control UI from the gateway host or allow it in gateway.controlUi.allowedOrigins)",
        )
        .with_details(r#"{"code":"CONTROL_UI_ORIGIN_NOT_ALLOWED","reason":"origin not allowed"}"#);
        Err(Box::new(Refusal::new("CONTROL_UI_ORIGIN_NOT_ALLOWED", error)))
    }

    fn check_shared(&mut self, turn: &Turn<'_>, bucket: &Bucket, connect: &Connect) -> Shared {
        let (secret, presented) = match &self.auth {
            Auth::None => return Shared::Open,
            Auth::Token(secret) => (secret, &connect.presented.token),
            Auth::Password(secret) => (secret, &connect.presented.password),
        };
        let Some(presented) = presented else { return Shared::Missing };
        // A locked out client is refused even with the right secret (protocol 8.2).
        if let Some(remaining) = self.lockout.remaining(bucket, turn.now, &self.config.rate_limit) {
            return Shared::Locked(remaining.as_millis() as u64);
        }
        if **presented == **secret { Shared::Right } else { Shared::Wrong }
    }

    /// Who may connect without a device (protocol 6.2, 6.6).
    fn check_missing_device(
        &mut self,
        turn: &Turn<'_>,
        door: &Door,
        bucket: &Bucket,
        connect: &Connect,
        shared: Shared,
    ) -> Checked<()> {
        if connect.is_control_ui() {
            return Err(Box::new(Missing::ControlUi.refusal()));
        }
        match shared {
            Shared::Open | Shared::Right if !connect.is_node() => Ok(()),
            Shared::Open | Shared::Right => Err(Box::new(Missing::Device.refusal())),
            Shared::Missing | Shared::Wrong | Shared::Locked(_) if connect.presents_shared_secret() => {
                Err(Box::new(self.refuse_shared(turn, door, bucket, connect, shared)))
            }
            Shared::Missing | Shared::Wrong | Shared::Locked(_) => Err(Box::new(Missing::Device.refusal())),
        }
    }

    /// The verdict on the credential, after the device proof (protocol 6.5, 7.4).
    fn check_credential(
        &mut self,
        turn: &Turn<'_>,
        door: &Door,
        bucket: &Bucket,
        connect: &Connect,
        shared: Shared,
    ) -> Checked<Method> {
        match shared {
            Shared::Open => return Ok(Method::None),
            Shared::Right => return Ok(Method::Shared),
            Shared::Missing | Shared::Wrong | Shared::Locked(_) => {}
        }
        let presented = &connect.presented;
        let explicit = presented.device_token.is_some();
        let candidate = presented.device_token.as_ref().or(presented.token.as_ref());
        if let (Some(candidate), Some(device)) = (candidate, &connect.device) {
            match self.pairing.check_token(device, connect.is_node(), candidate, &connect.scopes) {
                TokenVerdict::Right => return Ok(Method::DeviceToken),
                TokenVerdict::ScopeMismatch => {
                    return Err(Box::new(self.unauthorized(
                        turn,
                        door,
                        bucket,
                        connect,
                        AuthReason::ScopeMismatch,
                    )));
                }
                // Where no shared secret was presented, none was guessed: it is neither counted nor answered late.
                TokenVerdict::Wrong if explicit && shared == Shared::Missing => {
                    return Err(Box::new(unauthorized(connect, door, AuthReason::DeviceTokenMismatch)));
                }
                TokenVerdict::Wrong if explicit => {
                    let reason = AuthReason::DeviceTokenMismatch;
                    return Err(Box::new(self.unauthorized(turn, door, bucket, connect, reason)));
                }
                TokenVerdict::Wrong => {}
            }
        }
        if candidate.is_none()
            && presented.password.is_none()
            && let Some(bootstrap) = &presented.bootstrap_token
        {
            if connect.device.is_some()
                && self.config.pairing.bootstrap_tokens.iter().any(|it| **it == **bootstrap)
            {
                return Ok(Method::Bootstrap);
            }
            let reason = AuthReason::BootstrapTokenInvalid;
            return Err(Box::new(self.unauthorized(turn, door, bucket, connect, reason)));
        }
        Err(Box::new(self.refuse_shared(turn, door, bucket, connect, shared)))
    }

    fn refuse_shared(
        &mut self,
        turn: &Turn<'_>,
        door: &Door,
        bucket: &Bucket,
        connect: &Connect,
        shared: Shared,
    ) -> Refusal {
        let token = !matches!(self.auth, Auth::Password(_));
        let reason = match shared {
            Shared::Locked(remaining_ms) => AuthReason::RateLimited { remaining_ms },
            Shared::Missing | Shared::Open | Shared::Right if token => AuthReason::TokenMissing,
            Shared::Missing | Shared::Open | Shared::Right => AuthReason::PasswordMissing,
            Shared::Wrong if token => AuthReason::TokenMismatch,
            Shared::Wrong => AuthReason::PasswordMismatch,
        };
        self.unauthorized(turn, door, bucket, connect, reason)
    }

    /// A failed authentication: counted, and answered late for exempt loopback clients (protocol 8.1, 8.3).
    fn unauthorized(
        &mut self,
        turn: &Turn<'_>,
        door: &Door,
        bucket: &Bucket,
        connect: &Connect,
        reason: AuthReason,
    ) -> Refusal {
        let mut refusal = unauthorized(connect, door, reason);
        if reason.is_a_guess() {
            refusal.delay = self.lockout.failed(bucket, turn.now, &self.config.rate_limit);
        }
        refusal
    }

    fn grant(
        &mut self,
        turn: &Turn<'_>,
        door: &Door,
        id: Arc<str>,
        connect: Connect,
        method: Method,
        paired: Option<Paired>,
    ) -> Grant {
        let issued_at_ms = self.unix_ms(turn.now);
        let (scripted, random) = (&mut self.config.scripted.device_tokens, &mut self.random);
        let mut secret = || scripted.pop_front().unwrap_or_else(|| random.secret(43));
        let is_bootstrap = method == Method::Bootstrap;
        let other = paired.as_ref().filter(|_| is_bootstrap).map(Paired::in_other_role);
        let device_token = paired.and_then(|paired| self.pairing.issue(&paired, &mut secret, issued_at_ms));
        let handed_over = other.and_then(|other| self.pairing.hand_over(&other, &mut secret, issued_at_ms));
        let shared_generation = match method {
            // A setup code is no shared secret.
            Method::None | Method::Bootstrap => None,
            Method::Shared => Some(self.generation),
            // Tokens issued under a shared secret end with it (protocol 6.7), but are accepted again afterwards.
            Method::DeviceToken => Some(self.generation),
        };
        let scopes = if connect.device.is_some() || keeps_scopes(&connect, door) {
            connect.scopes.clone()
        } else {
            Scopes::default()
        };
        Grant { id, connect, scopes, shared_generation, device_token, handed_over, method }
    }
}

/// Device-less clients whose requested scopes are kept; all others get none (protocol 6.6).
fn keeps_scopes(connect: &Connect, door: &Door) -> bool {
    let identity = (&*connect.client.id, &*connect.client.mode);
    door.is_local() && matches!(identity, ("gateway-client", "backend") | ("cli", "cli"))
}

fn is_loopback_origin(origin: &str) -> bool {
    let Some(host) = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")) else {
        return false;
    };
    let host = match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        Some(_) | None => host,
    };
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
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
