//! Device proofs, pairing and device tokens.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use onesocket_gateway::config::{GatewayConfig, Pairing, Release};
use onesocket_gateway::{ConnectionId, Effect, Misbehave, Order, Peer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::rig::{Rig, TOKEN, client};
use crate::validator::Schema;

/// A device's key.
pub(crate) struct Key(SigningKey);

/// Which payload a proof signs (protocol 7.2).
#[derive(Clone, Copy)]
enum Version {
    V2,
    V3,
}

impl Key {
    pub(crate) fn new(seed: u8) -> Self {
        Key(SigningKey::from_bytes(&[seed; 32]))
    }

    fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    fn id(&self) -> String {
        Sha256::digest(self.public()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The params with a proof for this challenge added.
    fn sign(&self, mut params: Value, challenge: &Value, version: Version) -> Value {
        let text =
            |pointer: &str| params.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let scopes: Vec<&str> =
            params["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let token = ["/auth/token", "/auth/deviceToken", "/auth/bootstrapToken"].map(text);
        let token = token.into_iter().find(|token| !token.is_empty()).unwrap_or_default();
        let (nonce, ts) =
            (challenge["nonce"].as_str().unwrap_or_default(), challenge["ts"].as_u64().unwrap_or_default());
        let fields = [
            self.id(),
            text("/client/id"),
            text("/client/mode"),
            text("/role"),
            scopes.join(","),
            ts.to_string(),
            token,
            nonce.to_owned(),
        ];
        let payload = match version {
            Version::V2 => format!("v2|{}", fields.join("|")),
            Version::V3 => {
                let lower = |pointer| text(pointer).trim().to_ascii_lowercase();
                let tail = [lower("/client/platform"), lower("/client/deviceFamily")];
                format!("v3|{}|{}", fields.join("|"), tail.join("|"))
            }
        };
        params["device"] = json!({
            "id": self.id(),
            "publicKey": URL_SAFE_NO_PAD.encode(self.public()),
            "signature": URL_SAFE_NO_PAD.encode(self.0.sign(payload.as_bytes()).to_bytes()),
            "signedAt": ts,
            "nonce": nonce,
        });
        params
    }

    /// Connects with the shared token and returns everything sent in answer.
    pub(crate) fn connect_frames(
        &self,
        rig: &mut Rig,
        connection: ConnectionId,
        mut params: Value,
        token: &str,
    ) -> Vec<Value> {
        params["auth"] = json!({"token": token});
        let challenge = rig.challenge(connection);
        let params = self.sign(params, &challenge, Version::V3);
        rig.sent(connection);
        rig.send(connection, &json!({"type": "req", "id": "connect", "method": "connect", "params": params}));
        rig.sent(connection)
    }

    /// Connects with these credentials and returns the answer.
    fn connect(&self, rig: &mut Rig, peer: Peer, mut params: Value, auth: Value) -> (ConnectionId, Value) {
        params["auth"] = auth;
        let connection = rig.open_from(peer);
        let challenge = rig.challenge(connection);
        let params = self.sign(params, &challenge, Version::V3);
        let answer = rig.connect_with(connection, &params);
        (connection, answer)
    }
}

/// The shared token of the gateway.
fn shared() -> Value {
    json!({"token": TOKEN})
}

/// The device token that a hello hands out.
fn device_token(hello: &Value) -> &Value {
    &hello["payload"]["auth"]["deviceToken"]
}

fn ui(scopes: &[&str]) -> Value {
    client("openclaw-tui", "ui", scopes)
}

fn code(answer: &Value) -> &str {
    answer["error"]["details"]["code"].as_str().unwrap_or_default()
}

fn reason(answer: &Value) -> &str {
    answer["error"]["details"]["reason"].as_str().unwrap_or_default()
}

// Protocol 7.2.
#[test]
fn both_versions_of_the_payload_are_accepted() {
    for version in [Version::V2, Version::V3] {
        let mut rig = Rig::default();
        let a = rig.open();
        let mut params = ui(&["operator.read", "operator.write"]);
        params["client"]["platform"] = json!(" MacOS 15 ");
        params["client"]["deviceFamily"] = json!("Laptop");
        params["auth"] = shared();
        let challenge = rig.challenge(a);
        let params = Key::new(1).sign(params, &challenge, version);
        let hello = rig.connect_with(a, &params);
        assert_eq!(hello["ok"], true);
        assert_eq!(hello["payload"]["auth"]["scopes"], json!(["operator.read", "operator.write"]));
    }
}

// Protocol 7.4: the age of a proof is judged by the clock of the gateway, and the challenge carries its time.
#[test]
fn a_clock_set_between_challenge_and_proof_makes_the_proof_too_old() {
    let mut rig = Rig::default();
    let skew = |rig: &mut Rig, by_ms| rig.order(Order::Misbehave(Misbehave::SkewClock { by_ms }));
    let connect = |rig: &mut Rig, by_ms| {
        let a = rig.open();
        let challenge = rig.challenge(a);
        skew(rig, by_ms);
        let mut params = ui(&[]);
        params["auth"] = shared();
        rig.connect_with(a, &Key::new(1).sign(params, &challenge, Version::V3))
    };
    assert_eq!(code(&connect(&mut rig, 120_001)), "DEVICE_AUTH_SIGNATURE_EXPIRED");
    assert_eq!(code(&connect(&mut rig, -120_001)), "DEVICE_AUTH_SIGNATURE_EXPIRED");
    // However wrong the clock is, a client that signs with the time of its challenge is not too late.
    skew(&mut rig, -86_400_000);
    assert_eq!(connect(&mut rig, 0)["ok"], true);
}

// Protocol 7.4: the order of checks.
#[test]
fn each_flaw_of_a_proof_has_its_code_and_the_first_one_counts() {
    type Flaw = fn(&mut Value);
    let flaws: [(Flaw, &str); 6] = [
        (|device| device["id"] = json!("0".repeat(64)), "DEVICE_AUTH_DEVICE_ID_MISMATCH"),
        (|device| device["publicKey"] = json!("AAAA"), "DEVICE_AUTH_DEVICE_ID_MISMATCH"),
        (
            |device| device["signedAt"] = json!(device["signedAt"].as_u64().unwrap() - 120_001),
            "DEVICE_AUTH_SIGNATURE_EXPIRED",
        ),
        (|device| device["nonce"] = json!("  "), "DEVICE_AUTH_NONCE_REQUIRED"),
        (|device| device["nonce"] = json!("other"), "DEVICE_AUTH_NONCE_MISMATCH"),
        (|device| device["signature"] = json!("AAAA"), "DEVICE_AUTH_SIGNATURE_INVALID"),
    ];
    for (index, (_, expected)) in flaws.iter().enumerate() {
        let mut rig = Rig::default();
        let a = rig.open();
        let mut params = ui(&[]);
        // The proof is judged before the credential.
        params["auth"] = json!({"token": "wrong"});
        let challenge = rig.challenge(a);
        let mut params = Key::new(1).sign(params, &challenge, Version::V3);
        for (flaw, _) in &flaws[index..] {
            flaw(&mut params["device"]);
            if *expected == "DEVICE_AUTH_NONCE_REQUIRED" {
                // The next flaw would give it a nonce again.
                break;
            }
        }
        let answer = rig.connect_with(a, &params);
        assert_eq!(code(&answer), *expected);
        assert_eq!(rig.closed(a).unwrap().0, 1008);
    }
}

#[test]
fn a_skew_of_two_minutes_is_tolerated() {
    for (skew, ok) in [(-120_000i64, true), (120_000, true), (120_001, false)] {
        let mut rig = Rig::default();
        let a = rig.open();
        let mut params = ui(&[]);
        params["auth"] = shared();
        let mut challenge = rig.challenge(a);
        challenge["ts"] = json!(challenge["ts"].as_i64().unwrap() + skew);
        let params = Key::new(1).sign(params, &challenge, Version::V3);
        assert_eq!(rig.connect_with(a, &params)["ok"], ok, "{skew}");
    }
}

#[test]
fn signatures_are_not_verified_when_the_plan_says_so() {
    let pairing = Pairing { verify_signatures: false, ..Pairing::default() };
    let mut rig = Rig::new(GatewayConfig { pairing, ..GatewayConfig::default() });
    let a = rig.open();
    let mut params = ui(&[]);
    params["auth"] = shared();
    let challenge = rig.challenge(a);
    let mut params = Key::new(1).sign(params, &challenge, Version::V3);
    params["device"]["signature"] = json!("AAAA");
    assert_eq!(rig.connect_with(a, &params)["ok"], true);
}

// Protocol 3.9, 6.5.
#[test]
fn a_device_keeps_its_token_and_can_use_it_alone_or_beside_a_wrong_one() {
    let mut rig = Rig::default();
    let (key, scopes) = (Key::new(1), ["operator.read", "operator.write"]);
    let (_, hello) = key.connect(&mut rig, Peer::LOCAL, ui(&scopes), shared());
    let issued = hello["payload"]["auth"].clone();
    let token = issued["deviceToken"].as_str().unwrap().to_owned();
    let notes: Vec<&Effect> =
        rig.log.iter().filter(|effect| matches!(effect, Effect::ModelEvent(_))).collect();
    assert!(!format!("{notes:?}").contains(&token), "a note never prints the token");
    for auth in [
        json!({"token": token}),
        json!({"deviceToken": token}),
        json!({"token": token, "deviceToken": token}),
        json!({"token": "wrong", "deviceToken": token}),
    ] {
        rig.advance(Duration::from_secs(1));
        let before = rig.now;
        let (_, hello) = key.connect(&mut rig, Peer::REMOTE, ui(&["operator.read"]), auth);
        assert_eq!(hello["payload"]["auth"]["scopes"], json!(["operator.read"]));
        assert_eq!(*device_token(&hello), issued["deviceToken"]);
        assert_eq!(hello["payload"]["auth"]["issuedAtMs"], issued["issuedAtMs"]);
        assert_eq!(rig.now, before, "a rescued connect is not a failure");
    }
}

// Protocol 5.4.
#[test]
fn a_wrong_token_with_a_device_suggests_its_device_token() {
    let mut rig = Rig::default();
    let key = Key::new(1);
    let (_, answer) = key.connect(&mut rig, Peer::LOCAL, ui(&[]), json!({"token": "wrong"}));
    assert_eq!(code(&answer), "AUTH_TOKEN_MISMATCH");
    assert_eq!(answer["error"]["details"]["canRetryWithDeviceToken"], true);
    assert_eq!(answer["error"]["details"]["recommendedNextStep"], "retry_with_device_token");
    let both = json!({"token": "wrong", "deviceToken": "wrong"});
    let (_, answer) = key.connect(&mut rig, Peer::LOCAL, ui(&[]), both);
    assert_eq!(code(&answer), "AUTH_DEVICE_TOKEN_MISMATCH");
    let (_, answer) = key.connect(&mut rig, Peer::LOCAL, ui(&[]), json!({}));
    assert_eq!(code(&answer), "AUTH_TOKEN_MISSING");
    let (_, answer) = key.connect(&mut rig, Peer::LOCAL, ui(&[]), json!({"bootstrapToken": "x"}));
    assert_eq!(code(&answer), "AUTH_BOOTSTRAP_TOKEN_INVALID");
}

// As 2026.9.6 does it.
#[test]
fn a_hello_says_what_admitted_the_client() {
    let mut rig = Rig::default();
    let key = Key::new(1);
    let method = |hello: &Value| hello["payload"]["auth"]["method"].clone();
    let (_, hello) = key.connect(&mut rig, Peer::LOCAL, ui(&[]), shared());
    assert_eq!(method(&hello), "token");
    let token = device_token(&hello).clone();
    for auth in
        [json!({"deviceToken": token}), json!({"token": token}), json!({"token": "x", "deviceToken": token})]
    {
        let (_, hello) = key.connect(&mut rig, Peer::LOCAL, ui(&[]), auth);
        assert_eq!(method(&hello), "device-token");
    }
    let a = rig.open();
    assert_eq!(rig.challenge(a)["capabilities"], json!(["model-catalog-snapshot"]));

    let mut older = Rig::new(GatewayConfig { release: Release::R2026_9_1, ..GatewayConfig::default() });
    let (_, hello) = key.connect(&mut older, Peer::LOCAL, ui(&[]), shared());
    assert_eq!(method(&hello), Value::Null);
    let a = older.open();
    assert_eq!(older.challenge(a)["capabilities"], Value::Null);
}

#[test]
fn a_refusal_may_be_told_by_the_close_alone() {
    let mut rig = Rig::new(GatewayConfig { refusals_by_close: true, ..GatewayConfig::default() });
    let a = rig.open();
    rig.send_connect(a, "wrong");
    rig.advance(Duration::from_secs(1));
    assert_eq!(rig.response(a, "connect"), None);
    let (code, reason) = rig.closed(a).expect("it is refused");
    assert!(code == 1008 && reason.starts_with("unauthorized: gateway token mismatch"), "{code} {reason}");
}

// As 2026.9.6 does it: only a wrong shared secret is a guess, which is answered later and later.
#[test]
fn a_stale_device_token_counts_only_where_it_stands_for_the_shared_one() {
    let mut rig = Rig::default();
    let key = Key::new(1);
    let mut took = |auth: Value| {
        let before = rig.now;
        let (_, answer) = key.connect(&mut rig, Peer::LOCAL, ui(&[]), auth);
        assert_eq!(answer["ok"], false);
        (code(&answer).to_owned(), (rig.now - before).as_millis())
    };
    let mismatch = |ms| ("AUTH_DEVICE_TOKEN_MISMATCH".to_owned(), ms);
    for _ in 0..3 {
        assert_eq!(took(json!({"deviceToken": "stale"})), mismatch(0));
    }
    for ms in [250, 500, 1_000] {
        assert_eq!(took(json!({"token": "stale", "deviceToken": "stale"})), mismatch(ms));
    }
    assert_eq!(took(json!({"deviceToken": "stale"})), mismatch(0));
    assert_eq!(took(json!({"token": "stale"})), ("AUTH_TOKEN_MISMATCH".to_owned(), 2_000));
}

// Protocol 3.9, 6.3e.
#[test]
fn a_setup_code_pairs_a_device_in_both_roles_once() {
    let pairing = Pairing {
        bootstrap_tokens: vec!["code".to_owned()],
        auto_approve_local: false,
        ..Pairing::default()
    };
    let mut rig = Rig::new(GatewayConfig { pairing, ..GatewayConfig::default() });
    let (phone, other) = (Key::new(1), Key::new(2));
    let code_alone = || json!({"bootstrapToken": "code"});
    let reads = || client("openclaw-ios", "ui", &["operator.read"]);
    let (_, hello) = phone.connect(&mut rig, Peer::LOCAL, reads(), code_alone());
    let auth = &hello["payload"]["auth"];
    Schema::load().assert("HelloOk", &hello["payload"]);
    let (own, handed_over) = (&auth["deviceToken"], &auth["deviceTokens"][0]);
    assert!(own.is_string() && own != &handed_over["deviceToken"], "{auth}");
    assert_eq!((&handed_over["role"], &handed_over["scopes"]), (&json!("node"), &json!([])));
    assert_eq!(auth["deviceTokens"].as_array().map(Vec::len), Some(1));

    // It is spent, for everybody.
    for key in [&phone, &other] {
        let (_, answer) = key.connect(&mut rig, Peer::LOCAL, reads(), code_alone());
        assert_eq!(self::code(&answer), "AUTH_BOOTSTRAP_TOKEN_INVALID");
    }
    // Both tokens are good, each in its role and no other, and hand nothing over.
    let mut node = client("openclaw-ios", "node", &[]);
    node["role"] = json!("node");
    let both = |token: &Value| json!({"token": token, "deviceToken": token});
    let (_, hello) = phone.connect(&mut rig, Peer::LOCAL, reads(), both(own));
    assert_eq!(*device_token(&hello), *own);
    assert_eq!(hello["payload"]["auth"]["deviceTokens"], Value::Null);
    let (_, answer) = phone.connect(&mut rig, Peer::LOCAL, node.clone(), both(own));
    assert_eq!(self::code(&answer), "AUTH_DEVICE_TOKEN_MISMATCH");
    let (_, hello) = phone.connect(&mut rig, Peer::LOCAL, node, both(&handed_over["deviceToken"]));
    assert_eq!(hello["payload"]["auth"]["role"], "node");
}

#[test]
fn a_setup_code_pairs_for_no_more_than_it_stands_for() {
    let pairing = Pairing { bootstrap_tokens: vec!["code".to_owned()], ..Pairing::default() };
    let mut rig = Rig::new(GatewayConfig { pairing, ..GatewayConfig::default() });
    let admin = client("openclaw-ios", "ui", &["operator.admin"]);
    let (_, answer) = Key::new(1).connect(&mut rig, Peer::LOCAL, admin, json!({"bootstrapToken": "code"}));
    assert_eq!(code(&answer), "PAIRING_REQUIRED");
    assert_eq!(answer["error"]["details"]["reason"], "scope-upgrade");
}

// Protocol 7.5, 7.6, 7.8.
#[test]
fn a_remote_device_waits_for_its_approval() {
    let mut rig = Rig::default();
    let watcher = rig.open();
    rig.connect(watcher, TOKEN);
    rig.advance(Duration::from_millis(20));
    rig.sent(watcher);
    let key = Key::new(1);
    let (a, refused) = key.connect(&mut rig, Peer::REMOTE, ui(&["operator.read"]), shared());
    assert_eq!((refused["error"]["code"].as_str(), code(&refused)), (Some("NOT_PAIRED"), "PAIRING_REQUIRED"));
    assert_eq!(reason(&refused), "not-paired");
    let id = refused["error"]["details"]["requestId"].as_str().unwrap().to_owned();
    let text = format!("pairing required: device is not approved yet (requestId: {id})");
    assert_eq!(rig.closed(a), Some((1008, text)));
    let (_, again) = key.connect(&mut rig, Peer::REMOTE, ui(&["operator.read"]), shared());
    assert_eq!(again["error"]["details"]["requestId"], id.as_str(), "one request for one device");
    rig.order(Order::ApprovePairing);
    let frames = rig.sent(watcher);
    let names: Vec<&str> = frames.iter().filter_map(|frame| frame["event"].as_str()).collect();
    assert_eq!(names, ["device.pair.requested", "device.pair.resolved"]);
    assert_eq!(
        (&frames[1]["payload"]["decision"], &frames[1]["payload"]["requestId"]),
        (&json!("approved"), &json!(id))
    );
    let (_, hello) = key.connect(&mut rig, Peer::REMOTE, ui(&["operator.read"]), shared());
    assert_eq!(hello["ok"], true);
}

// Protocol 7.5: what local trust approves by itself.
#[test]
fn upgrades_are_approved_locally_except_role_and_metadata() {
    let mut rig = Rig::default();
    let key = Key::new(1);
    let connect = |rig: &mut Rig, peer: Peer, params: Value, auth: &Value| {
        key.connect(rig, peer, params, auth.clone()).1
    };
    let hello = connect(&mut rig, Peer::LOCAL, ui(&["operator.read"]), &shared());
    let token = json!({"deviceToken": device_token(&hello)});
    let wider = || ui(&["operator.read", "operator.admin"]);
    assert_eq!(code(&connect(&mut rig, Peer::REMOTE, wider(), &token)), "AUTH_SCOPE_MISMATCH");
    assert_eq!(reason(&connect(&mut rig, Peer::REMOTE, wider(), &shared())), "scope-upgrade");
    let meanwhile = connect(&mut rig, Peer::LOCAL, wider(), &shared());
    assert_eq!(reason(&meanwhile), "scope-upgrade", "what waits for a person is not approved by itself");
    rig.order(Order::RejectPairing);
    assert_eq!(connect(&mut rig, Peer::LOCAL, wider(), &shared())["ok"], true);
    let mut node = client("node-host", "node", &[]);
    node["role"] = json!("node");
    assert_eq!(reason(&connect(&mut rig, Peer::LOCAL, node, &shared())), "role-upgrade");
    let mut other = wider();
    other["client"]["platform"] = json!("macos");
    let refused = connect(&mut rig, Peer::LOCAL, other, &shared());
    assert_eq!(reason(&refused), "metadata-upgrade");
    assert_eq!(refused["error"]["details"]["approvedScopes"], json!(["operator.admin", "operator.read"]));
}

#[test]
fn advice_and_approval_are_configurable() {
    let pairing = Pairing {
        auto_approve_local: false,
        recommended_next_step: Some("wait_then_retry".to_owned()),
        pause_reconnect: Some(false),
        ..Pairing::default()
    };
    let mut rig = Rig::new(GatewayConfig { pairing, ..GatewayConfig::default() });
    let (_, refused) = Key::new(1).connect(&mut rig, Peer::LOCAL, ui(&[]), shared());
    assert_eq!(refused["error"]["details"]["recommendedNextStep"], "wait_then_retry");
    assert_eq!(refused["error"]["details"]["pauseReconnect"], false);
}

// Protocol 3.9: the gateway's own helpers bring a device only to sign with.
#[test]
fn a_local_backend_needs_no_pairing_and_gets_no_token() {
    let mut rig = Rig::default();
    let params = client("gateway-client", "backend", &["operator.admin"]);
    let (_, hello) = Key::new(1).connect(&mut rig, Peer::LOCAL, params, shared());
    assert_eq!(hello["ok"], true);
    assert_eq!(hello["payload"]["auth"].get("deviceToken"), None);
}

// Protocol 6.7.
#[test]
fn rotated_and_revoked_tokens_close_with_4001_and_are_refused() {
    for (order, outcome) in [
        (Order::RotateDeviceTokens, "AUTH_DEVICE_TOKEN_MISMATCH"),
        (Order::RevokeDevices, "AUTH_DEVICE_TOKEN_MISMATCH"),
    ] {
        let mut rig = Rig::default();
        let key = Key::new(1);
        let (a, hello) = key.connect(&mut rig, Peer::LOCAL, ui(&[]), shared());
        let old = device_token(&hello).clone();
        rig.order(order);
        assert_eq!(rig.closed(a), Some((4001, "device removed".to_owned())));
        let (_, refused) = key.connect(&mut rig, Peer::LOCAL, ui(&[]), json!({"deviceToken": old}));
        assert_eq!(code(&refused), outcome);
        let (_, hello) = key.connect(&mut rig, Peer::LOCAL, ui(&[]), shared());
        assert_ne!(*device_token(&hello), old);
    }
}

// As 2026.9.6 does it.
#[test]
fn an_approval_replaces_the_token() {
    let mut rig = Rig::default();
    let key = Key::new(1);
    let (_, hello) = key.connect(&mut rig, Peer::LOCAL, ui(&["operator.read"]), shared());
    let old = device_token(&hello).clone();
    let (held, wider) = key.connect(&mut rig, Peer::LOCAL, ui(&["operator.write"]), shared());
    assert_ne!(*device_token(&wider), old);
    let (_, refused) =
        key.connect(&mut rig, Peer::LOCAL, ui(&["operator.read"]), json!({"deviceToken": old}));
    assert_eq!(code(&refused), "AUTH_DEVICE_TOKEN_MISMATCH");
    assert_eq!(rig.closed(held), None, "an approval closes nothing");
}

#[test]
fn a_wider_request_replaces_the_one_that_waits() {
    let mut rig = Rig::default();
    let admin = rig.open();
    rig.connect(admin, TOKEN);
    let key = Key::new(1);
    let ask = |rig: &mut Rig, scopes: &[&str]| {
        let (_, refused) = key.connect(rig, Peer::REMOTE, ui(scopes), shared());
        refused["error"]["details"]["requestId"].as_str().unwrap().to_owned()
    };
    let first = ask(&mut rig, &["operator.read"]);
    let second = ask(&mut rig, &["operator.write"]);
    assert_ne!(first, second);
    assert_eq!(ask(&mut rig, &["operator.read"]), second, "it covers what is asked now");
    let unknown = rig.request(admin, "1", "device.pair.approve", &json!({"requestId": first})).unwrap();
    assert_eq!(unknown["error"]["message"], "unknown requestId");
    rig.sent(admin);
    let approved = rig.request(admin, "2", "device.pair.approve", &json!({"requestId": second})).unwrap();
    assert_eq!(approved["payload"]["device"]["scopes"], json!(["operator.read", "operator.write"]));
    let (_, hello) = key.connect(&mut rig, Peer::REMOTE, ui(&["operator.read", "operator.write"]), shared());
    assert_eq!(hello["ok"], true);
}

#[test]
fn who_ends_its_own_token_is_answered_before_it_is_closed() {
    for (method, role) in
        [("device.token.rotate", true), ("device.token.revoke", true), ("device.pair.remove", false)]
    {
        let mut rig = Rig::default();
        let key = Key::new(1);
        let (a, _) = key.connect(&mut rig, Peer::LOCAL, ui(&["operator.admin"]), shared());
        let (b, _) = key.connect(&mut rig, Peer::LOCAL, ui(&["operator.admin"]), shared());
        let mut params = json!({"deviceId": key.id()});
        if role {
            params["role"] = json!("operator");
        }
        let answer = rig.request(a, "1", method, &params).unwrap();
        assert_eq!(answer["ok"], true, "{answer}");
        rig.advance(Duration::from_millis(10));
        for connection in [a, b] {
            assert_eq!(rig.closed(connection), Some((4001, "device removed".to_owned())), "{method}");
        }
    }
}

/// A revoked role has to be approved again, which local trust does by itself.
#[test]
fn a_revoked_role_is_approved_again() {
    let mut rig = Rig::default();
    let admin = rig.open();
    rig.connect(admin, TOKEN);
    let key = Key::new(1);
    key.connect(&mut rig, Peer::LOCAL, ui(&[]), shared());
    let operator = json!({"deviceId": key.id(), "role": "operator"});
    assert_eq!(rig.request(admin, "1", "device.token.revoke", &operator).unwrap()["ok"], true);
    let again = rig.request(admin, "2", "device.token.revoke", &operator).unwrap();
    assert_eq!(again["error"]["message"], "device token revocation denied");
    let (_, refused) = key.connect(&mut rig, Peer::REMOTE, ui(&[]), shared());
    assert_eq!(reason(&refused), "role-upgrade");
    rig.order(Order::RejectPairing);
    let (_, hello) = key.connect(&mut rig, Peer::LOCAL, ui(&[]), shared());
    assert_eq!(hello["ok"], true);
}

#[test]
fn pairing_survives_a_crash() {
    let mut rig = Rig::default();
    let key = Key::new(1);
    let (_, hello) = key.connect(&mut rig, Peer::LOCAL, ui(&[]), shared());
    let down = Duration::from_secs(1);
    rig.order(Order::Restart { mode: onesocket_gateway::RestartMode::Crash, down });
    rig.advance(down);
    let token = json!({"deviceToken": device_token(&hello)});
    let (_, again) = key.connect(&mut rig, Peer::REMOTE, ui(&[]), token);
    assert_eq!(again["ok"], true);
}

// Protocol 6.8.
#[test]
fn a_node_may_not_call_operator_methods_and_is_closed_if_it_insists() {
    let mut rig = Rig::default();
    let mut params = client("node-host", "node", &[]);
    params["role"] = json!("node");
    let (a, hello) = Key::new(1).connect(&mut rig, Peer::LOCAL, params, shared());
    assert_eq!(hello["payload"]["auth"]["role"], "node");
    let refused = rig.request(a, "1", "status", &json!({})).unwrap();
    assert_eq!(refused["error"]["message"], "unauthorized role: node");
    assert_eq!(rig.request(a, "2", "health", &json!({})).unwrap()["ok"], true);
    for _ in 0..10 {
        rig.request(a, "1", "status", &json!({}));
    }
    assert_eq!(rig.closed(a), None);
    rig.request(a, "1", "status", &json!({}));
    assert_eq!(rig.closed(a), Some((1008, "repeated unauthorized calls".to_owned())));
}
