//! A proxy between this machine and the gateway ([`Proxy`]), and why it was of no use.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use thiserror::Error;

use super::config::Secret;
use super::endpoint::{Endpoint, redact};
use super::error::{ConfigError, DialError};
use super::host::{Host, percent_decoded};
use super::peer_text::PeerText;

/// The longest user name and the longest password of SOCKS5 (RFC 1929).
const SOCKS_CREDENTIAL_BYTES: usize = 255;

/// A proxy: where it is, what it speaks, and what proves that we may use it.
///
/// It looks the gateway's name up by itself. With `wss://` it carries what it cannot read; with `ws://` it reads
/// everything. It is a part of the effective config.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    protocol: ProxyProtocol,
    host: Host,
    port: u16,
    user: Option<String>,
    password: Option<Secret>,
}

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ProxyProtocol {
    /// HTTP, with the method `CONNECT`.
    Http,
    /// The same within TLS.
    Https,
    /// SOCKS version 5 (RFC 1928).
    Socks5,
}

impl Proxy {
    /// Reads `http://`, `https://`, `socks5://` or `socks5h://` with a host and, if need be, a port and credentials, like
    /// `http://user:password@proxy.example:3128`. Without a scheme it is `http`. The default ports are 80, 443 and 1080.
    /// Credentials are percent-decoded.
    ///
    /// # Errors
    /// [`ConfigError::Proxy`] when it is none of these.
    pub fn parse(url: &str) -> Result<Self, ConfigError> {
        let url = url.trim();
        Self::read(url).map_err(|why| ConfigError::Proxy { url: redact(url), why })
    }

    fn read(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let protocol = match scheme.to_ascii_lowercase().as_str() {
            "http" => ProxyProtocol::Http,
            "https" => ProxyProtocol::Https,
            "socks" | "socks5" | "socks5h" => ProxyProtocol::Socks5,
            _ => return Err("it must begin with http://, https://, socks5:// or socks5h://".to_owned()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (credentials, authority) = match rest.rsplit_once('@') {
            Some((credentials, authority)) => (Some(credentials), authority),
            None => (None, rest),
        };
        if authority.contains(['/', '?', '#']) {
            return Err("it has a path, which a proxy has not".to_owned());
        }
        let (host, port) = split_port(authority);
        let port = match port {
            None => protocol.default_port(),
            Some(port) => match port.parse::<NonZeroU16>() {
                Ok(number) if port.bytes().all(|byte| byte.is_ascii_digit()) => number.get(),
                Ok(_) | Err(_) => return Err("its port is not a number from 1 to 65535".to_owned()),
            },
        };
        let (user, password) = match credentials {
            Some(credentials) => protocol.credentials(credentials)?,
            None => (None, None),
        };
        Ok(Self { protocol, host: Host::of_url(host)?, port, user, password })
    }

    /// The proxy that the environment names for this endpoint, if it does.
    ///
    /// `https_proxy` is for `wss://` and `http_proxy` for `ws://`; `all_proxy` is for both, after these; `no_proxy` lists
    /// names with all below them, addresses and networks like `10.0.0.0/8` that are reached without, each with a port or
    /// without, or `*` for all. Each is read in lower case first and then in upper case, and blank ones count as absent;
    /// but where `REQUEST_METHOD` is set, `HTTP_PROXY` may come from a header of a request and is not read. This machine
    /// is never reached through a proxy of the environment.
    ///
    /// `environment` looks a variable up: `|name| std::env::var(name).ok()` in an app, a table in a test.
    ///
    /// # Errors
    /// [`ConfigError::Proxy`] when the variable that counts cannot be used.
    pub fn of_environment(
        endpoint: &Endpoint,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, ConfigError> {
        let set = |name: &str| {
            environment(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let either = |lower: &str, upper: &str| set(lower).or_else(|| set(upper));
        if endpoint.is_loopback()
            || either("no_proxy", "NO_PROXY").is_some_and(|list| excepts(&list, endpoint))
        {
            return Ok(None);
        }
        let own = if endpoint.is_secure() {
            either("https_proxy", "HTTPS_PROXY")
        } else {
            let upper = if set("REQUEST_METHOD").is_none() { set("HTTP_PROXY") } else { None };
            set("http_proxy").or(upper)
        };
        own.or_else(|| either("all_proxy", "ALL_PROXY")).map(|url| Self::parse(&url)).transpose()
    }

    /// What it speaks.
    #[must_use]
    pub fn protocol(&self) -> ProxyProtocol {
        self.protocol
    }

    /// Where it is, for a network to dial.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::of_proxy(self.protocol == ProxyProtocol::Https, self.host.clone(), self.port)
    }

    /// The user name and the password, if it wants any.
    #[must_use]
    pub fn credentials(&self) -> Option<(&str, &str)> {
        self.user.as_deref().map(|user| (user, self.password.as_ref().map_or("", Secret::expose)))
    }

    fn parts(&self) -> (ProxyProtocol, &Host, u16, Option<(&str, &str)>) {
        (self.protocol, &self.host, self.port, self.credentials())
    }
}

/// By the place alone, so that no hash tells anything about a password.
impl Hash for Proxy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.protocol, &self.host, self.port).hash(state);
    }
}

impl PartialOrd for Proxy {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Proxy {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

/// The url without the credentials.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            ProxyProtocol::Http => "http",
            ProxyProtocol::Https => "https",
            ProxyProtocol::Socks5 => "socks5",
        };
        let user = if self.user.is_some() { "…@" } else { "" };
        write!(f, "{scheme}://{user}{}:{}", self.host.in_url(), self.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl ProxyProtocol {
    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Socks5 => 1080,
        }
    }

    fn credentials(self, text: &str) -> Result<(Option<String>, Option<Secret>), String> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        let decoded = |text: &str| {
            let text = percent_decoded(text).filter(|text| !text.chars().any(char::is_control));
            text.ok_or_else(|| "its credentials are not readable: write a % as %25".to_owned())
        };
        let (user, password) = (decoded(user)?, Secret::verbatim(&decoded(password)?));
        let length = password.as_ref().map_or(0, |password| password.expose().len());
        match self {
            Self::Http | Self::Https if user.contains(':') => Err("its user name has a colon".to_owned()),
            // A name may stand without a password in HTTP, and not here.
            Self::Socks5
                if ![user.len(), length].iter().all(|bytes| (1..=SOCKS_CREDENTIAL_BYTES).contains(bytes)) =>
            {
                Err(format!("a user name and a password of SOCKS5 have 1 to {SOCKS_CREDENTIAL_BYTES} bytes"))
            }
            Self::Http | Self::Https | Self::Socks5 => Ok((Some(user), password)),
        }
    }
}

/// Why a connection through a proxy came to nothing. All of it is the doing of the proxy, or of what is behind it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProxyProblem {
    /// There is no connection to the proxy itself.
    #[error("it could not be reached: {0}")]
    Unreachable(Box<DialError>),
    /// It wants credentials, or others.
    #[error("{}", if *.given { "it refuses the credentials" } else { "it wants credentials" })]
    Credentials {
        /// Whether it was given some.
        given: bool,
    },
    /// Its rules forbid a connection to the gateway.
    #[error("its rules forbid a connection to the gateway")]
    Forbidden,
    /// It answered `CONNECT` with this; 502, 503 and 504 mean that it could not reach the gateway.
    #[error("it answered with HTTP {status} {reason}")]
    Http {
        /// The status.
        status: u16,
        /// The words that came with it.
        reason: PeerText,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// It answered that it could not connect to the gateway.
    #[error("it could not connect to the gateway: {0}")]
    Socks(SocksReply),
    /// What answers does not speak the proxy's protocol.
    #[error("what answers there is no such proxy")]
    OtherProtocol,
    /// It ended the connection instead of answering.
    #[error("it ended the connection without an answer")]
    Ended,
    /// It did not answer in time.
    #[error("it did not answer in time")]
    Silent,
}

/// A failure that a SOCKS5 proxy reports (RFC 1928, 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum SocksReply {
    /// 1: it does not say what.
    #[error("a general failure")]
    General,
    /// 3.
    #[error("the network cannot be reached")]
    NetworkUnreachable,
    /// 4.
    #[error("the host cannot be reached")]
    HostUnreachable,
    /// 5.
    #[error("the connection was refused")]
    Refused,
    /// 6.
    #[error("the time to live expired")]
    Expired,
    /// 7: it cannot connect at all.
    #[error("it does not support connections")]
    CommandUnsupported,
    /// 8: it knows no names, or no IPv6.
    #[error("it does not support this kind of address")]
    AddressUnsupported,
    /// One that RFC 1928 does not name.
    #[error("the unknown failure {0}")]
    Other(u8),
}

impl ProxyProblem {
    /// Whether waiting does not help, and somebody has to act.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Credentials { .. } | Self::Forbidden => true,
            Self::Unreachable(error) => matches!(**error, DialError::Unsupported(_)),
            // Who says when to come again does not mean never.
            Self::Http { retry_after: Some(_), .. } => false,
            // Whatever cannot connect to gateways is no proxy for them; a server in trouble may recover.
            Self::Http { status, .. } => match status {
                408 | 425 | 429 => false,
                501 | 505 => true,
                other => (400..500).contains(other),
            },
            Self::Socks(SocksReply::CommandUnsupported | SocksReply::AddressUnsupported) => true,
            Self::Socks(
                SocksReply::General
                | SocksReply::NetworkUnreachable
                | SocksReply::HostUnreachable
                | SocksReply::Refused
                | SocksReply::Expired
                | SocksReply::Other(_),
            ) => false,
            Self::OtherProtocol | Self::Ended | Self::Silent => false,
        }
    }

    /// The proxy's wish for the time before a retry.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::Http { retry_after, .. } = self { *retry_after } else { None }
    }
}

/// Whether `no_proxy` lists the endpoint.
fn excepts(list: &str, endpoint: &Endpoint) -> bool {
    list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty()).any(|entry| is_meant(entry, endpoint))
}

fn is_meant(entry: &str, endpoint: &Endpoint) -> bool {
    if entry == "*" {
        return true;
    }
    if let Some((network, bits)) = entry.split_once('/') {
        let network = network.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        let (Some(network), Ok(bits), Some(address)) = (network, bits.parse::<u32>(), endpoint.address())
        else {
            return false;
        };
        return is_within(address, network, bits);
    }
    // An IPv6 address without brackets has colons, but no port.
    let (host, port) = if entry.parse::<IpAddr>().is_ok() { (entry, None) } else { split_port(entry) };
    if port.is_some_and(|port| port.parse() != Ok(endpoint.port())) {
        return false;
    }
    let host = host.trim_start_matches("*.").trim_start_matches('.');
    match (Host::alone(host), endpoint.address()) {
        (Ok(meant), Some(address)) => meant.address() == Some(address),
        (Ok(meant), None) => {
            let rest = endpoint.host().strip_suffix(meant.text());
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        }
        (Err(_), _) => false,
    }
}

fn is_within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    let (address, network, width) = match (address, network) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (u128::from(one.to_bits()), u128::from(other.to_bits()), 32),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits(), other.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    bits <= width && (address ^ network).checked_shr(width - bits).unwrap_or(0) == 0
}

/// The host, with brackets if it has any, and what follows a colon after it.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    let end_of_host = authority.rfind(']').map_or(0, |at| at + 1);
    match authority[end_of_host..].find(':') {
        Some(at) => (&authority[..end_of_host + at], Some(&authority[end_of_host + at + 1..])),
        None => (authority, None),
    }
}
