//! A stream with TLS, or without.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::failure::stream_error;

/// A stream with TLS, or without where the endpoint wants none.
#[derive(Debug)]
pub struct MaybeTls<S>(Inner<S>);

#[derive(Debug)]
enum Inner<S> {
    Plain(S),
    Tls(Box<TlsStream<Below<S>>>),
}

impl<S> MaybeTls<S> {
    pub(super) fn plain(stream: S) -> Self {
        Self(Inner::Plain(stream))
    }

    pub(super) fn tls(stream: TlsStream<Below<S>>) -> Self {
        Self(Inner::Tls(Box::new(stream)))
    }

    /// The bytes that have arrived, as `of_plain` knows them of a stream without TLS.
    pub(super) fn bytes_arrived(&self, of_plain: impl FnOnce(&S) -> Option<u64>) -> Option<u64> {
        match &self.0 {
            Inner::Plain(stream) => of_plain(stream),
            Inner::Tls(stream) => Some(stream.get_ref().0.arrived),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for MaybeTls<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Inner::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            // A gateway that wants a certificate of the client says so when we take the handshake for done.
            Inner::Tls(stream) => Pin::new(stream).poll_read(cx, into).map_err(stream_error),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for MaybeTls<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Inner::Plain(stream) => Pin::new(stream).poll_write(cx, data),
            Inner::Tls(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Inner::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Inner::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Inner::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Inner::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// The most first bytes that are looked at: what tells one protocol from another.
const FIRST_BYTES_MAX: usize = 16;

/// A stream below TLS. It remembers the first bytes that came, which say what is at the other end if it is not TLS, and
/// counts all of them.
#[derive(Debug)]
pub(super) struct Below<S> {
    stream: S,
    first: [u8; FIRST_BYTES_MAX],
    count: usize,
    /// All bytes that came.
    arrived: u64,
}

impl<S> Below<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, first: [0; FIRST_BYTES_MAX], count: 0, arrived: 0 }
    }

    /// The first bytes that came.
    pub(super) fn first(&self) -> &[u8] {
        &self.first[..self.count]
    }

    fn remember(&mut self, came: &[u8]) {
        let left = &mut self.first[self.count..];
        let kept = left.len().min(came.len());
        left[..kept].copy_from_slice(&came[..kept]);
        self.count += kept;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Below<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let below = self.get_mut();
        let before = into.filled().len();
        let outcome = Pin::new(&mut below.stream).poll_read(cx, into);
        below.arrived += (into.filled().len() - before) as u64;
        if below.count < FIRST_BYTES_MAX {
            below.remember(&into.filled()[before..]);
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Below<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
