//! `dead_is_detected`: an app that says that the network is back learns soon whether the connection still lives.

use insta::assert_snapshot;

use crate::history::check;
use crate::script::{connected, handshaking, script};

#[test]
fn dead_is_detected_soon_after_a_wake() {
    assert_snapshot!(check(connected().at(10_000).wake().until(16_000)), @r#"
    10.000s wake
      ping 1
    15.000s due
      hang up 1 now: 4000 "tick timeout"
      status: backoff after attempt 1 until 16.000s: nothing arrived for 15s
    16.000s due
      dial 2 to a, attempt 2
    end: next deadline 26.000s, 0 pending
    "#);
}

/// Whatever arrives is an answer: a pong, an event, or the bytes of a message that takes its time.
#[test]
fn dead_is_detected_a_wake_costs_no_connection_that_lives() {
    let wake = || connected().at(10_000).wake().at(14_999);
    for alive in
        [wake().activity(1), wake().event(1, "tick", 1), wake().noise(1), wake().bytes(1, 14_999, 14_000)]
    {
        let history = check(alive.until(60_000));
        assert!(!history.contains("hang up"), "{history}");
    }
    // Bytes from before the question answer nothing.
    let history = check(wake().bytes(1, 9_999, 9_000).until(15_000));
    assert!(history.contains("15.000s due\n  hang up 1 now"), "{history}");
}

/// A phone may say it with each change of its network.
#[test]
fn dead_is_detected_many_wakes_ask_once() {
    let script =
        connected().at(1_000).wake().wake().at(3_000).wake().at(5_000).activity(1).wake().until(9_999);
    assert_snapshot!(check(script), @r"
    1.000s wake
      ping 1
    1.000s wake
    3.000s wake
    5.000s activity on 1
    5.000s wake
      ping 1
    end: next deadline 10.000s, 0 pending
    ");
}

#[test]
fn dead_is_detected_a_wake_gives_no_time_to_a_peer_that_was_silent_before() {
    let history = check(connected().at(58_000).wake().until(60_000));
    assert!(history.contains("60.000s due\n  hang up 1 now: 4000 \"tick timeout\""), "{history}");
}

/// An attempt has its own time, and a wake neither ends nor lengthens it.
#[test]
fn dead_is_detected_a_wake_during_an_attempt_asks_nothing() {
    for script in [script().connect().wake(), script().connect().opened(1).wake(), handshaking().wake()] {
        let history = check(script);
        assert!(!history.contains("ping"), "{history}");
    }
}

#[test]
fn dead_is_detected_each_connection_is_asked_anew() {
    let script = connected().at(100).wake().at(200).lost(1).at(1_300).ready(2).at(5_200).wake().until(10_200);
    assert_snapshot!(check(script), @r#"
    0.100s wake
      ping 1
    0.200s lost 1
      status: backoff after attempt 1 until 1.200s: the connection was lost: reset
    1.200s due
      dial 2 to a, attempt 2
    1.300s handshake on 2
      status: ready 2
    5.200s wake
      ping 2
    10.200s due
      hang up 2 now: 4000 "tick timeout"
      status: backoff after attempt 2 until 12.200s: nothing arrived for 8.9s
    end: next deadline 12.200s, 0 pending
    "#);
}

#[test]
fn dead_is_detected_within_the_time_that_the_app_wants() {
    let script = connected().options(|options| options.wake_timeout = std::time::Duration::from_millis(300));
    let history = check(script.at(1_000).wake().until(1_300));
    assert!(history.contains("1.300s due\n  hang up 1 now"), "{history}");
}
