//! The classes of faults, as one table: what each is called, who does it, whether it lasts, where it works,
//! how often it is drawn, and how.
//!
//! A new class is one row here, and one variant of the action that carries it out.

use std::num::NonZeroU32;

use super::draw::*;
use crate::pipe::Direction;
use crate::plan::{Action, Actor, GatewayAction, LinkFault, ProcessFault, Tier};
use onesocket_gateway::{HandshakeFault, Misbehave, named};

/// What the table says of a class.
pub(crate) struct Row {
    actor: Actor,
    lasts: bool,
    tiers: &'static [Tier],
    /// How often it is drawn compared with others: what happens in every life, and to everything in it, more
    /// often than what a gateway hardly ever does.
    pub(crate) weight: u64,
    /// A fault of the class.
    pub(crate) draw: fn(&mut FaultDraw<'_>) -> Action,
}

/// It goes on for a while and then ends.
const LASTS: bool = true;
/// It ends where it begins, or with what it hits.
const ONCE: bool = false;

const EVERYWHERE: &[Tier] = &Tier::ALL;
/// Turmoil knows no stalls of one direction, latencies that change, resets, and connections that die while
/// nothing is on its way.
const ON_CONTROLLED: &[Tier] = &[Tier::Machine, Tier::Stream];
/// Whole messages travel on `machine`, so nothing can become of their bytes; turmoil does not cut writes into
/// pieces.
const ON_STREAM: &[Tier] = &[Tier::Stream];

macro_rules! faults {
    ($(
        $(#[$doc:meta])*
        $class:ident = $name:literal { $actor:expr, $lasts:expr, $tiers:expr, weight $weight:literal, $draw:expr }
    )*) => {
        named! {
            /// The classes of faults.
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub enum Fault {
                $($(#[$doc])* $class = $name,)*
            }
        }

        impl Fault {
            pub(crate) const fn row(self) -> &'static Row {
                match self {
                    $(Self::$class => const {
                        &Row { actor: $actor, lasts: $lasts, tiers: $tiers, weight: $weight, draw: $draw }
                    },)*
                }
            }
        }
    };
}

faults! {
    /// A gateway restarts and says so.
    Restart = "restart" { Actor::Gateway, LASTS, EVERYWHERE, weight 3,
        |draw| restart(draw, false) }
    /// A gateway dies and comes back.
    Crash = "crash" { Actor::Gateway, LASTS, EVERYWHERE, weight 3,
        |draw| restart(draw, true) }
    /// A gateway stops and stays down until it is started.
    Stop = "stop" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| GatewayAction::Stop {}.of(draw.gateway) }
    /// A silent black hole.
    Partition = "partition" { Actor::Link, LASTS, EVERYWHERE, weight 3,
        |draw| LinkFault::Partition { for_ms: draw.for_ms }.to(draw.gateway) }
    /// A silent black hole for what the client sends.
    LoseToGateway = "lose-to-gateway" { Actor::Link, LASTS, EVERYWHERE, weight 1,
        |draw| LinkFault::Lose { direction: Direction::ToGateway, for_ms: draw.for_ms }.to(draw.gateway) }
    /// A silent black hole for what the gateway sends.
    LoseToClient = "lose-to-client" { Actor::Link, LASTS, EVERYWHERE, weight 1,
        |draw| LinkFault::Lose { direction: Direction::ToClient, for_ms: draw.for_ms }.to(draw.gateway) }
    /// The connections there are die without a word, and new ones work.
    HalfOpen = "half-open" { Actor::Link, ONCE, ON_CONTROLLED, weight 2,
        |draw| LinkFault::HalfOpen {}.to(draw.gateway) }
    /// A delay in which nothing arrives and nothing is lost.
    Blip = "blip" { Actor::Link, LASTS, EVERYWHERE, weight 3,
        |draw| LinkFault::Blip { for_ms: draw.for_ms }.to(draw.gateway) }
    /// The same for what the client sends alone.
    StallToGateway = "stall-to-gateway" { Actor::Link, LASTS, ON_CONTROLLED, weight 1,
        |draw| LinkFault::Stall { direction: Direction::ToGateway, for_ms: draw.for_ms }.to(draw.gateway) }
    /// The same for what the gateway sends alone.
    StallToClient = "stall-to-client" { Actor::Link, LASTS, ON_CONTROLLED, weight 1,
        |draw| LinkFault::Stall { direction: Direction::ToClient, for_ms: draw.for_ms }.to(draw.gateway) }
    /// Everything takes longer.
    Delay = "delay" { Actor::Link, LASTS, ON_CONTROLLED, weight 1,
        |draw| LinkFault::Delay { by_ms: draw.rng.log_between(5, 3_000), for_ms: draw.for_ms }.to(draw.gateway) }
    /// What is sent waits for what was sent before it.
    Bufferbloat = "bufferbloat" { Actor::Link, LASTS, ON_CONTROLLED, weight 1,
        |draw| LinkFault::Bufferbloat {
            per_ms: NonZeroU32::MIN.saturating_add(small(draw.rng.log_between(1, 200))),
            up_to_ms: draw.rng.log_between(50, 3_000),
            for_ms: draw.for_ms,
        }.to(draw.gateway) }
    /// Connections are reset.
    Reset = "reset" { Actor::Link, ONCE, ON_CONTROLLED, weight 1,
        |draw| LinkFault::Reset {}.to(draw.gateway) }
    /// Dials are refused.
    RefuseDials = "refuse-dials" { Actor::Link, LASTS, EVERYWHERE, weight 1,
        |draw| LinkFault::RefuseDials { for_ms: draw.for_ms }.to(draw.gateway) }
    /// Dials are never answered.
    IgnoreDials = "ignore-dials" { Actor::Link, LASTS, EVERYWHERE, weight 1,
        |draw| LinkFault::IgnoreDials { for_ms: draw.for_ms }.to(draw.gateway) }
    /// Dials succeed and the upgrade is never answered.
    IgnoreUpgrades = "ignore-upgrades" { Actor::Link, LASTS, EVERYWHERE, weight 1,
        |draw| LinkFault::IgnoreUpgrades { for_ms: draw.for_ms }.to(draw.gateway) }
    /// The client's close frames are never answered.
    IgnoreCloses = "ignore-closes" { Actor::Link, LASTS, EVERYWHERE, weight 1,
        |draw| LinkFault::IgnoreCloses { for_ms: draw.for_ms }.to(draw.gateway) }
    /// The client's close frames are answered late.
    LateCloses = "late-closes" { Actor::Link, LASTS, EVERYWHERE, weight 1,
        |draw| LinkFault::LateCloses { by_ms: draw.rng.log_between(1, 2_000), for_ms: draw.for_ms }.to(draw.gateway) }
    /// Bytes come in other pieces, or slowly.
    Bytes = "bytes" { Actor::Link, LASTS, ON_STREAM, weight 1,
        bytes }
    /// The client's process does not run.
    Suspend = "suspend" { Actor::Machine, LASTS, EVERYWHERE, weight 2,
        |draw| ProcessFault::Suspend { for_ms: draw.rng.log_between(10, 20_000) }.into() }
    /// A gateway changes its token.
    TokenChange = "token-change" { Actor::Gateway, ONCE, EVERYWHERE, weight 3,
        |draw| GatewayAction::ChangeToken { token: (draw.new_token)(draw.gateway) }.of(draw.gateway) }
    /// A gateway closes its connections.
    Close = "close" { Actor::Gateway, ONCE, EVERYWHERE, weight 3,
        close }
    /// A gateway drops its connections.
    Terminate = "terminate" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| GatewayAction::Terminate {}.of(draw.gateway) }
    /// A gateway rejects a pairing.
    RejectPairing = "reject-pairing" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| GatewayAction::RejectPairing {}.of(draw.gateway) }
    /// A gateway replaces its device tokens.
    RotateTokens = "rotate-tokens" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| GatewayAction::RotateTokens {}.of(draw.gateway) }
    /// A gateway forgets its devices.
    RevokeDevices = "revoke-devices" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| GatewayAction::RevokeDevices {}.of(draw.gateway) }
    /// A gateway loses events.
    DropEvent = "drop-event" { Actor::Gateway, ONCE, EVERYWHERE, weight 3,
        drop_event }
    /// No challenge.
    NoChallenge = "no-challenge" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| handshake(draw, |_, _| HandshakeFault::NoChallenge) }
    /// The challenge comes late.
    LateChallenge = "late-challenge" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| handshake(draw, |_, by| HandshakeFault::LateChallenge { by }) }
    /// The challenge has no nonce.
    BadChallenge = "bad-challenge" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| handshake(draw, |_, _| HandshakeFault::ChallengeWithoutNonce) }
    /// No hello.
    NoHello = "no-hello" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| handshake(draw, |_, _| HandshakeFault::NoHello) }
    /// The hello comes late.
    LateHello = "late-hello" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| handshake(draw, |_, by| HandshakeFault::LateHello { by }) }
    /// Events come before hello.
    EarlyEvents = "early-events" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| handshake(draw, |rng, _| HandshakeFault::EarlyEvents { count: small(rng.log_between(1, 12)) }) }
    /// A close soon after hello.
    KickAfterHello = "kick-after-hello" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| handshake(draw, kick_after_hello) }
    /// The connection is dropped soon after hello.
    DropAfterHello = "drop-after-hello" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| handshake(draw, |_, by| HandshakeFault::TerminateAfterHello { after: by }) }
    /// The connection is dropped instead of a hello.
    DropBeforeHello = "drop-before-hello" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| handshake(draw, |_, _| HandshakeFault::TerminateBeforeHello) }
    /// The connect is refused without a reason.
    Reject = "reject" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| handshake(draw, |rng, _| HandshakeFault::Reject(rejection(rng))) }
    /// The connect is refused as during startup.
    Startup = "startup" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| handshake(draw, |_, _| HandshakeFault::Startup) }
    /// The connect is refused as during a drain.
    Draining = "draining" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| handshake(draw, |_, _| HandshakeFault::Draining) }
    /// The answer to the connect is no hello.
    BadHello = "bad-hello" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| handshake(draw, |rng, _| HandshakeFault::Payload { payload: (*rng.pick(&HELLOS)).into() }) }
    /// The answer to the connect has another id.
    WrongHelloId = "wrong-hello-id" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| handshake(draw, |_, _| HandshakeFault::WrongId { id: "other".to_owned() }) }
    /// No ticks.
    StarveTicks = "starve-ticks" { Actor::Gateway, LASTS, EVERYWHERE, weight 1,
        |draw| misbehave(draw, |draw, _| Misbehave::StarveTicks { lasting: lasting(draw) }) }
    /// No pings.
    StarvePings = "starve-pings" { Actor::Gateway, LASTS, EVERYWHERE, weight 1,
        |draw| misbehave(draw, |draw, _| Misbehave::StarvePings { lasting: lasting(draw) }) }
    /// An event comes twice.
    RepeatEvent = "repeat-event" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| misbehave(draw, |_, _| Misbehave::RepeatLastEvent) }
    /// An event has an old number.
    OlderEvent = "older-event" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| misbehave(draw, |draw, _| Misbehave::OlderEvent { by: draw.rng.log_between(1, 20) }) }
    /// Numbers are left out.
    SkipSequence = "skip-sequence" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| misbehave(draw, |draw, _| Misbehave::SkipSequence { by: draw.rng.log_between(1, 1_000) }) }
    /// Text that is no frame.
    StrayText = "stray-text" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| misbehave(draw, |draw, _| Misbehave::Text { text: (*draw.rng.pick(&TEXTS)).into() }) }
    /// A binary message.
    Binary = "binary" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| misbehave(draw, binary) }
    /// A very long message.
    Giant = "giant" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| misbehave(draw, |draw, _| Misbehave::Giant { bytes: small(draw.rng.log_between(1_000, 200_000)) }) }
    /// An event that no client knows.
    UnknownEvent = "unknown-event" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| misbehave(draw, |_, _| Misbehave::UnknownEvent) }
    /// Responses have fields that no client knows.
    ExtraFields = "extra-fields" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| misbehave(draw, |_, count| Misbehave::ExtraFields { count }) }
    /// A response has a number for an id.
    NumericId = "numeric-id" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| misbehave(draw, |_, _| Misbehave::NumericId) }
    /// A response that nobody waits for.
    ForeignResponse = "foreign-response" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| misbehave(draw, |_, _| Misbehave::ForeignResponse { id: "0000abcd-1".to_owned() }) }
    /// A response comes twice.
    RepeatResponse = "repeat-response" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| misbehave(draw, |_, _| Misbehave::RepeatLastResponse) }
    /// Responses never come.
    WithholdResponses = "withhold-responses" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| misbehave(draw, |_, count| Misbehave::WithholdResponses { count }) }
    /// Responses come late.
    DelayResponses = "delay-responses" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| misbehave(draw, |draw, count| Misbehave::DelayResponses { count, by: lasting(draw) }) }
    /// Requests are refused for lack of capacity.
    RefuseCapacity = "refuse-capacity" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| misbehave(draw, |_, count| Misbehave::RefuseCapacity { count }) }
    /// Requests fail.
    FailRequests = "fail-requests" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| misbehave(draw, |draw, count| Misbehave::FailRequests { count, error: rejection(draw.rng) }) }
    /// Upgrades are refused.
    RefuseUpgrades = "refuse-upgrades" { Actor::Gateway, LASTS, EVERYWHERE, weight 1,
        |draw| misbehave(draw, |draw, _| Misbehave::RefuseUpgrades { lasting: lasting(draw) }) }
    /// The gateway's clock is set.
    SkewClock = "skew-clock" { Actor::Gateway, ONCE, EVERYWHERE, weight 1,
        |draw| misbehave(draw, skew_clock) }
}

impl Action {
    /// The class of the fault, if this is one.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::App(_) => None,
            Self::Gateway { order, .. } => order.fault(),
            Self::Link { fault, .. } => Some(fault.fault()),
            Self::Process(ProcessFault::Suspend { .. }) => Some(Fault::Suspend),
        }
    }
}

impl GatewayAction {
    /// The class of the fault, if this is one.
    fn fault(&self) -> Option<Fault> {
        Some(match self {
            Self::Restart { crash: false, .. } => Fault::Restart,
            Self::Restart { crash: true, .. } => Fault::Crash,
            Self::Stop {} => Fault::Stop,
            Self::ChangeToken { .. } => Fault::TokenChange,
            Self::Close { .. } => Fault::Close,
            Self::Terminate {} => Fault::Terminate,
            Self::DropEvent {} => Fault::DropEvent,
            Self::RejectPairing {} => Fault::RejectPairing,
            Self::RotateTokens {} => Fault::RotateTokens,
            Self::RevokeDevices {} => Fault::RevokeDevices,
            Self::Misbehave { how } => return Fault::of_misbehaviour(how),
            Self::Emit { .. } | Self::Start {} | Self::ApprovePairing {} => return None,
        })
    }
}

impl LinkFault {
    /// The class of the fault.
    fn fault(&self) -> Fault {
        match self {
            Self::Partition { .. } => Fault::Partition,
            Self::Lose { direction: Direction::ToGateway, .. } => Fault::LoseToGateway,
            Self::Lose { direction: Direction::ToClient, .. } => Fault::LoseToClient,
            Self::HalfOpen {} => Fault::HalfOpen,
            Self::Blip { .. } => Fault::Blip,
            Self::Stall { direction: Direction::ToGateway, .. } => Fault::StallToGateway,
            Self::Stall { direction: Direction::ToClient, .. } => Fault::StallToClient,
            Self::Delay { .. } => Fault::Delay,
            Self::Bufferbloat { .. } => Fault::Bufferbloat,
            Self::Reset {} => Fault::Reset,
            Self::RefuseDials { .. } => Fault::RefuseDials,
            Self::IgnoreDials { .. } => Fault::IgnoreDials,
            Self::IgnoreUpgrades { .. } => Fault::IgnoreUpgrades,
            Self::IgnoreCloses { .. } => Fault::IgnoreCloses,
            Self::LateCloses { .. } => Fault::LateCloses,
            Self::Bytes { .. } => Fault::Bytes,
        }
    }
}

impl Fault {
    /// The class of a misbehaviour; behaving is none.
    #[must_use]
    pub fn of_misbehaviour(how: &Misbehave) -> Option<Self> {
        Some(match how {
            Misbehave::Handshake { fault, .. } => Self::of_handshake(fault),
            Misbehave::StarveTicks { .. } => Self::StarveTicks,
            Misbehave::StarvePings { .. } => Self::StarvePings,
            Misbehave::SkewClock { .. } => Self::SkewClock,
            Misbehave::DropEvents { .. } => Self::DropEvent,
            Misbehave::RepeatLastEvent => Self::RepeatEvent,
            Misbehave::OlderEvent { .. } => Self::OlderEvent,
            Misbehave::SkipSequence { .. } => Self::SkipSequence,
            Misbehave::Text { .. } => Self::StrayText,
            Misbehave::Binary { .. } => Self::Binary,
            Misbehave::Giant { .. } => Self::Giant,
            Misbehave::UnknownEvent => Self::UnknownEvent,
            Misbehave::ExtraFields { .. } => Self::ExtraFields,
            Misbehave::NumericId => Self::NumericId,
            Misbehave::ForeignResponse { .. } => Self::ForeignResponse,
            Misbehave::RepeatLastResponse => Self::RepeatResponse,
            Misbehave::WithholdResponses { .. } => Self::WithholdResponses,
            Misbehave::DelayResponses { .. } => Self::DelayResponses,
            Misbehave::RefuseCapacity { .. } => Self::RefuseCapacity,
            Misbehave::FailRequests { .. } => Self::FailRequests,
            Misbehave::RefuseUpgrades { .. } => Self::RefuseUpgrades,
            Misbehave::Behave => return None,
        })
    }

    fn of_handshake(fault: &HandshakeFault) -> Self {
        match fault {
            HandshakeFault::NoChallenge => Self::NoChallenge,
            HandshakeFault::LateChallenge { .. } => Self::LateChallenge,
            HandshakeFault::ChallengeWithoutNonce => Self::BadChallenge,
            HandshakeFault::NoHello => Self::NoHello,
            HandshakeFault::LateHello { .. } => Self::LateHello,
            HandshakeFault::EarlyEvents { .. } => Self::EarlyEvents,
            HandshakeFault::KickAfterHello { .. } => Self::KickAfterHello,
            HandshakeFault::TerminateAfterHello { .. } => Self::DropAfterHello,
            HandshakeFault::TerminateBeforeHello => Self::DropBeforeHello,
            HandshakeFault::Reject(_) => Self::Reject,
            HandshakeFault::Startup => Self::Startup,
            HandshakeFault::Draining => Self::Draining,
            HandshakeFault::Payload { .. } => Self::BadHello,
            HandshakeFault::WrongId { .. } => Self::WrongHelloId,
        }
    }

    /// Whether it goes on for a while and then ends.
    #[must_use]
    pub fn lasts(self) -> bool {
        self.row().lasts
    }

    /// Whether it is one of the path between client and gateway.
    #[must_use]
    pub fn is_of_link(self) -> bool {
        self.row().actor == Actor::Link
    }

    /// Whether `tier` can do to the client what it says.
    #[must_use]
    pub fn applies_to(self, tier: Tier) -> bool {
        self.row().tiers.contains(&tier)
    }

    /// The tiers that can carry it out.
    #[must_use]
    pub fn tiers(self) -> &'static [Tier] {
        self.row().tiers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::plan::Plan;

    #[test]
    fn every_row_draws_what_it_is_and_what_lasts_as_it_says() {
        for fault in Fault::ALL.iter().copied() {
            for seed in 0..20 {
                let mut new_token = |gateway| format!("token-of-{gateway}");
                let mut rng = Rng::new(seed, fault.name());
                let action = (fault.row().draw)(&mut FaultDraw::new(1, &mut rng, &mut new_token));
                assert_eq!(action.fault(), Some(fault), "{action:?}");
                assert_eq!(action.lasts_ms().is_some(), fault.lasts(), "{action:?}");
                assert_eq!(action.actor(), fault.row().actor, "{action:?}");
                let plan = Plan::new(1).at(1, action);
                assert_eq!(Plan::parse(&plan.to_text()), Ok(plan), "{}", fault.name());
            }
        }
    }
}
