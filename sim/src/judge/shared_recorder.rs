//! The recorder of a run on an async tier: shared by everything that sees something.

use std::sync::{Arc, Mutex, PoisonError};

use onesocket::core::Instant;
use tokio::sync::Notify;

use crate::judge::recorder::{Finished, Recorder};
use crate::plan::Plan;
use crate::trace::Event;

/// A recorder with a clock. Clones are the same recorder.
#[derive(Clone)]
pub struct SharedRecorder {
    shared: Arc<Shared>,
}

struct Shared {
    recorder: Mutex<Option<Recorder>>,
    clock: Box<dyn Fn() -> Instant + Send + Sync>,
    reached: Notify,
}

impl SharedRecorder {
    /// A recorder for a run of `plan` whose time is told by `clock`.
    pub fn new(plan: &Plan, clock: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        let recorder = Mutex::new(Some(Recorder::new(plan)));
        Self { shared: Arc::new(Shared { recorder, clock: Box::new(clock), reached: Notify::new() }) }
    }

    /// The time of the run.
    #[must_use]
    pub fn now(&self) -> Instant {
        (self.shared.clock)()
    }

    /// Records what happens now. What happens after the end of the run is not part of it.
    pub fn record(&self, event: Event) {
        let now = self.now();
        let reached =
            self.with(|recorder| recorder.as_mut().is_some_and(|recorder| recorder.record(now, event)));
        if reached {
            self.shared.reached.notify_one();
        }
    }

    /// The next step of the plan, by its index, whose milestone was reached, and when that was.
    #[must_use]
    pub fn take_reached(&self) -> Option<(usize, Instant)> {
        self.with(|recorder| recorder.as_mut().and_then(Recorder::take_reached))
    }

    /// Waits until [`take_reached`](Self::take_reached) may have something. For one waiter.
    pub async fn reached(&self) {
        self.shared.reached.notified().await;
    }

    /// Counts something that happens, whether it is recorded or not.
    pub fn count_event(&self) {
        let now = self.now();
        self.with(|recorder| {
            if let Some(recorder) = recorder {
                recorder.count_event(now);
            }
        });
    }

    /// Whether an invariant is broken already.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.with(|recorder| recorder.as_ref().is_some_and(Recorder::is_broken))
    }

    /// Ends the run, as far as records go.
    ///
    /// # Panics
    /// When it was closed before.
    #[must_use]
    pub fn finish(&self) -> Finished {
        self.with(Option::take).expect("a recorder is closed once").finish()
    }

    fn with<T>(&self, look: impl FnOnce(&mut Option<Recorder>) -> T) -> T {
        // A panic elsewhere is reported as such; it must not hide behind a poisoned lock.
        look(&mut self.shared.recorder.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
