//! From the open socket to hello or refusal.

use std::time::Duration;

use onesocket_gateway::config::{GatewayConfig, Latency, Limits, Timing};
use onesocket_gateway::{Admission, Effect, Input, Message, ModelEvent, Order, Peer, RestartMode};
use serde_json::{Value, json};

use crate::rig::{Rig, TOKEN, backend, client};

#[test]
fn a_token_client_gets_a_challenge_and_a_hello() {
    let mut rig = Rig::default();
    let a = rig.open();
    let challenge = rig.sent(a);
    assert_eq!(challenge[0]["event"], "connect.challenge");
    assert_eq!(challenge[0]["payload"]["nonce"].as_str().unwrap().len(), 36);
    assert!(challenge[0].get("seq").is_none());
    let hello = rig.connect(a, TOKEN);
    assert_eq!(hello["payload"]["type"], "hello-ok");
    assert_eq!(hello["payload"]["policy"]["tickIntervalMs"], 30_000);
    assert_eq!(hello["payload"]["auth"]["scopes"], json!(["operator.admin"]));
    assert_eq!(hello["payload"]["snapshot"]["authMode"], "token");
}

#[test]
fn equal_seeds_and_inputs_give_equal_effects() {
    let run = || {
        let mut rig = Rig::default();
        let a = rig.open();
        rig.connect(a, TOKEN);
        rig.request(a, "1", "health", &json!({}));
        rig.advance(Duration::from_secs(40));
        rig.log
    };
    assert_eq!(run(), run());
}

// Protocol 3.1: a clean close without a reason.
#[test]
fn a_silent_socket_is_closed_with_1000_after_fifteen_seconds() {
    let mut rig = Rig::default();
    let a = rig.open();
    rig.advance(Duration::from_millis(14_999));
    assert_eq!(rig.closed(a), None);
    rig.advance(Duration::from_millis(1));
    assert_eq!(rig.closed(a), Some((1000, String::new())));
}

// Protocol 2.4: the refusal matrix.
#[test]
fn what_is_no_connect_is_refused_in_its_own_way() {
    let answered = "invalid handshake: first request must be connect";
    let cases = [
        ("{not json", 1000, "", false),
        ("42", 1008, "invalid request frame", false),
        (r#"{"type":"event","event":"x"}"#, 1008, "invalid request frame", false),
        (r#"{"type":"req","method":"connect"}"#, 1008, "invalid request frame", false),
        (r#"{"type":"req","id":"1","method":"health"}"#, 1008, answered, true),
    ];
    for (text, code, reason, answers) in cases {
        let mut rig = Rig::default();
        let a = rig.open();
        rig.sent(a);
        rig.text(a, text);
        assert_eq!(rig.closed(a), Some((code, reason.to_owned())), "{text}");
        let frames = rig.sent(a);
        assert_eq!(frames.len(), usize::from(answers), "{text}");
        if answers {
            assert_eq!(frames[0]["error"]["message"], reason);
        }
    }
}

// Protocol 9: reasons are cut to 120 bytes, messages are not.
#[test]
fn bad_params_are_named_and_the_close_reason_is_cut() {
    let mut rig = Rig::default();
    let a = rig.open();
    let mut params = backend();
    params["x".repeat(200)] = json!(1);
    let answer = rig.connect_with(a, &params);
    assert!(answer["error"]["message"].as_str().unwrap().len() > 200);
    assert_eq!(rig.closed(a).unwrap().1.len(), 120);
}

// Protocol 3.6: the closed worker protocol is not answered at all.
#[test]
fn a_worker_is_closed_without_an_answer() {
    let mut rig = Rig::default();
    let a = rig.open();
    rig.sent(a);
    let params = client("openclaw-worker", "worker", &[]);
    rig.send(a, &json!({"type": "req", "id": "1", "method": "connect", "params": params}));
    assert_eq!(rig.closed(a), Some((1008, "invalid-handshake".to_owned())));
    assert!(rig.sent(a).is_empty());
}

// Protocol 4.1, 4.2.
#[test]
fn only_ranges_that_hold_the_version_are_accepted() {
    let cases = [
        (4, 4, "backend", true),
        (3, 5, "backend", true),
        (1, 3, "backend", false),
        (5, 9, "backend", false),
        (5, 4, "backend", false),
        (3, 3, "probe", true),
        (1, 2, "probe", false),
    ];
    for (min, max, mode, accepted) in cases {
        let mut rig = Rig::default();
        let a = rig.open();
        let mut params = client("gateway-client", mode, &[]);
        params["minProtocol"] = min.into();
        params["maxProtocol"] = max.into();
        params["auth"] = json!({"token": TOKEN});
        let answer = rig.connect_with(a, &params);
        assert_eq!(answer["ok"], accepted, "[{min},{max}] {mode}");
        if !accepted {
            assert_eq!(answer["error"]["details"]["expectedProtocol"], 4);
            assert_eq!(rig.closed(a), Some((1002, "protocol mismatch".to_owned())));
        }
    }
}

// Protocol 1.7: 64 KiB before hello, 25 MiB after it.
#[test]
fn oversized_messages_close_with_1009() {
    let limits = Limits { payload_bytes: 100_000, ..Limits::default() };
    let config = || GatewayConfig { limits: limits.clone(), ..GatewayConfig::default() };
    let padded = |frame: &str, bytes: usize| {
        let pad = bytes - frame.len();
        frame.replace("PAD", &"x".repeat(pad + 3))
    };
    let connect = json!({"type": "req", "id": "big", "method": "connect", "params": {
        "minProtocol": 4, "maxProtocol": 4, "userAgent": "PAD", "auth": {"token": TOKEN},
        "client": {"id": "gateway-client", "version": "1", "platform": "linux", "mode": "backend"},
    }});
    for (bytes, fits) in [(65_536, true), (65_537, false)] {
        let mut rig = Rig::new(config());
        let a = rig.open();
        rig.text(a, &padded(&connect.to_string(), bytes));
        assert_eq!(rig.response(a, "big").is_some(), fits);
        assert_eq!(rig.closed(a), (!fits).then(|| (1009, String::new())));
    }
    for (bytes, fits) in [(100_000, true), (100_001, false)] {
        let mut rig = Rig::new(config());
        let a = rig.open();
        rig.connect(a, TOKEN);
        let health = r#"{"type":"req","id":"big","method":"health","params":{"pad":"PAD"}}"#;
        rig.text(a, &padded(health, bytes));
        assert_eq!(rig.response(a, "big").is_some(), fits);
        assert_eq!(rig.closed(a), (!fits).then(|| (1009, String::new())));
    }
}

#[test]
fn the_default_limits_are_the_gateways() {
    let limits = Limits::default();
    assert_eq!((limits.preauth_bytes, limits.payload_bytes), (65_536, 26_214_400));
    assert_eq!((limits.buffered_bytes, limits.request_starts), (52_428_800, 256));
}

// Protocol 1.6.
#[test]
fn binary_messages_are_read_like_text() {
    let mut rig = Rig::default();
    let a = rig.open();
    let mut params = backend();
    params["auth"] = json!({"token": TOKEN});
    let connect = json!({"type": "req", "id": "1", "method": "connect", "params": params}).to_string();
    let message = Message::Binary(connect.into_bytes().into());
    rig.step(Input::Received { connection: a, message });
    assert_eq!(rig.response(a, "1").unwrap()["ok"], true);
    let garbage = Message::Binary(vec![0, 255, 0, 255].into());
    rig.step(Input::Received { connection: a, message: garbage });
    assert_eq!(rig.closed(a), None);
}

// Protocol 2.3: the second connect is an ordinary bad request.
#[test]
fn frames_pipelined_behind_the_connect_are_answered_after_it() {
    let latency = onesocket_gateway::config::Latencies {
        connect: Latency::fixed_ms(5),
        ..onesocket_gateway::config::Latencies::default()
    };
    for config in [GatewayConfig::default(), GatewayConfig { latency, ..GatewayConfig::default() }] {
        let mut rig = Rig::new(config);
        let a = rig.open();
        rig.sent(a);
        rig.send_connect(a, TOKEN);
        rig.send_connect(a, TOKEN);
        rig.send(a, &json!({"type": "req", "id": "3", "method": "test.echo"}));
        rig.advance(Duration::from_millis(5));
        let frames: Vec<Value> = rig.sent(a).into_iter().filter(|frame| frame["type"] == "res").collect();
        assert_eq!(frames[0]["payload"]["type"], "hello-ok");
        assert_eq!(frames[1]["error"]["message"], "connect is only valid as the first request");
        assert_eq!((&frames[2]["id"], &frames[2]["ok"]), (&json!("3"), &json!(true)));
    }
}

// Protocol 2.4: the seventeenth queued frame is too many.
#[test]
fn a_flood_while_the_connect_is_decided_is_closed() {
    let mut rig = Rig::default();
    let a = rig.open();
    rig.send_connect(a, "wrong");
    for _ in 0..16 {
        rig.text(a, "{}");
    }
    assert_eq!(rig.closed(a), None);
    rig.text(a, "{}");
    assert_eq!(rig.closed(a), Some((1008, "gateway message handler loading".to_owned())));
}

// Protocol 1.4.
#[test]
fn the_thirty_third_unauthenticated_socket_is_not_admitted() {
    let mut rig = Rig::default();
    let sockets: Vec<_> = (0..32).map(|_| rig.open()).collect();
    assert_eq!(rig.model.admission(), Admission::Unavailable("Too many unauthenticated sockets"));
    rig.connect(sockets[0], TOKEN);
    assert_eq!(rig.model.admission(), Admission::Open);
}

// Protocol 17.1.
#[test]
fn a_starting_gateway_says_so_with_1013() {
    let timing = Timing { startup: Duration::from_secs(2), ..Timing::default() };
    let mut rig = Rig::just_booted(GatewayConfig { timing, ..GatewayConfig::default() });
    let a = rig.open();
    let refusal = rig.connect(a, TOKEN);
    assert_eq!(refusal["error"]["code"], "UNAVAILABLE");
    assert_eq!(refusal["error"]["retryAfterMs"], 500);
    assert_eq!(refusal["error"]["details"]["reason"], "startup-sidecars");
    assert_eq!(rig.closed(a), Some((1013, "gateway starting".to_owned())));
    rig.advance(Duration::from_secs(2));
    let b = rig.open();
    assert_eq!(rig.connect(b, TOKEN)["ok"], true);
}

// Protocol 16.4.
#[test]
fn a_connect_on_an_open_socket_of_a_draining_gateway_is_refused_with_1013() {
    let mut rig = Rig::default();
    let a = rig.open();
    rig.order(Order::Restart { mode: RestartMode::Graceful, down: Duration::ZERO });
    let refusal = rig.connect(a, TOKEN);
    assert_eq!(refusal["error"]["details"]["reason"], "gateway-restarting");
    assert_eq!(rig.closed(a), Some((1013, "gateway restart in progress".to_owned())));
}

#[test]
fn a_closing_socket_is_not_listened_to() {
    let mut rig = Rig::default();
    let a = rig.open();
    rig.text(a, "42");
    rig.sent(a);
    assert_eq!((rig.model.live_connections(), rig.model.open_sockets()), (0, 1));
    assert_eq!(rig.connect(a, TOKEN), Value::Null);
    rig.disconnect(a);
    assert_eq!(rig.model.open_sockets(), 0);
}

#[test]
fn an_unanswered_close_ends_in_a_drop() {
    let mut rig = Rig::default();
    let a = rig.open();
    rig.text(a, "42");
    rig.advance(Duration::from_secs(30));
    assert!(rig.terminated(a));
}

#[test]
fn a_socket_accepted_too_late_is_dropped() {
    let mut rig = Rig::default();
    rig.order(Order::Stop);
    rig.advance(Duration::from_secs(1));
    assert_eq!(rig.model.admission(), Admission::Refused);
    let a = rig.open_from(Peer::LOCAL);
    assert!(rig.terminated(a));
    assert!(rig.log.iter().any(|effect| matches!(effect, Effect::ModelEvent(ModelEvent::Terminated { .. }))));
}
