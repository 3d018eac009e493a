//! The recorder of a run on an async tier: shared by everything that sees something.

use std::sync::{Arc, Mutex, PoisonError};

use onesocket::core::Instant;

use crate::gateway::{ConnectionId, Message, Note};
use crate::host::Observer;
use crate::observe::{probe_of, seen};
use crate::plan::Plan;
use crate::run::{Finished, Recorder};
use crate::trace::{Seen, What};

/// A recorder with a clock. Clones are the same book.
#[derive(Clone)]
pub struct Book {
    shared: Arc<Shared>,
}

struct Shared {
    recorder: Mutex<Option<Recorder>>,
    clock: Box<dyn Fn() -> Instant + Send + Sync>,
}

impl Book {
    /// A book for a run of `plan` whose time is told by `clock`.
    pub fn new(plan: &Plan, clock: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        let recorder = Mutex::new(Some(Recorder::new(plan)));
        Self { shared: Arc::new(Shared { recorder, clock: Box::new(clock) }) }
    }

    /// The time of the run.
    #[must_use]
    pub fn now(&self) -> Instant {
        (self.shared.clock)()
    }

    /// Takes down what happens now. What happens after the end of the run is not part of it.
    pub fn record(&self, what: What) {
        let now = self.now();
        self.with(|recorder| {
            if let Some(recorder) = recorder {
                recorder.record(now, what);
            }
        });
    }

    /// Whether an invariant is broken already.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.with(|recorder| recorder.as_ref().is_some_and(Recorder::is_broken))
    }

    /// Closes the book.
    ///
    /// # Panics
    /// When it was closed before.
    #[must_use]
    pub fn finish(&self) -> Finished {
        self.with(Option::take).expect("a book is closed once").finish()
    }

    /// An observer of gateway `gateway` that writes into this book.
    #[must_use]
    pub fn observer(&self, gateway: u8) -> GatewayObserver {
        GatewayObserver { book: self.clone(), gateway }
    }

    fn with<T>(&self, look: impl FnOnce(&mut Option<Recorder>) -> T) -> T {
        // A panic elsewhere is reported as such; it must not hide behind a poisoned lock.
        look(&mut self.shared.recorder.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Writes down what a gateway does.
pub struct GatewayObserver {
    book: Book,
    gateway: u8,
}

impl Observer for GatewayObserver {
    fn note(&mut self, _now: std::time::Duration, note: &Note) {
        if let Some(seen) = seen(note) {
            self.book.record(What::Gateway { gateway: self.gateway, seen });
        }
    }

    fn received(&mut self, _now: std::time::Duration, connection: ConnectionId, message: &Message) {
        if let Message::Text(text) = message
            && let Some(request) = probe_of(text)
        {
            let seen = Seen::Request { connection: connection.0, request };
            self.book.record(What::Gateway { gateway: self.gateway, seen });
        }
    }
}
