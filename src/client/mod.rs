//! The handle that consumers hold: cheap to clone, the same type for every network.

mod builder;
mod idempotency;
pub(crate) mod places;
mod request;
mod status;
mod subscription;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use serde::Serialize;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::core::{Config, DriverEnd, Epoch, Options, PauseReason, Status};
use crate::driver::ShutdownReport;
use crate::driver::command::{ClientCommand, ConfigSeq, Signal};
use crate::driver::queue::CommandSender;
use crate::driver::watch::WatchReader;
use crate::statistics::{Counters, Statistics};

pub use builder::Builder;
pub use idempotency::IdempotencyKey;
pub use request::{RequestBuilder, RequestFuture};
pub use status::StatusWatch;
pub use subscription::{SubscribeError, SubscribeOptions, Subscription};

use idempotency::KeySeries;
use places::{Places, Share};

/// Config changes, and callers of `ready`, that may wait for the driver at once; further ones wait for
/// their turn.
const COMMANDS_AWAITED: usize = 16;

/// A handle to one connection. Clones share it.
///
/// Each clone is a handle of its own: a handle may have twice as many requests open as there are places left for all
/// (`max_in_flight` and `max_queued` of the options together). So give a part of an app that may ask for a lot a clone,
/// and it cannot take the last place from the others.
///
/// When the last handle (clones, subscriptions and running requests together) is gone, the
/// connection closes gracefully in the background.
pub struct Client {
    shared: Arc<Shared>,
    /// The places for requests that this handle holds.
    share: Arc<Share>,
}

struct Shared {
    commands: CommandSender,
    status: WatchReader<Status>,
    stopped: WatchReader<Option<ShutdownReport>>,
    counters: Arc<Counters>,
    next_id: AtomicU64,
    request_places: Arc<Places>,
    subscription_places: Arc<Share>,
    awaited_permits: Arc<Semaphore>,
    /// Numbers the config changes in the order in which their callers began.
    next_config_seq: AtomicU64,
    idempotency_keys: KeySeries,
    /// The config that stays, if it must stay.
    fixed_config: Option<Option<Arc<Config>>>,
    options: Options,
}

/// A handle that keeps nothing alive.
#[derive(Clone)]
pub(crate) struct WeakClient {
    shared: Weak<Shared>,
    stopped: WatchReader<Option<ShutdownReport>>,
}

/// Why a config was not applied.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigureError {
    /// The client belongs to a [`Hub`](crate::Hub), where others share it for its config: take a
    /// client for the new config from the hub, and drop this one.
    #[error("the config of a client that a hub shares cannot be changed: take another client from the hub")]
    Shared,
    /// The client was shut down.
    #[error("the client was shut down")]
    ShutDown,
    /// The client ended without a shutdown: make another one.
    #[error("{0}")]
    Lost(Arc<DriverEnd>),
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
    /// The client ended without a shutdown: make another one.
    #[error("{0}")]
    Lost(Arc<DriverEnd>),
}

impl Client {
    fn of(shared: Arc<Shared>) -> Self {
        let share = shared.request_places.share();
        Self { shared, share }
    }

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
        RequestBuilder::new(Arc::clone(&self.shared), Arc::clone(&self.share), method, params)
    }

    /// A key that no other request carries, of this process or another, whatever the [seed](Builder::seed). It is for
    /// [`RequestBuilder::idempotency_key`].
    #[must_use]
    pub fn idempotency_key(&self) -> IdempotencyKey {
        self.shared.idempotency_keys.next()
    }

    /// A stream of everything the gateway pushes, snapshot first. Connects if need be. A subscriber that
    /// reads too slowly loses its oldest items.
    ///
    /// # Errors
    /// [`SubscribeError::TooMany`].
    pub fn subscribe(&self) -> Result<Subscription, SubscribeError> {
        self.subscribe_with(SubscribeOptions::default())
    }

    /// [`subscribe`](Self::subscribe) with limits, and a rule for when they are reached, of its own.
    ///
    /// # Errors
    /// [`SubscribeError`]; then nothing has changed.
    pub fn subscribe_with(&self, options: SubscribeOptions) -> Result<Subscription, SubscribeError> {
        Subscription::open(Arc::clone(&self.shared), &options)
    }

    /// Asks for a connection without waiting for it.
    pub fn connect(&self) {
        self.shared.commands.signal(Signal::Connect);
    }

    /// Waits until the connection is ready, asking for it first.
    ///
    /// # Errors
    /// [`NotReady`] when waiting would be in vain.
    pub async fn ready(&self) -> Result<Epoch, NotReady> {
        self.connect();
        self.barrier().await;
        let known = self.shared.status.find(|status| match status {
            Status::Ready { epoch } => Some(Ok(*epoch)),
            Status::Paused(reason) => Some(Err(NotReady::Paused(Arc::clone(reason)))),
            Status::NotConfigured => Some(Err(NotReady::NotConfigured)),
            Status::Stopped => Some(Err(NotReady::ShutDown)),
            Status::Lost(end) => Some(Err(NotReady::Lost(Arc::clone(end)))),
            Status::Idle
            | Status::Connecting { .. }
            | Status::Handshaking { .. }
            | Status::Backoff { .. }
            | Status::Settling { .. }
            | Status::Closing => None,
        });
        known.await.unwrap_or(Err(NotReady::ShutDown))
    }

    /// Returns when the status shows what was asked for before: a pause that was just resumed from is no
    /// reason any more to give up.
    async fn barrier(&self) {
        let permit = self.shared.awaited_permit().await;
        let (reached, done) = oneshot::channel();
        self.shared.commands.send(ClientCommand::Barrier { permit, reached });
        // A driver that stops instead has said so in its status.
        let _ = done.await;
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
        self.configure_as(self.next_config_seq(), config).await
    }

    /// The next number in the order of config changes, for a caller that is about to look for a config.
    pub(crate) fn next_config_seq(&self) -> ConfigSeq {
        ConfigSeq(self.shared.next_config_seq.fetch_add(1, Ordering::Relaxed))
    }

    /// [`configure`](Self::configure) with a number that was taken earlier. A config that is older than the one in
    /// force is dropped (B24).
    pub(crate) async fn configure_as(
        &self,
        seq: ConfigSeq,
        config: Option<Config>,
    ) -> Result<(), ConfigureError> {
        let config = config.map(Arc::new);
        if let Some(fixed) = &self.shared.fixed_config {
            return match self.shared.lost() {
                _ if *fixed != config => Err(ConfigureError::Shared),
                Some(end) => Err(ConfigureError::Lost(end)),
                None => Ok(()),
            };
        }
        let permit = self.shared.awaited_permit().await;
        let (applied, done) = oneshot::channel();
        let command = ClientCommand::Configure { seq, config, permit, applied };
        self.shared.commands.send(command);
        // A driver that ends has said so in its status, and drops what it has not taken.
        done.await.map_err(|_| match self.shared.lost() {
            Some(end) => ConfigureError::Lost(end),
            None => ConfigureError::ShutDown,
        })
    }

    /// Whether the config can never change.
    pub(crate) fn is_fixed(&self) -> bool {
        self.shared.fixed_config.is_some()
    }

    /// The same client, without keeping it alive.
    pub(crate) fn downgrade(&self) -> WeakClient {
        WeakClient { shared: Arc::downgrade(&self.shared), stopped: self.shared.stopped.clone() }
    }

    /// Whether somebody has asked for the end of this client, or its driver is gone without being asked.
    pub(crate) fn is_shutting_down(&self) -> bool {
        let commands = &self.shared.commands;
        commands.is_shutting_down() || commands.is_closed() || self.status().is_final()
    }

    /// Begins a shutdown without waiting for its end.
    pub(crate) fn begin_shutdown(&self) {
        self.shared.commands.signal(Signal::ShutDown);
    }

    /// The network is back, or the machine was asleep.
    ///
    /// A backoff is cut short, without a second attempt beside the first. A connection that is ready is asked whether
    /// it still lives, with a ping; if nothing arrives within `wake_timeout` of the options, it is given up as
    /// [`Silent`](crate::core::ConnectionError::Silent) and dialed anew. Several calls ask once.
    pub fn wake(&self) {
        self.shared.commands.signal(Signal::Wake);
    }

    /// Whatever paused reconnecting has been dealt with: try again.
    pub fn resume(&self) {
        self.shared.commands.signal(Signal::Resume);
    }

    /// Where the connection stands.
    ///
    /// The last status is [`Status::Stopped`] after a shutdown, and [`Status::Lost`] when the client has ended
    /// without one: its runtime is gone, its driver was dropped, or code that the driver calls has panicked. A
    /// runtime that nobody runs, as one of a single thread between two `block_on`, is not gone: the status stays as it
    /// was until it runs again.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status.get()
    }

    /// Where the connection stands, as something to wait on. Quick changes may be seen as one;
    /// subscriptions carry every change, in order with the events. It keeps nothing alive.
    #[must_use]
    pub fn watch_status(&self) -> StatusWatch {
        StatusWatch::new(&self.shared.status)
    }

    /// What the connection has done so far. Takes no lock and asks nobody.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.shared.counters.read()
    }

    /// Closes the connection for good and returns when nothing is left: no socket, no task, no
    /// timer. Takes at most `close_grace` of the options. Idempotent, from any state; all callers
    /// get the same report. A client that is lost already has nothing left; the report is empty then.
    ///
    /// Cancel safe: the shutdown goes on without its caller.
    pub async fn shutdown(&self) -> ShutdownReport {
        let shared = &self.shared;
        self.begin_shutdown();
        // None means that the driver was lost, which leaves nothing either.
        shared.stopped.find(|report| *report).await.unwrap_or_default()
    }
}

impl WeakClient {
    /// The client, while anybody else still holds it.
    pub(crate) fn upgrade(&self) -> Option<Client> {
        self.shared.upgrade().map(Client::of)
    }

    /// What the shutdown ended, once it is over; nothing if the driver was dropped without one.
    pub(crate) async fn stopped(&self) -> Option<ShutdownReport> {
        self.stopped.find(|report| *report).await
    }
}

/// Another handle to the same connection, with its own share of the places for requests.
impl Clone for Client {
    fn clone(&self) -> Self {
        Self::of(Arc::clone(&self.shared))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Shared {
    /// What ended the client, if it was not shut down.
    fn lost(&self) -> Option<Arc<DriverEnd>> {
        if let Status::Lost(end) = self.status.get() { Some(end) } else { None }
    }

    fn fresh_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// The right to one order whose end somebody awaits.
    async fn awaited_permit(&self) -> OwnedSemaphorePermit {
        let permit = Arc::clone(&self.awaited_permits).acquire_owned().await;
        permit.expect("the semaphore is never closed")
    }
}
