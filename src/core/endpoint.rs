//! Where a gateway is ([`Endpoint`]).

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use super::error::ConfigError;
use super::host::{Host, NOT_ASCII, is_private};
use super::peer_text::OneLine;
use super::pins::{PinPolicy, Pins};
use super::proxy::Proxy;

/// The gateway's default address.
pub const DEFAULT_URL: &str = "ws://127.0.0.1:18789";
/// The port used when a `ws://` url names none.
pub const DEFAULT_PORT: u16 = 18_789;

/// Where a gateway is: `ws://` or `wss://`, host, port and path.
///
/// Endpoints are equal by what they mean: an address or a name has one spelling, in lower case, without the dot of the
/// root and with the port written out. The path and the query are left as they are.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    secure: bool,
    host: Host,
    port: u16,
    path: String,
    pins: Option<Pins>,
    /// Whether what is sent there is readable on the way. `wss` is not, not even for the network below its TLS.
    clear: bool,
    proxy: Option<Arc<Proxy>>,
}

/// To which hosts `ws://` may go, where everybody on the way can read the token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Plaintext {
    /// This machine, addresses of private networks, and names in `.local` and `.ts.net` (protocol 18.1).
    #[default]
    Guarded,
    /// Also to any other name, like `gateway` or `host.docker.internal`.
    ///
    /// The risk is yours: whoever is in that network, or can answer for that name in it, gets the token. A public
    /// address is refused as ever, and so is a name that has no others when it is dialed.
    PrivateNames,
}

impl Endpoint {
    /// Parses a url. `http` and `https` are read as `ws` and `wss`; `ws` without a port means the
    /// gateway's default port 18789, `wss` without one means 443.
    ///
    /// # Errors
    /// When the url is malformed, its scheme is another one, it carries user info, or it is
    /// plaintext to a host that is neither loopback nor private (protocol 18.1).
    pub fn parse(url: &str) -> Result<Self, ConfigError> {
        Self::parse_with(url, Plaintext::Guarded)
    }

    /// Parses a url, with a say in where plaintext may go.
    ///
    /// # Errors
    /// As of [`parse`](Self::parse).
    pub fn parse_with(url: &str, plaintext: Plaintext) -> Result<Self, ConfigError> {
        let malformed = |why: String| ConfigError::Url { url: redact(url), why };
        let endpoint = Self::read(url.trim()).map_err(malformed)?;
        endpoint.guarded(plaintext)
    }

    /// The endpoint at the root of a host and a port. The host is a name or an address; an IPv6 one needs no brackets
    /// here, and its zone a plain `%`.
    ///
    /// # Errors
    /// [`ConfigError::Url`], with the url it would be, when it is neither, or the port is 0;
    /// [`ConfigError::PlaintextToPublicHost`].
    pub fn at(host: &str, port: u16, secure: bool) -> Result<Self, ConfigError> {
        let scheme = if secure { "wss" } else { "ws" };
        let malformed =
            |why: String| ConfigError::Url { url: redact(&format!("{scheme}://{host}:{port}")), why };
        let host = Host::alone(host.trim()).map_err(malformed)?;
        if port == 0 {
            return Err(malformed("its port is not a number from 1 to 65535".to_owned()));
        }
        let endpoint =
            Self { secure, host, port, path: "/".to_owned(), pins: None, clear: !secure, proxy: None };
        endpoint.guarded(Plaintext::Guarded)
    }

    /// The place of a proxy. What is sent there is not for the gateway's eyes only, whatever its name leads to.
    pub(super) fn of_proxy(secure: bool, host: Host, port: u16) -> Self {
        Self { secure, host, port, path: "/".to_owned(), pins: None, clear: false, proxy: None }
    }

    fn read(url: &str) -> Result<Self, String> {
        let uri = parsed(url)?;
        let secure = match uri.scheme_str().map(str::to_ascii_lowercase).as_deref() {
            Some("ws" | "http") => false,
            Some("wss" | "https") => true,
            Some(_) | None => return Err("it must begin with ws:// or wss://".to_owned()),
        };
        let authority = uri.authority().ok_or("it names no host")?;
        if authority.as_str().contains('@') {
            return Err("it carries user info, which is not a way to authenticate here".to_owned());
        }
        let host = authority.host();
        if host.is_empty() || host == "[]" {
            return Err("it names no host".to_owned());
        }
        // `Authority::port` takes a port it cannot read for none at all, and a mistyped port must not
        // become the default one.
        let port = match authority.as_str()[host.len()..].strip_prefix(':') {
            None if secure => 443,
            None => DEFAULT_PORT,
            Some(port) => match port.parse::<NonZeroU16>() {
                Ok(number) if port.bytes().all(|byte| byte.is_ascii_digit()) => number.get(),
                Ok(_) | Err(_) => return Err("its port is not a number from 1 to 65535".to_owned()),
            },
        };
        let path = request_target(uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str));
        Ok(Self { secure, host: Host::of_url(host)?, port, path, pins: None, clear: !secure, proxy: None })
    }

    fn guarded(self, plaintext: Plaintext) -> Result<Self, ConfigError> {
        if self.secure || self.may_be_plaintext(plaintext) {
            return Ok(self);
        }
        Err(ConfigError::PlaintextToPublicHost { host: self.host.bracketed() })
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Whether it is this machine: what is sent there does not cross a network. Behind a proxy it is that machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let is_direct = self.proxy.is_none();
        is_direct
            && (self.host() == "localhost" || self.address().is_some_and(|address| address.is_loopback()))
    }

    /// Whether only private addresses will do: plaintext, to a name that may turn out to be a public host. Networks that
    /// look names up heed it.
    #[must_use]
    pub fn wants_private_address(&self) -> bool {
        self.clear && self.address().is_none()
    }

    /// Whether nobody but the gateway can be at the other end: this machine, or the holder of a pinned certificate or
    /// key. Only there may a stored token be tried beside one that was refused (protocol 7.10).
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        let is_pinned = self.pins.as_ref().is_some_and(|pins| match pins.policy() {
            PinPolicy::Alone | PinPolicy::AndSystem => true,
            PinPolicy::OrSystem => false,
        });
        self.is_loopback() || is_pinned
    }

    /// The same endpoint, where only a gateway with this pin, or with one of these [`Pins`], will do.
    ///
    /// # Errors
    /// [`ConfigError::PinWithoutTls`] for a `ws://` endpoint, which presents no certificate (protocol 18.2).
    pub fn pinned(mut self, pins: impl Into<Pins>) -> Result<Self, ConfigError> {
        if !self.secure {
            return Err(ConfigError::PinWithoutTls);
        }
        self.pins = Some(pins.into());
        Ok(self)
    }

    /// What the gateway is known by, if it is pinned.
    #[must_use]
    pub fn pins(&self) -> Option<&Pins> {
        self.pins.as_ref()
    }

    /// The same endpoint, reached through this proxy, or through none.
    #[must_use]
    pub fn through(mut self, proxy: impl Into<Option<Proxy>>) -> Self {
        self.proxy = proxy.into().map(Arc::new);
        self
    }

    /// The proxy that it is reached through.
    #[must_use]
    pub fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_deref()
    }

    /// The TCP endpoint below a TLS one, for networks that put TLS on top of others.
    #[cfg(feature = "tls")]
    pub(crate) fn below_tls(&self) -> Self {
        Self { secure: false, pins: None, ..self.clone() }
    }

    /// The host name or address, without the brackets and the zone of an IPv6 address.
    #[must_use]
    pub fn host(&self) -> &str {
        self.host.text()
    }

    /// The address, unless the host is a name.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.host.address()
    }

    /// The network interface that a link-local address belongs to, by name or number (RFC 4007). It means something on
    /// this machine only, and no gateway is told it.
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        self.host.zone()
    }

    /// The TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The value of the `Host` header: the host without its zone, and the port unless it is the default one of HTTP
    /// below the scheme, 80 or 443.
    #[must_use]
    pub fn host_header(&self) -> String {
        let default = if self.secure { 443 } else { 80 };
        let host = self.host.bracketed();
        if self.port == default { host } else { format!("{host}:{}", self.port) }
    }

    /// Host and port, as a proxy is told them.
    #[must_use]
    pub fn host_and_port(&self) -> String {
        format!("{}:{}", self.host.bracketed(), self.port)
    }

    /// The request target: path and query, with a `/` in front.
    #[must_use]
    pub fn request_target(&self) -> &str {
        &self.path
    }

    /// The url, all of it: with the query, which may be secret.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.secure { "wss" } else { "ws" };
        format!("{scheme}://{}:{}{}", self.host.in_url(), self.port, self.path)
    }

    /// What stands behind the `?`, which may hold a secret.
    pub(super) fn query(&self) -> Option<&str> {
        self.path.split_once('?').map(|(_, query)| query)
    }

    /// Plaintext is for loopback, private networks and local names only (protocol 18.1).
    fn may_be_plaintext(&self, plaintext: Plaintext) -> bool {
        match (self.address(), plaintext) {
            (Some(address), Plaintext::Guarded | Plaintext::PrivateNames) => is_private(address),
            (None, Plaintext::PrivateNames) => true,
            (None, Plaintext::Guarded) => {
                let host = self.host();
                host == "localhost" || host.ends_with(".local") || host.ends_with(".ts.net")
            }
        }
    }
}

/// The url without its query, which may hold a token.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url();
        match url.split_once('?') {
            Some((url, _)) => write!(f, "{}?…", OneLine::whole(url)),
            None => OneLine::whole(&url).fmt(f),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)?;
        self.proxy.as_ref().map_or(Ok(()), |proxy| write!(f, " through {proxy}"))
    }
}

fn parsed(url: &str) -> Result<http::Uri, String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    if !authority.is_ascii() && !authority.contains('@') {
        return Err(NOT_ASCII.to_owned());
    }
    url.parse().map_err(|_| "it cannot be parsed".to_owned())
}

/// Path and query as HTTP has them: never without a path, and what is not ASCII as the bytes of its UTF-8.
fn request_target(path_and_query: &str) -> String {
    let mut target = String::with_capacity(path_and_query.len() + 1);
    if !path_and_query.starts_with('/') {
        target.push('/');
    }
    for c in path_and_query.chars() {
        if c.is_ascii() {
            target.push(c);
        } else {
            let mut bytes = [0; 4];
            c.encode_utf8(&mut bytes).bytes().for_each(|byte| target.push_str(&format!("%{byte:02X}")));
        }
    }
    target
}

/// The url for an error message, without what stands before an `@` or behind a `?` or `#`: the places
/// where people put secrets.
pub(super) fn redact(url: &str) -> String {
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
