//! What a failure of TLS means.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, OtherError, PeerIncompatible};

use super::client_certificate::ClientCertificate;
use super::verifier::GatewayVerifier;
use crate::core::{CertificateProblem, DialError, PeerProtocol, PeerText, TlsFailure, UnixTime};

/// The most names of a certificate that an error lists.
const NAMES_MAX: usize = 8;

/// What a failed handshake means; failures of the stream below, on which these were the first bytes, stay what they are.
pub(super) fn handshake_error(
    error: io::Error,
    verifier: &GatewayVerifier,
    ours: &ClientCertificate,
    first: &[u8],
) -> io::Error {
    let Some(cause) = rustls_error(&error) else { return error };
    let known = match cause {
        Error::InvalidCertificate(why) => verifier.untrusted(certificate_problem(why)),
        Error::InvalidMessage(_) => other_protocol(first),
        Error::AlertReceived(AlertDescription::HandshakeFailure) if ours.was_asked_for() => {
            Some(DialError::Tls(TlsFailure::ClientCertificate))
        }
        _ => None,
    };
    io::Error::other(known.unwrap_or_else(|| DialError::Tls(tls_failure(cause))))
}

/// What a failure behind the handshake means.
pub(super) fn stream_error(error: io::Error) -> io::Error {
    match rustls_error(&error) {
        Some(cause) => io::Error::other(DialError::Tls(tls_failure(cause))),
        None => error,
    }
}

fn rustls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// What is at the other end, unless it speaks TLS. HTTP may be the gateway's without TLS, or a captive portal's.
fn other_protocol(first: &[u8]) -> Option<DialError> {
    const HANDSHAKE_OR_ALERT: [u8; 2] = [22, 21];
    if first.first().is_none_or(|kind| HANDSHAKE_OR_ALERT.contains(kind)) {
        return None;
    }
    Some(PeerProtocol::of_first_bytes(first).map_or(DialError::NotTls, DialError::OtherProtocol))
}

pub(super) fn tls_failure(error: &Error) -> TlsFailure {
    match error {
        Error::AlertReceived(alert) => refused(*alert),
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        )
        | Error::InvalidMessage(InvalidMessage::UnknownProtocolVersion) => TlsFailure::Version,
        Error::PeerIncompatible(
            PeerIncompatible::NoCipherSuitesInCommon
            | PeerIncompatible::NoKxGroupsInCommon
            | PeerIncompatible::NoSignatureSchemesInCommon,
        ) => TlsFailure::NothingInCommon,
        Error::NoApplicationProtocol => TlsFailure::NoHttp,
        other => TlsFailure::Other(other.to_string().into()),
    }
}

fn refused(alert: AlertDescription) -> TlsFailure {
    match alert {
        AlertDescription::ProtocolVersion => TlsFailure::Version,
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            TlsFailure::NothingInCommon
        }
        AlertDescription::UnrecognisedName => TlsFailure::UnknownName,
        AlertDescription::NoApplicationProtocol => TlsFailure::NoHttp,
        // None but ours can be meant.
        AlertDescription::CertificateRequired
        | AlertDescription::NoCertificate
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA => TlsFailure::ClientCertificate,
        other => TlsFailure::Alert { code: u8::from(other), name: format!("{other:?}").into() },
    }
}

fn certificate_problem(error: &CertificateError) -> CertificateProblem {
    let seconds = |time: &rustls::pki_types::UnixTime| Some(UnixTime(time.as_secs()));
    match error {
        CertificateError::UnknownIssuer => CertificateProblem::UnknownIssuer,
        CertificateError::Expired => CertificateProblem::Expired { not_after: None },
        CertificateError::ExpiredContext { not_after, .. } => {
            CertificateProblem::Expired { not_after: seconds(not_after) }
        }
        CertificateError::NotValidYet => CertificateProblem::NotYetValid { not_before: None },
        CertificateError::NotValidYetContext { not_before, .. } => {
            CertificateProblem::NotYetValid { not_before: seconds(not_before) }
        }
        CertificateError::NotValidForName => CertificateProblem::NotForName { names: Vec::new() },
        CertificateError::NotValidForNameContext { presented, .. } => {
            CertificateProblem::NotForName { names: names(presented) }
        }
        CertificateError::Revoked => CertificateProblem::Revoked,
        CertificateError::BadSignature => CertificateProblem::BadSignature,
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            CertificateProblem::NotForServers
        }
        CertificateError::Other(OtherError(other)) => {
            let ours = other.downcast_ref::<CertificateProblem>();
            match (ours, other.downcast_ref::<webpki::Error>()) {
                (Some(problem), _) => problem.clone(),
                (None, Some(webpki::Error::CaUsedAsEndEntity)) => CertificateProblem::NotForServers,
                (None, Some(_) | None) => CertificateProblem::Unusable(other.to_string().into()),
            }
        }
        other => CertificateProblem::Unusable(other.to_string().into()),
    }
}

/// The names and addresses out of their wrappings, like `DnsName("gateway.example")`.
fn names(presented: &[String]) -> Vec<PeerText> {
    let unwrapped = presented.iter().filter_map(|name| {
        let inner = name.strip_suffix(')')?;
        let dns = inner.strip_prefix("DnsName(\"").and_then(|name| name.strip_suffix('"'));
        dns.or_else(|| inner.strip_prefix("IpAddress("))
    });
    unwrapped.map(PeerText::from).take(NAMES_MAX).collect()
}
