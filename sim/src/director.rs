//! Carries out a plan with the real client, on whatever network and runtime the tier brings.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use onesocket::core::{Config, Push};
use onesocket::network::Network;
use onesocket::{Client, Subscription};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep_until};

use crate::agenda::{Agenda, Cue};
use crate::book::Book;
use crate::host::{Host, Manners};
use crate::nap::Nap;
use crate::observe::{outcome, probe_params};
use crate::path::Path;
use crate::plan::{Action, Actor, GATEWAYS, Plan, When};
use crate::run::{client_config, client_seed};
use crate::token_store::SimTokenStore;
use crate::trace::{Item, What};

/// What a tier can do to the path between the client and a gateway. What it cannot do, it leaves undone:
/// [`Fault::applies_to`](crate::plan::Fault::applies_to) says what that is.
pub(crate) trait Links: Clone + Send + 'static {
    /// The path is like this from now on.
    fn set_path(&self, gateway: u8, path: &Path);
    /// The connections that exist die without a word.
    fn half_open(&self, gateway: u8);
    /// The connections that exist are reset.
    fn reset(&self, gateway: u8);
    /// Sockets that the client holds.
    fn held(&self) -> u32;
}

/// The app of a run: its consumers, and whoever steers the gateways and the links.
pub(crate) struct Director<L> {
    plan: Plan,
    book: Book,
    links: L,
    hosts: Vec<Host>,
    client: Client,
    driver: JoinHandle<()>,
    started: Instant,
    config: (u8, Arc<str>),
    configs: BTreeMap<(u8, Arc<str>), Config>,
    next_request: u32,
    next_subscription: u32,
    requests: BTreeMap<u8, VecDeque<(u32, AbortHandle)>>,
    subscriptions: BTreeMap<u8, VecDeque<(u32, AbortHandle)>>,
    paths: Vec<Path>,
    agenda: Agenda,
    /// Whether the client's process runs.
    nap: Nap,
    stopping: bool,
}

/// Plays `plan` from beginning to end, on the current runtime.
pub(crate) async fn play<L: Links, N: Network>(
    plan: &Plan,
    book: Book,
    links: L,
    hosts: Vec<Host>,
    network: N,
) {
    let started = Instant::now();
    let token: Arc<str> = Arc::from(Plan::FIRST_TOKEN);
    let config = client_config(plan, 0, &token);
    let builder = Client::builder().config(config).options(plan.params.options()).seed(client_seed(plan));
    let builder = builder.token_store(SimTokenStore::new(plan));
    let (client, driver) = builder.build(network).expect("a plan was checked");
    let nap = Nap::default();
    let driver = tokio::spawn(nap.guard(driver.run()));
    tokio::spawn(nap.guard(watch_status(book.clone(), client.clone())));
    let mut director = Director {
        plan: plan.clone(),
        book,
        links,
        hosts,
        client,
        driver,
        started,
        config: (0, token),
        configs: BTreeMap::new(),
        next_request: 0,
        next_subscription: 0,
        requests: BTreeMap::new(),
        subscriptions: BTreeMap::new(),
        paths: vec![Path::default(); usize::from(GATEWAYS)],
        agenda: Agenda::new(plan),
        nap,
        stopping: false,
    };
    director.play(plan).await;
}

impl<L: Links> Director<L> {
    async fn play(&mut self, plan: &Plan) {
        let end = self.started + Duration::from_millis(plan.params.end_ms);
        loop {
            self.plan_reached();
            let next = self.agenda.next_time().map_or(end, |at| (self.started + at).min(end));
            tokio::select! {
                biased;
                () = self.book.reached() => continue,
                () = sleep_until(next) => {}
            }
            if self.book.is_broken() {
                return;
            }
            match self.agenda.take_due(self.started.elapsed()) {
                Some(Cue::Act(index)) => self.act(index, &plan.steps[index].action).await,
                Some(Cue::Heal(index)) => self.heal(&plan.steps[index].action),
                None if Instant::now() >= end => break,
                None => {}
            }
        }
        self.shut_down();
        let grace = Duration::from_millis(plan.params.close_grace_ms + 1_000);
        sleep_until(Instant::now() + grace).await;
        let remaining = What::Remaining {
            sockets: self.links.held(),
            timers: u32::from(!self.driver.is_finished()),
            requests: 0,
        };
        self.book.record(remaining);
    }

    /// Steps whose milestone was reached have a time from now on.
    fn plan_reached(&mut self) {
        while let Some((index, reached)) = self.book.take_reached() {
            let When::After { plus_ms, .. } = self.plan.steps[index].when else { continue };
            let at = reached.elapsed() + Duration::from_millis(plus_ms);
            if self.plan.params.calm_ms.is_some_and(|calm_ms| at > Duration::from_millis(calm_ms)) {
                let step = u32::try_from(index + 1).unwrap_or(u32::MAX);
                self.book.record(What::Skipped { step });
            } else {
                self.agenda.add(at, Cue::Act(index));
            }
        }
    }

    async fn act(&mut self, index: usize, action: &Action) {
        if action.actor() == Actor::App
            && let Some(awake) = self.nap.until()
        {
            self.agenda.add(awake.duration_since(self.started), Cue::Act(index));
            return;
        }
        if let Some(fault) = action.fault() {
            let gateway = action.gateway().unwrap_or_default();
            self.book.record(What::Fault { fault, gateway });
        }
        if let Some(lasts_ms) = action.lasts_ms() {
            self.agenda.add(self.started.elapsed() + Duration::from_millis(lasts_ms), Cue::Heal(index));
        }
        match action.actor() {
            Actor::App => self.act_as_app(action).await,
            Actor::Gateway => {
                if let Some((gateway, order)) = action.order() {
                    self.hosts[usize::from(gateway)].order(order);
                }
            }
            Actor::Link => self.strike(action),
            Actor::Machine => {
                let lasting = Duration::from_millis(action.lasts_ms().unwrap_or(0));
                self.nap.sleep_until(Instant::now() + lasting);
            }
        }
    }

    async fn act_as_app(&mut self, action: &Action) {
        match action {
            Action::Connect {} => {
                self.book.record(What::Wanted);
                self.client.connect();
            }
            Action::Request { consumer, method, timeout_ms } => self.request(*consumer, method, *timeout_ms),
            Action::DropRequest { consumer } => self.drop_request(*consumer),
            Action::Subscribe { consumer } => self.subscribe(*consumer),
            Action::Unsubscribe { consumer } => self.unsubscribe(*consumer),
            Action::Configure { gateway, token } => self.configure(*gateway, token).await,
            Action::Wake {} => {
                self.book.record(What::Woken);
                self.client.wake();
            }
            Action::Resume {} => {
                self.book.record(What::Resumed);
                self.client.resume();
            }
            Action::Shutdown {} => self.shut_down(),
            _ => unreachable!("the app does only what is its own"),
        }
    }

    /// A fault of the path begins.
    fn strike(&mut self, action: &Action) {
        let gateway = action.gateway().expect("a path leads to a gateway");
        self.paths[usize::from(gateway)].begin(action);
        if let Action::HalfOpen { .. } = action {
            self.links.half_open(gateway);
        }
        if let Action::Reset { .. } = action {
            self.links.reset(gateway);
        }
        self.set_path(gateway);
    }

    fn heal(&mut self, action: &Action) {
        let gateway = action.gateway().unwrap_or_default();
        if action.actor() == Actor::Link {
            self.paths[usize::from(gateway)].end(action);
            self.set_path(gateway);
        }
        if let Some(fault) = action.fault() {
            self.book.record(What::Healed { fault, gateway });
        }
    }

    fn set_path(&mut self, gateway: u8) {
        let path = &self.paths[usize::from(gateway)];
        self.hosts[usize::from(gateway)].set_manners(Manners {
            ignores_upgrades: path.ignores_upgrades(),
            close_answer: path.close_answer(),
        });
        self.links.set_path(gateway, path);
    }

    fn request(&mut self, consumer: u8, method: &str, timeout_ms: u64) {
        self.next_request += 1;
        let request = self.next_request;
        self.book.record(What::RequestMade { consumer, request, timeout_ms });
        let params: serde_json::Value =
            serde_json::from_str(&probe_params(request)).expect("a probe is JSON");
        let call = self.client.request(method, params).timeout(Duration::from_millis(timeout_ms));
        let book = self.book.clone();
        let settled = async move {
            let result = call.await;
            book.record(What::RequestSettled { request, outcome: outcome(request, &result) });
        };
        let task = tokio::spawn(self.nap.guard(settled));
        self.requests.entry(consumer).or_default().push_back((request, task.abort_handle()));
    }

    /// Aborting a task drops the future of its request, at whatever await it stands.
    fn drop_request(&mut self, consumer: u8) {
        let open = self.requests.entry(consumer).or_default();
        open.retain(|(_, task)| !task.is_finished());
        if let Some((request, task)) = open.pop_front() {
            self.book.record(What::RequestDropped { request });
            task.abort();
        }
    }

    fn subscribe(&mut self, consumer: u8) {
        self.next_subscription += 1;
        let subscription = self.next_subscription;
        self.book.record(What::Subscribed { consumer, subscription });
        let pushes = self.client.subscribe().expect("a plan has few subscriptions");
        let task = tokio::spawn(self.nap.guard(read(self.book.clone(), subscription, pushes)));
        self.subscriptions.entry(consumer).or_default().push_back((subscription, task.abort_handle()));
    }

    fn unsubscribe(&mut self, consumer: u8) {
        if let Some((subscription, task)) = self.subscriptions.entry(consumer).or_default().pop_front() {
            self.book.record(What::Unsubscribed { subscription });
            task.abort();
        }
    }

    async fn configure(&mut self, gateway: u8, token: &str) {
        let next = (gateway, Arc::<str>::from(token));
        let changed = next != self.config;
        self.config = next.clone();
        let fresh = || client_config(&self.plan, gateway, token);
        let config = self.configs.entry(next.clone()).or_insert_with(fresh).clone();
        self.book.record(What::Configured { gateway, token: next.1, changed });
        // A client that was shut down takes no config, which is for the oracles to judge.
        let _ = self.client.configure(Some(config)).await;
    }

    fn shut_down(&mut self) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        self.book.record(What::ShutdownCalled);
        let (book, client) = (self.book.clone(), self.client.clone());
        let mut shutdown = Box::pin(async move {
            client.shutdown().await;
            // Requests that ended before may not have had their turn yet to say so.
            tokio::task::yield_now().await;
            book.record(What::ShutdownReturned);
        });
        // The order goes out with the first poll. Left to the new task, it would come after whatever the
        // driver is about to do at this same moment, and the record above would be too early.
        if shutdown.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            tokio::spawn(self.nap.guard(shutdown));
        }
    }
}

async fn watch_status(book: Book, client: Client) {
    let mut status = client.watch_status();
    // The watcher must not keep the client alive.
    drop(client);
    while let Some(status) = status.changed().await {
        book.record(What::Status((&status).into()));
    }
}

async fn read(book: Book, subscription: u32, mut pushes: Subscription) {
    while let Some(push) = pushes.next().await {
        let is_last = push == Push::Closed;
        book.record(What::Pushed { subscription, item: Item::from(&push) });
        if is_last {
            return;
        }
    }
}
