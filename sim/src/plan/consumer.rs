//! How consumers behave, as data of a plan: slow, stuck, panicking, and acting where they stand.

use std::time::Duration;

use onesocket::core::LagPolicy;
use serde::{Deserialize, Serialize};

/// What happens to a subscription that is read too slowly: a [`LagPolicy`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lag {
    /// The oldest items give way.
    #[default]
    DropOldest,
    /// Everything that waits gives way to the latest snapshot and the newest item.
    Resnapshot,
    /// The subscription ends.
    Close,
}

impl From<Lag> for LagPolicy {
    fn from(lag: Lag) -> Self {
        match lag {
            Lag::DropOldest => Self::DropOldest,
            Lag::Resnapshot => Self::Resnapshot,
            Lag::Close => Self::Close,
        }
    }
}

/// What one subscription is to be like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscribeSpec {
    /// What happens when it is read too slowly.
    pub lag: Lag,
    /// How many items may wait; as many as the client's options say, if nothing is said here.
    pub items: Option<usize>,
}

/// What a consumer asks of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestSpec {
    /// The method it calls.
    pub method: String,
    /// The deadline; `None` waits for ever.
    pub timeout_ms: Option<u64>,
    /// Whether it may go over no other connection than the one whose snapshot the consumer read last.
    pub is_bound: bool,
    /// The work that is asked for, which is done once however often it is asked for.
    pub key: Option<u32>,
    /// Whether the end of the work is waited for, and not its beginning.
    pub to_the_end: bool,
}

impl RequestSpec {
    /// A call of `method` that is like any other.
    #[must_use]
    pub fn new(method: &str, timeout_ms: u64) -> Self {
        let method = method.to_owned();
        Self { method, timeout_ms: Some(timeout_ms), is_bound: false, key: None, to_the_end: false }
    }
}

/// A consumer's way with what it is given. It holds for the subscriptions that the consumer opens afterwards, until
/// its next `behave` step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ConsumerBehavior {
    /// Reads every item at once.
    #[default]
    Prompt,
    /// Reads one item and then none for a while.
    Slow {
        /// The time between two items.
        every_ms: u64,
    },
    /// Subscribes and never reads.
    Stuck,
    /// Panics while it handles an item, in its own task.
    Panics {
        /// The number of the item, from 1.
        item: u32,
    },
    /// Acts while it handles an item, in the task that got it.
    ActsOnItem {
        /// The number of the item, from 1.
        item: u32,
        /// What it does.
        then: ConsumerAction,
    },
    /// Acts at the end of its next request, in the task that got the answer.
    ActsOnEnd {
        /// What it does.
        then: ConsumerAction,
    },
}

/// What a consumer does in the middle of something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ConsumerAction {
    /// Subscribes once more; the new subscription is read at once.
    Subscribe,
    /// Drops the subscription whose item it handles; at the end of a request, its oldest one.
    Unsubscribe,
    /// Calls the method `health`.
    Request {
        /// The deadline.
        timeout_ms: u64,
    },
    /// Applies a config.
    Configure {
        /// Which gateway.
        gateway: u8,
        /// Which token.
        token: String,
    },
    /// Shuts the client down.
    Shutdown,
}

impl ConsumerBehavior {
    /// Whether its subscriptions are read as soon as there is an item, for as long as they last.
    #[must_use]
    pub const fn is_prompt(&self) -> bool {
        match self {
            Self::Prompt | Self::ActsOnItem { .. } | Self::ActsOnEnd { .. } => true,
            Self::Slow { .. } | Self::Stuck | Self::Panics { .. } => false,
        }
    }

    /// What it does when it is given its `item`th item.
    pub(crate) fn reaction(&self, item: u32) -> Reaction<'_> {
        match self {
            Self::Panics { item: at } if *at == item => Reaction::Panic,
            Self::ActsOnItem { item: at, then } if *at == item => Reaction::Act(then),
            Self::Prompt
            | Self::Slow { .. }
            | Self::Stuck
            | Self::Panics { .. }
            | Self::ActsOnItem { .. }
            | Self::ActsOnEnd { .. } => Reaction::Read,
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Self::Slow { every_ms: 0 } => {
                Err("a slow consumer takes its time: every_ms must be at least 1".to_owned())
            }
            Self::Prompt
            | Self::Slow { .. }
            | Self::Stuck
            | Self::Panics { .. }
            | Self::ActsOnItem { .. }
            | Self::ActsOnEnd { .. } => Ok(()),
        }
    }

    /// How fast its subscriptions are read.
    pub(crate) fn pace(&self) -> Pace {
        match self {
            Self::Slow { every_ms } => Pace::Every(Duration::from_millis(*every_ms)),
            Self::Stuck => Pace::Never,
            Self::Prompt | Self::Panics { .. } | Self::ActsOnItem { .. } | Self::ActsOnEnd { .. } => {
                Pace::AtOnce
            }
        }
    }

    /// The gateway it concerns, if it concerns one.
    #[must_use]
    pub const fn gateway(&self) -> Option<u8> {
        match self {
            Self::ActsOnItem { then: ConsumerAction::Configure { gateway, .. }, .. }
            | Self::ActsOnEnd { then: ConsumerAction::Configure { gateway, .. } } => Some(*gateway),
            Self::Prompt
            | Self::Slow { .. }
            | Self::Stuck
            | Self::Panics { .. }
            | Self::ActsOnItem { .. }
            | Self::ActsOnEnd { .. } => None,
        }
    }
}

/// What follows an item.
pub(crate) enum Reaction<'m> {
    /// The next one is read.
    Read,
    /// The consumer panics.
    Panic,
    /// The consumer acts, and then reads on.
    Act(&'m ConsumerAction),
}

/// How fast a subscription is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Each item as soon as there is one.
    AtOnce,
    /// One item, or the wait for one, after so long a rest.
    Every(Duration),
    /// No item at all.
    Never,
}
