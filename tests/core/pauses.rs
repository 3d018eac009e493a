//! `no_storm`: a failure that only a person can mend ends the dials, and a word ends a wait.

use insta::assert_snapshot;

use crate::history::check;
use crate::script::{Script, connected, handshaking, invalid_request, script, subscribed_early, unavailable};

/// The pause list of protocol 9.1: no timer is left, nothing but a person's word goes on.
#[test]
fn no_storm_a_terminal_refusal_leaves_no_deadline() {
    let script = subscribed_early()
        .refuse_with(1, "AUTH_TOKEN_MISMATCH")
        .closed(1, 1008, "unauthorized")
        .connect()
        .wake()
        .request(1)
        .until(3_600_000);
    assert_snapshot!(check(script), @r#"
    0.000s refusal {"code":"INVALID_REQUEST","message":"no","details":{"code":"AUTH_TOKEN_MISMATCH"}} on 1
      hang up 1 now: 1008 "connect failed"
      status: paused: the gateway refused the credentials (INVALID_REQUEST: no): configure others, or resume once the gateway takes these
    0.000s closed 1 with 1008 "unauthorized"
    0.000s connect
    0.000s wake
    0.000s request #1
      fail #1 (NotSent): the connection is paused: the gateway refused the credentials (INVALID_REQUEST: no): configure others, or resume once the gateway takes these
    end: next deadline none, 0 pending
    "#);
}

#[test]
fn no_storm_the_pause_list() {
    let codes = [
        "AUTH_TOKEN_MISSING",
        "AUTH_TOKEN_MISMATCH",
        "AUTH_BOOTSTRAP_TOKEN_INVALID",
        "AUTH_PASSWORD_MISSING",
        "AUTH_PASSWORD_MISMATCH",
        "AUTH_RATE_LIMITED",
        "AUTH_DEVICE_TOKEN_MISMATCH",
        "AUTH_SCOPE_MISMATCH",
        "AUTH_IDENTITY_HEADER_REQUIRED",
        "AUTH_VERIFIED_USER_REQUIRED",
        "CONTROL_UI_BUILD_MISMATCH",
        "CONTROL_UI_DEVICE_IDENTITY_REQUIRED",
        "DEVICE_IDENTITY_REQUIRED",
        "PROTOCOL_MISMATCH",
        "CLIENT_VERSION_MISMATCH",
        "PAIRING_REQUIRED",
        // A proof of the device is made for every attempt, so these may succeed next time.
        "DEVICE_AUTH_SIGNATURE_EXPIRED",
        "DEVICE_AUTH_NONCE_MISMATCH",
        "AUTH_REQUIRED",
        "SOME_FUTURE_CODE",
    ];
    let mut outcomes = String::new();
    for code in codes {
        // Even `retryable` and a hint do not turn a pause into a retry (B52, protocol 9.1).
        let error = format!(
            r#"{{"code":"INVALID_REQUEST","message":"m","retryable":true,"retryAfterMs":1,"details":{{"code":"{code}"}}}}"#
        );
        let history = check(handshaking().refuse(1, &error));
        let end = history.lines().last().unwrap();
        outcomes.push_str(&format!("{code}: {end}\n"));
    }
    assert_snapshot!(outcomes, @r"
    AUTH_TOKEN_MISSING: end: next deadline none, 0 pending
    AUTH_TOKEN_MISMATCH: end: next deadline none, 0 pending
    AUTH_BOOTSTRAP_TOKEN_INVALID: end: next deadline none, 0 pending
    AUTH_PASSWORD_MISSING: end: next deadline none, 0 pending
    AUTH_PASSWORD_MISMATCH: end: next deadline none, 0 pending
    AUTH_RATE_LIMITED: end: next deadline none, 0 pending
    AUTH_DEVICE_TOKEN_MISMATCH: end: next deadline none, 0 pending
    AUTH_SCOPE_MISMATCH: end: next deadline none, 0 pending
    AUTH_IDENTITY_HEADER_REQUIRED: end: next deadline none, 0 pending
    AUTH_VERIFIED_USER_REQUIRED: end: next deadline none, 0 pending
    CONTROL_UI_BUILD_MISMATCH: end: next deadline none, 0 pending
    CONTROL_UI_DEVICE_IDENTITY_REQUIRED: end: next deadline none, 0 pending
    DEVICE_IDENTITY_REQUIRED: end: next deadline none, 0 pending
    PROTOCOL_MISMATCH: end: next deadline none, 0 pending
    CLIENT_VERSION_MISMATCH: end: next deadline none, 0 pending
    PAIRING_REQUIRED: end: next deadline none, 0 pending
    DEVICE_AUTH_SIGNATURE_EXPIRED: end: next deadline 1.000s, 0 pending
    DEVICE_AUTH_NONCE_MISMATCH: end: next deadline 1.000s, 0 pending
    AUTH_REQUIRED: end: next deadline 1.000s, 0 pending
    SOME_FUTURE_CODE: end: next deadline 1.000s, 0 pending
    ");
}

/// B50: every attempt while pairing is required mints a new request for a person to approve.
#[test]
fn no_storm_pairing_pauses_with_the_id_to_approve() {
    let details = r#"{"code":"PAIRING_REQUIRED","reason":"not-paired","requestId":"req-1"}"#;
    let script = handshaking().refuse(1, &invalid_request("no", details)).until(3_600_000);
    assert_snapshot!(check(script), @r#"
    0.000s refusal {"code":"INVALID_REQUEST","message":"no","details":{"code":"PAIRING_REQUIRED","reason":"not-paired","requestId":"req-1"}} on 1
      hang up 1 now: 1008 "connect failed"
      status: paused: the gateway wants this device approved (INVALID_REQUEST: no): approve request req-1, then resume
    end: next deadline none, 0 pending
    "#);
}

#[test]
fn no_storm_an_endpoint_that_cannot_be_dialed_pauses() {
    assert_snapshot!(check(script().connect().unsupported(1).until(3_600_000)), @r"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
    0.000s dial 1 unsupported
      status: paused: this network cannot dial the endpoint: no TLS here; configure another endpoint
    end: next deadline none, 0 pending
    ");
}

#[test]
fn no_storm_resume_dials_once_and_resets_the_waits() {
    let script = script()
        .connect()
        .refused(1)
        .at(1_100)
        .challenged(2)
        .refuse_with(2, "AUTH_RATE_LIMITED")
        .at(60_000)
        .resume()
        .resume()
        .at(60_010)
        .resume()
        .refused(3)
        .resume()
        .until(61_010);
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
    1.100s refusal {"code":"INVALID_REQUEST","message":"no","details":{"code":"AUTH_RATE_LIMITED"}} on 2
      hang up 2 now: 1008 "connect failed"
      status: paused: the gateway refused the credentials (INVALID_REQUEST: no): configure others, or resume once the gateway takes these
    60.000s resume
    60.000s resume
    60.000s due
      dial 3 to a, attempt 1
    60.010s resume
    60.010s dial 3 refused
      status: backoff after attempt 1 until 61.010s: dial failed: the connection was refused
    60.010s resume
    61.010s due
      dial 4 to a, attempt 2
    end: next deadline 71.010s, 0 pending
    "#);
}

/// Peer behaviour 65: the network is back, so the wait ends and the backoff is reset.
#[test]
fn no_storm_wake_ends_the_wait() {
    let script = script()
        .connect()
        .attempts(1, [0, 1_500, 4_000], Script::refused)
        .at(6_000)
        .wake()
        .at(6_100)
        .refused(4)
        .until(7_000);
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
    4.000s dial 3 refused
      status: backoff after attempt 3 until 8.000s: dial failed: the connection was refused
    6.000s wake
    6.000s due
      dial 4 to a, attempt 1
    6.100s dial 4 refused
      status: backoff after attempt 1 until 7.100s: dial failed: the connection was refused
    end: next deadline 7.100s, 0 pending
    ");
}

/// A caller that wakes in a loop gets one dial for each first step of the backoff, no more.
#[test]
fn no_storm_wakes_in_a_loop_do_not_dial_in_a_loop() {
    let mut script = script().connect().refused(1);
    for step in 1..30 {
        script = script.at(step * 100).wake();
        if step % 10 == 1 && step > 1 {
            script = script.refused(step / 10 + 1);
        }
    }
    let history = check(script);
    let dials: Vec<&str> =
        history.lines().filter(|line| line.contains("dial ") && line.contains(" to ")).collect();
    assert_snapshot!(dials.join("\n"), @r"
    dial 1 to a, attempt 1
    dial 2 to a, attempt 1
    dial 3 to a, attempt 1
    ");
}

/// A wake never lengthens a wait: not a short one, and not that of a config change.
#[test]
fn no_storm_wake_never_postpones_a_dial() {
    let script = script()
        .connect()
        .at(10)
        .starting(1)
        .at(20)
        .wake()
        .at(600)
        .ready(2)
        .at(700)
        .configure("b")
        .at(710)
        .closed_cleanly(2)
        .wake()
        .until(800);
    assert_snapshot!(check(script), @r#"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
    0.010s opened 1
      status: handshaking 1
    0.010s challenge on 1
      transmit on 1: connect {"token":"token-a"}
    0.010s refusal {"code":"UNAVAILABLE","message":"gateway starting","retryable":true,"retryAfterMs":500,"details":{"reason":"startup-sidecars"}} on 1
      hang up 1 now: 1008 "connect failed"
      status: backoff after attempt 0 until 0.510s: the gateway refused to connect: UNAVAILABLE: gateway starting
    0.020s wake
    0.510s due
      dial 2 to a, attempt 1
    0.600s handshake on 2
      status: ready 2
    0.700s configure b
      hang up 2 gracefully: 1000 "configuration changed"
      status: closing
    0.710s closed 2 with 1000 ""
    0.710s wake
    0.710s due
      dial 3 to b, attempt 1
    end: next deadline 10.710s, 0 pending
    "#);
}

/// A wake respects the gateway's `retryAfterMs`.
#[test]
fn no_storm_wake_does_not_undercut_retry_after() {
    let script = handshaking().refuse(1, &unavailable("m", 20_000)).at(3_000).wake().until(20_000);
    assert_snapshot!(check(script), @r#"
    0.000s refusal {"code":"UNAVAILABLE","message":"m","retryable":true,"retryAfterMs":20000} on 1
      hang up 1 now: 1008 "connect failed"
      status: backoff after attempt 1 until 20.000s: the gateway refused to connect: UNAVAILABLE: m
    3.000s wake
    20.000s due
      dial 2 to a, attempt 1
    end: next deadline 30.000s, 0 pending
    "#);
}

/// Whoever has taken the config away is not reconnected by a network that returns.
#[test]
fn no_storm_wake_and_resume_do_nothing_without_a_config() {
    let script = connected().at(10).configure_none().closed_cleanly(1).wake().resume();
    let history = check(script.until(3_600_000));
    assert!(history.ends_with("end: next deadline none, 0 pending\n"), "{history}");
    assert!(!history.contains("dial 2"), "{history}");
}
