//! What the model sends is valid against the gateway's own published schema.

use std::time::Duration;

use onesocket_gateway::config::{Auth, GatewayConfig, Runs};
use onesocket_gateway::{Order, RestartMode};
use serde_json::{Value, json};

use crate::rig::{Rig, TOKEN, client};
use crate::validator::Schema;

#[test]
fn everything_sent_in_a_rich_session_is_valid() {
    let schema = Schema::load();
    let error = Some("simulated failure".to_owned());
    for runs in [Runs::default(), Runs { error, ..Runs::default() }] {
        for frame in rich_session(GatewayConfig { runs, ..GatewayConfig::default() }) {
            schema.assert_frame(&frame);
        }
    }
}

/// Two clients, all methods, runs, a restart.
fn rich_session(config: GatewayConfig) -> Vec<Value> {
    let mut rig = Rig::just_booted(config);
    let a = rig.open();
    rig.send_connect(a, TOKEN);
    let b = rig.open();
    let mut params = client("openclaw-macos", "ui", &["operator.read"]);
    params["auth"] = json!({"token": TOKEN});
    rig.send(b, &json!({"type": "req", "id": "connect", "method": "connect", "params": params}));
    rig.advance(Duration::from_millis(300));
    let run = json!({"message": "hello", "idempotencyKey": "run-1"});
    let chat = json!({"sessionKey": "main", "message": "hello", "idempotencyKey": "run-2"});
    let requests = [
        ("health", json!({})),
        ("status", json!({})),
        ("system-presence", json!({})),
        ("system-event", json!({"text": "hello", "host": "h", "mode": "ui"})),
        ("config.get", json!({})),
        ("agent", run),
        ("chat.send", chat),
        ("agent.wait", json!({"runId": "run-1"})),
        ("no.such.method", json!({})),
        ("test.echo", json!([1, "two", null])),
    ];
    for (index, (method, params)) in requests.iter().enumerate() {
        rig.send(a, &json!({"type": "req", "id": index.to_string(), "method": method, "params": params}));
        rig.send(b, &json!({"type": "req", "id": index.to_string(), "method": method, "params": params}));
    }
    rig.pong_until(a, rig.now + Duration::from_secs(70));
    rig.order(Order::Restart { mode: RestartMode::Graceful, down: Duration::from_millis(500) });
    rig.advance(Duration::from_secs(3));
    let mut frames = rig.sent(a);
    frames.extend(rig.sent(b));
    assert!(frames.len() > 30, "the session is rich");
    frames
}

#[test]
fn a_hello_is_valid_in_every_auth_mode_and_for_every_grant() {
    let schema = Schema::load();
    for auth in [Auth::None, Auth::Token(TOKEN.to_owned()), Auth::Password(TOKEN.to_owned())] {
        for scopes in [&["operator.admin"][..], &["operator.read"][..], &[][..]] {
            let mut rig = Rig::with_auth(auth.clone());
            let a = rig.open();
            let mut params = client("gateway-client", "backend", scopes);
            params["auth"] = json!({"token": TOKEN, "password": TOKEN});
            let hello = rig.connect_with(a, &params);
            schema.assert("HelloOk", &hello["payload"]);
            assert_eq!(hello["payload"]["auth"]["scopes"], json!(scopes));
        }
    }
}

#[test]
fn a_missing_scope_is_described_as_the_schema_says() {
    let schema = Schema::load();
    let mut rig = Rig::default();
    let a = rig.open();
    let mut params = client("gateway-client", "backend", &[]);
    params["auth"] = json!({"token": TOKEN});
    rig.connect_with(a, &params);
    let refused = rig.request(a, "r", "config.get", &json!({})).expect("an answer");
    schema.assert("MissingScopeErrorDetails", &refused["error"]["details"]);
}

#[test]
fn the_connect_params_the_tests_use_are_valid_and_the_model_rejects_what_the_schema_rejects() {
    let schema = Schema::load();
    let validator = schema.definition("ConnectParams");
    let valid = client("gateway-client", "backend", &["operator.admin"]);
    let broken = [
        ("/minProtocol", json!(0)),
        ("/maxProtocol", json!("4")),
        ("/client/id", json!("my-client")),
        ("/client/mode", json!("operator")),
        ("/client/version", json!("")),
        ("/client/timeZone", json!("x".repeat(65))),
        ("/client/unknown", json!(1)),
        ("/scopes", json!("operator.admin")),
        ("/scopes", json!([""])),
        ("/caps", json!([1])),
        ("/permissions", json!({"a": 1})),
        ("/role", json!("")),
        ("/auth", json!({"token": 1})),
        ("/auth", json!({"secret": "x"})),
        ("/device", json!({"id": "x"})),
        ("/device", json!({"id": "x", "publicKey": "x", "signature": "x", "signedAt": -1, "nonce": "x"})),
        ("/locale", json!(1)),
        ("/foo", json!(1)),
    ];
    assert!(validator.is_valid(&valid));
    for (path, value) in broken {
        let mut params = valid.clone();
        let (parent, key) = path.rsplit_once('/').expect("a path");
        params.pointer_mut(parent).expect("the parent exists")[key] = value;
        assert!(!validator.is_valid(&params), "the schema accepts {params}");
        let mut rig = Rig::default();
        let a = rig.open();
        let answer = rig.connect_with(a, &params);
        let message = answer["error"]["message"].as_str().expect("an error");
        assert!(message.starts_with("invalid connect params: "), "{message}");
        assert_eq!(rig.closed(a).expect("a close").0, 1008);
    }
}
