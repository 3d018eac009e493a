//! Plain TCP on tokio.

use std::future::ready;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::happy_eyeballs::{Lost, Rules, race};
use super::os_error::connect_error;
use super::resolver::{self, Answers, Resolver, SystemResolver, scoped};
use crate::core::{AddressFailure, AddressFailures, ConfigError, DialError, Endpoint, NameProblem};
use crate::network::Network;

/// TCP on tokio, for `ws://` endpoints: a [`TcpConnector`] with the default options, of which the process has one.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpNetwork;

static DEFAULT: LazyLock<TcpConnector> = LazyLock::new(TcpConnector::default);

impl Network for TcpNetwork {
    type Stream = TcpStream;

    async fn connect(&self, endpoint: &Endpoint) -> io::Result<TcpStream> {
        DEFAULT.connect(endpoint).await
    }

    async fn connect_within(&self, endpoint: &Endpoint, limit: Duration) -> io::Result<TcpStream> {
        DEFAULT.connect_within(endpoint, limit).await
    }
}

/// TCP on tokio, with options and a resolver of its own.
///
/// A name may have many addresses, of which some lead nowhere. All are tried, IPv6 and IPv4 in turn, each a moment after
/// the one before or as soon as one has failed; the first to connect is taken and the others are dropped (RFC 8305).
/// What failed is told for each address ([`DialError::Addresses`]). `localhost` is this machine, without a lookup. Plaintext goes to private addresses only, whatever a
/// name leads to.
#[derive(Clone, Debug)]
pub struct TcpConnector {
    options: TcpOptions,
    resolver: Arc<dyn Resolver>,
}

/// How a [`TcpConnector`] behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpOptions {
    /// From the start of an attempt to that of the next, if none has failed before; 250 ms by default.
    pub attempt_delay: Duration,
    /// How long IPv4 addresses wait for IPv6 ones, which go first; 50 ms by default.
    pub resolution_delay: Duration,
    /// Addresses of a name that are tried; 64 by default.
    pub max_addresses: usize,
    /// Lookups of the system's resolver that may be under way at once, or given up and not over yet; 64 by default. A
    /// name takes two.
    pub max_lookups: usize,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            attempt_delay: Duration::from_millis(250),
            resolution_delay: Duration::from_millis(50),
            max_addresses: 64,
            max_lookups: 64,
        }
    }
}

impl TcpOptions {
    /// Checks that every time and limit makes sense.
    ///
    /// # Errors
    /// [`ConfigError::Option`], naming the first option that does not.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let unusable = |name, why| Err(ConfigError::Option { name, why });
        // Less would be a flood to a host with many addresses (RFC 8305, 5).
        if self.attempt_delay < Duration::from_millis(10) {
            return unusable("attempt_delay", "must be at least 10 ms");
        }
        if self.max_addresses == 0 {
            return unusable("max_addresses", "must be greater than zero");
        }
        if self.max_lookups < 2 {
            return unusable("max_lookups", "must be at least 2");
        }
        Ok(())
    }
}

impl Default for TcpConnector {
    fn default() -> Self {
        let options = TcpOptions::default();
        let resolver = Arc::new(SystemResolver::new(options.max_lookups));
        Self { options, resolver }
    }
}

impl TcpConnector {
    /// A connector that looks names up as the system does.
    ///
    /// # Errors
    /// [`ConfigError::Option`], for options that make no sense.
    pub fn new(options: TcpOptions) -> Result<Self, ConfigError> {
        options.validate()?;
        let resolver = Arc::new(SystemResolver::new(options.max_lookups));
        Ok(Self { options, resolver })
    }

    /// Looks names up with this instead.
    #[must_use]
    pub fn resolver(mut self, resolver: impl Resolver) -> Self {
        self.resolver = Arc::new(resolver);
        self
    }

    async fn dial(&self, endpoint: &Endpoint, deadline: Option<Instant>) -> Result<TcpStream, DialError> {
        if endpoint.is_secure() {
            let why = "wss:// needs a network with TLS, and this one is plain TCP";
            return Err(DialError::Unsupported(why.into()));
        }
        if let Some(proxy) = endpoint.proxy() {
            let why = format!("it is to be reached through {proxy}, which needs a network with proxies");
            return Err(DialError::Unsupported(why.into()));
        }
        let rules = Rules {
            attempt_delay: self.options.attempt_delay,
            resolution_delay: self.options.resolution_delay,
            max_addresses: self.options.max_addresses,
            deadline,
            private_only: endpoint.wants_private_address(),
        };
        let lost = match race(self.addresses(endpoint)?, rules, connect).await {
            Ok(stream) => return Ok(stream),
            Err(lost) => lost,
        };
        Err(failure(endpoint, lost))
    }

    fn addresses(&self, endpoint: &Endpoint) -> Result<Answers, DialError> {
        let port = endpoint.port();
        let known = match (endpoint.address(), endpoint.zone()) {
            // It is trusted as this machine, so no name server has a say in it (RFC 6761, 6.3).
            (None, _) if endpoint.is_loopback() => {
                vec![(Ipv6Addr::LOCALHOST, port).into(), (Ipv4Addr::LOCALHOST, port).into()]
            }
            (None, _) => return Ok(self.resolver.resolve(endpoint.host(), port)),
            (Some(IpAddr::V6(address)), Some(zone)) => vec![scoped(address, zone, port)?],
            (Some(address), _) => vec![SocketAddr::new(address, port)],
        };
        Ok(resolver::answer(ready(Ok(known))))
    }
}

impl Network for TcpConnector {
    type Stream = TcpStream;

    async fn connect(&self, endpoint: &Endpoint) -> io::Result<TcpStream> {
        self.dial(endpoint, None).await.map_err(io::Error::other)
    }

    async fn connect_within(&self, endpoint: &Endpoint, limit: Duration) -> io::Result<TcpStream> {
        let deadline = Instant::now().checked_add(limit);
        self.dial(endpoint, deadline).await.map_err(io::Error::other)
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, DialError> {
    let stream =
        TcpStream::connect(address).await.map_err(|error| match (address, Errno::from_io_error(&error)) {
            (SocketAddr::V6(v6), Some(Errno::INVAL))
                if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 =>
            {
                let why =
                    "a link-local address needs the network interface it belongs to, as in [fe80::1%25eth0]";
                DialError::Unsupported(why.into())
            }
            (SocketAddr::V4(_) | SocketAddr::V6(_), _) => connect_error(&error),
        })?;
    // Frames are small and answers are waited for: latency matters more than packet count.
    stream.set_nodelay(true).map_err(|error| connect_error(&error))?;
    Ok(stream)
}

fn failure(endpoint: &Endpoint, lost: Lost<DialError>) -> DialError {
    match lost.problem {
        Some(NameProblem::System(shortage)) => return DialError::System(shortage),
        Some(problem) => return DialError::Name { name: endpoint.host().to_owned(), problem },
        None => {}
    }
    let failures = lost
        .attempts
        .into_iter()
        .map(|(address, error)| AddressFailure { address, error: error.unwrap_or(DialError::TimedOut) });
    AddressFailures::new(failures.collect(), lost.untried).into()
}
