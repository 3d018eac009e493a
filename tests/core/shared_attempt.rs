//! `shared_attempt`: callers share one attempt, and none of them can kill it for the others.

use insta::assert_snapshot;

use crate::history::check;
use crate::script::{connected, script};

#[test]
fn shared_attempt_sixteen_requests_one_dial() {
    assert_snapshot!(check(script().requests(1..=16).at(10).ready(1)), @r"
    0.000s request #1
    0.000s request #2
    0.000s request #3
    0.000s request #4
    0.000s request #5
    0.000s request #6
    0.000s request #7
    0.000s request #8
    0.000s request #9
    0.000s request #10
    0.000s request #11
    0.000s request #12
    0.000s request #13
    0.000s request #14
    0.000s request #15
    0.000s request #16
    0.000s due
      dial 1 to a, attempt 1
    0.010s handshake on 1
      status: ready 1
      transmit on 1: #1
      transmit on 1: #2
      transmit on 1: #3
      transmit on 1: #4
      transmit on 1: #5
      transmit on 1: #6
      transmit on 1: #7
      transmit on 1: #8
      transmit on 1: #9
      transmit on 1: #10
      transmit on 1: #11
      transmit on 1: #12
      transmit on 1: #13
      transmit on 1: #14
      transmit on 1: #15
      transmit on 1: #16
    end: next deadline 30.000s, 16 pending
    ");
}

/// B27: however many requests fail with a socket, there is one dial for all of them.
#[test]
fn shared_attempt_sixteen_requests_lost_together_one_dial() {
    let script = connected().requests(1..=16).at(50).lost(1).at(60).requests(17..=20).until(1_200);
    assert_snapshot!(check(script), @r"
    0.000s request #1
      transmit on 1: #1
    0.000s request #2
      transmit on 1: #2
    0.000s request #3
      transmit on 1: #3
    0.000s request #4
      transmit on 1: #4
    0.000s request #5
      transmit on 1: #5
    0.000s request #6
      transmit on 1: #6
    0.000s request #7
      transmit on 1: #7
    0.000s request #8
      transmit on 1: #8
    0.000s request #9
      transmit on 1: #9
    0.000s request #10
      transmit on 1: #10
    0.000s request #11
      transmit on 1: #11
    0.000s request #12
      transmit on 1: #12
    0.000s request #13
      transmit on 1: #13
    0.000s request #14
      transmit on 1: #14
    0.000s request #15
      transmit on 1: #15
    0.000s request #16
      transmit on 1: #16
    0.050s lost 1
      status: backoff after attempt 1 until 1.050s: the connection was lost: reset
      fail #1 (Unknown): the connection was lost: reset
      fail #2 (Unknown): the connection was lost: reset
      fail #3 (Unknown): the connection was lost: reset
      fail #4 (Unknown): the connection was lost: reset
      fail #5 (Unknown): the connection was lost: reset
      fail #6 (Unknown): the connection was lost: reset
      fail #7 (Unknown): the connection was lost: reset
      fail #8 (Unknown): the connection was lost: reset
      fail #9 (Unknown): the connection was lost: reset
      fail #10 (Unknown): the connection was lost: reset
      fail #11 (Unknown): the connection was lost: reset
      fail #12 (Unknown): the connection was lost: reset
      fail #13 (Unknown): the connection was lost: reset
      fail #14 (Unknown): the connection was lost: reset
      fail #15 (Unknown): the connection was lost: reset
      fail #16 (Unknown): the connection was lost: reset
    0.060s request #17
    0.060s request #18
    0.060s request #19
    0.060s request #20
    1.050s due
      dial 2 to a, attempt 2
    end: next deadline 11.050s, 4 pending
    ");
}

/// B28: the caller that began the attempt goes away, and the others get their answers.
#[test]
fn shared_attempt_dropping_the_first_caller_keeps_the_attempt_alive() {
    let script =
        script().requests(1..=2).at(10).opened(1).cancel(1).challenge(1).greeted(1).at(20).reply(1, 2, "{}");
    assert_snapshot!(check(script), @r#"
    0.000s request #1
    0.000s request #2
    0.000s due
      dial 1 to a, attempt 1
    0.010s opened 1
      status: handshaking 1
    0.010s cancel #1
    0.010s challenge on 1
      transmit on 1: connect {"token":"token-a"}
    0.010s hello on 1
      status: ready 1
      transmit on 1: #2
    0.020s answer to #2 on 1
      complete #2 over 1: {}
    end: next deadline 60.020s, 0 pending
    "#);
}

/// A09: a caller that left during the handshake has nothing sent for it.
#[test]
fn shared_attempt_a_caller_that_left_is_never_sent() {
    let script = script().requests(1..=2).at(10).cancel(2).ready(1);
    assert_snapshot!(check(script), @r"
    0.000s request #1
    0.000s request #2
    0.000s due
      dial 1 to a, attempt 1
    0.010s cancel #2
    0.010s handshake on 1
      status: ready 1
      transmit on 1: #1
    end: next deadline 30.000s, 1 pending
    ");
}

#[test]
fn shared_attempt_goes_on_when_every_caller_left() {
    let script = script().request(1).at(10).cancel(1).ready(1);
    assert_snapshot!(check(script), @r"
    0.000s request #1
    0.000s due
      dial 1 to a, attempt 1
    0.010s cancel #1
    0.010s handshake on 1
      status: ready 1
    end: next deadline 60.010s, 0 pending
    ");
}

/// B29: one caller after the other, each after the failure of the last, cause no dial of their own.
#[test]
fn shared_attempt_callers_after_a_failure_wait_for_the_same_next_attempt() {
    let script = script()
        .request(1)
        .at(10)
        .refused(1)
        .request(2)
        .at(20)
        .cancel(1)
        .request(3)
        .at(30)
        .request(4)
        .at(1_020)
        .ready(2);
    assert_snapshot!(check(script), @r"
    0.000s request #1
    0.000s due
      dial 1 to a, attempt 1
    0.010s dial 1 refused
      status: backoff after attempt 1 until 1.010s: dial failed: the connection was refused
    0.010s request #2
    0.020s cancel #1
    0.020s request #3
    0.030s request #4
    1.010s due
      dial 2 to a, attempt 2
    1.020s handshake on 2
      status: ready 2
      transmit on 2: #2
      transmit on 2: #3
      transmit on 2: #4
    end: next deadline 30.010s, 3 pending
    ");
}
