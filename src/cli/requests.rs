//! Commands that ask one thing: `call` and `status`.

use std::path::Path;
use std::time::{Duration, Instant};

use onesocket::Client;
use onesocket::core::{Delivery, Endpoint, PeerText, Push, RequestError, RequestErrorKind, Snapshot};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::input::InputFile;
use super::waiting::Wait;
use super::{Call, CliError, Common, json, output};

/// The wait before a call is made again, where the gateway names none.
const PAUSE: Duration = Duration::from_millis(500);

/// Calls a method and prints the answer. Until the time is over it is called again after a failure that may pass, unless
/// the gateway may have done the work and would do it twice.
pub(super) async fn call(client: &Client, common: &Common, call: &Call) -> Result<(), CliError> {
    let params = params(call.params.as_deref())?;
    let repeatable = is_repeatable(&call.method, params.as_deref());
    let mut wait = Wait::new(common.timeout());
    let answer = loop {
        wait.connected(client).await?;
        let mut request = client.request(&call.method, &params).timeout(wait.left());
        if call.final_reply {
            (request, _) = request.final_reply();
        }
        let error = match request.await {
            Ok(answer) => break answer,
            Err(error) => error,
        };
        let pause = error.retry_after().unwrap_or(PAUSE);
        let may_pass = error.is_retryable() || (repeatable && is_unknown(&error));
        let why = failure(error, common.timeout());
        if !may_pass || !wait.again_after(&why, pause).await {
            return Err(why);
        }
    };
    let payload = &answer.payload;
    output::print(&if common.json { json::on_one_line(payload) } else { json::for_people(payload) })
}

/// The parameters as they are: what is JSON to the caller need not be to us.
fn params(argument: Option<&str>) -> Result<Option<Box<RawValue>>, CliError> {
    let text = match argument.map(|argument| (argument, argument.strip_prefix('@'))) {
        None => return Ok(None),
        Some((_, Some(file))) => InputFile::Params.read(Path::new(file))?,
        Some((text, None)) => text.to_owned(),
    };
    serde_json::from_str(&text).map(Some).map_err(CliError::Params)
}

/// Whether doing the work of a call twice is as good as doing it once: it has a key, by which the gateway knows it
/// again (protocol 12.5), or it only reads.
fn is_repeatable(method: &str, params: Option<&RawValue>) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Keyed {
        idempotency_key: Option<String>,
    }
    let keyed = params.and_then(|params| serde_json::from_str::<Keyed>(params.get()).ok());
    let has_key = keyed.is_some_and(|keyed| keyed.idempotency_key.is_some_and(|key| !key.is_empty()));
    let reads = ["health", "status", "system-presence"].contains(&method)
        || [".list", ".get", ".status"].iter().any(|end| method.ends_with(end));
    has_key || reads
}

/// Whether the connection was lost with the call under way.
fn is_unknown(error: &RequestError) -> bool {
    error.delivery == Delivery::Unknown && matches!(error.kind, RequestErrorKind::Disconnected(_))
}

/// The time of a request is a part of the time of the command, which is what its caller knows.
fn failure(error: RequestError, given: Duration) -> CliError {
    match error.kind {
        RequestErrorKind::TimedOut { .. } => {
            CliError::NoAnswer { after: given, may_be_done: error.delivery == Delivery::Unknown }
        }
        _ => CliError::Request(error),
    }
}

/// Connects once and prints who is there.
pub(super) async fn status(client: &Client, common: &Common, endpoint: &Endpoint) -> Result<(), CliError> {
    let start = Instant::now();
    let mut pushes = client.subscribe().expect("it is the first subscription");
    let mut wait = Wait::new(common.timeout());
    wait.connected(client).await?;
    let snapshot = loop {
        let next = timeout(wait.left(), pushes.next()).await;
        match next.map_err(|_| CliError::NoAnswer { after: common.timeout(), may_be_done: false })? {
            Some(Push::Snapshot(snapshot)) => break snapshot,
            Some(_) => {}
            None => return Err(CliError::ShutDown),
        }
    };
    let connect_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    if common.json {
        return output::print(&json::value(&as_json(endpoint, &snapshot, connect_ms)));
    }
    let hello = &snapshot.hello;
    output::print(&format!("connected to {endpoint} in {connect_ms} ms"))?;
    output::print(&format!("gateway {}, connection {}", hello.server_version, hello.connection_id))?;
    output::print(&format!(
        "role {}, scopes {}",
        hello.role.as_ref().map_or_else(|| "unknown".to_owned(), PeerText::to_string),
        if hello.scopes.is_empty() {
            "none".to_owned()
        } else {
            hello.scopes.iter().map(PeerText::to_string).collect::<Vec<_>>().join(" ")
        },
    ))
}

fn as_json(endpoint: &Endpoint, snapshot: &Snapshot, connect_ms: u64) -> Value {
    let hello = &snapshot.hello;
    serde_json::json!({
        "url": endpoint.to_string(),
        "connectMs": connect_ms,
        "serverVersion": hello.server_version,
        "connectionId": hello.connection_id,
        "bootId": hello.boot_id,
        "protocol": hello.protocol,
        "role": hello.role,
        "scopes": hello.scopes,
        "tickIntervalMs": u64::try_from(hello.policy.tick_interval.as_millis()).unwrap_or(u64::MAX),
        "maxPayload": hello.policy.max_payload,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_repeated_only_if_that_is_as_good_as_once() {
        let repeatable = |method: &str, params: &str| is_repeatable(method, params_of(params).as_deref());
        for (method, params) in [
            ("health", "{}"),
            ("sessions.list", "null"),
            ("config.get", "1"),
            ("agent", r#"{"idempotencyKey":"k"}"#),
            ("send", r#"{"a":[1],"idempotencyKey":"k"}"#),
        ] {
            assert!(repeatable(method, params), "{method} {params}");
        }
        for (method, params) in [
            ("agent", "{}"),
            ("send", r#"{"idempotencyKey":""}"#),
            ("send", r#"{"idempotencyKey":7}"#),
            ("listen", "[]"),
            ("config.set", r#"{"a":{"idempotencyKey":"k"}}"#),
        ] {
            assert!(!repeatable(method, params), "{method} {params}");
        }
    }

    fn params_of(text: &str) -> Option<Box<RawValue>> {
        params(Some(text)).expect("JSON")
    }
}
