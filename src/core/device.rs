//! A device's identity and its proof to a gateway (protocol 7).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::pkcs8::DecodePrivateKey;
use ed25519_dalek::{Signer, SigningKey};
use secrecy::zeroize::Zeroizing;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::error::ConfigError;

/// An Ed25519 key pair that stands for one device.
///
/// The private key is wiped when it is dropped, and `Debug` shows the id only.
#[derive(Clone)]
pub struct DeviceIdentity {
    key: SigningKey,
    id: String,
}

impl DeviceIdentity {
    /// The identity of these 32 secret bytes. Keep them: another identity is another device, which
    /// must be approved anew.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self::from_key(SigningKey::from_bytes(&seed))
    }

    /// The identity in a PKCS#8 private key, as OpenClaw stores it.
    ///
    /// # Errors
    /// [`ConfigError::Identity`] when the text is no Ed25519 key.
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self, ConfigError> {
        // Other programs put a byte order mark before a text, and end its lines in their own way.
        let pem = pem.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        let pem = Zeroizing::new(pem.replace("\r\n", "\n"));
        SigningKey::from_pkcs8_pem(&pem).map(Self::from_key).map_err(|_| ConfigError::Identity)
    }

    fn from_key(key: SigningKey) -> Self {
        let digest = Sha256::digest(key.verifying_key().as_bytes());
        let id = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { key, id }
    }

    /// The device id: the hexadecimal SHA-256 of the public key (protocol 7.1).
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Signs what a connect says about itself (protocol 7.2).
    pub(super) fn prove(&self, claim: &Claim<'_>) -> Proof {
        let signature = self.key.sign(claim.payload(&self.id).as_bytes());
        Proof {
            id: self.id.clone(),
            public_key: URL_SAFE_NO_PAD.encode(self.key.verifying_key().as_bytes()),
            signature: URL_SAFE_NO_PAD.encode(signature.to_bytes()),
            signed_at: claim.signed_at,
            nonce: claim.nonce.to_owned(),
        }
    }
}

/// Two identities are the same if they stand for the same device.
impl PartialEq for DeviceIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for DeviceIdentity {}

impl fmt::Debug for DeviceIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceIdentity").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The form of the signed text. Not to be confused with the protocol's version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SignatureVersion {
    /// Without platform and device family, for gateways that know no other.
    V2,
    /// With platform and device family.
    #[default]
    V3,
}

/// What a device signs.
pub(super) struct Claim<'a> {
    pub(super) version: SignatureVersion,
    pub(super) client_id: &'a str,
    pub(super) client_mode: &'a str,
    pub(super) role: &'a str,
    /// In the order in which they are sent.
    pub(super) scopes: &'a [String],
    /// The gateway's clock, from the challenge (protocol 7.3).
    pub(super) signed_at: u64,
    pub(super) token: &'a str,
    pub(super) nonce: &'a str,
    pub(super) platform: &'a str,
    pub(super) device_family: &'a str,
}

impl Claim<'_> {
    fn payload(&self, device_id: &str) -> String {
        let Self { client_id, client_mode, role, signed_at, token, nonce, .. } = self;
        let scopes = self.scopes.join(",");
        let common =
            format!("{device_id}|{client_id}|{client_mode}|{role}|{scopes}|{signed_at}|{token}|{nonce}");
        match self.version {
            SignatureVersion::V2 => format!("v2|{common}"),
            SignatureVersion::V3 => {
                let pin = |text: &str| text.trim().to_ascii_lowercase();
                format!("v3|{common}|{}|{}", pin(self.platform), pin(self.device_family))
            }
        }
    }
}

/// `device` in the parameters of `connect`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Proof {
    id: String,
    public_key: String,
    signature: String,
    signed_at: u64,
    nonce: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(version: SignatureVersion) -> Claim<'static> {
        Claim {
            version,
            client_id: "cli",
            client_mode: "cli",
            role: "operator",
            scopes: &[],
            signed_at: 7,
            token: "",
            nonce: "n",
            platform: " Linux ",
            device_family: "",
        }
    }

    #[test]
    fn right_credential_the_signed_text_is_that_of_the_protocol() {
        assert_eq!(claim(SignatureVersion::V3).payload("d"), "v3|d|cli|cli|operator||7||n|linux|");
        assert_eq!(claim(SignatureVersion::V2).payload("d"), "v2|d|cli|cli|operator||7||n");
    }

    #[test]
    fn right_credential_the_id_is_the_hash_of_the_public_key_and_nothing_secret_is_shown() {
        let device = DeviceIdentity::from_seed([7; 32]);
        assert_eq!(device.id().len(), 64);
        assert_eq!(format!("{device:?}"), format!("DeviceIdentity {{ id: {:?}, .. }}", device.id()));
        assert_eq!(device, DeviceIdentity::from_seed([7; 32]));
        assert_ne!(device, DeviceIdentity::from_seed([8; 32]));
    }

    #[test]
    fn an_identity_may_come_from_any_editor() {
        // The form that PKCS#8 gives an Ed25519 key, around 32 times the byte 7.
        let der = [b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".as_slice(), &[7; 32]]
            .concat();
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
        let device = DeviceIdentity::from_seed([7; 32]);
        for text in [
            pem.clone(),
            pem.trim().to_owned(),
            pem.replace('\n', "\r\n"),
            format!("\u{feff}{pem}"),
            format!("\u{feff} \n{}\n\n", pem.replace('\n', "\r\n")),
        ] {
            assert_eq!(DeviceIdentity::from_pkcs8_pem(&text).as_ref(), Ok(&device), "{text:?}");
        }
        assert_eq!(DeviceIdentity::from_pkcs8_pem("\u{feff}"), Err(ConfigError::Identity));
    }
}
