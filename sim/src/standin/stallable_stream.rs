//! A TCP stream that stalls with its switch and ends politely.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::stall_switch::StallSwitch;

/// How long what a peer still sends is read after the end, so that it can read what was said last.
///
/// Closing a socket that holds unread bytes resets the connection, and a reset takes the last words with it.
const LINGER: Duration = Duration::from_secs(1);

/// One accepted connection.
pub(super) struct StallableStream {
    /// Present until the drop.
    stream: Option<(TcpStream, OwnedSemaphorePermit)>,
    stall_switch: StallSwitch,
}

impl StallableStream {
    /// The permit is held as long as the socket is.
    pub(super) fn new(stream: TcpStream, permit: OwnedSemaphorePermit, stall_switch: StallSwitch) -> Self {
        // Small frames go out at once; a socket that cannot be told so still works.
        let _ = stream.set_nodelay(true);
        StallableStream { stream: Some((stream, permit)), stall_switch }
    }

    fn poll_stream(&mut self, cx: &Context<'_>) -> Poll<Pin<&mut TcpStream>> {
        ready!(self.stall_switch.poll_open(cx));
        let (stream, _) = self.stream.as_mut().expect("it is there until the drop");
        Poll::Ready(Pin::new(stream))
    }
}

impl Drop for StallableStream {
    fn drop(&mut self) {
        let Some((stream, permit)) = self.stream.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = tokio::time::timeout(LINGER, drain(stream)).await;
                drop(permit);
            });
        }
    }
}

/// Says that nothing more comes, and reads until the peer says the same.
async fn drain(mut stream: TcpStream) {
    let mut unread = [0; 16 * 1024];
    let _ = stream.shutdown().await;
    while matches!(stream.read(&mut unread).await, Ok(1..)) {}
}

impl AsyncRead for StallableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_stream(cx)).poll_read(cx, into)
    }
}

impl AsyncWrite for StallableStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_stream(cx)).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_stream(cx)).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_stream(cx)).poll_shutdown(cx)
    }
}
