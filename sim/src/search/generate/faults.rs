//! What a fault of each class looks like.

use std::time::Duration;

use super::Generator;
use crate::base::rng::Rng;
use crate::pipe::Direction;
use crate::plan::{Action, Fault, GatewayAction, LinkFault, ProcessFault};
use onesocket_gateway::{HandshakeFault, Misbehave, Rejection};

/// Codes that gateways close with.
const CLOSES: [(u16, &str); 5] = [
    (1012, "service restart"),
    (1008, "slow consumer"),
    (1000, ""),
    (1013, "gateway starting"),
    (4001, "gateway auth changed"),
];
/// Details of refusals: some are for a person, some for a retry.
const REFUSALS: [&str; 6] = [
    r#"{"code":"AUTH_RATE_LIMITED"}"#,
    r#"{"code":"PAIRING_REQUIRED","requestId":"r-1"}"#,
    r#"{"code":"PAIRING_REQUIRED","recommendedNextStep":"wait_then_retry"}"#,
    r#"{"code":"PROTOCOL_MISMATCH"}"#,
    r#"{"code":"NO_SUCH_CODE"}"#,
    "7",
];
/// Wishes for the next dial, absurd ones included.
const RETRIES: [&str; 6] = ["250", "3000", "1e300", "-5", "\"soon\"", "0"];
/// Messages that no client can use.
const TEXTS: [&str; 6] = ["", "{", "null", "[]", r#"{"type":"event"}"#, r#"{"type":"res","id":7,"ok":true}"#];
/// Answers to a connect that are no hello.
const HELLOS: [&str; 4] = ["null", "{}", r#"{"type":"hello-no"}"#, r#"{"type":"hello-ok","protocol":9}"#];

/// How often a class is drawn compared with others: what happens in every life, and to everything in it, more often
/// than what a gateway hardly ever does.
pub(super) fn weight(fault: Fault) -> u64 {
    match fault {
        Fault::Restart
        | Fault::Crash
        | Fault::Partition
        | Fault::Blip
        | Fault::TokenChange
        | Fault::Close
        | Fault::DropEvent => 3,
        Fault::Suspend | Fault::HalfOpen => 2,
        Fault::Stop
        | Fault::LoseToGateway
        | Fault::LoseToClient
        | Fault::StallToGateway
        | Fault::StallToClient
        | Fault::Delay
        | Fault::Reset
        | Fault::RefuseDials
        | Fault::IgnoreDials
        | Fault::IgnoreUpgrades
        | Fault::IgnoreCloses
        | Fault::LateCloses
        | Fault::Bytes
        | Fault::Terminate
        | Fault::RejectPairing
        | Fault::RotateTokens
        | Fault::RevokeDevices
        | Fault::NoChallenge
        | Fault::LateChallenge
        | Fault::BadChallenge
        | Fault::NoHello
        | Fault::LateHello
        | Fault::KickAfterHello
        | Fault::DropAfterHello
        | Fault::DropBeforeHello
        | Fault::Reject
        | Fault::Startup
        | Fault::Draining
        | Fault::BadHello
        | Fault::WrongHelloId
        | Fault::StarveTicks
        | Fault::StarvePings
        | Fault::SkewClock
        | Fault::RepeatEvent
        | Fault::OlderEvent
        | Fault::SkipSequence
        | Fault::StrayText
        | Fault::Binary
        | Fault::Giant
        | Fault::UnknownEvent
        | Fault::ExtraFields
        | Fault::NumericId
        | Fault::ForeignResponse
        | Fault::RepeatResponse
        | Fault::WithholdResponses
        | Fault::DelayResponses
        | Fault::RefuseCapacity
        | Fault::FailRequests
        | Fault::RefuseUpgrades => 1,
    }
}

impl Generator {
    /// A fault of this class.
    pub(super) fn fault(&mut self, fault: Fault, gateway: u8, at_ms: u64, draw: &mut Rng) -> Action {
        let for_ms = draw.log_between(10, 12_000);
        match fault {
            Fault::Restart => Action::Gateway {
                gateway,
                order: GatewayAction::Restart { down_ms: draw.log_between(10, 8_000), crash: false },
            },
            Fault::Crash => Action::Gateway {
                gateway,
                order: GatewayAction::Restart { down_ms: draw.log_between(10, 8_000), crash: true },
            },
            Fault::Stop => Action::Gateway { gateway, order: GatewayAction::Stop {} },
            Fault::Partition => Action::Link { gateway, fault: LinkFault::Partition { for_ms } },
            Fault::LoseToGateway => {
                Action::Link { gateway, fault: LinkFault::Lose { direction: Direction::ToGateway, for_ms } }
            }
            Fault::LoseToClient => {
                Action::Link { gateway, fault: LinkFault::Lose { direction: Direction::ToClient, for_ms } }
            }
            Fault::HalfOpen => Action::Link { gateway, fault: LinkFault::HalfOpen {} },
            Fault::Blip => Action::Link { gateway, fault: LinkFault::Blip { for_ms } },
            Fault::StallToGateway => {
                Action::Link { gateway, fault: LinkFault::Stall { direction: Direction::ToGateway, for_ms } }
            }
            Fault::StallToClient => {
                Action::Link { gateway, fault: LinkFault::Stall { direction: Direction::ToClient, for_ms } }
            }
            Fault::Delay => Action::Link {
                gateway,
                fault: LinkFault::Delay { by_ms: draw.log_between(5, 3_000), for_ms },
            },
            Fault::Reset => Action::Link { gateway, fault: LinkFault::Reset {} },
            Fault::RefuseDials => Action::Link { gateway, fault: LinkFault::RefuseDials { for_ms } },
            Fault::IgnoreDials => Action::Link { gateway, fault: LinkFault::IgnoreDials { for_ms } },
            Fault::IgnoreUpgrades => Action::Link { gateway, fault: LinkFault::IgnoreUpgrades { for_ms } },
            Fault::IgnoreCloses => Action::Link { gateway, fault: LinkFault::IgnoreCloses { for_ms } },
            Fault::LateCloses => Action::Link {
                gateway,
                fault: LinkFault::LateCloses { by_ms: draw.log_between(1, 2_000), for_ms },
            },
            Fault::Bytes => bytes(gateway, for_ms, draw),
            Fault::Suspend => Action::Process(ProcessFault::Suspend { for_ms: draw.log_between(10, 20_000) }),
            Fault::TokenChange => Action::Gateway {
                gateway,
                order: GatewayAction::ChangeToken { token: self.new_token(gateway, at_ms) },
            },
            Fault::Close => {
                let (code, reason) = *draw.pick(&CLOSES);
                Action::Gateway { gateway, order: GatewayAction::Close { code, reason: reason.to_owned() } }
            }
            Fault::Terminate => Action::Gateway { gateway, order: GatewayAction::Terminate {} },
            Fault::RejectPairing => Action::Gateway { gateway, order: GatewayAction::RejectPairing {} },
            Fault::RotateTokens => Action::Gateway { gateway, order: GatewayAction::RotateTokens {} },
            Fault::RevokeDevices => Action::Gateway { gateway, order: GatewayAction::RevokeDevices {} },
            Fault::DropEvent if draw.chance(50) => {
                Action::Gateway { gateway, order: GatewayAction::DropEvent {} }
            }
            Fault::DropEvent
            | Fault::NoChallenge
            | Fault::LateChallenge
            | Fault::BadChallenge
            | Fault::NoHello
            | Fault::LateHello
            | Fault::KickAfterHello
            | Fault::DropAfterHello
            | Fault::DropBeforeHello
            | Fault::Reject
            | Fault::Startup
            | Fault::Draining
            | Fault::BadHello
            | Fault::WrongHelloId
            | Fault::StarveTicks
            | Fault::StarvePings
            | Fault::SkewClock
            | Fault::RepeatEvent
            | Fault::OlderEvent
            | Fault::SkipSequence
            | Fault::StrayText
            | Fault::Binary
            | Fault::Giant
            | Fault::UnknownEvent
            | Fault::ExtraFields
            | Fault::NumericId
            | Fault::ForeignResponse
            | Fault::RepeatResponse
            | Fault::WithholdResponses
            | Fault::DelayResponses
            | Fault::RefuseCapacity
            | Fault::FailRequests
            | Fault::RefuseUpgrades => Action::Gateway {
                gateway,
                order: GatewayAction::Misbehave { how: misbehaviour(fault, for_ms, draw) },
            },
        }
    }
}

fn bytes(gateway: u8, for_ms: u64, draw: &mut Rng) -> Action {
    let chop = if draw.chance(70) { small(draw.log_between(1, 64)) } else { 0 };
    let per_ms = if chop == 0 || draw.chance(30) { small(draw.log_between(2, 200)) } else { 0 };
    Action::Link { gateway, fault: LinkFault::Bytes { chop, coalesce: draw.chance(50), per_ms, for_ms } }
}

/// The rest of the classes, as far as they are misbehaviours.
fn misbehaviour(fault: Fault, for_ms: u64, draw: &mut Rng) -> Misbehave {
    let count = small(draw.log_between(1, 4));
    let lasting = Duration::from_millis(for_ms);
    match fault {
        Fault::StarveTicks => Misbehave::StarveTicks { lasting },
        Fault::StarvePings => Misbehave::StarvePings { lasting },
        Fault::SkewClock => {
            // Of the age of a proof two minutes are granted, so that most of these are beyond it.
            let by_ms = i64::try_from(draw.log_between(1_000, 86_400_000)).expect("a day is short");
            Misbehave::SkewClock { by_ms: if draw.chance(50) { by_ms } else { -by_ms } }
        }
        Fault::DropEvent => Misbehave::DropEvents { count },
        Fault::RepeatEvent => Misbehave::RepeatLastEvent,
        Fault::OlderEvent => Misbehave::OlderEvent { by: draw.log_between(1, 20) },
        Fault::SkipSequence => Misbehave::SkipSequence { by: draw.log_between(1, 1_000) },
        Fault::StrayText => Misbehave::Text { text: (*draw.pick(&TEXTS)).into() },
        Fault::Binary => {
            let data = if draw.chance(50) { vec![0xff, 0xfe, 0] } else { b"{\"type\":\"event\"".to_vec() };
            Misbehave::Binary { data }
        }
        Fault::Giant => Misbehave::Giant { bytes: small(draw.log_between(1_000, 200_000)) },
        Fault::UnknownEvent => Misbehave::UnknownEvent,
        Fault::ExtraFields => Misbehave::ExtraFields { count },
        Fault::NumericId => Misbehave::NumericId,
        Fault::ForeignResponse => Misbehave::ForeignResponse { id: "0000abcd-1".to_owned() },
        Fault::RepeatResponse => Misbehave::RepeatLastResponse,
        Fault::WithholdResponses => Misbehave::WithholdResponses { count },
        Fault::DelayResponses => Misbehave::DelayResponses { count, by: lasting },
        Fault::RefuseCapacity => Misbehave::RefuseCapacity { count },
        Fault::FailRequests => Misbehave::FailRequests { count, error: rejection(draw) },
        Fault::RefuseUpgrades => Misbehave::RefuseUpgrades { lasting },
        Fault::NoChallenge
        | Fault::LateChallenge
        | Fault::BadChallenge
        | Fault::NoHello
        | Fault::LateHello
        | Fault::KickAfterHello
        | Fault::DropAfterHello
        | Fault::DropBeforeHello
        | Fault::Reject
        | Fault::Startup
        | Fault::Draining
        | Fault::BadHello
        | Fault::WrongHelloId => Misbehave::Handshake { count, fault: handshake(fault, draw) },
        Fault::Restart
        | Fault::Crash
        | Fault::Stop
        | Fault::Partition
        | Fault::LoseToGateway
        | Fault::LoseToClient
        | Fault::HalfOpen
        | Fault::Blip
        | Fault::StallToGateway
        | Fault::StallToClient
        | Fault::Delay
        | Fault::Reset
        | Fault::RefuseDials
        | Fault::IgnoreDials
        | Fault::IgnoreUpgrades
        | Fault::IgnoreCloses
        | Fault::LateCloses
        | Fault::Bytes
        | Fault::Suspend
        | Fault::TokenChange
        | Fault::Close
        | Fault::Terminate
        | Fault::RejectPairing
        | Fault::RotateTokens
        | Fault::RevokeDevices => {
            unreachable!("{} is no misbehaviour", fault.name())
        }
    }
}

fn handshake(fault: Fault, draw: &mut Rng) -> HandshakeFault {
    let by = Duration::from_millis(draw.log_between(10, 5_000));
    match fault {
        Fault::NoChallenge => HandshakeFault::NoChallenge,
        Fault::LateChallenge => HandshakeFault::LateChallenge { by },
        Fault::BadChallenge => HandshakeFault::ChallengeWithoutNonce,
        Fault::NoHello => HandshakeFault::NoHello,
        Fault::LateHello => HandshakeFault::LateHello { by },
        Fault::KickAfterHello => {
            let (code, reason) = *draw.pick(&CLOSES);
            HandshakeFault::KickAfterHello { after: by, code, reason: reason.to_owned() }
        }
        Fault::DropAfterHello => HandshakeFault::TerminateAfterHello { after: by },
        Fault::DropBeforeHello => HandshakeFault::TerminateBeforeHello,
        Fault::Reject => HandshakeFault::Reject(rejection(draw)),
        Fault::Startup => HandshakeFault::Startup,
        Fault::Draining => HandshakeFault::Draining,
        Fault::BadHello => HandshakeFault::Payload { payload: (*draw.pick(&HELLOS)).into() },
        Fault::WrongHelloId => HandshakeFault::WrongId { id: "other".to_owned() },
        Fault::Restart
        | Fault::Crash
        | Fault::Stop
        | Fault::Partition
        | Fault::LoseToGateway
        | Fault::LoseToClient
        | Fault::HalfOpen
        | Fault::Blip
        | Fault::StallToGateway
        | Fault::StallToClient
        | Fault::Delay
        | Fault::Reset
        | Fault::RefuseDials
        | Fault::IgnoreDials
        | Fault::IgnoreUpgrades
        | Fault::IgnoreCloses
        | Fault::LateCloses
        | Fault::Bytes
        | Fault::Suspend
        | Fault::TokenChange
        | Fault::Close
        | Fault::Terminate
        | Fault::RejectPairing
        | Fault::RotateTokens
        | Fault::RevokeDevices
        | Fault::DropEvent
        | Fault::StarveTicks
        | Fault::StarvePings
        | Fault::SkewClock
        | Fault::RepeatEvent
        | Fault::OlderEvent
        | Fault::SkipSequence
        | Fault::StrayText
        | Fault::Binary
        | Fault::Giant
        | Fault::UnknownEvent
        | Fault::ExtraFields
        | Fault::NumericId
        | Fault::ForeignResponse
        | Fault::RepeatResponse
        | Fault::WithholdResponses
        | Fault::DelayResponses
        | Fault::RefuseCapacity
        | Fault::FailRequests
        | Fault::RefuseUpgrades => {
            unreachable!("{} spoils no handshake", fault.name())
        }
    }
}

fn rejection(draw: &mut Rng) -> Rejection {
    let close = (1008, "no".to_owned());
    Rejection {
        code: "UNAVAILABLE".to_owned(),
        message: "the plan says so".to_owned(),
        details: draw.chance(70).then(|| (*draw.pick(&REFUSALS)).to_owned()),
        retryable: draw.chance(50).then(|| draw.chance(50)),
        retry_after_ms: draw.chance(50).then(|| (*draw.pick(&RETRIES)).to_owned()),
        close: draw.chance(60).then_some(close),
    }
}

fn small(number: u64) -> u32 {
    u32::try_from(number).expect("a small number")
}
