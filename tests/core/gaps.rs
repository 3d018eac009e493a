//! `gap_before_event`: a gap is reported before the event that reveals it.

use insta::assert_snapshot;

use crate::history::check;
use crate::script::{subscribed, subscribed_early};

/// B36.
#[test]
fn gap_before_event_a_dropped_event_is_reported_just_before_the_next() {
    assert_snapshot!(check(subscribed().at(10).events(1, [1, 3, 4])), @r"
    0.010s event e 1 on 1
      to 1: event e 1 of 1
    0.010s event e 3 on 1
      to 1: gap of 1: expected 2, received 3
      to 1: event e 3 of 1
    0.010s event e 4 on 1
      to 1: event e 4 of 1
    end: next deadline 60.010s, 0 pending
    ");
}

/// B39: unnumbered, repeated and older events are delivered and move nothing.
#[test]
fn gap_before_event_duplicates_older_and_unnumbered_events_cause_no_false_gap() {
    let numbers = [Some(41), None, Some(42), Some(42), Some(41), Some(42), Some(44)];
    assert_snapshot!(check(subscribed().at(10).events(1, numbers)), @r"
    0.010s event e 41 on 1
      to 1: event e 41 of 1
    0.010s event e on 1
      to 1: event e without number of 1
    0.010s event e 42 on 1
      to 1: event e 42 of 1
    0.010s event e 42 on 1
      to 1: event e 42 of 1
    0.010s event e 41 on 1
      to 1: event e 41 of 1
    0.010s event e 42 on 1
      to 1: event e 42 of 1
    0.010s event e 44 on 1
      to 1: gap of 1: expected 43, received 44
      to 1: event e 44 of 1
    end: next deadline 60.010s, 0 pending
    ");
}

/// B39: an older event by far does not move the baseline back either.
#[test]
fn gap_before_event_a_much_older_event_does_not_move_the_baseline() {
    assert_snapshot!(check(subscribed().at(10).events(1, [41, 42, 43, 7, 44, 46])), @r"
    0.010s event e 41 on 1
      to 1: event e 41 of 1
    0.010s event e 42 on 1
      to 1: event e 42 of 1
    0.010s event e 43 on 1
      to 1: event e 43 of 1
    0.010s event e 7 on 1
      to 1: event e 7 of 1
    0.010s event e 44 on 1
      to 1: event e 44 of 1
    0.010s event e 46 on 1
      to 1: gap of 1: expected 45, received 46
      to 1: event e 46 of 1
    end: next deadline 60.010s, 0 pending
    ");
}

/// B34: the numbering belongs to its connection.
#[test]
fn gap_before_event_numbers_start_again_with_every_connection() {
    let script = subscribed()
        .event(1, "e", 41)
        .outage(1, 10..2_000)
        .events(2, [100, 102])
        .outage(2, 2_010..5_000)
        .events(3, [1, 3]);
    assert_snapshot!(check(script), @r"
    0.000s event e 41 on 1
      to 1: event e 41 of 1
    0.010s lost 1
      status, also to 1: backoff after attempt 1 until 1.010s: the connection was lost: reset
    1.010s due
      dial 2 to a, attempt 2
      to 1: status connecting 2, attempt 2
    2.000s handshake on 2
      to 1: snapshot of 2 (presence 1 [], health 1 {})
      status, also to 1: ready 2
    2.000s event e 100 on 2
      to 1: event e 100 of 2
    2.000s event e 102 on 2
      to 1: gap of 2: expected 101, received 102
      to 1: event e 102 of 2
    2.010s lost 2
      status, also to 1: backoff after attempt 2 until 4.010s: the connection was lost: reset
    4.010s due
      dial 3 to a, attempt 3
      to 1: status connecting 3, attempt 3
    5.000s handshake on 3
      to 1: snapshot of 3 (presence 1 [], health 1 {})
      status, also to 1: ready 3
    5.000s event e 1 on 3
      to 1: event e 1 of 3
    5.000s event e 3 on 3
      to 1: gap of 3: expected 2, received 3
      to 1: event e 3 of 3
    end: next deadline 65.000s, 0 pending
    ");
}

/// B37: no number reveals a lost last event, but the next connection begins with a snapshot.
#[test]
fn gap_before_event_a_lost_tail_is_covered_by_the_next_snapshot() {
    let script = subscribed().event(1, "e", 1).at(10).closed(1, 1008, "slow consumer").at(2_000).ready(2);
    assert_snapshot!(check(script), @r#"
    0.000s event e 1 on 1
      to 1: event e 1 of 1
    0.010s closed 1 with 1008 "slow consumer"
      status, also to 1: backoff after attempt 1 until 1.010s: the gateway closed the connection: 1008 "slow consumer"
    1.010s due
      dial 2 to a, attempt 2
      to 1: status connecting 2, attempt 2
    2.000s handshake on 2
      to 1: snapshot of 2 (presence 1 [], health 1 {})
      status, also to 1: ready 2
    end: next deadline 62.000s, 0 pending
    "#);
}

#[test]
fn gap_before_event_a_gap_before_hello_follows_the_snapshot() {
    let script = subscribed_early().events(1, [1, 4]).greeted(1).events(1, [5, 7]);
    assert_snapshot!(check(script), @r"
    0.000s event e 1 on 1
    0.000s event e 4 on 1
    0.000s hello on 1
      to 1: snapshot of 1 (presence 1 [], health 1 {})
      status, also to 1: ready 1
      to 1: event e 1 of 1
      to 1: gap of 1: expected 2, received 4
      to 1: event e 4 of 1
    0.000s event e 5 on 1
      to 1: event e 5 of 1
    0.000s event e 7 on 1
      to 1: gap of 1: expected 6, received 7
      to 1: event e 7 of 1
    end: next deadline 60.000s, 0 pending
    ");
}

/// A gateway that floods an attempt before its hello costs bounded memory, and what did not fit is
/// reported.
#[test]
fn gap_before_event_early_overflow_becomes_a_gap() {
    let script = subscribed_early().options(|options| options.max_early_events = 3);
    assert_snapshot!(check(script.events(1, 1..=5).greeted(1).event(1, "e", 6)), @r"
    0.000s event e 1 on 1
    0.000s event e 2 on 1
    0.000s event e 3 on 1
    0.000s event e 4 on 1
    0.000s event e 5 on 1
    0.000s hello on 1
      to 1: snapshot of 1 (presence 1 [], health 1 {})
      status, also to 1: ready 1
      to 1: gap of 1: expected 1, received 4
      to 1: event e 4 of 1
      to 1: event e 5 of 1
    0.000s event e 6 on 1
      to 1: event e 6 of 1
    end: next deadline 60.000s, 0 pending
    ");
}

/// Few events may be large ones. An event that alone is too large is reported like one event too many, and so
/// are the events before it.
#[test]
fn gap_before_event_early_bytes_are_limited_too() {
    let large =
        |seq: u64| format!(r#"{{"type":"event","event":"e","payload":"{}","seq":{seq}}}"#, "x".repeat(300));
    let script = subscribed_early().options(|options| options.max_early_bytes = 500);
    let script = script
        .event(1, "e", 1)
        .frame(1, "large event 2", &large(2))
        .frame(1, "large event 3", &large(3))
        .greeted(1)
        .event(1, "e", 4);
    assert_snapshot!(check(script), @r"
    0.000s event e 1 on 1
    0.000s large event 2 on 1
    0.000s large event 3 on 1
    0.000s hello on 1
      to 1: snapshot of 1 (presence 1 [], health 1 {})
      status, also to 1: ready 1
      to 1: gap of 1: expected 1, received 3
      to 1: event e 3 of 1
    0.000s event e 4 on 1
      to 1: event e 4 of 1
    end: next deadline 60.000s, 0 pending
    ");
}

#[test]
fn gap_before_event_an_early_event_larger_than_the_limit_is_reported_as_missing() {
    let script = subscribed_early().options(|options| options.max_early_bytes = 10);
    assert_snapshot!(check(script.event(1, "e", 1).greeted(1).event(1, "e", 2)), @r"
    0.000s event e 1 on 1
    0.000s hello on 1
      to 1: snapshot of 1 (presence 1 [], health 1 {})
      status, also to 1: ready 1
      to 1: gap of 1: expected 1, received 2
    0.000s event e 2 on 1
      to 1: event e 2 of 1
    end: next deadline 60.000s, 0 pending
    ");
}

/// The gap of an overflow covers all that was dropped, whatever was among it.
#[test]
fn gap_before_event_early_overflow_with_holes_repeats_and_unnumbered_events() {
    let numbers = [Some(7), Some(12), None, Some(12), Some(3), Some(13), Some(14), Some(15)];
    let script = subscribed_early().options(|options| options.max_early_events = 3);
    assert_snapshot!(check(script.events(1, numbers).greeted(1).event(1, "e", 16)), @r"
    0.000s event e 7 on 1
    0.000s event e 12 on 1
    0.000s event e on 1
    0.000s event e 12 on 1
    0.000s event e 3 on 1
    0.000s event e 13 on 1
    0.000s event e 14 on 1
    0.000s event e 15 on 1
    0.000s hello on 1
      to 1: snapshot of 1 (presence 1 [], health 1 {})
      status, also to 1: ready 1
      to 1: gap of 1: expected 3, received 14
      to 1: event e 14 of 1
      to 1: event e 15 of 1
    0.000s event e 16 on 1
      to 1: event e 16 of 1
    end: next deadline 60.000s, 0 pending
    ");
}

/// The last that was dropped may be older than what was dropped before it.
#[test]
fn gap_before_event_early_overflow_that_ends_with_an_older_event() {
    let numbers = [7, 12, 3, 13, 14];
    let script = subscribed_early().options(|options| options.max_early_events = 3);
    assert_snapshot!(check(script.events(1, numbers).greeted(1).event(1, "e", 15)), @r"
    0.000s event e 7 on 1
    0.000s event e 12 on 1
    0.000s event e 3 on 1
    0.000s event e 13 on 1
    0.000s event e 14 on 1
    0.000s hello on 1
      to 1: snapshot of 1 (presence 1 [], health 1 {})
      status, also to 1: ready 1
      to 1: gap of 1: expected 3, received 13
      to 1: event e 13 of 1
      to 1: event e 14 of 1
    0.000s event e 15 on 1
      to 1: event e 15 of 1
    end: next deadline 60.000s, 0 pending
    ");
}

/// An event is delivered whatever its state version looks like; a `seq` that is none makes it no
/// event at all.
#[test]
fn gap_before_event_a_malformed_number_is_not_a_number() {
    let event = |seq: &str| format!(r#"{{"type":"event","event":"e","seq":{seq}}}"#);
    let script = subscribed()
        .event(1, "e", 1)
        .frame(1, "negative", &event("-1"))
        .frame(1, "fraction", &event("2.5"))
        .frame(1, "text", &event("\"2\""))
        .frame(1, "huge", &event("9007199254740992"))
        .event(1, "e", 2);
    assert_snapshot!(check(script), @r"
    0.000s event e 1 on 1
      to 1: event e 1 of 1
    0.000s negative on 1
      ignored: the event has no name, or a seq that is not a safe integer
    0.000s fraction on 1
      ignored: the event has no name, or a seq that is not a safe integer
    0.000s text on 1
      ignored: the event has no name, or a seq that is not a safe integer
    0.000s huge on 1
      ignored: the event has no name, or a seq that is not a safe integer
    0.000s event e 2 on 1
      to 1: event e 2 of 1
    end: next deadline 60.000s, 0 pending
    ");
}
