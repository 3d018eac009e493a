//! Names to addresses, in a way that can be given up.
//!
//! The system's resolver blocks its thread for as long as its name servers are silent, and nothing can interrupt it. So
//! it runs on threads that nobody waits for: not a dial, not a shutdown, not the end of the runtime or of the process.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use dns_lookup::{AddrFamily, AddrInfoHints, LookupError, LookupErrorKind, SockType, getaddrinfo};
use futures_util::{Stream, stream};
use tokio::sync::mpsc;

use super::os_error::shortage;
use crate::core::{DialError, NameProblem};

/// The addresses of a name, as they become known: one family may be answered for long before the other. It ends when
/// there is nothing more to come. Dropping it gives the lookup up.
pub type Answers = Pin<Box<dyn Stream<Item = Result<Vec<SocketAddr>, NameProblem>> + Send>>;

/// The answers of a lookup that brings all of them at once.
pub fn answer(
    lookup: impl Future<Output = Result<Vec<SocketAddr>, NameProblem>> + Send + 'static,
) -> Answers {
    Box::pin(stream::once(lookup))
}

/// Looks names up.
///
/// ```
/// use std::net::{Ipv4Addr, SocketAddr};
///
/// use onesocket::core::NameProblem;
/// use onesocket::net::TcpConnector;
/// use onesocket::net::resolver::{Answers, Resolver, answer};
///
/// /// Knows one name, of a container.
/// #[derive(Debug)]
/// struct Container(Ipv4Addr);
///
/// impl Resolver for Container {
///     fn resolve(&self, name: &str, port: u16) -> Answers {
///         let known = (name == "gateway.local").then(|| vec![SocketAddr::from((self.0, port))]);
///         answer(async { known.ok_or(NameProblem::NotFound) })
///     }
/// }
///
/// let network = TcpConnector::default().resolver(Container(Ipv4Addr::new(172, 17, 0, 2)));
/// # let _ = network;
/// ```
pub trait Resolver: fmt::Debug + Send + Sync + 'static {
    /// The addresses of `name` with `port`, the best first within each family.
    ///
    /// It must not block: it is called by the task that dials. The name is in lower case and has no dot at its end.
    fn resolve(&self, name: &str, port: u16) -> Answers;
}

/// The resolver of the operating system: its hosts file, its name servers, and whatever else it is set up with.
///
/// Nothing is kept, so a name that is mended is found at the next dial.
#[derive(Clone, Debug)]
pub struct SystemResolver {
    running: Arc<AtomicUsize>,
    max_lookups: usize,
}

/// Each family is looked up by itself, so that a name server that is silent about one of them holds up nobody.
const FAMILIES: [AddrFamily; 2] = [AddrFamily::Inet6, AddrFamily::Inet];

impl SystemResolver {
    /// A resolver with at most this many lookups under way or given up and not over yet, each in a thread of its own.
    /// A name takes two, one for each family.
    #[must_use]
    pub fn new(max_lookups: usize) -> Self {
        Self { running: Arc::default(), max_lookups }
    }

    /// Places for the lookups of one name, if there are enough.
    fn slots(&self) -> Option<[Slot; FAMILIES.len()]> {
        let more =
            |running: usize| Some(running + FAMILIES.len()).filter(|&running| running <= self.max_lookups);
        self.running.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(FAMILIES.map(|_| Slot(Arc::clone(&self.running))))
    }
}

impl Resolver for SystemResolver {
    fn resolve(&self, name: &str, port: u16) -> Answers {
        let (answered, mut answers) = mpsc::unbounded_channel();
        match self.slots() {
            None => {
                // The receiver is in this function.
                let _ = answered.send(Err(NameProblem::Busy { limit: self.max_lookups }));
            }
            Some(slots) => {
                for (family, slot) in FAMILIES.into_iter().zip(slots) {
                    let (name, to) = (name.to_owned(), answered.clone());
                    let work = move || {
                        let answer = lookup(&name, port, family);
                        drop(slot);
                        // Nobody may be waiting any more.
                        let _ = to.send(answer);
                    };
                    // Not a blocking task of the runtime, whose end would wait for it.
                    if let Err(error) = thread::Builder::new().name("gateway lookup".to_owned()).spawn(work) {
                        let _ = answered.send(Err(no_thread(&error)));
                    }
                }
            }
        }
        drop(answered);
        Box::pin(stream::poll_fn(move |cx| answers.poll_recv(cx)))
    }
}

/// One place among the lookups, given back when it is dropped.
struct Slot(Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn lookup(name: &str, port: u16, family: AddrFamily) -> Result<Vec<SocketAddr>, NameProblem> {
    let hints = AddrInfoHints {
        address: family.into(),
        socktype: SockType::Stream.into(),
        ..AddrInfoHints::default()
    };
    match addresses(name, port, hints) {
        Ok(addresses) => Ok(addresses),
        // Without a descriptor the resolver reads no hosts file and asks no server, and calls the name unknown.
        Err(error) => match UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| shortage(&error)) {
            Err(Some(shortage)) => Err(NameProblem::System(shortage)),
            Ok(_) | Err(None) => Err(problem(error)),
        },
    }
}

fn addresses(host: &str, port: u16, hints: AddrInfoHints) -> Result<Vec<SocketAddr>, LookupError> {
    let found: io::Result<Vec<_>> = getaddrinfo(Some(host), None, Some(hints))?.collect();
    let with_port = |mut address: SocketAddr| {
        address.set_port(port);
        address
    };
    Ok(found?.into_iter().map(|info| with_port(info.sockaddr)).collect())
}

fn problem(error: LookupError) -> NameProblem {
    match error.kind() {
        LookupErrorKind::NoName | LookupErrorKind::NoData => NameProblem::NotFound,
        LookupErrorKind::Again => NameProblem::Temporary,
        LookupErrorKind::Memory => NameProblem::System(crate::core::Shortage::Memory),
        LookupErrorKind::Badflags
        | LookupErrorKind::Fail
        | LookupErrorKind::Family
        | LookupErrorKind::Socktype
        | LookupErrorKind::Service
        | LookupErrorKind::System
        | LookupErrorKind::Unknown
        | LookupErrorKind::IO => {
            let error = io::Error::from(error);
            shortage(&error)
                .map_or_else(|| NameProblem::Failed(error.to_string().into()), NameProblem::System)
        }
    }
}

fn no_thread(error: &io::Error) -> NameProblem {
    shortage(error).map_or(NameProblem::System(crate::core::Shortage::Threads), NameProblem::System)
}

/// `AI_NUMERICHOST` of Linux and macOS: read the address and ask nobody.
const NUMERIC_HOST: i32 = 4;

/// A link-local address with the number of its interface, which has a name or is a number itself.
pub(super) fn scoped(address: Ipv6Addr, zone: &str, port: u16) -> Result<SocketAddr, DialError> {
    let hints =
        AddrInfoHints { flags: NUMERIC_HOST, socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
    let found = addresses(&format!("{address}%{zone}"), port, hints).ok();
    found.and_then(|found| found.first().copied()).ok_or_else(|| DialError::Zone { zone: zone.to_owned() })
}
