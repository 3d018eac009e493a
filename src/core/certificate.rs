//! Pins of one certificate or one public key (protocol 18.2), and the ways people write them down.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use sha2::{Digest, Sha256};

use super::error::ConfigError;

/// What a gateway is known by: its certificate, or its public key. It is not a secret.
///
/// It is read from and written as text: a certificate's as `sha256:` and hexadecimal digits, a public key's as
/// `sha256//` and base64. See [`CertificatePin`] and [`PublicKeyPin`] for all the spellings.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pin {
    /// One certificate. The pin ends with it: a renewed certificate is another one.
    Certificate(CertificatePin),
    /// One public key. The pin outlives the certificate if that is renewed under the same key.
    PublicKey(PublicKeyPin),
}

impl From<CertificatePin> for Pin {
    fn from(pin: CertificatePin) -> Self {
        Self::Certificate(pin)
    }
}

impl From<PublicKeyPin> for Pin {
    fn from(pin: PublicKeyPin) -> Self {
        Self::PublicKey(pin)
    }
}

/// Reads a public key's pin where the text begins with `sha256/`, and a certificate's otherwise.
impl FromStr for Pin {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        if public_key_digits(text).is_some() {
            text.parse().map(Self::PublicKey)
        } else {
            text.parse().map(Self::Certificate)
        }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(pin) => fmt::Display::fmt(pin, f),
            Self::PublicKey(pin) => fmt::Display::fmt(pin, f),
        }
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The SHA-256 fingerprint of a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CertificatePin([u8; 32]);

impl CertificatePin {
    /// The fingerprint of a certificate in DER.
    #[must_use]
    pub fn of_der(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

/// Reads 64 hexadecimal digits, or 32 pairs of them with colons between, in either case; alone, behind `sha256:`, or
/// behind `sha256 Fingerprint=` as `openssl x509 -fingerprint -sha256` prints them.
impl FromStr for CertificatePin {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let text = text.trim();
        let digits = ["sha256:", "sha256 fingerprint="].iter().find_map(|prefix| after_prefix(text, prefix));
        let digits = digits.unwrap_or(text);
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

/// The text behind a prefix in either case.
fn after_prefix<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let start = text.get(..prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
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

/// The SHA-256 of a public key, as a certificate holds it (its `SubjectPublicKeyInfo`): the pin of RFC 7469 and of
/// `curl --pinnedpubkey`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKeyPin([u8; 32]);

impl PublicKeyPin {
    /// The pin of a `SubjectPublicKeyInfo` in DER, which is also what `openssl pkey -pubout -outform DER` writes.
    #[must_use]
    pub fn of_spki_der(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

/// Standard base64; those who cut off the padding are understood.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads `sha256//` and base64, or `sha256/` and base64.
impl FromStr for PublicKeyPin {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let digits = public_key_digits(text).ok_or(ConfigError::Pin)?;
        let bytes = BASE64.decode(digits).map_err(|_| ConfigError::Pin)?;
        <[u8; 32]>::try_from(bytes).map(Self).map_err(|_| ConfigError::Pin)
    }
}

/// The base64 of a public key's pin. A digest of 32 bytes that begins with a slash is told from the second slash of
/// the prefix by its length.
fn public_key_digits(text: &str) -> Option<&str> {
    let digits = after_prefix(text.trim(), "sha256/")?;
    match digits.strip_prefix('/') {
        Some(rest) if rest.trim_end_matches('=').len() == DIGITS => Some(rest),
        Some(_) | None => Some(digits),
    }
}

/// Digits of base64 that 32 bytes take, without padding.
const DIGITS: usize = 43;

impl fmt::Display for PublicKeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256//{}", BASE64.encode(self.0))
    }
}

impl fmt::Debug for PublicKeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_spelling_of_a_certificate_is_read() {
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
            format!("sha256 Fingerprint={}\n", colons.to_uppercase()),
            format!("SHA256 Fingerprint={colons}"),
        ] {
            assert_eq!(text.parse(), Ok(pin), "{text}");
            assert_eq!(text.parse(), Ok(Pin::Certificate(pin)), "{text}");
        }
    }

    /// The pin of RFC 7469's example, and digests whose base64 begins with one and with two slashes.
    #[test]
    fn every_usual_spelling_of_a_public_key_is_read() {
        for digits in [
            "d6qzRu9zOECb90Uez27xWltNsj0e1Md7GkYYkVoZWmM=",
            "/+qzRu9zOECb90Uez27xWltNsj0e1Md7GkYYkVoZWmM=",
            "//qzRu9zOECb90Uez27xWltNsj0e1Md7GkYYkVoZWmM=",
        ] {
            let text = format!("sha256//{digits}");
            let pin: PublicKeyPin = text.parse().expect("curl's spelling");
            assert_eq!(pin.to_string(), text);
            for text in [
                text.clone(),
                format!("sha256/{digits}"),
                format!(" SHA256//{} ", digits.trim_end_matches('=')),
                format!("Sha256/{}", digits.trim_end_matches('=')),
            ] {
                assert_eq!(text.parse(), Ok(pin), "{text}");
                assert_eq!(text.parse(), Ok(Pin::PublicKey(pin)), "{text}");
            }
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let zeros = "0".repeat(64);
        let (short, long) = ("0".repeat(62), "0".repeat(66));
        let signs = "+0".repeat(32);
        let one_colon = format!("{}:{}", &zeros[..32], &zeros[32..]);
        let wide = "é".repeat(32);
        let (hex, three) = (format!("sha256//{zeros}"), format!("sha256///{}", "A".repeat(43)));
        // The last digit holds bits that no byte has; another alphabet.
        let (bits, url) = (format!("sha256//{}B", "A".repeat(42)), format!("sha256//{}_-A", "A".repeat(40)));
        let sha1 = "sha1//AAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        for text in [
            "", "sha256:", "sha1:00", "zz", &short, &long, &signs, &one_colon, &wide, "sha256/", "sha256//",
            &hex, &three, &bits, &url, sha1,
        ] {
            assert_eq!(text.parse::<Pin>(), Err(ConfigError::Pin), "{text}");
        }
        assert!(zeros.parse::<CertificatePin>().is_ok());
        assert_eq!(zeros.parse::<PublicKeyPin>(), Err(ConfigError::Pin));
        let key = PublicKeyPin::of_spki_der(b"key").to_string();
        assert_eq!(key.parse::<CertificatePin>(), Err(ConfigError::Pin));
    }
}
