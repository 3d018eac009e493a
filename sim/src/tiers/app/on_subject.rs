//! Carries out what the app decides, with any client: polls its futures, and has tasks for what waits.
//!
//! Everything here may be called from any task of the app: a plan has consumers act from inside an item, and at the
//! end of a request. No lock is held while code of the client runs.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::{AbortHandle, yield_now};
use tokio::time::sleep;

use super::{App, AppEffect};
use crate::base::tasks::Tasks;
use crate::judge::shared_recorder::SharedRecorder;
use crate::plan::consumer::{Pace, SubscribeSpec};
use crate::plan::environment::{ConfigRef, client_config};
use crate::plan::{AppAction, Plan};
use crate::subject::suspension::Suspension;
use crate::subject::{Call, Items, Subject, Target};
use crate::trace::Item;

/// The app with a client. Clones are the same app.
pub(crate) struct SubjectApp<C> {
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

struct State {
    app: App,
    /// Steps of the plan that the app has not taken.
    steps: VecDeque<AppAction>,
    takes_steps: bool,
    /// Configs made so far: a device's identity takes long to make.
    targets: BTreeMap<ConfigRef, Target>,
    /// The tasks that wait for answers.
    requests: BTreeMap<u32, AbortHandle>,
    /// The tasks that read subscriptions.
    readers: BTreeMap<u32, AbortHandle>,
}

/// What a consumer waits for before it goes on.
type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<C> Clone for SubjectApp<C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

/// The config that every run begins with.
pub(crate) fn first_target(plan: &Plan) -> Target {
    target(plan, &ConfigRef::first())
}

fn target(plan: &Plan, config: &ConfigRef) -> Target {
    Target::new(client_config(plan, config), Arc::clone(&config.token))
}

impl<C: Subject> SubjectApp<C> {
    pub(crate) fn new(
        plan: &Plan,
        recorder: SharedRecorder,
        tasks: Tasks,
        suspension: Suspension,
        client: C,
    ) -> Self {
        let state = Mutex::new(State {
            app: App::new(),
            steps: VecDeque::new(),
            takes_steps: false,
            targets: BTreeMap::new(),
            requests: BTreeMap::new(),
            readers: BTreeMap::new(),
        });
        Self { shared: Arc::new(Shared { plan: plan.clone(), recorder, tasks, suspension, client, state }) }
    }

    pub(crate) fn client(&self) -> &C {
        &self.shared.client
    }

    /// A step of the plan. The app takes its steps one after the other, and waits for the end of a change of config
    /// before it takes the next; the world does not wait for the app.
    pub(crate) fn act(&self, action: &AppAction) {
        let mut state = self.state();
        state.steps.push_back(action.clone());
        if std::mem::replace(&mut state.takes_steps, true) {
            return;
        }
        drop(state);
        self.begin(self.clone().take_steps());
    }

    /// The client is shut down at the end of the run.
    pub(crate) fn shut_down(&self) {
        self.carry_out(|app, effects| app.shut_down(None, effects));
    }

    async fn take_steps(self) {
        while let Some(action) = self.next_step() {
            if let Some(waiting) = self.carry_out(|app, effects| app.act(&action, effects)) {
                waiting.await;
                // What the client has said by then comes before the next step.
                yield_now().await;
            }
        }
    }

    fn next_step(&self) -> Option<AppAction> {
        let mut state = self.state();
        let next = state.steps.pop_front();
        state.takes_steps = next.is_some();
        next
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Planned panics unwind through tasks that hold no lock.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the app decide and carries out what it decided; what the consumer waits for that brought it about.
    fn carry_out(&self, decide: impl FnOnce(&mut App, &mut Vec<AppEffect>)) -> Option<Waiting> {
        let mut effects = Vec::new();
        decide(&mut self.state().app, &mut effects);
        let mut waiting = None;
        for effect in effects {
            waiting = self.apply(effect).or(waiting);
        }
        waiting
    }

    fn apply(&self, effect: AppEffect) -> Option<Waiting> {
        let client = &self.shared.client;
        match effect {
            AppEffect::Record(event) => self.shared.recorder.record(event),
            AppEffect::Connect => client.connect(),
            AppEffect::Wake => client.wake(),
            AppEffect::Resume => client.resume(),
            AppEffect::Request { call, polls } => self.request(call, polls),
            AppEffect::Cancel { request } => {
                // Aborting a task drops the future of its request, at whatever await it stands.
                if let Some(task) = self.state().requests.remove(&request) {
                    task.abort();
                }
            }
            AppEffect::Subscribe { subscription, spec, pace } => self.subscribe(subscription, &spec, pace),
            AppEffect::Unsubscribe { subscription } => {
                if let Some(task) = self.state().readers.remove(&subscription) {
                    task.abort();
                }
            }
            AppEffect::Panic { subscription } => {
                self.state().readers.remove(&subscription);
                // As a panic in every way but one: the hook, which would take it for a mistake, is not called.
                resume_unwind(Box::new("the plan says so"));
            }
            AppEffect::Configure { config, polls } => return Some(self.configure(&config, polls)),
            AppEffect::Unconfigure => return Some(Box::pin(client.unconfigure())),
            AppEffect::ShutDown { polls } => self.shut_down_client(polls),
            AppEffect::FollowUp(follow_up) => {
                return self.carry_out(|app, effects| app.follow_up(follow_up, effects));
            }
        }
        None
    }

    /// Polls `work` once where it stands, and leaves the rest to a task of its own. An order to the client goes out
    /// with the first poll: left to the new task, it would come after whatever the client is about to do at this
    /// same moment.
    fn begin(&self, work: impl Future<Output = ()> + Send + 'static) -> Option<AbortHandle> {
        let mut work = Box::pin(work);
        let is_pending = work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending();
        is_pending.then(|| self.spawn(work))
    }

    /// A task of the app, which sleeps when the process does.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.shared.tasks.spawn(self.shared.suspension.guard(work))
    }

    fn request(&self, call: Call, polls: Option<u32>) {
        let request = call.request;
        let call = self.shared.client.request(call);
        let app = self.clone();
        let task = self.begin(async move {
            let mut call = pin!(call);
            let outcome = match polls {
                None => Some(call.await),
                Some(polls) => poll_times(call.as_mut(), polls).await,
            };
            let waiting = app.carry_out(|app, effects| match outcome {
                Some(outcome) => app.settled(request, outcome, effects),
                None => app.polled_out(request, effects),
            });
            if let Some(waiting) = waiting {
                waiting.await;
            }
            app.state().requests.remove(&request);
        });
        if let Some(task) = task {
            self.state().requests.insert(request, task);
        }
    }

    fn subscribe(&self, subscription: u32, spec: &SubscribeSpec, pace: Pace) {
        match self.shared.client.subscribe(spec) {
            Some(items) => {
                let task = self.spawn(self.clone().read(subscription, items, pace));
                self.state().readers.insert(subscription, task);
            }
            None => drop(self.carry_out(|app, effects| app.refused(subscription, effects))),
        }
    }

    async fn read(self, subscription: u32, mut items: C::Items, pace: Pace) {
        while self.state().app.is_subscribed(subscription) {
            match pace {
                Pace::AtOnce => {}
                Pace::Every(rest) => sleep(rest).await,
                Pace::Never => std::future::pending().await,
            }
            let Some(item) = items.next().await else { return };
            if let Some(waiting) = self.carry_out(|app, effects| app.read(subscription, item, effects)) {
                waiting.await;
            }
            if item == Item::Closed {
                return;
            }
        }
    }

    fn configure(&self, config: &ConfigRef, polls: Option<u32>) -> Waiting {
        let target = {
            let mut state = self.state();
            let fresh = || target(&self.shared.plan, config);
            state.targets.entry(config.clone()).or_insert_with(fresh).clone()
        };
        let configured = self.shared.client.configure(target);
        Box::pin(async move {
            match polls {
                None => configured.await,
                Some(polls) => {
                    poll_times(pin!(configured), polls).await;
                }
            }
        })
    }

    /// With `polls` the caller drops its future after so many, and another one looks, when the time for it is over,
    /// whether the shutdown went on without its caller.
    fn shut_down_client(&self, polls: Option<u32>) {
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
            app.carry_out(App::stopped);
        });
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
