//! What can happen in a run.

mod parts;

use serde::{Deserialize, Serialize};

use super::Fault;
use crate::pipe::Direction;
use crate::plan::consumer::{ConsumerBehavior, Lag};
use onesocket_gateway::Misbehave;

/// What can happen in a run. Gateways are numbered from 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
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
        /// Which code: one of [`Plan::BOOTSTRAP_TOKENS`](super::Plan::BOOTSTRAP_TOKENS), or a wrong one.
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
    /// A gateway pushes an event to everybody.
    Emit {
        /// Which gateway.
        gateway: u8,
        /// The event's name.
        event: String,
    },
    /// Fault: a gateway restarts.
    Restart {
        /// Which gateway.
        gateway: u8,
        /// How long nothing listens.
        down_ms: u64,
        /// Whether it dies without a word.
        crash: bool,
    },
    /// Fault: what is sent between client and gateway vanishes, and connections that exist
    /// meanwhile stay dead.
    Partition {
        /// Which gateway.
        gateway: u8,
        /// For how long.
        for_ms: u64,
    },
    /// Fault: what is sent between client and gateway arrives late, in order.
    Blip {
        /// Which gateway.
        gateway: u8,
        /// For how long nothing arrives.
        for_ms: u64,
    },
    /// Fault: a gateway changes its token.
    ChangeToken {
        /// Which gateway.
        gateway: u8,
        /// The new token.
        token: String,
    },
    /// Fault: a gateway stops, as on SIGTERM, and stays down until it is started.
    Stop {
        /// Which gateway.
        gateway: u8,
    },
    /// A gateway that has stopped is started. Nothing happens while it still goes down, which takes a good second.
    Start {
        /// Which gateway.
        gateway: u8,
    },
    /// Fault: a gateway closes every connection.
    Close {
        /// Which gateway.
        gateway: u8,
        /// The close code.
        code: u16,
        /// The reason.
        reason: String,
    },
    /// Fault: the next event of a gateway is lost on its way out.
    DropEvent {
        /// Which gateway.
        gateway: u8,
    },
    /// Fault: a gateway drops every connection without a close frame.
    Terminate {
        /// Which gateway.
        gateway: u8,
    },
    /// Somebody approves the oldest pairing that waits for it.
    ApprovePairing {
        /// At which gateway.
        gateway: u8,
    },
    /// Fault: somebody rejects the oldest pairing that waits.
    RejectPairing {
        /// At which gateway.
        gateway: u8,
    },
    /// Fault: a gateway replaces every device token, and closes what used one.
    RotateTokens {
        /// Which gateway.
        gateway: u8,
    },
    /// Fault: a gateway forgets every device, and closes what they use.
    RevokeDevices {
        /// Which gateway.
        gateway: u8,
    },
    /// Fault: a gateway deviates from the protocol. `how = "behave"` ends what is left of earlier deviations.
    Misbehave {
        /// Which gateway.
        gateway: u8,
        /// How.
        how: Misbehave,
    },
    /// Fault: what is sent in one direction vanishes, and connections that exist meanwhile stay deaf that way. Dials
    /// are never answered.
    Lose {
        /// The path to which gateway.
        gateway: u8,
        /// Which way.
        direction: Direction,
        /// For how long.
        for_ms: u64,
    },
    /// Fault: nothing arrives in one direction, and nothing is lost.
    Stall {
        /// The path to which gateway.
        gateway: u8,
        /// Which way.
        direction: Direction,
        /// For how long.
        for_ms: u64,
    },
    /// Fault: the connections that exist die without a word to either end, and new ones work.
    HalfOpen {
        /// The path to which gateway.
        gateway: u8,
    },
    /// Fault: everything takes longer.
    Delay {
        /// The path to which gateway.
        gateway: u8,
        /// By how much.
        by_ms: u64,
        /// For how long.
        for_ms: u64,
    },
    /// Fault: both ends of every connection see a reset.
    Reset {
        /// The path to which gateway.
        gateway: u8,
    },
    /// Fault: dials are refused.
    RefuseDials {
        /// The path to which gateway.
        gateway: u8,
        /// For how long.
        for_ms: u64,
    },
    /// Fault: dials are never answered, not even when this ends.
    IgnoreDials {
        /// The path to which gateway.
        gateway: u8,
        /// For how long.
        for_ms: u64,
    },
    /// Fault: dials succeed, and their websocket upgrade is never answered.
    IgnoreUpgrades {
        /// Which gateway.
        gateway: u8,
        /// For how long.
        for_ms: u64,
    },
    /// Fault: the client's close frames are never answered.
    IgnoreCloses {
        /// Which gateway.
        gateway: u8,
        /// For how long.
        for_ms: u64,
    },
    /// Fault: the client's close frames are answered late.
    LateCloses {
        /// Which gateway.
        gateway: u8,
        /// How late.
        by_ms: u64,
        /// For how long.
        for_ms: u64,
    },
    /// Fault: bytes come in other pieces, or slowly.
    Bytes {
        /// The path to which gateway.
        gateway: u8,
        /// Reads and writes move a drawn number of bytes between one and this; any number if it is 0.
        #[serde(default)]
        chop: u32,
        /// Whether one read may return what was written in several pieces.
        #[serde(default)]
        coalesce: bool,
        /// How many bytes each direction carries in a millisecond; any number if it is 0.
        #[serde(default)]
        per_ms: u32,
        /// For how long.
        for_ms: u64,
    },
    /// Fault: the process of the client does not run while the world goes on, as on a laptop that sleeps. Then
    /// everything that waited for it comes at once. What the app would have done meanwhile, it does then.
    Suspend {
        /// For how long.
        for_ms: u64,
    },
}

/// Whose doing an action is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The process of the client: its consumers, and the app around them.
    App,
    /// A gateway, or somebody who steers it.
    Gateway,
    /// The path between client and gateway.
    Link,
    /// The machine that the client's process runs on.
    Machine,
}

impl Action {
    /// The class of the fault, if this is one.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        Some(match self {
            Self::Restart { crash: false, .. } => Fault::Restart,
            Self::Restart { crash: true, .. } => Fault::Crash,
            Self::Stop { .. } => Fault::Stop,
            Self::ChangeToken { .. } => Fault::TokenChange,
            Self::Close { .. } => Fault::Close,
            Self::Terminate { .. } => Fault::Terminate,
            Self::DropEvent { .. } => Fault::DropEvent,
            Self::RejectPairing { .. } => Fault::RejectPairing,
            Self::RotateTokens { .. } => Fault::RotateTokens,
            Self::RevokeDevices { .. } => Fault::RevokeDevices,
            Self::Misbehave { how, .. } => return Fault::of_misbehaviour(how),
            Self::Partition { .. } => Fault::Partition,
            Self::Lose { direction: Direction::ToGateway, .. } => Fault::LoseToGateway,
            Self::Lose { direction: Direction::ToClient, .. } => Fault::LoseToClient,
            Self::HalfOpen { .. } => Fault::HalfOpen,
            Self::Blip { .. } => Fault::Blip,
            Self::Stall { direction: Direction::ToGateway, .. } => Fault::StallToGateway,
            Self::Stall { direction: Direction::ToClient, .. } => Fault::StallToClient,
            Self::Delay { .. } => Fault::Delay,
            Self::Reset { .. } => Fault::Reset,
            Self::RefuseDials { .. } => Fault::RefuseDials,
            Self::IgnoreDials { .. } => Fault::IgnoreDials,
            Self::IgnoreUpgrades { .. } => Fault::IgnoreUpgrades,
            Self::IgnoreCloses { .. } => Fault::IgnoreCloses,
            Self::LateCloses { .. } => Fault::LateCloses,
            Self::Bytes { .. } => Fault::Bytes,
            Self::Suspend { .. } => Fault::Suspend,
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
            | Self::Emit { .. }
            | Self::Start { .. }
            | Self::ApprovePairing { .. } => return None,
        })
    }

    /// Whose doing it is.
    #[must_use]
    pub fn actor(&self) -> Actor {
        match self {
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
            | Self::AbandonShutdown { .. } => Actor::App,
            Self::Emit { .. }
            | Self::Restart { .. }
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
            | Self::Misbehave { .. } => Actor::Gateway,
            Self::Partition { .. }
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
            | Self::Bytes { .. } => Actor::Link,
            Self::Suspend { .. } => Actor::Machine,
        }
    }

    /// The gateway it concerns, if it concerns one.
    #[must_use]
    pub fn gateway(&self) -> Option<u8> {
        match self {
            Self::Configure { gateway, .. }
            | Self::ConfigureBootstrap { gateway, .. }
            | Self::AbandonConfigure { gateway, .. }
            | Self::Emit { gateway, .. }
            | Self::Restart { gateway, .. }
            | Self::Stop { gateway }
            | Self::Start { gateway }
            | Self::ChangeToken { gateway, .. }
            | Self::Close { gateway, .. }
            | Self::Terminate { gateway }
            | Self::DropEvent { gateway }
            | Self::ApprovePairing { gateway }
            | Self::RejectPairing { gateway }
            | Self::RotateTokens { gateway }
            | Self::RevokeDevices { gateway }
            | Self::Misbehave { gateway, .. }
            | Self::Partition { gateway, .. }
            | Self::Lose { gateway, .. }
            | Self::HalfOpen { gateway }
            | Self::Blip { gateway, .. }
            | Self::Stall { gateway, .. }
            | Self::Delay { gateway, .. }
            | Self::Reset { gateway }
            | Self::RefuseDials { gateway, .. }
            | Self::IgnoreDials { gateway, .. }
            | Self::IgnoreUpgrades { gateway, .. }
            | Self::IgnoreCloses { gateway, .. }
            | Self::LateCloses { gateway, .. }
            | Self::Bytes { gateway, .. } => Some(*gateway),
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
            | Self::AbandonShutdown { .. }
            | Self::Suspend { .. } => None,
        }
    }
}
