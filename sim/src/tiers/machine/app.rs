//! The app of a run on the `machine` tier: consumers without tasks.
//!
//! A consumer that acts does so as soon as the step is over that gave it the item or the answer. A slow one has its
//! items in the core's own mailbox, as a client would. Two things cannot be told from others here: a future of
//! `configure` or `shutdown` that is dropped after its first poll has given its order, and is as good as one that is
//! kept; and a consumer that panics is one that is gone.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use onesocket::core::mailbox::Mailbox;
use onesocket::core::{
    Command, Config, Epoch, Options, Push, Reply, RequestError, RequestId, Response, SubscriptionId,
};

use super::Machine;
use super::queue::Due;
use crate::plan::Plan;
use crate::plan::consumer::{ConsumerAction, ConsumerBehavior, Reaction, RequestSpec, SubscribeSpec};
use crate::plan::environment::{ConfigRef, client_config};
use crate::subject::Call;
use crate::subject::translate::outcome;
use crate::trace::{Event, Item};

/// What the consumers hold.
pub(super) struct App {
    options: Options,
    pub(super) config: Option<ConfigRef>,
    configs: BTreeMap<ConfigRef, Arc<Config>>,
    behaviors: BTreeMap<u8, ConsumerBehavior>,
    /// The connection whose snapshot each consumer read last.
    epochs: BTreeMap<u8, u64>,
    next_request: u32,
    next_subscription: u32,
    /// What was asked for in the requests that have not ended.
    calls: BTreeMap<u32, Call>,
    /// Open requests of each consumer, oldest first, but for those that drop themselves.
    requests: BTreeMap<u8, VecDeque<u32>>,
    /// Subscriptions of each consumer, oldest first.
    subscriptions: BTreeMap<u8, VecDeque<u32>>,
    /// The subscriptions that are not simply read.
    readers: BTreeMap<u32, Reader>,
    /// Who acts when a request ends.
    at_end: BTreeMap<u32, (u8, ConsumerAction)>,
    /// Requests that are dropped when the core has taken so many more inputs.
    abandoned: Vec<(u8, u32, u32)>,
    /// What follows from the step that goes on, in order.
    follows: VecDeque<Following>,
    pub(super) stopping: bool,
    pub(super) stopped: bool,
}

/// A subscriber with a behavior.
struct Reader {
    consumer: u8,
    behavior: ConsumerBehavior,
    /// Items handled.
    count: u32,
    mailbox: Mailbox,
    /// A slow one that has rested and waits for an item.
    is_hungry: bool,
}

/// Something that follows from a step of the core.
enum Following {
    ConsumerAction {
        consumer: u8,
        subscription: Option<u32>,
        consumer_action: ConsumerAction,
    },
    Gone {
        consumer: u8,
        subscription: u32,
    },
    /// A subscription ended because it was read too slowly. Its last items wait still.
    GaveUp {
        subscription: u32,
    },
}

impl App {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            options: plan.params.options(),
            config: None,
            configs: BTreeMap::new(),
            behaviors: BTreeMap::new(),
            epochs: BTreeMap::new(),
            next_request: 0,
            next_subscription: 0,
            calls: BTreeMap::new(),
            requests: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            readers: BTreeMap::new(),
            at_end: BTreeMap::new(),
            abandoned: Vec::new(),
            follows: VecDeque::new(),
            stopping: false,
            stopped: false,
        }
    }

    pub(super) fn config(&mut self, plan: &Plan, config_ref: &ConfigRef) -> Arc<Config> {
        let fresh = || Arc::new(client_config(plan, config_ref));
        Arc::clone(self.configs.entry(config_ref.clone()).or_insert_with(fresh))
    }

    pub(super) fn request_ended(&mut self, request: u32) {
        for open in self.requests.values_mut() {
            open.retain(|other| *other != request);
        }
        if let Some((consumer, consumer_action)) = self.at_end.remove(&request) {
            self.follows.push_back(Following::ConsumerAction {
                consumer,
                subscription: None,
                consumer_action,
            });
        }
    }

    pub(super) fn has_more_to_do(&self) -> bool {
        !self.follows.is_empty() || !self.abandoned.is_empty()
    }

    /// Forgets an open request; false if it has ended.
    fn forget_request(&mut self, consumer: u8, request: u32) -> bool {
        self.requests.entry(consumer).or_default().retain(|other| *other != request);
        self.at_end.remove(&request);
        self.calls.remove(&request).is_some()
    }

    /// Forgets a subscription; false if its consumer has dropped it already.
    fn forget_subscription(&mut self, consumer: u8, subscription: u32) -> bool {
        let open = self.subscriptions.entry(consumer).or_default();
        let before = open.len();
        open.retain(|other| *other != subscription);
        self.readers.remove(&subscription);
        open.len() < before
    }
}

impl Machine<'_> {
    pub(super) fn behave(&mut self, consumer: u8, behavior: &ConsumerBehavior) {
        self.record(Event::Behaves { consumer, prompt: behavior.is_prompt() });
        self.app.behaviors.insert(consumer, behavior.clone());
    }

    /// Makes a request; none if it would be bound to a connection of which its consumer knows nothing.
    pub(super) fn request(&mut self, consumer: u8, spec: &RequestSpec) {
        self.make_request(consumer, spec, false);
    }

    fn make_request(&mut self, consumer: u8, spec: &RequestSpec, is_abandoned: bool) -> Option<u32> {
        let epoch = self.app.epochs.get(&consumer).copied();
        if spec.is_bound && epoch.is_none() {
            return None;
        }
        self.app.next_request += 1;
        let request = self.app.next_request;
        if !is_abandoned {
            self.app.requests.entry(consumer).or_default().push_back(request);
        }
        if matches!(self.app.behaviors.get(&consumer), Some(ConsumerBehavior::ActsOnEnd { .. }))
            && let Some(ConsumerBehavior::ActsOnEnd { then }) = self.app.behaviors.remove(&consumer)
        {
            self.app.at_end.insert(request, (consumer, then));
        }
        let call = Call::new(request, spec, epoch);
        self.record(call.made(consumer, spec));
        let command = Command::Request {
            id: RequestId(u64::from(request)),
            method: Arc::from(call.method.as_str()),
            params: Some(Arc::from(keyed_params(&call))),
            timeout: call.timeout,
            waited: Duration::ZERO,
            reply: if call.to_the_end { Reply::Final } else { Reply::First },
            only_on: call.only_on.map(Epoch),
        };
        self.app.calls.insert(request, call);
        self.command(command);
        Some(request)
    }

    /// Every poll but the first is one more input that the core takes before the request is dropped.
    pub(super) fn abandon_request(&mut self, consumer: u8, spec: &RequestSpec, polls: u32) {
        if polls == 0 {
            self.app.next_request += 1;
            let request = self.app.next_request;
            self.record(Call::new(request, spec, None).made(consumer, spec));
            self.record(Event::RequestDropped { request });
            return;
        }
        let Some(request) = self.make_request(consumer, spec, true) else { return };
        if polls == 1 {
            self.cancel(consumer, request);
        } else {
            self.app.abandoned.push((consumer, request, polls - 1));
        }
    }

    /// A request ended: says how.
    pub(super) fn settle(&mut self, id: RequestId, result: &Result<Response, RequestError>) {
        let request = u32::try_from(id.0).expect("requests are numbered by this tier");
        let call = self.app.calls.remove(&request).expect("what ends was asked for");
        self.record(Event::RequestSettled { request, outcome: outcome(&call, result) });
        self.app.request_ended(request);
    }

    pub(super) fn drop_request(&mut self, consumer: u8) {
        if let Some(request) = self.app.requests.get(&consumer).and_then(|open| open.front().copied()) {
            self.cancel(consumer, request);
        }
    }

    fn cancel(&mut self, consumer: u8, request: u32) {
        if self.app.forget_request(consumer, request) {
            self.record(Event::RequestDropped { request });
            self.command(Command::Cancel { id: RequestId(u64::from(request)) });
        }
    }

    pub(super) fn subscribe(&mut self, consumer: u8, spec: SubscribeSpec) {
        let behavior = self.app.behaviors.get(&consumer).cloned().unwrap_or_default();
        self.subscribe_as(consumer, behavior, spec);
    }

    fn subscribe_as(&mut self, consumer: u8, behavior: ConsumerBehavior, spec: SubscribeSpec) {
        self.app.next_subscription += 1;
        let subscription = self.app.next_subscription;
        self.app.subscriptions.entry(consumer).or_default().push_back(subscription);
        self.record(Event::Subscribed { consumer, subscription, lag: spec.lag });
        if let ConsumerBehavior::Slow { every_ms } = behavior {
            self.read_later(subscription, every_ms);
        }
        if behavior != ConsumerBehavior::Prompt {
            let options = &self.app.options;
            let items = spec.items.unwrap_or(options.subscription_items);
            let mailbox = Mailbox::new(items, options.subscription_bytes).with_policy(spec.lag.into());
            self.app
                .readers
                .insert(subscription, Reader { consumer, behavior, count: 0, mailbox, is_hungry: false });
        }
        self.command(Command::Subscribe { id: SubscriptionId(u64::from(subscription)) });
    }

    pub(super) fn unsubscribe(&mut self, consumer: u8) {
        let oldest = self.app.subscriptions.get(&consumer).and_then(|open| open.front().copied());
        if let Some(subscription) = oldest {
            self.leave(consumer, subscription, Event::Unsubscribed { subscription });
        }
    }

    /// Ends a subscription that is open still, and says why.
    fn leave(&mut self, consumer: u8, subscription: u32, why: Event) {
        if self.app.forget_subscription(consumer, subscription) {
            self.record(why);
            self.command(Command::Unsubscribe { id: SubscriptionId(u64::from(subscription)) });
        }
    }

    pub(super) fn configure(&mut self, next: ConfigRef) {
        let changed = self.app.config.as_ref() != Some(&next);
        let config = self.app.config(self.plan, &next);
        self.app.config = Some(next.clone());
        self.record(Event::Configured { config: next, changed });
        self.command(Command::Configure(Some(config)));
    }

    pub(super) fn unconfigure(&mut self) {
        let changed = self.app.config.take().is_some();
        self.record(Event::Unconfigured { changed });
        self.command(Command::Configure(None));
    }

    pub(super) fn shut_down(&mut self) {
        if !self.app.stopping {
            self.app.stopping = true;
            self.record(Event::ShutdownCalled);
        }
        self.command(Command::ShutDown);
    }

    pub(super) fn deliver(&mut self, to: SubscriptionId, push: Push) {
        let subscription = u32::try_from(to.0).expect("subscriptions are numbered by this tier");
        let Some(reader) = self.app.readers.get_mut(&subscription) else {
            self.read(subscription, &push);
            return;
        };
        match reader.behavior {
            ConsumerBehavior::Slow { .. } | ConsumerBehavior::Stuck => {
                let may_give_up = push != Push::Closed && !reader.mailbox.is_closed();
                reader.mailbox.push(push, self.core.snapshot());
                if may_give_up && reader.mailbox.is_closed() {
                    self.app.follows.push_back(Following::GaveUp { subscription });
                }
                if reader.is_hungry {
                    self.read_one(subscription);
                }
            }
            ConsumerBehavior::Prompt
            | ConsumerBehavior::Panics { .. }
            | ConsumerBehavior::ActsOnItem { .. }
            | ConsumerBehavior::ActsOnEnd { .. } => {
                self.handle(subscription, &push);
            }
        }
    }

    /// A slow reader takes an item; if there is none, it takes the next as soon as that comes.
    pub(super) fn read_one(&mut self, subscription: u32) {
        let Some(reader) = self.app.readers.get_mut(&subscription) else { return };
        let ConsumerBehavior::Slow { every_ms } = reader.behavior else { return };
        let push = reader.mailbox.pop();
        reader.is_hungry = push.is_none();
        let Some(push) = push else { return };
        if push == Push::Closed {
            self.app.readers.remove(&subscription);
        } else {
            self.read_later(subscription, every_ms);
        }
        self.read(subscription, &push);
    }

    /// A consumer reads an item.
    fn read(&mut self, subscription: u32, push: &Push) {
        let item = Item::from(push);
        if let Item::Snapshot { epoch } = item {
            let owner = self.app.subscriptions.iter().find(|(_, open)| open.contains(&subscription));
            if let Some((consumer, _)) = owner {
                self.app.epochs.insert(*consumer, epoch);
            }
        }
        self.record(Event::Pushed { subscription, item });
    }

    fn read_later(&mut self, subscription: u32, every_ms: u64) {
        let next = self.now + Duration::from_millis(every_ms);
        self.queue.push(next, self.ties.any(), Due::Read(subscription));
    }

    fn handle(&mut self, subscription: u32, push: &Push) {
        self.read(subscription, push);
        let Some(reader) = self.app.readers.get_mut(&subscription) else { return };
        reader.count += 1;
        let consumer = reader.consumer;
        match reader.behavior.reaction(reader.count) {
            _ if *push == Push::Closed => {}
            Reaction::Read => {}
            Reaction::Panic => {
                let gone = Following::Gone { consumer, subscription };
                self.app.follows.push_back(gone);
            }
            Reaction::Act(consumer_action) => {
                let subscription = Some(subscription);
                let consumer_action = Following::ConsumerAction {
                    consumer,
                    subscription,
                    consumer_action: consumer_action.clone(),
                };
                self.app.follows.push_back(consumer_action);
            }
        }
    }

    /// Carries out what follows from the step that is over.
    pub(super) fn app_goes_on(&mut self) {
        let due: Vec<(u8, u32, u32)> = self
            .app
            .abandoned
            .extract_if(.., |(_, _, left)| {
                *left -= 1;
                *left == 0
            })
            .collect();
        for (consumer, request, _) in due {
            self.cancel(consumer, request);
        }
        while let Some(following) = self.app.follows.pop_front() {
            match following {
                Following::Gone { consumer, subscription } => {
                    self.leave(consumer, subscription, Event::Panicked { subscription });
                }
                Following::GaveUp { subscription } => {
                    self.command(Command::Unsubscribe { id: SubscriptionId(u64::from(subscription)) });
                }
                Following::ConsumerAction { consumer, subscription, consumer_action } => {
                    self.apply_consumer_action(consumer, subscription, &consumer_action);
                }
            }
        }
    }

    fn apply_consumer_action(
        &mut self,
        consumer: u8,
        subscription: Option<u32>,
        consumer_action: &ConsumerAction,
    ) {
        match (consumer_action, subscription) {
            (ConsumerAction::Subscribe, _) => {
                self.subscribe_as(consumer, ConsumerBehavior::Prompt, SubscribeSpec::default());
            }
            (ConsumerAction::Unsubscribe, None) => self.unsubscribe(consumer),
            (ConsumerAction::Unsubscribe, Some(subscription)) => {
                self.leave(consumer, subscription, Event::Unsubscribed { subscription });
            }
            (ConsumerAction::Request { timeout_ms }, _) => {
                self.request(consumer, &RequestSpec::new("health", *timeout_ms));
            }
            (ConsumerAction::Configure { gateway, token }, _) => {
                self.configure(ConfigRef::shared(*gateway, token));
            }
            (ConsumerAction::Shutdown, _) => self.shut_down(),
        }
    }
}

/// The parameters with the key in them, which the client of the other tiers puts there by itself.
fn keyed_params(call: &Call) -> String {
    match &call.key {
        Some(key) => call.params.replacen('{', &format!("{{\"idempotencyKey\":\"{key}\","), 1),
        None => call.params.clone(),
    }
}
