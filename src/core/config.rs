//! What a connection is to be ([`Config`]) and how it behaves ([`Options`]).

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::certificate::CertificatePin;
use super::device::{DeviceIdentity, SignatureVersion};
use super::error::ConfigError;

/// The gateway's default address.
pub const DEFAULT_URL: &str = "ws://127.0.0.1:18789";
/// The port used when a `ws://` url names none (peer behaviour 167).
pub const DEFAULT_PORT: u16 = 18_789;

/// The *effective config*: everything that decides which socket this is.
///
/// Two equal configs share one socket; applying an equal config is a no-op, applying a different
/// one retires the socket and connects once. How the connection behaves (timeouts, limits) is not
/// part of it and lives in [`Options`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub(crate) endpoint: Endpoint,
    pub(crate) credentials: Credentials,
    pub(crate) client: ClientInfo,
    pub(crate) role: String,
    pub(crate) scopes: Option<Vec<String>>,
    pub(crate) caps: Vec<String>,
    pub(crate) device: Option<Arc<DeviceIdentity>>,
    pub(crate) signature: SignatureVersion,
}

impl Config {
    /// A config for the gateway at `url`, as an operator with the scope `operator.admin` and no
    /// credentials (protocol 3.7).
    ///
    /// # Errors
    /// [`ConfigError`] when the url is not a websocket url, or is plaintext to a public host.
    pub fn new(url: &str) -> Result<Self, ConfigError> {
        Ok(Self {
            endpoint: Endpoint::parse(url)?,
            credentials: Credentials::default(),
            client: ClientInfo::default(),
            role: "operator".to_owned(),
            scopes: None,
            caps: Vec::new(),
            device: None,
            signature: SignatureVersion::default(),
        })
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

    /// Says who is connecting.
    #[must_use]
    pub fn client(mut self, client: ClientInfo) -> Self {
        self.client = client;
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
        self.device = Some(Arc::new(identity));
        self
    }

    /// Signs in this form instead of the newest.
    #[must_use]
    pub fn signature_version(mut self, version: SignatureVersion) -> Self {
        self.signature = version;
        self
    }

    /// Asks for these scopes instead of those of the stored token, or `operator.admin`.
    #[must_use]
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = Some(scopes.into_iter().map(Into::into).collect());
        self
    }

    /// Announces these client capabilities.
    #[must_use]
    pub fn caps<S: Into<String>>(mut self, caps: impl IntoIterator<Item = S>) -> Self {
        self.caps = caps.into_iter().map(Into::into).collect();
        self
    }

    /// Takes no other certificate of the gateway than this one.
    ///
    /// # Errors
    /// [`ConfigError::PinWithoutTls`] when the url is `ws://`.
    pub fn pin(mut self, pin: CertificatePin) -> Result<Self, ConfigError> {
        self.endpoint = self.endpoint.pinned(pin)?;
        Ok(self)
    }

    /// Where the gateway is.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

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
    /// `None` when nothing but white space is left of `text`.
    #[must_use]
    pub fn trimmed(text: &str) -> Option<Self> {
        let text = text.trim();
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

/// A gateway address: `ws://` or `wss://`, host, port and path.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    secure: bool,
    host: String,
    port: u16,
    path: String,
    pin: Option<CertificatePin>,
}

impl Endpoint {
    /// Parses a url. `http` and `https` are read as `ws` and `wss`; `ws` without a port means the
    /// gateway's default port 18789, `wss` without one means 443.
    ///
    /// # Errors
    /// When the url is malformed, its scheme is another one, it carries user info, or it is
    /// plaintext to a host that is neither loopback nor private (protocol 18.1).
    pub fn parse(url: &str) -> Result<Self, ConfigError> {
        let malformed = |why: &str| ConfigError::Url { url: redact(url), why: why.to_owned() };
        let uri: http::Uri = url.trim().parse().map_err(|_| malformed("it cannot be parsed"))?;
        let secure = match uri.scheme_str().map(str::to_ascii_lowercase).as_deref() {
            Some("ws" | "http") => false,
            Some("wss" | "https") => true,
            Some(_) | None => return Err(malformed("it must begin with ws:// or wss://")),
        };
        let authority = uri.authority().ok_or_else(|| malformed("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(malformed("it carries user info, which is not a way to authenticate here"));
        }
        let host = authority.host();
        if host.is_empty() || host == "[]" {
            return Err(malformed("it names no host"));
        }
        // `Authority::port` takes a port it cannot read for none at all, and a mistyped port must not
        // become the default one.
        let port = match authority.as_str()[host.len()..].strip_prefix(':') {
            None if secure => 443,
            None => DEFAULT_PORT,
            Some(port) => match port.parse::<NonZeroU16>() {
                Ok(number) if port.bytes().all(|byte| byte.is_ascii_digit()) => number.get(),
                Ok(_) | Err(_) => return Err(malformed("its port is not a number from 1 to 65535")),
            },
        };
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        let endpoint = Self { secure, host: host.to_ascii_lowercase(), port, path, pin: None };
        if !secure && !endpoint.may_be_plaintext() {
            return Err(ConfigError::PlaintextToPublicHost { host: endpoint.host });
        }
        Ok(endpoint)
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Whether it is this machine: what is sent there does not cross a network.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.host().trim_end_matches('.');
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// Whether nobody but the gateway can be at the other end: this machine, or the holder of the pinned
    /// certificate. Only there may a stored token be tried beside one that was refused (protocol 7.10).
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.is_loopback() || self.pin.is_some()
    }

    /// The same endpoint, where only this certificate will do.
    ///
    /// # Errors
    /// [`ConfigError::PinWithoutTls`] for a `ws://` endpoint, which presents no certificate (protocol 18.2).
    pub fn pinned(mut self, pin: CertificatePin) -> Result<Self, ConfigError> {
        if !self.secure {
            return Err(ConfigError::PinWithoutTls);
        }
        self.pin = Some(pin);
        Ok(self)
    }

    /// The only certificate that will do, if there is just one.
    #[must_use]
    pub fn pin(&self) -> Option<CertificatePin> {
        self.pin
    }

    /// The TCP endpoint below a TLS one, for networks that put TLS on top of others.
    #[cfg(feature = "tls")]
    pub(crate) fn below_tls(&self) -> Self {
        Self { secure: false, pin: None, ..self.clone() }
    }

    /// The host name or address, without the brackets of an IPv6 address.
    #[must_use]
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The url, as it goes into the upgrade request.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.secure { "wss" } else { "ws" };
        format!("{scheme}://{}:{}{}", self.host, self.port, self.path)
    }

    /// Plaintext is for loopback, private networks and local names only (protocol 18.1).
    fn may_be_plaintext(&self) -> bool {
        let host = self.host().trim_end_matches('.');
        match host.parse::<IpAddr>() {
            Ok(IpAddr::V4(v4)) => {
                let [a, b, ..] = v4.octets();
                let carrier_grade_nat = a == 100 && (64..128).contains(&b);
                v4.is_loopback() || v4.is_private() || v4.is_link_local() || carrier_grade_nat
            }
            Ok(IpAddr::V6(v6)) => {
                let site_local = v6.segments()[0] & 0xffc0 == 0xfec0;
                v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local() || site_local
            }
            Err(_) => host == "localhost" || host.ends_with(".local") || host.ends_with(".ts.net"),
        }
    }
}

/// The url without its query, which may hold a token.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url();
        match url.split_once('?') {
            Some((url, _)) => write!(f, "{url}?…"),
            None => f.write_str(&url),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The url for an error message, without what stands before an `@` or behind a `?` or `#`: the places
/// where people put secrets.
fn redact(url: &str) -> String {
    let start = match url.split_once("://") {
        Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => scheme.len() + 3,
        Some(_) | None => 0,
    };
    let (scheme, rest) = url.split_at(start);
    match (rest.rfind('@'), rest.find(['?', '#'])) {
        (None, None) => url.to_owned(),
        (None, Some(tail)) => format!("{scheme}{}…", &rest[..=tail]),
        (Some(at), None) => format!("{scheme}…{}", &rest[at..]),
        (Some(at), Some(tail)) if at < tail => format!("{scheme}…{}…", &rest[at..=tail]),
        // An `@` behind a `?` may end a password as well as be part of a query.
        (Some(_), Some(_)) => format!("{scheme}…"),
    }
}

/// How a connection behaves: every time and every limit there is.
///
/// Start from [`Options::default`] and change what you need; [`Options::validate`] is called by
/// whatever takes them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// From the start of a dial until the websocket upgrade is answered.
    pub dial_timeout: Duration,
    /// From the upgrade until `connect.challenge` (protocol 3.3) and the answer of the token store are both there.
    pub challenge_timeout: Duration,
    /// From sending `connect` until hello (protocol 3.3).
    pub hello_timeout: Duration,
    /// How long a peer may take to answer our close frame before the socket is dropped.
    pub close_grace: Duration,
    /// The default deadline of a request: queueing, writing and the reply together.
    pub request_timeout: Duration,
    /// The tick interval assumed when hello names none (protocol 3.9).
    pub default_tick_interval: Duration,
    /// Requests that may wait for a reply at once; more are queued.
    pub max_in_flight: usize,
    /// Requests that may be queued at once; more are refused.
    pub max_queued: usize,
    /// Bytes of methods and parameters that may be queued at once; more are refused.
    pub max_queued_bytes: usize,
    /// Frames handed to the transport but not yet written, at most; requests wait behind them.
    pub max_unwritten: usize,
    /// Events that may arrive before hello and be kept (protocol 10.5); more become a gap.
    pub max_early_events: usize,
    /// Bytes of frames that such events may keep; more become a gap as well.
    pub max_early_bytes: usize,
    /// The largest message accepted from the gateway, in bytes (protocol 1.8).
    pub max_message_bytes: usize,
    /// Bytes of the answers to the gateway's pings that may wait to be written. A gateway that pings faster than
    /// it reads is left, with [`ConnectionError::PingFlood`](super::ConnectionError::PingFlood).
    pub max_pong_bytes: usize,
    /// Live subscriptions, at most.
    pub max_subscriptions: usize,
    /// Items that may wait in one subscription; then the oldest give way to a `Lagged` item.
    pub subscription_items: usize,
    /// Bytes of frames that may wait in one subscription, with the same consequence.
    pub subscription_bytes: usize,
    /// The waits between attempts.
    pub backoff: BackoffOptions,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dial_timeout: Duration::from_secs(10),
            challenge_timeout: Duration::from_secs(15),
            hello_timeout: Duration::from_secs(15),
            close_grace: Duration::from_millis(500),
            request_timeout: Duration::from_secs(30),
            default_tick_interval: Duration::from_secs(30),
            max_in_flight: 128,
            max_queued: 1_024,
            max_queued_bytes: 64 * 1024 * 1024,
            max_unwritten: 32,
            max_early_events: 64,
            max_early_bytes: 4 * 1024 * 1024,
            max_message_bytes: 26_214_400,
            max_pong_bytes: 1024 * 1024,
            max_subscriptions: 256,
            subscription_items: 1_024,
            subscription_bytes: 64 * 1024 * 1024,
            backoff: BackoffOptions::default(),
        }
    }
}

/// The shortest time that makes sense. Below the resolution of [`Instant`](super::Instant) a wait
/// would be over when it begins.
const SHORTEST: Duration = Duration::from_millis(1);

impl Options {
    /// Checks that every time and limit makes sense.
    ///
    /// # Errors
    /// [`ConfigError::Option`], naming the first option that does not.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let durations = [
            ("dial_timeout", self.dial_timeout),
            ("challenge_timeout", self.challenge_timeout),
            ("hello_timeout", self.hello_timeout),
            ("close_grace", self.close_grace),
            ("request_timeout", self.request_timeout),
            ("default_tick_interval", self.default_tick_interval),
            ("backoff.initial", self.backoff.initial),
            ("backoff.cap", self.backoff.cap),
        ];
        let counts = [
            ("max_in_flight", self.max_in_flight),
            ("max_queued", self.max_queued),
            ("max_queued_bytes", self.max_queued_bytes),
            ("max_unwritten", self.max_unwritten),
            ("max_message_bytes", self.max_message_bytes),
            ("max_pong_bytes", self.max_pong_bytes),
            ("max_subscriptions", self.max_subscriptions),
            ("subscription_bytes", self.subscription_bytes),
        ];
        if let Some((name, _)) = durations.iter().find(|(_, value)| *value < SHORTEST) {
            return Err(ConfigError::Option { name, why: "must be at least a millisecond" });
        }
        if let Some((name, _)) = counts.iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError::Option { name, why: "must be greater than zero" });
        }
        if self.subscription_items < 4 {
            // A snapshot, a lag notice, the newest event and the end must fit.
            return Err(ConfigError::Option { name: "subscription_items", why: "must be at least 4" });
        }
        self.backoff.validate()
    }
}

/// The waits between attempts.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct BackoffOptions {
    /// The shortest first wait.
    pub initial: Duration,
    /// What each wait is multiplied by to give the next.
    pub growth: f64,
    /// The longest wait without a floor from the gateway.
    pub cap: Duration,
    /// How far waits spread, as a fraction: 0.2 gives 1.0 to 1.2 s for the first.
    pub jitter: f64,
    /// How long a connection must have been ready before earlier failures are forgotten (B48).
    pub stable_after: Duration,
    /// The longest `retryAfterMs` that is believed.
    pub retry_after_max: Duration,
}

impl Default for BackoffOptions {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            growth: 2.0,
            cap: Duration::from_secs(30),
            jitter: 0.2,
            stable_after: Duration::from_secs(30),
            retry_after_max: Duration::from_secs(600),
        }
    }
}

impl BackoffOptions {
    fn validate(&self) -> Result<(), ConfigError> {
        if !(1.0..=100.0).contains(&self.growth) {
            return Err(ConfigError::Option { name: "backoff.growth", why: "must be from 1 to 100" });
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(ConfigError::Option { name: "backoff.jitter", why: "must be from 0 to 1" });
        }
        if self.cap < self.initial {
            return Err(ConfigError::Option {
                name: "backoff.cap",
                why: "must not be below backoff.initial",
            });
        }
        Ok(())
    }
}
