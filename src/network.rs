//! The one seam between this library and the world.

use std::future::Future;
use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::core::Endpoint;

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
    /// [`DialError`](crate::core::DialError), made with [`io::Error::other`], is reported as that.
    fn connect(&self, endpoint: &Endpoint) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}
