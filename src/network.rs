//! The one seam between this library and the world.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::core::{DialError, Endpoint, Shortage};

/// Opens byte streams.
///
/// Production uses [`net::TcpNetwork`](crate::net::TcpNetwork); a simulation brings its own. Time
/// comes from the runtime's timer, which a paused or simulated runtime controls.
pub trait Network: Send + Sync + 'static {
    /// A connected byte stream, encrypted if the endpoint asks for it. Dropping it closes it.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Opens a stream to `endpoint`: name lookup, TCP, and TLS for `wss://`.
    ///
    /// Cancel safe: the driver drops the future when the attempt is no longer wanted or its time is
    /// up. Answer [`io::ErrorKind::Unsupported`] for endpoints this network can never reach; the
    /// connection then pauses instead of retrying. An error that carries a
    /// [`DialError`], made with [`io::Error::other`], is reported as that.
    fn connect(&self, endpoint: &Endpoint) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Opens a stream to `endpoint`, by somebody who waits for `limit` and no longer. This is what the driver calls.
    ///
    /// A network that knows what it waits for, like a name server or each of several addresses, says so in its error
    /// when the time is up, and one on top of another passes on what is left. By itself the limit is not heeded: then the
    /// future is dropped, and all that is known is that the dial took too long.
    fn connect_within(
        &self,
        endpoint: &Endpoint,
        limit: Duration,
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send {
        let _ = limit;
        self.connect(endpoint)
    }

    /// How many bytes have arrived over `stream`, where more arrive than can be read from it yet, as below TLS, whose
    /// records are passed on when they are whole. They show that the peer lives, on however slow a line.
    ///
    /// By itself what is read from the stream is counted, and a network on top of another asks that one.
    fn bytes_arrived(stream: &Self::Stream) -> Option<u64> {
        let _ = stream;
        None
    }
}

/// A stream of the network below, which is told what is left of the time.
pub(crate) async fn connect_until<N: Network>(
    network: &N,
    endpoint: &Endpoint,
    deadline: Option<Instant>,
) -> io::Result<N::Stream> {
    match deadline {
        Some(deadline) => {
            network.connect_within(endpoint, deadline.saturating_duration_since(Instant::now())).await
        }
        None => network.connect(endpoint).await,
    }
}

/// What the failure of a network means.
pub(crate) fn dial_error(error: &io::Error) -> DialError {
    // A network that knows better than the operating system's kinds says so.
    if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<DialError>()) {
        return error.clone();
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => DialError::Refused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => {
            DialError::Unreachable
        }
        io::ErrorKind::TimedOut => DialError::TimedOut,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => DialError::Reset,
        io::ErrorKind::PermissionDenied => DialError::Denied,
        io::ErrorKind::OutOfMemory => DialError::System(Shortage::Memory),
        io::ErrorKind::AddrNotAvailable => DialError::System(Shortage::LocalAddress),
        io::ErrorKind::Unsupported => DialError::Unsupported(error.to_string().into()),
        _ => DialError::Io(error.to_string().into()),
    }
}
