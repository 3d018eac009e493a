//! Frames of protocol v4: a strict envelope, read without copying its payload.
//!
//! [`decode`] never fails in a way that could hurt a connection: whatever a peer sends is a frame,
//! or a [`FrameError`] that says why it is ignored (protocol 2.5).

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use thiserror::Error;

use super::event::StateVersion;
use super::json;

/// A frame from the gateway, borrowing from its text.
#[derive(Debug)]
pub enum Frame<'a> {
    /// The answer to a request.
    Response(ResponseFrame<'a>),
    /// A push.
    Event(EventFrame<'a>),
}

/// `{type:"res", id, ok, payload?, error?}`
#[derive(Debug)]
pub struct ResponseFrame<'a> {
    /// The id of the request, never empty.
    pub id: Cow<'a, str>,
    /// Whether it succeeded.
    pub ok: bool,
    /// The payload; failures may carry one too (protocol 5.7).
    pub payload: Option<&'a RawValue>,
    /// Why it failed.
    pub error: Option<ErrorShape<'a>>,
}

/// `{type:"event", event, payload?, seq?, stateVersion?, recipientProfileId?}`
#[derive(Debug)]
pub struct EventFrame<'a> {
    /// The name of the event, never empty.
    pub event: Cow<'a, str>,
    /// The payload.
    pub payload: Option<&'a RawValue>,
    /// The number of the event on this connection.
    pub seq: Option<u64>,
    /// The versions of the state the event belongs to.
    pub state_version: Option<StateVersion>,
    /// The account that the event is for.
    pub recipient_profile_id: Option<Cow<'a, str>>,
}

/// The error of a failed response, with the defaults of protocol 5.8.
#[derive(Debug)]
pub struct ErrorShape<'a> {
    /// The top-level code.
    pub code: Cow<'a, str>,
    /// Text for humans.
    pub message: Cow<'a, str>,
    /// Anything else.
    pub details: Option<&'a RawValue>,
    /// True only if the gateway said exactly `true`.
    pub retryable: bool,
    /// The gateway's wish for the time before a retry.
    pub retry_after: Option<Duration>,
}

/// Why a message is not a frame. The message is ignored and the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Not JSON, or not an object.
    #[error("the message is not a JSON object")]
    Malformed,
    /// The `type` is missing or is none that a gateway sends.
    #[error("the frame's type is neither res nor event")]
    UnknownType,
    /// A response whose id is not a non-empty string (protocol 2.3).
    #[error("the response's id is not a non-empty string")]
    ResponseId,
    /// A response without a boolean `ok`, or whose `error` is not an object.
    #[error("the response has no boolean ok, or a malformed error")]
    ResponseShape,
    /// An event without a name, or with a `seq` that is not a whole number from 0 to 2^53 - 1.
    #[error("the event has no name, or a seq that is not a safe integer")]
    EventShape,
}

/// Declares an object of JSON whose members are kept raw, so that one bad member is reported for what it is. Of two
/// with one name the last one counts, as in JavaScript, and unknown ones are skipped (protocol 2.5).
macro_rules! raw_members {
    ($object:ident, $name:ident { $($member:ident = $key:literal,)* }) => {
        #[derive(Default)]
        struct $object<'a> {
            $($member: Option<&'a RawValue>,)*
        }

        #[derive(Deserialize)]
        #[serde(field_identifier)]
        #[allow(non_camel_case_types, reason = "they are named for the members")]
        enum $name {
            $(#[serde(rename = $key)] $member,)*
            #[serde(other)]
            Unknown,
        }

        impl<'a> $object<'a> {
            /// Reads an object and nothing behind it. Its members are put where they stay, which saves copying them.
            fn fill(&mut self, json: &'a str) -> Option<()> {
                struct Members<'o, 'a>(&'o mut $object<'a>);
                impl<'a> Visitor<'a> for Members<'_, 'a> {
                    type Value = ();

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
                        while let Some(name) = map.next_key()? {
                            match name {
                                $($name::$member => self.0.$member = map.next_value()?,)*
                                $name::Unknown => drop(map.next_value::<IgnoredAny>()?),
                            }
                        }
                        Ok(())
                    }
                }
                let mut reader = serde_json::Deserializer::from_str(json);
                reader.deserialize_map(Members(self)).ok()?;
                reader.end().ok()
            }
        }
    };
}

raw_members!(Envelope, EnvelopeMember {
    kind = "type",
    id = "id",
    ok = "ok",
    payload = "payload",
    error = "error",
    event = "event",
    seq = "seq",
    state_version = "stateVersion",
    recipient_profile_id = "recipientProfileId",
});

raw_members!(RawError, ErrorMember {
    code = "code",
    message = "message",
    details = "details",
    retryable = "retryable",
    retry_after_ms = "retryAfterMs",
});

raw_members!(RawStateVersion, StateVersionMember {
    presence = "presence",
    health = "health",
});

/// Reads one message.
///
/// # Errors
/// [`FrameError`] says why the message is to be ignored.
pub fn decode(text: &str) -> Result<Frame<'_>, FrameError> {
    let mut envelope = Envelope::default();
    envelope.fill(text).ok_or(FrameError::Malformed)?;
    match envelope.kind.and_then(text_of).as_deref() {
        Some("res") => response(&envelope).map(Frame::Response),
        Some("event") => event(&envelope).map(Frame::Event),
        Some(_) | None => Err(FrameError::UnknownType),
    }
}

/// The id of a response whose shape is wrong: whose answer it would have been.
pub(super) fn malformed_answer_id(text: &str) -> Option<Cow<'_, str>> {
    let mut envelope = Envelope::default();
    envelope.fill(text)?;
    envelope.id.and_then(text_of)
}

/// The number of an event whose shape is wrong: it counts all the same.
pub(super) fn malformed_event_seq(text: &str) -> Option<u64> {
    let mut envelope = Envelope::default();
    envelope.fill(text)?;
    envelope.seq.and_then(safe_integer)
}

fn response<'a>(envelope: &Envelope<'a>) -> Result<ResponseFrame<'a>, FrameError> {
    let id = envelope.id.and_then(text_of).filter(|id| !id.is_empty()).ok_or(FrameError::ResponseId)?;
    let ok = match envelope.ok.map(RawValue::get) {
        Some("true") => true,
        Some("false") => false,
        Some(_) | None => return Err(FrameError::ResponseShape),
    };
    let error = match envelope.error {
        Some(raw) => Some(error_shape(raw).ok_or(FrameError::ResponseShape)?),
        None => None,
    };
    Ok(ResponseFrame { id, ok, payload: envelope.payload, error })
}

fn event<'a>(envelope: &Envelope<'a>) -> Result<EventFrame<'a>, FrameError> {
    let name = envelope.event.and_then(text_of).filter(|name| !name.is_empty());
    let event = name.ok_or(FrameError::EventShape)?;
    let seq = match envelope.seq {
        Some(raw) => Some(safe_integer(raw).ok_or(FrameError::EventShape)?),
        None => None,
    };
    let recipient_profile_id = envelope.recipient_profile_id.and_then(text_of);
    let state_version = envelope.state_version.and_then(state_version);
    Ok(EventFrame { event, payload: envelope.payload, seq, state_version, recipient_profile_id })
}

/// A state version of another shape belongs to a gateway newer than this client; the event itself is still good.
fn state_version(raw: &RawValue) -> Option<StateVersion> {
    let mut version = RawStateVersion::default();
    version.fill(raw.get())?;
    let presence = version.presence.and_then(safe_integer)?;
    let health = version.health.and_then(safe_integer)?;
    Some(StateVersion { presence, health })
}

fn error_shape(raw: &RawValue) -> Option<ErrorShape<'_>> {
    let mut error = RawError::default();
    error.fill(raw.get())?;
    let text = |field: Option<&RawValue>| field.and_then(text_of_owned).filter(|text| !text.is_empty());
    Some(ErrorShape {
        code: text(error.code).map_or(Cow::Borrowed("UNAVAILABLE"), Cow::Owned),
        message: text(error.message).map_or(Cow::Borrowed("request failed"), Cow::Owned),
        details: error.details,
        retryable: error.retryable.is_some_and(|raw| raw.get() == "true"),
        retry_after: error.retry_after_ms.and_then(safe_integer).map(Duration::from_millis),
    })
}

fn text_of(raw: &RawValue) -> Option<Cow<'_, str>> {
    json::string(raw.get())
}

fn text_of_owned(raw: &RawValue) -> Option<String> {
    text_of(raw).map(Cow::into_owned)
}

fn safe_integer(raw: &RawValue) -> Option<u64> {
    json::safe_integer(raw.get())
}

/// Writes a request frame. `params` is taken as the JSON it is.
#[must_use]
pub fn encode_request(id: &str, method: &str, params: Option<&str>) -> String {
    encode_request_as(id, method, params, None)
}

/// [`encode_request`] for the account with this id and no other.
#[must_use]
pub fn encode_request_as(id: &str, method: &str, params: Option<&str>, profile_id: Option<&str>) -> String {
    let mut text = String::with_capacity(48 + id.len() + method.len() + params.map_or(0, str::len));
    text.push_str("{\"type\":\"req\",\"id\":");
    push_json_string(&mut text, id);
    text.push_str(",\"method\":");
    push_json_string(&mut text, method);
    if let Some(params) = params {
        text.push_str(",\"params\":");
        text.push_str(params);
    }
    if let Some(profile_id) = profile_id {
        text.push_str(",\"expectedProfileId\":");
        push_json_string(&mut text, profile_id);
    }
    text.push('}');
    text
}

/// Ids and methods hardly ever hold anything that must be escaped.
fn push_json_string(out: &mut String, value: &str) {
    if value.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        out.push('"');
        out.push_str(value);
        out.push('"');
    } else {
        out.push_str(&serde_json::Value::from(value).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> FrameError {
        decode(text).map(|_| ()).unwrap_err()
    }

    #[test]
    fn a_response_borrows_its_payload() {
        let text = r#"{"type":"res","id":"7-1","ok":true,"payload":{"a":[1,2]},"new":{}}"#;
        let Ok(Frame::Response(frame)) = decode(text) else { panic!("not a response") };
        assert!(matches!(frame.id, Cow::Borrowed("7-1")));
        assert_eq!(frame.payload.unwrap().get(), r#"{"a":[1,2]}"#);
    }

    #[test]
    fn a_failure_keeps_unknown_codes_and_fills_in_defaults() {
        let text = r#"{"type":"res","id":"1","ok":false,"error":{"code":"NEW_CODE","retryable":1,"retryAfterMs":250}}"#;
        let Ok(Frame::Response(frame)) = decode(text) else { panic!("not a response") };
        let shape = frame.error.unwrap();
        assert_eq!((&*shape.code, &*shape.message), ("NEW_CODE", "request failed"));
        assert!(!shape.retryable, "only exactly true is retryable");
        assert_eq!(shape.retry_after, Some(Duration::from_millis(250)));
    }

    #[test]
    fn an_event_with_odd_extras_is_still_an_event() {
        let text = r#"{"type":"event","event":"pr\u0065sence","seq":3,"stateVersion":{"presence":2},"x":1}"#;
        let Ok(Frame::Event(frame)) = decode(text) else { panic!("not an event") };
        assert_eq!((&*frame.event, frame.seq, frame.state_version), ("presence", Some(3), None));
    }

    #[test]
    fn what_is_not_a_frame_says_why() {
        assert_eq!(error(""), FrameError::Malformed);
        assert_eq!(error("[1]"), FrameError::Malformed);
        assert_eq!(error("{\"type\":\"res\"} trailing"), FrameError::Malformed);
        assert_eq!(error(r#"{"type":"req","id":"1","method":"x"}"#), FrameError::UnknownType);
        assert_eq!(error(r#"{"type":7}"#), FrameError::UnknownType);
        assert_eq!(error(r#"{"type":"res","id":7,"ok":true}"#), FrameError::ResponseId);
        assert_eq!(error(r#"{"type":"res","id":"","ok":true}"#), FrameError::ResponseId);
        assert_eq!(error(r#"{"type":"res","id":"1","ok":"yes"}"#), FrameError::ResponseShape);
        assert_eq!(error(r#"{"type":"res","id":"1","ok":false,"error":"no"}"#), FrameError::ResponseShape);
        assert_eq!(error(r#"{"type":"event","event":""}"#), FrameError::EventShape);
        assert_eq!(error(r#"{"type":"event","event":"e","seq":-1}"#), FrameError::EventShape);
        assert_eq!(error(r#"{"type":"event","event":"e","seq":9007199254740992}"#), FrameError::EventShape);
    }

    #[test]
    fn an_envelope_is_read_as_javascript_reads_it() {
        let read = |text: &str| match decode(text) {
            Ok(Frame::Event(frame)) => (frame.event.into_owned(), frame.seq),
            other => panic!("{text}: {other:?}"),
        };
        let event = |rest: &str| format!(r#"{{"type":"event",{rest}}}"#);
        for (rest, name, seq) in [
            (r#""event":"e","seq":3.0"#, "e", Some(3)),
            (r#""event":"e","seq":1e3"#, "e", Some(1_000)),
            (r#""event":"e","seq":-0"#, "e", Some(0)),
            (r#""event":"e","seq":null"#, "e", None),
            (r#""event":"a","event":"e","seq":1,"seq":2"#, "e", Some(2)),
            (r#""event":"e\ud83d","seq":4"#, "e\u{fffd}", Some(4)),
            (r#""event":"e","":{},"__proto__":{"event":"p"},"constructor":null"#, "e", None),
            (r#""event":"a\/b""#, "a/b", None),
        ] {
            assert_eq!(read(&event(rest)), (name.to_owned(), seq), "{rest}");
        }
        assert_eq!(read(r#" { "type" : "ev\u0065nt" , "event" : "e" } "#), ("e".to_owned(), None));
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(
            read(&event(&format!(r#""event":"e","payload":{deep},"new":{deep}"#))),
            ("e".to_owned(), None)
        );
    }

    #[test]
    fn an_answer_of_the_wrong_shape_still_has_an_id() {
        for rest in [r#""ok":"yes""#, r#""ok":false,"error":"boom""#, r#""payload":{}"#, r#""ok":1"#] {
            let text = format!(r#"{{"type":"res","id":"7",{rest}}}"#);
            assert_eq!(error(&text), FrameError::ResponseShape);
            assert_eq!(malformed_answer_id(&text).as_deref(), Some("7"));
        }
    }

    #[test]
    fn an_account_goes_with_a_request_and_comes_with_an_event() {
        let text = encode_request_as("1", "m", None, Some("p\"1"));
        assert_eq!(text, r#"{"type":"req","id":"1","method":"m","expectedProfileId":"p\"1"}"#);
        let text = r#"{"type":"event","event":"e","recipientProfileId":"p1"}"#;
        let Ok(Frame::Event(frame)) = decode(text) else { panic!("not an event") };
        assert_eq!(frame.recipient_profile_id.as_deref(), Some("p1"));
    }

    #[test]
    fn requests_escape_what_needs_escaping() {
        let text = encode_request("a\"b", "m", Some("{}"));
        assert_eq!(text, r#"{"type":"req","id":"a\"b","method":"m","params":{}}"#);
    }
}
