//! A value that others wait on.

use std::pin::pin;
use std::sync::Arc;

use tokio::sync::{Notify, watch};

/// Where the value is changed. When it is dropped, nobody waits in vain.
///
/// It is a [`watch`] whose waiters wake in the order in which they began to wait. A `watch` alone
/// spreads its waiters over several lists at random, and two runs of one history would differ.
pub(crate) struct Notice<T> {
    sender: Option<watch::Sender<T>>,
    changed: Arc<Notify>,
}

/// Where the value is read.
#[derive(Clone)]
pub(crate) struct NoticeReader<T> {
    receiver: watch::Receiver<T>,
    changed: Arc<Notify>,
}

impl<T> Notice<T> {
    pub(crate) fn new(value: T) -> (Self, NoticeReader<T>) {
        let (sender, receiver) = watch::channel(value);
        let changed = Arc::new(Notify::new());
        let reader = NoticeReader { receiver, changed: Arc::clone(&changed) };
        (Self { sender: Some(sender), changed }, reader)
    }

    pub(crate) fn post(&self, value: T) {
        self.change(|old| *old = value);
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut T)) {
        if let Some(sender) = &self.sender {
            sender.send_modify(change);
        }
        self.changed.notify_waiters();
    }
}

impl<T> Drop for Notice<T> {
    fn drop(&mut self) {
        // Those who are woken must find the sender gone.
        drop(self.sender.take());
        self.changed.notify_waiters();
    }
}

impl<T> NoticeReader<T> {
    /// The value, as something to look at or to hand out.
    pub(crate) fn watch(&self) -> &watch::Receiver<T> {
        &self.receiver
    }

    /// Waits until `look` finds something; `None` if nothing can come any more.
    pub(crate) async fn find<F>(&self, look: impl Fn(&T) -> Option<F>) -> Option<F> {
        loop {
            let mut changed = pin!(self.changed.notified());
            // Registered before looking: no change can slip in between.
            changed.as_mut().enable();
            let is_last = self.receiver.has_changed().is_err();
            let found = look(&self.receiver.borrow());
            if found.is_some() || is_last {
                return found;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Enough to show random lists, and few enough for one round of the runtime.
    const WAITERS: usize = 32;

    #[tokio::test]
    async fn waiters_wake_in_the_order_they_came() {
        let (notice, reader) = Notice::new(0);
        let woken = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for number in 0..WAITERS {
            let (reader, woken) = (reader.clone(), Arc::clone(&woken));
            tasks.push(tokio::spawn(async move {
                let found = reader.find(|value| (*value == 2).then_some(())).await;
                woken.lock().unwrap().push((number, found));
            }));
        }
        tokio::task::yield_now().await;
        notice.post(1);
        tokio::task::yield_now().await;
        notice.post(2);
        for task in tasks {
            task.await.unwrap();
        }
        let expected: Vec<_> = (0..WAITERS).map(|number| (number, Some(()))).collect();
        assert_eq!(*woken.lock().unwrap(), expected);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_notice_that_is_gone() {
        let (notice, reader) = Notice::new(0);
        let waiter = tokio::spawn({
            let reader = reader.clone();
            async move { reader.find(|value| (*value == 2).then_some(())).await }
        });
        tokio::task::yield_now().await;
        notice.post(1);
        drop(notice);
        assert_eq!(waiter.await.unwrap(), None);
        assert_eq!(reader.find(|value| (*value == 1).then_some(())).await, Some(()));
    }
}
