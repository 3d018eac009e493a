//! A value that is watched: one sender changes it, readers wait for it.
//!
//! Waiters wake in the order in which they began to wait. Tokio's `watch` spreads its waiters over several
//! lists at random, and two runs of one history would differ.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Changes the value. When the sender is dropped, all waiters wake.
pub(crate) struct WatchSender<T> {
    cell: Arc<Cell<T>>,
}

/// Reads the value.
pub(crate) struct WatchReader<T> {
    cell: Arc<Cell<T>>,
}

/// A reader that knows which value it has seen last.
pub(crate) struct WatchCursor<T> {
    cell: Arc<Cell<T>>,
    seen: u64,
}

struct Cell<T> {
    current: Mutex<Versioned<T>>,
    changed: Notify,
}

struct Versioned<T> {
    value: T,
    /// Grows with every change.
    version: u64,
    /// The sender is gone: the value can no longer change.
    is_closed: bool,
}

impl<T> WatchSender<T> {
    pub(crate) fn new(value: T) -> (Self, WatchReader<T>) {
        let current = Mutex::new(Versioned { value, version: 0, is_closed: false });
        let cell = Arc::new(Cell { current, changed: Notify::new() });
        (Self { cell: Arc::clone(&cell) }, WatchReader { cell })
    }

    pub(crate) fn send(&self, value: T) {
        self.modify(|old| *old = value);
    }

    pub(crate) fn modify(&self, change: impl FnOnce(&mut T)) {
        {
            let mut current = self.cell.lock();
            change(&mut current.value);
            current.version += 1;
        }
        self.cell.changed.notify_waiters();
    }
}

impl<T> Drop for WatchSender<T> {
    fn drop(&mut self) {
        // A waiter that wakes must find the value closed.
        self.cell.lock().is_closed = true;
        self.cell.changed.notify_waiters();
    }
}

impl<T> WatchReader<T> {
    /// A cursor that has seen the present value.
    pub(crate) fn cursor(&self) -> WatchCursor<T> {
        WatchCursor { cell: Arc::clone(&self.cell), seen: self.cell.lock().version }
    }

    /// Waits for a value in which `look` finds something; `None` once the sender is gone and `look` found nothing.
    pub(crate) async fn find<F>(&self, look: impl Fn(&T) -> Option<F>) -> Option<F> {
        self.cell.find(|current| look(&current.value)).await
    }
}

impl<T: Clone> WatchReader<T> {
    pub(crate) fn get(&self) -> T {
        self.cell.lock().value.clone()
    }
}

impl<T: Clone> WatchCursor<T> {
    /// The value now.
    pub(crate) fn get(&mut self) -> T {
        let current = self.cell.lock();
        self.seen = current.version;
        current.value.clone()
    }

    /// The next value that was not seen; `None` if there can be none.
    pub(crate) async fn changed(&mut self) -> Option<T> {
        let seen = self.seen;
        let unseen = |current: &Versioned<T>| {
            (current.version != seen).then(|| (current.version, current.value.clone()))
        };
        let (version, value) = self.cell.find(unseen).await?;
        self.seen = version;
        Some(value)
    }
}

impl<T> Cell<T> {
    async fn find<F>(&self, look: impl Fn(&Versioned<T>) -> Option<F>) -> Option<F> {
        loop {
            let mut changed = pin!(self.changed.notified());
            // Registered before looking: no change can slip in between.
            changed.as_mut().enable();
            {
                let current = self.lock();
                let found = look(&current);
                if found.is_some() || current.is_closed {
                    return found;
                }
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Versioned<T>> {
        // A closure that panics in `modify` leaves a whole value behind.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// By hand, because a value need not be `Clone` to be read in two places.
impl<T> Clone for WatchReader<T> {
    fn clone(&self) -> Self {
        Self { cell: Arc::clone(&self.cell) }
    }
}

impl<T> Clone for WatchCursor<T> {
    fn clone(&self) -> Self {
        Self { cell: Arc::clone(&self.cell), seen: self.seen }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Enough to show random lists, and few enough for one round of the runtime.
    const WAITERS: usize = 32;

    #[tokio::test]
    async fn waiters_wake_in_the_order_they_came() {
        let (sender, reader) = WatchSender::new(0);
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
        sender.send(1);
        tokio::task::yield_now().await;
        sender.send(2);
        for task in tasks {
            task.await.unwrap();
        }
        let expected: Vec<_> = (0..WAITERS).map(|number| (number, Some(()))).collect();
        assert_eq!(*woken.lock().unwrap(), expected);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_sender_that_is_gone() {
        let (sender, reader) = WatchSender::new(0);
        let waiter = tokio::spawn({
            let reader = reader.clone();
            async move { reader.find(|value| (*value == 2).then_some(())).await }
        });
        tokio::task::yield_now().await;
        sender.send(1);
        drop(sender);
        assert_eq!(waiter.await.unwrap(), None);
        assert_eq!(reader.find(|value| (*value == 1).then_some(())).await, Some(()));
    }

    #[tokio::test]
    async fn a_cursor_sees_the_last_value_once_and_loses_none_to_a_dropped_wait() {
        let (sender, reader) = WatchSender::new(0);
        let mut cursor = reader.cursor();
        let waited = tokio::time::timeout(std::time::Duration::ZERO, cursor.changed()).await;
        assert!(waited.is_err(), "nothing has changed yet");
        sender.send(1);
        sender.send(2);
        assert_eq!(cursor.changed().await, Some(2));
        sender.send(3);
        drop(sender);
        assert_eq!(cursor.changed().await, Some(3), "the last value counts also after the end");
        assert_eq!(cursor.changed().await, None);
        assert_eq!(cursor.get(), 3);
    }
}
