//! The handle that consumers hold: cheap to clone, the same type for every network.

use std::collections::hash_map::RandomState;
use std::future::{Future, IntoFuture};
use std::hash::{BuildHasher, Hasher};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::Stream;
use serde::Serialize;
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::core::mailbox::Mailbox;
use crate::core::{
    Config, ConfigError, Connection, Delivery, Epoch, Options, PauseReason, Payload, Push, Reply,
    RequestError, RequestErrorKind, RequestId, Response, Status, SubscriptionId,
};
use crate::driver::notice::{Notice, NoticeReader};
use crate::driver::order::{Inbox, Order, Postbox, Standing, Waiter};
use crate::driver::{Driver, OrderSender, Outlook, ShutdownReport};
use crate::network::Network;
use crate::statistics::{Counters, Statistics, Total};
use crate::token_store::TokenStore;

/// Config changes that may wait for the driver at once; further callers wait for their turn.
const CONFIGURES_WAITING: usize = 16;

/// Makes a client. Nothing is dialed until something is wanted of it.
#[derive(Clone, Default)]
#[must_use]
pub struct Builder {
    config: Option<Arc<Config>>,
    token_store: Option<Arc<dyn TokenStore>>,
    options: Options,
    seed: Option<u64>,
    fixed: bool,
}

impl Builder {
    /// The config to begin with. Without one, requests fail until [`Client::configure`].
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(Arc::new(config));
        self
    }

    /// Times and limits.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Keeps the device tokens that gateways issue, for configs that name a device.
    pub fn token_store(mut self, store: impl TokenStore) -> Self {
        self.token_store = Some(Arc::new(store));
        self
    }

    /// Fixes the randomness (jitter and the prefix of request ids), for a repeatable run. By default
    /// it differs with every client.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Lets nobody change the config afterwards, because others share the client for this very config.
    pub(crate) fn fixed(mut self) -> Self {
        self.fixed = true;
        self
    }

    /// A client and the driver that must be run for it. Must be called within a tokio runtime that
    /// has a timer.
    ///
    /// # Errors
    /// [`ConfigError::Option`] when an option is out of range.
    pub fn build<N: Network>(self, network: N) -> Result<(Client, Driver<N>), ConfigError> {
        let seed = self.seed.unwrap_or_else(fresh_seed);
        let fixed_config = self.fixed.then(|| self.config.clone());
        let mut core = Connection::new(self.config, self.options.clone(), seed)?;
        if self.token_store.is_some() {
            core = core.with_token_store();
        }
        let (orders, receiver) = mpsc::unbounded_channel();
        let (status_notice, status) = Notice::new(Status::Idle);
        let (stopped_notice, stopped) = Notice::new(None);
        let standing = Arc::new(Standing::default());
        let inbox = Inbox::new(receiver, Arc::clone(&standing), stopped_notice);
        let options = &self.options;
        let counters = Arc::new(Counters::new());
        let driver = Driver::new(
            core,
            options,
            network,
            self.token_store,
            inbox,
            Outlook { status: status_notice, counters: Arc::clone(&counters) },
        );
        let shared = Shared {
            orders,
            standing,
            status,
            stopped,
            counters,
            next_id: AtomicU64::new(1),
            request_permits: Arc::new(Semaphore::new(
                options.max_in_flight.saturating_add(options.max_queued),
            )),
            request_limit: options.max_in_flight.saturating_add(options.max_queued),
            subscription_permits: Arc::new(Semaphore::new(options.max_subscriptions)),
            configure_permits: Arc::new(Semaphore::new(CONFIGURES_WAITING)),
            next_ticket: AtomicU64::new(1),
            fixed_config,
            options: self.options,
        };
        Ok((Client { shared: Arc::new(shared) }, driver))
    }

    /// A client whose driver runs on the current tokio runtime.
    ///
    /// # Errors
    /// [`ConfigError::Option`] when an option is out of range.
    pub fn spawn<N: Network>(self, network: N) -> Result<Client, ConfigError> {
        let (client, driver) = self.build(network)?;
        tokio::spawn(driver.run());
        Ok(client)
    }
}

/// A seed that differs with every call, from the standard library's own randomness.
fn fresh_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A handle to one connection. Clones share it.
///
/// When the last handle (clones, subscriptions and running requests together) is gone, the
/// connection closes gracefully in the background.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    orders: OrderSender,
    standing: Arc<Standing>,
    status: NoticeReader<Status>,
    stopped: NoticeReader<Option<ShutdownReport>>,
    counters: Arc<Counters>,
    next_id: AtomicU64,
    request_permits: Arc<Semaphore>,
    request_limit: usize,
    subscription_permits: Arc<Semaphore>,
    configure_permits: Arc<Semaphore>,
    /// Numbers the config changes in the order in which somebody set out to make them.
    next_ticket: AtomicU64,
    /// The config that stays, if it must stay.
    fixed_config: Option<Option<Arc<Config>>>,
    options: Options,
}

/// A handle that keeps nothing alive.
#[derive(Clone)]
pub(crate) struct WeakClient {
    shared: Weak<Shared>,
    stopped: NoticeReader<Option<ShutdownReport>>,
}

/// A place in the order of config changes: of two, the one taken later wins, whichever is applied first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// Why a config was not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigureError {
    /// The client belongs to a [`Hub`](crate::Hub), where others share it for its config: take a
    /// client for the new config from the hub, and drop this one.
    #[error("the config of a client that a hub shares cannot be changed: take another client from the hub")]
    Shared,
    /// The client was shut down.
    #[error("the client was shut down")]
    ShutDown,
}

/// Why a connection is not ready and does not become so by itself.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum NotReady {
    /// Reconnecting waits for somebody to act.
    #[error("the connection is paused: {0}")]
    Paused(Arc<PauseReason>),
    /// No gateway is configured.
    #[error("no gateway is configured")]
    NotConfigured,
    /// The client was shut down.
    #[error("the client was shut down")]
    ShutDown,
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
}

impl Client {
    /// Begins to make a client.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Calls `method`; await the returned builder. Nothing is sent before it is polled.
    ///
    /// Connects if need be; concurrent callers share one attempt. `()` and `None` as parameters mean
    /// that there are none.
    ///
    /// Cancel safe: dropping the future forgets the request. The gateway may still carry it out,
    /// because the protocol has no cancel frame (2.1).
    pub fn request(&self, method: &str, params: impl Serialize) -> RequestBuilder {
        let params = match serde_json::to_string(&params) {
            Ok(text) if text == "null" => Ok(None),
            Ok(text) => Ok(Some(Arc::from(text))),
            Err(error) => Err(error.to_string()),
        };
        RequestBuilder {
            shared: Arc::clone(&self.shared),
            method: Arc::from(method),
            params,
            timeout: Some(self.shared.options.request_timeout),
            reply: Reply::First,
            on_accepted: None,
        }
    }

    /// A stream of everything the gateway pushes, snapshot first. Connects if need be.
    ///
    /// # Errors
    /// [`SubscribeError::TooMany`].
    pub fn subscribe(&self) -> Result<Subscription, SubscribeError> {
        let shared = Arc::clone(&self.shared);
        let limit = shared.options.max_subscriptions;
        let permit = Arc::clone(&shared.subscription_permits).try_acquire_owned();
        let permit = permit.map_err(|_| SubscribeError::TooMany { limit })?;
        let mailbox = Mailbox::new(shared.options.subscription_items, shared.options.subscription_bytes);
        let postbox = Arc::new(Postbox::new(mailbox, permit));
        let id = SubscriptionId(shared.fresh_id());
        let order = Order::Subscribe { id, postbox: Arc::clone(&postbox) };
        if shared.orders.send(order).is_err() {
            postbox.post(Push::Closed);
        }
        Ok(Subscription { shared, id, postbox, ended: false })
    }

    /// Asks for a connection without waiting for it.
    pub fn connect(&self) {
        self.shared.order_once(&self.shared.standing.connect, Order::Connect);
    }

    /// Waits until the connection is ready, asking for it first.
    ///
    /// # Errors
    /// [`NotReady`] when waiting would be in vain.
    pub async fn ready(&self) -> Result<Epoch, NotReady> {
        self.connect();
        let settled = self.shared.status.find(|status| match status {
            Status::Ready { epoch } => Some(Ok(*epoch)),
            Status::Paused(reason) => Some(Err(NotReady::Paused(Arc::clone(reason)))),
            Status::NotConfigured => Some(Err(NotReady::NotConfigured)),
            Status::Stopped => Some(Err(NotReady::ShutDown)),
            Status::Idle
            | Status::Connecting { .. }
            | Status::Handshaking { .. }
            | Status::Backoff { .. }
            | Status::Closing => None,
        });
        settled.await.unwrap_or(Err(NotReady::ShutDown))
    }

    /// Applies a config, or none; returns when the owner of the socket has taken it.
    ///
    /// An equal config changes nothing. A different one fails what is pending as superseded,
    /// retires the socket and connects once, if a connection is wanted. Of several changes in quick
    /// succession the latest wins: the one whose call was first polled last.
    /// What [`follow`](crate::config_source::follow) brings counts from the moment in which its source
    /// was asked.
    ///
    /// Cancel safe: a config whose future was polled may be applied even if the future is dropped.
    ///
    /// # Errors
    /// [`ConfigureError`]; then nothing has changed.
    pub async fn configure(&self, config: Option<Config>) -> Result<(), ConfigureError> {
        self.configure_as(self.ticket(), config).await
    }

    /// A place in the order of config changes, for somebody who sets out to find a config.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.shared.next_ticket.fetch_add(1, Ordering::Relaxed))
    }

    /// [`configure`](Self::configure) for somebody who set out earlier. A config that is older than the
    /// one in force is dropped (B24).
    pub(crate) async fn configure_as(
        &self,
        ticket: Ticket,
        config: Option<Config>,
    ) -> Result<(), ConfigureError> {
        let config = config.map(Arc::new);
        if let Some(fixed) = &self.shared.fixed_config {
            return if *fixed == config { Ok(()) } else { Err(ConfigureError::Shared) };
        }
        let permit = Arc::clone(&self.shared.configure_permits).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let (applied, done) = oneshot::channel();
        let order = Order::Configure { ticket, config, permit, applied };
        self.shared.orders.send(order).map_err(|_| ConfigureError::ShutDown)?;
        // A driver that stops drops what it has not taken.
        done.await.map_err(|_| ConfigureError::ShutDown)
    }

    /// Whether the config can never change.
    pub(crate) fn is_fixed(&self) -> bool {
        self.shared.fixed_config.is_some()
    }

    /// The same client, without keeping it alive.
    pub(crate) fn downgrade(&self) -> WeakClient {
        WeakClient { shared: Arc::downgrade(&self.shared), stopped: self.shared.stopped.clone() }
    }

    /// Whether somebody has asked for the end of this client.
    pub(crate) fn is_shutting_down(&self) -> bool {
        self.shared.standing.shut_down.load(Ordering::Acquire)
    }

    /// Begins a shutdown without waiting for its end.
    pub(crate) fn begin_shutdown(&self) {
        self.shared.order_once(&self.shared.standing.shut_down, Order::ShutDown);
    }

    /// The network is back: cuts a backoff short, without a second attempt beside the first.
    pub fn wake(&self) {
        self.shared.order_once(&self.shared.standing.wake, Order::Wake);
    }

    /// Whatever paused reconnecting has been dealt with: try again.
    pub fn resume(&self) {
        self.shared.order_once(&self.shared.standing.resume, Order::Resume);
    }

    /// Where the connection stands.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status.watch().borrow().clone()
    }

    /// Where the connection stands, as something to wait on. Quick changes may be seen as one;
    /// subscriptions carry every change, in order with the events.
    #[must_use]
    pub fn watch_status(&self) -> watch::Receiver<Status> {
        self.shared.status.watch().clone()
    }

    /// What the connection has done so far. Takes no lock and asks nobody.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.shared.counters.read()
    }

    /// Closes the connection for good and returns when nothing is left: no socket, no task, no
    /// timer. Takes at most `close_grace` of the options. Idempotent, from any state; all callers
    /// get the same report.
    ///
    /// Cancel safe: the shutdown goes on without its caller.
    pub async fn shutdown(&self) -> ShutdownReport {
        let shared = &self.shared;
        self.begin_shutdown();
        // None means that the driver was dropped, which leaves nothing either.
        shared.stopped.find(|report| *report).await.unwrap_or_default()
    }
}

impl WeakClient {
    /// The client, while anybody else still holds it.
    pub(crate) fn upgrade(&self) -> Option<Client> {
        self.shared.upgrade().map(|shared| Client { shared })
    }

    /// What the shutdown ended, once it is over; nothing if the driver was dropped without one.
    pub(crate) async fn stopped(&self) -> Option<ShutdownReport> {
        self.stopped.find(|report| *report).await
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("status", &*self.shared.status.watch().borrow())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn fresh_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    fn order_once(&self, standing: &AtomicBool, order: Order) {
        if !standing.swap(true, Ordering::AcqRel) {
            // A driver that is gone needs no orders.
            let _ = self.orders.send(order);
        }
    }
}

/// A request that has not been sent yet. Await it.
#[must_use = "a request is sent when it is awaited"]
pub struct RequestBuilder {
    shared: Arc<Shared>,
    method: Arc<str>,
    params: Result<Option<Arc<str>>, String>,
    timeout: Option<Duration>,
    reply: Reply,
    on_accepted: Option<oneshot::Sender<Payload>>,
}

impl RequestBuilder {
    /// The time for queueing, writing and the reply together. `None` waits for ever; the watchdog
    /// still ends the wait when the connection dies.
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = timeout.into();
        self
    }

    /// Waits for the final answer of a two-phase method instead of its acknowledgement
    /// (protocol 12.4). The acknowledgement goes to the returned receiver, once.
    pub fn final_reply(mut self) -> (Self, oneshot::Receiver<Payload>) {
        let (sender, receiver) = oneshot::channel();
        self.reply = Reply::Final;
        self.on_accepted = Some(sender);
        (self, receiver)
    }

    fn refused(&self, kind: RequestErrorKind) -> RequestError {
        RequestError { method: Arc::clone(&self.method), kind, delivery: Delivery::NotSent }
    }

    fn send(mut self) -> Result<InFlightRequest, RequestError> {
        let params = std::mem::replace(&mut self.params, Ok(None));
        let params = params.map_err(|why| self.refused(RequestErrorKind::Params(why)))?;
        let limit = self.shared.request_limit;
        let permit = Arc::clone(&self.shared.request_permits).try_acquire_owned();
        let permit = permit.map_err(|_| self.refused(RequestErrorKind::Overloaded { limit }))?;
        let (sender, outcome) = oneshot::channel();
        let id = RequestId(self.shared.fresh_id());
        // Made here, so that it belongs to whatever its caller is doing.
        let span = tracing::debug_span!(
            "gateway.request",
            method = &*self.method,
            id = id.0,
            outcome = tracing::field::Empty,
        );
        let accepted = self.on_accepted.take();
        let waiter = Waiter { outcome: sender, accepted, span, sent_at: None, _permit: permit };
        let order = Order::Request {
            id,
            method: Arc::clone(&self.method),
            params,
            timeout: self.timeout,
            reply: self.reply,
            waiter,
        };
        if self.shared.orders.send(order).is_err() {
            return Err(self.refused(RequestErrorKind::ShutDown));
        }
        Ok(InFlightRequest { shared: self.shared, id, method: self.method, outcome, ended: false })
    }
}

impl IntoFuture for RequestBuilder {
    type Output = Result<Response, RequestError>;
    type IntoFuture = RequestFuture;

    fn into_future(self) -> RequestFuture {
        RequestFuture { state: RequestState::New(Some(self)) }
    }
}

/// The answer to a request, once it is there.
pub struct RequestFuture {
    state: RequestState,
}

enum RequestState {
    New(Option<RequestBuilder>),
    InFlight(InFlightRequest),
}

/// A request the driver knows of; dropping it before its end cancels it.
struct InFlightRequest {
    shared: Arc<Shared>,
    id: RequestId,
    method: Arc<str>,
    outcome: oneshot::Receiver<Result<Response, RequestError>>,
    ended: bool,
}

impl Future for RequestFuture {
    type Output = Result<Response, RequestError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let RequestState::New(builder) = &mut self.state {
            let builder = builder.take().expect("polled after completion");
            match builder.send() {
                Ok(request) => self.state = RequestState::InFlight(request),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        let RequestState::InFlight(request) = &mut self.state else {
            unreachable!("the request was sent above")
        };
        let outcome = ready!(Pin::new(&mut request.outcome).poll(cx));
        request.ended = true;
        Poll::Ready(outcome.unwrap_or_else(|_| {
            // The driver was dropped without a shutdown.
            let method = Arc::clone(&request.method);
            Err(RequestError { method, kind: RequestErrorKind::ShutDown, delivery: Delivery::Unknown })
        }))
    }
}

impl Drop for InFlightRequest {
    fn drop(&mut self) {
        if !self.ended {
            // A driver that is gone has forgotten the request already.
            let _ = self.shared.orders.send(Order::Cancel(self.id));
        }
    }
}

/// A stream of pushes: a snapshot, then what happens.
///
/// It ends after [`Push::Closed`]. Dropping it ends the subscription.
pub struct Subscription {
    shared: Arc<Shared>,
    id: SubscriptionId,
    postbox: Arc<Postbox>,
    ended: bool,
}

impl Subscription {
    /// The next item; `None` after the last. Cancel safe: an item is taken only when it is returned.
    pub async fn next(&mut self) -> Option<Push> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Items that are waiting to be read.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.postbox.waiting()
    }
}

impl Stream for Subscription {
    type Item = Push;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Push>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let push = ready!(self.postbox.poll_take(cx));
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
        let _ = self.shared.orders.send(Order::Unsubscribe(self.id));
    }
}
