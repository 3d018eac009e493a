//! What a connection is to be ([`Config`]).

use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use super::device::{DeviceIdentity, SignatureVersion};
use super::error::ConfigError;
use super::headers::Headers;
use super::name_set::NameSet;
use super::pins::Pins;
use super::proxy::Proxy;

pub use super::endpoint::{DEFAULT_PORT, DEFAULT_URL, Endpoint};
pub use super::options::{BackoffOptions, Options, Patience};

/// The *effective config*: everything that decides which socket this is.
///
/// Two equal configs share one socket; applying an equal config is a no-op, applying a different
/// one retires the socket and connects once. Configs are equal by what they mean to a gateway: the order and the
/// repetition of scopes and capabilities, a blank name, and the form of a signature that nobody makes tell no two of
/// them apart. How the connection behaves (timeouts, limits) is not
/// part of it and lives in [`Options`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub(crate) endpoint: Endpoint,
    pub(crate) credentials: Credentials,
    pub(crate) client: ClientInfo,
    pub(crate) role: String,
    pub(crate) scopes: Option<NameSet>,
    pub(crate) caps: NameSet,
    pub(crate) proof: DeviceProof,
    pub(crate) headers: Arc<Headers>,
}

impl Config {
    /// A config for the gateway at `url`, as an operator with the scope `operator.admin` and no
    /// credentials (protocol 3.7).
    ///
    /// # Errors
    /// [`ConfigError`] when the url is not a websocket url, or is plaintext to a public host.
    pub fn new(url: &str) -> Result<Self, ConfigError> {
        Endpoint::parse(url).map(Self::from)
    }

    /// Presents `token` as the shared token. Surrounding white space is dropped and a blank token
    /// counts as absent (protocol 6.3a).
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        self.credentials.token = Secret::trimmed(token);
        self
    }

    /// Presents `password`, by the same rules as [`token`](Self::token).
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.credentials.password = Secret::trimmed(password);
        self
    }

    /// Says who is connecting. What is optional and blank counts as absent.
    #[must_use]
    pub fn client(mut self, client: ClientInfo) -> Self {
        self.client = client.without_blanks();
        self
    }

    /// The scopes asked for when neither the app nor a stored grant names any (protocol 3.7).
    pub(super) fn default_scopes() -> Vec<String> {
        vec!["operator.admin".to_owned()]
    }

    /// Presents these credentials and no others.
    #[must_use]
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = credentials;
        self
    }

    /// Presents a device token that the app keeps by itself; it beats a stored one.
    #[must_use]
    pub fn device_token(mut self, token: &str) -> Self {
        self.credentials.device_token = Secret::trimmed(token);
        self
    }

    /// Presents `token` to get a device paired, while there is nothing better (protocol 6.3e).
    #[must_use]
    pub fn bootstrap_token(mut self, token: &str) -> Self {
        self.credentials.bootstrap_token = Secret::trimmed(token);
        self
    }

    /// Proves that this is a known device, or asks to become one.
    #[must_use]
    pub fn device(mut self, identity: DeviceIdentity) -> Self {
        self.proof.device = Some(Arc::new(identity));
        self
    }

    /// Signs in this form instead of the newest. Without a [`device`](Self::device) nothing is signed.
    #[must_use]
    pub fn signature_version(mut self, version: SignatureVersion) -> Self {
        self.proof.signature = version;
        self
    }

    /// Asks for these scopes instead of those of the stored token, or `operator.admin`.
    #[must_use]
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = Some(NameSet::new(scopes));
        self
    }

    /// Announces these client capabilities.
    #[must_use]
    pub fn caps<S: Into<String>>(mut self, caps: impl IntoIterator<Item = S>) -> Self {
        self.caps = NameSet::new(caps);
        self
    }

    /// Sends this header with the upgrade, for whatever stands in front of the gateway; see [`Headers::add`].
    ///
    /// # Errors
    /// [`ConfigError::Header`] when it cannot be sent, [`ConfigError::HeadersInTheClear`] when it would cross a network
    /// without TLS.
    pub fn header(self, name: &str, value: &str) -> Result<Self, ConfigError> {
        let mut headers = Headers::clone(&self.headers);
        headers.add(name, value)?;
        self.headers(headers)
    }

    /// Sends these headers with the upgrade, and no others.
    ///
    /// # Errors
    /// [`ConfigError::HeadersInTheClear`] when they would cross a network without TLS.
    pub fn headers(mut self, headers: Headers) -> Result<Self, ConfigError> {
        if !(headers.is_empty() || self.endpoint.is_secure() || self.endpoint.is_loopback()) {
            return Err(ConfigError::HeadersInTheClear);
        }
        self.headers = Arc::new(headers);
        Ok(self)
    }

    /// Takes no other gateway than one with this pin, or with one of these [`Pins`], by their policy.
    ///
    /// ```
    /// use onesocket::core::{Config, Pin, PinPolicy, Pins};
    ///
    /// # fn main() -> Result<(), onesocket::core::ConfigError> {
    /// let now: Pin = "sha256//d6qzRu9zOECb90Uez27xWltNsj0e1Md7GkYYkVoZWmM=".parse()?;
    /// let next: Pin = "sha256//E9CZ9INDbd+2eRQozYqqbQ2yXLVKB9+xcprMF+44U1g=".parse()?;
    /// let one = Config::new("wss://gateway.example")?.pin(now)?;
    /// let renewal = Config::new("wss://gateway.example")?.pin(Pins::new([now, next])?)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ConfigError::PinWithoutTls`] when the url is `ws://`.
    pub fn pin(mut self, pins: impl Into<Pins>) -> Result<Self, ConfigError> {
        self.endpoint = self.endpoint.pinned(pins)?;
        Ok(self)
    }

    /// Reaches the gateway through this proxy, or through none. It takes a network that can, such as
    /// [`ProxyNetwork`](crate::net::ProxyNetwork); others refuse the endpoint.
    ///
    /// # Errors
    /// [`ConfigError::HeadersInTheClear`] when the proxy could read the headers of the upgrade.
    pub fn proxy(mut self, proxy: impl Into<Option<Proxy>>) -> Result<Self, ConfigError> {
        self.endpoint = self.endpoint.through(proxy);
        let headers = Headers::clone(&self.headers);
        self.headers(headers)
    }

    /// Reaches the gateway through the proxy that the environment names for it, if it does; see
    /// [`Proxy::of_environment`]. It is read here, once.
    ///
    /// # Errors
    /// As of [`Proxy::of_environment`] and [`proxy`](Self::proxy).
    pub fn proxy_of_environment(
        self,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let proxy = Proxy::of_environment(&self.endpoint, environment)?;
        self.proxy(proxy)
    }

    /// Where the gateway is.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

/// A config for this endpoint, and otherwise as of [`Config::new`].
impl From<Endpoint> for Config {
    fn from(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            credentials: Credentials::default(),
            client: ClientInfo::default(),
            role: "operator".to_owned(),
            scopes: None,
            caps: NameSet::default(),
            proof: DeviceProof::default(),
            headers: Arc::default(),
        }
    }
}

/// The device that proves itself, if there is one, and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeviceProof {
    pub(crate) device: Option<Arc<DeviceIdentity>>,
    signature: SignatureVersion,
}

impl DeviceProof {
    /// The form of the signature, where there is one.
    pub(crate) fn signature(&self) -> Option<SignatureVersion> {
        self.device.as_ref().map(|_| self.signature)
    }
}

impl PartialEq for DeviceProof {
    fn eq(&self, other: &Self) -> bool {
        (&self.device, self.signature()) == (&other.device, other.signature())
    }
}

impl Eq for DeviceProof {}

/// Who is connecting. `id` and `mode` come from closed lists (protocol 3.6); the gateway refuses
/// others, so they are not checked here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientInfo {
    /// One of the protocol's client ids, like `gateway-client` or `openclaw-macos`.
    pub id: String,
    /// One of the protocol's modes, like `backend`, `ui` or `cli`.
    pub mode: String,
    /// The application's version.
    pub version: String,
    /// The operating system, like `linux`.
    pub platform: String,
    /// A name for humans, shown in presence.
    pub display_name: Option<String>,
    /// The kind of device, like `Mac`; part of what a device signs.
    pub device_family: Option<String>,
    /// Tells several instances of one application apart.
    pub instance_id: Option<String>,
}

impl ClientInfo {
    fn without_blanks(mut self) -> Self {
        for name in [&mut self.display_name, &mut self.device_family, &mut self.instance_id] {
            name.take_if(|name| name.trim().is_empty());
        }
        self
    }
}

impl Default for ClientInfo {
    fn default() -> Self {
        Self {
            id: "gateway-client".to_owned(),
            mode: "backend".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            platform: std::env::consts::OS.to_owned(),
            display_name: None,
            device_family: None,
            instance_id: None,
        }
    }
}

/// What proves that we may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The shared token.
    pub token: Option<Secret>,
    /// A device token given by the app.
    pub device_token: Option<Secret>,
    /// A token to be paired with.
    pub bootstrap_token: Option<Secret>,
    /// The shared password; forwarded whenever it is set (protocol 6.3e).
    pub password: Option<Secret>,
}

/// A secret that no `Debug` output shows and whose memory is wiped when it is dropped.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Without white space and byte order marks around it; `None` when nothing else is left of `text`.
    #[must_use]
    pub fn trimmed(text: &str) -> Option<Self> {
        // As in JavaScript, a byte order mark is white space: it is what some editors put before a text.
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        (!text.is_empty()).then(|| Self(SecretString::from(text)))
    }

    /// `None` for an empty text; white space is a part of it.
    pub(super) fn verbatim(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(SecretString::from(text)))
    }

    /// The secret itself. Every use of this is a place where it could leak.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}
