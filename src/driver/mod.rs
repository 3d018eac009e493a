//! The only loop: it feeds inputs to the core and applies the effects, and decides nothing.
//!
//! Each turn runs in one fixed order (commands, token store, socket, deadline) with a bound on each part, so that
//! the same inputs give the same history and no part can starve another. Nothing is awaited while an
//! effect is applied.

pub(crate) mod command;
mod counted;
mod incoming;
pub(crate) mod last_word;
pub(crate) mod queue;
mod socket;
mod store_queue;
pub(crate) mod subscriber_queue;
pub(crate) mod upgrade;
pub(crate) mod watch;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant as TokioInstant, Sleep};

use crate::core::{
    Close, Command, Connection, DeadlineReason, DriverPart, Effect, Epoch, Gap, Input, Instant, Options,
    Push, RequestId, Status, SubscriptionId,
};
use crate::network::Network;
use crate::statistics::{Counters, Level, Total};
use crate::token_store::TokenStore;

use command::{ClientCommand, ConfigSeq, Signal, Waiter};
use last_word::{Caught, guard};
use queue::CommandReceiver;
use socket::{Socket, SocketLimits};
use store_queue::{StoreOp, StoreQueue};
use subscriber_queue::SubscriberQueue;
use watch::WatchSender;

/// Commands taken in one turn, so that a flood of them cannot starve the socket.
const COMMANDS_PER_TURN: usize = 64;
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

/// What handles can read without asking the driver.
pub(crate) struct Published {
    pub(crate) status: WatchSender<Status>,
    /// The report, once the driver is gone.
    pub(crate) stopped: Arc<WatchSender<Option<ShutdownReport>>>,
    pub(crate) counters: Arc<Counters>,
}

/// Runs one connection over a network. Made by [`Builder::build`](crate::Builder::build).
pub struct Driver<N: Network> {
    core: Connection,
    network: Arc<N>,
    socket_limits: SocketLimits,
    socket: Option<Socket<N::Stream>>,
    commands: CommandReceiver,
    store_queue: StoreQueue,
    waiters: BTreeMap<RequestId, Waiter>,
    subscribers: BTreeMap<SubscriptionId, Arc<SubscriberQueue>>,
    /// The number of the config in force; none before the first change.
    config_seq: Option<ConfigSeq>,
    /// Whether the outage that lasts now has been logged.
    outage_logged: bool,
    /// Barriers and config changes that are confirmed when this turn is over.
    barriers: Vec<oneshot::Sender<()>>,
    published: Published,
    /// Around the log lines of the latest connection.
    span: tracing::Span,
    /// Frames handed to sockets so far.
    frames_sent: u64,
    /// Subscriptions that their lag has ended, and that the core still has.
    overflowed: Vec<SubscriptionId>,
    /// The gap that was counted last: every subscriber receives it.
    counted_gap: Option<Gap>,
    started: TokioInstant,
    timer: Pin<Box<Sleep>>,
    /// Reused between steps.
    effects: Vec<Effect>,
    inputs: Vec<Input>,
    report: Option<ShutdownReport>,
    /// Everybody has been told that it is over.
    stopped: bool,
    /// What ends the driver without a shutdown.
    caught: Option<Caught>,
    /// Where the timer is.
    runtime: Handle,
}

impl<N: Network> Driver<N> {
    /// Must be called in the context of a runtime with a timer.
    pub(crate) fn new(
        core: Connection,
        options: &Options,
        network: N,
        token_store: Option<Arc<dyn TokenStore>>,
        commands: CommandReceiver,
        published: Published,
    ) -> Self {
        let started = TokioInstant::now();
        Self {
            core,
            network: Arc::new(network),
            socket_limits: SocketLimits::of(options),
            socket: None,
            commands,
            store_queue: StoreQueue::new(token_store),
            waiters: BTreeMap::new(),
            subscribers: BTreeMap::new(),
            config_seq: None,
            outage_logged: false,
            barriers: Vec::new(),
            published,
            span: tracing::Span::none(),
            frames_sent: 0,
            overflowed: Vec::new(),
            counted_gap: None,
            started,
            timer: Box::pin(tokio::time::sleep_until(started)),
            effects: Vec::new(),
            inputs: Vec::new(),
            report: None,
            stopped: false,
            caught: None,
            runtime: Handle::current(),
        }
    }

    /// Runs until the client is shut down or its last handle is gone.
    ///
    /// Dropping the future is safe at any moment: the socket is dropped, requests fail and
    /// subscriptions end. Then, and after a panic, the last status is [`Status::Lost`].
    ///
    /// # Panics
    /// When the network, the token store or a subscriber to log lines does, after everybody has been told.
    pub async fn run(mut self) {
        let stopped = Arc::clone(&self.published.stopped);
        poll_fn(|cx| self.poll_guarded(cx)).await;
        let report = self.report.unwrap_or_default();
        let caught = self.caught.take();
        if let Some(caught) = &caught {
            self.lose(caught.end());
        }
        // Whoever waits for the shutdown must find nothing left of it: the driver goes first.
        drop(self);
        stopped.send(Some(report));
        if let Some(caught) = caught {
            resume_unwind(caught.payload);
        }
    }

    /// Ready when it is over, for whatever reason.
    fn poll_guarded(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match guard(DriverPart::Driver, || self.poll(cx)) {
            Ok(polled) => polled,
            Err(caught) => {
                self.caught.get_or_insert(caught);
                Poll::Ready(())
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..TURNS_PER_POLL {
            let busy = self.turn(cx);
            if self.stopped || self.caught.is_some() {
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
        let commanded = self.take_commands(cx);
        let stored = self.drive_store(cx);
        let moved = self.drive_socket(cx);
        let due = self.drive_deadline(cx);
        // Only now does the status show what the commands of this turn led to, such as a dial that is due.
        for reached in self.barriers.drain(..) {
            // The caller may have stopped waiting.
            let _ = reached.send(());
        }
        commanded || stored || moved || due
    }

    fn take_commands(&mut self, cx: &mut Context<'_>) -> bool {
        for taken in 0..COMMANDS_PER_TURN {
            let Poll::Ready(command) = self.commands.poll_next(cx) else { return taken > 0 };
            self.handle(command);
            if self.stopped {
                return true;
            }
        }
        true
    }

    fn handle(&mut self, command: ClientCommand) {
        match command {
            ClientCommand::Request {
                id,
                method,
                params,
                timeout,
                asked,
                reply,
                only_on,
                expected_profile_id,
                waiter,
            } => {
                self.waiters.insert(id, waiter);
                let sent = self.frames_sent;
                let waited = asked.elapsed();
                self.step(Input::Command(Command::Request {
                    id,
                    method,
                    params,
                    timeout,
                    waited,
                    reply,
                    only_on,
                    expected_profile_id,
                }));
                let now = self.now();
                if self.frames_sent > sent
                    && let Some(waiter) = self.waiters.get_mut(&id)
                {
                    waiter.sent_at = Some(now);
                }
            }
            ClientCommand::Cancel(id) => {
                // The request may have ended in the meantime; then there is nothing to cancel.
                if self.waiters.remove(&id).is_some() {
                    self.step(Input::Command(Command::Cancel { id }));
                }
            }
            ClientCommand::Subscribe { id, queue } => {
                self.subscribers.insert(id, queue);
                self.step(Input::Command(Command::Subscribe { id }));
            }
            ClientCommand::Unsubscribe(id) => {
                self.subscribers.remove(&id);
                self.step(Input::Command(Command::Unsubscribe { id }));
            }
            ClientCommand::Barrier { permit, reached } => {
                drop(permit);
                self.barriers.push(reached);
            }
            ClientCommand::Configure { seq, config, permit, applied } => {
                // An older number comes too late, also with the answer of a slow lookup (B24).
                if self.config_seq < Some(seq) {
                    self.config_seq = Some(seq);
                    self.step(Input::Command(Command::Configure(config)));
                }
                drop(permit);
                self.barriers.push(applied);
            }
            ClientCommand::Signal(Signal::Connect) => self.step(Input::Command(Command::Connect)),
            ClientCommand::Signal(Signal::Wake) => self.step(Input::Command(Command::Wake)),
            ClientCommand::Signal(Signal::Resume) => self.step(Input::Command(Command::Resume)),
            ClientCommand::Signal(Signal::ShutDown) => self.shut_down(),
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

    fn drive_store(&mut self, cx: &mut Context<'_>) -> bool {
        match guard(DriverPart::TokenStore, || self.store_queue.poll(cx)) {
            Ok(Poll::Ready(input)) => self.step(input),
            Ok(Poll::Pending) => return false,
            Err(caught) => {
                self.caught.get_or_insert(caught);
            }
        }
        true
    }

    fn drive_socket(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(socket) = &mut self.socket else { return false };
        let mut inputs = std::mem::take(&mut self.inputs);
        let moved = match guard(DriverPart::Network, || socket.poll(cx, &mut inputs)) {
            Ok(polled) => polled.is_ready(),
            Err(caught) => {
                self.caught.get_or_insert(caught);
                true
            }
        };
        // What was read before a panic counts.
        for input in inputs.drain(..) {
            if let Input::DialFailed { .. } | Input::Closed { .. } = &input {
                self.drop_socket();
            }
            if let Input::Received { text, .. } = &input {
                self.published.counters.received(text.0.len());
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
        // Bytes are not told one by one, but before the peer is called silent.
        let bytes = match deadline.reason {
            DeadlineReason::Silence => self.socket.as_mut().and_then(Socket::unreported_bytes),
            _ => None,
        };
        self.step(bytes.unwrap_or(Input::Timeout));
        true
    }

    fn now(&self) -> Instant {
        Instant::from(self.started.elapsed())
    }

    fn step(&mut self, input: Input) {
        let mut effects = std::mem::take(&mut self.effects);
        self.core.step(self.now(), input, &mut effects);
        for effect in effects.drain(..) {
            self.apply(effect);
        }
        self.effects = effects;
        self.published.counters.set(Level::Pending, self.core.pending());
        self.published.counters.set(Level::Subscriptions, self.core.subscriptions());
        while let Some(id) = self.overflowed.pop() {
            self.step(Input::Command(Command::Unsubscribe { id }));
        }
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Dial { epoch, endpoint, headers } => {
                assert!(self.socket.is_none(), "a dial while a socket is alive");
                self.published.counters.add(Total::Dials, 1);
                self.span = connection_span(epoch);
                let network = Arc::clone(&self.network);
                let limits = self.socket_limits;
                let socket = Socket::dial(network, epoch, endpoint, headers, limits, self.started);
                self.socket = Some(socket);
            }
            Effect::Transmit { epoch, text } => {
                if let Some(socket) = self.socket.as_mut().filter(|socket| socket.epoch == epoch) {
                    socket.send(&text);
                    self.frames_sent += 1;
                    self.published.counters.sent(text.0.len());
                }
            }
            Effect::Ping { epoch } => {
                if let Some(socket) = self.socket.as_mut().filter(|socket| socket.epoch == epoch) {
                    socket.ping();
                }
            }
            Effect::HangUp { epoch, close } => {
                self.hang_up(epoch, &close);
            }
            Effect::LoadToken { epoch, key } => self.store_queue.add(StoreOp::Load { epoch, key }),
            Effect::SaveToken { key, token } => self.store_queue.add(StoreOp::Save { key, token }),
            Effect::AdoptToken { key, token } => self.store_queue.add(StoreOp::Adopt { key, token }),
            Effect::ClearToken { key, token } => self.store_queue.add(StoreOp::Clear { key, token }),
            Effect::Accepted { id, payload } => {
                let now = self.now();
                if let Some(waiter) = self.waiters.get_mut(&id) {
                    record_round_trip(&self.published.counters, waiter, now);
                    waiter.accepted(payload);
                }
            }
            Effect::Complete { id, outcome } => {
                if let Some(mut waiter) = self.waiters.remove(&id) {
                    if outcome.as_ref().err().is_none_or(|error| error.gateway().is_some()) {
                        record_round_trip(&self.published.counters, &mut waiter, self.now());
                    }
                    waiter.complete(outcome);
                }
            }
            Effect::Deliver { to, push } => self.deliver(to, push),
            Effect::Status(status) => {
                if let Status::Ready { .. } = &status {
                    self.connected();
                }
                let span = self.span.clone();
                span.in_scope(|| self.log_status(&status));
                self.published.status.send(status);
            }
            Effect::Ignored(reason) => self.published.counters.add(Total::ignored(reason), 1),
            Effect::Stopped => self.stopped = true,
        }
    }

    fn hang_up(&mut self, epoch: Epoch, close: &Close) {
        let Some(socket) = self.socket.as_mut().filter(|socket| socket.epoch == epoch) else { return };
        match guard(DriverPart::Network, || socket.close(close)) {
            Ok(true) => self.drop_socket(),
            Ok(false) => {}
            Err(caught) => {
                self.caught.get_or_insert(caught);
                self.drop_socket();
            }
        }
    }

    fn drop_socket(&mut self) {
        if let Err(caught) = guard(DriverPart::Network, || self.socket = None) {
            self.caught.get_or_insert(caught);
        }
    }

    fn connected(&mut self) {
        self.published.counters.add(Total::Connects, 1);
        if let Some(snapshot) = self.core.snapshot() {
            self.span.record("connection_id", tracing::field::display(&snapshot.hello.connection_id));
        }
    }

    fn deliver(&mut self, to: SubscriptionId, push: Push) {
        if let Push::Gap(gap) = &push
            && self.counted_gap != Some(*gap)
        {
            self.counted_gap = Some(*gap);
            self.published.counters.add(Total::Gaps, 1);
        }
        let is_last = push == Push::Closed;
        let Some(queue) = self.subscribers.get(&to) else { return };
        let is_open = queue.push(push, self.core.snapshot());
        if !is_open {
            self.subscribers.remove(&to);
            if !is_last {
                self.overflowed.push(to);
            }
        }
    }

    /// One line for each change that matters, at the level of whoever must act: nobody for a
    /// reconnect (info), a person for a pause (warn). An outage is told once, when it begins; the
    /// failed attempts in it are debug, so that a gateway restart cannot flood a log.
    fn log_status(&mut self, status: &Status) {
        match status {
            Status::Ready { .. } => tracing::info!("connected to the gateway"),
            Status::Backoff { cause, .. } if !self.outage_logged => {
                tracing::info!(%cause, "the connection to the gateway ended; reconnecting");
            }
            Status::Backoff { attempt, cause, .. } => tracing::debug!(attempt, %cause, "still not connected"),
            Status::Paused(reason) => tracing::warn!(%reason, "reconnecting is paused"),
            Status::Connecting { attempt, .. } => tracing::debug!(attempt, "dialing"),
            Status::Handshaking { .. } => tracing::debug!("handshaking"),
            Status::Settling { .. } => tracing::debug!("waiting for the config to settle"),
            Status::Closing => tracing::debug!("closing the socket"),
            Status::Idle => tracing::debug!("idle"),
            Status::NotConfigured => tracing::debug!("no gateway is configured"),
            Status::Stopped | Status::Lost(_) => tracing::debug!("stopped"),
        }
        match status {
            Status::Backoff { .. } => self.outage_logged = true,
            // A part of the next attempt: the outage goes on.
            Status::Connecting { .. } | Status::Handshaking { .. } => {}
            Status::Ready { .. }
            | Status::Paused(_)
            | Status::Settling { .. }
            | Status::Closing
            | Status::Idle
            | Status::NotConfigured
            | Status::Stopped
            | Status::Lost(_) => self.outage_logged = false,
        }
    }
}

/// A part of whatever span the driver runs in.
fn connection_span(epoch: Epoch) -> tracing::Span {
    let connection_id = tracing::field::Empty;
    tracing::info_span!("gateway.connection", epoch = epoch.0, connection_id)
}

/// The first answer to a request that did not have to wait in the queue tells how long the way is.
fn record_round_trip(counters: &Counters, waiter: &mut Waiter, now: Instant) {
    if let Some(sent_at) = waiter.sent_at.take() {
        counters.round_trip(now.since(sent_at));
    }
}
