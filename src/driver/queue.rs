//! The queue of orders from the handles to the driver.
//!
//! Whoever gives an order gets a last word, also when the driver ends meanwhile: an order is put in and the
//! queue is closed under one lock, so that each is either taken by the driver or refused. A channel of tokio's
//! can keep what was sent while its receiver went away, and whoever waits for that waits for ever.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use super::order::{Order, Signal};

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
    /// Somebody has asked for the end, whether or not the driver has taken that order.
    is_shutting_down: bool,
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

    /// Hands a signal to the driver, unless the same one waits already: whoever finds it waiting has it before
    /// everything that he sends afterwards.
    pub(crate) fn signal(&self, signal: Signal) {
        {
            let mut state = self.queue.lock();
            if state.is_closed || state.has(signal) {
                return;
            }
            state.is_shutting_down |= signal == Signal::ShutDown;
            state.orders.push_back(Order::Signal(signal));
        }
        self.queue.driver.wake();
    }

    /// Whether somebody has asked for the end.
    pub(crate) fn is_shutting_down(&self) -> bool {
        self.queue.lock().is_shutting_down
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
    /// The next order. When no handle is left, the order to shut down, once.
    pub(super) fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Order> {
        // Register before looking: an order in between then wakes the new waker.
        self.queue.driver.register(cx.waker());
        let mut state = self.queue.lock();
        match state.orders.pop_front() {
            Some(order) => Poll::Ready(order),
            None if state.is_abandoned && !state.is_shutting_down => {
                state.is_shutting_down = true;
                Poll::Ready(Order::Signal(Signal::ShutDown))
            }
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

impl State {
    /// Whether a signal need not be given (again). That is read off the queue itself: a flag beside it could be up
    /// before the signal is in the queue.
    fn has(&self, signal: Signal) -> bool {
        match signal {
            // A shutdown is for ever.
            Signal::ShutDown => self.is_shutting_down,
            Signal::Connect | Signal::Wake | Signal::Resume => {
                let is_it = |order: &Order| matches!(order, Order::Signal(waiting) if *waiting == signal);
                self.orders.iter().any(is_it)
            }
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under this lock, so a poisoned queue is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::RequestId;

    fn taken(receiver: &mut OrderReceiver) -> Vec<String> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut taken = Vec::new();
        while let Poll::Ready(order) = receiver.poll_take(&mut cx) {
            taken.push(match order {
                Order::Signal(signal) => format!("{signal:?}"),
                Order::Cancel(id) => format!("cancel {}", id.0),
                Order::Request { .. }
                | Order::Subscribe { .. }
                | Order::Unsubscribe(_)
                | Order::Configure { .. }
                | Order::CatchUp { .. } => unreachable!("nothing else was sent"),
            });
        }
        taken
    }

    /// There are two ways for a caller to meet another one who resumes: to come before him, or after him. In both the
    /// signal is there before what the caller sends next, so that it does not see the pause that was resumed from.
    #[test]
    fn no_wedge_a_signal_is_before_whatever_its_senders_send_next() {
        let barrier = || Order::Cancel(RequestId(7));
        let (sender, mut receiver) = order_queue();
        sender.signal(Signal::Resume);
        sender.signal(Signal::Resume);
        sender.send(barrier());
        assert_eq!(taken(&mut receiver), ["Resume", "cancel 7"]);

        sender.signal(Signal::Resume);
        sender.send(barrier());
        sender.signal(Signal::Resume);
        assert_eq!(taken(&mut receiver), ["Resume", "cancel 7"]);
    }

    #[test]
    fn no_wedge_a_signal_that_was_taken_can_be_given_again() {
        let (sender, mut receiver) = order_queue();
        for _ in 0..2 {
            sender.signal(Signal::Wake);
            sender.signal(Signal::Wake);
            sender.signal(Signal::Connect);
            assert_eq!(taken(&mut receiver), ["Wake", "Connect"]);
        }
    }

    #[test]
    fn stop_is_final_a_shutdown_is_given_once_also_when_the_last_handle_goes() {
        let (sender, mut receiver) = order_queue();
        sender.signal(Signal::ShutDown);
        assert!(sender.is_shutting_down());
        assert_eq!(taken(&mut receiver), ["ShutDown"]);
        sender.signal(Signal::ShutDown);
        drop(sender);
        assert!(taken(&mut receiver).is_empty());

        let (sender, mut receiver) = order_queue();
        drop(sender);
        assert_eq!(taken(&mut receiver), ["ShutDown"]);
    }
}
