//! Any message: decoding never panics and loses nothing, requests are written as they are meant, and
//! no message hurts a connection in any of its phases.

#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use onesocket::core::frame::{
    ErrorShape, EventFrame, Frame, FrameError, ResponseFrame, decode, encode_request,
};
use onesocket::core::{
    Command, Config, Connection, DialError, Effect, Epoch, Input, Instant, Options, Reply, RequestId,
    SubscriptionId, WireText,
};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

const EPOCH: Epoch = Epoch(1);
const SECRET: &str = "tell-nobody";

fuzz_target!(|data: &[u8]| {
    // Bytes that are not UTF-8 never reach the core.
    let Ok(text) = std::str::from_utf8(data) else { return };
    requests_are_written_as_meant(text);
    let frame = decode(text);
    if let Ok(frame) = &frame {
        nothing_is_lost(frame);
    }
    for phase in PHASES.iter() {
        phase.survives(text);
        // A message with the right id gets further than one that must guess it.
        if let Ok(Frame::Response(response)) = &frame {
            for id in &phase.ids {
                phase.survives(&write_response(id, response));
            }
        }
    }
});

/// The text may be an id, a method and, if it is JSON, parameters.
fn requests_are_written_as_meant(text: &str) {
    let params: Option<&RawValue> = serde_json::from_str(text).ok();
    let written = encode_request(text, text, params.map(RawValue::get));
    assert!(serde_json::from_str::<&RawValue>(&written).is_ok(), "not JSON: {written}");
    // A number may be too large for a `Value`; such parameters are compared as text only.
    if let Ok(fields) = serde_json::from_str::<Map<String, Value>>(&written) {
        assert_eq!(fields["type"], "req");
        assert_eq!(fields["id"], text);
        assert_eq!(fields["method"], text);
        assert_eq!(fields.contains_key("params"), params.is_some());
    }
    if let Some(params) = params {
        assert!(written.ends_with(&format!(",\"params\":{}}}", params.get())));
    }
    // A gateway that echoes our own request does not confuse us.
    assert_eq!(decode(&written).unwrap_err(), FrameError::UnknownType);
}

/// A frame that was read, written and read again is the same frame.
fn nothing_is_lost(frame: &Frame<'_>) {
    match frame {
        Frame::Response(first) => {
            let text = write_response(&first.id, first);
            let Ok(Frame::Response(second)) = decode(&text) else { panic!("no response: {text}") };
            assert_eq!((&first.id, first.ok), (&second.id, second.ok));
            assert_eq!(first.payload.map(RawValue::get), second.payload.map(RawValue::get));
            assert_eq!(first.error.as_ref().map(parts), second.error.as_ref().map(parts));
            assert!(!first.id.is_empty());
        }
        Frame::Event(first) => {
            let text = write_event(first);
            let Ok(Frame::Event(second)) = decode(&text) else { panic!("no event: {text}") };
            assert_eq!(first.event, second.event);
            assert_eq!((first.seq, first.state_version), (second.seq, second.state_version));
            assert_eq!(first.payload.map(RawValue::get), second.payload.map(RawValue::get));
            assert!(!first.event.is_empty());
        }
    }
}

type ErrorParts<'a> = (&'a str, &'a str, Option<&'a str>, bool, Option<Duration>);

fn parts<'a>(error: &'a ErrorShape<'_>) -> ErrorParts<'a> {
    (&error.code, &error.message, error.details.map(RawValue::get), error.retryable, error.retry_after)
}

fn write_response(id: &str, response: &ResponseFrame<'_>) -> String {
    let mut text = format!(r#"{{"type":"res","id":{},"ok":{}"#, Value::from(id), response.ok);
    if let Some(payload) = response.payload {
        text.push_str(&format!(r#","payload":{payload}"#));
    }
    if let Some(error) = &response.error {
        let (code, message) = (Value::from(&*error.code), Value::from(&*error.message));
        text.push_str(&format!(r#","error":{{"code":{code},"message":{message}"#));
        if let Some(details) = error.details {
            text.push_str(&format!(r#","details":{details}"#));
        }
        if let Some(after) = error.retry_after {
            text.push_str(&format!(r#","retryAfterMs":{}"#, after.as_millis()));
        }
        text.push_str(&format!(r#","retryable":{}}}"#, error.retryable));
    }
    text.push('}');
    text
}

fn write_event(event: &EventFrame<'_>) -> String {
    let mut text = format!(r#"{{"type":"event","event":{}"#, Value::from(&*event.event));
    if let Some(payload) = event.payload {
        text.push_str(&format!(r#","payload":{payload}"#));
    }
    if let Some(seq) = event.seq {
        text.push_str(&format!(r#","seq":{seq}"#));
    }
    if let Some(version) = event.state_version {
        let (presence, health) = (version.presence, version.health);
        text.push_str(&format!(r#","stateVersion":{{"presence":{presence},"health":{health}}}"#));
    }
    text.push('}');
    text
}

/// A connection in one of its phases, and the ids that mean something to it.
struct Phase {
    connection: Connection,
    ids: Vec<String>,
}

static PHASES: LazyLock<Vec<Phase>> = LazyLock::new(|| {
    let challenge = r#"{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}}"#;
    let hello = r#"{"type":"hello-ok","protocol":4,"server":{"version":"v","connId":"c"},"snapshot":{"presence":[],"health":{},"stateVersion":{"presence":1,"health":1}}}"#;
    let refusal = r#"{"code":"INVALID_REQUEST","message":"m","details":{"code":"AUTH_TOKEN_MISMATCH"}}"#;
    let mut phases = Vec::new();
    let mut reached = Phase::idle();
    phases.push(reached.twin());
    for input in [
        Input::Command(Command::Subscribe { id: SubscriptionId(1) }),
        request(1, Reply::First),
        request(2, Reply::Final),
        Input::Timeout,
        Input::Opened { epoch: EPOCH },
        Input::Received { epoch: EPOCH, text: WireText::from(challenge) },
    ] {
        reached.feed(input);
        phases.push(reached.twin());
    }
    let mut paused = reached.twin();
    let id = reached.ids[0].clone();
    let refused = format!(r#"{{"type":"res","id":"{id}","ok":false,"error":{refusal}}}"#);
    paused.feed(Input::Received { epoch: EPOCH, text: WireText::from(refused.as_str()) });
    phases.push(paused);
    let answer = format!(r#"{{"type":"res","id":"{id}","ok":true,"payload":{hello}}}"#);
    reached.feed(Input::Received { epoch: EPOCH, text: WireText::from(answer.as_str()) });
    phases.push(reached.twin());
    let mut waiting = reached.twin();
    waiting.feed(Input::DialFailed { epoch: EPOCH, error: DialError::Reset });
    phases.push(waiting);
    reached.feed(Input::Command(Command::ShutDown));
    phases.push(reached.twin());
    reached.feed(Input::DialFailed { epoch: EPOCH, error: DialError::Reset });
    phases.push(reached);
    phases
});

fn request(id: u64, reply: Reply) -> Input {
    let (id, method) = (RequestId(id), Arc::from("m"));
    Input::Command(Command::Request {
        id,
        method,
        params: None,
        timeout: None,
        waited: Duration::ZERO,
        reply,
        only_on: None,
        expected_profile_id: None,
    })
}

impl Phase {
    fn idle() -> Self {
        let config = Config::new("ws://127.0.0.1").expect("a loopback url").token(SECRET);
        let connection = Connection::new(Some(Arc::new(config)), Options::default(), 7);
        Self { connection: connection.expect("the options are valid"), ids: Vec::new() }
    }

    fn twin(&self) -> Self {
        Self { connection: self.connection.clone(), ids: self.ids.clone() }
    }

    fn feed(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.connection.step(Instant::ZERO, input, &mut effects);
        for effect in &effects {
            if let Effect::Transmit { text, .. } = effect {
                let frame: Value = serde_json::from_str(&text.0).expect("what we send is JSON");
                self.ids.push(frame["id"].as_str().expect("an id is a string").to_owned());
            }
        }
        effects
    }

    /// Takes the message and whatever comes next, twice in the same way, and shows no secret.
    fn survives(&self, text: &str) {
        let (mut one, mut other) = (self.twin(), self.twin());
        let message = Input::Received { epoch: EPOCH, text: WireText::from(text) };
        let effects = one.feed(message.clone());
        assert!(effects == other.feed(message) && one.connection == other.connection);
        // What the gateway itself says may be quoted, as in its errors.
        let quotes = text.contains(SECRET) || text.contains('\\');
        assert!(quotes || !format!("{effects:?}").contains(SECRET));
        let completed = effects.iter().filter(|effect| matches!(effect, Effect::Complete { .. })).count();
        assert_eq!(one.connection.pending() + completed, self.connection.pending());
        if let Some(deadline) = one.connection.next_deadline() {
            one.connection.step(deadline.at, Input::Timeout, &mut Vec::new());
        }
    }
}
