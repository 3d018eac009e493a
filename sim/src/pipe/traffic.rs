//! What the ends of the streams do to the link: open, read, write, finish, close.

use std::io;
use std::task::{Poll, Waker};

use tokio::io::ReadBuf;
use tokio::time::Instant;

use super::half_pipe::{Arrival, End, HalfPipe, reset};
use super::link::Link;
use super::state::{KNOWN, PerDirection, Pipe, Side, State, chop, latency, line_time, segment_max};

impl Link {
    pub(super) fn open(&self) -> u64 {
        let mut state = self.lock();
        let number = state.number();
        let halves = PerDirection {
            to_gateway: HalfPipe::new(state.black.to_gateway),
            to_client: HalfPipe::new(state.black.to_client),
        };
        state.pipes.insert(number, Pipe { halves, client_open: true, gateway_open: true, reset: false });
        number
    }

    pub(super) fn read(&self, pipe: u64, side: Side, waker: &Waker, into: &mut ReadBuf<'_>) -> Arrival {
        let now = Instant::now();
        let mut state = self.lock();
        let direction = side.incoming();
        let horizon = state.horizon(direction, now);
        let held = state.held.get(direction).is_some();
        let State { profile, pipes, chop_draws, .. } = &mut *state;
        let pipe = pipes.get_mut(&pipe).expect(KNOWN);
        if pipe.reset {
            return Arrival::Now(Err(reset()));
        }
        let half = pipe.halves.get_mut(direction);
        let limit = || chop(profile.chop_read_bytes, chop_draws);
        let arrival = half.read(horizon, held, profile.coalesce, limit, into);
        let writer = match &arrival {
            Arrival::Now(_) => half.take_writer(),
            Arrival::At(_) | Arrival::Unknown => {
                half.park_reader(waker);
                None
            }
        };
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        arrival
    }

    pub(super) fn write(&self, pipe: u64, side: Side, waker: &Waker, data: &[u8]) -> Poll<io::Result<usize>> {
        let now = Instant::now();
        let mut state = self.lock();
        let direction = side.outgoing();
        let horizon = state.horizon(side.incoming(), now);
        let State { profile, pipes, latency_draws, chop_draws, .. } = &mut *state;
        let pipe = pipes.get_mut(&pipe).expect(KNOWN);
        if pipe.reset {
            return Poll::Ready(Err(reset()));
        }
        if let Some(error) = pipe.halves.get(side.incoming()).departure(horizon) {
            return Poll::Ready(Err(error));
        }
        let half = pipe.halves.get_mut(direction);
        let limit = || segment_max(profile).min(chop(profile.chop_write_bytes, chop_draws));
        let written = half.write(data, profile.capacity_bytes.get(), limit, |len, line_free| {
            let begin = line_free.map_or(now, |free| free.max(now));
            (begin + line_time(profile, len), latency(profile, latency_draws))
        });
        let reader = match &written {
            Poll::Ready(_) if half.has_news() => half.take_reader(),
            Poll::Ready(_) => None,
            Poll::Pending => {
                half.park_writer(waker);
                None
            }
        };
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        written
    }

    pub(super) fn finish(&self, pipe: u64, side: Side) {
        self.steer(|state, wake| {
            let due = state.arrival_of_news();
            let half = state.pipe(pipe).halves.get_mut(side.outgoing());
            half.finish(due, End::Eof);
            wake.0.extend(half.take_reader());
        });
    }

    pub(super) fn close(&self, number: u64, side: Side) {
        self.steer(|state, wake| {
            let due = state.arrival_of_news();
            let horizon = state.horizon(side.incoming(), Instant::now());
            let pipe = state.pipe(number);
            let incoming = pipe.halves.get_mut(side.incoming());
            let end = if incoming.has_unread(horizon) { End::Reset } else { End::Eof };
            incoming.reader_dropped();
            wake.0.extend(incoming.take_writer());
            let outgoing = pipe.halves.get_mut(side.outgoing());
            outgoing.writer_dropped(due, end);
            wake.0.extend(outgoing.take_reader());
            match side {
                Side::Client => pipe.client_open = false,
                Side::Gateway => pipe.gateway_open = false,
            }
            if !pipe.client_open && !pipe.gateway_open {
                state.pipes.remove(&number);
            }
        });
    }
}
