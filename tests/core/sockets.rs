//! `one_socket`: at most one socket, and nothing stale acts on it.

use insta::assert_snapshot;

use crate::history::check;
use crate::script::{connected, invalid_request, script, subscribed};

/// B04: the close of a socket that was replaced comes late and must not harm its replacement.
#[test]
fn one_socket_a_late_close_of_a_past_epoch_is_inert() {
    let script = connected().outage(1, 100..2_000).at(2_100).closed(1, 1006, "");
    assert_snapshot!(check(script), @r#"
    0.100s lost 1
      status: backoff after attempt 1 until 1.100s: the connection was lost: reset
    1.100s due
      dial 2 to a, attempt 2
    2.000s handshake on 2
      status: ready 2
    2.100s closed 1 with 1006 ""
    end: next deadline 62.000s, 0 pending
    "#);
}

/// B03: what arrives from a past socket is ignored, be it an event, an answer, a hello or a refusal.
#[test]
fn one_socket_late_frames_of_a_past_epoch_are_inert() {
    let refusal = invalid_request("late", r#"{"code":"AUTH_TOKEN_MISMATCH"}"#);
    let script = subscribed()
        .request(1)
        .outage(1, 100..2_000)
        .request(2)
        .at(2_100)
        .event(1, "chat", 7)
        .reply(1, 1, "{}")
        .reply(1, 2, "{}")
        .challenge(1)
        .hello(1, "{}")
        .refuse(1, &refusal)
        .activity(1)
        .written(1, 99);
    assert_snapshot!(check(script), @r#"
    0.000s request #1
      transmit on 1: #1
    0.100s lost 1
      status, also to 1: backoff after attempt 1 until 1.100s: the connection was lost: reset
      fail #1 (Unknown): the connection was lost: reset
    1.100s due
      dial 2 to a, attempt 2
      to 1: status connecting 2, attempt 2
    2.000s handshake on 2
      to 1: snapshot of 2 (presence 1 [], health 1 {})
      status, also to 1: ready 2
    2.000s request #2
      transmit on 2: #2
    2.100s event chat 7 on 1
    2.100s answer to #1 on 1
    2.100s answer to #2 on 1
    2.100s challenge on 1
    2.100s hello on 1
    2.100s refusal {"code":"INVALID_REQUEST","message":"late","details":{"code":"AUTH_TOKEN_MISMATCH"}} on 1
    2.100s activity on 1
    2.100s written 99 on 1
    end: next deadline 32.000s, 1 pending
    "#);
}

/// A dial that was given up may still succeed or fail; neither matters to the next one.
#[test]
fn one_socket_a_late_end_of_an_abandoned_dial_is_inert() {
    let script =
        script().connect().at(100).configure("b").at(200).opened(1).refused(1).opened(2).opened(1).refused(1);
    assert_snapshot!(check(script), @r#"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
    0.100s configure b
      hang up 1 now: 1000 "configuration changed"
    0.100s due
      dial 2 to b, attempt 1
    0.200s opened 1
    0.200s dial 1 refused
    0.200s opened 2
      status: handshaking 2
    0.200s opened 1
    0.200s dial 1 refused
    end: next deadline 15.200s, 0 pending
    "#);
}

/// B11: a socket that does not answer our close is dropped before the next one is dialed.
#[test]
fn one_socket_a_withheld_close_answer_delays_the_next_dial_by_the_grace() {
    let script = connected().at(1_000).configure("b").at(1_400).wake().until(2_000);
    assert_snapshot!(check(script), @r#"
    1.000s configure b
      hang up 1 gracefully: 1000 "configuration changed"
      status: closing
    1.400s wake
    1.500s due
      hang up 1 now: 1000 "close timeout"
      dial 2 to b, attempt 1
    end: next deadline 11.500s, 0 pending
    "#);
}

/// B01, B02, B14: whatever callers do while a dial is due or under way, there is one dial.
#[test]
fn one_socket_impatient_callers_cause_no_second_dial() {
    let script = connected()
        .at(5_000)
        .lost(1)
        .connect()
        .request(1)
        .wake()
        .resume()
        .subscribe(1)
        .wake()
        .at(5_500)
        .connect()
        .wake()
        .at(9_000)
        .opened(2)
        .connect()
        .wake()
        .resume();
    assert_snapshot!(check(script), @r"
    5.000s lost 1
      status: backoff after attempt 1 until 6.000s: the connection was lost: reset
    5.000s connect
    5.000s request #1
    5.000s wake
    5.000s resume
    5.000s subscribe 1
      to 1: snapshot of 1 (presence 1 [], health 1 {})
      to 1: status backoff after attempt 1 until 6.000s: the connection was lost: reset
    5.000s wake
    5.000s due
      dial 2 to a, attempt 1
      to 1: status connecting 2, attempt 1
    5.500s connect
    5.500s wake
    9.000s opened 2
      status, also to 1: handshaking 2
    9.000s connect
    9.000s wake
    9.000s resume
    end: next deadline 24.000s, 1 pending
    ");
}

/// B60: a second end of the same socket is of the past, and does not use up the retry.
#[test]
fn one_socket_a_second_close_in_backoff_changes_nothing() {
    let script = connected().at(100).lost(1).closed(1, 1012, "service restart").until(1_200);
    assert_snapshot!(check(script), @r#"
    0.100s lost 1
      status: backoff after attempt 1 until 1.100s: the connection was lost: reset
    0.100s closed 1 with 1012 "service restart"
    1.100s due
      dial 2 to a, attempt 2
    end: next deadline 11.100s, 0 pending
    "#);
}
