//! `no_storm`: dials keep their distance.

use insta::assert_snapshot;
use onesocket::core::{Config, Connection, Effect, Input, Instant, Status};
use proptest::prelude::*;

use crate::history::check;
use crate::script::{Script, config, handshaking, script, unavailable};

/// B56: the first attempt is like any other.
#[test]
fn no_storm_refused_dials_wait_longer_and_longer() {
    let times = [0, 2_000, 5_000, 10_000, 20_000, 40_000, 80_000];
    let script = script().connect().attempts(1, times, Script::refused);
    assert_snapshot!(check(script), @r#"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
    0.000s dial 1 refused
      status: backoff after attempt 1 until 1.000s: dial failed: the connection was refused
    1.000s due
      dial 2 to a, attempt 2
    2.000s dial 2 refused
      status: backoff after attempt 2 until 4.000s: dial failed: the connection was refused
    4.000s due
      dial 3 to a, attempt 3
    5.000s dial 3 refused
      status: backoff after attempt 3 until 9.000s: dial failed: the connection was refused
    9.000s due
      dial 4 to a, attempt 4
    10.000s dial 4 refused
      status: backoff after attempt 4 until 18.000s: dial failed: the connection was refused
    18.000s due
      dial 5 to a, attempt 5
    20.000s dial 5 refused
      status: backoff after attempt 5 until 36.000s: dial failed: the connection was refused
    36.000s due
      dial 6 to a, attempt 6
    40.000s dial 6 refused
      status: backoff after attempt 6 until 70.000s: dial failed: the connection was refused
    70.000s due
      dial 7 to a, attempt 7
    80.000s due
      hang up 7 now: 1000 "dial timeout"
      status: backoff after attempt 7 until 110.000s: the gateway did not finish the Dial stage in time
    80.000s dial 7 refused
    end: next deadline 110.000s, 0 pending
    "#);
}

/// B48: a socket that opens proves nothing; a gateway that opens and rejects is waited for longer
/// and longer.
#[test]
fn no_storm_open_then_reject_grows() {
    let busy = r#"{"code":"UNAVAILABLE","message":"busy"}"#;
    let reject = |script: Script, epoch| script.challenged(epoch).refuse(epoch, busy);
    let script = script().connect().attempts(1, [0, 1_500, 4_000, 9_000], reject);
    assert_snapshot!(check(script), @r#"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
    0.000s opened 1
      status: handshaking 1
    0.000s challenge on 1
      transmit on 1: connect {"token":"token-a"}
    0.000s refusal {"code":"UNAVAILABLE","message":"busy"} on 1
      hang up 1 now: 1008 "connect failed"
      status: backoff after attempt 1 until 1.000s: the gateway refused to connect: UNAVAILABLE: busy
    1.000s due
      dial 2 to a, attempt 2
    1.500s opened 2
      status: handshaking 2
    1.500s challenge on 2
      transmit on 2: connect {"token":"token-a"}
    1.500s refusal {"code":"UNAVAILABLE","message":"busy"} on 2
      hang up 2 now: 1008 "connect failed"
      status: backoff after attempt 2 until 3.500s: the gateway refused to connect: UNAVAILABLE: busy
    3.500s due
      dial 3 to a, attempt 3
    4.000s opened 3
      status: handshaking 3
    4.000s challenge on 3
      transmit on 3: connect {"token":"token-a"}
    4.000s refusal {"code":"UNAVAILABLE","message":"busy"} on 3
      hang up 3 now: 1008 "connect failed"
      status: backoff after attempt 3 until 8.000s: the gateway refused to connect: UNAVAILABLE: busy
    8.000s due
      dial 4 to a, attempt 4
    9.000s opened 4
      status: handshaking 4
    9.000s challenge on 4
      transmit on 4: connect {"token":"token-a"}
    9.000s refusal {"code":"UNAVAILABLE","message":"busy"} on 4
      hang up 4 now: 1008 "connect failed"
      status: backoff after attempt 4 until 17.000s: the gateway refused to connect: UNAVAILABLE: busy
    end: next deadline 17.000s, 0 pending
    "#);
}

/// B48: nor does a hello that is followed by a kick.
#[test]
fn no_storm_hello_then_kick_grows() {
    let kick = |script: Script, epoch| script.ready(epoch).closed(epoch, 4001, "gateway auth changed");
    let script = script().connect().attempts(1, [0, 1_500, 4_000, 9_000], kick);
    assert_snapshot!(check(script), @r#"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
    0.000s handshake on 1
      status: ready 1
    0.000s closed 1 with 4001 "gateway auth changed"
      status: backoff after attempt 1 until 1.000s: the gateway closed the connection: 4001 "gateway auth changed"
    1.000s due
      dial 2 to a, attempt 2
    1.500s handshake on 2
      status: ready 2
    1.500s closed 2 with 4001 "gateway auth changed"
      status: backoff after attempt 2 until 3.500s: the gateway closed the connection: 4001 "gateway auth changed"
    3.500s due
      dial 3 to a, attempt 3
    4.000s handshake on 3
      status: ready 3
    4.000s closed 3 with 4001 "gateway auth changed"
      status: backoff after attempt 3 until 8.000s: the gateway closed the connection: 4001 "gateway auth changed"
    8.000s due
      dial 4 to a, attempt 4
    9.000s handshake on 4
      status: ready 4
    9.000s closed 4 with 4001 "gateway auth changed"
      status: backoff after attempt 4 until 17.000s: the gateway closed the connection: 4001 "gateway auth changed"
    end: next deadline 17.000s, 0 pending
    "#);
}

#[test]
fn no_storm_a_stable_connection_resets_the_waits() {
    let script = script()
        .connect()
        .refused(1)
        .at(1_500)
        .refused(2)
        .at(4_000)
        .ready(3)
        .outage(3, 33_999..40_000)
        .at(70_000)
        .lost(4);
    assert_snapshot!(check(script), @r"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
    0.000s dial 1 refused
      status: backoff after attempt 1 until 1.000s: dial failed: the connection was refused
    1.000s due
      dial 2 to a, attempt 2
    1.500s dial 2 refused
      status: backoff after attempt 2 until 3.500s: dial failed: the connection was refused
    3.500s due
      dial 3 to a, attempt 3
    4.000s handshake on 3
      status: ready 3
    33.999s lost 3
      status: backoff after attempt 3 until 37.999s: the connection was lost: reset
    37.999s due
      dial 4 to a, attempt 4
    40.000s handshake on 4
      status: ready 4
    70.000s lost 4
      status: backoff after attempt 1 until 71.000s: the connection was lost: reset
    end: next deadline 71.000s, 0 pending
    ");
}

/// B55: `retryAfterMs` lengthens one wait, and the next one is back on
/// schedule; one that is shorter than the wait changes nothing.
#[test]
fn no_storm_retry_after_is_a_floor() {
    let busy = |ms| unavailable("busy", ms);
    let script = handshaking().refuse(1, &busy(90_000));
    let script = script.at(90_100).challenged(2).refuse(2, &busy(1));
    let script = script.at(93_000).challenged(3).refuse(3, &busy(0));
    assert_snapshot!(check(script), @r#"
    0.000s refusal {"code":"UNAVAILABLE","message":"busy","retryable":true,"retryAfterMs":90000} on 1
      hang up 1 now: 1008 "connect failed"
      status: backoff after attempt 1 until 90.000s: the gateway refused to connect: UNAVAILABLE: busy
    90.000s due
      dial 2 to a, attempt 2
    90.100s opened 2
      status: handshaking 2
    90.100s challenge on 2
      transmit on 2: connect {"token":"token-a"}
    90.100s refusal {"code":"UNAVAILABLE","message":"busy","retryable":true,"retryAfterMs":1} on 2
      hang up 2 now: 1008 "connect failed"
      status: backoff after attempt 2 until 92.100s: the gateway refused to connect: UNAVAILABLE: busy
    92.100s due
      dial 3 to a, attempt 3
    93.000s opened 3
      status: handshaking 3
    93.000s challenge on 3
      transmit on 3: connect {"token":"token-a"}
    93.000s refusal {"code":"UNAVAILABLE","message":"busy","retryable":true,"retryAfterMs":0} on 3
      hang up 3 now: 1008 "connect failed"
      status: backoff after attempt 3 until 97.000s: the gateway refused to connect: UNAVAILABLE: busy
    end: next deadline 97.000s, 0 pending
    "#);
}

/// Peer behaviour 53: a gateway cannot send its clients away for ever.
#[test]
fn no_storm_an_absurd_retry_after_is_capped() {
    let absurd = unavailable("m", 9_007_199_254_740_991);
    assert_snapshot!(check(handshaking().refuse(1, &absurd)), @r#"
    0.000s refusal {"code":"UNAVAILABLE","message":"m","retryable":true,"retryAfterMs":9007199254740991} on 1
      hang up 1 now: 1008 "connect failed"
      status: backoff after attempt 1 until 600.000s: the gateway refused to connect: UNAVAILABLE: m
    end: next deadline 600.000s, 0 pending
    "#);
}

/// Options may ignore every `retryAfterMs`; the wait is then the backoff's own, not none.
#[test]
fn no_storm_a_low_retry_after_max_does_not_shorten_a_wait() {
    let script = script().options(|options| options.backoff.retry_after_max = std::time::Duration::ZERO);
    assert_snapshot!(check(script.connect().challenged(1).refuse(1, &unavailable("m", 90_000))), @r#"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
    0.000s opened 1
      status: handshaking 1
    0.000s challenge on 1
      transmit on 1: connect {"token":"token-a"}
    0.000s refusal {"code":"UNAVAILABLE","message":"m","retryable":true,"retryAfterMs":90000} on 1
      hang up 1 now: 1008 "connect failed"
      status: backoff after attempt 1 until 1.000s: the gateway refused to connect: UNAVAILABLE: m
    end: next deadline 1.000s, 0 pending
    "#);
}

/// Protocol 17.2: a gateway that is starting is asked again soon, and the attempt does not count.
#[test]
fn no_storm_a_starting_gateway_is_asked_again_soon() {
    let script =
        script().connect().refused(1).at(1_100).starting(2).at(1_700).starting(3).at(2_300).refused(4);
    assert_snapshot!(check(script), @r#"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
    0.000s dial 1 refused
      status: backoff after attempt 1 until 1.000s: dial failed: the connection was refused
    1.000s due
      dial 2 to a, attempt 2
    1.100s opened 2
      status: handshaking 2
    1.100s challenge on 2
      transmit on 2: connect {"token":"token-a"}
    1.100s refusal {"code":"UNAVAILABLE","message":"gateway starting","retryable":true,"retryAfterMs":500,"details":{"reason":"startup-sidecars"}} on 2
      hang up 2 now: 1008 "connect failed"
      status: backoff after attempt 1 until 1.600s: the gateway refused to connect: UNAVAILABLE: gateway starting
    1.600s due
      dial 3 to a, attempt 2
    1.700s opened 3
      status: handshaking 3
    1.700s challenge on 3
      transmit on 3: connect {"token":"token-a"}
    1.700s refusal {"code":"UNAVAILABLE","message":"gateway starting","retryable":true,"retryAfterMs":500,"details":{"reason":"startup-sidecars"}} on 3
      hang up 3 now: 1008 "connect failed"
      status: backoff after attempt 1 until 2.200s: the gateway refused to connect: UNAVAILABLE: gateway starting
    2.200s due
      dial 4 to a, attempt 2
    2.300s dial 4 refused
      status: backoff after attempt 2 until 4.300s: dial failed: the connection was refused
    end: next deadline 4.300s, 0 pending
    "#);
}

/// A gateway that never finishes starting is not asked twice a second for ever.
#[test]
fn no_storm_a_gateway_that_never_finishes_starting_meets_the_backoff() {
    let soon = (1..=20).map(|attempt| attempt * 600);
    let times = soon.chain([13_000, 15_000, 18_000, 23_000]);
    let script = script().connect().attempts(1, times, Script::starting);
    let history = check(script);
    let waits: Vec<&str> = history.lines().filter(|line| line.contains("status: backoff")).collect();
    assert_snapshot!(waits[18..].join("\n"), @r"
    status: backoff after attempt 0 until 11.900s: the gateway refused to connect: UNAVAILABLE: gateway starting
    status: backoff after attempt 0 until 12.500s: the gateway refused to connect: UNAVAILABLE: gateway starting
    status: backoff after attempt 1 until 14.000s: the gateway refused to connect: UNAVAILABLE: gateway starting
    status: backoff after attempt 2 until 17.000s: the gateway refused to connect: UNAVAILABLE: gateway starting
    status: backoff after attempt 3 until 22.000s: the gateway refused to connect: UNAVAILABLE: gateway starting
    status: backoff after attempt 4 until 31.000s: the gateway refused to connect: UNAVAILABLE: gateway starting
    ");
}

/// The waits of `attempts` refused dials in a row, in seconds.
fn waits(seed: u64, attempts: usize) -> Vec<f64> {
    let config: std::sync::Arc<Config> = config("a");
    let mut core = Connection::new(Some(config), onesocket::core::Options::default(), seed).unwrap();
    let mut now = Instant::ZERO;
    let mut waits = Vec::new();
    let mut effects = Vec::new();
    core.step(now, Input::Command(onesocket::core::Command::Connect), &mut effects);
    while waits.len() < attempts {
        core.step(now, Input::Timeout, &mut effects);
        let Some(Effect::Dial { epoch, .. }) =
            effects.drain(..).find(|effect| matches!(effect, Effect::Dial { .. }))
        else {
            panic!("a wait ends with a dial")
        };
        let error = onesocket::core::DialError::Refused;
        core.step(now, Input::DialFailed { epoch, error }, &mut effects);
        let Status::Backoff { until, .. } = core.status() else { panic!("a refused dial is retried") };
        waits.push(until.since(now).as_secs_f64());
        now = *until;
    }
    waits
}

proptest! {
    /// A21, A23: the waits lie in their envelope, whatever the seed.
    #[test]
    fn no_storm_waits_are_jittered_within_their_envelope(seed: u64) {
        for (index, wait) in waits(seed, 10).into_iter().enumerate() {
            let top = (1.2 * f64::from(1 << index)).min(30.0);
            prop_assert!(wait <= top && wait >= top / 1.2 - 1e-5, "wait {index} was {wait}");
        }
    }
}

/// A21: clients that lost the same gateway do not return in step.
#[test]
fn no_storm_a_fleet_spreads() {
    let mut firsts: Vec<f64> = (0..100).map(|seed| waits(seed, 1)[0]).collect();
    firsts.sort_by(f64::total_cmp);
    let together = firsts.windows(20).filter(|window| window[19] - window[0] < 0.01).count();
    assert_eq!(together, 0, "20 of 100 clients return within 10 ms");
    assert!(firsts[99] - firsts[0] > 0.15, "the spread is used");
}
