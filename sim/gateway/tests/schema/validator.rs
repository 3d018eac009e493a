//! The gateway's own published schema, and a check of everything a model sends against it.
//!
//! `protocol.schema.json` holds definitions of `@openclaw/gateway-protocol` 2026.9.1 under the MIT licence beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use jsonschema::Validator;
use onesocket_gateway::{Deviation, Effect, ModelEvent};
use serde_json::{Value, json};

/// The schema's definitions, each compiled once.
pub(crate) struct Schema(BTreeMap<String, Validator>);

/// Compiling takes longer than most tests, so it is done once.
static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let text = include_str!("protocol.schema.json");
    let mut schema: Value = serde_json::from_str(text).expect("the schema is JSON");
    // What 2026.9.6 adds to it, as far as the model says it.
    schema["definitions"]["HelloOk"]["properties"]["auth"]["properties"]["method"] = json!({
        "enum": ["bootstrap-token", "device-token", "none", "password", "tailscale", "token", "trusted-proxy"]
    });
    let definitions = schema["definitions"].as_object().expect("the schema has definitions");
    let compile = |definition| jsonschema::validator_for(definition).expect("the schema is valid");
    Schema(definitions.iter().map(|(name, definition)| (name.clone(), compile(definition))).collect())
});

impl Schema {
    pub(crate) fn load() -> &'static Self {
        &SCHEMA
    }

    pub(crate) fn definition(&self, name: &str) -> &Validator {
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
            other => panic!("{other:?} is no frame type of a gateway"),
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
        Deviation::ChallengeWithheld
        | Deviation::HelloSpoiled
        | Deviation::VersionBent
        | Deviation::FrameInvented => true,
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
