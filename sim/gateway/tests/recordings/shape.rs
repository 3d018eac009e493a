//! Answers without what cannot agree between a gateway and its model.

use serde_json::Value;

/// A hello of which only the beginning was recorded.
pub(crate) const ELIDED: &str = "res \"l\" ok ";

/// A frame without what cannot agree.
pub(crate) fn frame(text: &str) -> String {
    if let Some(known) = text.strip_suffix('…') {
        assert!(
            known.contains(r#""ok":true,"payload":{"type":"hello-ok""#),
            "only hellos were cut off: {known}"
        );
        return ELIDED.to_owned();
    }
    let value: Value = serde_json::from_str(text).expect("the gateway sends JSON");
    if value["type"] == "event" {
        let name = value["event"].as_str().unwrap_or_default();
        let payload = match name {
            "shutdown" => value["payload"].to_string(),
            "presence" => presence(&value["payload"]["presence"]),
            "device.pair.resolved" => value["payload"]["decision"].to_string(),
            _ => String::new(),
        };
        let versioned = if value.get("stateVersion").is_some() { " versioned" } else { "" };
        return format!("event {name}{versioned} {payload}");
    }
    let id = &value["id"];
    if value["ok"] == true {
        return format!("res {id} ok {}", shape(&value["payload"]));
    }
    let mut error = value["error"].clone();
    if error["code"] == "UNAVAILABLE" {
        error["message"] = "".into();
    }
    mask(&mut error);
    format!("res {id} error {error}{}", if value.get("payload").is_some() { " with payload" } else { "" })
}

/// Presence rows by mode and reason; what was there before the recording began is not known to the model.
fn presence(list: &Value) -> String {
    let rows = list.as_array().into_iter().flatten();
    let rows: Vec<String> = rows
        .map(|row| format!("{}/{}", row["mode"], row["reason"]))
        .filter(|row| row.contains("self"))
        .collect();
    rows.join(",")
}

/// The keys of a payload, with types for values. Free-form parts are not entered.
pub(crate) fn shape(value: &Value) -> String {
    const OPAQUE: &[&str] = &[
        "methods",
        "events",
        "capabilities",
        "presence",
        "health",
        "eventLoop",
        "plugins",
        "agents",
        "sessions",
        "updateSchedule",
        "parsed",
        "config",
        "resolved",
        "runtimeConfig",
        "sourceConfig",
        "details",
        "summary",
    ];
    match value {
        Value::Object(object) => {
            let entry = |(key, value): (&String, &Value)| match OPAQUE.contains(&&**key) {
                true => key.clone(),
                false => format!("{key}:{}", shape(value)),
            };
            let entries: Vec<String> = object.iter().map(entry).collect();
            format!("{{{}}}", entries.join(","))
        }
        Value::Array(_) => "[]".to_owned(),
        Value::String(_) => "text".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Null => "null".to_owned(),
    }
}

/// Takes random and timed values out of an error.
fn mask(error: &mut Value) {
    if let Some(ms) = error.get_mut("retryAfterMs") {
        *ms = "number".into();
    }
    if let Some(id) = error.get_mut("details").and_then(|details| details.get_mut("requestId")) {
        *id = "id".into();
    }
}

/// The reason of a close without the id of a request for approval.
pub(crate) fn masked_reason(reason: &str) -> String {
    match reason.find("(requestId: ") {
        Some(at) => reason[..at].to_owned(),
        None => reason.to_owned(),
    }
}
