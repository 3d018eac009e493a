//! What handles send to the driver, and what it sends back.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant as TokioInstant;

use crate::core::mailbox::Mailbox;
use crate::core::{
    Config, Delivery, Epoch, Instant, Payload, Push, Reply, RequestError, RequestErrorKind, RequestId,
    Response, Snapshot, SubscriptionId,
};

/// A message to the driver. The queue is unbounded, but every message either carries a permit of
/// a bounded set or is sent at most once until it is taken, so it is bounded all the same
/// and sending never waits: a drop handler can send.
pub(crate) enum Order {
    Request {
        id: RequestId,
        method: Arc<str>,
        params: Option<Arc<str>>,
        timeout: Option<Duration>,
        /// When the caller asked: its time runs from here, not from when the driver gets to it.
        asked: TokioInstant,
        reply: Reply,
        only_on: Option<Epoch>,
        waiter: Waiter,
    },
    Cancel(RequestId),
    Subscribe {
        id: SubscriptionId,
        postbox: Arc<Postbox>,
    },
    Unsubscribe(SubscriptionId),
    Configure {
        seq: ConfigSeq,
        config: Option<Arc<Config>>,
        permit: OwnedSemaphorePermit,
        applied: oneshot::Sender<()>,
    },
    /// Says when the status shows what the orders before this one led to.
    CatchUp {
        permit: OwnedSemaphorePermit,
        caught_up: oneshot::Sender<()>,
    },
    Signal(Signal),
}

/// An order that means the same when given twice: it waits at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Connect,
    Wake,
    Resume,
    ShutDown,
}

/// A number in the order of config changes: of two, the larger one wins, whichever is applied first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConfigSeq(pub(crate) u64);

impl Order {
    /// The last word of a driver that is gone: nothing of this was done.
    pub(super) fn refuse(self) {
        match self {
            Order::Request { waiter, .. } => waiter.lose(Delivery::NotSent),
            Order::Subscribe { postbox, .. } => postbox.close(),
            // Who waits for these is told by the end of the channel that the order carries.
            Order::Configure { .. } | Order::CatchUp { .. } => {}
            // Nobody waits for these.
            Order::Cancel(_) | Order::Unsubscribe(_) | Order::Signal(_) => {}
        }
    }
}

/// The caller of a request.
pub(crate) struct Waiter {
    pub(crate) method: Arc<str>,
    pub(crate) outcome: oneshot::Sender<Result<Response, RequestError>>,
    pub(crate) accepted: Option<oneshot::Sender<Payload>>,
    /// Around the request, from its making to its end.
    pub(crate) span: tracing::Span,
    /// When it was handed to the transport, if that was at once and there is no answer yet.
    pub(crate) sent_at: Option<Instant>,
    /// Returned when the request has left the driver.
    pub(crate) _permit: OwnedSemaphorePermit,
}

impl Waiter {
    /// Hands over the acknowledgement, once. A caller that is gone has cancelled, or is about to.
    pub(crate) fn accepted(&mut self, payload: Payload) {
        if let Some(accepted) = self.accepted.take() {
            let _ = accepted.send(payload);
        }
    }

    /// The driver ends without an outcome.
    pub(crate) fn lose(self, delivery: Delivery) {
        let method = Arc::clone(&self.method);
        self.complete(Err(RequestError { method, kind: RequestErrorKind::ShutDown, delivery }));
    }

    /// Hands over the outcome. A caller that is gone does not want it.
    pub(crate) fn complete(self, outcome: Result<Response, RequestError>) {
        let delivery = outcome.as_ref().map_err(|error| error.delivery);
        self.span.record(
            "outcome",
            match delivery {
                Ok(_) => "answered",
                Err(Delivery::Rejected) => "rejected",
                Err(Delivery::NotSent) => "not sent",
                Err(Delivery::Unknown) => "unknown",
            },
        );
        let _ = self.outcome.send(outcome);
    }
}

/// A mailbox that wakes its reader.
pub(crate) struct Postbox {
    mailbox: Mutex<Mailbox>,
    reader: AtomicWaker,
    /// Returned when neither the driver nor the subscriber needs the subscription any more.
    _permit: OwnedSemaphorePermit,
}

impl Postbox {
    pub(crate) fn new(mailbox: Mailbox, permit: OwnedSemaphorePermit) -> Self {
        Self { mailbox: Mutex::new(mailbox), reader: AtomicWaker::new(), _permit: permit }
    }

    /// Adds an item; `latest` is the snapshot as of now. False if the subscription is over with it.
    pub(crate) fn post(&self, push: Push, latest: Option<&Arc<Snapshot>>) -> bool {
        let mut mailbox = self.lock();
        mailbox.push(push, latest);
        let goes_on = !mailbox.is_closed();
        drop(mailbox);
        self.reader.wake();
        goes_on
    }

    /// Adds the last item.
    pub(crate) fn close(&self) {
        self.post(Push::Closed, None);
    }

    pub(crate) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Push> {
        // Register before looking: a push in between then wakes the new waker (A19).
        self.reader.register(cx.waker());
        self.lock().pop().map_or(Poll::Pending, Poll::Ready)
    }

    pub(crate) fn waiting(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Mailbox> {
        // No code of a consumer runs under this lock, so a poisoned mailbox is still whole.
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
