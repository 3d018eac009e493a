//! What those who carry an action out need of it.

use std::time::Duration;

use super::Action;
use crate::plan::consumer::{ConsumerBehavior, RequestSpec, SubscribeSpec};
use onesocket_gateway::{Misbehave, Order, RestartMode};

impl Action {
    /// How long it goes on, if it is something that goes on and then ends.
    #[must_use]
    pub fn lasts_ms(&self) -> Option<u64> {
        match self {
            Self::Restart { down_ms, .. } => Some(*down_ms),
            Self::Partition { for_ms, .. }
            | Self::Lose { for_ms, .. }
            | Self::Blip { for_ms, .. }
            | Self::Stall { for_ms, .. }
            | Self::Delay { for_ms, .. }
            | Self::RefuseDials { for_ms, .. }
            | Self::IgnoreDials { for_ms, .. }
            | Self::IgnoreUpgrades { for_ms, .. }
            | Self::IgnoreCloses { for_ms, .. }
            | Self::LateCloses { for_ms, .. }
            | Self::Bytes { for_ms, .. }
            | Self::Suspend { for_ms } => Some(*for_ms),
            Self::Misbehave {
                how:
                    Misbehave::StarveTicks { lasting }
                    | Misbehave::StarvePings { lasting }
                    | Misbehave::RefuseUpgrades { lasting },
                ..
            } => Some(u64::try_from(lasting.as_millis()).unwrap_or(u64::MAX)),
            Self::Misbehave { .. }
            | Self::Connect {}
            | Self::Request { .. }
            | Self::BoundRequest { .. }
            | Self::UnboundedRequest { .. }
            | Self::RunAgent { .. }
            | Self::AbandonRequest { .. }
            | Self::DropRequest { .. }
            | Self::Behave { .. }
            | Self::Subscribe { .. }
            | Self::SubscribeWith { .. }
            | Self::Unsubscribe { .. }
            | Self::Configure { .. }
            | Self::ConfigureBootstrap { .. }
            | Self::AbandonConfigure { .. }
            | Self::Unconfigure {}
            | Self::Wake {}
            | Self::Resume {}
            | Self::Shutdown {}
            | Self::AbandonShutdown { .. }
            | Self::Emit { .. }
            | Self::Stop { .. }
            | Self::Start { .. }
            | Self::ChangeToken { .. }
            | Self::Close { .. }
            | Self::Terminate { .. }
            | Self::DropEvent { .. }
            | Self::ApprovePairing { .. }
            | Self::RejectPairing { .. }
            | Self::RotateTokens { .. }
            | Self::RevokeDevices { .. }
            | Self::HalfOpen { .. }
            | Self::Reset { .. } => None,
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

    /// The order to a gateway that carries it out, if a gateway does.
    #[must_use]
    pub fn order(&self) -> Option<(u8, Order)> {
        let order = match self {
            Self::Emit { event, .. } => Order::Emit { event: event.clone(), payload: "{}".into() },
            Self::Restart { down_ms, crash, .. } => {
                let mode = if *crash { RestartMode::Crash } else { RestartMode::Graceful };
                Order::Restart { mode, down: Duration::from_millis(*down_ms) }
            }
            Self::Stop { .. } => Order::Stop,
            Self::Start { .. } => Order::Start,
            Self::ChangeToken { token, .. } => Order::ChangeToken { token: token.clone() },
            Self::Close { code, reason, .. } => Order::Kick { code: *code, reason: reason.clone() },
            Self::Terminate { .. } => Order::Terminate,
            Self::DropEvent { .. } => Order::DropNextEvent,
            Self::ApprovePairing { .. } => Order::ApprovePairing,
            Self::RejectPairing { .. } => Order::RejectPairing,
            Self::RotateTokens { .. } => Order::RotateDeviceTokens,
            Self::RevokeDevices { .. } => Order::RevokeDevices,
            Self::Misbehave { how, .. } => Order::Misbehave(how.clone()),
            Self::Connect {}
            | Self::Request { .. }
            | Self::BoundRequest { .. }
            | Self::UnboundedRequest { .. }
            | Self::RunAgent { .. }
            | Self::AbandonRequest { .. }
            | Self::DropRequest { .. }
            | Self::Behave { .. }
            | Self::Subscribe { .. }
            | Self::SubscribeWith { .. }
            | Self::Unsubscribe { .. }
            | Self::Configure { .. }
            | Self::ConfigureBootstrap { .. }
            | Self::AbandonConfigure { .. }
            | Self::Unconfigure {}
            | Self::Wake {}
            | Self::Resume {}
            | Self::Shutdown {}
            | Self::AbandonShutdown { .. }
            | Self::Partition { .. }
            | Self::Lose { .. }
            | Self::HalfOpen { .. }
            | Self::Blip { .. }
            | Self::Stall { .. }
            | Self::Delay { .. }
            | Self::Reset { .. }
            | Self::RefuseDials { .. }
            | Self::IgnoreDials { .. }
            | Self::IgnoreUpgrades { .. }
            | Self::IgnoreCloses { .. }
            | Self::LateCloses { .. }
            | Self::Bytes { .. }
            | Self::Suspend { .. } => return None,
        };
        self.gateway().map(|gateway| (gateway, order))
    }
}

impl Action {
    pub(in crate::plan) fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::AbandonConfigure { polls: 0, .. } | Self::AbandonShutdown { polls: 0 } => {
                Err("what is never polled does nothing: polls must be at least 1")
            }
            Self::Behave { behavior: ConsumerBehavior::Slow { every_ms: 0 }, .. } => {
                Err("a slow consumer takes its time: every_ms must be at least 1")
            }
            _ => Ok(()),
        }
    }
}
