//! A certificate as it is pinned (protocol 18.2).

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::error::ConfigError;

/// The SHA-256 fingerprint of the one certificate that a gateway may present.
///
/// With a pin nothing else counts: no certificate authority, no name, no date. It is not a secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CertificatePin([u8; 32]);

impl CertificatePin {
    /// The fingerprint of a certificate in DER.
    #[must_use]
    pub fn of_der(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

/// Reads 64 hexadecimal digits, or 32 pairs of them with colons between, in either case and with or
/// without `sha256:` in front.
impl FromStr for CertificatePin {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let text = text.trim();
        let digits = match text.get(..7) {
            Some(prefix) if prefix.eq_ignore_ascii_case("sha256:") => &text[7..],
            Some(_) | None => text,
        };
        let pairs: Option<Vec<&str>> = if digits.contains(':') {
            Some(digits.split(':').collect())
        } else {
            (0..digits.len()).step_by(2).map(|at| digits.get(at..at + 2)).collect()
        };
        let bytes: Option<Vec<u8>> = pairs.into_iter().flatten().map(byte).collect();
        let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        bytes.map(Self).ok_or(ConfigError::Pin)
    }
}

/// Two digits; a sign, which numbers may have, is no digit.
fn byte(pair: &str) -> Option<u8> {
    let is_pair = pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
    if is_pair { u8::from_str_radix(pair, 16).ok() } else { None }
}

impl fmt::Display for CertificatePin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CertificatePin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_spelling_is_read() {
        let pin = CertificatePin::of_der(b"certificate");
        let shown = pin.to_string();
        let digits = shown.strip_prefix("sha256:").expect("it has a prefix");
        let pairs: Vec<&str> = (0..64).step_by(2).map(|at| &digits[at..at + 2]).collect();
        let colons = pairs.join(":");
        for text in [
            shown.clone(),
            digits.to_owned(),
            digits.to_uppercase(),
            colons.clone(),
            format!(" SHA256:{} ", colons.to_uppercase()),
        ] {
            assert_eq!(text.parse(), Ok(pin), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let zeros = "0".repeat(64);
        let (short, long) = ("0".repeat(62), "0".repeat(66));
        let signs = "+0".repeat(32);
        let one_colon = format!("{}:{}", &zeros[..32], &zeros[32..]);
        let wide = "é".repeat(32);
        for text in ["", "sha256:", "sha1:00", "zz", &short, &long, &signs, &one_colon, &wide] {
            assert_eq!(text.parse::<CertificatePin>(), Err(ConfigError::Pin), "{text}");
        }
        assert!(zeros.parse::<CertificatePin>().is_ok());
    }
}
