//! The only loop: it carries inputs to the core and effects to the world, and decides nothing.
//!
//! Each turn runs in one fixed order (commands, token store, socket, deadline) with a bound on each part, so that
//! the same inputs give the same history and no part can starve another. Nothing is awaited while an
//! effect is carried out.

pub(crate) mod notice;
pub(crate) mod order;
pub(crate) mod queue;
mod socket;
mod token_work;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot;
use tokio::time::{Instant as TokioInstant, Sleep};

use crate::core::{
    Command, Connection, Delivery, Effect, Epoch, Gap, Input, Instant, Options, Push, RequestId, Status,
    SubscriptionId,
};
use crate::network::Network;
use crate::statistics::{Counters, Level, Total};
use crate::token_store::TokenStore;

use notice::Notice;
use order::{ConfigSeq, Order, Postbox, Signal, Waiter};
use queue::OrderReceiver;
use socket::{Socket, SocketLimits};
use token_work::{Errand, TokenWork};

/// Orders taken in one turn, so that a flood of them cannot starve the socket.
const ORDERS_PER_TURN: usize = 64;
/// Turns in one poll, so that a busy connection cannot starve other tasks of its thread.
const TURNS_PER_POLL: usize = 16;

/// What a shutdown ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Whether a socket was dialing, open or closing when the shutdown began.
    pub had_socket: bool,
    /// Requests that were failed by it.
    pub failed_requests: usize,
    /// Subscriptions that were ended by it.
    pub closed_subscriptions: usize,
}

/// What the rest of the world can look at without asking.
pub(crate) struct Outlook {
    pub(crate) status: Notice<Status>,
    /// The report, once the driver is gone.
    pub(crate) stopped: Arc<Notice<Option<ShutdownReport>>>,
    pub(crate) counters: Arc<Counters>,
}

/// Runs one connection over a network. Made by [`Builder::build`](crate::Builder::build).
pub struct Driver<N: Network> {
    core: Connection,
    network: Arc<N>,
    socket_limits: SocketLimits,
    socket: Option<Socket<N::Stream>>,
    orders: OrderReceiver,
    token_work: TokenWork,
    waiters: BTreeMap<RequestId, Waiter>,
    subscribers: BTreeMap<SubscriptionId, Arc<Postbox>>,
    /// The number of the config in force; none before the first change.
    config_seq: Option<ConfigSeq>,
    /// Whether the log has been told of the outage that lasts now.
    outage_told: bool,
    /// Who waits until this turn is over.
    catching_up: Vec<oneshot::Sender<()>>,
    outlook: Outlook,
    /// Around the log lines of the latest connection.
    span: tracing::Span,
    /// Frames handed to sockets so far.
    frames_sent: u64,
    /// Subscriptions that their lag has ended, and that the core has not heard of.
    given_up: Vec<SubscriptionId>,
    /// The gap that was counted last: every subscriber is told of it.
    counted_gap: Option<Gap>,
    started: TokioInstant,
    timer: Pin<Box<Sleep>>,
    /// Reused between steps.
    effects: Vec<Effect>,
    inputs: Vec<Input>,
    report: Option<ShutdownReport>,
    stopped: bool,
}

impl<N: Network> Driver<N> {
    /// Must be called in the context of a runtime with a timer.
    pub(crate) fn new(
        core: Connection,
        options: &Options,
        network: N,
        token_store: Option<Arc<dyn TokenStore>>,
        orders: OrderReceiver,
        outlook: Outlook,
    ) -> Self {
        let started = TokioInstant::now();
        Self {
            core,
            network: Arc::new(network),
            socket_limits: SocketLimits::of(options),
            socket: None,
            orders,
            token_work: TokenWork::new(token_store),
            waiters: BTreeMap::new(),
            subscribers: BTreeMap::new(),
            config_seq: None,
            outage_told: false,
            catching_up: Vec::new(),
            outlook,
            span: tracing::Span::none(),
            frames_sent: 0,
            given_up: Vec::new(),
            counted_gap: None,
            started,
            timer: Box::pin(tokio::time::sleep_until(started)),
            effects: Vec::new(),
            inputs: Vec::new(),
            report: None,
            stopped: false,
        }
    }

    /// Runs until the client is shut down or its last handle is gone.
    ///
    /// Dropping the future is safe at any moment: the socket is dropped, requests fail and
    /// subscriptions end.
    pub async fn run(mut self) {
        let stopped = Arc::clone(&self.outlook.stopped);
        poll_fn(|cx| self.poll(cx)).await;
        let report = self.report.unwrap_or_default();
        // Whoever waits for the shutdown must find nothing left of it: the driver goes first.
        drop(self);
        stopped.post(Some(report));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..TURNS_PER_POLL {
            let busy = self.turn(cx);
            if self.stopped {
                return Poll::Ready(());
            }
            if !busy {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// One turn; true if anything happened.
    fn turn(&mut self, cx: &mut Context<'_>) -> bool {
        let ordered = self.take_orders(cx);
        let fetched = self.drive_token_work(cx);
        let moved = self.drive_socket(cx);
        let due = self.drive_deadline(cx);
        // Only now does the status show what the orders of this turn led to, such as a dial that is due.
        for caught_up in self.catching_up.drain(..) {
            // The caller may have stopped waiting for the word.
            let _ = caught_up.send(());
        }
        ordered || fetched || moved || due
    }

    fn take_orders(&mut self, cx: &mut Context<'_>) -> bool {
        for taken in 0..ORDERS_PER_TURN {
            let Poll::Ready(order) = self.orders.poll_take(cx) else { return taken > 0 };
            self.obey(order);
            if self.stopped {
                return true;
            }
        }
        true
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Request { id, method, params, timeout, asked, reply, only_on, waiter } => {
                self.waiters.insert(id, waiter);
                let sent = self.frames_sent;
                let waited = asked.elapsed();
                let command = Command::Request { id, method, params, timeout, waited, reply, only_on };
                self.step(Input::Command(command));
                let now = self.now();
                if self.frames_sent > sent
                    && let Some(waiter) = self.waiters.get_mut(&id)
                {
                    waiter.sent_at = Some(now);
                }
            }
            Order::Cancel(id) => {
                // The request may have ended in the meantime; then there is nothing to cancel.
                if self.waiters.remove(&id).is_some() {
                    self.step(Input::Command(Command::Cancel { id }));
                }
            }
            Order::Subscribe { id, postbox } => {
                self.subscribers.insert(id, postbox);
                self.step(Input::Command(Command::Subscribe { id }));
            }
            Order::Unsubscribe(id) => {
                self.subscribers.remove(&id);
                self.step(Input::Command(Command::Unsubscribe { id }));
            }
            Order::CatchUp { permit, caught_up } => {
                drop(permit);
                self.catching_up.push(caught_up);
            }
            Order::Configure { seq, config, permit, applied } => {
                // An older number comes too late, also with the answer of a slow lookup (B24).
                if self.config_seq < Some(seq) {
                    self.config_seq = Some(seq);
                    self.step(Input::Command(Command::Configure(config)));
                }
                drop(permit);
                self.catching_up.push(applied);
            }
            Order::Signal(Signal::Connect) => self.step(Input::Command(Command::Connect)),
            Order::Signal(Signal::Wake) => self.step(Input::Command(Command::Wake)),
            Order::Signal(Signal::Resume) => self.step(Input::Command(Command::Resume)),
            Order::Signal(Signal::ShutDown) => self.shut_down(),
        }
    }

    fn shut_down(&mut self) {
        if self.report.is_none() {
            self.report = Some(ShutdownReport {
                had_socket: self.socket.is_some(),
                failed_requests: self.core.pending(),
                closed_subscriptions: self.subscribers.len(),
            });
        }
        self.step(Input::Command(Command::ShutDown));
    }

    fn drive_token_work(&mut self, cx: &mut Context<'_>) -> bool {
        let Poll::Ready(input) = self.token_work.poll(cx) else { return false };
        self.step(input);
        true
    }

    fn drive_socket(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(socket) = &mut self.socket else { return false };
        let mut inputs = std::mem::take(&mut self.inputs);
        let moved = socket.poll(cx, &mut inputs).is_ready();
        for input in inputs.drain(..) {
            if let Input::DialFailed { .. } | Input::Closed { .. } = &input {
                self.socket = None;
            }
            if let Input::Received { text, .. } = &input {
                self.outlook.counters.received(text.0.len());
            }
            self.step(input);
        }
        self.inputs = inputs;
        moved
    }

    fn drive_deadline(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(deadline) = self.core.next_deadline() else { return false };
        if deadline.at > self.now() {
            let at = self.started + deadline.at.elapsed();
            if self.timer.deadline() != at {
                self.timer.as_mut().reset(at);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return false;
            }
        }
        self.step(Input::Timeout);
        true
    }

    fn now(&self) -> Instant {
        Instant::from(self.started.elapsed())
    }

    fn step(&mut self, input: Input) {
        let mut effects = std::mem::take(&mut self.effects);
        self.core.step(self.now(), input, &mut effects);
        for effect in effects.drain(..) {
            self.carry_out(effect);
        }
        self.effects = effects;
        self.outlook.counters.set(Level::Pending, self.core.pending());
        self.outlook.counters.set(Level::Subscriptions, self.core.subscriptions());
        while let Some(id) = self.given_up.pop() {
            self.step(Input::Command(Command::Unsubscribe { id }));
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Dial { epoch, endpoint } => {
                assert!(self.socket.is_none(), "a dial while a socket is alive");
                self.outlook.counters.add(Total::Dials, 1);
                self.span = connection_span(epoch);
                let network = Arc::clone(&self.network);
                self.socket = Some(Socket::dial(network, epoch, endpoint, self.socket_limits));
            }
            Effect::Transmit { epoch, text } => {
                if let Some(socket) = self.socket.as_mut().filter(|socket| socket.epoch == epoch) {
                    socket.send(&text);
                    self.frames_sent += 1;
                    self.outlook.counters.sent(text.0.len());
                }
            }
            Effect::HangUp { epoch, close } => {
                if let Some(socket) = self.socket.as_mut().filter(|socket| socket.epoch == epoch)
                    && socket.close(&close)
                {
                    self.socket = None;
                }
            }
            Effect::LoadToken { epoch, key } => self.token_work.add(Errand::Load { epoch, key }),
            Effect::SaveToken { key, token } => self.token_work.add(Errand::Save { key, token }),
            Effect::AdoptToken { key, token } => self.token_work.add(Errand::Adopt { key, token }),
            Effect::ClearToken { key, token } => self.token_work.add(Errand::Clear { key, token }),
            Effect::Accepted { id, payload } => {
                let now = self.now();
                if let Some(waiter) = self.waiters.get_mut(&id) {
                    note_round_trip(&self.outlook.counters, waiter, now);
                    waiter.accepted(payload);
                }
            }
            Effect::Complete { id, outcome } => {
                if let Some(mut waiter) = self.waiters.remove(&id) {
                    if outcome.as_ref().err().is_none_or(|error| error.gateway().is_some()) {
                        note_round_trip(&self.outlook.counters, &mut waiter, self.now());
                    }
                    waiter.complete(outcome);
                }
            }
            Effect::Deliver { to, push } => self.deliver(to, push),
            Effect::Status(status) => {
                if let Status::Ready { .. } = &status {
                    self.greeted();
                }
                let span = self.span.clone();
                span.in_scope(|| self.log_status(&status));
                self.outlook.status.post(status);
            }
            Effect::Stopped => self.stopped = true,
        }
    }

    fn greeted(&mut self) {
        self.outlook.counters.add(Total::Connects, 1);
        if let Some(snapshot) = self.core.snapshot() {
            self.span.record("connection_id", &*snapshot.hello.connection_id);
        }
    }

    fn deliver(&mut self, to: SubscriptionId, push: Push) {
        if let Push::Gap(gap) = &push
            && self.counted_gap != Some(*gap)
        {
            self.counted_gap = Some(*gap);
            self.outlook.counters.add(Total::Gaps, 1);
        }
        let is_last = push == Push::Closed;
        let Some(postbox) = self.subscribers.get(&to) else { return };
        let goes_on = postbox.post(push, self.core.snapshot());
        if !goes_on {
            self.subscribers.remove(&to);
            if !is_last {
                self.given_up.push(to);
            }
        }
    }

    /// One line for each change that matters, at the level of whoever must act: nobody for a
    /// reconnect (info), a person for a pause (warn). An outage is told once, when it begins; the
    /// failed attempts in it are debug, so that a gateway restart cannot flood a log.
    fn log_status(&mut self, status: &Status) {
        match status {
            Status::Ready { .. } => tracing::info!("connected to the gateway"),
            Status::Backoff { cause, .. } if !self.outage_told => {
                tracing::info!(%cause, "the connection to the gateway ended; reconnecting");
            }
            Status::Backoff { attempt, cause, .. } => tracing::debug!(attempt, %cause, "still not connected"),
            Status::Paused(reason) => tracing::warn!(%reason, "reconnecting is paused"),
            Status::Connecting { attempt, .. } => tracing::debug!(attempt, "dialing"),
            Status::Handshaking { .. } => tracing::debug!("handshaking"),
            Status::Closing => tracing::debug!("closing the socket"),
            Status::Idle => tracing::debug!("idle"),
            Status::NotConfigured => tracing::debug!("no gateway is configured"),
            Status::Stopped => tracing::debug!("stopped"),
        }
        match status {
            Status::Backoff { .. } => self.outage_told = true,
            // A part of the next attempt: the outage goes on.
            Status::Connecting { .. } | Status::Handshaking { .. } => {}
            Status::Ready { .. }
            | Status::Paused(_)
            | Status::Closing
            | Status::Idle
            | Status::NotConfigured
            | Status::Stopped => self.outage_told = false,
        }
    }
}

/// Without a shutdown everybody is told all the same: whoever looks at the status or waits for it, requests, and
/// subscribers. What is still in the queue is refused when that is dropped, after this.
impl<N: Network> Drop for Driver<N> {
    fn drop(&mut self) {
        if !self.stopped {
            self.outlook.status.post(Status::Stopped);
        }
        for (id, waiter) in std::mem::take(&mut self.waiters) {
            let delivery = if self.core.is_queued(id) { Delivery::NotSent } else { Delivery::Unknown };
            waiter.lose(delivery);
        }
        self.outlook.counters.set(Level::Pending, 0);
        self.outlook.counters.set(Level::Subscriptions, 0);
        for postbox in self.subscribers.values() {
            postbox.close();
        }
    }
}

/// A part of whatever span the driver runs in.
fn connection_span(epoch: Epoch) -> tracing::Span {
    let connection_id = tracing::field::Empty;
    tracing::info_span!("gateway.connection", epoch = epoch.0, connection_id)
}

/// The first answer to a request that did not have to wait in the queue tells how long the way is.
fn note_round_trip(counters: &Counters, waiter: &mut Waiter, now: Instant) {
    if let Some(sent_at) = waiter.sent_at.take() {
        counters.round_trip(now.since(sent_at));
    }
}
