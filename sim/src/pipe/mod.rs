//! In-memory byte streams whose path can be made to misbehave, on tokio's time.
//!
//! ```text
//!             Link: latency, chop, bandwidth, capacity, faults
//!            ┌────────────────────────────────────────────────┐
//!   client ──┤ ToGateway  ▒▒▒▒▒ ▒▒▒ ▒▒▒▒▒▒▒ ──▶               ├── gateway
//!  PipeStream│            ◀── ▒▒▒▒▒▒ ▒▒ ▒▒▒▒▒▒▒▒▒   ToClient  │ PipeStream
//!            └────────────────────────────────────────────────┘
//! ```
//!
//! A [`Link`] is the path between a client and one gateway, with all streams on it. Its faults are those of a real
//! path, seen from the two ends: nothing is lost, repeated or reordered within a stream that survives, because TCP
//! would hide that. What TCP cannot hide is what can be injected: bytes come late, in other pieces, slowly, or not
//! at all; the peer vanishes with or without a word; dials are refused or never answered.
//!
//! Everything is a function of the calls, the seed and the runtime's clock. On a paused runtime time jumps from one
//! arrival to the next.

mod half_pipe;
mod link;
mod profile;
mod state;
#[cfg(test)]
mod tests;
mod traffic;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use half_pipe::Arrival;
pub use link::Link;
pub use profile::{Dials, Direction, Profile};
use state::Side;

/// One end of a stream over a [`Link`].
///
/// Dropping it tells the other end, as far as the link lets it: with the end of the stream, or with a reset if
/// bytes had arrived that nobody read.
pub struct PipeStream {
    link: Arc<Link>,
    pipe: u64,
    side: Side,
    /// Wakes the reader when the next bytes arrive. Made when it is first needed.
    arrival: Option<Pin<Box<Sleep>>>,
}

impl PipeStream {
    /// A new stream over `link`, without any dialing: the client's end, then the gateway's.
    ///
    /// While the link loses bytes, so does the stream, for ever.
    pub fn pair(link: &Arc<Link>) -> (PipeStream, PipeStream) {
        let pipe = link.open();
        let end = |side| PipeStream { link: Arc::clone(link), pipe, side, arrival: None };
        (end(Side::Client), end(Side::Gateway))
    }
}

impl AsyncRead for PipeStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            let due = match self.link.read(self.pipe, self.side, cx.waker(), into) {
                Arrival::Now(result) => return Poll::Ready(result),
                Arrival::Unknown => return Poll::Pending,
                Arrival::At(due) => due,
            };
            let arrival = self.arrival.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            if arrival.deadline() != due {
                arrival.as_mut().reset(due);
            }
            if arrival.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl AsyncWrite for PipeStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.link.write(self.pipe, self.side, cx.waker(), data)
    }

    /// Like TCP, it takes slices that are handed over together together: TLS writes its last word and what came before
    /// it once, and then gives up.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let data: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.poll_write(cx, &data)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Everything accepted is on its way already.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.finish(self.pipe, self.side);
        Poll::Ready(Ok(()))
    }
}

impl Drop for PipeStream {
    fn drop(&mut self) {
        self.link.close(self.pipe, self.side);
    }
}

impl std::fmt::Debug for PipeStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PipeStream")
            .field("pipe", &self.pipe)
            .field("side", &self.side)
            .finish_non_exhaustive()
    }
}
