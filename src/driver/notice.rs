//! A value that others wait on.
//!
//! Waiters wake in the order in which they began to wait. Tokio's `watch` spreads its waiters over several
//! lists at random, and two runs of one history would differ.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Where the value is changed. When it is dropped, nobody waits in vain.
pub(crate) struct Notice<T> {
    board: Arc<Board<T>>,
}

/// Where the value is read.
pub(crate) struct NoticeReader<T> {
    board: Arc<Board<T>>,
}

/// A reader that knows what it has seen.
pub(crate) struct NoticeWatch<T> {
    board: Arc<Board<T>>,
    seen: u64,
}

struct Board<T> {
    posted: Mutex<Posted<T>>,
    changed: Notify,
}

struct Posted<T> {
    value: T,
    /// Grows with every change.
    version: u64,
    /// Whether it can change no more.
    is_final: bool,
}

impl<T> Notice<T> {
    pub(crate) fn new(value: T) -> (Self, NoticeReader<T>) {
        let posted = Mutex::new(Posted { value, version: 0, is_final: false });
        let board = Arc::new(Board { posted, changed: Notify::new() });
        (Self { board: Arc::clone(&board) }, NoticeReader { board })
    }

    pub(crate) fn post(&self, value: T) {
        self.change(|old| *old = value);
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut T)) {
        {
            let mut posted = self.board.lock();
            change(&mut posted.value);
            posted.version += 1;
        }
        self.board.changed.notify_waiters();
    }
}

impl<T> Drop for Notice<T> {
    fn drop(&mut self) {
        // Those who are woken must find that this was the end.
        self.board.lock().is_final = true;
        self.board.changed.notify_waiters();
    }
}

impl<T> NoticeReader<T> {
    /// A reader that has seen the present value.
    pub(crate) fn watch(&self) -> NoticeWatch<T> {
        NoticeWatch { board: Arc::clone(&self.board), seen: self.board.lock().version }
    }

    /// Waits until `look` finds something; `None` if nothing can come any more.
    pub(crate) async fn find<F>(&self, look: impl Fn(&T) -> Option<F>) -> Option<F> {
        self.board.find(|posted| look(&posted.value)).await
    }
}

impl<T: Clone> NoticeReader<T> {
    pub(crate) fn get(&self) -> T {
        self.board.lock().value.clone()
    }
}

impl<T: Clone> NoticeWatch<T> {
    /// The value now.
    pub(crate) fn get(&mut self) -> T {
        let posted = self.board.lock();
        self.seen = posted.version;
        posted.value.clone()
    }

    /// The next value that was not seen; `None` if there can be none.
    pub(crate) async fn changed(&mut self) -> Option<T> {
        let seen = self.seen;
        let unseen =
            |posted: &Posted<T>| (posted.version != seen).then(|| (posted.version, posted.value.clone()));
        let (version, value) = self.board.find(unseen).await?;
        self.seen = version;
        Some(value)
    }
}

impl<T> Board<T> {
    async fn find<F>(&self, look: impl Fn(&Posted<T>) -> Option<F>) -> Option<F> {
        loop {
            let mut changed = pin!(self.changed.notified());
            // Registered before looking: no change can slip in between.
            changed.as_mut().enable();
            {
                let posted = self.lock();
                let found = look(&posted);
                if found.is_some() || posted.is_final {
                    return found;
                }
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Posted<T>> {
        // Whatever a change did, each of its values is a whole one.
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// By hand, because a value need not be `Clone` to be read in two places.
impl<T> Clone for NoticeReader<T> {
    fn clone(&self) -> Self {
        Self { board: Arc::clone(&self.board) }
    }
}

impl<T> Clone for NoticeWatch<T> {
    fn clone(&self) -> Self {
        Self { board: Arc::clone(&self.board), seen: self.seen }
    }
}

#[cfg(test)]
mod tests {
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

    #[tokio::test]
    async fn a_watch_sees_the_last_value_once_and_loses_none_to_a_dropped_wait() {
        let (notice, reader) = Notice::new(0);
        let mut watch = reader.watch();
        let waited = tokio::time::timeout(std::time::Duration::ZERO, watch.changed()).await;
        assert!(waited.is_err(), "nothing has changed yet");
        notice.post(1);
        notice.post(2);
        assert_eq!(watch.changed().await, Some(2));
        notice.post(3);
        drop(notice);
        assert_eq!(watch.changed().await, Some(3), "the last value counts also after the end");
        assert_eq!(watch.changed().await, None);
        assert_eq!(watch.get(), 3);
    }
}
