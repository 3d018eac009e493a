//! The queue between the driver and one subscription.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use crate::core::mailbox::Mailbox;
use crate::core::{Push, Snapshot};

/// A mailbox that wakes its reader.
pub(crate) struct SubscriberQueue {
    mailbox: Mutex<Mailbox>,
    reader: AtomicWaker,
}

impl SubscriberQueue {
    pub(crate) fn new(mailbox: Mailbox) -> Self {
        Self { mailbox: Mutex::new(mailbox), reader: AtomicWaker::new() }
    }

    /// Adds an item; `latest` is the snapshot as of now. False if the subscription is over with it.
    pub(crate) fn push(&self, push: Push, latest: Option<&Arc<Snapshot>>) -> bool {
        let mut mailbox = self.lock();
        mailbox.push(push, latest);
        let is_open = !mailbox.is_closed();
        drop(mailbox);
        self.reader.wake();
        is_open
    }

    /// Adds the last item.
    pub(crate) fn close(&self) {
        self.push(Push::Closed, None);
    }

    pub(crate) fn poll_pop(&self, cx: &mut Context<'_>) -> Poll<Push> {
        // Register before looking: a push in between then wakes the new waker (A19).
        self.reader.register(cx.waker());
        self.lock().pop().map_or(Poll::Pending, Poll::Ready)
    }

    pub(crate) fn waiting(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Mailbox> {
        // No code of a consumer runs under this lock, so a poisoned mailbox is still whole.
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
