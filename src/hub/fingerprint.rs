//! What tells one effective config from another without holding it.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};

use sha2::{Digest, Sha256};

use crate::core::name_set::NameSet;
use crate::core::{
    ClientInfo, Config, Credentials, Headers, PinPolicy, Pins, Proxy, Secret, SignatureVersion,
};

/// Stands for one effective config within one [`Hub`](super::Hub).
///
/// Equal configs have equal fingerprints, and different ones differ. It is a salted hash: it cannot be
/// turned back into credentials, a guessed credential cannot be tried against it, and two hubs give
/// the same config different fingerprints. It may be logged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

/// The first bytes, which are enough to tell the handful of connections of one process apart.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// Makes fingerprints. `Debug` would show the salt, so there is none.
#[derive(Clone)]
pub(super) struct Salt([u8; 32]);

impl Salt {
    /// A salt that nobody can guess, from the standard library's own randomness.
    pub(super) fn fresh() -> Self {
        let mut salt = [0; 32];
        for part in salt.chunks_exact_mut(8) {
            part.copy_from_slice(&RandomState::new().build_hasher().finish().to_le_bytes());
        }
        Self(salt)
    }

    pub(super) fn fingerprint(&self, config: &Config) -> Fingerprint {
        let mut fields = Fields(Sha256::new_with_prefix(self.0));
        // Taken apart without a rest: a new field of the config must be written here, too, or two
        // configs that differ in it would share a socket.
        let Config { endpoint, credentials, client, role, scopes, caps, proof, headers } = config;
        fields.text(&endpoint.url());
        fields.pins(endpoint.pins());
        fields.credentials(credentials);
        fields.client(client);
        fields.text(role);
        fields.text(if scopes.is_some() { "asked" } else { "default" });
        fields.list(&scopes.as_ref().map(NameSet::sorted).unwrap_or_default());
        fields.list(&caps.sorted());
        fields.option(proof.device.as_ref().map(|device| device.id()));
        fields.text(match proof.signature() {
            None => "unsigned",
            Some(SignatureVersion::V2) => "v2",
            Some(SignatureVersion::V3) => "v3",
        });
        fields.headers(headers);
        fields.proxy(endpoint.proxy());
        Fingerprint(fields.0.finalize().into())
    }
}

/// A hash of fields, each with its length in front: no two different lists of fields give one text.
struct Fields(Sha256);

impl Fields {
    fn text(&mut self, text: &str) {
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text);
    }

    fn option(&mut self, text: Option<&str>) {
        self.0.update([u8::from(text.is_some())]);
        self.text(text.unwrap_or_default());
    }

    fn list<T: AsRef<str>>(&mut self, texts: &[T]) {
        self.0.update((texts.len() as u64).to_le_bytes());
        texts.iter().for_each(|text| self.text(text.as_ref()));
    }

    fn pins(&mut self, pins: Option<&Pins>) {
        self.option(pins.map(|pins| match pins.policy() {
            PinPolicy::Alone => "alone",
            PinPolicy::AndSystem => "and system",
            PinPolicy::OrSystem => "or system",
        }));
        let texts: Vec<String> = pins.into_iter().flat_map(Pins::iter).map(|pin| pin.to_string()).collect();
        self.list(&texts);
    }

    fn proxy(&mut self, proxy: Option<&Proxy>) {
        // It shows no credentials, so they are written by themselves.
        self.option(proxy.map(Proxy::to_string).as_deref());
        let credentials = proxy.and_then(Proxy::credentials);
        self.option(credentials.map(|(user, _)| user));
        self.option(credentials.map(|(_, password)| password));
    }

    fn credentials(&mut self, credentials: &Credentials) {
        let Credentials { token, password, device_token, bootstrap_token } = credentials;
        for secret in [token, password, device_token, bootstrap_token] {
            self.option(secret.as_ref().map(Secret::expose));
        }
    }

    /// Names have no case.
    fn headers(&mut self, headers: &Headers) {
        self.0.update((headers.iter().count() as u64).to_le_bytes());
        for (name, value) in headers.iter() {
            self.text(&name.to_ascii_lowercase());
            self.text(value.expose());
        }
    }

    fn client(&mut self, client: &ClientInfo) {
        let ClientInfo { id, mode, version, platform, device_family, display_name, instance_id } = client;
        [id, mode, version, platform].into_iter().for_each(|text| self.text(text));
        self.option(device_family.as_deref());
        self.option(display_name.as_deref());
        self.option(instance_id.as_deref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{CertificatePin, DeviceIdentity, Pin, PublicKeyPin};

    fn config(url: &str) -> Config {
        Config::new(url).expect("the url is valid")
    }

    #[test]
    fn one_socket_only_equal_configs_have_equal_fingerprints() {
        let salt = Salt::fresh();
        let named = |name: Option<&str>, instance: Option<&str>| ClientInfo {
            display_name: name.map(str::to_owned),
            instance_id: instance.map(str::to_owned),
            ..ClientInfo::default()
        };
        let base = "ws://localhost:1";
        let proxied = |url: &str| {
            let proxy = Proxy::parse(url).expect("the url is valid");
            config(base).proxy(proxy).expect("it has no headers")
        };
        let pinned = |pins: Pins| config("wss://localhost:1").pin(pins).expect("it has TLS");
        let (a, b) = (Pin::from(CertificatePin::of_der(b"a")), Pin::from(CertificatePin::of_der(b"b")));
        let both = |first, second| Pins::new([first, second]).expect("there are two");
        let configs = [
            config(base),
            config("ws://localhost:2"),
            config("wss://localhost:1"),
            config("ws://localhost:1/path"),
            config("ws://localhost:1/?query"),
            config("ws://LOCALHOST.:1/"),
            config("ws://[fe80::1%25eth0]:1"),
            config("ws://[fe80::1%25eth1]:1"),
            pinned(a.into()),
            pinned(b.into()),
            pinned(PublicKeyPin::of_spki_der(b"a").into()),
            pinned(both(a, b)),
            pinned(both(b, a)),
            pinned(both(a, a)),
            pinned(Pins::from(a).with_policy(PinPolicy::AndSystem)),
            pinned(Pins::from(a).with_policy(PinPolicy::OrSystem)),
            proxied("http://proxy:1"),
            proxied("proxy:1/"),
            proxied("http://proxy:2"),
            proxied("https://proxy:1"),
            proxied("socks5://proxy:1"),
            proxied("socks5h://proxy:1"),
            proxied("http://a@proxy:1"),
            proxied("http://b@proxy:1"),
            proxied("http://a:b@proxy:1"),
            proxied("http://a:c@proxy:1"),
            config(base).token("a"),
            config(base).token("b"),
            config(base).password("a"),
            config(base).token("a").password("b"),
            config(base).token("ab"),
            config(base).client(named(Some("x"), None)),
            config(base).client(named(None, Some("x"))),
            config(base).scopes(["a", "b"]),
            config(base).scopes(["ab"]),
            config(base).scopes(["a"]).caps(["b"]),
            config(base).scopes(["b", "a"]),
            config(base).header("X-A", "1").expect("it may be sent"),
            config(base).header("x-a", "1").expect("it may be sent"),
            config(base).header("X-A", "2").expect("it may be sent"),
            config(base).header("X-B", "1").expect("it may be sent"),
            config(base).scopes(["a", "b", "a"]),
            config(base).caps(["b", "a"]),
            config(base).caps(["a", "b", "b"]),
            config(base).caps([""; 0]),
            config(base).scopes([""; 0]),
            config(base).client(named(Some(" "), Some(""))),
            config(base).client(ClientInfo::default()),
            config(base).signature_version(SignatureVersion::V2),
            config(base).device(DeviceIdentity::from_seed([7; 32])),
            config(base).device(DeviceIdentity::from_seed([7; 32])).signature_version(SignatureVersion::V2),
            config(base).signature_version(SignatureVersion::V2).device(DeviceIdentity::from_seed([7; 32])),
        ];
        for (one, first) in configs.iter().enumerate() {
            for (other, second) in configs.iter().enumerate() {
                let same = salt.fingerprint(first) == salt.fingerprint(second);
                assert_eq!(same, first == second, "configs {one} and {other}");
            }
        }
    }

    #[test]
    fn right_credential_a_fingerprint_tells_nothing() {
        let config = config("ws://localhost:1").token("open sesame");
        let fingerprint = Salt::fresh().fingerprint(&config);
        let shown = format!("{fingerprint} {fingerprint:?} {fingerprint:#?}");
        assert!(!shown.contains("sesame") && shown.len() < 100, "{shown}");
        assert_ne!(fingerprint, Salt::fresh().fingerprint(&config), "a guess must not be checkable");
    }
}
