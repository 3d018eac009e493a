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
use crate::judge::shared_recorder::Book;
use crate::plan::Plan;
use crate::plan::consumer::{Ask, Deed, Manner, Reaction, Terms};
use crate::plan::environment::{ConfigRef, client_config};
use crate::subject::suspension::Nap;
use crate::subject::{Call, Items, Subject, Target};
use crate::trace::{Item, What};

/// The app. Clones are the same app.
pub(crate) struct App<C> {
    shared: Arc<Shared<C>>,
}

struct Shared<C> {
    plan: Plan,
    book: Book,
    tasks: Tasks,
    nap: Nap,
    client: C,
    state: Mutex<State>,
}

/// What the consumers hold.
#[derive(Default)]
struct State {
    config: Option<ConfigRef>,
    /// Configs made so far: a device's identity takes long to make.
    targets: BTreeMap<ConfigRef, Target>,
    manners: BTreeMap<u8, Manner>,
    /// The connection whose snapshot each consumer read last.
    epochs: BTreeMap<u8, u64>,
    next_request: u32,
    next_subscription: u32,
    requests: BTreeMap<u8, VecDeque<(u32, AbortHandle)>>,
    subscriptions: BTreeMap<u8, VecDeque<(u32, AbortHandle)>>,
    stopping: bool,
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
    pub(crate) fn new(plan: &Plan, book: Book, tasks: Tasks, nap: Nap, client: C) -> Self {
        let state = State { config: Some(ConfigRef::first()), ..State::default() };
        let state = Mutex::new(state);
        Self { shared: Arc::new(Shared { plan: plan.clone(), book, tasks, nap, client, state }) }
    }

    pub(crate) fn client(&self) -> &C {
        &self.shared.client
    }

    fn record(&self, what: What) {
        self.shared.book.record(what);
    }

    /// A task of the app, which sleeps when the process does.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.shared.tasks.spawn(self.shared.nap.guard(work))
    }

    /// Never held while code of the client runs.
    fn state(&self) -> MutexGuard<'_, State> {
        // Planned panics unwind through tasks that hold no lock.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn behave(&self, consumer: u8, manner: &Manner) {
        self.record(What::Behaves { consumer, prompt: manner.is_prompt() });
        self.state().manners.insert(consumer, manner.clone());
    }

    pub(crate) fn connect(&self) {
        self.record(What::Wanted);
        self.shared.client.connect();
    }

    pub(crate) fn wake(&self) {
        self.record(What::Woken);
        self.shared.client.wake();
    }

    pub(crate) fn resume(&self) {
        self.record(What::Resumed);
        self.shared.client.resume();
    }

    /// Makes a request in a task of its own; with `polls` the task drops it after so many.
    pub(crate) fn request(&self, consumer: u8, ask: &Ask, polls: Option<u32>) {
        let (request, epoch, then) = {
            let mut state = self.state();
            let epoch = state.epochs.get(&consumer).copied();
            if ask.is_bound && epoch.is_none() {
                return;
            }
            state.next_request += 1;
            let then = match state.manners.get(&consumer) {
                // For one request only: what follows a request may be one.
                Some(Manner::ActsOnEnd { then }) => Some(then.clone()),
                _ => None,
            };
            if then.is_some() {
                state.manners.remove(&consumer);
            }
            (state.next_request, epoch, then)
        };
        let call = Call::new(request, ask, epoch);
        self.record(call.made(consumer, ask));
        let call = self.shared.client.request(call);
        let app = self.clone();
        let task = self.spawn(async move {
            let mut call = pin!(call);
            let outcome = match polls {
                None => call.await,
                Some(polls) => match poll_times(call.as_mut(), polls).await {
                    Some(outcome) => outcome,
                    None => {
                        app.record(What::RequestDropped { request });
                        return;
                    }
                },
            };
            app.record(What::RequestSettled { request, outcome });
            if let Some(then) = then {
                // At the end of a request there is no subscription to leave at once.
                let _ = app.carry_out(consumer, None, &then).await;
            }
        });
        // A request that drops itself is dropped by nobody else.
        if polls.is_none() {
            self.state().requests.entry(consumer).or_default().push_back((request, task));
        }
    }

    /// Aborting a task drops the future of its request, at whatever await it stands.
    pub(crate) fn drop_request(&self, consumer: u8) {
        let oldest = {
            let mut state = self.state();
            let open = state.requests.entry(consumer).or_default();
            open.retain(|(_, task)| !task.is_finished());
            open.pop_front()
        };
        if let Some((request, task)) = oldest {
            self.record(What::RequestDropped { request });
            task.abort();
        }
    }

    pub(crate) fn subscribe(&self, consumer: u8, terms: Terms) {
        let manner = self.state().manners.get(&consumer).cloned().unwrap_or_default();
        self.subscribe_as(consumer, manner, terms);
    }

    fn subscribe_as(&self, consumer: u8, manner: Manner, terms: Terms) {
        let subscription = {
            let mut state = self.state();
            state.next_subscription += 1;
            state.next_subscription
        };
        self.record(What::Subscribed { consumer, subscription, lag: terms.lag });
        let Some(items) = self.shared.client.subscribe(&terms) else {
            self.record(What::Unsubscribed { subscription });
            return;
        };
        let reader = Reader { app: self.clone(), consumer, subscription, manner };
        let task = self.spawn(reader.read(items));
        self.state().subscriptions.entry(consumer).or_default().push_back((subscription, task));
    }

    pub(crate) fn unsubscribe(&self, consumer: u8) {
        let oldest = self.state().subscriptions.entry(consumer).or_default().pop_front();
        if let Some((subscription, task)) = oldest {
            self.record(What::Unsubscribed { subscription });
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
        self.record(What::Configured { config: next, changed });
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
        self.record(What::Unconfigured { changed });
        self.shared.client.unconfigure().await;
    }

    /// Shuts the client down, once. With `polls` the first caller drops its future after so many, and another
    /// one looks, when the time for it is over, whether the shutdown went on without its caller.
    pub(crate) async fn shut_down(&self, polls: Option<u32>) {
        if std::mem::replace(&mut self.state().stopping, true) {
            return;
        }
        self.record(What::ShutdownCalled);
        let (book, client) = (self.shared.book.clone(), self.shared.client.clone());
        let patience = polls.map(|_| Duration::from_millis(self.shared.plan.params.close_grace_ms));
        if let Some(polls) = polls {
            poll_times(pin!(client.shutdown()), polls).await;
        }
        let mut shutdown = Box::pin(async move {
            if let Some(patience) = patience {
                sleep(patience).await;
            }
            client.shutdown().await;
            // Requests that ended before may not have had their turn yet to say so.
            yield_now().await;
            book.record(What::ShutdownReturned);
        });
        // The order goes out with the first poll. Left to the new task, it would come after whatever the client is
        // about to do at this same moment, and the record above would be too early.
        if shutdown.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            self.spawn(shutdown);
        }
    }

    /// Does what a consumer does in the middle of something; a break means that it leaves its subscription.
    fn carry_out<'a>(
        &'a self,
        consumer: u8,
        subscription: Option<u32>,
        deed: &'a Deed,
    ) -> Pin<Box<dyn Future<Output = ControlFlow<()>> + Send + 'a>> {
        // Boxed, because a deed may lead to a task that carries out deeds.
        Box::pin(async move {
            match (deed, subscription) {
                (Deed::Subscribe, _) => self.subscribe_as(consumer, Manner::Prompt, Terms::default()),
                (Deed::Unsubscribe, None) => self.unsubscribe(consumer),
                (Deed::Unsubscribe, Some(subscription)) => {
                    if self.forget(consumer, subscription) {
                        self.record(What::Unsubscribed { subscription });
                    }
                    return ControlFlow::Break(());
                }
                (Deed::Request { timeout_ms }, _) => {
                    self.request(consumer, &Ask::new("health", *timeout_ms), None);
                }
                (Deed::Configure { gateway, token }, _) => {
                    self.configure(ConfigRef::shared(*gateway, token), None).await
                }
                (Deed::Shutdown, _) => self.shut_down(None).await,
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
    manner: Manner,
}

impl<C: Subject> Reader<C> {
    async fn read(self, mut items: C::Items) {
        let Self { app, consumer, subscription, manner } = self;
        let mut count = 0;
        loop {
            match manner {
                Manner::Slow { every_ms } => sleep(Duration::from_millis(every_ms)).await,
                Manner::Stuck => std::future::pending().await,
                Manner::Prompt
                | Manner::Panics { .. }
                | Manner::ActsOnItem { .. }
                | Manner::ActsOnEnd { .. } => {}
            }
            let Some(item) = items.next().await else { return };
            count += 1;
            if let Item::Snapshot { epoch } = item {
                app.state().epochs.insert(consumer, epoch);
            }
            app.record(What::Pushed { subscription, item });
            if item == Item::Closed {
                return;
            }
            match manner.reaction(count) {
                Reaction::Read => {}
                Reaction::Panic => {
                    app.forget(consumer, subscription);
                    app.record(What::Panicked { subscription });
                    // As a panic in every way but one: the hook, which would take it for a mistake, is not called.
                    resume_unwind(Box::new("the plan says so"));
                }
                Reaction::Act(deed) => {
                    if app.carry_out(consumer, Some(subscription), deed).await.is_break() {
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
