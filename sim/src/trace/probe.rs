//! Requests that can be told apart at both ends, and what a gateway's notes mean for the trace.

use std::sync::{Arc, LazyLock};

use memchr::memmem::Finder;
use onesocket::core::Delivery;
use onesocket_gateway::Note;

use super::Seen;

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
pub fn seen(note: &Note) -> Option<Seen> {
    Some(match note {
        Note::Accepted { connection } => Seen::Accepted { connection: connection.0 },
        Note::ConnectReceived { connection, presented, .. } => {
            let shared = |token: &Option<Box<str>>| token.as_deref().map(Arc::from);
            Seen::Connect {
                connection: connection.0,
                token: shared(&presented.token),
                device_token: shared(&presented.device_token),
                bootstrap_token: shared(&presented.bootstrap_token),
            }
        }
        Note::HelloSent { connection, device_token, handed_over, .. } => Seen::Hello {
            connection: connection.0,
            issued: device_token.as_ref().map(|token| Arc::clone(&token.0)),
            handed_over: handed_over.as_ref().map(|token| Arc::clone(&token.0)),
        },
        Note::Refused { connection, code } => Seen::Refused { connection: connection.0, code: code.clone() },
        Note::RunStarted { run } => Seen::RunStarted { run: Arc::clone(run) },
        Note::EventSent { connection, seq, .. } => Seen::EventSent { connection: connection.0, seq: *seq },
        Note::EventDropped { connection, seq, .. } => Seen::EventLost { connection: connection.0, seq: *seq },
        Note::Closed { connection, code } => Seen::Closed { connection: connection.0, code: *code },
        Note::Terminated { connection, .. } => Seen::Dropped { connection: connection.0 },
        Note::Disconnected { connection } => Seen::Gone { connection: connection.0 },
        Note::Misbehaved { connection, mischief } => {
            Seen::Misbehaved { connection: connection.map(|connection| connection.0), mischief: *mischief }
        }
        Note::Booted { .. } => Seen::Booted,
        Note::Stopped { .. } => Seen::Down,
        Note::Draining { .. }
        | Note::SecretChanged { .. }
        | Note::ChallengeSent { .. }
        | Note::RequestReceived { .. }
        | Note::FrameRejected { .. }
        | Note::ResponseSent { .. } => return None,
    })
}
