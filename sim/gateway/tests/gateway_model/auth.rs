//! Shared secrets, lockouts, origins and scopes.

use std::time::Duration;

use onesocket_gateway::config::{Auth, GatewayConfig, RateLimit};
use onesocket_gateway::{Effect, ModelEvent, Order, Peer};
use serde_json::{Value, json};

use crate::rig::{Rig, TOKEN, backend, client};

fn details(answer: &Value) -> &Value {
    &answer["error"]["details"]
}

// Protocol 5.4, 6.2.
#[test]
fn failed_authentication_is_told_by_its_details() {
    let token = Auth::Token(TOKEN.to_owned());
    let password = Auth::Password(TOKEN.to_owned());
    let cases = [
        (&token, json!({"token": "wrong"}), "AUTH_TOKEN_MISMATCH", "update_auth_credentials"),
        (&token, json!({"password": TOKEN}), "AUTH_TOKEN_MISSING", "update_auth_configuration"),
        (&password, json!({"password": "wrong"}), "AUTH_PASSWORD_MISMATCH", "update_auth_credentials"),
        (&password, json!({"token": TOKEN}), "AUTH_PASSWORD_MISSING", "update_auth_configuration"),
    ];
    for (auth, presented, code, next_step) in cases {
        let mut rig = Rig::with_auth(auth.clone());
        let a = rig.open();
        let mut params = backend();
        params["auth"] = presented;
        let answer = rig.connect_with(a, &params);
        assert_eq!(answer["error"]["code"], "INVALID_REQUEST");
        assert_eq!(details(&answer)["code"], code);
        assert_eq!(details(&answer)["recommendedNextStep"], next_step);
        assert_eq!(details(&answer)["canRetryWithDeviceToken"], false);
        let (close, reason) = rig.closed(a).unwrap();
        assert_eq!((close, reason.as_str()), (1008, answer["error"]["message"].as_str().unwrap()));
    }
}

// Protocol 6.2: without any credential a device is asked for, not a token.
#[test]
fn no_credential_and_no_device_asks_for_a_device() {
    let mut rig = Rig::default();
    let a = rig.open();
    let answer = rig.connect_with(a, &backend());
    assert_eq!(answer["error"]["code"], "NOT_PAIRED");
    assert_eq!(details(&answer)["code"], "DEVICE_IDENTITY_REQUIRED");
}

#[test]
fn a_gateway_without_auth_admits_anyone() {
    let mut rig = Rig::with_auth(Auth::None);
    let a = rig.open();
    assert_eq!(rig.connect_with(a, &backend())["ok"], true);
}

// Protocol 8.3.
#[test]
fn failures_of_a_local_client_are_answered_ever_later_and_a_success_resets_that() {
    let mut rig = Rig::default();
    for expected in [250, 500, 1000, 2000, 4000, 5000, 5000] {
        let a = rig.open();
        let before = rig.now;
        rig.connect(a, "wrong");
        assert_eq!(rig.now - before, Duration::from_millis(expected));
    }
    let before = rig.now;
    let a = rig.open();
    assert_eq!(rig.connect(a, TOKEN)["ok"], true);
    assert_eq!(rig.now, before);
    let b = rig.open();
    rig.connect(b, "wrong");
    assert_eq!(rig.now - before, Duration::from_millis(250));
}

// Protocol 8.1, 8.2.
#[test]
fn ten_failures_lock_a_remote_client_out_even_with_the_right_token() {
    let mut rig = Rig::default();
    let attempt = |rig: &mut Rig, token: &str| {
        let a = rig.open_from(Peer::REMOTE);
        rig.connect(a, token)
    };
    for _ in 0..10 {
        assert_eq!(details(&attempt(&mut rig, "wrong"))["code"], "AUTH_TOKEN_MISMATCH");
    }
    let locked = attempt(&mut rig, TOKEN);
    assert_eq!(details(&locked)["code"], "AUTH_RATE_LIMITED");
    assert_eq!(details(&locked)["recommendedNextStep"], "wait_then_retry");
    assert_eq!(
        (&locked["error"]["retryable"], &locked["error"]["retryAfterMs"]),
        (&json!(true), &json!(300_000))
    );
    // Another client is not concerned.
    let local = rig.open();
    assert_eq!(rig.connect(local, TOKEN)["ok"], true);
    rig.advance(Duration::from_secs(300));
    assert_eq!(attempt(&mut rig, TOKEN)["ok"], true);
}

#[test]
fn failures_outside_the_window_do_not_count() {
    let rate_limit = RateLimit { max_attempts: 2, ..RateLimit::default() };
    let mut rig = Rig::new(GatewayConfig { rate_limit, ..GatewayConfig::default() });
    for _ in 0..4 {
        let a = rig.open_from(Peer::REMOTE);
        assert_eq!(details(&rig.connect(a, "wrong"))["code"], "AUTH_TOKEN_MISMATCH");
        rig.advance(Duration::from_secs(61));
    }
}

// Protocol 18.4.
#[test]
fn an_origin_is_checked_before_the_token() {
    let cases = [
        (true, "http://localhost:5173", &[][..], true),
        (true, "http://127.0.0.1:18789", &[][..], true),
        (false, "http://localhost:5173", &[][..], false),
        (true, "https://evil.example", &[][..], false),
        (true, "https://app.example", &["https://app.example"][..], true),
        (false, "https://app.example", &["*"][..], true),
    ];
    for (loopback, origin, allowed, admitted) in cases {
        let allowed_origins = allowed.iter().map(ToString::to_string).collect();
        let mut rig = Rig::new(GatewayConfig { allowed_origins, ..GatewayConfig::default() });
        let a = rig.open_from(Peer { loopback, origin: Some(origin.into()) });
        let answer = rig.connect(a, TOKEN);
        assert_eq!(answer["ok"], admitted, "{origin}");
        if admitted {
            // An origin removes what only local clients get (protocol 6.6).
            assert_eq!(answer["payload"]["auth"]["scopes"], json!([]));
        } else {
            assert_eq!(details(&answer)["code"], "CONTROL_UI_ORIGIN_NOT_ALLOWED");
        }
    }
}

// Protocol 6.6.
#[test]
fn device_less_clients_keep_their_scopes_only_as_local_backend_or_cli() {
    let cases = [
        ("gateway-client", "backend", true),
        ("cli", "cli", true),
        ("openclaw-macos", "ui", false),
        ("openclaw-probe", "probe", false),
        ("test", "test", false),
    ];
    for (id, mode, kept) in cases {
        for peer in [Peer::LOCAL, Peer::REMOTE] {
            let mut rig = Rig::default();
            let a = rig.open_from(peer.clone());
            let mut params = client(id, mode, &["operator.read"]);
            params["auth"] = json!({"token": TOKEN});
            let hello = rig.connect_with(a, &params);
            let expected = if kept && peer.loopback { json!(["operator.read"]) } else { json!([]) };
            assert_eq!(hello["payload"]["auth"]["scopes"], expected, "{id}/{mode} {peer:?}");
            let presence = hello["payload"]["snapshot"]["presence"].as_array().unwrap().len();
            assert_eq!(presence > 0, kept && peer.loopback);
        }
    }
}

// Protocol 6.6: roles and browsers that need a device.
#[test]
fn nodes_and_the_control_ui_need_a_device() {
    let mut rig = Rig::default();
    let a = rig.open();
    let mut params = client("node-host", "node", &[]);
    params["role"] = json!("node");
    params["auth"] = json!({"token": TOKEN});
    assert_eq!(details(&rig.connect_with(a, &params))["code"], "DEVICE_IDENTITY_REQUIRED");
    let b = rig.open();
    let mut params = client("openclaw-control-ui", "ui", &[]);
    params["auth"] = json!({"token": TOKEN});
    assert_eq!(details(&rig.connect_with(b, &params))["code"], "CONTROL_UI_DEVICE_IDENTITY_REQUIRED");
    let c = rig.open();
    let mut params = backend();
    params["role"] = json!("bogus");
    assert_eq!(rig.connect_with(c, &params)["error"]["message"], "invalid role");
}

// Protocol 5.5, 6.9.
#[test]
fn a_missing_scope_is_forbidden_and_named() {
    let cases = [
        (&[][..], "status", "operator.read"),
        (&["operator.read"][..], "agent", "operator.write"),
        (&["operator.write"][..], "set-heartbeats", "operator.admin"),
    ];
    for (scopes, method, missing) in cases {
        let mut rig = Rig::default();
        let a = rig.open();
        let mut params = client("gateway-client", "backend", scopes);
        params["auth"] = json!({"token": TOKEN});
        rig.connect_with(a, &params);
        let answer = rig.request(a, "1", method, &json!({})).unwrap();
        assert_eq!(answer["error"]["code"], "FORBIDDEN");
        assert_eq!(details(&answer)["missingScope"], missing);
        assert_eq!(rig.request(a, "2", "health", &json!({})).unwrap()["ok"], true);
    }
}

// Protocol 6.7.
#[test]
fn a_changed_token_closes_with_4001_and_refuses_the_old_one() {
    let mut rig = Rig::default();
    let a = rig.open();
    rig.connect(a, TOKEN);
    rig.order(Order::ChangeToken { token: "next".to_owned() });
    rig.advance(Duration::from_millis(599));
    assert_eq!(rig.closed(a), None);
    rig.advance(Duration::from_millis(1));
    assert_eq!(rig.closed(a), Some((4001, "gateway auth changed".to_owned())));
    let b = rig.open();
    assert_eq!(details(&rig.connect(b, TOKEN))["code"], "AUTH_TOKEN_MISMATCH");
    let c = rig.open();
    assert_eq!(rig.connect(c, "next")["ok"], true);
}

#[test]
fn an_equal_token_changes_nothing() {
    let mut rig = Rig::default();
    let a = rig.open();
    rig.connect(a, TOKEN);
    rig.order(Order::ChangeToken { token: TOKEN.to_owned() });
    rig.advance(Duration::from_secs(2));
    assert_eq!(rig.closed(a), None);
}

// Protocol 3.8: the generation is checked after the credential.
#[test]
fn a_token_changed_while_a_connect_is_decided_does_not_slip_in() {
    let mut rig = Rig::new(GatewayConfig {
        latency: onesocket_gateway::config::Latencies {
            connect: onesocket_gateway::config::Latency::fixed_ms(50),
            ..Default::default()
        },
        ..GatewayConfig::default()
    });
    let a = rig.open();
    rig.send_connect(a, TOKEN);
    rig.order(Order::ChangeToken { token: "next".to_owned() });
    rig.advance(Duration::from_millis(50));
    assert_eq!(rig.closed(a).unwrap().0, 4001);
    assert!(!rig.log.iter().any(|effect| matches!(effect, Effect::ModelEvent(ModelEvent::HelloSent { .. }))));
}

#[test]
fn a_presented_secret_is_never_printed() {
    let mut rig = Rig::default();
    let a = rig.open();
    rig.connect(a, "very-secret");
    let notes: Vec<&Effect> =
        rig.log.iter().filter(|effect| matches!(effect, Effect::ModelEvent(_))).collect();
    assert!(!format!("{notes:?}").contains("very-secret"));
    let presented = notes.iter().find_map(|effect| match effect {
        Effect::ModelEvent(ModelEvent::ConnectReceived { presented, .. }) => presented.token.as_deref(),
        _ => None,
    });
    assert_eq!(presented, Some("very-secret"));
}

#[test]
fn an_operator_s_interface_needs_a_device() {
    for id in ["openclaw-control-ui", "openclaw-tui"] {
        let mut rig = Rig::default();
        let a = rig.open();
        let mut params = client(id, "ui", &["operator.read"]);
        params["auth"] = json!({"token": TOKEN});
        let refused = rig.connect_with(a, &params);
        assert_eq!(refused["error"]["details"]["code"], "CONTROL_UI_DEVICE_IDENTITY_REQUIRED", "{id}");
    }
}
