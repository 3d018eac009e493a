//! What clients send to the driver, and what it sends back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant as TokioInstant;

use crate::client::places::Place;
use crate::core::{
    Config, Delivery, DriverEnd, Epoch, Instant, Payload, Reply, RequestError, RequestErrorKind, RequestId,
    Response, SubscriptionId,
};

use super::subscriber_queue::SubscriberQueue;

/// A command of a client to its driver. The queue is unbounded, but every command either has a place or a permit of
/// a bounded set, or ends something that the driver has taken, or waits at most once. What is dropped before it is
/// taken is taken back. So the queue is bounded all the same, and sending never waits: a drop handler can send.
pub(crate) enum ClientCommand {
    Request {
        id: RequestId,
        method: Arc<str>,
        params: Option<Arc<str>>,
        timeout: Option<Duration>,
        /// When the caller asked: its time runs from here, not from when the driver gets to it.
        asked: TokioInstant,
        reply: Reply,
        only_on: Option<Epoch>,
        expected_profile_id: Option<Arc<str>>,
        waiter: Waiter,
    },
    Cancel(RequestId),
    Subscribe {
        id: SubscriptionId,
        queue: Arc<SubscriberQueue>,
    },
    Unsubscribe(SubscriptionId),
    Configure {
        seq: ConfigSeq,
        config: Option<Arc<Config>>,
        permit: OwnedSemaphorePermit,
        applied: oneshot::Sender<()>,
    },
    /// Reached when the status shows what the commands before this one led to.
    Barrier {
        permit: OwnedSemaphorePermit,
        reached: oneshot::Sender<()>,
    },
    Signal(Signal),
}

/// A command that means the same when given twice: it waits at most once.
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

impl ClientCommand {
    /// Whether it makes the driver connect, as a request does that may go over any connection.
    pub(super) fn wants_connection(&self) -> bool {
        match self {
            Self::Request { only_on, .. } => only_on.is_none(),
            Self::Subscribe { .. } | Self::Signal(Signal::Connect) => true,
            Self::Cancel(_)
            | Self::Unsubscribe(_)
            | Self::Configure { .. }
            | Self::Barrier { .. }
            | Self::Signal(Signal::Wake | Signal::Resume | Signal::ShutDown) => false,
        }
    }

    /// Ends a command that a driver which is gone has not taken: nothing of it was done. `lost` says what ended the
    /// driver, unless it was shut down.
    pub(super) fn refuse(self, lost: Option<&Arc<DriverEnd>>) {
        match self {
            Self::Request { waiter, .. } => {
                let kind =
                    lost.map_or(RequestErrorKind::ShutDown, |end| RequestErrorKind::Lost(Arc::clone(end)));
                waiter.abandon(kind, Delivery::NotSent);
            }
            Self::Subscribe { queue, .. } => queue.close(),
            // The sender in the command is dropped, which wakes the caller.
            Self::Configure { .. } | Self::Barrier { .. } => {}
            // Nobody waits for these.
            Self::Cancel(_) | Self::Unsubscribe(_) | Self::Signal(_) => {}
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
    /// Free when the request has left the driver, or when nobody waits any more.
    pub(crate) _place: Place,
}

impl Waiter {
    /// Hands over the acknowledgement, once. A caller that is gone has cancelled, or is about to.
    pub(crate) fn accepted(&mut self, payload: Payload) {
        if let Some(accepted) = self.accepted.take() {
            let _ = accepted.send(payload);
        }
    }

    /// The driver ends without an outcome.
    pub(crate) fn abandon(self, kind: RequestErrorKind, delivery: Delivery) {
        let method = Arc::clone(&self.method);
        self.complete(Err(RequestError { method, kind, delivery }));
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
