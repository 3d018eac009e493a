#![doc = include_str!("../../docs/own-client.md")]

pub(crate) mod suspension;
pub(crate) mod token_store;
pub(crate) mod translate;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use onesocket::core::{Config, Endpoint, Epoch, Options};
use onesocket::network::Network;
use onesocket::{Client, IdempotencyKey, SubscribeOptions, Subscription};
use tokio::task::JoinHandle;

use crate::judge::logs;
use crate::judge::shared_recorder::SharedRecorder;
use crate::plan::Plan;
use crate::plan::consumer::RequestSpec;
pub use crate::plan::consumer::SubscribeSpec;
use crate::subject::suspension::Suspension;
pub use crate::subject::token_store::SimTokenStore;
use crate::subject::translate::outcome;
use crate::trace::probe::{probe_of, probe_params, run_key};
use crate::trace::{Event, Item, Outcome, StatusKind};

/// A client that the harness can drive. Clones are handles to the same client.
///
/// Only [`start`](Self::start), [`request`](Self::request), [`configure`](Self::configure) and
/// [`shutdown`](Self::shutdown) are needed; what a client does not have, it leaves at its default.
pub trait Subject: Clone + Send + Sync + 'static {
    /// The items of a subscription; [`NoItems`] for a client without any.
    type Items: Items;

    /// Makes a client that dials through `network` and nothing else. Called within a tokio runtime with a paused
    /// clock; whatever the client needs to run, it spawns there.
    fn start<N: Network>(setup: Setup, network: N) -> Self;

    /// Makes a request; dropping the future drops the request. Nothing happens before the first poll, which comes at
    /// once and outside of the task that polls on.
    fn request(&self, call: Call) -> impl Future<Output = Outcome> + Send + 'static;

    /// Applies a config, which may be the one in force. What was polled once counts, even if it is dropped.
    fn configure(&self, target: Target) -> impl Future<Output = ()> + Send + 'static;

    /// Takes the config away: there is nothing to connect to, until one is applied again. A client that has no such
    /// state cannot be judged with plans that ask for it.
    fn unconfigure(&self) -> impl Future<Output = ()> + Send + 'static {
        std::future::ready(())
    }

    /// Ends the client for good, and returns when nothing is left of it. What was polled once goes on, even if it is
    /// dropped. It may be called again, while it goes on and afterwards.
    fn shutdown(&self) -> impl Future<Output = ()> + Send + 'static;

    /// Opens a subscription to what the gateway pushes; `None` if there is none to be had.
    fn subscribe(&self, spec: &SubscribeSpec) -> Option<Self::Items> {
        let _ = spec;
        None
    }

    /// Asks for a connection without asking anything of it.
    fn connect(&self) {}

    /// Says that the network is back.
    fn wake(&self) {}

    /// Says that the reason for a pause is gone.
    fn resume(&self) {}

    /// Requests that the client still keeps; asked for after the shutdown.
    fn pending(&self) -> usize {
        0
    }

    /// Subscriptions that the client still keeps; asked for after the shutdown.
    fn subscriptions(&self) -> usize {
        0
    }
}

/// What a subscriber reads.
pub trait Items: Send + 'static {
    /// The next item; `None` after the last.
    fn next(&mut self) -> impl Future<Output = Option<Item>> + Send;
}

/// The items of a client that has no subscriptions.
#[derive(Clone, Copy, Debug)]
pub enum NoItems {}

impl Items for NoItems {
    async fn next(&mut self) -> Option<Item> {
        match *self {}
    }
}

/// What a client is made with.
pub struct Setup {
    /// Where it connects to begin with.
    pub target: Target,
    /// Times and limits that the oracles will judge it by.
    pub options: Options,
    /// For whatever it draws.
    pub seed: u64,
    /// Where device tokens are kept: slow and unreliable, as the plan says.
    pub token_store: SimTokenStore,
    /// Where it tells its status.
    pub status: StatusTeller,
    /// Where its tasks run.
    pub process: Process,
}

/// The process of the client, which is suspended when the plan says so.
#[derive(Clone)]
pub struct Process {
    suspension: Suspension,
}

impl Process {
    /// Runs a task of the client. What a client spawns elsewhere runs on while its process sleeps.
    pub fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        tokio::spawn(self.suspension.guard(work))
    }
}

/// A config: a gateway and what is presented to it.
#[derive(Clone)]
pub struct Target {
    /// The gateway.
    pub endpoint: Endpoint,
    /// The shared token.
    pub token: Arc<str>,
    /// The same and all else, in onesocket's words.
    pub config: Config,
}

/// Takes down the status of a client. A client that never tells any is not judged by `no_wedge`.
#[derive(Clone)]
pub struct StatusTeller {
    pub(crate) recorder: SharedRecorder,
}

impl StatusTeller {
    /// The status is now this one.
    pub fn tell(&self, status: StatusKind) {
        self.recorder.record(Event::Status(status));
    }
}

/// A request that a client is to make.
#[derive(Clone, Debug)]
pub struct Call {
    /// The harness's number for it.
    pub request: u32,
    /// The gateway's method.
    pub method: String,
    /// Its parameters, as JSON.
    pub params: String,
    /// How long the request may take in all; `None` is for as long as it takes.
    pub timeout: Option<Duration>,
    /// The connection it may go over, if there is just one, by the number that the client gave its snapshot. Over any
    /// other it fails, with [`FailureKind::OtherConnection`](crate::trace::FailureKind::OtherConnection).
    pub only_on: Option<u64>,
    /// The idempotency key that the parameters are to have, if any.
    pub key: Option<String>,
    /// Whether an acknowledgement is no answer yet: the end of the work is.
    pub to_the_end: bool,
}

impl Call {
    pub(crate) fn new(request: u32, spec: &RequestSpec, epoch: Option<u64>) -> Self {
        // An agent wants to be told something.
        let probe = probe_params(request);
        let params = match spec.key {
            Some(_) => probe.replacen('{', "{\"message\":\"hello\",", 1),
            None => probe,
        };
        Self {
            request,
            method: spec.method.clone(),
            params,
            timeout: spec.timeout_ms.map(Duration::from_millis),
            only_on: epoch.filter(|_| spec.is_bound),
            key: spec.key.map(run_key),
            to_the_end: spec.to_the_end,
        }
    }

    /// What is taken down when it is made.
    pub(crate) fn made(&self, consumer: u8, spec: &RequestSpec) -> Event {
        Event::RequestMade {
            consumer,
            request: self.request,
            timeout_ms: spec.timeout_ms,
            bound_to: self.only_on,
            key: spec.key,
            to_the_end: spec.to_the_end,
        }
    }

    /// The outcome when the gateway answered yes with `payload`.
    #[must_use]
    pub fn answered(&self, payload: &str) -> Outcome {
        let probe = probe_of(payload).is_none_or(|request| request == self.request);
        let run = self.key.as_ref().is_none_or(|key| payload.contains(&format!("\"runId\":\"{key}\"")));
        let end = !self.to_the_end || !payload.contains("\"status\":\"accepted\"");
        Outcome::Answered { own: probe && run && end }
    }
}

impl Target {
    pub(crate) fn new(config: Config, token: Arc<str>) -> Self {
        Self { endpoint: config.endpoint().clone(), token, config }
    }
}

impl Setup {
    pub(crate) fn new(
        plan: &Plan,
        target: Target,
        recorder: &SharedRecorder,
        suspension: &Suspension,
    ) -> Self {
        Self {
            target,
            options: plan.params.options(),
            seed: crate::plan::environment::client_seed(plan),
            token_store: SimTokenStore::new(plan),
            status: StatusTeller { recorder: recorder.clone() },
            process: Process { suspension: suspension.clone() },
        }
    }
}

impl Subject for Client {
    type Items = Subscription;

    fn start<N: Network>(setup: Setup, network: N) -> Self {
        let builder = Self::builder().config(setup.target.config).options(setup.options).seed(setup.seed);
        let (client, driver) =
            builder.token_store(setup.token_store).build(network).expect("a plan was checked");
        setup.process.spawn(driver.run());
        setup.process.spawn(watch_status(setup.status, client.clone()));
        client
    }

    fn request(&self, call: Call) -> impl Future<Output = Outcome> + Send + 'static {
        let params: serde_json::Value = serde_json::from_str(&call.params).expect("a probe is JSON");
        // Each comes from a handle of its own: the core knows no handles, and what is judged is the room for all.
        let mut builder = Self::clone(self).request(&call.method, params).timeout(call.timeout);
        if let Some(epoch) = call.only_on {
            builder = builder.only_on(Epoch(epoch));
        }
        if let Some(key) = &call.key {
            builder = builder.idempotency_key(&IdempotencyKey::new(key.as_str()));
        }
        // Whether the work has begun is nothing that a trace holds.
        let response = if call.to_the_end { builder.final_reply().0 } else { builder };
        async move {
            let result = response.await;
            if let Err(error) = &result {
                logs::error_shown(error);
            }
            outcome(&call, &result)
        }
    }

    fn configure(&self, target: Target) -> impl Future<Output = ()> + Send + 'static {
        let client = self.clone();
        async move {
            // A client that was shut down takes no config, which is for the oracles to judge.
            let _ = Self::configure(&client, Some(target.config)).await;
        }
    }

    fn unconfigure(&self) -> impl Future<Output = ()> + Send + 'static {
        let client = self.clone();
        async move {
            // As for a config.
            let _ = Self::configure(&client, None).await;
        }
    }

    fn shutdown(&self) -> impl Future<Output = ()> + Send + 'static {
        let client = self.clone();
        async move {
            Self::shutdown(&client).await;
        }
    }

    fn subscribe(&self, spec: &SubscribeSpec) -> Option<Subscription> {
        let options = SubscribeOptions::default().lag(spec.lag.into());
        let options = match spec.items {
            None => options,
            Some(items) => options.items(items),
        };
        self.subscribe_with(options).ok()
    }

    fn connect(&self) {
        Self::connect(self);
    }

    fn wake(&self) {
        Self::wake(self);
    }

    fn resume(&self) {
        Self::resume(self);
    }

    fn pending(&self) -> usize {
        usize::try_from(self.statistics().pending).unwrap_or(usize::MAX)
    }

    fn subscriptions(&self) -> usize {
        usize::try_from(self.statistics().subscriptions).unwrap_or(usize::MAX)
    }
}

async fn watch_status(teller: StatusTeller, client: Client) {
    let mut status = client.watch_status();
    // The watcher must not keep the client alive.
    drop(client);
    while let Some(status) = status.changed().await {
        logs::status_shown(&status);
        teller.tell(StatusKind::from(&status));
    }
}

impl Items for Subscription {
    async fn next(&mut self) -> Option<Item> {
        Self::next(self).await.as_ref().map(Item::from)
    }
}
