//! Requests and answers after hello.

use std::collections::BTreeMap;
use std::time::Duration;

use onesocket_gateway::config::{FixedMethod, GatewayConfig, Latencies, Latency, Runs};
use onesocket_gateway::{ConnectionId, Effect, Input, ModelEvent, TerminateCause};
use serde_json::{Value, json};

use crate::rig::{Rig, TOKEN};

fn connected(config: GatewayConfig) -> (Rig, ConnectionId) {
    let mut rig = Rig::new(config);
    let (a, _) = rig.greeted();
    (rig, a)
}

fn responses(rig: &mut Rig, connection: ConnectionId) -> Vec<Value> {
    rig.sent(connection).into_iter().filter(|frame| frame["type"] == "res").collect()
}

// Protocol 2.3.
#[test]
fn invalid_frames_are_answered_under_whatever_id_they_had() {
    let (mut rig, a) = connected(GatewayConfig::default());
    let cases = [
        ("42", json!("invalid"), "must be object"),
        (
            r#"{"type":"req","id":"","method":"health"}"#,
            json!(""),
            "at /id: must not have fewer than 1 characters",
        ),
        (r#"{"type":"req","method":"health"}"#, json!("invalid"), "must have required property 'id'"),
        (r#"{"type":"req","id":7,"method":"health"}"#, json!(7), "at /id: must be string"),
        (
            r#"{"type":"req","id":"e","method":"health","extra":1}"#,
            json!("e"),
            "at root: unexpected property 'extra'",
        ),
        (
            r#"{"type":"cancel","id":"r1"}"#,
            json!("r1"),
            "must have required property 'method'; at /type: must be equal to constant",
        ),
    ];
    for (text, id, complaint) in cases {
        rig.text(a, text);
        let answer = &responses(&mut rig, a)[0];
        assert_eq!(answer["id"], id, "{text}");
        assert_eq!(answer["error"]["message"], format!("invalid request frame: {complaint}"));
    }
    assert_eq!(rig.closed(a), None);
}

#[test]
fn garbage_after_hello_is_ignored() {
    let (mut rig, a) = connected(GatewayConfig::default());
    rig.text(a, "{not json");
    assert!(rig.sent(a).is_empty());
    assert_eq!(rig.request(a, "1", "health", &json!({})).unwrap()["ok"], true);
}

// Protocol 2.7.
#[test]
fn a_traceparent_is_fine_until_it_is_too_long() {
    let (mut rig, a) = connected(GatewayConfig::default());
    for (length, ok) in [(128, true), (129, false)] {
        let trace = "x".repeat(length);
        rig.send(a, &json!({"type": "req", "id": "t", "method": "test.echo", "traceparent": trace}));
        assert_eq!(rig.response(a, "t").unwrap()["ok"], ok);
    }
}

#[test]
fn escaped_ids_come_back_as_they_were() {
    let (mut rig, a) = connected(GatewayConfig::default());
    let id = "quote \" backslash \\ newline \n ünïcode \u{1F980}";
    assert_eq!(
        rig.request(a, id, "test.echo", &json!({"a": [1, {"b": null}]})).unwrap()["payload"]["a"][0],
        1
    );
}

#[test]
fn unknown_methods_are_named() {
    let (mut rig, a) = connected(GatewayConfig::default());
    let answer = rig.request(a, "1", "no.such.method", &json!({})).unwrap();
    assert_eq!(answer["error"]["message"], "unknown method: no.such.method");
}

#[test]
fn a_plan_can_add_methods() {
    let fixed = FixedMethod { scope: None, payload: r#"{"answer":42}"#.to_owned() };
    let config = GatewayConfig {
        fixed_methods: BTreeMap::from([("x.y".to_owned(), fixed)]),
        ..GatewayConfig::default()
    };
    let (mut rig, a) = connected(config);
    assert_eq!(rig.request(a, "1", "x.y", &json!({})).unwrap()["payload"]["answer"], 42);
}

// Protocol 2.6.
#[test]
fn three_requests_with_one_id_get_three_answers() {
    let (mut rig, a) = connected(GatewayConfig::default());
    for _ in 0..3 {
        rig.send(a, &json!({"type": "req", "id": "dup", "method": "test.echo", "params": {}}));
    }
    assert_eq!(responses(&mut rig, a).len(), 3);
}

#[test]
fn jitter_reorders_answers_and_loses_none() {
    let jitter = Latency { fixed: Duration::from_millis(1), jitter: Duration::from_millis(50) };
    let latency = Latencies { request: jitter, ..Latencies::default() };
    let (mut rig, a) = connected(GatewayConfig { latency, ..GatewayConfig::default() });
    for id in 0..20 {
        rig.send(a, &json!({"type": "req", "id": format!("{id:02}"), "method": "test.echo"}));
    }
    assert!(responses(&mut rig, a).is_empty());
    rig.advance(Duration::from_millis(51));
    let ids: Vec<String> = responses(&mut rig, a).iter().map(|frame| frame["id"].to_string()).collect();
    let mut sorted = ids.clone();
    sorted.sort();
    assert_eq!(ids.len(), 20);
    assert_ne!(ids, sorted);
}

#[test]
fn one_method_can_be_slower_than_the_others() {
    let by_method = BTreeMap::from([("health".to_owned(), Latency::fixed_ms(100))]);
    let latency = Latencies { by_method, ..Latencies::default() };
    let (mut rig, a) = connected(GatewayConfig { latency, ..GatewayConfig::default() });
    assert_eq!(rig.request(a, "slow", "health", &json!({})), None);
    assert!(rig.request(a, "fast", "test.echo", &json!({})).is_some());
    rig.advance(Duration::from_millis(100));
    assert!(rig.response(a, "slow").is_some());
}

#[test]
fn never_is_never() {
    let (mut rig, a) = connected(GatewayConfig::default());
    rig.send(a, &json!({"type": "req", "id": "1", "method": "test.never"}));
    rig.pong_until(a, Duration::from_secs(1000));
    assert_eq!(rig.response(a, "1"), None);
}

// Protocol 8.5: the first of a burst that fails is the 257th.
#[test]
fn a_burst_is_refused_from_the_257th_request_on_and_the_rest_is_answered() {
    let (mut rig, a) = connected(GatewayConfig::default());
    for id in 0..2000 {
        rig.send(a, &json!({"type": "req", "id": format!("{id}"), "method": "test.echo"}));
    }
    rig.advance(Duration::from_millis(10));
    let answers = responses(&mut rig, a);
    assert_eq!(answers.len(), 2000);
    let refused: Vec<u32> = answers
        .iter()
        .filter(|answer| answer["ok"] == false)
        .map(|answer| answer["id"].as_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(refused.iter().min(), Some(&256));
    assert_eq!(refused.len(), 2000 - 256);
    let error = &answers.iter().find(|answer| answer["ok"] == false).unwrap()["error"];
    assert_eq!(error["message"], "gateway request start capacity exceeded");
    assert_eq!((&error["retryable"], error.get("retryAfterMs")), (&json!(true), None));
    assert_eq!(rig.request(a, "later", "test.echo", &json!({})).unwrap()["ok"], true);
}

// Protocol 12.4.
#[test]
fn an_agent_run_is_accepted_and_answered_again_under_the_same_id() {
    let (mut rig, a) = connected(GatewayConfig::default());
    let params = json!({"message": "hi", "idempotencyKey": "key"});
    let accepted = rig.request(a, "1", "agent", &params).unwrap();
    assert_eq!(
        (&accepted["payload"]["status"], &accepted["payload"]["runId"]),
        (&json!("accepted"), &json!("key"))
    );
    rig.advance(Duration::from_millis(500));
    let done = rig.response(a, "1").unwrap();
    assert_eq!((&done["ok"], &done["payload"]["status"]), (&json!(true), &json!("ok")));
}

// Protocol 5.7.
#[test]
fn a_failed_run_answers_with_a_payload_and_an_error() {
    let runs = Runs { error: Some("boom".to_owned()), ..Runs::default() };
    let (mut rig, a) = connected(GatewayConfig { runs, ..GatewayConfig::default() });
    rig.request(a, "1", "agent", &json!({"message": "hi", "idempotencyKey": "key"}));
    rig.advance(Duration::from_millis(500));
    let done = rig.response(a, "1").unwrap();
    assert_eq!((&done["ok"], &done["payload"]["status"]), (&json!(false), &json!("error")));
    assert_eq!((&done["error"]["code"], &done["error"]["message"]), (&json!("UNAVAILABLE"), &json!("boom")));
}

// Protocol 12.5.
#[test]
fn a_repeated_key_runs_once_and_answers_from_the_cache_for_five_minutes() {
    let (mut rig, a) = connected(GatewayConfig::default());
    let params = json!({"message": "hi", "idempotencyKey": "key"});
    let runs = |rig: &Rig| {
        rig.log
            .iter()
            .filter(|effect| matches!(effect, Effect::ModelEvent(ModelEvent::RunStarted { .. })))
            .count()
    };
    rig.request(a, "1", "agent", &params);
    assert_eq!(rig.request(a, "2", "agent", &params).unwrap()["payload"]["status"], "accepted");
    rig.pong_until(a, rig.now + Duration::from_secs(1));
    assert!(rig.response(a, "2").is_none(), "only the first caller gets a second response");
    assert_eq!(rig.request(a, "3", "agent", &params).unwrap()["payload"]["status"], "ok");
    assert_eq!(runs(&rig), 1);
    rig.pong_until(a, rig.now + Duration::from_secs(300));
    assert_eq!(rig.request(a, "4", "agent", &params).unwrap()["payload"]["status"], "accepted");
    assert_eq!(runs(&rig), 2);
}

#[test]
fn keys_are_required() {
    let (mut rig, a) = connected(GatewayConfig::default());
    for (method, params) in
        [("agent", json!({"message": "hi"})), ("chat.send", json!({"message": "hi", "sessionKey": "main"}))]
    {
        let message = rig.request(a, "1", method, &params).unwrap()["error"]["message"].clone();
        assert_eq!(message, format!("invalid {method} params: must have required property 'idempotencyKey'"));
    }
}

#[test]
fn a_chat_run_ends_in_events_only() {
    let (mut rig, a) = connected(GatewayConfig::default());
    let params = json!({"message": "hi", "sessionKey": "main", "idempotencyKey": "key"});
    assert_eq!(rig.request(a, "1", "chat.send", &params).unwrap()["payload"]["status"], "started");
    assert_eq!(rig.request(a, "2", "chat.send", &params).unwrap()["payload"]["status"], "in_flight");
    rig.advance(Duration::from_millis(500));
    let frames = rig.sent(a);
    assert!(frames.iter().all(|frame| frame["type"] == "event"));
    let last = frames.iter().rfind(|frame| frame["event"] == "chat").unwrap();
    assert_eq!(last["payload"]["state"], "final");
}

#[test]
fn waiting_for_a_run_ends_with_it_or_with_its_timeout() {
    let (mut rig, a) = connected(GatewayConfig::default());
    rig.request(a, "1", "agent", &json!({"message": "hi", "idempotencyKey": "key"}));
    rig.request(a, "short", "agent.wait", &json!({"runId": "key", "timeoutMs": 100}));
    rig.request(a, "long", "agent.wait", &json!({"runId": "key"}));
    rig.advance(Duration::from_millis(100));
    assert_eq!(rig.response(a, "short").unwrap()["payload"]["status"], "timeout");
    assert_eq!(rig.response(a, "long"), None);
    rig.advance(Duration::from_millis(400));
    assert_eq!(rig.response(a, "long").unwrap()["payload"]["status"], "ok");
    assert_eq!(
        rig.request(a, "late", "agent.wait", &json!({"runId": "key"})).unwrap()["payload"]["status"],
        "ok"
    );
}

// Protocol 12.10: a run goes on without its caller.
#[test]
fn answers_to_a_client_that_left_go_nowhere() {
    let (mut rig, a) = connected(GatewayConfig::default());
    rig.request(a, "1", "agent", &json!({"message": "hi", "idempotencyKey": "key"}));
    rig.disconnect(a);
    let before = rig.log.len();
    rig.advance(Duration::from_secs(2));
    assert!(!rig.log[before..].iter().any(|effect| matches!(effect, Effect::Send { .. })));
    let b = rig.open();
    rig.connect(b, TOKEN);
    let params = json!({"message": "hi", "idempotencyKey": "key"});
    assert_eq!(rig.request(b, "1", "agent", &params).unwrap()["payload"]["status"], "ok");
}

// Protocol 11.6.
#[test]
fn an_answer_to_a_slow_consumer_ends_it() {
    let (mut rig, a) = connected(GatewayConfig::default());
    rig.step(Input::Buffered { connection: a, bytes: 52_428_801 });
    rig.request(a, "1", "test.echo", &json!({}));
    assert!(rig.terminated(a));
    let cause = rig.log.iter().find_map(|effect| match effect {
        Effect::ModelEvent(ModelEvent::Terminated { cause, .. }) => Some(*cause),
        _ => None,
    });
    assert_eq!(cause, Some(TerminateCause::SlowConsumer));
}
