//! The classes of faults, by the names that reports use.

use crate::plan::Tier;
use onesocket_gateway::named;
use onesocket_gateway::{HandshakeFault, Misbehave};

named! {
    /// The classes of faults.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Fault {
        /// A gateway restarts and says so.
        Restart = "restart",
        /// A gateway dies and comes back.
        Crash = "crash",
        /// A gateway stops and stays down until it is started.
        Stop = "stop",
        /// A silent black hole.
        Partition = "partition",
        /// A silent black hole for what the client sends.
        LoseToGateway = "lose-to-gateway",
        /// A silent black hole for what the gateway sends.
        LoseToClient = "lose-to-client",
        /// The connections there are die without a word, and new ones work.
        HalfOpen = "half-open",
        /// A delay in which nothing arrives and nothing is lost.
        Blip = "blip",
        /// The same for what the client sends alone.
        StallToGateway = "stall-to-gateway",
        /// The same for what the gateway sends alone.
        StallToClient = "stall-to-client",
        /// Everything takes longer.
        Delay = "delay",
        /// Connections are reset.
        Reset = "reset",
        /// Dials are refused.
        RefuseDials = "refuse-dials",
        /// Dials are never answered.
        IgnoreDials = "ignore-dials",
        /// Dials succeed and the upgrade is never answered.
        IgnoreUpgrades = "ignore-upgrades",
        /// The client's close frames are never answered.
        IgnoreCloses = "ignore-closes",
        /// The client's close frames are answered late.
        LateCloses = "late-closes",
        /// Bytes come in other pieces, or slowly.
        Bytes = "bytes",
        /// The client's process does not run.
        Suspend = "suspend",
        /// A gateway changes its token.
        TokenChange = "token-change",
        /// A gateway closes its connections.
        Close = "close",
        /// A gateway drops its connections.
        Terminate = "terminate",
        /// A gateway rejects a pairing.
        RejectPairing = "reject-pairing",
        /// A gateway replaces its device tokens.
        RotateTokens = "rotate-tokens",
        /// A gateway forgets its devices.
        RevokeDevices = "revoke-devices",
        /// A gateway loses events.
        DropEvent = "drop-event",
        /// No challenge.
        NoChallenge = "no-challenge",
        /// The challenge comes late.
        LateChallenge = "late-challenge",
        /// The challenge has no nonce.
        BadChallenge = "bad-challenge",
        /// No hello.
        NoHello = "no-hello",
        /// The hello comes late.
        LateHello = "late-hello",
        /// A close soon after hello.
        KickAfterHello = "kick-after-hello",
        /// The connection is dropped soon after hello.
        DropAfterHello = "drop-after-hello",
        /// The connection is dropped instead of a hello.
        DropBeforeHello = "drop-before-hello",
        /// The connect is refused without a reason.
        Reject = "reject",
        /// The connect is refused as during startup.
        Startup = "startup",
        /// The connect is refused as during a drain.
        Draining = "draining",
        /// The answer to the connect is no hello.
        BadHello = "bad-hello",
        /// The answer to the connect has another id.
        WrongHelloId = "wrong-hello-id",
        /// No ticks.
        StarveTicks = "starve-ticks",
        /// No pings.
        StarvePings = "starve-pings",
        /// An event comes twice.
        RepeatEvent = "repeat-event",
        /// An event has an old number.
        OlderEvent = "older-event",
        /// Numbers are left out.
        SkipSequence = "skip-sequence",
        /// Text that is no frame.
        StrayText = "stray-text",
        /// A binary message.
        Binary = "binary",
        /// A very long message.
        Giant = "giant",
        /// An event that no client knows.
        UnknownEvent = "unknown-event",
        /// Responses have fields that no client knows.
        ExtraFields = "extra-fields",
        /// A response has a number for an id.
        NumericId = "numeric-id",
        /// A response that nobody waits for.
        ForeignResponse = "foreign-response",
        /// A response comes twice.
        RepeatResponse = "repeat-response",
        /// Responses never come.
        WithholdResponses = "withhold-responses",
        /// Responses come late.
        DelayResponses = "delay-responses",
        /// Requests are refused for lack of capacity.
        RefuseCapacity = "refuse-capacity",
        /// Requests fail.
        FailRequests = "fail-requests",
        /// Upgrades are refused.
        RefuseUpgrades = "refuse-upgrades",
        /// The gateway's clock is set.
        SkewClock = "skew-clock",
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
        matches!(
            self,
            Self::Restart
                | Self::Crash
                | Self::Partition
                | Self::LoseToGateway
                | Self::LoseToClient
                | Self::Blip
                | Self::StallToGateway
                | Self::StallToClient
                | Self::Delay
                | Self::RefuseDials
                | Self::IgnoreDials
                | Self::IgnoreUpgrades
                | Self::IgnoreCloses
                | Self::LateCloses
                | Self::Bytes
                | Self::Suspend
                | Self::StarveTicks
                | Self::StarvePings
                | Self::RefuseUpgrades
        )
    }

    /// Whether it is one of the path between client and gateway.
    #[must_use]
    pub fn is_of_link(self) -> bool {
        matches!(
            self,
            Self::Partition
                | Self::LoseToGateway
                | Self::LoseToClient
                | Self::HalfOpen
                | Self::Blip
                | Self::StallToGateway
                | Self::StallToClient
                | Self::Delay
                | Self::Reset
                | Self::RefuseDials
                | Self::IgnoreDials
                | Self::IgnoreUpgrades
                | Self::IgnoreCloses
                | Self::LateCloses
                | Self::Bytes
        )
    }

    /// Whether it does to the client on `tier` what it says. Where it does not, it is in the trace and nothing
    /// happens:
    ///
    /// - whole messages travel on `machine`, so nothing can become of their bytes;
    /// - turmoil knows no stalls of one direction, latencies that change, resets, connections that die while
    ///   nothing is on its way, and pieces of writes.
    #[must_use]
    pub fn applies_to(self, tier: Tier) -> bool {
        match tier {
            Tier::Machine => self != Self::Bytes,
            Tier::Stream => true,
            Tier::Turmoil => !matches!(
                self,
                Self::Bytes
                    | Self::StallToGateway
                    | Self::StallToClient
                    | Self::Delay
                    | Self::Reset
                    | Self::HalfOpen
            ),
        }
    }
}
