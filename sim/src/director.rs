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

use crate::book::Book;
use crate::host::Host;
use crate::machine::gateway_order;
use crate::observe::{outcome, probe_params};
use crate::plan::{Action, Fault, Plan};
use crate::run::{client_config, client_seed};
use crate::token_store::SimTokenStore;
use crate::trace::{Item, What};

/// What a tier can do to the path between the client and a gateway.
pub(crate) trait Links: Clone + Send + 'static {
    /// Everything vanishes.
    fn partition(&self, gateway: u8);
    /// New connections work again.
    fn heal(&self, gateway: u8);
    /// Nothing arrives.
    fn hold(&self, gateway: u8);
    /// What was held arrives.
    fn release(&self, gateway: u8);
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
    /// Faults of a kind that add up: a link is healed when the last of them is over.
    lasting: BTreeMap<(Fault, u8), u32>,
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
    let driver = tokio::spawn(driver.run());
    tokio::spawn(watch_status(book.clone(), client.clone()));
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
        lasting: BTreeMap::new(),
        stopping: false,
    };
    director.play(plan).await;
}

/// Something the director does: a step of the plan, or the end of a fault.
enum Cue<'p> {
    Act(&'p Action),
    Heal(Fault, u8),
}

impl<L: Links> Director<L> {
    async fn play(&mut self, plan: &Plan) {
        for (at_ms, cue) in cues(plan) {
            sleep_until(self.started + Duration::from_millis(at_ms)).await;
            if self.book.is_broken() {
                return;
            }
            match cue {
                Cue::Act(action) => self.act(action).await,
                Cue::Heal(fault, gateway) => self.heal(fault, gateway),
            }
        }
        sleep_until(self.started + Duration::from_millis(plan.params.end_ms)).await;
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

    async fn act(&mut self, action: &Action) {
        if let Some(fault) = action.fault() {
            let gateway = action.gateway().unwrap_or_default();
            self.book.record(What::Fault { fault, gateway });
            if fault.lasts() {
                *self.lasting.entry((fault, gateway)).or_default() += 1;
            }
        }
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
            Action::Emit { .. }
            | Action::Restart { .. }
            | Action::ChangeToken { .. }
            | Action::Close { .. }
            | Action::DropEvent { .. } => {
                if let Some((gateway, order)) = gateway_order(action) {
                    self.hosts[usize::from(gateway)].order(order);
                }
            }
            Action::Partition { gateway, .. } => self.links.partition(*gateway),
            Action::Blip { gateway, .. } => self.links.hold(*gateway),
        }
    }

    fn heal(&mut self, fault: Fault, gateway: u8) {
        let left = self.lasting.entry((fault, gateway)).or_default();
        *left -= 1;
        match (fault, *left) {
            (Fault::Partition, 0) => self.links.heal(gateway),
            (Fault::Blip, 0) => self.links.release(gateway),
            (
                Fault::Partition
                | Fault::Blip
                | Fault::Restart
                | Fault::Crash
                | Fault::TokenChange
                | Fault::Close
                | Fault::DropEvent,
                _,
            ) => {}
        }
        self.book.record(What::Healed { fault, gateway });
    }

    fn request(&mut self, consumer: u8, method: &str, timeout_ms: u64) {
        self.next_request += 1;
        let request = self.next_request;
        self.book.record(What::RequestMade { consumer, request, timeout_ms });
        let params: serde_json::Value =
            serde_json::from_str(&probe_params(request)).expect("a probe is JSON");
        let call = self.client.request(method, params).timeout(Duration::from_millis(timeout_ms));
        let book = self.book.clone();
        let task = tokio::spawn(async move {
            let result = call.await;
            book.record(What::RequestSettled { request, outcome: outcome(request, &result) });
        });
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
        let task = tokio::spawn(read(self.book.clone(), subscription, pushes));
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
            tokio::spawn(shutdown);
        }
    }
}

/// Steps and the ends of faults, in order of time; at the same time, steps first.
fn cues(plan: &Plan) -> Vec<(u64, Cue<'_>)> {
    let mut cues: Vec<(u64, Cue<'_>)> = Vec::with_capacity(plan.steps.len() * 2);
    for step in &plan.steps {
        cues.push((step.at_ms, Cue::Act(&step.action)));
    }
    for step in &plan.steps {
        if let Some(fault) = step.action.fault().filter(|fault| fault.lasts()) {
            let gateway = step.action.gateway().unwrap_or_default();
            cues.push((step.at_ms + step.action.lasts_ms(), Cue::Heal(fault, gateway)));
        }
    }
    cues.sort_by_key(|(at_ms, _)| *at_ms);
    cues
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
