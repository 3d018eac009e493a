//! What a gateway does, or somebody who steers it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Action;
use onesocket_gateway::{Misbehave, Order, RestartMode};

/// What a gateway does, or somebody who steers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum GatewayAction {
    /// A gateway pushes an event to everybody.
    Emit {
        /// The event's name.
        event: String,
    },
    /// Fault: a gateway restarts.
    Restart {
        /// How long nothing listens.
        down_ms: u64,
        /// Whether it dies without a word.
        crash: bool,
    },
    /// Fault: a gateway changes its token.
    ChangeToken {
        /// The new token.
        token: String,
    },
    /// Fault: a gateway stops, as on SIGTERM, and stays down until it is started.
    Stop {},
    /// A gateway that has stopped is started. Nothing happens while it still goes down, which takes a good second.
    Start {},
    /// Fault: a gateway closes every connection.
    Close {
        /// The close code.
        code: u16,
        /// The reason.
        reason: String,
    },
    /// Fault: the next event of a gateway is lost on its way out.
    DropEvent {},
    /// Fault: a gateway drops every connection without a close frame.
    Terminate {},
    /// Somebody approves the oldest pairing that waits for it.
    ApprovePairing {},
    /// Fault: somebody rejects the oldest pairing that waits.
    RejectPairing {},
    /// Fault: a gateway replaces every device token, and closes what used one.
    RotateTokens {},
    /// Fault: a gateway forgets every device, and closes what they use.
    RevokeDevices {},
    /// Fault: a gateway deviates from the protocol. `how = "behave"` ends what is left of earlier deviations.
    Misbehave {
        /// How.
        how: Misbehave,
    },
}

impl GatewayAction {
    /// The action of the gateway of this number.
    #[must_use]
    pub fn of(self, gateway: u8) -> Action {
        Action::Gateway { gateway, order: self }
    }

    /// The names in plans.
    pub(super) const NAMES: [&str; 13] = [
        "emit",
        "restart",
        "change-token",
        "stop",
        "start",
        "close",
        "drop-event",
        "terminate",
        "approve-pairing",
        "reject-pairing",
        "rotate-tokens",
        "revoke-devices",
        "misbehave",
    ];

    /// How long it goes on, if it is something that goes on and then ends.
    pub(super) fn lasts_ms(&self) -> Option<u64> {
        match self {
            Self::Restart { down_ms, .. } => Some(*down_ms),
            Self::Misbehave {
                how:
                    Misbehave::StarveTicks { lasting }
                    | Misbehave::StarvePings { lasting }
                    | Misbehave::RefuseUpgrades { lasting },
            } => Some(u64::try_from(lasting.as_millis()).unwrap_or(u64::MAX)),
            Self::Misbehave { .. }
            | Self::Emit { .. }
            | Self::Stop {}
            | Self::Start {}
            | Self::ChangeToken { .. }
            | Self::Close { .. }
            | Self::Terminate {}
            | Self::DropEvent {}
            | Self::ApprovePairing {}
            | Self::RejectPairing {}
            | Self::RotateTokens {}
            | Self::RevokeDevices {} => None,
        }
    }

    /// The order to the gateway that carries it out.
    #[must_use]
    pub fn order(&self) -> Order {
        match self {
            Self::Emit { event } => Order::Emit { event: event.clone(), payload: "{}".into() },
            Self::Restart { down_ms, crash } => {
                let mode = if *crash { RestartMode::Crash } else { RestartMode::Graceful };
                Order::Restart { mode, down: Duration::from_millis(*down_ms) }
            }
            Self::Stop {} => Order::Stop,
            Self::Start {} => Order::Start,
            Self::ChangeToken { token } => Order::ChangeToken { token: token.clone() },
            Self::Close { code, reason } => Order::Kick { code: *code, reason: reason.clone() },
            Self::Terminate {} => Order::Terminate,
            Self::DropEvent {} => Order::DropNextEvent,
            Self::ApprovePairing {} => Order::ApprovePairing,
            Self::RejectPairing {} => Order::RejectPairing,
            Self::RotateTokens {} => Order::RotateDeviceTokens,
            Self::RevokeDevices {} => Order::RevokeDevices,
            Self::Misbehave { how } => Order::Misbehave(how.clone()),
        }
    }
}
