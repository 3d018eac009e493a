//! What can end a connection from outside: the driver that carries its inputs and effects is gone.

use std::fmt;

use thiserror::Error;

/// What ended the driver of a client that nobody had shut down.
///
/// Such a client is over for good: nothing is sent or dialed any more, and all that waited for it was told so. Make
/// another client. A hub does so by itself when it is asked the next time.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DriverEnd {
    /// The runtime that the client was made in was shut down or dropped: make another client within a runtime that
    /// lives on.
    #[error("the runtime of the client is gone: make another client in a runtime that lives on")]
    RuntimeGone,
    /// The future of the driver was dropped, as when its task is aborted: keep it until the client is shut down.
    #[error("the driver of the client was dropped before it was shut down: make another client")]
    Dropped,
    /// Code that runs within the driver has panicked, which is a bug of that code.
    #[error("{part} panicked ({message}): that is a bug there; make another client")]
    Panicked {
        /// Whose code it was.
        part: DriverPart,
        /// The start of the panic's message, in one line, as whoever panicked wrote it.
        message: String,
    },
}

/// Whose code runs within a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DriverPart {
    /// The app's token store.
    TokenStore,
    /// The network, or a stream of it.
    Network,
    /// This library, or what it calls elsewhere: a subscriber to its log lines, or the waker of a caller.
    Driver,
}

impl fmt::Display for DriverPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TokenStore => "the token store",
            Self::Network => "the network",
            Self::Driver => "the driver",
        })
    }
}
