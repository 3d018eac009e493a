//! A subscription as a stream.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use thiserror::Error;

use crate::core::mailbox::{ITEMS_MIN, Mailbox};
use crate::core::{LagPolicy, Push, SubscriptionId};
use crate::driver::command::ClientCommand;
use crate::driver::subscriber_queue::SubscriberQueue;
use crate::statistics::Total;

use super::Shared;
use super::places::Place;

/// What one subscription is to be like.
///
/// By default it has the limits of the client's [`Options`](crate::core::Options) and drops its oldest
/// items when it reaches them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct SubscribeOptions {
    lag: LagPolicy,
    items: Option<usize>,
    bytes: Option<usize>,
}

impl SubscribeOptions {
    /// What happens when the subscriber reads too slowly.
    pub fn lag(mut self, policy: LagPolicy) -> Self {
        self.lag = policy;
        self
    }

    /// Items that may wait: at least 4, and no more than the client's `subscription_items`.
    pub fn items(mut self, most: usize) -> Self {
        self.items = Some(most);
        self
    }

    /// Bytes of frames that may wait: at least 1, and no more than the client's `subscription_bytes`. A
    /// snapshot takes some 15 000, and the newest item is kept whatever its size.
    pub fn bytes(mut self, most: usize) -> Self {
        self.bytes = Some(most);
        self
    }

    /// The mailbox of such a subscription.
    fn mailbox(&self, shared: &Shared) -> Result<Mailbox, SubscribeError> {
        let limits = &shared.options;
        let within = |name, wish: Option<usize>, least, most| match wish {
            None => Ok(most),
            Some(wish) if (least..=most).contains(&wish) => Ok(wish),
            Some(_) => Err(SubscribeError::Limit { name, least, most }),
        };
        let items = within("items", self.items, ITEMS_MIN, limits.subscription_items)?;
        let bytes = within("bytes", self.bytes, 1, limits.subscription_bytes)?;
        Ok(Mailbox::new(items, bytes).with_policy(self.lag))
    }
}

/// Why there is no subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// All subscriptions are taken: drop one, or raise `max_subscriptions`.
    #[error("{limit} subscriptions are open already")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// A limit of the subscription is out of range: choose one within it, or raise the client's own.
    #[error("the {name} of a subscription must be from {least} to {most}")]
    Limit {
        /// Which one.
        name: &'static str,
        /// The least it may be.
        least: usize,
        /// The most it may be: the client's own limit.
        most: usize,
    },
}

/// A stream of pushes: a snapshot, then what happens.
///
/// It ends after [`Push::Closed`]. Dropping it ends the subscription. What happens to a subscriber that
/// reads too slowly is its [`LagPolicy`]; no other subscriber notices, and the socket is read on.
pub struct Subscription {
    shared: Arc<Shared>,
    id: SubscriptionId,
    queue: Arc<SubscriberQueue>,
    ended: bool,
    _place: Place,
}

impl Subscription {
    pub(super) fn open(shared: Arc<Shared>, options: &SubscribeOptions) -> Result<Self, SubscribeError> {
        let mailbox = options.mailbox(&shared)?;
        let limit = shared.options.max_subscriptions;
        let place = shared.subscription_places.take_any();
        let place = place.map_err(|_| SubscribeError::TooMany { limit })?;
        let queue = Arc::new(SubscriberQueue::new(mailbox));
        let id = SubscriptionId(shared.fresh_id());
        let command = ClientCommand::Subscribe { id, queue: Arc::clone(&queue) };
        shared.commands.send(command);
        Ok(Self { shared, id, queue, ended: false, _place: place })
    }

    /// The next item; `None` after the last. Cancel safe: an item is taken only when it is returned.
    pub async fn next(&mut self) -> Option<Push> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Items that are waiting to be read.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.waiting()
    }
}

impl Stream for Subscription {
    type Item = Push;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Push>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let push = ready!(self.queue.poll_pop(cx));
        if let Push::Lagged { missed } = &push {
            self.shared.counters.add(Total::LaggedItems, *missed);
        }
        self.ended = push == Push::Closed;
        Poll::Ready(Some(push))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // A driver that is gone has forgotten the subscription already.
        self.shared.commands.unsubscribe(self.id);
    }
}
