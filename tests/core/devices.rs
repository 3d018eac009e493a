//! `right_credential`: devices, their tokens, and which credential is presented when.

use std::sync::Arc;
use std::time::Duration;

use insta::assert_snapshot;
use onesocket::core::{
    CertificatePin, Command, Config, Connection, ConnectionError, DeviceIdentity, Effect, Epoch,
    GatewayError, Input, Instant, Options, PauseReason, Pin, PinPolicy, Pins, PublicKeyPin, Secret, Status,
    StoreError, StoredToken, TokenKey, WireText,
};
use serde_json::{Value, json};

use crate::history::check;
use crate::script::{HELLO, script};

/// A core with a token store, and the driver's part played by hand.
pub(crate) struct Bench {
    pub(crate) core: Connection,
    pub(crate) now: Instant,
    pub(crate) epoch: u64,
    /// Whose gateway's token must be asked for.
    gateway: String,
    /// What the store holds.
    stored: Result<Option<StoredToken>, StoreError>,
    /// The parameters of each connect.
    presented: Vec<Value>,
    effects: Vec<Effect>,
}

pub(crate) fn config() -> Config {
    Config::new("ws://127.0.0.1").expect("a valid url").device(DeviceIdentity::from_seed([7; 32]))
}

pub(crate) fn secret(text: &str) -> Secret {
    Secret::trimmed(text).expect("not blank")
}

pub(crate) fn token(text: &str, scopes: &[&str]) -> StoredToken {
    StoredToken { token: secret(text), scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect() }
}

impl Bench {
    pub(crate) fn new(config: Config, stored: Option<StoredToken>) -> Self {
        let gateway = TokenKey::new(&config_device_id(), "operator", config.endpoint()).gateway;
        let core = Connection::new(Some(Arc::new(config)), Options::default(), 1).expect("valid options");
        let mut bench = Self {
            core: core.with_token_store(),
            now: Instant::ZERO,
            epoch: 0,
            gateway,
            stored: Ok(stored),
            presented: Vec::new(),
            effects: Vec::new(),
        };
        bench.step(Input::Command(Command::Connect));
        bench
    }

    /// Takes a step and answers what it asks of the store.
    pub(crate) fn step(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.core.step(self.now, input, &mut effects);
        for effect in &effects {
            if let Effect::LoadToken { epoch, key } = effect {
                assert_eq!((&*key.role, &key.gateway), ("operator", &self.gateway));
                assert_eq!(key.device_id, config_device_id());
                let result = self.stored.clone();
                self.step(Input::TokenLoaded { epoch: *epoch, result });
            }
            if let Effect::Transmit { text, .. } = effect {
                let frame: Value = serde_json::from_str(&text.0).expect("a frame is JSON");
                self.presented.push(frame["params"].clone());
            }
        }
        self.effects.append(&mut effects);
    }

    /// The next dial, up to the connect frame; gives back its `auth`.
    pub(crate) fn attempt(&mut self) -> Value {
        self.now = self.core.next_deadline().expect("a dial has a time").at.max(self.now);
        self.step(Input::Timeout);
        self.epoch += 1;
        let epoch = Epoch(self.epoch);
        self.step(Input::Opened { epoch });
        self.receive(&json!({"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1700}}));
        self.presented.last().map(|params| params["auth"].clone()).unwrap_or_default()
    }

    fn receive(&mut self, frame: &Value) {
        let text = WireText::from(frame.to_string().as_str());
        self.step(Input::Received { epoch: Epoch(self.epoch), text });
    }

    pub(crate) fn answer(&mut self, ok: bool, body: &Value) {
        let frame = self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Transmit { text, .. } => Some(serde_json::from_str::<Value>(&text.0).expect("JSON")),
            _ => None,
        });
        let id = frame.expect("a connect was sent")["id"].clone();
        let part = if ok { "payload" } else { "error" };
        self.receive(&json!({"type":"res","id":id,"ok":ok,part:body}));
    }

    pub(crate) fn hello(&mut self, device_token: Option<&str>, scopes: &[&str]) {
        let mut auth = json!({"role":"operator","scopes":scopes});
        if let Some(token) = device_token {
            auth["deviceToken"] = token.into();
        }
        self.hello_with(&auth);
    }

    fn hello_with(&mut self, auth: &Value) {
        let mut hello: Value = serde_json::from_str(HELLO).expect("JSON");
        hello["auth"] = auth.clone();
        self.answer(true, &hello);
    }

    pub(crate) fn refuse(&mut self, code: &str) {
        self.answer(false, &json!({"code":"INVALID_REQUEST","message":"no","details":{"code":code}}));
    }

    /// The gateway closes the socket.
    pub(crate) fn close(&mut self, code: u16, reason: &str) {
        let error = ConnectionError::Closed { code, reason: reason.into() };
        self.step(Input::Closed { epoch: Epoch(self.epoch), error });
    }

    pub(crate) fn saved(&self) -> Vec<StoredToken> {
        let saved = |effect: &Effect| match effect {
            Effect::SaveToken { token, .. } => Some(token.clone()),
            _ => None,
        };
        self.effects.iter().filter_map(saved).collect()
    }

    fn adopted(&self) -> Vec<(String, StoredToken)> {
        let adopted = |effect: &Effect| match effect {
            Effect::AdoptToken { key, token } => Some((key.role.clone(), token.clone())),
            _ => None,
        };
        self.effects.iter().filter_map(adopted).collect()
    }

    pub(crate) fn cleared(&self) -> Vec<Secret> {
        let cleared = |effect: &Effect| match effect {
            Effect::ClearToken { token, .. } => Some(token.clone()),
            _ => None,
        };
        self.effects.iter().filter_map(cleared).collect()
    }
}

/// A device token stands in `auth.deviceToken` alone: as the shared token it would count as a wrong one.
#[test]
fn right_credential_the_order_of_selection() {
    let stored = || Some(token("stored", &["operator.read"]));
    let auth = |config: Config, stored| Bench::new(config, stored).attempt();
    let cases = [
        (config(), None, Value::Null),
        (config(), stored(), json!({"deviceToken":"stored"})),
        (config().token("t"), stored(), json!({"token":"t"})),
        (config().password("p"), stored(), json!({"password":"p"})),
        (config().token("t").password("p"), None, json!({"token":"t","password":"p"})),
        (config().device_token("d"), stored(), json!({"deviceToken":"d"})),
        (config().token("t").device_token("d"), None, json!({"token":"t","deviceToken":"d"})),
        (config().bootstrap_token("b"), None, json!({"bootstrapToken":"b"})),
        (config().bootstrap_token("b"), stored(), json!({"deviceToken":"stored"})),
        (config().bootstrap_token("b").password("p"), None, json!({"password":"p"})),
        (config().token("  "), None, Value::Null),
    ];
    for (index, (config, stored, expected)) in cases.into_iter().enumerate() {
        assert_eq!(auth(config, stored), expected, "case {index}");
    }
}

#[test]
fn right_credential_the_scopes_of_a_stored_token_are_asked_for_again() {
    let scopes = |config: Config, stored| {
        let mut bench = Bench::new(config, stored);
        bench.attempt();
        bench.presented[0]["scopes"].clone()
    };
    let stored = || Some(token("stored", &["operator.read", "operator.write"]));
    assert_eq!(scopes(config(), stored()), json!(["operator.read", "operator.write"]));
    assert_eq!(scopes(config().token("t"), stored()), json!(["operator.admin"]));
    assert_eq!(scopes(config().scopes(["operator.talk"]), stored()), json!(["operator.talk"]));
}

#[test]
fn right_credential_a_device_signs_the_gateway_s_time_and_nonce() {
    let mut bench = Bench::new(config().token("t"), None);
    bench.attempt();
    let device = &bench.presented[0]["device"];
    assert_eq!((&device["nonce"], &device["signedAt"]), (&json!("n"), &json!(1700)));
    assert_eq!(device["id"], config_device_id());
}

fn config_device_id() -> String {
    DeviceIdentity::from_seed([7; 32]).id().to_owned()
}

#[test]
fn right_credential_a_challenge_without_a_time_is_not_a_challenge_for_a_device() {
    let mut bench = Bench::new(config(), None);
    bench.now = bench.core.next_deadline().expect("a dial is due").at;
    bench.step(Input::Timeout);
    bench.epoch = 1;
    bench.step(Input::Opened { epoch: Epoch(1) });
    bench.receive(&json!({"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":"soon"}}));
    assert!(bench.presented.is_empty());
    assert!(matches!(bench.core.status(), Status::Backoff { .. }), "{:?}", bench.core.status());
}

#[test]
fn right_credential_an_issued_token_is_stored_and_the_same_token_keeps_its_scopes() {
    let mut bench = Bench::new(config().token("t"), None);
    bench.attempt();
    bench.hello(Some("issued"), &["operator.admin"]);
    assert_eq!(bench.saved(), [token("issued", &["operator.admin"])]);

    // A26: a narrower session with the same token must not narrow what is stored.
    let mut bench = Bench::new(config().token("t"), Some(token("issued", &["operator.admin"])));
    bench.attempt();
    bench.hello(Some("issued"), &["operator.read"]);
    assert_eq!(bench.saved(), []);
}

#[test]
fn right_credential_one_retry_with_the_stored_token_and_then_a_pause() {
    let mut bench = Bench::new(config().token("old"), Some(token("stored", &[])));
    assert_eq!(bench.attempt(), json!({"token":"old"}));
    bench.refuse("AUTH_TOKEN_MISMATCH");
    let wait = bench.core.next_deadline().expect("a retry has a time").at.since(bench.now);
    assert_eq!(wait, Duration::from_millis(250));
    assert_eq!(bench.attempt(), json!({"token":"old","deviceToken":"stored"}));
    bench.refuse("AUTH_TOKEN_MISMATCH");
    assert!(matches!(bench.core.status(), Status::Paused(_)), "{:?}", bench.core.status());
    assert_eq!(bench.core.next_deadline(), None);

    // The budget is not there again because a person resumes; only a hello or a config brings it.
    bench.step(Input::Command(Command::Resume));
    assert_eq!(bench.attempt(), json!({"token":"old"}));
    bench.refuse("AUTH_TOKEN_MISMATCH");
    assert!(matches!(bench.core.status(), Status::Paused(_)));
}

#[test]
fn right_credential_a_hello_brings_the_retry_back() {
    let mut bench = Bench::new(config().token("old"), Some(token("stored", &[])));
    bench.attempt();
    bench.refuse("AUTH_TOKEN_MISMATCH");
    bench.attempt();
    bench.hello(None, &[]);
    bench.close(1012, "");
    assert_eq!(bench.attempt(), json!({"token":"old"}));
    bench.refuse("AUTH_TOKEN_MISMATCH");
    assert_eq!(bench.attempt(), json!({"token":"old","deviceToken":"stored"}));
}

#[test]
fn right_credential_no_retry_with_a_stored_token_across_a_network() {
    for url in ["ws://10.0.0.1:18789", "wss://gateway.example"] {
        let config = Config::new(url).expect("a valid url").token("old");
        let config = config.device(DeviceIdentity::from_seed([7; 32]));
        let mut bench = Bench::new(config, Some(token("stored", &[])));
        bench.attempt();
        bench.refuse("AUTH_TOKEN_MISMATCH");
        assert!(matches!(bench.core.status(), Status::Paused(_)), "{url}: {:?}", bench.core.status());
    }
}

/// Whoever holds the pinned certificate is the gateway, wherever it is (protocol 7.10).
#[test]
fn right_credential_one_retry_with_the_stored_token_where_the_certificate_is_pinned() {
    let config = Config::new("wss://gateway.example").expect("a valid url").token("old");
    let config = config.pin(CertificatePin::of_der(b"certificate")).expect("it is encrypted");
    let mut bench = Bench::new(config.device(DeviceIdentity::from_seed([7; 32])), Some(token("stored", &[])));
    bench.attempt();
    bench.refuse("AUTH_TOKEN_MISMATCH");
    assert_eq!(bench.attempt(), json!({"token":"old","deviceToken":"stored"}));
}

/// Where an authority's word is enough, somebody else may be at the other end.
#[test]
fn right_credential_no_retry_with_a_stored_token_where_a_pin_is_not_needed() {
    let pins = Pins::from(CertificatePin::of_der(b"certificate"));
    for (policy, retries) in
        [(PinPolicy::Alone, true), (PinPolicy::AndSystem, true), (PinPolicy::OrSystem, false)]
    {
        let config = Config::new("wss://gateway.example").expect("a valid url").token("old");
        let config = config.pin(pins.clone().with_policy(policy)).expect("it is encrypted");
        let config = config.device(DeviceIdentity::from_seed([7; 32]));
        let mut bench = Bench::new(config, Some(token("stored", &[])));
        bench.attempt();
        bench.refuse("AUTH_TOKEN_MISMATCH");
        let paused = matches!(bench.core.status(), Status::Paused(_));
        assert_eq!(paused, !retries, "{policy:?}: {:?}", bench.core.status());
    }
}

/// What a bootstrap hands over is kept under the role it is for, with the scopes that a hand-off has; the
/// token of this very connection is kept as ever.
#[test]
fn right_credential_a_bootstrap_hands_over_a_token_for_each_role() {
    let handed_over = json!({"role":"operator","scopes":["operator.read"],"deviceToken":"mine","deviceTokens":[
        {"deviceToken":"mine-again","role":"operator","scopes":["operator.admin"],"issuedAtMs":1},
        {"deviceToken":"node's","role":"node","scopes":["node.exec"],"issuedAtMs":1},
        {"deviceToken":" ","role":"node","scopes":[]},
        {"deviceToken":"other's","role":"other","scopes":[]},
        "no token at all",
    ]});
    let mut bench = Bench::new(config().bootstrap_token("b"), None);
    assert_eq!(bench.attempt(), json!({"bootstrapToken":"b"}));
    bench.hello_with(&handed_over);
    assert_eq!(bench.saved(), [token("mine", &["operator.read"])]);
    assert_eq!(bench.adopted(), [("node".to_owned(), token("node's", &[]))]);

    // As a node, it is the operator's token that is handed over.
    let as_node = json!({"role":"node","scopes":[],"deviceTokens":[
        {"deviceToken":"op","role":"operator","scopes":["operator.write","operator.pairing","operator.read"]},
    ]});
    let mut bench = Bench::new(config().bootstrap_token("b"), None);
    bench.attempt();
    bench.hello_with(&as_node);
    let op = token("op", &["operator.write", "operator.read"]);
    assert_eq!(bench.adopted(), [("operator".to_owned(), op)]);

    // Nobody hands anything over to a connection that was there before.
    let mut bench = Bench::new(config().token("t"), None);
    bench.attempt();
    bench.hello_with(&handed_over);
    assert_eq!(bench.saved(), [token("mine", &["operator.read"])]);
    assert_eq!(bench.adopted(), []);
}

/// A26 once more: the store could not be read, and may hold this very token with more scopes.
#[test]
fn right_credential_a_token_is_not_narrowed_in_a_store_that_could_not_be_read() {
    let mut bench = Bench::new(config().token("t"), None);
    bench.stored = Err(StoreError::new("disk"));
    bench.attempt();
    bench.hello(Some("issued"), &["operator.read"]);
    assert_eq!(bench.saved(), []);
    assert_eq!(bench.adopted(), [("operator".to_owned(), token("issued", &["operator.read"]))]);
}

#[test]
fn right_credential_a_refused_stored_token_is_cleared_and_not_presented_again() {
    let mut bench = Bench::new(config(), Some(token("stored", &[])));
    bench.attempt();
    bench.refuse("AUTH_DEVICE_TOKEN_MISMATCH");
    assert_eq!(bench.cleared(), [secret("stored")]);
    let Status::Paused(reason) = bench.core.status() else { panic!("{:?}", bench.core.status()) };
    assert!(matches!(&**reason, PauseReason::Credentials(GatewayError { .. })));
    assert_eq!(bench.core.next_deadline(), None);
}

#[test]
fn right_credential_a_refusal_for_another_reason_clears_nothing() {
    let mut bench = Bench::new(config(), Some(token("stored", &[])));
    bench.attempt();
    bench.refuse("AUTH_RATE_LIMITED");
    assert_eq!(bench.cleared(), []);
}

#[test]
fn right_credential_an_unreadable_store_is_not_an_empty_one() {
    let mut bench = Bench::new(config(), None);
    bench.stored = Err(StoreError::new("disk"));
    bench.attempt();
    assert!(bench.presented.is_empty(), "nothing is presented in place of what may be stored");
    assert!(matches!(bench.core.status(), Status::Backoff { .. }), "{:?}", bench.core.status());

    // With a token of the app's own the store is not needed.
    let mut bench = Bench::new(config().token("t"), None);
    bench.stored = Err(StoreError::new("disk"));
    assert_eq!(bench.attempt(), json!({"token":"t"}));
}

/// A store that answers when its attempt is over answers nobody: neither does it send anything late, nor is
/// its answer taken for that of the next attempt.
#[test]
fn one_socket_a_store_that_answers_too_late_changes_nothing() {
    let core = Connection::new(Some(Arc::new(config())), Options::default(), 1).expect("valid options");
    let mut core = core.with_token_store();
    let mut effects = Vec::new();
    let mut now = Instant::ZERO;
    let challenge = r#"{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}}"#;
    for input in [
        Input::Command(Command::Connect),
        Input::Timeout,
        Input::Opened { epoch: Epoch(1) },
        Input::Received { epoch: Epoch(1), text: challenge.into() },
    ] {
        core.step(now, input, &mut effects);
    }
    // The time for the challenge is over, and then the next dial is due.
    for _ in 0..2 {
        now = core.next_deadline().expect("an attempt and a wait have an end").at;
        core.step(now, Input::Timeout, &mut effects);
    }
    let late = Input::TokenLoaded { epoch: Epoch(1), result: Ok(Some(token("late", &[]))) };
    core.step(now, late, &mut effects);
    core.step(now, Input::Opened { epoch: Epoch(2) }, &mut effects);
    core.step(now, Input::Received { epoch: Epoch(2), text: challenge.into() }, &mut effects);
    let sent = effects.iter().filter(|effect| matches!(effect, Effect::Transmit { .. })).count();
    assert_eq!(sent, 0, "the second attempt still waits for its own answer");
    core.step(now, Input::TokenLoaded { epoch: Epoch(2), result: Ok(None) }, &mut effects);
    let Some(Effect::Transmit { epoch: Epoch(2), text }) = effects.last() else { panic!("{effects:?}") };
    assert!(!text.0.contains("late"));
}

/// A store that does not answer is named, whoever runs out of patience first, and whatever it is asked for.
#[test]
fn right_credential_a_store_that_hangs_is_named_and_not_the_gateway() {
    let waiting = || script().with_token_store().connect().at(100).challenged(1);
    assert_snapshot!(check(waiting().until(15_100)), @r#"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
      load the token of ws://a.local:18789/ for 1
    0.100s opened 1
      status: handshaking 1
    0.100s challenge on 1
    15.100s due
      hang up 1 now: 1000 "no credentials"
      status: backoff after attempt 1 until 16.100s: the token store did not answer in time
    end: next deadline 16.100s, 0 pending
    "#);
    // The gateway waits for `connect` no longer, and closes without a word.
    assert_snapshot!(check(waiting().at(15_000).closed(1, 1000, "")), @r#"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
      load the token of ws://a.local:18789/ for 1
    0.100s opened 1
      status: handshaking 1
    0.100s challenge on 1
    15.000s closed 1 with 1000 ""
      status: backoff after attempt 1 until 16.000s: the token store did not answer in time
    end: next deadline 16.000s, 0 pending
    "#);
    // What it does say is its own.
    assert_snapshot!(check(waiting().at(15_000).closed(1, 1012, "service restart")), @r#"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
      load the token of ws://a.local:18789/ for 1
    0.100s opened 1
      status: handshaking 1
    0.100s challenge on 1
    15.000s closed 1 with 1012 "service restart"
      status: backoff after attempt 1 until 16.000s: the gateway closed the connection: 1012 "service restart"
    end: next deadline 16.000s, 0 pending
    "#);
}

#[test]
fn right_credential_the_retry_waits_for_a_store_that_cannot_be_read() {
    let mut bench = Bench::new(config().token("t"), Some(token("stored", &[])));
    assert_eq!(bench.attempt(), json!({"token":"t"}));
    bench.refuse("AUTH_TOKEN_MISMATCH");
    let stored = std::mem::replace(&mut bench.stored, Err(StoreError::new("disk")));
    bench.attempt();
    assert_eq!(bench.presented.len(), 1, "what was refused is not presented again");
    assert!(matches!(bench.core.status(), Status::Backoff { .. }), "{:?}", bench.core.status());
    bench.stored = stored;
    assert_eq!(bench.attempt(), json!({"token":"t","deviceToken":"stored"}));
    bench.refuse("AUTH_TOKEN_MISMATCH");
    assert!(matches!(bench.core.status(), Status::Paused(_)), "{:?}", bench.core.status());
}

#[test]
fn stop_is_final_a_shutdown_waits_for_the_store_but_not_for_ever() {
    let stopping = || {
        let mut bench = Bench::new(config().token("t"), None);
        bench.attempt();
        bench.hello(Some("issued"), &[]);
        bench.step(Input::Command(Command::ShutDown));
        bench.close(1000, "");
        assert!(!bench.effects.contains(&Effect::Stopped), "the token is not stored yet");
        bench
    };
    let mut bench = stopping();
    bench.step(Input::TokenStored);
    assert!(bench.effects.contains(&Effect::Stopped));

    let mut bench = stopping();
    bench.now = bench.core.next_deadline().expect("the wait has an end").at;
    bench.step(Input::Timeout);
    assert!(bench.effects.contains(&Effect::Stopped));
    assert_eq!(bench.core.next_deadline(), None);
}

#[test]
fn right_credential_no_token_is_shown_by_debug() {
    let mut bench =
        Bench::new(config().token("secret-a").device_token("secret-b"), Some(token("secret-c", &[])));
    bench.attempt();
    bench.hello(Some("secret-d"), &[]);
    let shown = format!("{:?} {:?}", bench.core, bench.effects);
    assert!(!shown.contains("secret-"), "{shown}");
}

/// Everything that an endpoint can differ in makes another gateway, and nothing else does.
#[test]
fn right_credential_a_token_belongs_to_the_whole_endpoint() {
    let key = |url: &str, pin: Option<&[u8]>| {
        let config = Config::new(url).expect("a valid url");
        let config = match pin {
            Some(der) => config.pin(CertificatePin::of_der(der)).expect("it has TLS"),
            None => config,
        };
        TokenKey::new("d", "operator", config.endpoint())
    };
    let pinned = |pins: Pins| {
        let config =
            Config::new("wss://localhost:1").and_then(|config| config.pin(pins)).expect("it has TLS");
        TokenKey::new("d", "operator", config.endpoint())
    };
    let different = [
        key("ws://localhost:1", None),
        key("ws://localhost:2", None),
        key("ws://127.0.0.1:1", None),
        key("wss://localhost:1", None),
        key("wss://localhost:1", Some(b"a")),
        key("wss://localhost:1", Some(b"b")),
        pinned(PublicKeyPin::of_spki_der(b"a").into()),
        pinned(
            Pins::new([CertificatePin::of_der(b"a"), CertificatePin::of_der(b"b")]).expect("there are two"),
        ),
        pinned(Pins::from(CertificatePin::of_der(b"a")).with_policy(PinPolicy::OrSystem)),
        key("ws://localhost:1/rosita", None),
        key("ws://localhost:1/wilfred", None),
        key("ws://localhost:1/rosita/", None),
        key("ws://localhost:1/Rosita", None),
        key("ws://localhost:1/?secret-query", None),
        key("ws://localhost:1/?other", None),
    ];
    for (one, first) in different.iter().enumerate() {
        assert!(!first.gateway.contains("secret-query"), "{first:?}");
        assert!(!first.gateway.contains('|'), "{first:?}");
        for (other, second) in different.iter().enumerate() {
            assert_eq!(first == second, one == other, "{first:?} and {second:?}");
        }
    }
    for (one, other) in [
        ("ws://localhost", "ws://LOCALHOST:18789/"),
        ("http://localhost:1", "ws://localhost:1/"),
        ("wss://gateway.example", "https://Gateway.Example:443/"),
        ("ws://localhost:1?query", "ws://localhost:1/?query"),
        ("ws://localhost:1/a|b", "ws://localhost:1/a%7Cb"),
    ] {
        assert_eq!(key(one, None), key(other, None), "{one} and {other}");
    }
}

/// A gateway keeps its token while its pins change one after the other, and no other gateway gets it.
#[test]
fn right_credential_a_token_is_kept_for_each_pin_of_its_gateway() {
    let (old, new) =
        (Pin::from(CertificatePin::of_der(b"old")), Pin::from(PublicKeyPin::of_spki_der(b"new")));
    let keys = |pins: Option<Pins>| {
        let config = Config::new("wss://gateway.example/path?query").expect("a valid url");
        let config = match pins {
            Some(pins) => config.pin(pins).expect("it has TLS"),
            None => config,
        };
        TokenKey::new("d", "operator", config.endpoint()).by_pin()
    };
    let both = Pins::new([old, new]).expect("there are two");
    let (of_old, of_new, of_none) = (keys(Some(old.into())), keys(Some(new.into())), keys(None));
    assert_eq!((of_old.len(), of_new.len(), of_none.len()), (1, 1, 1));
    assert!(of_old != of_new && of_new != of_none && of_old != of_none);
    let of_both = [&of_old[..], &of_new].concat();
    assert_eq!(keys(Some(both.clone())), of_both);
    assert_eq!(keys(Some(both.clone().with_policy(PinPolicy::AndSystem))), of_both);
    assert_eq!(keys(Some(both.with_policy(PinPolicy::OrSystem))), [&of_none[..], &of_both].concat());
    // What a store is asked for is whole already.
    assert_eq!(of_both.iter().flat_map(TokenKey::by_pin).collect::<Vec<_>>(), of_both);
}

/// What is stored for a gateway is neither shown to its neighbour at another path, nor cleared for it.
#[test]
fn right_credential_a_neighbour_at_another_path_has_a_token_of_its_own() {
    let at = |path: &str| {
        Config::new(&format!("ws://127.0.0.1/{path}"))
            .expect("a valid url")
            .device(DeviceIdentity::from_seed([7; 32]))
    };
    let keys = ["rosita", "wilfred"].map(|path| {
        let mut bench = Bench::new(at(path), None);
        // The bench demands that the token is asked for under this key.
        assert_eq!(bench.gateway, format!("ws://127.0.0.1:18789/{path}"));
        bench.attempt();
        bench.hello(Some("issued"), &["operator.read"]);
        let saved = |effect: &Effect| match effect {
            Effect::SaveToken { key, .. } => Some(key.clone()),
            _ => None,
        };
        let saved = bench.effects.iter().find_map(saved).expect("the token is kept");

        let mut bench = Bench::new(at(path), Some(token("issued", &["operator.read"])));
        bench.attempt();
        bench.refuse("AUTH_DEVICE_TOKEN_MISMATCH");
        let cleared = |effect: &Effect| match effect {
            Effect::ClearToken { key, .. } => Some(key.clone()),
            _ => None,
        };
        assert_eq!(bench.effects.iter().find_map(cleared), Some(saved.clone()));
        saved
    });
    assert_ne!(keys[0], keys[1]);
    assert_eq!(keys[0].gateway, "ws://127.0.0.1:18789/rosita");
}
