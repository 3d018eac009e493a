//! The proof that a client holds its device's key (protocol 7.1 to 7.4).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

use super::auth::Checked;
use super::connect::{Connect, Device};
use super::frame::ErrorShape;
use super::session::Refusal;

/// How far `signedAt` may be from the gateway's clock.
const SKEW_MS: u64 = 120_000;

/// The key that was decoded last: a device that comes back has the one it had.
#[derive(Debug, Clone, Default)]
pub(super) struct LastKey(Option<VerifyingKey>);

impl LastKey {
    /// The key in these bytes, if they are one.
    fn decode(&mut self, bytes: &[u8; 32]) -> Option<VerifyingKey> {
        if self.0.is_none_or(|key| key.as_bytes() != bytes) {
            self.0 = Some(VerifyingKey::from_bytes(bytes).ok()?);
        }
        self.0
    }
}

/// Checks a proof in the gateway's order. Without `signatures`, everything but the signature itself is checked.
pub(super) fn verify(
    device: &Device,
    connect: &Connect,
    nonce: &str,
    unix_ms: u64,
    signatures: bool,
    last_key: &mut LastKey,
) -> Checked<()> {
    // A key that cannot be decoded has no id, so it reports the mismatch too.
    let key = decode(&device.public_key).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let Some(key) = key.filter(|key| *device.id == *device_id(key)) else {
        return refuse("device identity mismatch", "DEVICE_AUTH_DEVICE_ID_MISMATCH", "device-id-mismatch");
    };
    let fresh = u64::try_from(device.signed_at).is_ok_and(|signed_at| signed_at.abs_diff(unix_ms) <= SKEW_MS);
    if !fresh {
        return refuse("device signature expired", "DEVICE_AUTH_SIGNATURE_EXPIRED", "device-signature-stale");
    }
    let presented = device.nonce.trim();
    if presented.is_empty() {
        return refuse("device nonce required", "DEVICE_AUTH_NONCE_REQUIRED", "device-nonce-missing");
    }
    if presented != nonce {
        return refuse("device nonce mismatch", "DEVICE_AUTH_NONCE_MISMATCH", "device-nonce-mismatch");
    }
    let Some(key) = last_key.decode(&key) else {
        return refuse("device public key invalid", "DEVICE_AUTH_PUBLIC_KEY_INVALID", "device-public-key");
    };
    if signatures && !is_signed(device, connect, &key) {
        return refuse("device signature invalid", "DEVICE_AUTH_SIGNATURE_INVALID", "device-signature");
    }
    Ok(())
}

fn refuse(message: &'static str, code: &'static str, reason: &str) -> Checked<()> {
    let details = format!(r#"{{"code":"{code}","reason":"{reason}"}}"#);
    Err(Box::new(Refusal::new(code, ErrorShape::invalid_request(message).with_details(details))))
}

fn is_signed(device: &Device, connect: &Connect, key: &VerifyingKey) -> bool {
    let Some(signature) = decode(&device.signature).and_then(|bytes| Signature::from_slice(&bytes).ok())
    else {
        return false;
    };
    let version_2 = payload("v2", device, connect);
    let client = &connect.client;
    let platform = client.platform.trim().to_ascii_lowercase();
    let family = client.device_family.as_deref().unwrap_or_default().trim().to_ascii_lowercase();
    let version_3 = format!("v3{}|{platform}|{family}", &version_2[2..]);
    // Strictness matters little here; the gateway's OpenSSL is not strict either.
    use ed25519_dalek::Verifier;
    key.verify(version_3.as_bytes(), &signature).is_ok()
        || key.verify(version_2.as_bytes(), &signature).is_ok()
}

/// The fields both payload versions share, joined as the client signs them (protocol 7.2).
fn payload(version: &str, device: &Device, connect: &Connect) -> String {
    let presented = &connect.presented;
    let token = presented.token.as_ref().or(presented.device_token.as_ref());
    let token = token.or(presented.bootstrap_token.as_ref()).map_or("", |token| &**token);
    format!(
        "{version}|{}|{}|{}|{}|{}|{}|{token}|{}",
        device.id,
        connect.client.id,
        connect.client.mode,
        connect.role_name(),
        connect.scopes.joined(),
        device.signed_at,
        device.nonce.trim(),
    )
}

/// The device id of a key: its SHA-256 in lowercase hex.
fn device_id(key: &[u8; 32]) -> String {
    let digits =
        |byte: u8| [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]));
    Sha256::digest(key).into_iter().flat_map(digits).collect()
}

/// Base64url as the gateway's runtime reads it: padding and the standard alphabet are accepted too.
fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
    URL_SAFE_NO_PAD.decode(text).ok()
}
