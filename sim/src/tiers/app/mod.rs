//! The app of a run: consumers that share one client, and what they do to it. The same on every tier.
//!
//! It decides and touches nothing. What a step of the plan orders, what a subscriber reads and how a request ends goes
//! in; [`AppEffect`]s come out. [`on_core`] carries them out with the core alone, and [`on_subject`] with any client,
//! whose futures it polls. A record comes before the call of the client that it speaks of.

pub(crate) mod on_core;
pub(crate) mod on_subject;

use std::collections::BTreeMap;

use crate::plan::AppAction;
use crate::plan::consumer::{ConsumerAction, ConsumerBehavior, Pace, Reaction, RequestSpec, SubscribeSpec};
use crate::plan::environment::ConfigRef;
use crate::subject::Call;
use crate::trace::{Event, Item, Outcome};

/// What the app decided, for its carrier to carry out in this order.
pub(crate) enum AppEffect {
    Record(Event),
    Connect,
    Wake,
    Resume,
    /// A request is made. With `polls` its future is dropped after so many, and [`App::polled_out`] says so.
    Request {
        call: Call,
        polls: Option<u32>,
    },
    /// The future of a request is dropped.
    Cancel {
        request: u32,
    },
    /// A subscription is opened, unless the client refuses, and read at this pace.
    Subscribe {
        subscription: u32,
        spec: SubscribeSpec,
        pace: Pace,
    },
    Unsubscribe {
        subscription: u32,
    },
    /// The consumer that reads this subscription panics, and takes it along.
    Panic {
        subscription: u32,
    },
    /// A config is applied. With `polls` the future of doing so is dropped after so many.
    Configure {
        config: ConfigRef,
        polls: Option<u32>,
    },
    Unconfigure,
    /// The client is shut down. With `polls` the future of doing so is dropped after so many.
    ShutDown {
        polls: Option<u32>,
    },
    /// A consumer acts as soon as what happens now is over for the client: [`App::follow_up`].
    FollowUp(FollowUp),
}

/// What a consumer does because of an item that it read, or at the end of a request.
pub(crate) enum FollowUp {
    Panic {
        subscription: u32,
    },
    Act {
        consumer: u8,
        /// The subscription of the item.
        subscription: Option<u32>,
        action: ConsumerAction,
    },
}

/// What the consumers hold.
pub(crate) struct App {
    config: Option<ConfigRef>,
    consumers: BTreeMap<u8, Consumer>,
    requests_made: u32,
    subscriptions_made: u32,
    /// Requests that have not ended, oldest first.
    requests: BTreeMap<u32, OpenRequest>,
    /// Subscriptions that nobody has left, oldest first; the client may have ended them.
    subscriptions: BTreeMap<u32, OpenSubscription>,
    is_stopping: bool,
    is_stopped: bool,
}

#[derive(Default)]
struct Consumer {
    behavior: ConsumerBehavior,
    /// The connection whose snapshot it read last.
    epoch: Option<u64>,
}

struct OpenRequest {
    consumer: u8,
    /// Whether it drops itself, and is dropped by nobody else.
    is_abandoned: bool,
    /// What its consumer does when it ends.
    then: Option<ConsumerAction>,
}

struct OpenSubscription {
    consumer: u8,
    behavior: ConsumerBehavior,
    /// Items read.
    items: u32,
}

impl App {
    /// An app whose client has the config that every run begins with.
    pub(crate) fn new() -> Self {
        Self {
            config: Some(ConfigRef::first()),
            consumers: BTreeMap::new(),
            requests_made: 0,
            subscriptions_made: 0,
            requests: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            is_stopping: false,
            is_stopped: false,
        }
    }

    /// A step of the plan.
    pub(crate) fn act(&mut self, action: &AppAction, effects: &mut Vec<AppEffect>) {
        match action {
            AppAction::Connect {} => effects.extend([AppEffect::Record(Event::Wanted), AppEffect::Connect]),
            AppAction::Request { .. }
            | AppAction::BoundRequest { .. }
            | AppAction::UnboundedRequest { .. }
            | AppAction::RunAgent { .. } => {
                if let Some((consumer, spec)) = action.request_spec() {
                    self.request(consumer, &spec, None, effects);
                }
            }
            AppAction::AbandonRequest { consumer, method, timeout_ms, polls } => {
                self.request(*consumer, &RequestSpec::new(method, *timeout_ms), Some(*polls), effects);
            }
            AppAction::DropRequest { consumer } => self.drop_request(*consumer, effects),
            AppAction::Behave { consumer, behavior } => self.behave(*consumer, behavior, effects),
            AppAction::Subscribe { .. } | AppAction::SubscribeWith { .. } => {
                if let Some((consumer, spec)) = action.subscribe_spec() {
                    let behavior = self.consumer(consumer).behavior.clone();
                    self.subscribe(consumer, behavior, spec, effects);
                }
            }
            AppAction::Unsubscribe { consumer } => self.leave_oldest(*consumer, effects),
            AppAction::Configure { gateway, token } => {
                self.configure(ConfigRef::shared(*gateway, token), None, effects);
            }
            AppAction::ConfigureBootstrap { gateway, token } => {
                self.configure(ConfigRef::bootstrap(*gateway, token), None, effects);
            }
            AppAction::AbandonConfigure { gateway, token, polls } => {
                self.configure(ConfigRef::shared(*gateway, token), Some(*polls), effects);
            }
            AppAction::Unconfigure {} => {
                let changed = self.config.take().is_some();
                effects.extend([AppEffect::Record(Event::Unconfigured { changed }), AppEffect::Unconfigure]);
            }
            AppAction::Wake {} => effects.extend([AppEffect::Record(Event::Woken), AppEffect::Wake]),
            AppAction::Resume {} => effects.extend([AppEffect::Record(Event::Resumed), AppEffect::Resume]),
            AppAction::Shutdown {} => self.shut_down(None, effects),
            AppAction::AbandonShutdown { polls } => self.shut_down(Some(*polls), effects),
        }
    }

    /// A request ended, and not because it was dropped.
    pub(crate) fn settled(&mut self, request: u32, outcome: Outcome, effects: &mut Vec<AppEffect>) {
        let Some(open) = self.requests.remove(&request) else { return };
        effects.push(AppEffect::Record(Event::RequestSettled { request, outcome }));
        if let Some(action) = open.then {
            let follow_up = FollowUp::Act { consumer: open.consumer, subscription: None, action };
            effects.push(AppEffect::FollowUp(follow_up));
        }
    }

    /// A request that drops itself had all its polls.
    pub(crate) fn polled_out(&mut self, request: u32, effects: &mut Vec<AppEffect>) {
        if self.requests.remove(&request).is_some() {
            let dropped = AppEffect::Record(Event::RequestDropped { request });
            effects.extend([dropped, AppEffect::Cancel { request }]);
        }
    }

    /// The client refused to open a subscription.
    pub(crate) fn refused(&mut self, subscription: u32, effects: &mut Vec<AppEffect>) {
        if self.subscriptions.remove(&subscription).is_some() {
            effects.push(AppEffect::Record(Event::Unsubscribed { subscription }));
        }
    }

    /// Whether nobody has left the subscription.
    pub(crate) fn is_subscribed(&self, subscription: u32) -> bool {
        self.subscriptions.contains_key(&subscription)
    }

    /// A subscriber reads an item.
    pub(crate) fn read(&mut self, subscription: u32, item: Item, effects: &mut Vec<AppEffect>) {
        let Some(open) = self.subscriptions.get_mut(&subscription) else { return };
        open.items += 1;
        effects.push(AppEffect::Record(Event::Pushed { subscription, item }));
        if item == Item::Closed {
            return;
        }
        let consumer = open.consumer;
        match open.behavior.reaction(open.items) {
            Reaction::Read => {}
            Reaction::Panic => effects.push(AppEffect::FollowUp(FollowUp::Panic { subscription })),
            Reaction::Act(action) => {
                let (subscription, action) = (Some(subscription), action.clone());
                effects.push(AppEffect::FollowUp(FollowUp::Act { consumer, subscription, action }));
            }
        }
        if let Item::Snapshot { epoch } = item {
            self.consumer(consumer).epoch = Some(epoch);
        }
    }

    /// A consumer does what followed from an item or an answer.
    pub(crate) fn follow_up(&mut self, follow_up: FollowUp, effects: &mut Vec<AppEffect>) {
        let (consumer, subscription, action) = match follow_up {
            FollowUp::Panic { subscription } => return self.panic(subscription, effects),
            FollowUp::Act { consumer, subscription, action } => (consumer, subscription, action),
        };
        match (action, subscription) {
            (ConsumerAction::Subscribe, _) => {
                self.subscribe(consumer, ConsumerBehavior::Prompt, SubscribeSpec::default(), effects);
            }
            (ConsumerAction::Unsubscribe, None) => self.leave_oldest(consumer, effects),
            (ConsumerAction::Unsubscribe, Some(subscription)) => self.leave(subscription, effects),
            (ConsumerAction::Request { timeout_ms }, _) => {
                self.request(consumer, &RequestSpec::new("health", timeout_ms), None, effects);
            }
            (ConsumerAction::Configure { gateway, token }, _) => {
                self.configure(ConfigRef::shared(gateway, &token), None, effects);
            }
            (ConsumerAction::Shutdown, _) => self.shut_down(None, effects),
        }
    }

    /// Shuts the client down, which may have been shut down before.
    pub(crate) fn shut_down(&mut self, polls: Option<u32>, effects: &mut Vec<AppEffect>) {
        if !std::mem::replace(&mut self.is_stopping, true) {
            effects.push(AppEffect::Record(Event::ShutdownCalled));
        }
        effects.push(AppEffect::ShutDown { polls });
    }

    /// A shutdown is over.
    pub(crate) fn stopped(&mut self, effects: &mut Vec<AppEffect>) {
        if !std::mem::replace(&mut self.is_stopped, true) {
            effects.push(AppEffect::Record(Event::ShutdownReturned));
        }
    }

    fn consumer(&mut self, consumer: u8) -> &mut Consumer {
        self.consumers.entry(consumer).or_default()
    }

    fn behave(&mut self, consumer: u8, behavior: &ConsumerBehavior, effects: &mut Vec<AppEffect>) {
        effects.push(AppEffect::Record(Event::Behaves { consumer, prompt: behavior.is_prompt() }));
        self.consumer(consumer).behavior = behavior.clone();
    }

    /// Makes a request, unless it would be bound to a connection of which its consumer knows nothing.
    fn request(
        &mut self,
        consumer: u8,
        spec: &RequestSpec,
        polls: Option<u32>,
        effects: &mut Vec<AppEffect>,
    ) {
        let epoch = self.consumer(consumer).epoch;
        if spec.is_bound && epoch.is_none() {
            return;
        }
        self.requests_made += 1;
        let request = self.requests_made;
        // What is never polled is not made, and ends nothing.
        let then = if polls == Some(0) { None } else { self.take_action_on_end(consumer) };
        self.requests.insert(request, OpenRequest { consumer, is_abandoned: polls.is_some(), then });
        let call = Call::new(request, spec, epoch);
        effects.extend([AppEffect::Record(call.made(consumer, spec)), AppEffect::Request { call, polls }]);
    }

    /// What the consumer does at the end of its next request. It holds for one only, for it may make another.
    fn take_action_on_end(&mut self, consumer: u8) -> Option<ConsumerAction> {
        let behavior = &mut self.consumer(consumer).behavior;
        let ConsumerBehavior::ActsOnEnd { then } = behavior else { return None };
        let then = then.clone();
        *behavior = ConsumerBehavior::default();
        Some(then)
    }

    fn drop_request(&mut self, consumer: u8, effects: &mut Vec<AppEffect>) {
        let is_droppable = |open: &OpenRequest| open.consumer == consumer && !open.is_abandoned;
        let oldest = self.requests.iter().find(|(_, open)| is_droppable(open)).map(|(request, _)| *request);
        if let Some(request) = oldest {
            self.requests.remove(&request);
            let dropped = AppEffect::Record(Event::RequestDropped { request });
            effects.extend([dropped, AppEffect::Cancel { request }]);
        }
    }

    fn subscribe(
        &mut self,
        consumer: u8,
        behavior: ConsumerBehavior,
        spec: SubscribeSpec,
        effects: &mut Vec<AppEffect>,
    ) {
        self.subscriptions_made += 1;
        let subscription = self.subscriptions_made;
        let pace = behavior.pace();
        self.subscriptions.insert(subscription, OpenSubscription { consumer, behavior, items: 0 });
        effects.extend([
            AppEffect::Record(Event::Subscribed { consumer, subscription, lag: spec.lag }),
            AppEffect::Subscribe { subscription, spec, pace },
        ]);
    }

    fn leave_oldest(&mut self, consumer: u8, effects: &mut Vec<AppEffect>) {
        let oldest = self.subscriptions.iter().find(|(_, open)| open.consumer == consumer);
        if let Some((subscription, _)) = oldest {
            self.leave(*subscription, effects);
        }
    }

    fn leave(&mut self, subscription: u32, effects: &mut Vec<AppEffect>) {
        if self.subscriptions.remove(&subscription).is_some() {
            let left = AppEffect::Record(Event::Unsubscribed { subscription });
            effects.extend([left, AppEffect::Unsubscribe { subscription }]);
        }
    }

    fn panic(&mut self, subscription: u32, effects: &mut Vec<AppEffect>) {
        if self.subscriptions.remove(&subscription).is_some() {
            let panicked = AppEffect::Record(Event::Panicked { subscription });
            effects.extend([panicked, AppEffect::Panic { subscription }]);
        }
    }

    fn configure(&mut self, config: ConfigRef, polls: Option<u32>, effects: &mut Vec<AppEffect>) {
        let changed = self.config.as_ref() != Some(&config);
        self.config = Some(config.clone());
        effects.extend([
            AppEffect::Record(Event::Configured { config: config.clone(), changed }),
            AppEffect::Configure { config, polls },
        ]);
    }
}
