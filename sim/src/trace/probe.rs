//! Requests that can be told apart at both ends, and what a gateway's notes mean for the trace.

use std::sync::{Arc, LazyLock};

use memchr::memmem::Finder;
use onesocket::core::Delivery;
use onesocket_gateway::ModelEvent;

use super::GatewayEvent;

/// The marker in the parameters of the harness's requests.
const PROBE: &str = "\"probe\":";

/// The parameters of request `request`, by which gateways and answers are told apart.
#[must_use]
pub fn probe_params(request: u32) -> String {
    let mut params = String::with_capacity(PROBE.len() + "{4294967295}".len());
    params.push('{');
    params.push_str(PROBE);
    params.push_str(&request.to_string());
    params.push('}');
    params
}

/// The request whose parameters are in `text`.
#[must_use]
pub fn probe_of(text: &str) -> Option<u32> {
    // Every frame is searched, some of them are long, and the searcher of the standard library is made anew each time.
    static MARKER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(PROBE));
    let digits = &text[MARKER.find(text.as_bytes())? + PROBE.len()..];
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

/// The idempotency key, and so the id of the run, of a piece of work.
#[must_use]
pub fn run_key(key: u32) -> String {
    format!("work-{key}")
}

/// Whether the request can have reached the gateway.
#[must_use]
pub fn may_have_arrived(delivery: Delivery) -> bool {
    match delivery {
        Delivery::NotSent => false,
        Delivery::Unknown | Delivery::Rejected => true,
    }
}

/// What a gateway's note means for the trace; notes that no oracle needs mean nothing.
#[must_use]
pub fn gateway_event(note: &ModelEvent) -> Option<GatewayEvent> {
    Some(match note {
        ModelEvent::Accepted { connection } => GatewayEvent::Accepted { connection: connection.0 },
        ModelEvent::ConnectReceived { connection, presented, .. } => {
            let shared = |token: &Option<Box<str>>| token.as_deref().map(Arc::from);
            GatewayEvent::Connect {
                connection: connection.0,
                token: shared(&presented.token),
                device_token: shared(&presented.device_token),
                bootstrap_token: shared(&presented.bootstrap_token),
            }
        }
        ModelEvent::HelloSent { connection, device_token, handed_over, .. } => GatewayEvent::Hello {
            connection: connection.0,
            issued: device_token.as_ref().map(|token| Arc::clone(&token.0)),
            handed_over: handed_over.as_ref().map(|token| Arc::clone(&token.0)),
        },
        ModelEvent::Refused { connection, code, retry_after } => {
            GatewayEvent::Refused { connection: connection.0, code: code.clone(), retry_after: *retry_after }
        }
        ModelEvent::RunStarted { run } => GatewayEvent::RunStarted { run: Arc::clone(run) },
        ModelEvent::EventSent { connection, seq, .. } => {
            GatewayEvent::EventSent { connection: connection.0, seq: *seq }
        }
        ModelEvent::EventDropped { connection, seq, .. } => {
            GatewayEvent::EventLost { connection: connection.0, seq: *seq }
        }
        ModelEvent::Closed { connection, code } => {
            GatewayEvent::Closed { connection: connection.0, code: *code }
        }
        ModelEvent::Terminated { connection, .. } => GatewayEvent::Dropped { connection: connection.0 },
        ModelEvent::Disconnected { connection } => GatewayEvent::Gone { connection: connection.0 },
        ModelEvent::Misbehaved { connection, deviation } => GatewayEvent::Misbehaved {
            connection: connection.map(|connection| connection.0),
            deviation: *deviation,
        },
        ModelEvent::Booted { .. } => GatewayEvent::Booted,
        ModelEvent::Stopped { .. } => GatewayEvent::Down,
        ModelEvent::Draining { .. }
        | ModelEvent::SecretChanged { .. }
        | ModelEvent::ChallengeSent { .. }
        | ModelEvent::RequestReceived { .. }
        | ModelEvent::FrameRejected { .. }
        | ModelEvent::ResponseSent { .. } => return None,
    })
}
