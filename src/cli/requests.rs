//! Commands that ask one thing: `call` and `status`.

use std::time::Instant;

use onesocket::Client;
use onesocket::core::{Endpoint, PeerText, Push, Snapshot};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::{Call, CliError, Common, connected, json, output};

/// Calls a method and prints the answer.
pub(super) async fn call(client: &Client, common: &Common, call: &Call) -> Result<(), CliError> {
    // As they are: what is JSON to the caller need not be to us.
    let params: Option<Box<RawValue>> =
        call.params.as_deref().map(serde_json::from_str).transpose().map_err(CliError::Params)?;
    let answer = async {
        connected(client).await?;
        let mut request = client.request(&call.method, params).timeout(common.timeout());
        if call.final_reply {
            (request, _) = request.final_reply();
        }
        Ok(request.await?)
    };
    let answer = within(common, answer).await?;
    let payload = &answer.payload;
    output::print(&if common.json { json::on_one_line(payload) } else { json::for_people(payload) })
}

/// Connects once and prints who is there.
pub(super) async fn status(client: &Client, common: &Common, endpoint: &Endpoint) -> Result<(), CliError> {
    let start = Instant::now();
    let mut pushes = client.subscribe().expect("it is the first subscription");
    let snapshot = within(common, async {
        connected(client).await?;
        loop {
            match pushes.next().await {
                Some(Push::Snapshot(snapshot)) => return Ok(snapshot),
                Some(_) => {}
                None => return Err(CliError::ShutDown),
            }
        }
    });
    let snapshot = snapshot.await?;
    let connect_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    if common.json {
        return output::print(&as_json(endpoint, &snapshot, connect_ms).to_string());
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

async fn within<T>(common: &Common, work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    timeout(common.timeout(), work).await.unwrap_or(Err(CliError::TimedOut(common.timeout())))
}
