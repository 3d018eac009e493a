//! The words in which failed authentication is refused (protocol 5.4, 6.2, 8.2).

use super::auth::Door;
use super::connect::Connect;
use super::frame::ErrorShape;
use super::session::Refusal;

/// Why an authentication failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AuthReason {
    TokenMissing,
    TokenMismatch,
    PasswordMissing,
    PasswordMismatch,
    BootstrapTokenInvalid,
    DeviceTokenMismatch,
    ScopeMismatch,
    RateLimited { remaining_ms: u64 },
}

impl AuthReason {
    /// Whether it was a wrong secret rather than none; only these count against a client.
    pub(super) fn is_a_guess(self) -> bool {
        match self {
            AuthReason::TokenMismatch | AuthReason::PasswordMismatch => true,
            AuthReason::DeviceTokenMismatch | AuthReason::BootstrapTokenInvalid => true,
            AuthReason::TokenMissing | AuthReason::PasswordMissing => false,
            AuthReason::ScopeMismatch | AuthReason::RateLimited { .. } => false,
        }
    }

    /// `details.code`, `details.authReason` and `details.recommendedNextStep`.
    const fn details(self) -> (&'static str, &'static str, &'static str) {
        const MISSING: &str = "update_auth_configuration";
        const MISMATCH: &str = "update_auth_credentials";
        const OTHER: &str = "review_auth_configuration";
        match self {
            AuthReason::TokenMissing => ("AUTH_TOKEN_MISSING", "token_missing", MISSING),
            AuthReason::TokenMismatch => ("AUTH_TOKEN_MISMATCH", "token_mismatch", MISMATCH),
            AuthReason::PasswordMissing => ("AUTH_PASSWORD_MISSING", "password_missing", MISSING),
            AuthReason::PasswordMismatch => ("AUTH_PASSWORD_MISMATCH", "password_mismatch", MISMATCH),
            AuthReason::BootstrapTokenInvalid => {
                ("AUTH_BOOTSTRAP_TOKEN_INVALID", "bootstrap_token_invalid", OTHER)
            }
            AuthReason::DeviceTokenMismatch => {
                ("AUTH_DEVICE_TOKEN_MISMATCH", "device_token_mismatch", MISMATCH)
            }
            AuthReason::ScopeMismatch => ("AUTH_SCOPE_MISMATCH", "scope_mismatch", OTHER),
            AuthReason::RateLimited { .. } => ("AUTH_RATE_LIMITED", "rate_limited", "wait_then_retry"),
        }
    }
}

/// Who asks, as far as the hints in the messages care.
#[derive(Debug, Clone, Copy)]
enum Audience {
    LocalCli,
    RemoteCli,
    Browser,
    Other,
}

fn message(reason: AuthReason, audience: Audience) -> &'static str {
    use Audience::{Browser, LocalCli, Other, RemoteCli};
    match (reason, audience) {
        (AuthReason::TokenMissing, LocalCli) => {
            "unauthorized: gateway token missing (use this gateway's gateway.auth.token or pair the device)"
        }
        (AuthReason::TokenMissing, RemoteCli) => {
            "unauthorized: gateway token missing (set gateway.remote.token to match gateway.auth.token)"
        }
        (AuthReason::TokenMissing, Browser) => {
            "unauthorized: gateway token missing (paste in Control UI settings or openclaw doctor --generate-gateway-token; restart)"
        }
        (AuthReason::TokenMissing, Other) => {
            "unauthorized: gateway token missing (provide gateway auth token)"
        }
        (AuthReason::TokenMismatch, LocalCli) => {
            "unauthorized: gateway token mismatch (use this gateway's gateway.auth.token or pair the device)"
        }
        (AuthReason::TokenMismatch, RemoteCli) => {
            "unauthorized: gateway token mismatch (set gateway.remote.token to match gateway.auth.token)"
        }
        (AuthReason::TokenMismatch, Browser) => {
            "unauthorized: gateway token mismatch (open the dashboard URL and paste the token in Control UI settings)"
        }
        (AuthReason::TokenMismatch, Other) => {
            "unauthorized: gateway token mismatch (provide gateway auth token)"
        }
        (AuthReason::PasswordMissing, LocalCli) => {
            "unauthorized: gateway password missing (use this gateway's gateway.auth.password)"
        }
        (AuthReason::PasswordMissing, RemoteCli) => {
            "unauthorized: gateway password missing (set gateway.remote.password to match gateway.auth.password)"
        }
        (AuthReason::PasswordMissing, Browser) => {
            "unauthorized: gateway password missing (enter the password in Control UI settings)"
        }
        (AuthReason::PasswordMissing, Other) => {
            "unauthorized: gateway password missing (provide gateway auth password)"
        }
        (AuthReason::PasswordMismatch, LocalCli) => {
            "unauthorized: gateway password mismatch (use this gateway's gateway.auth.password)"
        }
        (AuthReason::PasswordMismatch, RemoteCli) => {
            "unauthorized: gateway password mismatch (set gateway.remote.password to match gateway.auth.password)"
        }
        (AuthReason::PasswordMismatch, Browser) => {
            "unauthorized: gateway password mismatch (enter the password in Control UI settings)"
        }
        (AuthReason::PasswordMismatch, Other) => {
            "unauthorized: gateway password mismatch (provide gateway auth password)"
        }
        (AuthReason::BootstrapTokenInvalid, LocalCli | RemoteCli | Browser | Other) => {
            "unauthorized: bootstrap token invalid or expired (scan a fresh setup code)"
        }
        (AuthReason::DeviceTokenMismatch, LocalCli | RemoteCli | Browser | Other) => {
            "unauthorized: device token mismatch (rotate/reissue device token)"
        }
        (AuthReason::ScopeMismatch, LocalCli | RemoteCli | Browser | Other) => {
            "unauthorized: device token scope mismatch (re-pair or approve scope upgrade)"
        }
        (AuthReason::RateLimited { .. }, LocalCli | RemoteCli | Browser | Other) => {
            "unauthorized: too many failed authentication attempts (retry later)"
        }
    }
}

/// The refusal of a failed authentication.
pub(super) fn unauthorized(connect: &Connect, door: &Door, reason: AuthReason) -> Refusal {
    let (code, auth_reason, next_step) = reason.details();
    // Only a shared token that might have been mixed up with a device token is worth that retry (protocol 5.4).
    let presented = &connect.presented;
    let retry = reason == AuthReason::TokenMismatch
        && connect.device.is_some()
        && presented.token.is_some()
        && presented.device_token.is_none();
    let next_step = if retry { "retry_with_device_token" } else { next_step };
    let details = format!(
        r#"{{"code":"{code}","authReason":"{auth_reason}","canRetryWithDeviceToken":{retry},"recommendedNextStep":"{next_step}"}}"#
    );
    let error = ErrorShape::invalid_request(message(reason, audience(connect, door))).with_details(details);
    let error = match reason {
        AuthReason::RateLimited { remaining_ms } => error.retryable(Some(remaining_ms)),
        AuthReason::TokenMissing
        | AuthReason::TokenMismatch
        | AuthReason::PasswordMissing
        | AuthReason::PasswordMismatch
        | AuthReason::BootstrapTokenInvalid
        | AuthReason::DeviceTokenMismatch
        | AuthReason::ScopeMismatch => error,
    };
    Refusal::new(code, error)
}

fn audience(connect: &Connect, door: &Door) -> Audience {
    match (&*connect.client.id, &*connect.client.mode) {
        ("cli", _) | (_, "cli") if door.is_local() => Audience::LocalCli,
        ("cli", _) | (_, "cli") => Audience::RemoteCli,
        (
            "openclaw-control-ui" | "openclaw-tui" | "openclaw-browser-copilot" | "webchat-ui" | "webchat",
            _,
        )
        | (_, "webchat") => Audience::Browser,
        (_, _) => Audience::Other,
    }
}

/// A client without the device it needs (protocol 6.2, 6.6).
#[derive(Debug, Clone, Copy)]
pub(super) enum Missing {
    Device,
    ControlUi,
}

impl Missing {
    pub(super) fn refusal(self) -> Refusal {
        match self {
            Missing::Device => {
                let error = ErrorShape::new("NOT_PAIRED", "device identity required")
                    .with_details(r#"{"code":"DEVICE_IDENTITY_REQUIRED"}"#);
                Refusal::new("DEVICE_IDENTITY_REQUIRED", error)
            }
            Missing::ControlUi => {
                let error = ErrorShape::invalid_request(
                    "control ui requires device identity (use HTTPS or localhost secure context)",
                )
                .with_details(r#"{"code":"CONTROL_UI_DEVICE_IDENTITY_REQUIRED"}"#);
                Refusal::new("CONTROL_UI_DEVICE_IDENTITY_REQUIRED", error)
            }
        }
    }
}
