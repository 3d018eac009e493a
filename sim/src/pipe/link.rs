//! The path between a client and one gateway, which can be steered while streams use it.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use tokio::time::Instant;

use super::profile::{Dials, Direction, Profile};
use super::state::{Dial, PerDirection, State, Wake, latency};

/// The path between a client and one gateway, and the streams on it.
///
/// Several links make a network; a link knows nothing of addresses. All methods may be called at any time from
/// anywhere, and take effect at once.
pub struct Link {
    state: Mutex<State>,
}

impl Link {
    /// A link on which nothing is wrong. `seed` feeds latencies and chopping.
    pub fn new(profile: Profile, seed: u64) -> Arc<Link> {
        let latency_draws = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut chop_draws = latency_draws.clone();
        // A jump of 2^128 steps keeps the two streams disjoint.
        chop_draws.jump();
        let state = State {
            profile,
            dials: Dials::default(),
            black: PerDirection::default(),
            held: PerDirection::default(),
            latency_draws,
            chop_draws,
            pipes: BTreeMap::new(),
            dialing: BTreeMap::new(),
            next: 0,
            dials_begun: 0,
        };
        Arc::new(Link { state: Mutex::new(state) })
    }

    /// The profile in force.
    pub fn profile(&self) -> Profile {
        self.lock().profile.clone()
    }

    /// Changes the profile. What is on its way keeps its time of arrival.
    pub fn set_profile(&self, profile: Profile) {
        self.steer(|state, wake| {
            state.profile = profile;
            for pipe in state.pipes.values_mut() {
                wake.everybody(pipe);
            }
        });
    }

    /// Decides what becomes of dials that arrive from now on.
    pub fn set_dials(&self, dials: Dials) {
        self.lock().dials = dials;
    }

    /// A silent black hole in both directions, until [`heal`](Link::heal).
    ///
    /// Every stream that exists at any moment of it is dead for ever: nothing that had not arrived arrives, and
    /// neither end is told. Writes are accepted until the capacity is used up, and then wait. Dials on their way are
    /// never answered.
    pub fn partition(&self) {
        for direction in Direction::BOTH {
            self.lose(direction);
        }
    }

    /// Ends every black hole. Streams and dials that it caught stay dead.
    pub fn heal(&self) {
        for direction in Direction::BOTH {
            self.restore(direction);
        }
    }

    /// A silent black hole in one direction, until [`restore`](Link::restore): streams go on the other way only.
    /// Dials are never answered.
    pub fn lose(&self, direction: Direction) {
        let now = Instant::now();
        let mut state = self.lock();
        *state.black.get_mut(direction) = true;
        let horizon = state.horizon(direction, now);
        for pipe in state.pipes.values_mut() {
            pipe.halves.get_mut(direction).lose(horizon);
        }
        for dial in state.dialing.values_mut() {
            dial.lost = true;
        }
    }

    /// Ends a black hole of one direction. Streams and dials that it caught stay dead.
    pub fn restore(&self, direction: Direction) {
        *self.lock().black.get_mut(direction) = false;
    }

    /// A blip: both directions stand still until [`release`](Link::release), and nothing is lost.
    pub fn hold(&self) {
        for direction in Direction::BOTH {
            self.stall(direction);
        }
    }

    /// Ends a blip: what is overdue arrives at once, in order.
    pub fn release(&self) {
        for direction in Direction::BOTH {
            self.resume(direction);
        }
    }

    /// One direction stands still until [`resume`](Link::resume). Dials need both.
    pub fn stall(&self, direction: Direction) {
        let now = Instant::now();
        self.lock().held.get_mut(direction).get_or_insert(now);
    }

    /// One direction moves again: what is overdue arrives at once, in order.
    pub fn resume(&self, direction: Direction) {
        self.steer(|state, wake| {
            *state.held.get_mut(direction) = None;
            for pipe in state.pipes.values_mut() {
                wake.everybody(pipe);
            }
            for dial in state.dialing.values_mut() {
                wake.0.extend(dial.waker.take());
            }
        });
    }

    /// Resets every stream at both ends, whatever the path is like. Bytes nobody has read are gone.
    pub fn reset_all(&self) {
        self.steer(|state, wake| {
            for pipe in state.pipes.values_mut() {
                pipe.reset = true;
                wake.everybody(pipe);
            }
        });
    }

    /// Client ends that have not been dropped.
    pub fn open_streams(&self) -> usize {
        self.lock().pipes.values().filter(|pipe| pipe.client_open).count()
    }

    /// Gateway ends that have not been dropped.
    pub fn gateway_streams(&self) -> usize {
        self.lock().pipes.values().filter(|pipe| pipe.gateway_open).count()
    }

    /// Dials that are neither answered nor dropped.
    pub fn dialing(&self) -> usize {
        self.lock().dialing.len()
    }

    /// Dials begun so far.
    pub fn dials_begun(&self) -> u64 {
        self.lock().dials_begun
    }

    /// One dial to the far end and back: what a TCP connect waits for. [`PipeStream::pair`] makes the stream.
    ///
    /// Cancel safe: dropping the future gives the dial up.
    ///
    /// # Errors
    /// `ConnectionRefused` while dials are [refused](Dials::Refused).
    ///
    /// [`PipeStream::pair`]: super::PipeStream::pair
    pub async fn dial(self: &Arc<Link>) -> io::Result<()> {
        let (dialing, round_trip) = Dialing::begin(self);
        tokio::time::sleep(round_trip).await;
        poll_fn(|cx| self.poll_answer(dialing.number, cx.waker())).await
    }

    fn poll_answer(&self, number: u64, waker: &Waker) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        let held = Direction::BOTH.iter().any(|direction| state.held.get(*direction).is_some());
        let dials = state.dials;
        let dial = state.dialing.get_mut(&number).expect("a dial is known until it is dropped");
        if dial.lost {
            return Poll::Pending;
        }
        if held {
            dial.waker = Some(waker.clone());
            return Poll::Pending;
        }
        match dials {
            Dials::Answered => Poll::Ready(Ok(())),
            Dials::Refused => Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into())),
            Dials::Ignored => {
                dial.lost = true;
                Poll::Pending
            }
        }
    }

    pub(super) fn steer(&self, change: impl FnOnce(&mut State, &mut Wake)) {
        let mut wake = Wake::default();
        change(&mut self.lock(), &mut wake);
        wake.now();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics halfway through a change of the state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A dial's entry in the link, which goes with it.
struct Dialing {
    link: Arc<Link>,
    number: u64,
}

impl Dialing {
    fn begin(link: &Arc<Link>) -> (Dialing, Duration) {
        let mut state = link.lock();
        let number = state.number();
        let lost = state.dials == Dials::Ignored || state.black.to_gateway || state.black.to_client;
        state.dialing.insert(number, Dial { lost, waker: None });
        state.dials_begun += 1;
        let State { profile, latency_draws, .. } = &mut *state;
        let round_trip = latency(profile, latency_draws) + latency(profile, latency_draws);
        (Dialing { link: Arc::clone(link), number }, round_trip)
    }
}

impl Drop for Dialing {
    fn drop(&mut self) {
        let dial = self.link.lock().dialing.remove(&self.number);
        // Its waker is foreign code, too: it goes after the lock.
        drop(dial);
    }
}
