//! What a person can do about a gateway whose certificate was not taken.

use onesocket::core::{CertificateProblem, ConnectionError, DialError, Pin};

/// What goes behind the text of an error, if a pin can help: the argument that takes the certificate from now on.
pub(super) fn advice(error: &ConnectionError) -> String {
    let ConnectionError::Dial(DialError::Certificate { presented, reason }) = error else {
        return String::new();
    };
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
