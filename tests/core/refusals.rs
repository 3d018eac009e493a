//! Refusals of `connect`: the gateway's advice decides where it gives some, and the codes where it does not.

use insta::assert_snapshot;

use crate::history::check;
use crate::script::{handshaking, invalid_request};

/// What follows from a refusal, in a word or two.
fn follows(error: &str) -> String {
    let history = check(handshaking().refuse(1, error));
    let status = history.lines().find_map(|line| line.trim().strip_prefix("status: ")).unwrap();
    let pauses = [
        ("the gateway refused the credentials", "credentials"),
        ("the gateway wants this device approved", "pairing"),
        ("the gateway's owner declined this device", "declined"),
        ("nobody approved this device in time", "expired"),
        ("the gateway denies access", "denied"),
        ("the gateway refused to connect", "advised"),
        ("client and gateway speak different protocol versions", "protocol"),
    ];
    let ends_idle = history.ends_with("end: next deadline none, 0 pending\n");
    match status.strip_prefix("paused: ") {
        Some(reason) => {
            assert!(ends_idle, "{history}");
            let kind = pauses.iter().find(|(words, _)| reason.starts_with(words));
            kind.unwrap_or_else(|| panic!("{reason}")).1.to_owned()
        }
        None => {
            let until = status.strip_prefix("backoff after attempt 1 until ").unwrap();
            format!("waits {}", until.split(": ").next().unwrap())
        }
    }
}

/// A refusal with a detail code and advice, which says that it may be retried, after a while.
fn advised(code: &str, advice: &str) -> String {
    format!(
        r#"{{"code":"INVALID_REQUEST","message":"m","retryable":true,"retryAfterMs":90000,"details":{{"code":"{code}","recommendedNextStep":{advice}}}}}"#
    )
}

/// Each line of the table in `decision`: advice for a person pauses whatever the code is and however retryable it calls itself,
/// advice to wait waits, and where there is none the code list decides.
#[test]
fn no_storm_advice_decides_before_the_code() {
    let codes = [
        "AUTH_UNAUTHORIZED",
        "AUTH_REQUIRED",
        "AUTH_RATE_LIMITED",
        "AUTH_TOKEN_MISMATCH",
        "PROTOCOL_MISMATCH",
        "OPERATOR_ACCESS_DENIED",
        "SOME_FUTURE_CODE",
    ];
    let steps = [
        r#""wait_then_retry""#,
        r#"" WAIT_then_retry ""#,
        r#""retry_with_device_token""#,
        r#""update_auth_configuration""#,
        r#""update_auth_credentials""#,
        r#""review_auth_configuration""#,
        r#""update_auth_something_new""#,
        r#""update_client""#,
        r#""review_roles""#,
        r#""some_future_step""#,
        r#""update""#,
        r#""""#,
        "null",
        "7",
        r#"{"step":"wait_then_retry"}"#,
    ];
    let mut table = String::new();
    for step in steps {
        let outcomes = codes.map(|code| follows(&advised(code, step)));
        table.push_str(&format!("{step}: {}\n", outcomes.join(", ")));
    }
    assert_snapshot!(table, @r#"
    "wait_then_retry": waits 90.000s, waits 90.000s, waits 90.000s, waits 90.000s, waits 90.000s, waits 90.000s, waits 90.000s
    " WAIT_then_retry ": waits 90.000s, waits 90.000s, waits 90.000s, waits 90.000s, waits 90.000s, waits 90.000s, waits 90.000s
    "retry_with_device_token": credentials, credentials, credentials, credentials, protocol, denied, credentials
    "update_auth_configuration": credentials, credentials, credentials, credentials, protocol, denied, credentials
    "update_auth_credentials": credentials, credentials, credentials, credentials, protocol, denied, credentials
    "review_auth_configuration": credentials, credentials, credentials, credentials, protocol, denied, credentials
    "update_auth_something_new": credentials, credentials, credentials, credentials, protocol, denied, credentials
    "update_client": advised, advised, credentials, credentials, protocol, denied, advised
    "review_roles": advised, advised, credentials, credentials, protocol, denied, advised
    "some_future_step": waits 90.000s, waits 90.000s, credentials, credentials, protocol, denied, waits 90.000s
    "update": waits 90.000s, waits 90.000s, credentials, credentials, protocol, denied, waits 90.000s
    "": waits 90.000s, waits 90.000s, credentials, credentials, protocol, denied, waits 90.000s
    null: waits 90.000s, waits 90.000s, credentials, credentials, protocol, denied, waits 90.000s
    7: waits 90.000s, waits 90.000s, credentials, credentials, protocol, denied, waits 90.000s
    {"step":"wait_then_retry"}: waits 90.000s, waits 90.000s, credentials, credentials, protocol, denied, waits 90.000s
    "#);
}

/// `pauseReconnect` is a word of the gateway too, and may come without any other advice.
#[test]
fn no_storm_the_gateway_may_say_outright_whether_to_pause() {
    let mut table = String::new();
    for details in [
        r#"{"code":"PAIRING_REQUIRED","pauseReconnect":false}"#,
        r#"{"code":"PAIRING_REQUIRED","pauseReconnect":true}"#,
        r#"{"code":"PAIRING_REQUIRED","pauseReconnect":true,"recommendedNextStep":"wait_then_retry"}"#,
        r#"{"code":"PAIRING_REQUIRED","pauseReconnect":"false"}"#,
        r#"{"code":"PAIRING_REQUIRED","pauseReconnect":null}"#,
        r#"{"code":"AUTH_SCOPE_MISMATCH","pauseReconnect":false}"#,
        r#"{"code":"AUTH_SCOPE_MISMATCH","pauseReconnect":false,"recommendedNextStep":"update_auth_credentials"}"#,
        r#"{"code":"SOME_FUTURE_CODE","pauseReconnect":true}"#,
        r#"{"pauseReconnect":true}"#,
    ] {
        table.push_str(&format!("{details}: {}\n", follows(&invalid_request("m", details))));
    }
    assert_snapshot!(table, @r#"
    {"code":"PAIRING_REQUIRED","pauseReconnect":false}: waits 1.000s
    {"code":"PAIRING_REQUIRED","pauseReconnect":true}: pairing
    {"code":"PAIRING_REQUIRED","pauseReconnect":true,"recommendedNextStep":"wait_then_retry"}: waits 1.000s
    {"code":"PAIRING_REQUIRED","pauseReconnect":"false"}: pairing
    {"code":"PAIRING_REQUIRED","pauseReconnect":null}: pairing
    {"code":"AUTH_SCOPE_MISMATCH","pauseReconnect":false}: waits 1.000s
    {"code":"AUTH_SCOPE_MISMATCH","pauseReconnect":false,"recommendedNextStep":"update_auth_credentials"}: waits 1.000s
    {"code":"SOME_FUTURE_CODE","pauseReconnect":true}: advised
    {"pauseReconnect":true}: advised
    "#);
}

/// What only the gateway's owner can change pauses, and says so.
#[test]
fn no_storm_what_its_owner_must_grant_pauses() {
    let mut table = String::new();
    for error in [
        r#"{"code":"FORBIDDEN","message":"m"}"#,
        r#"{"code":"FORBIDDEN","message":"m","details":null}"#,
        r#"{"code":"FORBIDDEN","message":"m","details":{}}"#,
        r#"{"code":"FORBIDDEN","message":"m","details":"no"}"#,
        r#"{"code":"FORBIDDEN","message":"m","details":{"code":"MISSING_SCOPE"}}"#,
        r#"{"code":"FORBIDDEN","message":"m","details":{"code":"OPERATOR_ACCESS_DENIED"}}"#,
        r#"{"code":"INVALID_REQUEST","message":"m","retryable":true,"details":{"code":"OPERATOR_ACCESS_DENIED"}}"#,
        r#"{"code":"FORBIDDEN","message":"m","details":{"recommendedNextStep":"review_auth_configuration"}}"#,
        r#"{"code":"FORBIDDEN","message":"m","details":{"recommendedNextStep":"wait_then_retry"}}"#,
        r#"{"code":"FORBIDDEN","message":"m","retryable":true,"retryAfterMs":2000}"#,
        r#"{"code":"NOT_PAIRED","message":"m"}"#,
        r#"{"code":"NOT_PAIRED","message":"m","details":{"requestId":"req-1"}}"#,
        r#"{"code":"NOT_PAIRED","message":"m","details":{"code":"PAIRING_REJECTED","requestId":"req-1"}}"#,
        r#"{"code":"NOT_PAIRED","message":"m","retryable":true,"details":{"code":"PAIRING_EXPIRED"}}"#,
        r#"{"code":"NOT_PAIRED","message":"m","retryable":true}"#,
    ] {
        table.push_str(&format!("{error}: {}\n", follows(error)));
    }
    assert_snapshot!(table, @r#"
    {"code":"FORBIDDEN","message":"m"}: denied
    {"code":"FORBIDDEN","message":"m","details":null}: denied
    {"code":"FORBIDDEN","message":"m","details":{}}: denied
    {"code":"FORBIDDEN","message":"m","details":"no"}: denied
    {"code":"FORBIDDEN","message":"m","details":{"code":"MISSING_SCOPE"}}: denied
    {"code":"FORBIDDEN","message":"m","details":{"code":"OPERATOR_ACCESS_DENIED"}}: denied
    {"code":"INVALID_REQUEST","message":"m","retryable":true,"details":{"code":"OPERATOR_ACCESS_DENIED"}}: denied
    {"code":"FORBIDDEN","message":"m","details":{"recommendedNextStep":"review_auth_configuration"}}: credentials
    {"code":"FORBIDDEN","message":"m","details":{"recommendedNextStep":"wait_then_retry"}}: waits 1.000s
    {"code":"FORBIDDEN","message":"m","retryable":true,"retryAfterMs":2000}: waits 2.000s
    {"code":"NOT_PAIRED","message":"m"}: pairing
    {"code":"NOT_PAIRED","message":"m","details":{"requestId":"req-1"}}: pairing
    {"code":"NOT_PAIRED","message":"m","details":{"code":"PAIRING_REJECTED","requestId":"req-1"}}: declined
    {"code":"NOT_PAIRED","message":"m","retryable":true,"details":{"code":"PAIRING_EXPIRED"}}: expired
    {"code":"NOT_PAIRED","message":"m","retryable":true}: waits 1.000s
    "#);
}

/// A gateway that counts attempts is left alone for as long as it counts, unless it says how long.
#[test]
fn no_storm_a_lockout_is_waited_out() {
    let locked = |hint: &str| {
        let error = format!(
            r#"{{"code":"INVALID_REQUEST","message":"m","retryable":true{hint},"details":{{"code":"AUTH_RATE_LIMITED","recommendedNextStep":"wait_then_retry"}}}}"#
        );
        follows(&error)
    };
    assert_eq!(locked(r#","retryAfterMs":300000"#), "waits 300.000s");
    assert_eq!(locked(r#","retryAfterMs":99999999999"#), "waits 600.000s");
    assert_eq!(locked(""), "waits 60.000s");
    assert_eq!(locked(r#","retryAfterMs":"soon""#), "waits 60.000s");
}
