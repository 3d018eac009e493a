//! How faults are drawn.
//!
//! Every class draws from a stream of its own, in an order that stays: the length first, then what its kind has in
//! common, then what is its own.

use std::time::Duration;

use crate::base::rng::Rng;
use crate::plan::{Action, GatewayAction, LinkFault};
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
pub(super) const TEXTS: [&str; 6] =
    ["", "{", "null", "[]", r#"{"type":"event"}"#, r#"{"type":"res","id":7,"ok":true}"#];
/// Answers to a connect that are no hello.
pub(super) const HELLOS: [&str; 4] =
    ["null", "{}", r#"{"type":"hello-no"}"#, r#"{"type":"hello-ok","protocol":9}"#];

/// What a fault is drawn from.
pub(crate) struct FaultDraw<'a> {
    pub(crate) gateway: u8,
    /// How long it goes on, if it goes on.
    pub(crate) for_ms: u64,
    pub(crate) rng: &'a mut Rng,
    /// The token that the gateway has from now on.
    pub(crate) new_token: &'a mut dyn FnMut(u8) -> String,
}

impl<'a> FaultDraw<'a> {
    pub(crate) fn new(gateway: u8, rng: &'a mut Rng, new_token: &'a mut dyn FnMut(u8) -> String) -> Self {
        Self { gateway, for_ms: rng.log_between(10, 12_000), rng, new_token }
    }
}

pub(super) fn restart(draw: &mut FaultDraw<'_>, crash: bool) -> Action {
    GatewayAction::Restart { down_ms: draw.rng.log_between(10, 8_000), crash }.of(draw.gateway)
}

pub(super) fn close(draw: &mut FaultDraw<'_>) -> Action {
    let (code, reason) = *draw.rng.pick(&CLOSES);
    GatewayAction::Close { code, reason: reason.to_owned() }.of(draw.gateway)
}

/// The next event alone, or several.
pub(super) fn drop_event(draw: &mut FaultDraw<'_>) -> Action {
    if draw.rng.chance(50) {
        return GatewayAction::DropEvent {}.of(draw.gateway);
    }
    misbehave(draw, |_, count| Misbehave::DropEvents { count })
}

pub(super) fn bytes(draw: &mut FaultDraw<'_>) -> Action {
    let rng = &mut *draw.rng;
    let chop = if rng.chance(70) { small(rng.log_between(1, 64)) } else { 0 };
    let per_ms = if chop == 0 || rng.chance(30) { small(rng.log_between(2, 200)) } else { 0 };
    LinkFault::Bytes { chop, coalesce: rng.chance(50), per_ms, for_ms: draw.for_ms }.to(draw.gateway)
}

/// A deviation from the protocol, which is given how often it may happen.
pub(super) fn misbehave(
    draw: &mut FaultDraw<'_>,
    how: impl FnOnce(&mut FaultDraw<'_>, u32) -> Misbehave,
) -> Action {
    let count = small(draw.rng.log_between(1, 4));
    GatewayAction::Misbehave { how: how(draw, count) }.of(draw.gateway)
}

pub(super) fn skew_clock(draw: &mut FaultDraw<'_>, _: u32) -> Misbehave {
    // Of the age of a proof two minutes are granted, so that most of these are beyond it.
    let by_ms = i64::try_from(draw.rng.log_between(1_000, 86_400_000)).expect("a day is short");
    Misbehave::SkewClock { by_ms: if draw.rng.chance(50) { by_ms } else { -by_ms } }
}

pub(super) fn binary(draw: &mut FaultDraw<'_>, _: u32) -> Misbehave {
    let data = if draw.rng.chance(50) { vec![0xff, 0xfe, 0] } else { b"{\"type\":\"event\"".to_vec() };
    Misbehave::Binary { data }
}

/// A handshake that goes wrong, which is given how late.
pub(super) fn handshake(
    draw: &mut FaultDraw<'_>,
    fault: impl FnOnce(&mut Rng, Duration) -> HandshakeFault,
) -> Action {
    misbehave(draw, |draw, count| {
        let by = Duration::from_millis(draw.rng.log_between(10, 5_000));
        Misbehave::Handshake { count, fault: fault(draw.rng, by) }
    })
}

pub(super) fn kick_after_hello(rng: &mut Rng, after: Duration) -> HandshakeFault {
    let (code, reason) = *rng.pick(&CLOSES);
    HandshakeFault::KickAfterHello { after, code, reason: reason.to_owned() }
}

pub(super) fn lasting(draw: &FaultDraw<'_>) -> Duration {
    Duration::from_millis(draw.for_ms)
}

pub(super) fn rejection(rng: &mut Rng) -> Rejection {
    let close = (1008, "no".to_owned());
    Rejection {
        code: "UNAVAILABLE".to_owned(),
        message: "the plan says so".to_owned(),
        details: rng.chance(70).then(|| (*rng.pick(&REFUSALS)).to_owned()),
        retryable: rng.chance(50).then(|| rng.chance(50)),
        retry_after_ms: rng.chance(50).then(|| (*rng.pick(&RETRIES)).to_owned()),
        close: rng.chance(60).then_some(close),
    }
}

pub(super) fn small(number: u64) -> u32 {
    u32::try_from(number).expect("a small number")
}
