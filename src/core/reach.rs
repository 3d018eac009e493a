//! Why a host could not be reached: its name, its addresses, or what this system lacks.

use std::fmt;
use std::net::SocketAddr;

use thiserror::Error;

use super::error::DialError;
use super::peer_text::PeerText;

/// The most addresses that an error tells about.
const ADDRESSES_TOLD: usize = 8;

/// Why a name led to no address. All of these may mend themselves: zones change, name servers come back, and a name of a
/// private network is unknown until its VPN is up.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameProblem {
    /// Whoever knows the names says that there is none, or that it has no addresses.
    #[error("no such name is known, or it has no addresses: check it, and whether a VPN must be up")]
    NotFound,
    /// The lookup was not over when the time was.
    #[error("the name servers did not answer in time: check the network")]
    Unanswered,
    /// The system's resolver gave up for now: its name servers failed, did not answer or were not reached.
    #[error("the name servers failed or could not be reached: check the network")]
    Temporary,
    /// The lookup failed otherwise.
    #[error("the lookup failed: {0}")]
    Failed(PeerText),
    /// Lookups that were given up still occupy the system's resolver.
    #[error("{limit} earlier lookups still wait for the name servers")]
    Busy {
        /// How many may.
        limit: usize,
    },
    /// There are addresses, and none is private, as plaintext needs it (protocol 18.1). Nothing was sent.
    #[error("it leads to public addresses only, and plaintext ws:// is for private ones: use wss://")]
    Public,
    /// The system had no means for the lookup.
    #[error("{0}")]
    System(Shortage),
}

/// What the operating system has run out of. Waiting may help: others give things back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Shortage {
    /// This process has as many files and sockets open as it may.
    #[error("this process is out of file descriptors: close some, or raise its limit (ulimit -n)")]
    Descriptors,
    /// The whole system has.
    #[error("the system is out of file descriptors")]
    SystemDescriptors,
    /// Memory or buffers of the network.
    #[error("the system is out of memory for connections")]
    Memory,
    /// Threads.
    #[error("the system allows no more threads")]
    Threads,
    /// There is no address of that family here to connect from, or no free port.
    #[error("this machine has no address or no free port to connect from")]
    LocalAddress,
}

/// What became of the attempt to reach one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressFailure {
    /// The address.
    pub address: SocketAddr,
    /// Why it was not reached.
    pub error: DialError,
}

/// What became of the attempts to reach each of several addresses, in the order of their ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressFailures {
    told: Vec<AddressFailure>,
    total: usize,
    untried: usize,
}

impl AddressFailures {
    /// Keeps the first few of `failures`, beside how many there are, and how many addresses were not tried.
    #[must_use]
    pub fn new(mut failures: Vec<AddressFailure>, untried: usize) -> Self {
        let total = failures.len();
        failures.truncate(ADDRESSES_TOLD);
        Self { told: failures, total, untried }
    }

    /// The first few, at most eight.
    #[must_use]
    pub fn told(&self) -> &[AddressFailure] {
        &self.told
    }

    pub(super) fn told_mut(&mut self) -> impl Iterator<Item = &mut DialError> {
        self.told.iter_mut().map(|failure| &mut failure.error)
    }

    /// How many failed.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }

    /// How many were not tried, because the time was up or there were too many.
    #[must_use]
    pub fn untried(&self) -> usize {
        self.untried
    }
}

impl fmt::Display for AddressFailures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "none of {} addresses could be reached", self.total + self.untried)?;
        for (at, AddressFailure { address, error }) in self.told.iter().enumerate() {
            write!(f, "{} {address}: {error}", if at == 0 { ":" } else { ";" })?;
        }
        match self.total - self.told.len() {
            0 => {}
            more => write!(f, "; and {more} more")?,
        }
        match self.untried {
            0 => Ok(()),
            untried => write!(f, "; {untried} were not tried"),
        }
    }
}

/// One address speaks for itself, and so does a lack of this system that every attempt met.
impl From<AddressFailures> for DialError {
    fn from(failures: AddressFailures) -> Self {
        let first = failures.told.first().map(|failure| failure.error.clone());
        match first {
            Some(error) if failures.total == 1 && failures.untried == 0 => error,
            Some(Self::System(lack)) if failures.told.iter().all(|one| one.error == Self::System(lack)) => {
                Self::System(lack)
            }
            Some(_) | None => Self::Addresses(failures),
        }
    }
}
