//! Frames on the wire: reading requests, writing responses and events.
//!
//! This is a second, independent implementation of the frame format. It shares nothing with the client core: two ends
//! that share a parser cannot disagree.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::schema::{NON_EMPTY, Shape, closed, optional, required};

/// A valid request frame (protocol 2).
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) id: Arc<str>,
    pub(super) method: Arc<str>,
    /// The params as JSON text, if any.
    pub(super) params: Option<Box<RawValue>>,
}

impl Request {
    /// The params as a value; absent params are `null`.
    pub(super) fn params_value(&self) -> Value {
        // Raw JSON that was already scanned once can still hold a number or an escape a value cannot.
        self.params.as_ref().and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or(Value::Null)
    }
}

/// What a message from a client turned out to be.
#[derive(Debug)]
pub(super) enum Frame {
    /// A valid request.
    Request(Request),
    /// JSON, but not a valid request frame.
    Invalid {
        /// The id to answer under, as JSON text: whatever `id` was, or `"invalid"` (protocol 2.3).
        id: String,
        /// The validator's text.
        complaint: String,
    },
    /// Not JSON.
    Garbage,
}

static REQUEST: Shape = closed(&[
    required("type", Shape::Constant("req")),
    required("id", NON_EMPTY),
    required("method", NON_EMPTY),
    optional("params", Shape::Any),
    optional("traceparent", Shape::Text { min: 0, max: 128 }),
]);

/// The shape of nearly every frame, read without building a value. What it rejects is looked at again slowly.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Quick<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

/// Reads one message.
pub(super) fn read(text: &str) -> Frame {
    if let Ok(quick) = serde_json::from_str::<Quick<'_>>(text)
        && quick.kind == "req"
        && !quick.id.is_empty()
        && !quick.method.is_empty()
    {
        return Frame::Request(Request {
            id: quick.id.into(),
            method: quick.method.into(),
            params: quick.params.map(ToOwned::to_owned),
        });
    }
    read_slowly(text)
}

fn read_slowly(text: &str) -> Frame {
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return Frame::Garbage;
    };
    if let Some(complaint) = REQUEST.complaint(&value) {
        let id = value.get("id").map_or_else(|| "\"invalid\"".to_owned(), Value::to_string);
        return Frame::Invalid { id, complaint };
    }
    let field = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    Frame::Request(Request {
        id: field("id").into(),
        method: field("method").into(),
        params: value.get("params").and_then(|params| RawValue::from_string(params.to_string()).ok()),
    })
}

/// Appends `text` as a JSON string.
pub(super) fn push_string(out: &mut String, text: &str) {
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        // Serialising a string cannot fail.
        out.push_str(&serde_json::to_string(text).unwrap_or_default());
    }
}

/// `text` as a JSON string.
pub(super) fn string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_string(&mut out, text);
    out
}

/// Appends a number.
pub(super) fn push_number(out: &mut String, number: u64) {
    use std::fmt::Write;
    // Writing to a string cannot fail.
    let _ = write!(out, "{number}");
}

/// The error of a response (protocol 2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ErrorShape {
    pub(super) code: Cow<'static, str>,
    pub(super) message: Cow<'static, str>,
    /// JSON text.
    pub(super) details: Option<Cow<'static, str>>,
    pub(super) retryable: Option<bool>,
    /// JSON text, so that orders can give absurd values.
    pub(super) retry_after_ms: Option<Cow<'static, str>>,
}

impl ErrorShape {
    pub(super) fn new(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        let code = Cow::Borrowed(code);
        ErrorShape { code, message: message.into(), details: None, retryable: None, retry_after_ms: None }
    }

    pub(super) fn invalid_request(message: impl Into<Cow<'static, str>>) -> Self {
        ErrorShape::new("INVALID_REQUEST", message)
    }

    pub(super) fn with_details(mut self, details: impl Into<Cow<'static, str>>) -> Self {
        self.details = Some(details.into());
        self
    }

    pub(super) fn retryable(mut self, after_ms: Option<u64>) -> Self {
        self.retryable = Some(true);
        self.retry_after_ms = after_ms.map(|ms| Cow::Owned(ms.to_string()));
        self
    }

    /// The wait that it asks for, if that can be read.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.retry_after_ms.as_ref()?.parse().ok().map(Duration::from_millis)
    }

    fn push(&self, out: &mut String) {
        out.push_str("{\"code\":");
        push_string(out, &self.code);
        out.push_str(",\"message\":");
        push_string(out, &self.message);
        if let Some(details) = &self.details {
            out.push_str(",\"details\":");
            out.push_str(details);
        }
        if let Some(retryable) = self.retryable {
            out.push_str(if retryable { ",\"retryable\":true" } else { ",\"retryable\":false" });
        }
        if let Some(ms) = &self.retry_after_ms {
            out.push_str(",\"retryAfterMs\":");
            out.push_str(ms);
        }
        out.push('}');
    }
}

/// The part of a response after its id: everything but the first and last brace.
pub(super) fn ok_body(payload: &str) -> String {
    let mut out = String::with_capacity(payload.len() + 24);
    out.push_str("\"ok\":true,\"payload\":");
    out.push_str(payload);
    out
}

/// The part of a failed response after its id; a run's failure also has a payload (protocol 5.7).
pub(super) fn error_body(payload: Option<&str>, error: &ErrorShape) -> String {
    let mut out = String::with_capacity(96);
    out.push_str("\"ok\":false");
    if let Some(payload) = payload {
        out.push_str(",\"payload\":");
        out.push_str(payload);
    }
    out.push_str(",\"error\":");
    error.push(&mut out);
    out
}

/// A whole response. `id` is JSON text.
pub(super) fn response(id: &str, body: &str) -> Arc<str> {
    let mut out = String::with_capacity(id.len() + body.len() + 24);
    out.push_str("{\"type\":\"res\",\"id\":");
    out.push_str(id);
    out.push(',');
    out.push_str(body);
    out.push('}');
    out.into()
}

/// A whole event. `state_version` is JSON text.
pub(super) fn event(name: &str, payload: &str, seq: Option<u64>, state_version: Option<&str>) -> Arc<str> {
    let mut out = String::with_capacity(payload.len() + name.len() + 96);
    out.push_str("{\"type\":\"event\",\"event\":");
    push_string(&mut out, name);
    out.push_str(",\"payload\":");
    out.push_str(payload);
    if let Some(seq) = seq {
        out.push_str(",\"seq\":");
        push_number(&mut out, seq);
    }
    if let Some(version) = state_version {
        out.push_str(",\"stateVersion\":");
        out.push_str(version);
    }
    out.push('}');
    out.into()
}

/// Cuts a close reason to the 120 UTF-8 bytes the gateway allows itself (protocol 9).
pub(super) fn close_reason(reason: impl Into<Cow<'static, str>>) -> Cow<'static, str> {
    let reason = reason.into();
    if reason.len() <= 120 {
        return reason;
    }
    let mut end = 120;
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(reason[..end].to_owned())
}
