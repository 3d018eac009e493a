//! The queue of orders from the handles to the driver.
//!
//! Whoever gives an order gets a last word, also when the driver ends meanwhile: an order is put in and the
//! queue is closed under one lock, so that each is either taken by the driver or refused. A channel of tokio's
//! can keep what was sent while its receiver went away, and whoever waits for that waits for ever.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use super::order::Order;

/// A queue and its two ends.
pub(crate) fn order_queue() -> (OrderSender, OrderReceiver) {
    let queue = Arc::new(Queue { state: Mutex::default(), driver: AtomicWaker::new() });
    (OrderSender { queue: Arc::clone(&queue) }, OrderReceiver { queue })
}

/// The end that all handles share.
pub(crate) struct OrderSender {
    queue: Arc<Queue>,
}

/// The driver's end. Dropping it refuses what waits, and all that comes later.
pub(crate) struct OrderReceiver {
    queue: Arc<Queue>,
}

struct Queue {
    state: Mutex<State>,
    driver: AtomicWaker,
}

#[derive(Default)]
struct State {
    orders: VecDeque<Order>,
    /// No handle is left.
    is_abandoned: bool,
    /// No driver is left.
    is_closed: bool,
}

impl OrderSender {
    /// Hands an order to the driver, or refuses it if the driver is gone.
    pub(crate) fn send(&self, order: Order) {
        let refused = {
            let mut state = self.queue.lock();
            if state.is_closed {
                Some(order)
            } else {
                state.orders.push_back(order);
                None
            }
        };
        match refused {
            // The caller is woken without the lock.
            Some(order) => order.refuse(),
            None => self.queue.driver.wake(),
        }
    }

    /// Whether the driver is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.queue.lock().is_closed
    }
}

impl Drop for OrderSender {
    fn drop(&mut self) {
        self.queue.lock().is_abandoned = true;
        self.queue.driver.wake();
    }
}

impl OrderReceiver {
    /// The next order; `None` once no handle is left and everything is taken.
    pub(super) fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Option<Order>> {
        // Register before looking: an order in between then wakes the new waker.
        self.queue.driver.register(cx.waker());
        let mut state = self.queue.lock();
        match state.orders.pop_front() {
            Some(order) => Poll::Ready(Some(order)),
            None if state.is_abandoned => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

impl Drop for OrderReceiver {
    fn drop(&mut self) {
        let orders = {
            let mut state = self.queue.lock();
            state.is_closed = true;
            std::mem::take(&mut state.orders)
        };
        orders.into_iter().for_each(Order::refuse);
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under this lock, so a poisoned queue is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
