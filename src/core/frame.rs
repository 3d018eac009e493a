//! Frames of protocol v4: a strict envelope, read without copying its payload.
//!
//! [`decode`] never fails in a way that could hurt a connection: whatever a peer sends is a frame,
//! or a [`FrameError`] that says why it is ignored (protocol 2.5).

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

use super::event::StateVersion;

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

/// `{type:"event", event, payload?, seq?, stateVersion?}`
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
    /// Not JSON, not an object, or a known field twice or of an impossible type.
    #[error("the message is not a JSON object of the frame's shape")]
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

/// Numbers beyond this cannot be told apart by the gateway's own JSON (2^53 - 1).
const MAX_SAFE_INTEGER: u64 = 9_007_199_254_740_991;

/// The union of all fields. Fields whose type a peer may get wrong are kept raw, so that one bad
/// field is reported for what it is; unknown fields are skipped (protocol 2.5).
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    ok: Option<&'a RawValue>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    event: Option<&'a RawValue>,
    #[serde(borrow, default)]
    seq: Option<&'a RawValue>,
    #[serde(borrow, rename = "stateVersion", default)]
    state_version: Option<&'a RawValue>,
}

/// Reads one message.
///
/// # Errors
/// [`FrameError`] says why the message is to be ignored.
pub fn decode(text: &str) -> Result<Frame<'_>, FrameError> {
    let envelope: Envelope<'_> = object(text).ok_or(FrameError::Malformed)?;
    match envelope.kind.and_then(text_of).as_deref() {
        Some("res") => response(&envelope).map(Frame::Response),
        Some("event") => event(&envelope).map(Frame::Event),
        Some(_) | None => Err(FrameError::UnknownType),
    }
}

/// Reads a JSON object. The derived readers would take an array of the fields as well, which no
/// peer means.
fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    let is_object = text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{');
    if is_object { serde_json::from_str(text).ok() } else { None }
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
    // A state version of another shape belongs to a gateway newer than this client; the event
    // itself is still good.
    let state_version = envelope.state_version.and_then(|raw| serde_json::from_str(raw.get()).ok());
    Ok(EventFrame { event, payload: envelope.payload, seq, state_version })
}

#[derive(Deserialize)]
struct RawError<'a> {
    #[serde(borrow, default)]
    code: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    retryable: Option<&'a RawValue>,
    #[serde(borrow, rename = "retryAfterMs", default)]
    retry_after_ms: Option<&'a RawValue>,
}

fn error_shape(raw: &RawValue) -> Option<ErrorShape<'_>> {
    let error: RawError<'_> = object(raw.get())?;
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
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    let json = raw.get();
    // It is JSON: what is between quotes and has no backslash is the text itself.
    match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(text) if !text.contains('\\') => Some(Cow::Borrowed(text)),
        Some(_) | None => serde_json::from_str::<Text<'_>>(json).ok().map(|text| text.0),
    }
}

fn text_of_owned(raw: &RawValue) -> Option<String> {
    text_of(raw).map(Cow::into_owned)
}

fn safe_integer(raw: &RawValue) -> Option<u64> {
    serde_json::from_str(raw.get()).ok().filter(|number| *number <= MAX_SAFE_INTEGER)
}

/// Writes a request frame. `params` is taken as the JSON it is.
#[must_use]
pub fn encode_request(id: &str, method: &str, params: Option<&str>) -> String {
    let mut text = String::with_capacity(48 + id.len() + method.len() + params.map_or(0, str::len));
    text.push_str("{\"type\":\"req\",\"id\":");
    push_json_string(&mut text, id);
    text.push_str(",\"method\":");
    push_json_string(&mut text, method);
    if let Some(params) = params {
        text.push_str(",\"params\":");
        text.push_str(params);
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
    fn requests_escape_what_needs_escaping() {
        let text = encode_request("a\"b", "m", Some("{}"));
        assert_eq!(text, r#"{"type":"req","id":"a\"b","method":"m","params":{}}"#);
    }
}
