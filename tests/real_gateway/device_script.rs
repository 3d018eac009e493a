//! The part of the script that proves devices: tokens, refusals, pairing and its administration (protocol 7).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::script::{Peer, Transcript, backend};

/// Plays everything about devices against the gateway at `url`.
pub(crate) async fn devices(url: &str, token: &str, transcript: &mut Transcript) {
    let mut admin = Peer::dial(url).await;
    admin.connect(&backend(token)).await;
    let mut stage = Stage { url, token, admin, transcript };
    stage.tokens().await;
    stage.scopes().await;
    stage.refusals().await;
    stage.lost_tokens().await;
    stage.approvals().await;
    stage.roles().await;
    stage.administration().await;
    let Stage { mut admin, transcript, .. } = stage;
    // Events come in the order of what they report, so that the answer comes behind all of them.
    admin.request("health", &json!({})).await;
    let decided = admin.events.iter().filter_map(|event| {
        let decided = event["event"].as_str()?.strip_prefix("device.pair.")?;
        Some(event["payload"]["decision"].as_str().unwrap_or(decided).to_owned())
    });
    let decided: Vec<String> = decided.collect();
    transcript.take("the events of devices", &json!({"order": decided.join(" ")}));
    transcript.events(admin.events);
}

struct Stage<'a> {
    url: &'a str,
    token: &'a str,
    admin: Peer,
    transcript: &'a mut Transcript,
}

impl Stage<'_> {
    /// A token is issued, stays the same, and is enough in each place it can be in.
    async fn tokens(&mut self) {
        let key = Key::new(1);
        let shared = json!({"token": self.token});
        let first = self.attempt("device hello", &key, &command_line(), &shared).await;
        let token = first.device_token();
        for (step, auth) in [
            ("device token alone", json!({"deviceToken": token})),
            ("device token as a token", json!({"token": token})),
            ("device token twice", json!({"token": token, "deviceToken": token})),
            ("device token beside a wrong one", json!({"token": "wrong", "deviceToken": token})),
            ("shared token again", shared),
        ] {
            let hello = self.attempt(step, &key, &command_line(), &auth).await;
            self.transcript.take(step, &json!({"same token": hello.device_token() == token}));
        }
        // What runs on the gateway's machine for the gateway needs no pairing, and a probe does.
        for (id, mode) in
            [("gateway-client", "backend"), ("openclaw-probe", "probe"), ("openclaw-macos", "ui")]
        {
            let mut params = command_line();
            (params["client"]["id"], params["client"]["mode"]) = (json!(id), json!(mode));
            let auth = json!({"token": self.token});
            self.attempt(&format!("device of {id}"), &Key::new(2), &params, &auth).await;
        }
    }

    /// A token opens what it was granted. More is granted to who has the shared token, with another token.
    async fn scopes(&mut self) {
        let key = Key::new(3);
        let asking = |scopes: Value| {
            let mut params = command_line();
            params["scopes"] = scopes;
            params
        };
        let shared = json!({"token": self.token});
        let reading = asking(json!(["operator.read"]));
        let first = self.attempt("reading device", &key, &reading, &shared).await;
        let mine = json!({"deviceToken": first.device_token()});
        let writing = asking(json!(["operator.read", "operator.write"]));
        self.attempt("reading device writes", &key, &writing, &mine).await;
        self.attempt("reading device wants nothing", &key, &asking(json!([])), &mine).await;
        let wider =
            self.attempt("reading device writes with the shared token", &key, &writing, &shared).await;
        let same = wider.device_token() == first.device_token();
        self.transcript.take("reading device writes with the shared token", &json!({"same token": same}));
        self.attempt("the token before", &key, &reading, &mine).await;
        let mine = json!({"deviceToken": wider.device_token()});
        self.attempt("writing device reads", &key, &reading, &mine).await;
    }

    /// Proofs and credentials that are refused, each in its own way.
    async fn refusals(&mut self) {
        for (flaw, pointer, value) in [
            ("another id", "/device/id", json!("0".repeat(64))),
            ("no key", "/device/publicKey", json!("AAAA")),
            ("an old time", "/device/signedAt", json!(1)),
            ("a blank nonce", "/device/nonce", json!(" ")),
            ("another nonce", "/device/nonce", json!("other")),
            ("another signature", "/device/signature", json!("AAAA")),
            ("no time", "/device/signedAt", json!("now")),
        ] {
            let auth = json!({"token": self.token});
            let mut peer = Peer::dial(self.url).await;
            let mut params = Key::new(4).signed(&mut peer, &command_line(), &auth).await;
            *params.pointer_mut(pointer).expect("it is there") = value;
            let outcome = Outcome::of(peer, &params).await;
            self.transcript.take(&format!("proof with {flaw}"), &outcome.said);
        }
        for (step, auth) in [
            ("no credentials", json!({})),
            ("a password", json!({"password": "x"})),
            ("a wrong token", json!({"token": "wrong"})),
            ("a wrong device token", json!({"deviceToken": "wrong"})),
            ("two wrong tokens", json!({"token": "wrong", "deviceToken": "wrong"})),
            ("a wrong bootstrap token", json!({"bootstrapToken": "wrong"})),
        ] {
            self.attempt(&format!("device with {step}"), &Key::new(1), &command_line(), &auth).await;
        }
    }

    /// Tokens end by rotation, revocation and removal, and so do the sockets of their device.
    async fn lost_tokens(&mut self) {
        let key = Key::new(5);
        let shared = json!({"token": self.token});
        for method in ["device.token.rotate", "device.token.revoke", "device.pair.remove"] {
            let mut held = self.attempt(&format!("before {method}"), &key, &command_line(), &shared).await;
            let token = held.device_token();
            let mut params = json!({"deviceId": key.id(), "role": "operator"});
            if method == "device.pair.remove" {
                params.as_object_mut().expect("it is one").remove("role");
            }
            let answer = self.admin.request(method, &params).await;
            self.transcript.take(method, &answer);
            let end = held.peer.until_closed().await;
            self.transcript.take(&format!("{method} ends"), &end);
            let auth = json!({"deviceToken": token});
            self.attempt(&format!("after {method}"), &key, &command_line(), &auth).await;
            let again = self.attempt(&format!("shared after {method}"), &key, &command_line(), &shared).await;
            let same = again.device_token() == token;
            self.transcript.take(&format!("shared after {method}"), &json!({"same token": same}));
        }
    }

    /// A device that says something else about itself waits for a person.
    async fn approvals(&mut self) {
        let key = Key::new(5);
        let shared = json!({"token": self.token});
        let mut held = self.attempt("before a change", &key, &command_line(), &shared).await;
        let mut moved = command_line();
        moved["client"]["platform"] = json!("another");
        moved["client"]["deviceFamily"] = json!("Server");
        let asked = self.attempt("changed device", &key, &moved, &shared).await;
        let again = self.attempt("changed device again", &key, &moved, &shared).await;
        self.transcript.take("changed device", &json!({"same request": asked.request() == again.request()}));
        let token = json!({"deviceToken": held.device_token()});
        self.attempt("changed device with its token", &key, &moved, &token).await;
        let listed = self.admin.request("device.pair.list", &json!({})).await;
        self.transcript.take("device.pair.list", &listed);
        let approved =
            self.admin.request("device.pair.approve", &json!({"requestId": asked.request()})).await;
        self.transcript.take("device.pair.approve", &approved);
        let hello = self.attempt("approved device", &key, &moved, &shared).await;
        let same = hello.device_token() == held.device_token();
        self.transcript.take("approved device", &json!({"same token": same}));
        // An approval closes nothing.
        let answer = held.peer.request("health", &json!({})).await;
        self.transcript.take("approved device", &json!({"ok": answer["ok"]}));
    }

    /// Another role has to be approved, and what waits for that is not approved by itself.
    async fn roles(&mut self) {
        let key = Key::new(6);
        let shared = json!({"token": self.token});
        let reading = json!(["operator.read"]);
        let mut operator = command_line();
        operator["scopes"].clone_from(&reading);
        self.attempt("device without another role", &key, &operator, &shared).await;
        let mut node = command_line();
        (node["client"]["id"], node["client"]["mode"]) = (json!("node-host"), json!("node"));
        (node["role"], node["scopes"]) = (json!("node"), json!([]));
        let asked = self.attempt("device as a node", &key, &node, &shared).await;
        self.attempt("device as an operator meanwhile", &key, &operator, &shared).await;
        let wider = self.attempt("device with more scopes meanwhile", &key, &command_line(), &shared).await;
        let same = asked.request() == wider.request();
        self.transcript.take("device with more scopes meanwhile", &json!({"same request": same}));
        let rejected = self.admin.request("device.pair.reject", &json!({"requestId": wider.request()})).await;
        self.transcript.take("device.pair.reject", &rejected);
        self.attempt("device with more scopes", &key, &command_line(), &shared).await;
        self.attempt("new device as a node", &Key::new(7), &node, &shared).await;
    }

    /// What the methods that manage devices refuse.
    async fn administration(&mut self) {
        for (method, params) in [
            ("device.pair.list", json!({"all": true})),
            ("device.pair.approve", json!({})),
            ("device.pair.approve", json!({"requestId": "none"})),
            ("device.pair.reject", json!({"requestId": "none"})),
            ("device.pair.remove", json!({"deviceId": "none"})),
            ("device.token.rotate", json!({"deviceId": "none"})),
            ("device.token.rotate", json!({"deviceId": "none", "role": "operator"})),
            ("device.token.revoke", json!({"deviceId": "none", "role": "operator"})),
        ] {
            let answer = self.admin.request(method, &params).await;
            self.transcript.take(&format!("call {method} {params}"), &answer);
        }
    }

    /// One connect of a device, written down.
    async fn attempt(&mut self, step: &str, key: &Key, params: &Value, auth: &Value) -> Outcome {
        let mut peer = Peer::dial(self.url).await;
        let params = key.signed(&mut peer, params, auth).await;
        let outcome = Outcome::of(peer, &params).await;
        self.transcript.take(step, &outcome.said);
        outcome
    }
}

/// What became of a connect.
struct Outcome {
    peer: Peer,
    answer: Value,
    /// The part of it that is compared.
    said: Value,
}

impl Outcome {
    async fn of(mut peer: Peer, params: &Value) -> Outcome {
        let answer = peer.request("connect", params).await;
        let said = if answer["ok"] == true {
            json!({"auth": answer["payload"]["auth"]})
        } else {
            let mut end = peer.until_closed().await;
            let reason = end["reason"].as_str().map(masked);
            end["reason"] = reason.into();
            json!({"answer": answer, "end": end})
        };
        Outcome { peer, answer, said }
    }

    /// The token in its hello.
    fn device_token(&self) -> Value {
        self.answer["payload"]["auth"]["deviceToken"].clone()
    }

    /// The id of the pairing request in its refusal.
    fn request(&self) -> Value {
        self.answer["error"]["details"]["requestId"].clone()
    }
}

/// A close reason without the id it may end with. Where it was cut off stays to be seen.
fn masked(reason: &str) -> String {
    let Some((before, id)) = reason.split_once("requestId: ") else { return reason.to_owned() };
    let id: String = id.chars().map(|c| if c.is_ascii_hexdigit() { 'x' } else { c }).collect();
    format!("{before}requestId: {id}")
}

/// The identity that loopback trusts to pair by itself.
fn command_line() -> Value {
    json!({
        "minProtocol": 4, "maxProtocol": 4, "role": "operator", "scopes": ["operator.admin"], "caps": [],
        "client": {"id": "cli", "version": "1.0.0", "platform": "linux", "mode": "cli"},
    })
}

/// A device's key. The proofs are made here and not by the client, which is not the one on trial.
struct Key(SigningKey);

impl Key {
    fn new(seed: u8) -> Self {
        Key(SigningKey::from_bytes(&[seed; 32]))
    }

    fn id(&self) -> String {
        let digest = Sha256::digest(self.0.verifying_key().as_bytes());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The params with these credentials and a proof for the challenge of this peer (protocol 7.2).
    async fn signed(&self, peer: &mut Peer, params: &Value, auth: &Value) -> Value {
        peer.until_event("connect.challenge").await;
        let challenge = peer.events[0]["payload"].clone();
        let mut params = params.clone();
        params["auth"].clone_from(auth);
        let text = |pointer: &str| params.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let token = ["/auth/token", "/auth/deviceToken", "/auth/bootstrapToken"].map(text);
        let scopes: Vec<&str> =
            params["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let payload = [
            "v3",
            &self.id(),
            text("/client/id"),
            text("/client/mode"),
            text("/role"),
            &scopes.join(","),
            &challenge["ts"].to_string(),
            token.into_iter().find(|token| !token.is_empty()).unwrap_or_default(),
            challenge["nonce"].as_str().unwrap_or_default(),
            text("/client/platform"),
            &text("/client/deviceFamily").to_ascii_lowercase(),
        ];
        let signature = self.0.sign(payload.join("|").as_bytes());
        params["device"] = json!({
            "id": self.id(),
            "publicKey": URL_SAFE_NO_PAD.encode(self.0.verifying_key().as_bytes()),
            "signature": URL_SAFE_NO_PAD.encode(signature.to_bytes()),
            "signedAt": challenge["ts"],
            "nonce": challenge["nonce"],
        });
        params
    }
}
