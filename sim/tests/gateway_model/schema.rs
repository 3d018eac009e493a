//! What the model sends is valid against the gateway's own published schema.
//!
//! `../schema/protocol.schema.json` holds definitions of `@openclaw/gateway-protocol` 2026.9.1 under the MIT licence beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use crate::rig::{Rig, TOKEN, client};
use jsonschema::Validator;
use onesocket_gateway::config::{Auth, GatewayConfig, Runs};
use onesocket_gateway::{Effect, Deviation, ModelEvent, Order, RestartMode};
use onesocket_sim::plan::{Action, Fault};
use onesocket_sim::{generate, machine};
use serde_json::{Value, json};

/// The schema's definitions, each compiled once.
pub(crate) struct Schema(BTreeMap<String, Validator>);

/// Compiling takes longer than most tests, so it is done once.
static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let text = include_str!("../schema/protocol.schema.json");
    let schema: Value = serde_json::from_str(text).expect("the schema is JSON");
    let definitions = schema["definitions"].as_object().expect("the schema has definitions");
    let compile = |definition| jsonschema::validator_for(definition).expect("the schema is valid");
    Schema(definitions.iter().map(|(name, definition)| (name.clone(), compile(definition))).collect())
});

impl Schema {
    pub(crate) fn load() -> &'static Self {
        &SCHEMA
    }

    fn definition(&self, name: &str) -> &Validator {
        self.0.get(name).unwrap_or_else(|| panic!("no definition {name}"))
    }

    pub(crate) fn assert(&self, name: &str, value: &Value) {
        let errors: Vec<String> = self
            .definition(name)
            .iter_errors(value)
            .map(|error| format!("{} at {}", error, error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{name}: {}\n{value}", errors.join("; "));
    }

    /// Checks a frame by its type, and the payloads the schema knows.
    pub(crate) fn assert_frame(&self, frame: &Value) {
        self.assert_envelope(frame);
        match frame["type"].as_str() {
            Some("event") => self.assert_event(frame),
            _ => self.assert_response(frame),
        }
    }

    /// Checks a frame whose payload somebody ordered.
    pub(crate) fn assert_envelope(&self, frame: &Value) {
        match frame["type"].as_str() {
            Some("res") => self.assert("ResponseFrame", frame),
            Some("event") => self.assert("EventFrame", frame),
            other => panic!("{other:?} is not a frame type of a gateway"),
        }
    }

    fn assert_response(&self, frame: &Value) {
        if frame["payload"]["type"] == "hello-ok" {
            self.assert("HelloOk", &frame["payload"]);
        }
        if frame["error"]["details"]["code"] == "MISSING_SCOPE" {
            self.assert("MissingScopeErrorDetails", &frame["error"]["details"]);
        }
    }

    fn assert_event(&self, frame: &Value) {
        let payload = &frame["payload"];
        match frame["event"].as_str() {
            Some("tick") => self.assert("TickEvent", payload),
            Some("shutdown") => self.assert("ShutdownEvent", payload),
            Some("chat") => self.assert("ChatEvent", payload),
            Some("agent") => {
                // The gateway sends more than its own schema allows, as the recordings show.
                let mut payload = payload.clone();
                let fields = payload.as_object_mut().expect("an agent event is an object");
                fields.retain(|name, _| !matches!(name.as_str(), "sessionKey" | "agentId"));
                self.assert("AgentEvent", &payload);
            }
            Some("presence") => {
                for row in payload["presence"].as_array().expect("presence is a list") {
                    self.assert("PresenceEntry", row);
                }
            }
            _ => {}
        }
    }
}

/// Watches everything a model does and checks what it sends, but for what was ordered to be wrong.
#[derive(Default)]
pub(crate) struct Inspector {
    /// Frames checked.
    pub(crate) frames: usize,
    /// Events whose payload was ordered: only the frame around it is the model's.
    pub(crate) ordered_events: BTreeSet<String>,
}

impl Inspector {
    /// Checks the effects of one step.
    pub(crate) fn inspect(&mut self, effects: &[Effect]) {
        // A note of misbehaviour comes before or after what it is about, but in the same step.
        if effects.iter().any(is_wrong_on_purpose) {
            return;
        }
        for effect in effects {
            let Effect::Send { text, .. } = effect else { continue };
            let mut frame: Value = serde_json::from_str(text).expect("a gateway sends JSON");
            self.frames += 1;
            if frame["type"] == "res" && effects.iter().any(answers_nonsense) {
                // The gateway repeats whatever id there was, even where its own schema wants another (protocol 2.3).
                frame["id"] = json!("id");
            }
            match frame["event"].as_str() {
                Some(event) if self.ordered_events.contains(event) => Schema::load().assert_envelope(&frame),
                _ => Schema::load().assert_frame(&frame),
            }
        }
    }
}

fn answers_nonsense(effect: &Effect) -> bool {
    matches!(effect, Effect::ModelEvent(ModelEvent::FrameRejected { answered: true, .. }))
}

/// The misbehaviours whose frames the schema need not allow.
fn is_wrong_on_purpose(effect: &Effect) -> bool {
    let Effect::ModelEvent(ModelEvent::Misbehaved { deviation, .. }) = effect else { return false };
    match deviation {
        // A challenge without a nonce, a hello that is none, and frames that no gateway sends.
        Deviation::ChallengeWithheld | Deviation::HelloSpoiled | Deviation::FrameInvented => true,
        // Any words at all, absurd ones included.
        Deviation::ConnectRejected => true,
        // Judged when it was sent first.
        Deviation::ResponseRepeated => true,
        Deviation::ChallengeDelayed
        | Deviation::HelloWithheld
        | Deviation::HelloDelayed
        | Deviation::TickStarved
        | Deviation::ResponseWithheld
        | Deviation::ResponseInvented
        | Deviation::SequenceBent
        | Deviation::CapacityRefused
        | Deviation::PingStarved
        | Deviation::EndedEarly => false,
    }
}

/// Generated plans reach what no test here thinks of.
#[test]
fn everything_sent_in_an_exploration_is_valid() {
    let mut inspector = Inspector::default();
    for seed in 0..300 {
        let mut plan = generate::plan(seed);
        plan.steps.retain(|step| !step.action.fault().is_some_and(sends_what_no_gateway_sends));
        inspector.ordered_events = plan.steps.iter().filter_map(|step| event_of(&step.action)).collect();
        let mut tap = |_, effect: &Effect| inspector.inspect(std::slice::from_ref(effect));
        let finished = machine::run_tapped(&plan, &mut tap);
        assert!(finished.violation.is_none(), "seed {seed}: {:?}", finished.violation);
    }
    assert!(inspector.frames > 10_000, "only {} frames were sent", inspector.frames);
}

/// The faults that are frames no faithful gateway sends.
fn sends_what_no_gateway_sends(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::BadChallenge
            | Fault::BadHello
            | Fault::Reject
            | Fault::FailRequests
            | Fault::StrayText
            | Fault::Binary
            | Fault::Giant
            | Fault::UnknownEvent
            | Fault::ExtraFields
            | Fault::NumericId
    )
}

fn event_of(action: &Action) -> Option<String> {
    match action {
        Action::Emit { event, .. } => Some(event.clone()),
        _ => None,
    }
}

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
