//! The one place that a socket of a config can be in.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::core::Endpoint;
use crate::network::{Network, connect_until};

/// Room for one socket. Clones are the same room.
#[derive(Clone)]
pub(super) struct Slot(Arc<Semaphore>);

impl Slot {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

/// A network in which each dial waits until the socket before it is gone.
///
/// A socket carries its place with it. So two sockets cannot overlap, whoever owns them, and a new
/// client may begin while the one before it is still closing (B13).
pub(super) struct SlotNetwork<N> {
    pub(super) network: Arc<N>,
    pub(super) slot: Slot,
}

impl<N: Network> SlotNetwork<N> {
    async fn connect_until(
        &self,
        endpoint: &Endpoint,
        deadline: Option<Instant>,
    ) -> io::Result<Placed<N::Stream>> {
        let place = Arc::clone(&self.slot.0).acquire_owned().await;
        let place = place.expect("the semaphore is never closed");
        let stream = connect_until(&*self.network, endpoint, deadline).await?;
        Ok(Placed { stream, _place: place })
    }
}

impl<N: Network> Network for SlotNetwork<N> {
    type Stream = Placed<N::Stream>;

    async fn connect(&self, endpoint: &Endpoint) -> io::Result<Self::Stream> {
        self.connect_until(endpoint, None).await
    }

    async fn connect_within(&self, endpoint: &Endpoint, limit: Duration) -> io::Result<Self::Stream> {
        self.connect_until(endpoint, Instant::now().checked_add(limit)).await
    }

    fn bytes_arrived(stream: &Self::Stream) -> Option<u64> {
        N::bytes_arrived(&stream.stream)
    }
}

/// A stream and its place. The stream is dropped first.
pub(super) struct Placed<S> {
    stream: S,
    _place: OwnedSemaphorePermit,
}

impl<S: AsyncRead + Unpin> AsyncRead for Placed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Placed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
