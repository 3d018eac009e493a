//! Presence, health, ticks, pings and sequence numbers.

use std::time::Duration;

use onesocket_gateway::{ConnectionId, Effect, Input, ModelEvent, Order};
use serde_json::{Value, json};

use crate::rig::{Rig, TOKEN, client};

/// Connects a device-less local CLI under this name, whose mode leaves no presence row.
fn cli(rig: &mut Rig, scopes: &[&str]) -> ConnectionId {
    let a = rig.open();
    let mut params = client("cli", "cli", scopes);
    params["auth"] = json!({"token": TOKEN});
    assert_eq!(rig.connect_with(a, &params)["ok"], true);
    a
}

fn events<'a>(frames: &'a [Value], name: &str) -> Vec<&'a Value> {
    frames.iter().filter(|frame| frame["event"] == name).collect()
}

// Protocol 11.1.
#[test]
fn every_connection_counts_its_own_events_from_one() {
    let mut rig = Rig::default();
    let a = cli(&mut rig, &["operator.read"]);
    rig.pong_until(a, Duration::from_secs(100));
    let b = cli(&mut rig, &["operator.read"]);
    rig.advance(Duration::from_millis(20));
    rig.order(Order::Emit { event: "test.event".to_owned(), payload: "{}".into() });
    for connection in [a, b] {
        let frames = rig.sent(connection);
        let seqs: Vec<u64> = frames.iter().filter_map(|frame| frame["seq"].as_u64()).collect();
        let expected: Vec<u64> = (1..=seqs.len() as u64).collect();
        assert_eq!(seqs, expected);
    }
}

// Protocol 10.5.
#[test]
fn a_tracked_client_sees_presence_before_its_own_hello() {
    let mut rig = Rig::default();
    let a = rig.open();
    rig.sent(a);
    rig.send_connect(a, TOKEN);
    assert_eq!(rig.sent(a)[0]["id"], "connect", "a backend leaves no row");
    let (b, key) = (rig.open(), crate::devices::Key::new(7));
    let params = client("openclaw-macos", "ui", &["operator.read"]);
    let frames = key.connect_frames(&mut rig, b, params, TOKEN);
    assert_eq!((&frames[0]["event"], &frames[0]["seq"]), (&json!("presence"), &json!(1)));
    assert_eq!(frames[1]["payload"]["type"], "hello-ok");
    let version = &frames[0]["stateVersion"]["presence"];
    assert_eq!(version, &frames[1]["payload"]["snapshot"]["stateVersion"]["presence"]);
    let rows = frames[0]["payload"]["presence"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["reason"], &rows[1]["reason"]), (2, &json!("self"), &json!("connect")));
}

// Protocol 10.6.
#[test]
fn the_row_of_a_client_that_left_stays_for_five_minutes() {
    let mut rig = Rig::default();
    let watcher = cli(&mut rig, &["operator.read"]);
    let (a, key) = (rig.open(), crate::devices::Key::new(7));
    key.connect_frames(&mut rig, a, client("openclaw-tui", "ui", &["operator.read"]), TOKEN);
    rig.sent(watcher);
    rig.disconnect(a);
    let frames = rig.sent(watcher);
    assert_eq!(events(&frames, "presence")[0]["payload"]["presence"][1]["reason"], "disconnect");
    let rows = |rig: &mut Rig| {
        let answer = rig.request(watcher, "1", "system-presence", &json!({})).unwrap();
        answer["payload"].as_array().unwrap().len()
    };
    assert_eq!(rows(&mut rig), 2);
    rig.pong_until(watcher, rig.now + Duration::from_secs(301));
    assert_eq!(rows(&mut rig), 1);
}

// Protocol 10.3, 10.8.
#[test]
fn events_are_gated_by_scope() {
    let mut rig = Rig::default();
    let none = cli(&mut rig, &[]);
    let read = cli(&mut rig, &["operator.read"]);
    let pairing = cli(&mut rig, &["operator.pairing"]);
    rig.advance(Duration::from_millis(20));
    for connection in [none, read, pairing] {
        rig.sent(connection);
    }
    for event in ["heartbeat", "agent", "device.pair.requested"] {
        rig.order(Order::Emit { event: event.to_owned(), payload: "{}".into() });
    }
    let mut seen = |connection| {
        let frames = rig.sent(connection);
        frames.iter().map(|frame| frame["event"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(seen(none), ["heartbeat"]);
    assert_eq!(seen(read), ["heartbeat", "agent"]);
    assert_eq!(seen(pairing), ["heartbeat", "device.pair.requested"]);
}

// Protocol 10.4.
#[test]
fn health_is_broadcast_after_every_hello_and_every_minute() {
    let mut rig = Rig::default();
    let a = cli(&mut rig, &[]);
    rig.advance(Duration::from_millis(6));
    let frames = rig.sent(a);
    let first = events(&frames, "health")[0]["stateVersion"]["health"].as_u64().unwrap();
    cli(&mut rig, &[]);
    rig.advance(Duration::from_millis(6));
    let frames = rig.sent(a);
    assert_eq!(events(&frames, "health")[0]["stateVersion"]["health"], first + 1);
    rig.pong_until(a, Duration::from_secs(60));
    let frames = rig.sent(a);
    assert_eq!(events(&frames, "health")[0]["stateVersion"]["health"], first + 2);
}

#[test]
fn refreshes_nobody_saw_still_count() {
    let mut rig = Rig::default();
    let a = cli(&mut rig, &[]);
    rig.advance(Duration::from_secs(1));
    rig.disconnect(a);
    let before = rig.model.next_deadline();
    rig.advance(Duration::from_secs(599));
    let b = rig.open();
    let hello = rig.connect(b, TOKEN);
    assert_eq!(
        hello["payload"]["snapshot"]["stateVersion"]["health"], 13,
        "2 by then and 10 more, and one for the hello"
    );
    assert!(before.is_some());
}

// Protocol 14.1: one global clock, not aligned to the connection.
#[test]
fn ticks_come_every_thirty_seconds_from_one_clock() {
    let mut rig = Rig::default();
    rig.advance(Duration::from_secs(9));
    let a = cli(&mut rig, &[]);
    rig.pong_until(a, Duration::from_secs(29));
    assert!(events(&rig.sent(a), "tick").is_empty());
    rig.pong_until(a, Duration::from_secs(90));
    assert_eq!(events(&rig.sent(a), "tick").len(), 3);
}

#[test]
fn a_gateway_without_clients_comes_to_rest() {
    let mut rig = Rig::default();
    let a = cli(&mut rig, &[]);
    rig.advance(Duration::from_secs(10));
    rig.disconnect(a);
    rig.advance(Duration::from_secs(600));
    assert_eq!(rig.model.next_deadline(), None);
}

// Protocol 1.9.
#[test]
fn a_client_that_answers_no_ping_is_dropped_fifty_seconds_after_hello() {
    let mut rig = Rig::default();
    let a = cli(&mut rig, &[]);
    let hello = rig.now;
    rig.advance(Duration::from_secs(25));
    assert_eq!(rig.seen[&a].pings, 1);
    rig.advance(Duration::from_millis(24_999));
    assert!(!rig.terminated(a));
    rig.advance(Duration::from_millis(1));
    assert!(rig.terminated(a));
    assert_eq!(rig.now - hello, Duration::from_secs(50));
}

#[test]
fn a_client_that_answers_pings_stays() {
    let mut rig = Rig::default();
    let a = cli(&mut rig, &[]);
    rig.pong_until(a, Duration::from_secs(1000));
    assert_eq!(rig.closed(a), None);
    assert!(!rig.terminated(a));
}

// Protocol 11.2, 11.6.
#[test]
fn a_slow_consumer_loses_presence_but_not_ticks() {
    let mut rig = Rig::default();
    let a = cli(&mut rig, &["operator.read"]);
    rig.advance(Duration::from_millis(20));
    rig.sent(a);
    rig.step(Input::Buffered { connection: a, bytes: 52_428_801 });
    rig.order(Order::Emit { event: "presence".to_owned(), payload: "{}".into() });
    assert!(!rig.terminated(a));
    assert!(rig.sent(a).is_empty());
    rig.step(Input::Buffered { connection: a, bytes: 0 });
    rig.order(Order::Emit { event: "presence".to_owned(), payload: "{}".into() });
    assert_eq!(rig.sent(a)[0]["seq"], 3, "the dropped event consumed number 2");
    rig.step(Input::Buffered { connection: a, bytes: 52_428_801 });
    rig.order(Order::Emit { event: "tick".to_owned(), payload: "{}".into() });
    assert!(rig.terminated(a));
}

#[test]
fn a_dropped_event_consumes_its_number() {
    let mut rig = Rig::default();
    let a = cli(&mut rig, &[]);
    rig.advance(Duration::from_millis(20));
    rig.sent(a);
    rig.order(Order::DropNextEvent);
    for _ in 0..2 {
        rig.order(Order::Emit { event: "test.event".to_owned(), payload: "{}".into() });
    }
    let frames = rig.sent(a);
    assert_eq!((frames.len(), &frames[0]["seq"]), (1, &json!(3)));
    assert!(
        rig.log
            .iter()
            .any(|effect| matches!(effect, Effect::ModelEvent(ModelEvent::EventDropped { seq: 2, .. })))
    );
}
