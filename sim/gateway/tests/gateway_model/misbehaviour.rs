//! Deviations from the protocol on order.

use std::time::Duration;

use onesocket_gateway::config::GatewayConfig;
use onesocket_gateway::{Admission, ConnectionId, HandshakeFault, Misbehave, Order, Rejection, RestartMode};
use serde_json::{Value, json};

use crate::rig::{Rig, TOKEN};

fn spoil(rig: &mut Rig, fault: HandshakeFault) {
    rig.order(Order::Misbehave(Misbehave::Handshake { count: 1, fault }));
}

fn misbehave(rig: &mut Rig, misbehave: Misbehave) {
    rig.order(Order::Misbehave(misbehave));
}

fn connected() -> (Rig, ConnectionId) {
    let mut rig = Rig::default();
    let (a, _) = rig.greeted();
    (rig, a)
}

fn seqs(frames: &[Value]) -> Vec<u64> {
    frames.iter().filter_map(|frame| frame["seq"].as_u64()).collect()
}

fn emit(rig: &mut Rig) {
    rig.order(Order::Emit { event: "test.event".to_owned(), payload: "{}".into() });
}

#[test]
fn a_challenge_can_be_withheld_or_late() {
    let mut rig = Rig::default();
    spoil(&mut rig, HandshakeFault::NoChallenge);
    let a = rig.open();
    rig.advance(Duration::from_secs(14));
    assert!(rig.sent(a).is_empty());
    spoil(&mut rig, HandshakeFault::LateChallenge { by: Duration::from_secs(3) });
    let b = rig.open();
    assert!(rig.sent(b).is_empty());
    rig.advance(Duration::from_secs(3));
    assert_eq!(rig.sent(b)[0]["event"], "connect.challenge");
    let c = rig.open();
    assert_eq!(rig.sent(c).len(), 1, "each order is used up");
}

#[test]
fn a_challenge_can_lack_its_nonce() {
    let mut rig = Rig::default();
    spoil(&mut rig, HandshakeFault::ChallengeWithoutNonce);
    let a = rig.open();
    assert_eq!(rig.sent(a)[0]["payload"].get("nonce"), None);
}

#[test]
fn a_hello_can_be_withheld_or_late() {
    let mut rig = Rig::default();
    spoil(&mut rig, HandshakeFault::NoHello);
    let a = rig.open();
    assert_eq!(rig.connect(a, TOKEN), Value::Null);
    rig.advance(Duration::from_secs(100));
    assert_eq!((rig.closed(a), rig.terminated(a)), (None, false));
    spoil(&mut rig, HandshakeFault::LateHello { by: Duration::from_secs(3) });
    let (b, before) = (rig.open(), rig.now);
    assert_eq!(rig.connect(b, TOKEN)["ok"], true);
    assert_eq!(rig.now - before, Duration::from_secs(3));
}

#[test]
fn a_hello_can_come_behind_events() {
    let mut rig = Rig::default();
    spoil(&mut rig, HandshakeFault::EarlyEvents { count: 2 });
    let mut events_before_hello = || {
        let connection = rig.open();
        rig.send_connect(connection, TOKEN);
        rig.advance(Duration::from_secs(1));
        let frames = rig.sent(connection);
        let before_hello = frames.into_iter().take_while(|frame| frame["type"] == "event");
        before_hello.map(|frame| (frame["event"].clone(), frame["seq"].clone())).collect::<Vec<_>>()
    };
    let challenge = (json!("connect.challenge"), Value::Null);
    let early = |seq: u64| (json!("sessions.changed"), json!(seq));
    assert_eq!(events_before_hello(), [challenge.clone(), early(1), early(2)]);
    assert_eq!(events_before_hello(), [challenge]);
}

#[test]
fn a_hello_can_be_followed_by_a_kick_or_a_drop() {
    let mut rig = Rig::default();
    let after = Duration::from_millis(5);
    spoil(&mut rig, HandshakeFault::KickAfterHello { after, code: 1001, reason: "out".to_owned() });
    spoil(&mut rig, HandshakeFault::TerminateAfterHello { after });
    spoil(&mut rig, HandshakeFault::TerminateBeforeHello);
    let (a, b, c) = (rig.open(), rig.open(), rig.open());
    assert_eq!(
        (rig.connect(a, TOKEN)["ok"].clone(), rig.connect(b, TOKEN)["ok"].clone()),
        (json!(true), json!(true))
    );
    assert_eq!(rig.connect(c, TOKEN), Value::Null);
    rig.advance(after);
    assert_eq!(rig.closed(a), Some((1001, "out".to_owned())));
    assert!(rig.terminated(b) && rig.terminated(c));
}

#[test]
fn a_connect_can_be_refused_in_any_words() {
    let mut rig = Rig::default();
    spoil(
        &mut rig,
        HandshakeFault::Reject(Rejection {
            code: "SOMETHING_NEW".to_owned(),
            message: "no".to_owned(),
            details: Some(r#"{"code":"AUTH_TOKEN_MISMATCH"}"#.to_owned()),
            retryable: Some(false),
            retry_after_ms: Some("-1e300".to_owned()),
            close: Some((4999, "never".to_owned())),
        }),
    );
    let a = rig.open();
    let answer = rig.connect(a, TOKEN);
    assert_eq!(answer["error"]["code"], "SOMETHING_NEW");
    assert_eq!(answer["error"]["retryAfterMs"], json!(-1e300));
    assert_eq!(rig.closed(a), Some((4999, "never".to_owned())));
}

#[test]
fn startup_and_drain_can_be_pretended() {
    let mut rig = Rig::default();
    for (fault, code) in [(HandshakeFault::Startup, 1013), (HandshakeFault::Draining, 1013)] {
        spoil(&mut rig, fault);
        let a = rig.open();
        assert_eq!(rig.connect(a, TOKEN)["error"]["code"], "UNAVAILABLE");
        assert_eq!(rig.closed(a).unwrap().0, code);
    }
}

#[test]
fn a_hello_can_be_nonsense_or_answer_another_request() {
    let mut rig = Rig::default();
    spoil(&mut rig, HandshakeFault::Payload { payload: r#"{"type":"hello-no"}"#.into() });
    let a = rig.open();
    assert_eq!(rig.connect(a, TOKEN)["payload"]["type"], "hello-no");
    spoil(&mut rig, HandshakeFault::WrongId { id: "other".to_owned() });
    let b = rig.open();
    rig.send_connect(b, TOKEN);
    assert!(rig.response(b, "connect").is_none() && rig.response(b, "other").is_some());
}

#[test]
fn a_fault_can_be_the_rule() {
    let handshake_fault = Some(HandshakeFault::NoChallenge);
    let mut rig = Rig::new(GatewayConfig { handshake_fault, ..GatewayConfig::default() });
    for _ in 0..3 {
        let a = rig.open();
        assert!(rig.sent(a).is_empty());
    }
}

#[test]
fn ticks_and_pings_can_be_starved() {
    let (mut rig, a) = connected();
    let lasting = Duration::from_secs(100);
    misbehave(&mut rig, Misbehave::StarveTicks { lasting });
    misbehave(&mut rig, Misbehave::StarvePings { lasting });
    rig.advance(Duration::from_secs(99));
    assert!(!rig.sent(a).iter().any(|frame| frame["event"] == "tick"));
    assert_eq!((rig.seen[&a].pings, rig.terminated(a)), (0, false));
    rig.pong_until(a, Duration::from_secs(140));
    assert!(rig.sent(a).iter().any(|frame| frame["event"] == "tick"));
    assert!(rig.seen[&a].pings > 0);
}

#[test]
fn sequence_numbers_can_be_skipped_repeated_and_go_back() {
    let (mut rig, a) = connected();
    emit(&mut rig);
    misbehave(&mut rig, Misbehave::DropEvents { count: 2 });
    emit(&mut rig);
    emit(&mut rig);
    emit(&mut rig);
    misbehave(&mut rig, Misbehave::RepeatLastEvent);
    misbehave(&mut rig, Misbehave::OlderEvent { by: 3 });
    misbehave(&mut rig, Misbehave::SkipSequence { by: 10 });
    emit(&mut rig);
    assert_eq!(seqs(&rig.sent(a)), [2, 5, 5, 3, 16]);
}

#[test]
fn frames_can_be_anything() {
    let (mut rig, a) = connected();
    misbehave(&mut rig, Misbehave::Text { text: "{not json".into() });
    misbehave(&mut rig, Misbehave::Binary { data: vec![0, 255] });
    misbehave(&mut rig, Misbehave::UnknownEvent);
    misbehave(&mut rig, Misbehave::NumericId);
    misbehave(&mut rig, Misbehave::ForeignResponse { id: "foreign".to_owned() });
    let frames = rig.sent(a);
    assert_eq!(frames[0], json!("{not json"));
    assert!(frames[1].is_string());
    assert_eq!((&frames[2]["event"], &frames[2]["seq"]), (&json!("simulated.unknown"), &json!(2)));
    assert_eq!((&frames[3]["id"], &frames[4]["id"]), (&json!(7), &json!("foreign")));
}

#[test]
fn a_giant_frame_has_the_size_asked_for() {
    let (mut rig, a) = connected();
    misbehave(&mut rig, Misbehave::Giant { bytes: 1_000_000 });
    assert_eq!(rig.sent(a)[0].to_string().len(), 1_000_000);
}

#[test]
fn responses_can_have_unknown_fields() {
    let (mut rig, a) = connected();
    misbehave(&mut rig, Misbehave::ExtraFields { count: 1 });
    let answer = rig.request(a, "1", "test.echo", &json!({"x": 1})).unwrap();
    assert!(answer.get("unknownField").is_some() && answer["payload"].get("unknownField").is_some());
    assert_eq!(answer["payload"]["x"], 1);
    assert!(rig.request(a, "2", "test.echo", &json!({"x": 1})).unwrap().get("unknownField").is_none());
}

#[test]
fn responses_can_be_lost_late_or_repeated() {
    let (mut rig, a) = connected();
    misbehave(&mut rig, Misbehave::WithholdResponses { count: 1 });
    misbehave(&mut rig, Misbehave::DelayResponses { count: 1, by: Duration::from_secs(5) });
    assert_eq!(rig.request(a, "lost", "test.echo", &json!({})), None);
    assert_eq!(rig.request(a, "late", "test.echo", &json!({})), None);
    assert!(rig.request(a, "fine", "test.echo", &json!({})).is_some());
    misbehave(&mut rig, Misbehave::RepeatLastResponse);
    assert!(rig.response(a, "fine").is_some());
    rig.advance(Duration::from_secs(5));
    assert!(rig.response(a, "late").is_some());
    assert_eq!(rig.response(a, "lost"), None);
}

#[test]
fn requests_can_be_refused_or_failed() {
    let (mut rig, a) = connected();
    misbehave(&mut rig, Misbehave::RefuseCapacity { count: 1 });
    let error = Rejection { code: "TEAPOT".to_owned(), message: "short".to_owned(), ..Rejection::default() };
    misbehave(&mut rig, Misbehave::FailRequests { count: 1, error });
    let refused = rig.request(a, "1", "test.echo", &json!({})).unwrap();
    assert_eq!(refused["error"]["message"], "gateway request start capacity exceeded");
    assert_eq!(rig.request(a, "2", "test.echo", &json!({})).unwrap()["error"]["code"], "TEAPOT");
    assert_eq!(rig.request(a, "3", "test.echo", &json!({})).unwrap()["ok"], true);
}

#[test]
fn upgrades_can_be_refused_for_a_while() {
    let mut rig = Rig::default();
    misbehave(&mut rig, Misbehave::RefuseUpgrades { lasting: Duration::from_secs(3) });
    assert_eq!(rig.model.admission(), Admission::Unavailable("Too many unauthenticated sockets"));
    rig.advance(Duration::from_secs(3));
    assert_eq!(rig.model.admission(), Admission::Open);
}

#[test]
fn behaving_ends_what_is_pending() {
    let (mut rig, a) = connected();
    misbehave(&mut rig, Misbehave::WithholdResponses { count: 100 });
    misbehave(&mut rig, Misbehave::DropEvents { count: 100 });
    misbehave(&mut rig, Misbehave::RefuseUpgrades { lasting: Duration::from_secs(3) });
    misbehave(&mut rig, Misbehave::Behave);
    emit(&mut rig);
    assert_eq!(rig.sent(a).len(), 1);
    assert!(rig.request(a, "1", "test.echo", &json!({})).is_some());
    assert_eq!(rig.model.admission(), Admission::Open);
}

#[test]
fn orders_survive_the_way_through_a_plan_file() {
    let orders = [
        Order::Restart { mode: RestartMode::Crash, down: Duration::from_millis(1500) },
        Order::Emit { event: "x".to_owned(), payload: "{}".into() },
        Order::Misbehave(Misbehave::Handshake {
            count: 2,
            fault: HandshakeFault::LateHello { by: Duration::from_millis(20) },
        }),
        Order::Misbehave(Misbehave::FailRequests { count: 1, error: Rejection::default() }),
    ];
    for order in orders {
        let text = serde_json::to_string(&order).unwrap();
        assert_eq!(serde_json::from_str::<Order>(&text).unwrap(), order, "{text}");
    }
    let config = GatewayConfig::default();
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<GatewayConfig>(&text).unwrap(), config);
    assert_eq!(serde_json::from_str::<GatewayConfig>("{}").unwrap(), config);
}
