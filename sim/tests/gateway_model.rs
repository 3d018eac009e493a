//! Behaviours of the gateway model, by name. Each cites the protocol rule it shows.

mod rig;

use std::time::Duration;

use onesocket_sim::gateway::{Admission, Effect, Note, Order, RestartMode};
use rig::{Rig, TOKEN};

#[test]
fn a_token_client_gets_a_challenge_and_a_hello() {
    let mut rig = Rig::default();
    let a = rig.open();
    let challenge = rig.sent(a);
    assert_eq!(challenge[0]["event"], "connect.challenge");
    assert_eq!(challenge[0]["payload"]["nonce"].as_str().unwrap().len(), 36);
    assert!(challenge[0].get("seq").is_none());
    let hello = rig.connect(a, TOKEN);
    assert_eq!(hello["ok"], true);
    assert_eq!(hello["payload"]["type"], "hello-ok");
    assert_eq!(hello["payload"]["policy"]["tickIntervalMs"], 30_000);
}

#[test]
fn a_wrong_token_is_refused_with_1008() {
    let mut rig = Rig::default();
    let a = rig.open();
    let refusal = rig.connect(a, "wrong");
    assert_eq!(refusal["error"]["details"]["code"], "AUTH_TOKEN_MISMATCH");
    assert_eq!(rig.closed(a).unwrap().0, 1008);
}

#[test]
fn ticks_come_every_thirty_seconds_from_one_clock() {
    let mut rig = Rig::default();
    rig.advance(Duration::from_secs(10));
    let a = rig.open();
    rig.connect(a, TOKEN);
    rig.sent(a);
    rig.pong_until(a, Duration::from_secs(90));
    let ticks = rig.sent(a).iter().filter(|frame| frame["event"] == "tick").count();
    assert_eq!(ticks, 3);
}

#[test]
fn a_graceful_restart_says_so_and_comes_back_with_a_new_boot_id() {
    let mut rig = Rig::default();
    let a = rig.open();
    let first = rig.connect(a, TOKEN);
    rig.sent(a);
    rig.order(Order::Restart { mode: RestartMode::Graceful, down: Duration::from_millis(700) });
    assert_eq!(rig.model.admission(), Admission::Unavailable("Gateway websocket admission closed"));
    rig.advance(Duration::from_millis(60));
    let shutdown = rig.sent(a).into_iter().find(|frame| frame["event"] == "shutdown").unwrap();
    assert_eq!(shutdown["payload"]["restartExpectedMs"], 1500);
    rig.advance(Duration::from_millis(70));
    assert_eq!(rig.closed(a), Some((1012, "service restart".to_owned())));
    assert_eq!(rig.model.admission(), Admission::Unavailable("Gateway websocket admission closed"));
    rig.disconnect(a);
    assert_eq!(rig.model.admission(), Admission::Refused);
    rig.advance(Duration::from_millis(700));
    assert_eq!(rig.model.admission(), Admission::Open);
    assert_eq!(rig.model.boot(), 2);
    let b = rig.open();
    let second = rig.connect(b, TOKEN);
    assert_ne!(first["payload"]["server"]["bootId"], second["payload"]["server"]["bootId"]);
}

#[test]
fn a_changed_token_closes_with_4001_and_refuses_the_old_one() {
    let mut rig = Rig::default();
    let a = rig.open();
    rig.connect(a, TOKEN);
    rig.order(Order::ChangeToken { token: "next".to_owned() });
    rig.advance(Duration::from_millis(600));
    assert_eq!(rig.closed(a), Some((4001, "gateway auth changed".to_owned())));
    let b = rig.open();
    assert_eq!(rig.connect(b, TOKEN)["ok"], false);
    let c = rig.open();
    assert_eq!(rig.connect(c, "next")["ok"], true);
}

#[test]
fn a_dropped_event_consumes_its_number() {
    let mut rig = Rig::default();
    let a = rig.open();
    rig.connect(a, TOKEN);
    rig.advance(Duration::from_millis(10));
    rig.sent(a);
    rig.order(Order::DropNextEvent);
    for _ in 0..2 {
        rig.order(Order::Emit { event: "test.event".to_owned(), payload: "{}".into() });
    }
    let frames = rig.sent(a);
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0]["seq"], 3);
    assert!(rig.log.iter().any(|effect| matches!(effect, Effect::Note(Note::EventDropped { seq: 2, .. }))));
}
