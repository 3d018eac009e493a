//! What the app and its consumers do.

use serde::{Deserialize, Serialize};

use crate::plan::Params;
use crate::plan::consumer::{ConsumerBehavior, Lag, RequestSpec, SubscribeSpec};

/// What the app and its consumers do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum AppAction {
    /// A consumer asks for a connection without asking anything of it.
    Connect {},
    /// A consumer calls a method.
    Request {
        /// Which consumer.
        consumer: u8,
        /// The gateway model's name of the method.
        method: String,
        /// The deadline.
        timeout_ms: u64,
    },
    /// A consumer calls a method over the connection whose snapshot it read last and over no other. A consumer that
    /// has read none calls nothing.
    BoundRequest {
        /// Which consumer.
        consumer: u8,
        /// The gateway model's name of the method.
        method: String,
        /// The deadline.
        timeout_ms: u64,
    },
    /// A consumer calls a method and waits for as long as it takes.
    UnboundedRequest {
        /// Which consumer.
        consumer: u8,
        /// The gateway model's name of the method.
        method: String,
    },
    /// A consumer has an agent do a piece of work, which is done once however often it is asked for.
    RunAgent {
        /// Which consumer.
        consumer: u8,
        /// Which piece of work.
        key: u32,
        /// The deadline.
        timeout_ms: u64,
        /// Whether the end of the work is waited for. While the work goes on only the first who asked is told of it.
        #[serde(default)]
        to_the_end: bool,
    },
    /// A consumer calls a method and drops the future of the call.
    AbandonRequest {
        /// Which consumer.
        consumer: u8,
        /// The gateway model's name of the method.
        method: String,
        /// The deadline.
        timeout_ms: u64,
        /// After how many polls, if it has not ended by then.
        polls: u32,
    },
    /// A consumer drops its oldest request that has not ended.
    DropRequest {
        /// Which consumer.
        consumer: u8,
    },
    /// A consumer behaves differently from now on.
    Behave {
        /// Which consumer.
        consumer: u8,
        /// How.
        #[serde(alias = "manner")]
        behavior: ConsumerBehavior,
    },
    /// A consumer subscribes.
    Subscribe {
        /// Which consumer.
        consumer: u8,
    },
    /// A consumer subscribes, and says what happens when it reads too slowly.
    SubscribeWith {
        /// Which consumer.
        consumer: u8,
        /// What happens then.
        lag: Lag,
        /// How many items may wait, from 4 to the parameter `subscription_items`; as many as that if it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        items: Option<u64>,
    },
    /// A consumer drops its oldest subscription.
    Unsubscribe {
        /// Which consumer.
        consumer: u8,
    },
    /// The app applies a config, which may be the one that is in force.
    Configure {
        /// Which gateway.
        gateway: u8,
        /// Which token.
        token: String,
    },
    /// The app applies a config that has a setup code instead of a token.
    ConfigureBootstrap {
        /// Which gateway.
        gateway: u8,
        /// Which code: one of [`Plan::BOOTSTRAP_TOKENS`](crate::plan::Plan::BOOTSTRAP_TOKENS), or a wrong one.
        token: String,
    },
    /// The app applies a config and drops the future of doing so; the config counts all the same.
    AbandonConfigure {
        /// Which gateway.
        gateway: u8,
        /// Which token.
        token: String,
        /// After how many polls, at least one.
        polls: u32,
    },
    /// The app has nothing to connect to any more, until it applies a config again.
    Unconfigure {},
    /// The app says that the network is back.
    Wake {},
    /// The app says that the reason for a pause is gone.
    Resume {},
    /// The app shuts the client down.
    Shutdown {},
    /// The app begins to shut the client down and drops the future of doing so; the shutdown goes on.
    AbandonShutdown {
        /// After how many polls, at least one.
        polls: u32,
    },
}

impl AppAction {
    /// The names in plans.
    pub(super) const NAMES: [&str; 19] = [
        "connect",
        "request",
        "bound-request",
        "unbounded-request",
        "run-agent",
        "abandon-request",
        "drop-request",
        "behave",
        "subscribe",
        "subscribe-with",
        "unsubscribe",
        "configure",
        "configure-bootstrap",
        "abandon-configure",
        "unconfigure",
        "wake",
        "resume",
        "shutdown",
        "abandon-shutdown",
    ];

    /// The gateway that it names, if it names one.
    pub(super) fn gateway(&self) -> Option<u8> {
        match self {
            Self::Configure { gateway, .. }
            | Self::ConfigureBootstrap { gateway, .. }
            | Self::AbandonConfigure { gateway, .. } => Some(*gateway),
            Self::Behave { behavior, .. } => behavior.gateway(),
            Self::Connect {}
            | Self::Request { .. }
            | Self::BoundRequest { .. }
            | Self::UnboundedRequest { .. }
            | Self::RunAgent { .. }
            | Self::AbandonRequest { .. }
            | Self::DropRequest { .. }
            | Self::Subscribe { .. }
            | Self::SubscribeWith { .. }
            | Self::Unsubscribe { .. }
            | Self::Unconfigure {}
            | Self::Wake {}
            | Self::Resume {}
            | Self::Shutdown {}
            | Self::AbandonShutdown { .. } => None,
        }
    }

    /// Who asks a gateway for what, and will wait for the answer, if it is that.
    #[must_use]
    pub fn request_spec(&self) -> Option<(u8, RequestSpec)> {
        if let Self::Request { consumer, method, timeout_ms } = self {
            return Some((*consumer, RequestSpec::new(method, *timeout_ms)));
        }
        if let Self::BoundRequest { consumer, method, timeout_ms } = self {
            return Some((
                *consumer,
                RequestSpec { is_bound: true, ..RequestSpec::new(method, *timeout_ms) },
            ));
        }
        if let Self::UnboundedRequest { consumer, method } = self {
            return Some((*consumer, RequestSpec { timeout_ms: None, ..RequestSpec::new(method, 0) }));
        }
        let Self::RunAgent { consumer, key, timeout_ms, to_the_end } = self else { return None };
        let spec = RequestSpec {
            key: Some(*key),
            to_the_end: *to_the_end,
            ..RequestSpec::new("agent", *timeout_ms)
        };
        Some((*consumer, spec))
    }

    /// Who subscribes, and with which spec, if the action does that.
    #[must_use]
    pub fn subscribe_spec(&self) -> Option<(u8, SubscribeSpec)> {
        if let Self::Subscribe { consumer } = self {
            return Some((*consumer, SubscribeSpec::default()));
        }
        let Self::SubscribeWith { consumer, lag, items } = self else { return None };
        let items = items.map(|items| usize::try_from(items).unwrap_or(usize::MAX));
        Some((*consumer, SubscribeSpec { lag: *lag, items }))
    }

    pub(super) fn check(&self, params: &Params) -> Result<(), String> {
        match self {
            Self::AbandonConfigure { polls: 0, .. } | Self::AbandonShutdown { polls: 0 } => {
                Err("what is never polled does nothing: polls must be at least 1".to_owned())
            }
            Self::Behave { behavior, .. } => behavior.check(),
            Self::SubscribeWith { items: Some(items), .. } => params.check_items(*items),
            Self::ConfigureBootstrap { .. } if !params.device => {
                Err("only a device can be set up: the plan needs the parameter device".to_owned())
            }
            Self::Connect {}
            | Self::Request { .. }
            | Self::BoundRequest { .. }
            | Self::UnboundedRequest { .. }
            | Self::RunAgent { .. }
            | Self::AbandonRequest { .. }
            | Self::DropRequest { .. }
            | Self::Subscribe { .. }
            | Self::SubscribeWith { items: None, .. }
            | Self::Unsubscribe { .. }
            | Self::Configure { .. }
            | Self::ConfigureBootstrap { .. }
            | Self::AbandonConfigure { .. }
            | Self::Unconfigure {}
            | Self::Wake {}
            | Self::Resume {}
            | Self::Shutdown {}
            | Self::AbandonShutdown { .. } => Ok(()),
        }
    }
}
