//! `settles_once`: every request ends exactly once, and says truly whether it can have been seen.

use insta::assert_snapshot;
use onesocket::core::{Effect, Ignored};

use crate::bench::Bench;
use crate::history::check;
use crate::script::{answer, config, connected, invalid_request, options, refusal, script};

const NO: &str = r#"{"code":"INVALID_REQUEST","message":"no"}"#;

#[test]
fn settles_once_answers_may_come_in_any_order() {
    let script = connected()
        .requests(1..=3)
        .at(10)
        .reply(1, 3, r#"{"who":3}"#)
        .reply(1, 1, r#"{"who":1}"#)
        .reject(1, 2, NO);
    assert_snapshot!(check(script), @r#"
    0.000s request #1
      transmit on 1: #1
    0.000s request #2
      transmit on 1: #2
    0.000s request #3
      transmit on 1: #3
    0.010s answer to #3 on 1
      complete #3 over 1: {"who":3}
    0.010s answer to #1 on 1
      complete #1 over 1: {"who":1}
    0.010s error for #2 on 1
      fail #2 (Rejected): INVALID_REQUEST: no
    end: next deadline 60.010s, 0 pending
    "#);
}

/// B43: late and repeated answers, also those of a request that timed out or was cancelled.
#[test]
fn settles_once_late_and_repeated_answers_are_inert() {
    let script = connected()
        .request_for(1, Some(100))
        .requests(2..=3)
        .cancel(2)
        .at(200)
        .reply(1, 1, r#"{"late":1}"#)
        .reply(1, 2, r#"{"cancelled":2}"#)
        .reply(1, 3, "{}")
        .reply(1, 3, r#"{"again":3}"#)
        .reject(1, 3, NO)
        .request(4)
        .reply(1, 1, "{}")
        .reply(1, 4, "{}");
    assert_snapshot!(check(script), @r"
    0.000s request #1
      transmit on 1: #1
    0.000s request #2
      transmit on 1: #2
    0.000s request #3
      transmit on 1: #3
    0.000s cancel #2
    0.100s due
      fail #1 (Unknown): no answer within 100ms
    0.200s answer to #1 on 1
      ignored: nobody waits for this answer
    0.200s answer to #2 on 1
      ignored: nobody waits for this answer
    0.200s answer to #3 on 1
      complete #3 over 1: {}
    0.200s answer to #3 on 1
      ignored: nobody waits for this answer
    0.200s error for #3 on 1
      ignored: nobody waits for this answer
    0.200s request #4
      transmit on 1: #4
    0.200s answer to #1 on 1
      ignored: nobody waits for this answer
    0.200s answer to #4 on 1
      complete #4 over 1: {}
    end: next deadline 60.200s, 0 pending
    ");
}

/// Answers that were never asked for: the gateway echoes ids as they are, also numbers (2.3).
#[test]
fn settles_once_foreign_ids_are_inert() {
    let mut script = connected().request(1).at(10);
    for id in
        ["7", "\"\"", "null", "\"invalid\"", "\"1\"", "\"00000000-1\"", "[\"$1\"]", "\"$1 \"", "\"$11\""]
    {
        let text = format!(r#"{{"type":"res","id":{id},"ok":true,"payload":{{}}}}"#);
        script = script.frame(1, &format!("id {id}"), &text);
    }
    assert_snapshot!(check(script), @r#"
    0.000s request #1
      transmit on 1: #1
    0.010s id 7 on 1
      ignored: the response's id is not a non-empty string
    0.010s id "" on 1
      ignored: the response's id is not a non-empty string
    0.010s id null on 1
      ignored: the response's id is not a non-empty string
    0.010s id "invalid" on 1
      ignored: nobody waits for this answer
    0.010s id "1" on 1
      ignored: nobody waits for this answer
    0.010s id "00000000-1" on 1
      ignored: nobody waits for this answer
    0.010s id ["$1"] on 1
      ignored: the response's id is not a non-empty string
    0.010s id "$1 " on 1
      ignored: nobody waits for this answer
    0.010s id "$11" on 1
      ignored: nobody waits for this answer
    end: next deadline 30.000s, 1 pending
    "#);
}

/// An id is compared as text: another spelling of the same numbers is another id.
#[test]
fn settles_once_another_spelling_of_an_id_is_foreign() {
    for seed in 0..20 {
        let mut bench = Bench::ready(config("a"), options(), seed);
        let id = bench.request(5, None);
        let (prefix, number) = id.split_once('-').unwrap();
        let shorter = prefix.trim_start_matches('0');
        for spelling in [
            id.to_uppercase(),
            format!("{prefix}-0{number}"),
            format!("{prefix}-+{number}"),
            format!("+{}-{number}", &prefix[1..]),
            format!("{shorter}-{number}"),
            format!("0{prefix}-{number}"),
        ] {
            if spelling != id {
                let effects = bench.receive(&answer(&spelling, "{}"));
                assert_eq!(effects, [Effect::Ignored(Ignored::Unawaited)], "{spelling} is not {id}");
            }
        }
        let effects = bench.receive(&answer(&id, "{}"));
        assert!(matches!(effects[..], [Effect::Complete { .. }]), "{effects:?}");
    }
}

/// The id of `connect` answers nothing once hello is there, and an answer to a request is not a hello.
#[test]
fn settles_once_a_second_hello_is_inert() {
    let script = connected().request(1).at(10).hello(1, "{}").refuse(1, NO).reply(1, 1, "{}");
    assert_snapshot!(check(script), @r#"
    0.000s request #1
      transmit on 1: #1
    0.010s hello on 1
      ignored: nobody waits for this answer
    0.010s refusal {"code":"INVALID_REQUEST","message":"no"} on 1
      ignored: nobody waits for this answer
    0.010s answer to #1 on 1
      complete #1 over 1: {}
    end: next deadline 60.010s, 0 pending
    "#);
}

/// B40: no gateway can keep a caller waiting longer than the caller is ready to wait, and the error
/// says whether the request can have arrived.
#[test]
fn settles_once_timeouts_tell_queued_from_sent() {
    let script =
        script().request_for(1, Some(500)).request_for(2, Some(5_000)).at(1_000).ready(1).until(100_000);
    assert_snapshot!(check(script), @r#"
    0.000s request #1
    0.000s request #2
    0.000s due
      dial 1 to a, attempt 1
    0.500s due
      fail #1 (NotSent): no answer within 500ms
    1.000s handshake on 1
      status: ready 1
      transmit on 1: #2
    5.000s due
      fail #2 (Unknown): no answer within 5s
    61.000s due
      hang up 1 now: 4000 "tick timeout"
      status: backoff after attempt 1 until 62.000s: nothing arrived for 60s
    62.000s due
      dial 2 to a, attempt 2
    72.000s due
      hang up 2 now: 1000 "dial timeout"
      status: backoff after attempt 2 until 74.000s: the gateway did not finish the Dial stage in time
    74.000s due
      dial 3 to a, attempt 3
    84.000s due
      hang up 3 now: 1000 "dial timeout"
      status: backoff after attempt 3 until 88.000s: the gateway did not finish the Dial stage in time
    88.000s due
      dial 4 to a, attempt 4
    98.000s due
      hang up 4 now: 1000 "dial timeout"
      status: backoff after attempt 4 until 106.000s: the gateway did not finish the Dial stage in time
    end: next deadline 106.000s, 0 pending
    "#);
}

#[test]
fn settles_once_a_request_without_a_deadline_waits_as_long_as_the_connection_lives() {
    let mut script = connected().request_for(1, None);
    for minute in 1..=5 {
        script = script.at(minute * 50_000).event(1, "tick", None);
    }
    assert_snapshot!(check(script.reply(1, 1, "{}")), @r"
    0.000s request #1
      transmit on 1: #1
    50.000s event tick on 1
    100.000s event tick on 1
    150.000s event tick on 1
    200.000s event tick on 1
    250.000s event tick on 1
    250.000s answer to #1 on 1
      complete #1 over 1: {}
    end: next deadline 310.000s, 0 pending
    ");
}

/// B44, B45: what was sent fails when the connection does; what was not sent stays queued.
#[test]
fn settles_once_a_lost_connection_fails_what_was_sent_and_keeps_what_was_not() {
    let script = connected()
        .max_in_flight(2)
        .requests(1..=3)
        .at(10)
        .closed(1, 1012, "service restart")
        .at(2_000)
        .ready(2)
        .reply(2, 3, "{}");
    assert_snapshot!(check(script), @r#"
    0.000s request #1
      transmit on 1: #1
    0.000s request #2
      transmit on 1: #2
    0.000s request #3
    0.010s closed 1 with 1012 "service restart"
      status: backoff after attempt 1 until 1.010s: the gateway closed the connection: 1012 "service restart"
      fail #1 (Unknown): the gateway closed the connection: 1012 "service restart"
      fail #2 (Unknown): the gateway closed the connection: 1012 "service restart"
    1.010s due
      dial 2 to a, attempt 2
    2.000s handshake on 2
      status: ready 2
      transmit on 2: #3
    2.000s answer to #3 on 2
      complete #3 over 2: {}
    end: next deadline 62.000s, 0 pending
    "#);
}

/// B45: a dead peer never confirms a close, so nothing waits for it.
#[test]
fn settles_once_pending_requests_fail_when_the_watchdog_fires() {
    let script = connected().request_for(1, None).request_for(2, Some(90_000)).until(60_000);
    assert_snapshot!(check(script), @r#"
    0.000s request #1
      transmit on 1: #1
    0.000s request #2
      transmit on 1: #2
    60.000s due
      hang up 1 now: 4000 "tick timeout"
      status: backoff after attempt 1 until 61.000s: nothing arrived for 60s
      fail #1 (Unknown): nothing arrived for 60s
      fail #2 (Unknown): nothing arrived for 60s
    end: next deadline 61.000s, 0 pending
    "#);
}

/// B43 across connections: request ids are never used again, so an old answer cannot come over the
/// new connection and be taken for another's.
#[test]
fn settles_once_an_answer_of_the_past_connection_repeated_on_the_new_one_is_inert() {
    let script = connected().request(1).outage(1, 10..2_000).request(2);
    let script = script.reply(2, 1, r#"{"who":1}"#).reply(2, 2, r#"{"who":2}"#);
    assert_snapshot!(check(script), @r#"
    0.000s request #1
      transmit on 1: #1
    0.010s lost 1
      status: backoff after attempt 1 until 1.010s: the connection was lost: reset
      fail #1 (Unknown): the connection was lost: reset
    1.010s due
      dial 2 to a, attempt 2
    2.000s handshake on 2
      status: ready 2
    2.000s request #2
      transmit on 2: #2
    2.000s answer to #1 on 2
      ignored: nobody waits for this answer
    2.000s answer to #2 on 2
      complete #2 over 2: {"who":2}
    end: next deadline 62.000s, 0 pending
    "#);
}

/// A gateway that guesses the id of a request it has not been sent does not answer it.
#[test]
fn settles_once_a_queued_request_cannot_be_answered() {
    let script = connected()
        .max_in_flight(1)
        .request(1)
        .request(12)
        // The id of request 1 with a 2 behind it is the id of request 12.
        .frame(1, "guess", &answer("$1", "{}").replace("$1", "$12"))
        .at(10)
        .reply(1, 1, "{}")
        .reply(1, 12, "{}");
    assert_snapshot!(check(script), @r"
    0.000s request #1
      transmit on 1: #1
    0.000s request #12
    0.000s guess on 1
      ignored: nobody waits for this answer
    0.010s answer to #1 on 1
      complete #1 over 1: {}
      transmit on 1: #12
    0.010s answer to #12 on 1
      complete #12 over 1: {}
    end: next deadline 60.010s, 0 pending
    ");
}

/// Protocol 5.7 and 5.8: a failure keeps all that the gateway sent.
#[test]
fn settles_once_a_rejection_keeps_code_and_message() {
    let script = connected()
        .requests(1..=2)
        .at(10)
        .reject(
            1,
            1,
            r#"{"code":"NEW_CODE","message":"m","details":{"code":"D"},"retryable":true,"retryAfterMs":250}"#,
        )
        .frame(1, "an error without an error", r#"{"type":"res","id":"$2","ok":false}"#);
    assert_snapshot!(check(script), @r"
    0.000s request #1
      transmit on 1: #1
    0.000s request #2
      transmit on 1: #2
    0.010s error for #1 on 1
      fail #1 (Rejected): NEW_CODE: m
    0.010s an error without an error on 1
      fail #2 (Rejected): UNAVAILABLE: request failed
    end: next deadline 60.010s, 0 pending
    ");
}

/// Protocol 12.4: only the literal `accepted` is a promise of more, and only for those who wait.
#[test]
fn settles_once_two_phase_accepted_then_final() {
    let accepted = r#"{"status":"accepted","runId":"r"}"#;
    let script = connected()
        .request_final(1)
        .request_final(2)
        .request_final(3)
        .request(4)
        .at(10)
        .reply(1, 1, accepted)
        .reply(1, 1, accepted)
        .reply(1, 2, accepted)
        .reply(1, 3, r#"{"status":"started"}"#)
        .reply(1, 4, accepted)
        .at(5_000)
        .reply(1, 1, r#"{"status":"ok"}"#)
        .reply(1, 1, r#"{"status":"ok"}"#)
        .reject(1, 2, NO)
        .reply(1, 4, r#"{"status":"ok"}"#);
    assert_snapshot!(check(script), @r#"
    0.000s request #1 to its final answer
      transmit on 1: #1
    0.000s request #2 to its final answer
      transmit on 1: #2
    0.000s request #3 to its final answer
      transmit on 1: #3
    0.000s request #4
      transmit on 1: #4
    0.010s answer to #1 on 1
      accepted #1: {"status":"accepted","runId":"r"}
    0.010s answer to #1 on 1
    0.010s answer to #2 on 1
      accepted #2: {"status":"accepted","runId":"r"}
    0.010s answer to #3 on 1
      complete #3 over 1: {"status":"started"}
    0.010s answer to #4 on 1
      complete #4 over 1: {"status":"accepted","runId":"r"}
    5.000s answer to #1 on 1
      complete #1 over 1: {"status":"ok"}
    5.000s answer to #1 on 1
      ignored: nobody waits for this answer
    5.000s error for #2 on 1
      fail #2 (Rejected): INVALID_REQUEST: no
    5.000s answer to #4 on 1
      ignored: nobody waits for this answer
    end: next deadline 65.000s, 0 pending
    "#);
}

/// Peer behaviour 110: a failure is final, whatever its payload looks like.
#[test]
fn settles_once_a_failure_that_looks_accepted_is_final() {
    let text = r#"{"type":"res","id":"$1","ok":false,"payload":{"status":"accepted"},"error":{"code":"X","message":"m"}}"#;
    let script = connected().request_final(1).at(10).frame(1, "failure", text);
    assert_snapshot!(check(script), @r"
    0.000s request #1 to its final answer
      transmit on 1: #1
    0.010s failure on 1
      fail #1 (Rejected): X: m
    end: next deadline 60.010s, 0 pending
    ");
}

/// Between acknowledgement and final answer a request is like any other that was sent.
#[test]
fn settles_once_an_accepted_request_fails_with_its_connection() {
    let script = connected()
        .request_final(1)
        .at(10)
        .reply(1, 1, r#"{"status":"accepted"}"#)
        .outage(1, 20..2_000)
        .reply(2, 1, r#"{"status":"ok"}"#);
    assert_snapshot!(check(script), @r#"
    0.000s request #1 to its final answer
      transmit on 1: #1
    0.010s answer to #1 on 1
      accepted #1: {"status":"accepted"}
    0.020s lost 1
      status: backoff after attempt 1 until 1.020s: the connection was lost: reset
      fail #1 (Unknown): the connection was lost: reset
    1.020s due
      dial 2 to a, attempt 2
    2.000s handshake on 2
      status: ready 2
    2.000s answer to #1 on 2
      ignored: nobody waits for this answer
    end: next deadline 62.000s, 0 pending
    "#);
}

/// Requests go out in the order they were made, also when they had to wait.
#[test]
fn settles_once_the_order_of_requests_is_kept() {
    let script = script().max_in_flight(2).requests(1..=4).at(10).ready(1).reply(1, 2, "{}").cancel(1);
    assert_snapshot!(check(script), @r"
    0.000s request #1
    0.000s request #2
    0.000s request #3
    0.000s request #4
    0.000s due
      dial 1 to a, attempt 1
    0.010s handshake on 1
      status: ready 1
      transmit on 1: #1
      transmit on 1: #2
    0.010s answer to #2 on 1
      complete #2 over 1: {}
      transmit on 1: #3
    0.010s cancel #1
      transmit on 1: #4
    end: next deadline 30.000s, 2 pending
    ");
}

/// A refused hello does not touch the queue; a refusal that pauses empties it, with the reason.
#[test]
fn settles_once_queued_requests_survive_a_retry_and_end_with_a_pause() {
    let pause = invalid_request("bad token", r#"{"code":"AUTH_TOKEN_MISMATCH"}"#);
    let script = script()
        .request_for(1, None)
        .challenged(1)
        .frame(1, "refusal", &refusal(crate::script::CONNECT, r#"{"code":"UNAVAILABLE","message":"later"}"#))
        .at(2_000)
        .challenged(2)
        .refuse(2, &pause)
        .request(2);
    assert_snapshot!(check(script), @r#"
    0.000s request #1
    0.000s due
      dial 1 to a, attempt 1
    0.000s opened 1
      status: handshaking 1
    0.000s challenge on 1
      transmit on 1: connect {"token":"token-a"}
    0.000s refusal on 1
      hang up 1 now: 1008 "connect failed"
      status: backoff after attempt 1 until 1.000s: the gateway refused to connect: UNAVAILABLE: later
    1.000s due
      dial 2 to a, attempt 2
    2.000s opened 2
      status: handshaking 2
    2.000s challenge on 2
      transmit on 2: connect {"token":"token-a"}
    2.000s refusal {"code":"INVALID_REQUEST","message":"bad token","details":{"code":"AUTH_TOKEN_MISMATCH"}} on 2
      hang up 2 now: 1008 "connect failed"
      status: paused: the gateway refused the credentials (INVALID_REQUEST: bad token): configure others, or resume once the gateway takes these
      fail #1 (NotSent): the connection is paused: the gateway refused the credentials (INVALID_REQUEST: bad token): configure others, or resume once the gateway takes these
    2.000s request #2
      fail #2 (NotSent): the connection is paused: the gateway refused the credentials (INVALID_REQUEST: bad token): configure others, or resume once the gateway takes these
    end: next deadline none, 0 pending
    "#);
}

/// The deadline of a request runs from the call, also where the driver got to it late, as after a sleep.
#[test]
fn settles_once_the_time_before_the_core_received_a_request_counts() {
    let script =
        connected().request_after(60, 1, 100).request_after(100, 2, 100).request_after(0, 3, 0).until(50);
    assert_snapshot!(check(script), @r"
    0.000s request #1, made 60 ms ago for 100 ms
      transmit on 1: #1
    0.000s request #2, made 100 ms ago for 100 ms
      fail #2 (NotSent): no answer within 100ms
    0.000s request #3, made 0 ms ago for 0 ms
      fail #3 (NotSent): no answer within 0ns
    0.040s due
      fail #1 (Unknown): no answer within 100ms
    end: next deadline 60.000s, 0 pending
    ");
}
