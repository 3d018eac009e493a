//! Plain TCP on tokio.

use std::io;

use tokio::net::TcpStream;

use crate::core::Endpoint;
use crate::network::Network;

/// TCP on tokio, for `ws://` endpoints.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpNetwork;

impl Network for TcpNetwork {
    type Stream = TcpStream;

    async fn connect(&self, endpoint: &Endpoint) -> io::Result<TcpStream> {
        if endpoint.is_secure() {
            let why = "wss:// needs a network with TLS, and TcpNetwork is plain TCP";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        let stream = TcpStream::connect((endpoint.host(), endpoint.port())).await?;
        // Frames are small and answers are waited for: latency matters more than packet count.
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}
