//! Refusals that come as a close instead of an answer: what they say counts, and nothing of it is lost.

use insta::assert_snapshot;
use onesocket::core::{Command, ConnectionError, Input, PauseReason, Status};
use serde_json::json;

use crate::devices::{Bench, config, secret, token};
use crate::history::check;
use crate::script::{handshaking, script, subscribed};

/// What follows when the only attempt is closed like this.
fn end_of(code: u16, reason: &str) -> String {
    let history = check(handshaking().closed(1, code, reason));
    let status = history.lines().find_map(|line| line.trim().strip_prefix("status: ")).unwrap();
    let words: String =
        status.split([':', '(']).take(if status.starts_with("paused") { 2 } else { 1 }).collect();
    words.trim().to_owned()
}

/// What a person must mend pauses; everything else waits, and codes that say so wait whatever the reason is.
#[test]
fn no_storm_a_close_before_hello_pauses_or_waits() {
    let mut outcomes = String::new();
    for reason in [
        "",
        "unauthorized",
        "UNAUTHORIZED: gateway token mismatch (provide gateway auth token)",
        "device token mismatch",
        "Pairing required: device is not approved yet (requestId: req-1)",
        "pairing rejected",
        "pairing expired",
        "protocol mismatch",
        "forbidden",
        "unauthorized: too many failed authentication attempts (retry later)",
        "slow consumer",
        "gateway auth changed",
    ] {
        let read = end_of(1008, reason);
        for code in [1000, 1002, 4001, 4008] {
            assert_eq!(end_of(code, reason), read, "{code} {reason:?}");
        }
        for code in [1001, 1005, 1006, 1009, 1011, 1012, 1013, 1015] {
            assert_eq!(end_of(code, reason), "backoff after attempt 1 until 1.000s", "{code} {reason:?}");
        }
        outcomes.push_str(&format!("{reason:?}: {read}\n"));
    }
    assert_snapshot!(outcomes, @r#"
    "": backoff after attempt 1 until 1.000s
    "unauthorized": paused the gateway refused the credentials
    "UNAUTHORIZED: gateway token mismatch (provide gateway auth token)": paused the gateway refused the credentials
    "device token mismatch": paused the gateway refused the credentials
    "Pairing required: device is not approved yet (requestId: req-1)": paused the gateway wants this device approved
    "pairing rejected": paused the gateway's owner declined this device
    "pairing expired": paused nobody approved this device in time
    "protocol mismatch": paused client and gateway speak different protocol versions
    "forbidden": paused the gateway denies access
    "unauthorized: too many failed authentication attempts (retry later)": backoff after attempt 1 until 60.000s
    "slow consumer": backoff after attempt 1 until 1.000s
    "gateway auth changed": backoff after attempt 1 until 1.000s
    "#);
}

/// The reason for the pause is that of the answer with the same words; the cause of what fails is the close itself.
#[test]
fn no_storm_a_close_while_pairing_names_the_request() {
    let reason = "PAIRING REQUIRED: device is not approved yet (requestId: req-1)";
    let script = script().connect().challenged(1).request(1).closed(1, 1008, reason).until(3_600_000);
    assert_snapshot!(check(script), @r#"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
    0.000s opened 1
      status: handshaking 1
    0.000s challenge on 1
      transmit on 1: connect {"token":"token-a"}
    0.000s request #1
    0.000s closed 1 with 1008 "PAIRING REQUIRED: device is not approved yet (requestId: req-1)"
      status: paused: the gateway wants this device approved (NOT_PAIRED: PAIRING REQUIRED: device is not approved yet (requestId: req-1)): approve request req-1, then resume
      fail #1 (NotSent): the connection is paused: the gateway wants this device approved (NOT_PAIRED: PAIRING REQUIRED: device is not approved yet (requestId: req-1)): approve request req-1, then resume
    end: next deadline none, 0 pending
    "#);
}

/// A session that was ready ends for such a reason as well, as when a token is revoked.
#[test]
fn no_storm_a_close_after_hello_pauses() {
    let script = subscribed()
        .request(1)
        .closed(1, 1008, "unauthorized: device token mismatch (rotate/reissue device token)")
        .until(3_600_000);
    assert_snapshot!(check(script), @r#"
    0.000s request #1
      transmit on 1: #1
    0.000s closed 1 with 1008 "unauthorized: device token mismatch (rotate/reissue device token)"
      status, also to 1: paused: the gateway refused the credentials (INVALID_REQUEST: unauthorized: device token mismatch (rotate/reissue device token)): configure others, or resume once the gateway takes these
      fail #1 (Unknown): the gateway closed the connection: 1008 "unauthorized: device token mismatch (rotate/reissue device token)"
    end: next deadline none, 0 pending
    "#);
}

#[test]
fn no_storm_too_many_attempts_are_waited_out() {
    let reason = "unauthorized: too many failed authentication attempts (retry later)";
    let script = handshaking().closed(1, 1008, reason).wake().until(60_000);
    assert_snapshot!(check(script), @r#"
    0.000s closed 1 with 1008 "unauthorized: too many failed authentication attempts (retry later)"
      status: backoff after attempt 1 until 60.000s: the gateway closed the connection: 1008 "unauthorized: too many failed authentication attempts (retry later)"
    0.000s wake
    60.000s due
      dial 2 to a, attempt 1
    end: next deadline 70.000s, 0 pending
    "#);
}

#[test]
fn right_credential_a_close_clears_the_stored_token_it_refuses() {
    for reason in
        ["device token mismatch", "DEVICE TOKEN MISMATCH!", "unauthorized: Device Token Mismatch (x)"]
    {
        for code in [1008, 1000, 4001] {
            let mut bench = Bench::new(config(), Some(token("stored", &[])));
            assert_eq!(bench.attempt(), json!({"deviceToken":"stored"}));
            bench.close(code, reason);
            assert_eq!(bench.cleared(), [secret("stored")], "{code} {reason}");
            let Status::Paused(pause) = bench.core.status() else { panic!("{:?}", bench.core.status()) };
            let PauseReason::Credentials(error) = &**pause else { panic!("{pause}") };
            assert_eq!((&*error.message, error.close_code), (reason, Some(code)));
            assert_eq!(error.detail_code.as_deref(), Some("AUTH_DEVICE_TOKEN_MISMATCH"));
            assert_eq!(bench.core.next_deadline(), None);
        }
    }
}

/// It is cleared when the session that it opened ends for that reason too; a token that hello brought stays.
#[test]
fn right_credential_a_close_after_hello_clears_the_token_that_was_presented() {
    let mut bench = Bench::new(config(), Some(token("stored", &[])));
    bench.attempt();
    bench.hello(Some("next"), &[]);
    bench.close(1008, "device token revoked");
    assert_eq!(bench.saved(), [token("next", &[])]);
    assert_eq!(bench.cleared(), [secret("stored")], "the store compares, and keeps what is not this one");
    assert!(matches!(bench.core.status(), Status::Paused(_)), "{:?}", bench.core.status());
}

#[test]
fn right_credential_a_close_clears_nothing_else() {
    let stored = || Some(token("stored", &[]));
    // Not presented: the app's own token, or password, was.
    for config in [config().token("t"), config().password("p"), config().device_token("d")] {
        let mut bench = Bench::new(config, stored());
        bench.attempt();
        bench.close(1008, "device token mismatch");
        assert_eq!(bench.cleared(), []);
        assert!(matches!(bench.core.status(), Status::Paused(_)), "{:?}", bench.core.status());
    }
    // Refused for another reason, or not refused.
    for (code, reason) in [
        (1008, "unauthorized"),
        (1008, "pairing required"),
        (1008, "device signature expired"),
        (1013, "device token mismatch"),
        (1012, "device token mismatch"),
        (1006, "device token mismatch"),
        (4001, "client invalidated: device token revoked"),
    ] {
        let mut bench = Bench::new(config(), stored());
        bench.attempt();
        bench.close(code, reason);
        assert_eq!(bench.cleared(), [], "{code} {reason}");
    }
}

/// A mismatch of the shared token is worth the one retry with the stored token, however it is told; but not for a
/// session that was taken already, or a gateway could have it for ever.
#[test]
fn right_credential_a_close_may_lead_to_the_one_retry() {
    let mut bench = Bench::new(config().token("old"), Some(token("stored", &[])));
    bench.attempt();
    bench.close(1008, "unauthorized: gateway token mismatch (provide gateway auth token)");
    assert!(matches!(bench.core.status(), Status::Backoff { .. }), "{:?}", bench.core.status());
    assert_eq!(bench.attempt(), json!({"token":"old","deviceToken":"stored"}));
    bench.close(1008, "unauthorized: gateway token mismatch (provide gateway auth token)");
    assert!(matches!(bench.core.status(), Status::Paused(_)), "{:?}", bench.core.status());

    let mut bench = Bench::new(config().token("old"), Some(token("stored", &[])));
    bench.attempt();
    bench.hello(None, &[]);
    bench.close(1008, "gateway token mismatch");
    assert!(matches!(bench.core.status(), Status::Paused(_)), "{:?}", bench.core.status());
}

/// A close that was asked for says nothing about credentials.
#[test]
fn right_credential_the_answer_to_our_own_close_is_not_read() {
    let mut bench = Bench::new(config(), Some(token("stored", &[])));
    bench.attempt();
    bench.step(Input::Command(Command::ShutDown));
    bench.close(1008, "device token mismatch");
    assert_eq!(bench.cleared(), []);
    assert_eq!(bench.core.status(), &Status::Stopped);
}

/// A late answer cannot add to a close, nor a late close to an answer: the first word decides.
#[test]
fn right_credential_a_close_after_the_answer_changes_nothing() {
    let mut bench = Bench::new(config(), Some(token("stored", &[])));
    bench.attempt();
    bench.refuse("AUTH_RATE_LIMITED");
    bench.close(1008, "device token mismatch");
    assert_eq!(bench.cleared(), []);
    let Status::Paused(pause) = bench.core.status() else { panic!("{:?}", bench.core.status()) };
    let PauseReason::Credentials(error) = &**pause else { panic!("{pause}") };
    assert_eq!(error.close_code, None);
    assert_ne!(ConnectionError::Refused(error.clone()).close_code(), Some(1008));
}
