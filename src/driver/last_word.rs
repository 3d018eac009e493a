//! The end of a driver that nobody shut down: what ended it, and that everybody is told.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;
use tokio::task::unconstrained;

use crate::core::{Delivery, DriverEnd, DriverPart, OneLine, Push, RequestErrorKind, Status};
use crate::network::Network;
use crate::statistics::Level;

use super::Driver;

/// A panic that was caught.
pub(super) struct Caught {
    part: DriverPart,
    /// For whoever runs the driver: a panic goes on when everybody has been told.
    pub(super) payload: Box<dyn Any + Send>,
}

/// Calls code that may panic. What it has left half done must not be used afterwards.
pub(super) fn guard<T>(part: DriverPart, call: impl FnOnce() -> T) -> Result<T, Caught> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| Caught { part, payload })
}

/// Whether `runtime` runs no more tasks. Tokio tells nobody, but it cancels a task that it is given too late.
pub(crate) fn is_gone(runtime: &Handle) -> bool {
    let probe = pin!(unconstrained(runtime.spawn(async {})));
    match probe.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Err(error)) => error.is_cancelled(),
        Poll::Ready(Ok(())) | Poll::Pending => false,
    }
}

/// The start of a panic's message, in one line.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    OneLine::cut(text.unwrap_or("without a message")).to_string()
}

/// Tells somebody, whose waker may panic: that is no reason not to tell the next.
fn tell(call: impl FnOnce()) {
    let _ = guard(DriverPart::Driver, call);
}

impl Caught {
    pub(super) fn end(&self) -> DriverEnd {
        DriverEnd::Panicked { part: self.part, message: panic_message(&*self.payload) }
    }
}

impl<N: Network> Driver<N> {
    /// Tells everybody that the driver ends, and why: whoever looks at the status or waits for it, requests, and
    /// subscribers. None of them keeps the next from being told, whatever its waker does.
    pub(super) fn lose(&mut self, end: DriverEnd) {
        if self.stopped {
            return;
        }
        self.stopped = true;
        let end = Arc::new(end);
        let status = Status::Lost(Arc::clone(&end));
        tell(|| log_end(&end));
        tell(|| self.published.status.send(status.clone()));
        tell(|| self.commands.close(Some(&end)));
        for (id, waiter) in std::mem::take(&mut self.waiters) {
            let delivery = if self.core.is_queued(id) { Delivery::NotSent } else { Delivery::Unknown };
            tell(|| waiter.abandon(RequestErrorKind::Lost(Arc::clone(&end)), delivery));
        }
        for (id, queue) in std::mem::take(&mut self.subscribers) {
            // A status is no first item.
            if self.core.has_snapshot(id) {
                tell(|| {
                    queue.push(Push::Status(status.clone()), self.core.snapshot());
                });
            }
            tell(|| queue.close());
        }
        self.published.counters.set(Level::Pending, 0);
        self.published.counters.set(Level::Subscriptions, 0);
    }
}

/// A runtime may end at any time, and an app may drop what it has made; a panic is a bug that somebody must mend.
fn log_end(end: &DriverEnd) {
    match end {
        DriverEnd::RuntimeGone | DriverEnd::Dropped => tracing::debug!(%end, "the client was lost"),
        DriverEnd::Panicked { .. } => tracing::warn!(%end, "the client was lost"),
    }
}

impl<N: Network> Drop for Driver<N> {
    fn drop(&mut self) {
        if !self.stopped {
            let gone = is_gone(&self.runtime);
            self.lose(if gone { DriverEnd::RuntimeGone } else { DriverEnd::Dropped });
        }
        // Each by itself: of two destructors that panic in one go, the second would abort the process. The panic's
        // hook has reported it, and there is nobody left to tell.
        let _ = guard(DriverPart::Network, || self.socket = None);
        let _ = guard(DriverPart::TokenStore, || self.store_queue.clear());
    }
}
