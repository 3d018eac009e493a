//! `snapshot_first`: a subscriber starts from the latest snapshot, and again on every connection.

use insta::assert_snapshot;

use crate::history::check;
use crate::script::{connected, script, subscribed, subscribed_early};

/// A presence event, as the gateway sends them: the whole list, with the versions.
fn presence(list: &str, version: u64, seq: u64) -> String {
    format!(
        r#"{{"type":"event","event":"presence","payload":{{"presence":{list}}},"seq":{seq},"stateVersion":{{"presence":{version},"health":1}}}}"#
    )
}

fn health(version: u64, seq: u64) -> String {
    format!(
        r#"{{"type":"event","event":"health","payload":{{"ok":true}},"seq":{seq},"stateVersion":{{"presence":1,"health":{version}}}}}"#
    )
}

/// Neither a status nor anything else comes before the first snapshot.
#[test]
fn snapshot_first_for_a_subscriber_that_was_there_before_the_connection() {
    let script = script().subscribe(1).at(10).refused(1).at(2_000).ready(2).event(2, "chat", 1);
    assert_snapshot!(check(script), @r"
    0.000s subscribe 1
    0.000s due
      dial 1 to a, attempt 1
    0.010s dial 1 refused
      status: backoff after attempt 1 until 1.010s: dial failed: the connection was refused
    1.010s due
      dial 2 to a, attempt 2
    2.000s handshake on 2
      to 1: snapshot of 2 (presence 1 [], health 1 {})
      status, also to 1: ready 2
    2.000s event chat 1 on 2
      to 1: event chat 1 of 2
    end: next deadline 62.000s, 0 pending
    ");
}

/// B33: whoever sees `ready` finds the snapshot of that connection in place.
#[test]
fn snapshot_first_then_ready() {
    let script = script().subscribe(1).subscribe(2).ready(1);
    assert_snapshot!(check(script), @r"
    0.000s subscribe 1
    0.000s subscribe 2
    0.000s due
      dial 1 to a, attempt 1
    0.000s handshake on 1
      to 1: snapshot of 1 (presence 1 [], health 1 {})
      to 2: snapshot of 1 (presence 1 [], health 1 {})
      status, also to 1, 2: ready 1
    end: next deadline 60.000s, 0 pending
    ");
}

/// A10, B31: a late subscriber misses nothing and gets nothing twice.
#[test]
fn snapshot_first_for_a_late_subscriber_includes_the_events_so_far() {
    let script = connected()
        .frame(1, "presence 2", &presence(r#"["x"]"#, 2, 1))
        .frame(1, "health 2", &health(2, 2))
        .at(10)
        .subscribe(1)
        .frame(1, "presence 3", &presence(r#"["x","y"]"#, 3, 3))
        .subscribe(2);
    assert_snapshot!(check(script), @r#"
    0.000s presence 2 on 1
    0.000s health 2 on 1
    0.010s subscribe 1
      to 1: snapshot of 1 (presence 2 ["x"], health 2 {"ok":true})
    0.010s presence 3 on 1
      to 1: event presence 3 of 1
    0.010s subscribe 2
      to 2: snapshot of 1 (presence 3 ["x","y"], health 2 {"ok":true})
    end: next deadline 60.010s, 0 pending
    "#);
}

/// Protocol 10.3: within one connection an older version never replaces a newer one, but the event
/// itself is delivered.
#[test]
fn snapshot_first_an_older_version_does_not_replace_a_newer_one() {
    let script = connected()
        .frame(1, "presence 3", &presence(r#"["new"]"#, 3, 1))
        .subscribe(1)
        .frame(1, "presence 2", &presence(r#"["old"]"#, 2, 2))
        .subscribe(2);
    assert_snapshot!(check(script), @r#"
    0.000s presence 3 on 1
    0.000s subscribe 1
      to 1: snapshot of 1 (presence 3 ["new"], health 1 {})
    0.000s presence 2 on 1
      to 1: event presence 2 of 1
    0.000s subscribe 2
      to 2: snapshot of 1 (presence 3 ["new"], health 1 {})
    end: next deadline 60.000s, 0 pending
    "#);
}

/// Protocol 10.7: the versions start again with the gateway's process, so hello always wins.
#[test]
fn snapshot_first_a_lower_version_of_a_new_connection_replaces_everything() {
    let script = subscribed()
        .frame(1, "presence 9", &presence(r#"["before"]"#, 9, 1))
        .outage(1, 10..2_000)
        .frame(2, "presence 2", &presence(r#"["after"]"#, 2, 1))
        .subscribe(2);
    assert_snapshot!(check(script), @r#"
    0.000s presence 9 on 1
      to 1: event presence 1 of 1
    0.010s lost 1
      status, also to 1: backoff after attempt 1 until 1.010s: the connection was lost: reset
    1.010s due
      dial 2 to a, attempt 2
      to 1: status connecting 2, attempt 2
    2.000s handshake on 2
      to 1: snapshot of 2 (presence 1 [], health 1 {})
      status, also to 1: ready 2
    2.000s presence 2 on 2
      to 1: event presence 1 of 2
    2.000s subscribe 2
      to 2: snapshot of 2 (presence 2 ["after"], health 1 {})
    end: next deadline 62.000s, 0 pending
    "#);
}

/// B32: subscribers from before the outage receive the new state before anything that follows it.
#[test]
fn snapshot_first_on_every_new_connection_for_every_subscriber() {
    let script = subscribed()
        .event(1, "chat", 1)
        .subscribe(2)
        .at(10)
        .lost(1)
        .at(500)
        .subscribe(3)
        .at(2_000)
        .ready(2)
        .event(2, "chat", 1);
    assert_snapshot!(check(script), @r"
    0.000s event chat 1 on 1
      to 1: event chat 1 of 1
    0.000s subscribe 2
      to 2: snapshot of 1 (presence 1 [], health 1 {})
    0.010s lost 1
      status, also to 1, 2: backoff after attempt 1 until 1.010s: the connection was lost: reset
    0.500s subscribe 3
      to 3: snapshot of 1 (presence 1 [], health 1 {})
      to 3: status backoff after attempt 1 until 1.010s: the connection was lost: reset
    1.010s due
      dial 2 to a, attempt 2
      to 1: status connecting 2, attempt 2
      to 2: status connecting 2, attempt 2
      to 3: status connecting 2, attempt 2
    2.000s handshake on 2
      to 1: snapshot of 2 (presence 1 [], health 1 {})
      to 2: snapshot of 2 (presence 1 [], health 1 {})
      to 3: snapshot of 2 (presence 1 [], health 1 {})
      status, also to 1, 2, 3: ready 2
    2.000s event chat 1 on 2
      to 1: event chat 1 of 2
      to 2: event chat 1 of 2
      to 3: event chat 1 of 2
    end: next deadline 62.000s, 0 pending
    ");
}

/// Protocol 10.5: the gateway broadcasts our own presence before it says hello.
#[test]
fn snapshot_first_events_before_hello_follow_the_snapshot() {
    let script = script()
        .subscribe(1)
        .opened(1)
        .event(1, "before.challenge", 1)
        .challenge(1)
        .frame(1, "presence 2", &presence(r#"["us"]"#, 2, 2))
        .event(1, "tick", None)
        .greeted(1)
        .event(1, "health", 3);
    assert_snapshot!(check(script), @r#"
    0.000s subscribe 1
    0.000s due
      dial 1 to a, attempt 1
    0.000s opened 1
      status: handshaking 1
    0.000s event before.challenge 1 on 1
    0.000s challenge on 1
      transmit on 1: connect {"token":"token-a"}
    0.000s presence 2 on 1
    0.000s event tick on 1
    0.000s hello on 1
      to 1: snapshot of 1 (presence 1 [], health 1 {})
      status, also to 1: ready 1
      to 1: event before.challenge 1 of 1
      to 1: event presence 2 of 1
      to 1: event tick without number of 1
    0.000s event health 3 on 1
      to 1: event health 3 of 1
    end: next deadline 60.000s, 0 pending
    "#);
}

/// Early events of an attempt that failed belong to nobody.
#[test]
fn snapshot_first_early_events_die_with_their_attempt() {
    let script = subscribed_early().event(1, "chat", 1).lost(1).at(2_000).ready(2).event(2, "chat", 1);
    assert_snapshot!(check(script), @r"
    0.000s event chat 1 on 1
    0.000s lost 1
      status: backoff after attempt 1 until 1.000s: the connection was lost: reset
    1.000s due
      dial 2 to a, attempt 2
    2.000s handshake on 2
      to 1: snapshot of 2 (presence 1 [], health 1 {})
      status, also to 1: ready 2
    2.000s event chat 1 on 2
      to 1: event chat 1 of 2
    end: next deadline 62.000s, 0 pending
    ");
}

/// A new gateway's subscribers receive nothing of the old one, and join no stale snapshot.
#[test]
fn snapshot_first_after_a_config_change_the_old_snapshot_is_gone() {
    let script = subscribed().at(10).configure("b").subscribe(2).at(20).closed_cleanly(1).at(30).ready(2);
    assert_snapshot!(check(script), @r#"
    0.010s configure b
      hang up 1 gracefully: 1000 "configuration changed"
      status, also to 1: closing
    0.010s subscribe 2
    0.020s closed 1 with 1000 ""
    0.020s due
      dial 2 to b, attempt 1
      to 1: status connecting 2, attempt 1
    0.030s handshake on 2
      to 1: snapshot of 2 (presence 1 [], health 1 {})
      to 2: snapshot of 2 (presence 1 [], health 1 {})
      status, also to 1, 2: ready 2
    end: next deadline 60.030s, 0 pending
    "#);
}

#[test]
fn snapshot_first_a_subscriber_that_left_gets_nothing() {
    let script = script().subscribe(1).subscribe(2).ready(1).unsubscribe(1).event(1, "chat", 1);
    assert_snapshot!(check(script), @r"
    0.000s subscribe 1
    0.000s subscribe 2
    0.000s due
      dial 1 to a, attempt 1
    0.000s handshake on 1
      to 1: snapshot of 1 (presence 1 [], health 1 {})
      to 2: snapshot of 1 (presence 1 [], health 1 {})
      status, also to 1, 2: ready 1
    0.000s unsubscribe 1
    0.000s event chat 1 on 1
      to 2: event chat 1 of 1
    end: next deadline 60.000s, 0 pending
    ");
}
