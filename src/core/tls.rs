//! What can be said of a gateway when TLS comes to nothing.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::certificate::{CertificatePin, PublicKeyPin};
use super::peer_text::PeerText;

/// The certificate that a gateway presented and that was not taken, for an app that asks its user whether to pin it.
///
/// Nothing of it is true because it is written there: whoever is at the other end made it. A user can only compare
/// the fingerprints with those that the gateway's owner names.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PresentedCertificate {
    /// Its fingerprint, which changes when it is renewed.
    pub certificate: CertificatePin,
    /// Its public key, which may outlive it. `None` if none could be read.
    pub public_key: Option<PublicKeyPin>,
    /// Whether it names itself as its issuer, like a certificate that a gateway made for itself.
    pub is_self_issued: bool,
    /// The certificate in DER, for those who want to show more of it. `Debug` does not show it.
    pub der: Arc<[u8]>,
}

impl PresentedCertificate {
    /// A certificate in DER, with what was read of it.
    #[must_use]
    pub fn new(der: &[u8], public_key: Option<PublicKeyPin>, is_self_issued: bool) -> Self {
        Self { certificate: CertificatePin::of_der(der), public_key, is_self_issued, der: Arc::from(der) }
    }
}

impl fmt::Display for PresentedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_self_issued { "self-signed " } else { "" };
        write!(f, "the {kind}certificate {}", self.certificate)?;
        match self.public_key {
            Some(key) => write!(f, " with the public key {key}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for PresentedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresentedCertificate")
            .field("certificate", &self.certificate)
            .field("public_key", &self.public_key)
            .field("is_self_issued", &self.is_self_issued)
            .finish_non_exhaustive()
    }
}

/// Why a certificate was not taken. The text says what to do, and goes on after "it".
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CertificateProblem {
    /// No authority that the system trusts has signed it: install its authority, or pin it.
    #[error("is signed by no authority that this system trusts; install that authority, or pin it")]
    UnknownIssuer,
    /// It matches none of the pins. If the gateway was renewed, pin the new one; if not, it is somebody else's.
    #[error("is not the pinned one; if the gateway's certificate was renewed, pin the new one")]
    PinMismatch,
    /// Its time is over: the gateway's owner must renew it. Or this machine's clock is wrong.
    #[error("has expired{}; renew it, if this machine's clock is right", since(" on ", *not_after))]
    Expired {
        /// The last second of its time, where the system tells.
        not_after: Option<UnixTime>,
    },
    /// Its time has not come. Mostly, this machine's clock is wrong.
    #[error("is not valid yet{}; is this machine's clock right?", since(", but from ", *not_before))]
    NotYetValid {
        /// The first second of its time, where the system tells.
        not_before: Option<UnixTime>,
    },
    /// It is for other names than the one in the url.
    #[error("is not for this name{}; use a url with a name that it is for, or pin it", listed(names))]
    NotForName {
        /// The names that it is for, where the system tells.
        names: Vec<PeerText>,
    },
    /// It is made for something else than a server: for clients, or for an authority, like those that
    /// `openssl req -x509` makes by default. Make another, or pin it.
    #[error("is not made for a server, but for an authority or a client; make another, or pin it")]
    NotForServers,
    /// Its authority has taken it back: the gateway's owner must replace it.
    #[error("was revoked by its authority; replace it")]
    Revoked,
    /// Whoever presented it did not show that they have its key: it is somebody else's, or the key is an RSA key of less
    /// than 2,048 bits, which proves nothing.
    #[error("is somebody else's, since whoever presented it did not prove its key; or the key is too short")]
    BadSignature,
    /// It cannot be used otherwise.
    #[error("cannot be used: {0}")]
    Unusable(PeerText),
}

/// Names that are shown of a certificate that has many.
const SHOWN_NAMES_MAX: usize = 4;

fn since(word: &str, time: Option<UnixTime>) -> String {
    time.map(|time| format!("{word}{time}")).unwrap_or_default()
}

fn listed(names: &[PeerText]) -> String {
    let shown: Vec<String> = names.iter().take(SHOWN_NAMES_MAX).map(PeerText::to_string).collect();
    match names.len().saturating_sub(SHOWN_NAMES_MAX) {
        _ if names.is_empty() => String::new(),
        0 => format!(", but for {}", shown.join(", ")),
        more => format!(", but for {} and {more} more", shown.join(", ")),
    }
}

/// Why TLS came to nothing, the certificate apart.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TlsFailure {
    /// The gateway, or whatever answers for it, did not go on with the handshake.
    #[error("the handshake did not end in time")]
    TimedOut,
    /// The gateway speaks no version from TLS 1.2 on.
    #[error("the gateway speaks neither TLS 1.2 nor 1.3: update it, or what stands before it")]
    Version,
    /// The gateway takes none of the algorithms, or refuses the handshake without saying why.
    #[error("the gateway and this client share no algorithm: look at the gateway's TLS settings")]
    NothingInCommon,
    /// The gateway serves no such name.
    #[error("the gateway does not serve this name: use a url with a name that it knows")]
    UnknownName,
    /// The gateway wants a certificate of the client, or takes another one than it was shown.
    #[error("the gateway wants a certificate of the client that it trusts: give the network one")]
    ClientCertificate,
    /// The gateway does not serve HTTP/1.1, which a websocket begins with.
    #[error("the gateway does not serve HTTP/1.1 behind TLS")]
    NoHttp,
    /// The gateway ended the handshake with another alert (RFC 8446, section 6).
    #[error("the gateway ended TLS with the alert {code} ({name})")]
    Alert {
        /// Its number.
        code: u8,
        /// Its name.
        name: PeerText,
    },
    /// Anything else.
    #[error("{0}")]
    Other(PeerText),
}

/// A point in time as certificates name it: seconds since 1970, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnixTime(pub u64);

/// Like `2026-11-25 14:22:48 UTC`.
impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY: u64 = 24 * 60 * 60;
        let (year, month, day) = date(self.0 / DAY);
        let (hour, minute, second) = (self.0 % DAY / 3_600, self.0 % 3_600 / 60, self.0 % 60);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
    }
}

/// Year, month and day of a day since 1970 in the Gregorian calendar.
fn date(days_since_1970: u64) -> (u64, u64, u64) {
    const FROM_0000_03_01_TO_1970: u64 = 719_468;
    const DAYS_IN_400_YEARS: u64 = 146_097;
    // A year that begins in March ends with its leap day.
    let days = days_since_1970 + FROM_0000_03_01_TO_1970;
    let (era, day_of_era) = (days / DAYS_IN_400_YEARS, days % DAYS_IN_400_YEARS);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_dates() {
        for (seconds, shown) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_799, "2000-02-29 23:59:59 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_767_225_599, "2025-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
            (253_402_300_799, "9999-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(UnixTime(seconds).to_string(), shown);
        }
    }

    #[test]
    fn every_problem_says_what_to_do() {
        let at = Some(UnixTime(0));
        for (problem, said) in [
            (
                CertificateProblem::Expired { not_after: at },
                "has expired on 1970-01-01 00:00:00 UTC; renew it",
            ),
            (CertificateProblem::Expired { not_after: None }, "has expired; renew it"),
            (CertificateProblem::NotYetValid { not_before: at }, "is not valid yet, but from 1970-01-01 "),
            (CertificateProblem::NotForName { names: Vec::new() }, "is not for this name; use a url"),
            (
                CertificateProblem::NotForName { names: vec!["a".into(), "b".into()] },
                "is not for this name, but for a, b; use a url",
            ),
        ] {
            let text = problem.to_string();
            assert!(text.starts_with(said), "{text}");
        }
    }

    #[test]
    fn a_certificate_is_shown_by_its_fingerprints() {
        let key = PublicKeyPin::of_spki_der(b"key");
        let presented = PresentedCertificate::new(b"certificate", Some(key), true);
        let certificate = CertificatePin::of_der(b"certificate");
        assert_eq!(
            presented.to_string(),
            format!("the self-signed certificate {certificate} with the public key {key}")
        );
        let unread = PresentedCertificate::new(b"certificate", None, false);
        assert_eq!(unread.to_string(), format!("the certificate {certificate}"));
        assert!(!format!("{presented:?}").contains("der"), "{presented:?}");
    }
}
