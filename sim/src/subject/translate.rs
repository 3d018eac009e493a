//! From the client's own words to the words of the trace.

use onesocket::core::{Push, RequestError, RequestErrorKind, Response, Status};

use super::Call;
use crate::trace::{FailureKind, Item, Outcome, StatusKind};

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
            Status::Settling { .. } => Self::Settling,
            Status::Closing => Self::Closing,
            Status::Stopped => Self::Stopped,
            Status::Lost(end) => unreachable!("the harness runs every driver to its end: {end}"),
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

/// How a request ended, and whether the answer is its own. Only some methods repeat their
/// parameters; the answer of any other counts as its own.
#[must_use]
pub(crate) fn outcome(call: &Call, result: &Result<Response, RequestError>) -> Outcome {
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
        RequestErrorKind::Lost(end) => unreachable!("the harness runs every driver to its end: {end}"),
        RequestErrorKind::OtherConnection { .. } => FailureKind::OtherConnection,
        RequestErrorKind::Overloaded { .. }
        | RequestErrorKind::HandleOverloaded { .. }
        | RequestErrorKind::TooLarge { .. } => FailureKind::Limit,
        RequestErrorKind::NotConfigured
        | RequestErrorKind::Params(_)
        | RequestErrorKind::MalformedAnswer(_)
        | RequestErrorKind::Decode(_) => FailureKind::Other,
        // As above.
        _ => unreachable!("a failure that the harness does not know"),
    }
}
