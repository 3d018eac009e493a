//! `settles_once`: a request that is bound to one connection never moves to the next.

use insta::assert_snapshot;

use crate::history::check;
use crate::script::{connected, script};

#[test]
fn settles_once_a_bound_request_goes_over_its_connection() {
    let script = connected().request_only_on(1, 1).at(10).reply(1, 1, "{}");
    assert_snapshot!(check(script), @r"
    0.000s request #1 on 1 only
      transmit on 1: #1
    0.010s answer to #1 on 1
      complete #1 over 1: {}
    end: next deadline 60.010s, 0 pending
    ");
}

/// Nobody connects for a request that could not be sent over that connection anyway.
#[test]
fn settles_once_a_bound_request_makes_nobody_connect() {
    let script = script().request_only_on(1, 1).connect().request_only_on(1, 2).until(1);
    assert_snapshot!(check(script), @r"
    0.000s request #1 on 1 only
      fail #1 (NotSent): connection 1, to which the request is bound, is not ready
    0.000s connect
    0.000s request #2 on 1 only
      fail #2 (NotSent): connection 1, to which the request is bound, is not ready
    0.000s due
      dial 1 to a, attempt 1
    end: next deadline 10.000s, 0 pending
    ");
}

/// Queued behind others when its connection ends, it ends too, as not sent; the others go on.
#[test]
fn settles_once_a_bound_request_ends_with_its_connection() {
    let script = connected()
        .max_in_flight(1)
        .request(1)
        .request_only_on(1, 2)
        .request(3)
        .at(10)
        .lost(1)
        .request_only_on(1, 4)
        .at(2_000)
        .ready(2)
        .request_only_on(1, 5)
        .request_only_on(2, 6);
    assert_snapshot!(check(script), @r"
    0.000s request #1
      transmit on 1: #1
    0.000s request #2 on 1 only
    0.000s request #3
    0.010s lost 1
      status: backoff after attempt 1 until 1.010s: the connection was lost: reset
      fail #1 (Unknown): the connection was lost: reset
      fail #2 (NotSent): the connection was lost: reset
    0.010s request #4 on 1 only
      fail #4 (NotSent): connection 1, to which the request is bound, is not ready
    1.010s due
      dial 2 to a, attempt 2
    2.000s handshake on 2
      status: ready 2
      transmit on 2: #3
    2.000s request #5 on 1 only
      fail #5 (NotSent): connection 1, to which the request is bound, is not ready
    2.000s request #6 on 2 only
    end: next deadline 30.000s, 2 pending
    ");
}

/// A change of config is the end of its connection, also while the old socket closes.
#[test]
fn settles_once_a_bound_request_ends_with_its_config() {
    let script = connected()
        .max_in_flight(1)
        .request(1)
        .request_only_on(1, 2)
        .at(10)
        .configure("b")
        .request_only_on(1, 3);
    assert_snapshot!(check(script), @r#"
    0.000s request #1
      transmit on 1: #1
    0.000s request #2 on 1 only
    0.010s configure b
      fail #1 (Unknown): a new configuration replaced this connection
      fail #2 (NotSent): a new configuration replaced this connection
      hang up 1 gracefully: 1000 "configuration changed"
      status: closing
    0.010s request #3 on 1 only
      fail #3 (NotSent): connection 1, to which the request is bound, is not ready
    end: next deadline 0.510s, 0 pending
    "#);
}
