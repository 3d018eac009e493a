//! Carries out what the app decides, with the core alone: without futures, tasks and a clock.
//!
//! A consumer that acts does so as soon as the step of the core is over that gave it the item or the answer. A slow one
//! has its items in the core's own mailbox, as a client would. Two things cannot be told from others here: a future of
//! `configure` or `shutdown` that is dropped after its first poll has given its order, and is as good as one that is
//! kept; and a consumer that panics is one that is gone.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use onesocket::core::mailbox::Mailbox;
use onesocket::core::{
    Command, Config, Epoch, Push, Reply, RequestError, RequestId, Response, Snapshot, SubscriptionId,
};

use super::{App, AppEffect, FollowUp};
use crate::plan::consumer::{Pace, SubscribeSpec};
use crate::plan::environment::{ConfigRef, client_config};
use crate::plan::{AppAction, Plan};
use crate::subject::Call;
use crate::subject::translate::outcome;
use crate::trace::{Event, Item};

/// The app and what a client would hold for it.
pub(crate) struct CoreApp {
    app: App,
    configs: BTreeMap<ConfigRef, Arc<Config>>,
    /// What was asked for in the requests that have not ended.
    calls: BTreeMap<u32, Call>,
    /// Requests that are dropped when the core has taken so many more inputs.
    abandoned: Vec<(u32, u32)>,
    /// The subscriptions that a client would hold.
    readers: BTreeMap<u32, Reader>,
    /// What follows from the step of the core that goes on, in order.
    following: VecDeque<Following>,
    /// Reused for what the app decides.
    effects: Vec<AppEffect>,
}

struct Reader {
    pace: Pace,
    /// Where items wait, unless they are read at once.
    mailbox: Option<Mailbox>,
    /// Whether it has rested, and waits for an item.
    is_hungry: bool,
}

enum Following {
    FollowUp(FollowUp),
    /// A subscription ended because it was read too slowly. Its last items wait still.
    GaveUp {
        subscription: u32,
    },
}

/// What the app needs of a run of the core.
pub(crate) trait CoreHost {
    fn app(&mut self) -> &mut CoreApp;
    fn plan(&self) -> &Plan;
    /// The latest snapshot of the core.
    fn snapshot(&self) -> Option<Arc<Snapshot>>;
    fn record(&mut self, event: Event);
    /// Has the core take `command`. After this step, as after every other, comes [`follow_up`].
    fn command(&mut self, command: Command);
    /// [`read_waiting`] is to be called when so much time has passed.
    fn read_later(&mut self, subscription: u32, after: Duration);
}

impl CoreApp {
    /// An app whose core has the config that every run begins with, which is `first`.
    pub(crate) fn new(first: Arc<Config>) -> Self {
        Self {
            app: App::new(),
            configs: BTreeMap::from([(ConfigRef::first(), first)]),
            calls: BTreeMap::new(),
            abandoned: Vec::new(),
            readers: BTreeMap::new(),
            following: VecDeque::new(),
            effects: Vec::new(),
        }
    }

    /// Whether something follows from a step of the core.
    pub(crate) fn has_more_to_do(&self) -> bool {
        !self.following.is_empty() || !self.abandoned.is_empty()
    }
}

/// A step of the plan.
pub(crate) fn act(host: &mut impl CoreHost, action: &AppAction) {
    carry_out(host, |app, effects| app.act(action, effects));
}

/// The client is shut down at the end of the run.
pub(crate) fn shut_down(host: &mut impl CoreHost) {
    carry_out(host, |app, effects| app.shut_down(None, effects));
}

/// The core has stopped.
pub(crate) fn stopped(host: &mut impl CoreHost) {
    carry_out(host, App::stopped);
}

/// A request ended.
pub(crate) fn settle(host: &mut impl CoreHost, id: RequestId, result: &Result<Response, RequestError>) {
    let request = u32::try_from(id.0).expect("requests are numbered by the app");
    let call = host.app().calls.remove(&request).expect("what ends was asked for");
    let outcome = outcome(&call, result);
    carry_out(host, |app, effects| app.settled(request, outcome, effects));
}

/// An item for a subscription.
pub(crate) fn deliver(host: &mut impl CoreHost, to: SubscriptionId, push: Push) {
    let subscription = u32::try_from(to.0).expect("subscriptions are numbered by the app");
    let snapshot = host.snapshot();
    let app = host.app();
    let Some(reader) = app.readers.get_mut(&subscription) else { return };
    let Some(mailbox) = &mut reader.mailbox else { return read(host, subscription, &push) };
    let may_give_up = push != Push::Closed && !mailbox.is_closed();
    mailbox.push(push, snapshot.as_ref());
    if may_give_up && mailbox.is_closed() {
        app.following.push_back(Following::GaveUp { subscription });
    }
    if reader.is_hungry {
        read_waiting(host, subscription);
    }
}

/// A subscriber that has rested takes an item; if there is none, it takes the next as soon as that comes.
pub(crate) fn read_waiting(host: &mut impl CoreHost, subscription: u32) {
    let Some(reader) = host.app().readers.get_mut(&subscription) else { return };
    let (Pace::Every(rest), Some(mailbox)) = (reader.pace, &mut reader.mailbox) else { return };
    let push = mailbox.pop();
    reader.is_hungry = push.is_none();
    let Some(push) = push else { return };
    if push != Push::Closed {
        host.read_later(subscription, rest);
    }
    read(host, subscription, &push);
}

/// Does what follows from a step of the core that is over.
pub(crate) fn follow_up(host: &mut impl CoreHost) {
    let is_due = |(_, left): &mut (u32, u32)| {
        *left -= 1;
        *left == 0
    };
    let due: Vec<(u32, u32)> = host.app().abandoned.extract_if(.., is_due).collect();
    for (request, _) in due {
        carry_out(host, |app, effects| app.polled_out(request, effects));
    }
    while let Some(following) = host.app().following.pop_front() {
        match following {
            Following::FollowUp(follow_up) => {
                carry_out(host, |app, effects| app.follow_up(follow_up, effects));
            }
            Following::GaveUp { subscription } => {
                host.command(Command::Unsubscribe { id: SubscriptionId(u64::from(subscription)) });
            }
        }
    }
}

fn read(host: &mut impl CoreHost, subscription: u32, push: &Push) {
    if *push == Push::Closed {
        host.app().readers.remove(&subscription);
    }
    carry_out(host, |app, effects| app.read(subscription, Item::from(push), effects));
}

fn carry_out(host: &mut impl CoreHost, decide: impl FnOnce(&mut App, &mut Vec<AppEffect>)) {
    let app = host.app();
    let mut effects = std::mem::take(&mut app.effects);
    decide(&mut app.app, &mut effects);
    for effect in effects.drain(..) {
        apply(host, effect);
    }
    host.app().effects = effects;
}

fn apply(host: &mut impl CoreHost, effect: AppEffect) {
    match effect {
        AppEffect::Record(event) => host.record(event),
        AppEffect::Connect => host.command(Command::Connect),
        AppEffect::Wake => host.command(Command::Wake),
        AppEffect::Resume => host.command(Command::Resume),
        AppEffect::Request { call, polls } => request(host, call, polls),
        AppEffect::Cancel { request } => {
            if host.app().calls.remove(&request).is_some() {
                host.command(Command::Cancel { id: RequestId(u64::from(request)) });
            }
        }
        AppEffect::Subscribe { subscription, spec, pace } => subscribe(host, subscription, spec, pace),
        AppEffect::Unsubscribe { subscription } | AppEffect::Panic { subscription } => {
            host.app().readers.remove(&subscription);
            host.command(Command::Unsubscribe { id: SubscriptionId(u64::from(subscription)) });
        }
        AppEffect::Configure { config, polls: _ } => {
            let config = made_config(host, config);
            host.command(Command::Configure(Some(config)));
        }
        AppEffect::Unconfigure => host.command(Command::Configure(None)),
        AppEffect::ShutDown { polls: _ } => host.command(Command::ShutDown),
        AppEffect::FollowUp(follow_up) => {
            host.app().following.push_back(Following::FollowUp(follow_up));
        }
    }
}

/// The core hears nothing of a request that is never polled. Every poll but the first is one more input that the core
/// takes before the request is dropped.
fn request(host: &mut impl CoreHost, call: Call, polls: Option<u32>) {
    let request = call.request;
    if polls != Some(0) {
        let command = Command::Request {
            id: RequestId(u64::from(request)),
            method: Arc::from(call.method.as_str()),
            params: Some(Arc::from(keyed_params(&call))),
            timeout: call.timeout,
            waited: Duration::ZERO,
            reply: if call.to_the_end { Reply::Final } else { Reply::First },
            only_on: call.only_on.map(Epoch),
            expected_profile_id: None,
        };
        host.app().calls.insert(request, call);
        host.command(command);
    }
    match polls {
        None => {}
        Some(0 | 1) => carry_out(host, |app, effects| app.polled_out(request, effects)),
        Some(polls) => host.app().abandoned.push((request, polls - 1)),
    }
}

/// A config that is made once: a device's identity takes long to make.
fn made_config(host: &mut impl CoreHost, config: ConfigRef) -> Arc<Config> {
    if let Some(made) = host.app().configs.get(&config) {
        return Arc::clone(made);
    }
    let fresh = Arc::new(client_config(host.plan(), &config));
    host.app().configs.insert(config, Arc::clone(&fresh));
    fresh
}

/// The parameters with the key in them, which the client of the other tiers puts there by itself.
fn keyed_params(call: &Call) -> String {
    match &call.key {
        Some(key) => call.params.replacen('{', &format!("{{\"idempotencyKey\":\"{key}\","), 1),
        None => call.params.clone(),
    }
}

/// A client refuses what would be one subscription too many; the core knows no such limit.
fn subscribe(host: &mut impl CoreHost, subscription: u32, spec: SubscribeSpec, pace: Pace) {
    let options = host.plan().params.options();
    if host.app().readers.len() >= options.max_subscriptions {
        return carry_out(host, |app, effects| app.refused(subscription, effects));
    }
    let waiting = || {
        let items = spec.items.unwrap_or(options.subscription_items);
        Mailbox::new(items, options.subscription_bytes).with_policy(spec.lag.into())
    };
    let mailbox = match pace {
        Pace::AtOnce => None,
        Pace::Every(rest) => {
            host.read_later(subscription, rest);
            Some(waiting())
        }
        Pace::Never => Some(waiting()),
    };
    host.app().readers.insert(subscription, Reader { pace, mailbox, is_hungry: false });
    host.command(Command::Subscribe { id: SubscriptionId(u64::from(subscription)) });
}
