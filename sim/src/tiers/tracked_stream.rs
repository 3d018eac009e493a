//! A byte stream that tells the recorder when the client closes it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use onesocket::core::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::judge::shared_recorder::SharedRecorder;
use crate::trace::Event;

/// Numbers the sockets of a run and counts those that are held.
#[derive(Clone)]
pub(crate) struct Sockets {
    recorder: SharedRecorder,
    dialed: Arc<AtomicU32>,
    held: Arc<AtomicU32>,
}

impl Sockets {
    pub(crate) fn new(recorder: SharedRecorder) -> Self {
        Self { recorder, dialed: Arc::default(), held: Arc::default() }
    }

    /// Sockets that the client holds, dialing ones included.
    pub(crate) fn held(&self) -> u32 {
        self.held.load(Ordering::Relaxed)
    }

    /// The client begins to dial; dropping the socket ends it.
    pub(crate) fn dial(&self, gateway: u8) -> Held {
        let socket = self.dialed.fetch_add(1, Ordering::Relaxed) + 1;
        self.held.fetch_add(1, Ordering::Relaxed);
        self.recorder.record(Event::Dialed { socket, gateway });
        Held { socket, heard: self.recorder.now(), sockets: self.clone() }
    }
}

/// A socket that the client holds.
pub(crate) struct Held {
    socket: u32,
    /// When anything last arrived.
    heard: Instant,
    sockets: Sockets,
}

impl Held {
    /// The socket with its stream.
    pub(crate) fn carry<S>(self, stream: S) -> Tracked<S> {
        Tracked { stream, held: self }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.sockets.held.fetch_sub(1, Ordering::Relaxed);
        let silent = self.sockets.recorder.now().since(self.heard);
        self.sockets.recorder.record(Event::Released { socket: self.socket, silent });
    }
}

/// A stream and the note that it is held.
pub(crate) struct Tracked<S> {
    stream: S,
    held: Held,
}

impl<S: AsyncRead + Unpin> AsyncRead for Tracked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.held.heard = self.held.sockets.recorder.now();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tracked<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
