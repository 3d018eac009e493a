//! What a person at a terminal can do about a connection that fails.

use onesocket::core::{
    CertificateProblem, ConnectionError, DialError, Pin, PresentedCertificate, TlsFailure,
};

/// Whether a command that has seconds must not spend them on it: somebody has to do something about the certificate, the
/// url or the gateway's TLS first. A client that stays goes on trying.
pub(super) fn outlasts_a_command(error: &ConnectionError) -> bool {
    let ConnectionError::Dial(error) = error else { return false };
    match error {
        DialError::Certificate { .. } | DialError::NotTls => true,
        DialError::Tls(
            TlsFailure::Version
            | TlsFailure::NothingInCommon
            | TlsFailure::UnknownName
            | TlsFailure::ClientCertificate
            | TlsFailure::NoHttp,
        ) => true,
        // A handshake that is late, alerts that say nothing of the kind, and what has nothing to do with TLS.
        _ => false,
    }
}

/// What goes behind the text of an error that does not say it by itself.
pub(super) fn advice(error: &ConnectionError) -> String {
    match error {
        ConnectionError::Dial(DialError::Certificate { presented, reason }) => pin(presented, reason),
        ConnectionError::Dial(DialError::Refused) => {
            "; is the gateway running, and is this its port?".to_owned()
        }
        ConnectionError::Dial(DialError::Unreachable | DialError::TimedOut) => {
            "; is this its address, and does a firewall stand in between?".to_owned()
        }
        _ => String::new(),
    }
}

/// The argument that takes the certificate from now on, if a pin can help.
fn pin(presented: &PresentedCertificate, reason: &CertificateProblem) -> String {
    let may_be_pinned = match reason {
        CertificateProblem::UnknownIssuer
        | CertificateProblem::PinMismatch
        | CertificateProblem::Expired { .. }
        | CertificateProblem::NotYetValid { .. }
        | CertificateProblem::NotForName { .. }
        | CertificateProblem::NotForServers => true,
        // It is somebody else's, or as good as that; and so may be what a later version knows.
        _ => false,
    };
    let pin = presented.public_key.map_or(Pin::from(presented.certificate), Pin::from);
    if may_be_pinned {
        format!("; if the gateway's owner confirms that it is theirs, add --pin {pin}")
    } else {
        String::new()
    }
}
