//! Restarts, crashes, stops.

use std::time::Duration;

use onesocket_gateway::{Admission, Order, RestartMode};
use serde_json::{Value, json};

use crate::rig::{Rig, TOKEN};

const CLOSED: Admission = Admission::Unavailable("Gateway websocket admission closed");

fn restart(mode: RestartMode) -> Order {
    Order::Restart { mode, down: Duration::from_millis(700) }
}

// Protocol 16.2.
#[test]
fn a_graceful_restart_says_so_and_comes_back_with_a_new_boot_id() {
    let mut rig = Rig::default();
    let (a, first) = rig.greeted();
    rig.order(restart(RestartMode::Graceful));
    assert_eq!(rig.model.admission(), CLOSED);
    rig.advance(Duration::from_millis(60));
    let shutdown = rig.sent(a).into_iter().find(|frame| frame["event"] == "shutdown").unwrap();
    assert_eq!(shutdown["payload"], json!({"reason": "gateway restarting", "restartExpectedMs": 1500}));
    rig.advance(Duration::from_millis(70));
    assert_eq!(rig.closed(a), Some((1012, "service restart".to_owned())));
    assert_eq!(rig.model.admission(), CLOSED);
    rig.disconnect(a);
    assert_eq!(rig.model.admission(), Admission::Refused);
    rig.advance(Duration::from_millis(700));
    assert_eq!((rig.model.admission(), rig.model.boot()), (Admission::Open, 2));
    let (_, second) = rig.greeted();
    assert_ne!(first["server"]["bootId"], second["server"]["bootId"]);
    // Protocol 10.7: an in-process restart keeps the versions and the process's uptime.
    let health = |hello: &Value| hello["snapshot"]["stateVersion"]["health"].as_u64().unwrap();
    assert!(health(&second) > health(&first));
    assert!(second["snapshot"]["uptimeMs"].as_u64().unwrap() > 1800);
}

// Protocol 16.5.
#[test]
fn a_crash_says_nothing_and_comes_back_as_a_new_process() {
    let mut rig = Rig::default();
    let (a, _) = rig.greeted();
    let preauth = rig.open();
    rig.sent(a);
    rig.order(restart(RestartMode::Crash));
    assert!(rig.terminated(a) && rig.terminated(preauth));
    assert!(rig.sent(a).is_empty());
    assert_eq!(rig.model.admission(), Admission::Refused);
    rig.advance(Duration::from_millis(700));
    let b = rig.open();
    let hello = rig.connect(b, TOKEN);
    assert_eq!(hello["payload"]["snapshot"]["stateVersion"], json!({"presence": 1, "health": 1}));
    assert_eq!(hello["payload"]["snapshot"]["health"], json!({}));
    assert_eq!(hello["payload"]["snapshot"]["uptimeMs"], 0);
}

// Protocol 16.1.
#[test]
fn a_stop_is_not_followed_by_a_boot() {
    let mut rig = Rig::default();
    let (a, _) = rig.greeted();
    let preauth = rig.open();
    rig.order(Order::Stop);
    rig.advance(Duration::from_millis(130));
    let shutdown = rig.sent(a).into_iter().find(|frame| frame["event"] == "shutdown").unwrap();
    assert_eq!(shutdown["payload"], json!({"reason": "gateway stopping"}));
    assert_eq!(rig.closed(preauth), None, "sockets without hello get no close frame");
    rig.disconnect(a);
    assert_eq!(rig.model.admission(), CLOSED);
    rig.advance(Duration::from_secs(1));
    assert!(rig.terminated(preauth));
    rig.advance(Duration::from_secs(3600));
    assert_eq!((rig.model.admission(), rig.model.next_deadline()), (Admission::Refused, None));
    rig.order(Order::Start);
    rig.greeted();
}

#[test]
fn requests_to_a_draining_gateway_are_refused() {
    let mut rig = Rig::default();
    let (a, _) = rig.greeted();
    rig.order(restart(RestartMode::Graceful));
    let refused = rig.request(a, "1", "health", &json!({})).unwrap();
    assert_eq!(refused["error"]["code"], "UNAVAILABLE");
    assert_eq!(refused["error"]["retryAfterMs"], 1000);
    assert_eq!(refused["error"]["details"]["reason"], "gateway-restarting");
}

#[test]
fn nothing_of_the_old_boot_reaches_the_new_one() {
    let mut rig = Rig::default();
    let (a, _) = rig.greeted();
    let params = json!({"message": "hi", "idempotencyKey": "key"});
    rig.request(a, "1", "agent", &params);
    rig.order(restart(RestartMode::Graceful));
    rig.advance(Duration::from_millis(130));
    rig.disconnect(a);
    rig.advance(Duration::from_secs(1));
    let (b, _) = rig.greeted();
    assert_eq!(rig.request(b, "1", "agent", &params).unwrap()["payload"]["status"], "accepted");
}

#[test]
fn a_client_can_ask_for_a_restart() {
    let mut rig = Rig::default();
    let (a, _) = rig.greeted();
    let answer = rig.request(a, "1", "gateway.restart.request", &json!({})).unwrap();
    assert_eq!(answer["payload"]["status"], "scheduled");
    rig.advance(Duration::from_millis(130));
    assert_eq!(rig.closed(a).unwrap().0, 1012);
}

#[test]
fn a_second_restart_during_the_first_changes_nothing_and_a_stop_ends_it() {
    let mut rig = Rig::default();
    rig.greeted();
    rig.order(restart(RestartMode::Graceful));
    rig.order(restart(RestartMode::Graceful));
    rig.order(Order::Stop);
    rig.advance(Duration::from_secs(60));
    assert_eq!((rig.model.admission(), rig.model.boot()), (Admission::Refused, 1));
}

#[test]
fn a_client_that_ignores_its_close_is_dropped_after_a_second() {
    let mut rig = Rig::default();
    let (a, _) = rig.greeted();
    rig.order(restart(RestartMode::Graceful));
    rig.advance(Duration::from_millis(130 + 999));
    assert!(!rig.terminated(a));
    rig.advance(Duration::from_millis(1));
    assert!(rig.terminated(a));
    rig.advance(Duration::from_millis(700));
    assert_eq!(rig.model.boot(), 2);
}

#[test]
fn a_kick_closes_every_connection_with_the_given_words() {
    let mut rig = Rig::default();
    let (a, _) = rig.greeted();
    let b = rig.open();
    rig.order(Order::Kick { code: 1001, reason: "bye".to_owned() });
    assert_eq!(rig.closed(a), Some((1001, "bye".to_owned())));
    assert_eq!(rig.closed(b), Some((1001, "bye".to_owned())));
    assert_eq!(rig.model.live_connections(), 0);
}
