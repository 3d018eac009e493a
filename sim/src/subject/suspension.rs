//! A process that is suspended for a while: its futures are not polled, and the world goes on.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// Polls of one future at one moment, at most: far above any honest future, and a bound on a spinning one.
const POLLS_MAX: u32 = 100_000;

/// Says until when the process sleeps. Clones are the same process.
#[derive(Clone, Default)]
pub(crate) struct Suspension(Arc<Mutex<Option<Instant>>>);

impl Suspension {
    /// The process sleeps until `until`, or longer if it was to sleep longer.
    pub(crate) fn sleep_until(&self, until: Instant) {
        let mut asleep = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *asleep = Some(asleep.map_or(until, |before| before.max(until)));
    }

    /// Until when it sleeps, if it does.
    pub(crate) fn until(&self) -> Option<Instant> {
        let asleep = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asleep.filter(|until| Instant::now() < *until)
    }

    /// A future of this process.
    pub(crate) fn guard<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        SuspendableFuture {
            future: Box::pin(future),
            suspension: self.clone(),
            alarm: None,
            polled_at: None,
            polls: 0,
        }
    }
}

struct SuspendableFuture<F> {
    future: Pin<Box<F>>,
    suspension: Suspension,
    /// Made when the future is first wanted while the process sleeps.
    alarm: Option<Pin<Box<Sleep>>>,
    polled_at: Option<Instant>,
    polls: u32,
}

impl<F: Future> Future for SuspendableFuture<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        while let Some(until) = self.suspension.until() {
            let mut alarm = Box::pin(sleep_until(until));
            let pending = alarm.as_mut().poll(cx).is_pending();
            self.alarm = Some(alarm);
            if pending {
                return Poll::Pending;
            }
        }
        self.alarm = None;
        self.count();
        self.future.as_mut().poll(cx)
    }
}

impl<F> SuspendableFuture<F> {
    /// Time does not advance while a future wakes itself: without this, such a run would never end.
    fn count(&mut self) {
        let now = Some(Instant::now());
        self.polls = if self.polled_at == now { self.polls + 1 } else { 0 };
        self.polled_at = now;
        assert!(
            self.polls < POLLS_MAX,
            "a future of the client is polled {POLLS_MAX} times at one moment: it spins"
        );
    }
}
