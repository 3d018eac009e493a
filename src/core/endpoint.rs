//! Where a gateway is ([`Endpoint`]).

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;

use super::certificate::CertificatePin;
use super::error::ConfigError;

/// The gateway's default address.
pub const DEFAULT_URL: &str = "ws://127.0.0.1:18789";
/// The port used when a `ws://` url names none (peer behaviour 167).
pub const DEFAULT_PORT: u16 = 18_789;

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
