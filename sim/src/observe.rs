//! From the client's own words to the words of the trace.

use std::sync::{Arc, LazyLock};

use memchr::memmem::Finder;
use onesocket::core::{Delivery, Push, RequestError, RequestErrorKind, Response, Status};

use crate::subject::Call;
use crate::trace::{FailureKind, Item, Outcome, Seen, StatusKind};
use onesocket_gateway::Note;

impl From<&Status> for StatusKind {
    fn from(status: &Status) -> Self {
        match status {
            Status::Idle => Self::Idle,
            Status::NotConfigured => Self::NotConfigured,
            Status::Connecting { .. } => Self::Connecting,
            Status::Handshaking { .. } => Self::Handshaking,
            Status::Ready { .. } => Self::Ready,
            Status::Backoff { .. } => Self::Backoff,
            Status::Paused(_) => Self::Paused,
            Status::Closing => Self::Closing,
            Status::Stopped => Self::Stopped,
            // The enum may grow; a status this harness does not know must not pass unseen.
            _ => unreachable!("a status that the harness does not know"),
        }
    }
}

impl From<&Push> for Item {
    fn from(push: &Push) -> Self {
        match push {
            Push::Snapshot(snapshot) => Self::Snapshot { epoch: snapshot.epoch().0 },
            Push::Event(event) => Self::Event { epoch: event.epoch.0, seq: event.seq },
            Push::Gap(gap) => {
                Self::Gap { epoch: gap.epoch.0, expected: gap.expected, received: gap.received }
            }
            Push::Status(status) => Self::Status(status.into()),
            Push::Lagged { missed } => Self::Lagged { missed: *missed },
            Push::Closed => Self::Closed,
            // As above.
            _ => unreachable!("a push that the harness does not know"),
        }
    }
}

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

/// How a request ended, and whether the answer is its own. Only some methods repeat their
/// parameters; the answer of any other counts as its own.
#[must_use]
pub fn outcome(call: &Call, result: &Result<Response, RequestError>) -> Outcome {
    match result {
        Ok(response) => call.answered(response.payload.get()),
        Err(error) => Outcome::Failed { delivery: error.delivery, kind: failure_kind(&error.kind) },
    }
}

fn failure_kind(kind: &RequestErrorKind) -> FailureKind {
    match kind {
        RequestErrorKind::Rejected(_) => FailureKind::Rejected,
        RequestErrorKind::TimedOut { .. } => FailureKind::TimedOut,
        RequestErrorKind::Disconnected(_) => FailureKind::Disconnected,
        RequestErrorKind::Paused(_) => FailureKind::Paused,
        RequestErrorKind::ShutDown => FailureKind::ShutDown,
        RequestErrorKind::OtherConnection { .. } => FailureKind::OtherConnection,
        RequestErrorKind::Overloaded { .. } | RequestErrorKind::TooLarge { .. } => FailureKind::Limit,
        RequestErrorKind::NotConfigured | RequestErrorKind::Params(_) | RequestErrorKind::Decode(_) => {
            FailureKind::Other
        }
        // As above.
        _ => unreachable!("a failure that the harness does not know"),
    }
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
