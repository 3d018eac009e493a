//! What to do after a connection or an attempt ended: the only place that decides it.
//!
//! A refusal of `connect` is decided by the first line of this table that fits:
//!
//! | the gateway says | what follows |
//! |---|---|
//! | `UNAVAILABLE`, retryable, because it is starting | it is asked again soon (protocol 17.2) |
//! | `wait_then_retry`, or `pauseReconnect: false` | a wait, of `retryAfterMs` at least, whatever the code |
//! | `retry_with_device_token`, `canRetryWithDeviceToken` or `AUTH_TOKEN_MISMATCH` | one retry with the stored token, where there is one and it may be told (protocol 7.10) |
//! | `pauseReconnect: true`; `update_…` or `review_…`, known or not; `retry_with_device_token` where that cannot help | a pause, whatever the code and `retryable` |
//! | no advice or an unknown one, and a code of the list (protocol 9.1) | a pause, whatever `retryable` |
//! | the same, and the top-level code `FORBIDDEN` or `NOT_PAIRED`, and not `retryable` | a pause |
//! | anything else | a wait, of `retryAfterMs` at least |
//!
//! The code says which [`PauseReason`] it is; where it says nothing, the advice does.

use std::sync::Arc;
use std::time::Duration;

use super::close_reason::{pairing_request_in, refusal_of_close};
use super::error::{AfterApproval, ConnectionError, DialError, GatewayError, PauseReason};
use super::handshake::{startup_delay, text_member};
use super::peer_text::PeerText;
use super::upgrade::UpgradeRemedy;

/// The wait where a gateway counts wrong credentials and does not say how long: the time over which it counts them
/// (protocol 8.1).
const RATE_LIMIT_WINDOW: Duration = Duration::from_secs(60);

/// What comes next while a connection is wanted.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decision {
    /// Dial again after the backoff, but not before `floor` has passed.
    Retry { floor: Option<Duration> },
    /// Dial again after this delay, without counting the attempt (protocol 17.2).
    RetryStartup { delay: Duration },
    /// Dial again soon, with the stored device token beside the explicit one; once.
    RetryDeviceToken,
    /// Wait until somebody acts.
    Pause(Arc<PauseReason>),
}

/// Classifies the end of a connection. Unknown errors retry: a wedge is worse than a slow loop,
/// and the backoff keeps the loop slow.
pub(super) fn decide(error: &ConnectionError) -> Decision {
    match error {
        ConnectionError::Refused(refusal) => after_refusal(refusal),
        ConnectionError::Closed { code, reason } => match refusal_of_close(*code, reason) {
            Some(refusal) => after_close(refusal),
            None => Decision::Retry { floor: None },
        },
        ConnectionError::ProtocolVersion { offered, answered } => {
            let (offered, answered) = (*offered, *answered);
            Decision::Pause(Arc::new(PauseReason::ProtocolVersion { offered, answered }))
        }
        ConnectionError::Dial(error) => after_dial(error),
        ConnectionError::Timeout { .. }
        | ConnectionError::Handshake(_)
        | ConnectionError::BadMember(_)
        | ConnectionError::Lost(_)
        | ConnectionError::Silent { .. }
        | ConnectionError::SlowMessage { .. }
        | ConnectionError::PingFlood { .. }
        | ConnectionError::TokenStore(_)
        | ConnectionError::Superseded
        | ConnectionError::ShutDown => Decision::Retry { floor: None },
    }
}

/// A dial is tried again, unless the answer shows that no time mends it.
fn after_dial(error: &DialError) -> Decision {
    match error {
        DialError::Upgrade(refusal) => match refusal.remedy() {
            UpgradeRemedy::Wait => Decision::Retry { floor: refusal.retry_after },
            UpgradeRemedy::Credentials
            | UpgradeRemedy::Redirect
            | UpgradeRemedy::Tls
            | UpgradeRemedy::Endpoint => Decision::Pause(Arc::new(PauseReason::Upgrade(refusal.clone()))),
        },
        DialError::Unsupported(_) | DialError::OtherProtocol(_) => {
            Decision::Pause(Arc::new(PauseReason::Endpoint(error.clone())))
        }
        DialError::Proxy { problem, .. } if problem.is_permanent() => {
            Decision::Pause(Arc::new(PauseReason::Proxy(error.clone())))
        }
        DialError::Proxy { problem, .. } => Decision::Retry { floor: problem.retry_after() },
        // A name is entered, a name server comes back, an interface goes up, descriptors are given back.
        DialError::Refused
        | DialError::Unreachable
        | DialError::TimedOut
        | DialError::Addresses(_)
        | DialError::Name { .. }
        | DialError::Zone { .. }
        | DialError::System(_)
        | DialError::Denied
        | DialError::Reset
        | DialError::Unanswered
        | DialError::Handshake(_)
        | DialError::UpgradeTooLong { .. }
        | DialError::NotHttp { .. }
        // A captive portal goes away; a certificate is renewed, an authority installed, a clock set.
        | DialError::Certificate { .. }
        | DialError::TrustStore(_)
        | DialError::NotTls
        | DialError::Tls(_)
        | DialError::Io(_) => Decision::Retry { floor: None },
    }
}

/// The table of this module, but for its third line, which needs to know what was presented.
fn after_refusal(refusal: &GatewayError) -> Decision {
    if let Some(delay) = startup_delay(refusal) {
        return Decision::RetryStartup { delay };
    }
    let listed = || pause_of_code(refusal);
    let reason = match Advice::of(refusal) {
        Advice::Wait => None,
        Advice::MendCredentials | Advice::RetryWithDeviceToken => {
            Some(listed().unwrap_or_else(|| PauseReason::Credentials(refusal.clone())))
        }
        Advice::Person(step) => Some(
            listed()
                .or_else(|| pause_of_top_code(refusal))
                .unwrap_or_else(|| PauseReason::Advised { step: step.into(), error: refusal.clone() }),
        ),
        Advice::Nothing => listed().or_else(|| pause_of_top_code(refusal)),
    };
    match reason {
        Some(reason) => Decision::Pause(Arc::new(reason)),
        None => Decision::Retry { floor: floor(refusal) },
    }
}

/// A close gives no advice. What it says waits for a person, but for too many attempts, which time mends.
fn after_close(refusal: GatewayError) -> Decision {
    if refusal.detail_code.as_deref() == Some("AUTH_RATE_LIMITED") {
        return Decision::Retry { floor: floor(&refusal) };
    }
    let reason = pause_of_code(&refusal).or_else(|| pause_of_top_code(&refusal));
    Decision::Pause(Arc::new(reason.unwrap_or(PauseReason::Credentials(refusal))))
}

/// Whether the gateway advises to wait and nothing else: then no other attempt comes first.
pub(super) fn advises_to_wait(refusal: &GatewayError) -> bool {
    Advice::of(refusal) == Advice::Wait
}

/// What the gateway advises about the next attempt (protocol 5.4, 7.7).
#[derive(Debug, PartialEq, Eq)]
enum Advice {
    Wait,
    /// To update or review what authenticates.
    MendCredentials,
    /// To update or review something that this version does not know.
    Person(String),
    RetryWithDeviceToken,
    /// Nothing, or nothing that this version knows.
    Nothing,
}

impl Advice {
    fn of(refusal: &GatewayError) -> Self {
        let Some(details) = &refusal.details else { return Self::Nothing };
        let step = text_member(details, "recommendedNextStep");
        let step = step.as_deref().map(|step| step.trim().to_ascii_lowercase()).unwrap_or_default();
        let pauses = details.part("pauseReconnect");
        let pauses = pauses.as_ref().map(|flag| flag.get());
        match &*step {
            "wait_then_retry" => Self::Wait,
            _ if pauses == Some("false") => Self::Wait,
            "retry_with_device_token" => Self::RetryWithDeviceToken,
            _ if step.starts_with("update_auth_") || step.starts_with("review_auth_") => {
                Self::MendCredentials
            }
            _ if step.starts_with("update_") || step.starts_with("review_") => Self::Person(step),
            _ if pauses == Some("true") => Self::Person("pauseReconnect".to_owned()),
            _ => Self::Nothing,
        }
    }
}

/// The gateway's wish for the wait, or what is known where it has none.
fn floor(refusal: &GatewayError) -> Option<Duration> {
    let limited = refusal.detail_code.as_deref() == Some("AUTH_RATE_LIMITED");
    refusal.retry_after.or(limited.then_some(RATE_LIMIT_WINDOW))
}

/// The pause list of protocol 9.1. `DEVICE_AUTH_*` are not on it: a proof is made anew each time.
fn pause_of_code(refusal: &GatewayError) -> Option<PauseReason> {
    match refusal.detail_code.as_deref()? {
        "PAIRING_REQUIRED" => Some(pairing(refusal)),
        "PAIRING_REJECTED" => Some(PauseReason::PairingRejected(refusal.clone())),
        "PAIRING_EXPIRED" => Some(PauseReason::PairingExpired(refusal.clone())),
        "OPERATOR_ACCESS_DENIED" => Some(PauseReason::AccessDenied(refusal.clone())),
        "PROTOCOL_MISMATCH" | "CLIENT_VERSION_MISMATCH" | "CONTROL_UI_BUILD_MISMATCH" => {
            Some(PauseReason::Protocol(refusal.clone()))
        }
        "AUTH_TOKEN_MISSING"
        | "AUTH_TOKEN_MISMATCH"
        | "AUTH_TOKEN_NOT_CONFIGURED"
        | "AUTH_BOOTSTRAP_TOKEN_INVALID"
        | "AUTH_PASSWORD_MISSING"
        | "AUTH_PASSWORD_MISMATCH"
        | "AUTH_PASSWORD_NOT_CONFIGURED"
        | "AUTH_RATE_LIMITED"
        | "AUTH_DEVICE_TOKEN_MISMATCH"
        | "AUTH_SCOPE_MISMATCH"
        | "AUTH_IDENTITY_HEADER_REQUIRED"
        | "AUTH_VERIFIED_USER_REQUIRED"
        | "CONTROL_UI_DEVICE_IDENTITY_REQUIRED"
        | "DEVICE_IDENTITY_REQUIRED" => Some(PauseReason::Credentials(refusal.clone())),
        _ => None,
    }
}

/// The top-level codes that say by themselves that a person must act.
fn pause_of_top_code(refusal: &GatewayError) -> Option<PauseReason> {
    match &*refusal.code {
        "FORBIDDEN" if !refusal.retryable => Some(PauseReason::AccessDenied(refusal.clone())),
        "NOT_PAIRED" if !refusal.retryable => Some(pairing(refusal)),
        _ => None,
    }
}

fn pairing(refusal: &GatewayError) -> PauseReason {
    PauseReason::Pairing {
        request_id: pairing_request(refusal),
        then: AfterApproval::Resume,
        error: refusal.clone(),
    }
}

/// The pairing request's id if it has the form of protocol 7.6; anything else is dropped, because
/// people paste it into commands.
pub(super) fn pairing_request(refusal: &GatewayError) -> Option<PeerText> {
    let named = refusal.details.as_ref().and_then(|details| text_member(details, "requestId"));
    let id = match refusal.close_code {
        Some(_) => pairing_request_in(&refusal.message).map(Into::into),
        None => named,
    }?;
    let well_formed = id.len() <= 128
        && id.starts_with(|first: char| first.is_ascii_alphanumeric())
        && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-'));
    well_formed.then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::payload::Payload;
    use crate::core::tls::{CertificateProblem, PresentedCertificate, TlsFailure};
    use crate::core::upgrade::{PeerProtocol, UpgradeRefusal};

    fn refused(details: &str, retry_after: Option<Duration>) -> Decision {
        let details = Payload::from_text(details);
        decide(&ConnectionError::Refused(GatewayError {
            code: "UNAVAILABLE".into(),
            message: "no".into(),
            detail_code: text_member(&details, "code"),
            details: Some(details),
            retryable: true,
            retry_after,
            payload: None,
            close_code: None,
        }))
    }

    fn pauses(details: &str) -> bool {
        matches!(refused(details, None), Decision::Pause(_))
    }

    #[test]
    fn no_storm_terminal_refusals_pause() {
        for code in
            ["AUTH_TOKEN_MISMATCH", "AUTH_RATE_LIMITED", "PROTOCOL_MISMATCH", "DEVICE_IDENTITY_REQUIRED"]
        {
            assert!(pauses(&format!(r#"{{"code":"{code}"}}"#)), "{code} must pause");
        }
        for code in ["DEVICE_AUTH_SIGNATURE_INVALID", "SOMETHING_NEW"] {
            assert!(!pauses(&format!(r#"{{"code":"{code}"}}"#)), "{code} must retry");
        }
    }

    /// Renewals, captive portals, clocks and trust stores mend themselves without a word to this client.
    #[test]
    fn no_wedge_what_tls_comes_to_is_tried_again() {
        let presented = Arc::new(PresentedCertificate::new(b"certificate", None, true));
        let untrusted = [
            CertificateProblem::UnknownIssuer,
            CertificateProblem::PinMismatch,
            CertificateProblem::Expired { not_after: None },
            CertificateProblem::NotYetValid { not_before: None },
            CertificateProblem::NotForName { names: Vec::new() },
            CertificateProblem::NotForServers,
            CertificateProblem::Revoked,
            CertificateProblem::BadSignature,
            CertificateProblem::Unusable("x".into()),
        ];
        let untrusted =
            untrusted.map(|reason| DialError::Certificate { presented: Arc::clone(&presented), reason });
        let failed = [
            TlsFailure::TimedOut,
            TlsFailure::Version,
            TlsFailure::NothingInCommon,
            TlsFailure::UnknownName,
            TlsFailure::ClientCertificate,
            TlsFailure::NoHttp,
            TlsFailure::Alert { code: 80, name: "InternalError".into() },
            TlsFailure::Other("x".into()),
        ];
        let others = [DialError::TrustStore("x".into()), DialError::NotTls];
        for error in untrusted.into_iter().chain(failed.map(DialError::Tls)).chain(others) {
            let decision = decide(&ConnectionError::Dial(error.clone()));
            assert_eq!(decision, Decision::Retry { floor: None }, "{error}");
        }
    }

    fn upgraded(status: u16, retry_after: Option<Duration>) -> Decision {
        let refusal = UpgradeRefusal { retry_after, ..UpgradeRefusal::new(status) };
        decide(&ConnectionError::Dial(DialError::Upgrade(Box::new(refusal))))
    }

    #[test]
    fn no_storm_a_refused_upgrade_pauses_where_no_time_mends_it() {
        for status in [200, 204, 301, 302, 303, 307, 308, 400, 401, 402, 403, 404, 405, 407, 410, 426, 451] {
            assert!(matches!(upgraded(status, None), Decision::Pause(_)), "{status} must pause");
        }
        for status in [408, 425, 429, 500, 501, 502, 503, 504, 520, 599, 999] {
            assert_eq!(upgraded(status, None), Decision::Retry { floor: None }, "{status} must retry");
        }
    }

    /// Who says when to come again does not mean never.
    #[test]
    fn no_storm_a_hint_of_http_is_a_floor_for_every_status() {
        let floor = Some(Duration::from_secs(60));
        for status in [302, 403, 404, 413, 429, 500, 503] {
            assert_eq!(upgraded(status, floor), Decision::Retry { floor }, "{status}");
        }
    }

    #[test]
    fn no_storm_a_port_of_another_protocol_pauses() {
        let other = DialError::OtherProtocol(PeerProtocol::Tls);
        let expected = Decision::Pause(Arc::new(PauseReason::Endpoint(other.clone())));
        assert_eq!(decide(&ConnectionError::Dial(other)), expected);
        let unknown = DialError::NotHttp { start: "?".into() };
        assert_eq!(decide(&ConnectionError::Dial(unknown)), Decision::Retry { floor: None });
    }

    #[test]
    fn no_storm_pairing_pauses_unless_told_to_wait() {
        assert!(pauses(r#"{"code":"PAIRING_REQUIRED"}"#));
        assert!(!pauses(r#"{"code":"PAIRING_REQUIRED","pauseReconnect":false}"#));
        assert!(!pauses(r#"{"code":"PAIRING_REQUIRED","recommendedNextStep":"wait_then_retry"}"#));
    }

    #[test]
    fn an_unsafe_pairing_request_id_is_dropped() {
        let id = |details: &str| match refused(details, None) {
            Decision::Pause(reason) => match &*reason {
                PauseReason::Pairing { request_id, .. } => request_id.clone(),
                other => panic!("not a pairing pause: {other}"),
            },
            other => panic!("not a pause: {other:?}"),
        };
        assert_eq!(id(r#"{"code":"PAIRING_REQUIRED","requestId":"r-1"}"#).as_deref(), Some("r-1"));
        assert_eq!(id(r#"{"code":"PAIRING_REQUIRED","requestId":"$(rm)"}"#), None);
    }

    #[test]
    fn startup_is_retried_soon_and_a_hint_is_a_floor() {
        let startup = refused(r#"{"reason":"startup-sidecars"}"#, Some(Duration::from_secs(60)));
        assert_eq!(startup, Decision::RetryStartup { delay: Duration::from_secs(2) });
        let hinted = refused("{}", Some(Duration::from_secs(60)));
        assert_eq!(hinted, Decision::Retry { floor: Some(Duration::from_secs(60)) });
    }
}
