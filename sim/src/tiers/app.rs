//! The app of a run on an async tier: consumers that share one client, and what they do to it.
//!
//! Everything here may be called from any task of the app: a plan has consumers act from inside an item, and at the
//! end of a request.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::{AbortHandle, yield_now};
use tokio::time::sleep;

use crate::base::tasks::Tasks;
use crate::judge::shared_recorder::SharedRecorder;
use crate::plan::Plan;
use crate::plan::consumer::{ConsumerAction, ConsumerBehavior, Reaction, RequestSpec, SubscribeSpec};
use crate::plan::environment::{ConfigRef, client_config};
use crate::subject::suspension::Suspension;
use crate::subject::{Call, Items, Subject, Target};
use crate::trace::{Event, Item};

/// The app. Clones are the same app.
pub(crate) struct App<C> {
    shared: Arc<Shared<C>>,
}

struct Shared<C> {
    plan: Plan,
    recorder: SharedRecorder,
    tasks: Tasks,
    suspension: Suspension,
    client: C,
    state: Mutex<State>,
}

/// What the consumers hold.
#[derive(Default)]
struct State {
    config: Option<ConfigRef>,
    /// Configs made so far: a device's identity takes long to make.
    targets: BTreeMap<ConfigRef, Target>,
    behaviors: BTreeMap<u8, ConsumerBehavior>,
    /// The connection whose snapshot each consumer read last.
    epochs: BTreeMap<u8, u64>,
    next_request: u32,
    next_subscription: u32,
    /// Requests that have not ended, oldest first.
    requests: BTreeMap<u32, OpenRequest>,
    subscriptions: BTreeMap<u8, VecDeque<(u32, AbortHandle)>>,
    stopping: bool,
    stopped: bool,
}

/// A request that has not ended.
struct OpenRequest {
    consumer: u8,
    /// Whether it drops itself, and is dropped by nobody else.
    is_abandoned: bool,
    /// The task that waits for its answer, once its first poll is over.
    task: Option<AbortHandle>,
}

impl<C> Clone for App<C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

/// The config that every run begins with.
pub(crate) fn first_target(plan: &Plan) -> Target {
    let first = ConfigRef::first();
    Target::new(client_config(plan, &first), first.token)
}

impl<C: Subject> App<C> {
    pub(crate) fn new(
        plan: &Plan,
        recorder: SharedRecorder,
        tasks: Tasks,
        suspension: Suspension,
        client: C,
    ) -> Self {
        let state = State { config: Some(ConfigRef::first()), ..State::default() };
        let state = Mutex::new(state);
        Self { shared: Arc::new(Shared { plan: plan.clone(), recorder, tasks, suspension, client, state }) }
    }

    pub(crate) fn client(&self) -> &C {
        &self.shared.client
    }

    fn record(&self, what: Event) {
        self.shared.recorder.record(what);
    }

    /// A task of the app, which sleeps when the process does.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.shared.tasks.spawn(self.shared.suspension.guard(work))
    }

    /// Never held while code of the client runs.
    fn state(&self) -> MutexGuard<'_, State> {
        // Planned panics unwind through tasks that hold no lock.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn behave(&self, consumer: u8, behavior: &ConsumerBehavior) {
        self.record(Event::Behaves { consumer, prompt: behavior.is_prompt() });
        self.state().behaviors.insert(consumer, behavior.clone());
    }

    pub(crate) fn connect(&self) {
        self.record(Event::Wanted);
        self.shared.client.connect();
    }

    pub(crate) fn wake(&self) {
        self.record(Event::Woken);
        self.shared.client.wake();
    }

    pub(crate) fn resume(&self) {
        self.record(Event::Resumed);
        self.shared.client.resume();
    }

    /// Polls `work` once where it stands, and leaves the rest to a task of its own. An order to the client goes out
    /// with the first poll: left to the new task, it would come after whatever the client is about to do at this
    /// same moment.
    fn begin(&self, work: impl Future<Output = ()> + Send + 'static) -> Option<AbortHandle> {
        let mut work = Box::pin(work);
        let is_pending = work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending();
        is_pending.then(|| self.spawn(work))
    }

    /// Makes a request; with `polls` its future is dropped after so many. A request that is never polled has never
    /// been made, as far as its consumer's behavior goes.
    pub(crate) fn request(&self, consumer: u8, spec: &RequestSpec, polls: Option<u32>) {
        let (request, epoch, then) = {
            let mut state = self.state();
            let epoch = state.epochs.get(&consumer).copied();
            if spec.is_bound && epoch.is_none() {
                return;
            }
            state.next_request += 1;
            let request = state.next_request;
            let open = OpenRequest { consumer, is_abandoned: polls.is_some(), task: None };
            state.requests.insert(request, open);
            let then = match state.behaviors.get(&consumer) {
                // For one request only: what follows a request may be one.
                Some(ConsumerBehavior::ActsOnEnd { then }) if polls != Some(0) => Some(then.clone()),
                _ => None,
            };
            if then.is_some() {
                state.behaviors.remove(&consumer);
            }
            (request, epoch, then)
        };
        let call = Call::new(request, spec, epoch);
        self.record(call.made(consumer, spec));
        let call = self.shared.client.request(call);
        let app = self.clone();
        let task = self.begin(async move {
            let mut call = pin!(call);
            let outcome = match polls {
                None => call.await,
                Some(polls) => match poll_times(call.as_mut(), polls).await {
                    Some(outcome) => outcome,
                    None => {
                        app.state().requests.remove(&request);
                        app.record(Event::RequestDropped { request });
                        return;
                    }
                },
            };
            app.state().requests.remove(&request);
            app.record(Event::RequestSettled { request, outcome });
            if let Some(then) = then {
                // At the end of a request there is no subscription to leave at once.
                let _ = app.apply(consumer, None, &then).await;
            }
        });
        if let Some(open) = self.state().requests.get_mut(&request) {
            open.task = task;
        }
    }

    /// Aborting a task drops the future of its request, at whatever await it stands.
    pub(crate) fn drop_request(&self, consumer: u8) {
        let oldest = {
            let mut state = self.state();
            let mut of_consumer = state.requests.iter().filter(|(_, open)| open.consumer == consumer);
            let oldest = of_consumer.find(|(_, open)| !open.is_abandoned).map(|(request, _)| *request);
            oldest.and_then(|request| Some((request, state.requests.remove(&request)?)))
        };
        if let Some((request, open)) = oldest {
            self.record(Event::RequestDropped { request });
            if let Some(task) = open.task {
                task.abort();
            }
        }
    }

    pub(crate) fn subscribe(&self, consumer: u8, spec: SubscribeSpec) {
        let behavior = self.state().behaviors.get(&consumer).cloned().unwrap_or_default();
        self.subscribe_as(consumer, behavior, spec);
    }

    fn subscribe_as(&self, consumer: u8, behavior: ConsumerBehavior, spec: SubscribeSpec) {
        let subscription = {
            let mut state = self.state();
            state.next_subscription += 1;
            state.next_subscription
        };
        self.record(Event::Subscribed { consumer, subscription, lag: spec.lag });
        let Some(items) = self.shared.client.subscribe(&spec) else {
            self.record(Event::Unsubscribed { subscription });
            return;
        };
        let reader = Reader { app: self.clone(), consumer, subscription, behavior };
        let task = self.spawn(reader.read(items));
        self.state().subscriptions.entry(consumer).or_default().push_back((subscription, task));
    }

    pub(crate) fn unsubscribe(&self, consumer: u8) {
        let oldest = self.state().subscriptions.entry(consumer).or_default().pop_front();
        if let Some((subscription, task)) = oldest {
            self.record(Event::Unsubscribed { subscription });
            task.abort();
        }
    }

    /// Forgets a subscription whose task ends by itself; false if somebody dropped it already.
    fn forget(&self, consumer: u8, subscription: u32) -> bool {
        let mut state = self.state();
        let open = state.subscriptions.entry(consumer).or_default();
        let before = open.len();
        open.retain(|(other, _)| *other != subscription);
        open.len() < before
    }

    /// Applies a config; with `polls`, its future is dropped after so many.
    pub(crate) async fn configure(&self, next: ConfigRef, polls: Option<u32>) {
        let (changed, target) = {
            let mut state = self.state();
            let changed = state.config.as_ref() != Some(&next);
            state.config = Some(next.clone());
            let plan = &self.shared.plan;
            let fresh = || Target::new(client_config(plan, &next), Arc::clone(&next.token));
            (changed, state.targets.entry(next.clone()).or_insert_with(fresh).clone())
        };
        self.record(Event::Configured { config: next, changed });
        let configured = pin!(self.shared.client.configure(target));
        match polls {
            None => configured.await,
            Some(polls) => {
                poll_times(configured, polls).await;
            }
        }
    }

    /// Takes the config away.
    pub(crate) async fn unconfigure(&self) {
        let changed = self.state().config.take().is_some();
        self.record(Event::Unconfigured { changed });
        self.shared.client.unconfigure().await;
    }

    /// Shuts the client down, which may be shut down already. With `polls` the caller drops its future after so many,
    /// and another one looks, when the time for it is over, whether the shutdown went on without its caller.
    pub(crate) fn shut_down(&self, polls: Option<u32>) {
        if !std::mem::replace(&mut self.state().stopping, true) {
            self.record(Event::ShutdownCalled);
        }
        let (app, client) = (self.clone(), self.shared.client.clone());
        let patience = Duration::from_millis(self.shared.plan.params.close_grace_ms);
        self.begin(async move {
            if let Some(polls) = polls {
                poll_times(pin!(client.shutdown()), polls).await;
                sleep(patience).await;
            }
            client.shutdown().await;
            // Requests that ended before may not have had their turn yet to say so.
            yield_now().await;
            if !std::mem::replace(&mut app.state().stopped, true) {
                app.record(Event::ShutdownReturned);
            }
        });
    }

    /// Does what a consumer does in the middle of something; a break means that it leaves its subscription.
    fn apply<'a>(
        &'a self,
        consumer: u8,
        subscription: Option<u32>,
        consumer_action: &'a ConsumerAction,
    ) -> Pin<Box<dyn Future<Output = ControlFlow<()>> + Send + 'a>> {
        // Boxed, because an action may lead to a task that carries out actions.
        Box::pin(async move {
            match (consumer_action, subscription) {
                (ConsumerAction::Subscribe, _) => {
                    self.subscribe_as(consumer, ConsumerBehavior::Prompt, SubscribeSpec::default());
                }
                (ConsumerAction::Unsubscribe, None) => self.unsubscribe(consumer),
                (ConsumerAction::Unsubscribe, Some(subscription)) => {
                    if self.forget(consumer, subscription) {
                        self.record(Event::Unsubscribed { subscription });
                    }
                    return ControlFlow::Break(());
                }
                (ConsumerAction::Request { timeout_ms }, _) => {
                    self.request(consumer, &RequestSpec::new("health", *timeout_ms), None);
                }
                (ConsumerAction::Configure { gateway, token }, _) => {
                    self.configure(ConfigRef::shared(*gateway, token), None).await;
                }
                (ConsumerAction::Shutdown, _) => self.shut_down(None),
            }
            ControlFlow::Continue(())
        })
    }
}

/// A consumer that reads one subscription.
struct Reader<C> {
    app: App<C>,
    consumer: u8,
    subscription: u32,
    behavior: ConsumerBehavior,
}

impl<C: Subject> Reader<C> {
    async fn read(self, mut items: C::Items) {
        let Self { app, consumer, subscription, behavior } = self;
        let mut count = 0;
        loop {
            match behavior {
                ConsumerBehavior::Slow { every_ms } => sleep(Duration::from_millis(every_ms)).await,
                ConsumerBehavior::Stuck => std::future::pending().await,
                ConsumerBehavior::Prompt
                | ConsumerBehavior::Panics { .. }
                | ConsumerBehavior::ActsOnItem { .. }
                | ConsumerBehavior::ActsOnEnd { .. } => {}
            }
            let Some(item) = items.next().await else { return };
            count += 1;
            if let Item::Snapshot { epoch } = item {
                app.state().epochs.insert(consumer, epoch);
            }
            app.record(Event::Pushed { subscription, item });
            if item == Item::Closed {
                return;
            }
            match behavior.reaction(count) {
                Reaction::Read => {}
                Reaction::Panic => {
                    app.forget(consumer, subscription);
                    app.record(Event::Panicked { subscription });
                    // As a panic in every way but one: the hook, which would take it for a mistake, is not called.
                    resume_unwind(Box::new("the plan says so"));
                }
                Reaction::Act(consumer_action) => {
                    if app.apply(consumer, Some(subscription), consumer_action).await.is_break() {
                        return;
                    }
                }
            }
        }
    }
}

/// Polls a future so many times, with a turn of every other task in between; its output if it has one by then.
async fn poll_times<F: Future>(mut future: Pin<&mut F>, polls: u32) -> Option<F::Output> {
    for number in 0..polls {
        if number > 0 {
            yield_now().await;
        }
        if let Poll::Ready(output) = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
            return Some(output);
        }
    }
    None
}
