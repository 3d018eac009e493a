//! What every byte of a stand-in passes through, so that it can hang.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Open, or closed for a while. Clones are the same switch.
#[derive(Debug, Clone, Default)]
pub(super) struct StallSwitch {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    /// Which closing this is; an older one must not end a newer one.
    closing: u64,
    waiting: Vec<Waker>,
}

impl StallSwitch {
    /// Closes the switch; it opens by itself. Needs a runtime.
    pub(super) fn close_for(&self, lasting: Duration) {
        let closing = {
            let mut state = self.lock();
            state.closed = true;
            state.closing += 1;
            state.closing
        };
        if lasting.is_zero() {
            return self.open(closing);
        }
        let stall_switch = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(lasting).await;
            stall_switch.open(closing);
        });
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Ready while the switch is open.
    pub(super) fn poll_open(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if !state.closed {
            return Poll::Ready(());
        }
        if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn open(&self, closing: u64) {
        let waiting = {
            let mut state = self.lock();
            if state.closing != closing {
                return;
            }
            state.closed = false;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs while it is locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
