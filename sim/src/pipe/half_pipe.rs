//! One direction of one stream: bytes on their way and how it ends.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::time::Instant;

/// Bytes from one end to the other.
///
/// ```text
///   open ──▶ ended (end of stream or reset, in order after the bytes)
///     │         │
///     └────┬────┘
///          ▼
///         lost (nothing more arrives, nobody is told)
/// ```
#[derive(Default)]
pub(super) struct HalfPipe {
    bytes: VecDeque<u8>,
    /// When each piece of `bytes` arrives. Times never decrease.
    segments: VecDeque<Segment>,
    /// Bytes written and not read yet. Lost ones stay in it for ever: nobody acknowledges them.
    in_flight: usize,
    /// When the last segment arrives: nothing overtakes it.
    last_due: Option<Instant>,
    /// When the line has sent what was written before.
    line_free: Option<Instant>,
    end: Option<(Instant, End)>,
    /// When the reader of the other half learns that this half's writer is gone entirely.
    writer_gone: Option<Instant>,
    reader_gone: bool,
    lost: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

struct Segment {
    due: Instant,
    len: usize,
}

/// How a half ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The writer has finished.
    Eof,
    /// The writer went away without having read what had arrived for it, which TCP answers with a reset.
    Reset,
}

/// What a reader finds.
pub(super) enum Arrival {
    /// This result, now.
    Now(io::Result<()>),
    /// Nothing before this time.
    At(Instant),
    /// Nothing until somebody wakes the reader.
    Unknown,
}

impl HalfPipe {
    /// A half that loses everything from the start.
    pub(super) fn new(lost: bool) -> Self {
        HalfPipe { lost, ..HalfPipe::default() }
    }

    /// Reads what has arrived by `horizon`, at most `limit` bytes, which is only drawn if there are any. `held` says
    /// that the half stands still, so that waiting for a time would be in vain.
    pub(super) fn read(
        &mut self,
        horizon: Instant,
        held: bool,
        coalesce: bool,
        limit: impl FnOnce() -> usize,
        into: &mut ReadBuf<'_>,
    ) -> Arrival {
        let mut room = if self.has_unread(horizon) { limit().min(into.remaining()) } else { 0 };
        let mut moved = 0;
        while let Some(segment) = self.segments.front_mut().filter(|segment| segment.due <= horizon)
            && room > 0
        {
            let take = segment.len.min(room);
            segment.len -= take;
            room -= take;
            moved += take;
            if segment.len == 0 {
                self.segments.pop_front();
            }
            if !coalesce {
                break;
            }
        }
        if moved > 0 {
            self.bytes.read_exact(into.initialize_unfilled_to(moved)).expect("segments add up to the bytes");
            into.advance(moved);
            if !self.lost {
                self.in_flight -= moved;
            }
            return Arrival::Now(Ok(()));
        }
        match (self.segments.front().map(|segment| segment.due), self.end) {
            (None, Some((due, End::Eof))) if due <= horizon => Arrival::Now(Ok(())),
            (None, Some((due, End::Reset))) if due <= horizon => Arrival::Now(Err(reset())),
            _ if held || self.lost => Arrival::Unknown,
            (Some(due), _) | (None, Some((due, _))) => Arrival::At(due),
            (None, None) => Arrival::Unknown,
        }
    }

    /// Accepts what there is room for.
    ///
    /// `limit` cuts the length. `sent` is given the rest of it and the time when the line is free, and says when the
    /// line is free after it and how long the way is from there.
    pub(super) fn write(
        &mut self,
        data: &[u8],
        capacity: usize,
        limit: impl FnOnce() -> usize,
        sent: impl FnOnce(usize, Option<Instant>) -> (Instant, Duration),
    ) -> Poll<io::Result<usize>> {
        if self.end.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.reader_gone && !self.lost {
            return Poll::Ready(Ok(data.len()));
        }
        let room = capacity.saturating_sub(self.in_flight);
        if room == 0 {
            return Poll::Pending;
        }
        let len = data.len().min(room).min(limit());
        self.in_flight += len;
        let (line_free, latency) = sent(len, self.line_free);
        self.line_free = Some(line_free);
        if !self.lost {
            let due = self.in_order(line_free + latency);
            self.bytes.extend(&data[..len]);
            self.segments.push_back(Segment { due, len });
        }
        Poll::Ready(Ok(len))
    }

    /// Ends the half after everything before it, unless it has ended already.
    pub(super) fn finish(&mut self, due: Instant, end: End) {
        if self.end.is_none() && !self.lost {
            let due = self.in_order(due);
            self.end = Some((due, end));
        }
    }

    /// The writer's end was dropped.
    pub(super) fn writer_dropped(&mut self, due: Instant, end: End) {
        self.finish(due, end);
        if !self.lost {
            let due = self.in_order(due);
            self.writer_gone = Some(due);
        }
    }

    /// The reader's end was dropped: what is on its way has nowhere to go.
    pub(super) fn reader_dropped(&mut self) {
        self.reader_gone = true;
        self.bytes = VecDeque::new();
        self.segments = VecDeque::new();
    }

    /// Loses everything that has not arrived by `horizon`, and everything from now on.
    pub(super) fn lose(&mut self, horizon: Instant) {
        while self.segments.back().is_some_and(|segment| segment.due > horizon) {
            let segment = self.segments.pop_back().expect("it was looked at");
            self.bytes.truncate(self.bytes.len() - segment.len);
        }
        if self.end.is_some_and(|(due, _)| due > horizon) {
            self.end = None;
        }
        if self.writer_gone.is_some_and(|due| due > horizon) {
            self.writer_gone = None;
        }
        self.lost = true;
    }

    /// Whether the last write was the first thing to wait for.
    pub(super) fn has_news(&self) -> bool {
        self.segments.len() == 1
    }

    /// Whether unread bytes have arrived by `horizon`.
    pub(super) fn has_unread(&self, horizon: Instant) -> bool {
        self.segments.front().is_some_and(|segment| segment.due <= horizon)
    }

    /// The error of a write in the other direction, once the news that this half's writer is gone has arrived.
    pub(super) fn departure(&self, horizon: Instant) -> Option<io::Error> {
        self.writer_gone.filter(|due| *due <= horizon)?;
        Some(match self.end {
            Some((_, End::Reset)) => reset(),
            Some((_, End::Eof)) | None => io::ErrorKind::BrokenPipe.into(),
        })
    }

    /// Remembers whom to wake when there may be something to read.
    pub(super) fn park_reader(&mut self, waker: &Waker) {
        park(&mut self.reader, waker);
    }

    /// Remembers whom to wake when there may be room to write.
    pub(super) fn park_writer(&mut self, waker: &Waker) {
        park(&mut self.writer, waker);
    }

    /// Whoever waits to read.
    pub(super) fn take_reader(&mut self) -> Option<Waker> {
        self.reader.take()
    }

    /// Whoever waits to write.
    pub(super) fn take_writer(&mut self) -> Option<Waker> {
        self.writer.take()
    }

    fn in_order(&mut self, due: Instant) -> Instant {
        let due = self.last_due.map_or(due, |last| last.max(due));
        self.last_due = Some(due);
        due
    }
}

fn park(place: &mut Option<Waker>, waker: &Waker) {
    match place {
        Some(parked) => parked.clone_from(waker),
        None => *place = Some(waker.clone()),
    }
}

/// The error both ends of a reset stream see.
pub(super) fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}
