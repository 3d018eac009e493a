//! The queue of commands from the clients to the driver.
//!
//! Every command is answered, also when the driver ends meanwhile: a command is put in and the queue is closed
//! under one lock, so that each is either taken by the driver or refused. A channel of tokio's can keep what was
//! sent while its receiver went away, and whoever waits for that waits for ever.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use crate::core::{DriverEnd, DriverPart, RequestId, SubscriptionId};

use super::command::{ClientCommand, Signal};
use super::last_word::guard;

/// A queue and its two ends.
pub(crate) fn command_queue() -> (CommandSender, CommandReceiver) {
    let queue = Arc::new(Queue { state: Mutex::default(), driver: AtomicWaker::new() });
    (CommandSender { queue: Arc::clone(&queue) }, CommandReceiver { queue })
}

/// The end that all handles share.
pub(crate) struct CommandSender {
    queue: Arc<Queue>,
}

/// The driver's end. Dropping it refuses the commands that wait, and all later ones.
pub(crate) struct CommandReceiver {
    queue: Arc<Queue>,
}

struct Queue {
    state: Mutex<State>,
    driver: AtomicWaker,
}

#[derive(Default)]
struct State {
    commands: VecDeque<ClientCommand>,
    /// Somebody has asked for the end, whether or not the driver has taken that command.
    is_shutting_down: bool,
    /// No handle is left.
    is_abandoned: bool,
    /// No driver is left.
    is_closed: bool,
    /// What ended the driver, if it was not shut down.
    lost: Option<Arc<DriverEnd>>,
}

impl CommandSender {
    /// Hands a command to the driver, or refuses it if the driver is gone.
    pub(crate) fn send(&self, command: ClientCommand) {
        let refused = {
            let mut state = self.queue.lock();
            if state.is_closed {
                Some((command, state.lost.clone()))
            } else {
                state.commands.push_back(command);
                None
            }
        };
        match refused {
            // The caller is woken without the lock.
            Some((command, lost)) => command.refuse(lost.as_ref()),
            None => self.queue.driver.wake(),
        }
    }

    /// Hands a signal to the driver, unless the same one waits already: whoever finds it waiting has it before
    /// everything that it sends afterwards.
    pub(crate) fn signal(&self, signal: Signal) {
        {
            let mut state = self.queue.lock();
            if state.is_closed || state.has(signal) {
                return;
            }
            state.is_shutting_down |= signal == Signal::ShutDown;
            state.commands.push_back(ClientCommand::Signal(signal));
        }
        self.queue.driver.wake();
    }

    /// Takes a request back, or cancels it if the driver has it. That it was made has asked for a connection, and
    /// goes on to do so.
    pub(crate) fn cancel(&self, id: RequestId) {
        let is_it =
            |command: &ClientCommand| matches!(command, ClientCommand::Request { id: of, .. } if *of == id);
        self.take_back(is_it, ClientCommand::Cancel(id));
    }

    /// Takes a subscription back, or ends it if the driver has it. What goes for a request goes for it.
    pub(crate) fn unsubscribe(&self, id: SubscriptionId) {
        let is_it =
            |command: &ClientCommand| matches!(command, ClientCommand::Subscribe { id: of, .. } if *of == id);
        self.take_back(is_it, ClientCommand::Unsubscribe(id));
    }

    fn take_back(&self, is_it: impl Fn(&ClientCommand) -> bool, otherwise: ClientCommand) {
        let taken_back = {
            let mut state = self.queue.lock();
            // The latest are the likeliest.
            match state.commands.iter().rposition(is_it) {
                Some(at) => {
                    let connect = state.commands[at].wants_connection() && !state.has(Signal::Connect);
                    if connect {
                        let signal = ClientCommand::Signal(Signal::Connect);
                        Some(std::mem::replace(&mut state.commands[at], signal))
                    } else {
                        state.commands.remove(at)
                    }
                }
                None => None,
            }
        };
        // What was taken back is dropped without the lock.
        if taken_back.is_none() {
            self.send(otherwise);
        }
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

impl Drop for CommandSender {
    fn drop(&mut self) {
        self.queue.lock().is_abandoned = true;
        self.queue.driver.wake();
    }
}

impl CommandReceiver {
    /// The next command. When no handle is left, the one to shut down, once.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<ClientCommand> {
        // Register before looking: a command in between then wakes the new waker.
        self.queue.driver.register(cx.waker());
        let mut state = self.queue.lock();
        match state.commands.pop_front() {
            Some(command) => Poll::Ready(command),
            None if state.is_abandoned && !state.is_shutting_down => {
                state.is_shutting_down = true;
                Poll::Ready(ClientCommand::Signal(Signal::ShutDown))
            }
            None => Poll::Pending,
        }
    }

    /// Refuses the commands that wait, and all later ones. The first reason stays.
    pub(super) fn close(&mut self, lost: Option<&Arc<DriverEnd>>) {
        let (commands, lost) = {
            let mut state = self.queue.lock();
            if !state.is_closed {
                state.lost = lost.cloned();
            }
            state.is_closed = true;
            (std::mem::take(&mut state.commands), state.lost.clone())
        };
        for command in commands {
            // A caller whose waker panics keeps no other from being told.
            let _ = guard(DriverPart::Driver, || command.refuse(lost.as_ref()));
        }
    }
}

impl Drop for CommandReceiver {
    fn drop(&mut self) {
        self.close(None);
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
                let is_it = |command: &ClientCommand| matches!(command, ClientCommand::Signal(waiting) if *waiting == signal);
                self.commands.iter().any(is_it)
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
    use crate::core::mailbox::Mailbox;
    use crate::driver::subscriber_queue::SubscriberQueue;

    fn taken(receiver: &mut CommandReceiver) -> Vec<String> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut taken = Vec::new();
        while let Poll::Ready(command) = receiver.poll_next(&mut cx) {
            taken.push(match command {
                ClientCommand::Signal(signal) => format!("{signal:?}"),
                ClientCommand::Cancel(id) => format!("cancel {}", id.0),
                ClientCommand::Subscribe { id, .. } => format!("subscribe {}", id.0),
                ClientCommand::Unsubscribe(id) => format!("unsubscribe {}", id.0),
                ClientCommand::Request { .. }
                | ClientCommand::Configure { .. }
                | ClientCommand::Barrier { .. } => unreachable!("nothing else was sent"),
            });
        }
        taken
    }

    /// There are two ways for a caller to meet another one who resumes: to come before him, or after him. In both the
    /// signal is there before what the caller sends next, so that it does not see the pause that was resumed from.
    #[test]
    fn no_wedge_a_signal_is_before_whatever_its_senders_send_next() {
        let barrier = || ClientCommand::Cancel(RequestId(7));
        let (sender, mut receiver) = command_queue();
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
        let (sender, mut receiver) = command_queue();
        for _ in 0..2 {
            sender.signal(Signal::Wake);
            sender.signal(Signal::Wake);
            sender.signal(Signal::Connect);
            assert_eq!(taken(&mut receiver), ["Wake", "Connect"]);
        }
    }

    /// What is made and dropped in one moment leaves nothing but the wish for a connection.
    #[test]
    fn limits_what_is_dropped_before_it_is_taken_is_taken_back() {
        let queue = || Arc::new(SubscriberQueue::new(Mailbox::new(4, 100)));
        let subscribe = |id| ClientCommand::Subscribe { id: SubscriptionId(id), queue: queue() };
        let (sender, mut receiver) = command_queue();
        for id in 1..=1_000 {
            sender.send(subscribe(id));
            sender.unsubscribe(SubscriptionId(id));
        }
        assert_eq!(taken(&mut receiver), ["Connect"]);
        // The driver has it: it must hear of the end.
        sender.send(subscribe(1));
        assert_eq!(taken(&mut receiver), ["subscribe 1"]);
        sender.unsubscribe(SubscriptionId(1));
        sender.cancel(RequestId(7));
        assert_eq!(taken(&mut receiver), ["unsubscribe 1", "cancel 7"]);
    }

    #[test]
    fn stop_is_final_a_shutdown_is_given_once_also_when_the_last_handle_goes() {
        let (sender, mut receiver) = command_queue();
        sender.signal(Signal::ShutDown);
        assert!(sender.is_shutting_down());
        assert_eq!(taken(&mut receiver), ["ShutDown"]);
        sender.signal(Signal::ShutDown);
        drop(sender);
        assert!(taken(&mut receiver).is_empty());

        let (sender, mut receiver) = command_queue();
        drop(sender);
        assert_eq!(taken(&mut receiver), ["ShutDown"]);
    }
}
