//! The statistics as metrics.
//!
//! Install the recorder before the first client is made: each client takes its handles once, so that
//! counting stays as cheap as adding to an atomic.

use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

use super::{LEVELS, Level, TOTALS, Total};

/// Each total's metric: its name, its unit and what it is.
const METRICS: [(Total, &str, Unit, &str); TOTALS] = [
    (Total::Dials, "onesocket_dials_total", Unit::Count, "Dials begun"),
    (Total::Connects, "onesocket_connects_total", Unit::Count, "Connections that got as far as hello"),
    (Total::FramesIn, "onesocket_frames_in_total", Unit::Count, "Messages received"),
    (Total::BytesIn, "onesocket_bytes_in_total", Unit::Bytes, "Bytes of text in messages received"),
    (Total::FramesOut, "onesocket_frames_out_total", Unit::Count, "Messages handed to the transport"),
    (Total::BytesOut, "onesocket_bytes_out_total", Unit::Bytes, "Bytes of text in those messages"),
    (Total::Gaps, "onesocket_gaps_total", Unit::Count, "Holes in the numbering of events"),
    (Total::LaggedItems, "onesocket_lagged_items_total", Unit::Count, "Items subscribers were too slow for"),
    (Total::IgnoredNotText, IGNORED, Unit::Count, IGNORED_MEANS),
    (Total::IgnoredMalformed, IGNORED, Unit::Count, IGNORED_MEANS),
    (Total::IgnoredUnknownType, IGNORED, Unit::Count, IGNORED_MEANS),
    (Total::IgnoredResponseId, IGNORED, Unit::Count, IGNORED_MEANS),
    (Total::IgnoredResponseShape, IGNORED, Unit::Count, IGNORED_MEANS),
    (Total::IgnoredEventShape, IGNORED, Unit::Count, IGNORED_MEANS),
    (Total::IgnoredUnawaited, IGNORED, Unit::Count, IGNORED_MEANS),
    (Total::IgnoredChallenge, IGNORED, Unit::Count, IGNORED_MEANS),
];

/// One metric for all that is ignored; the label `reason` says why.
const IGNORED: &str = "onesocket_ignored_messages_total";
const IGNORED_MEANS: &str = "Messages received that had no effect";

/// The label of a total that shares its metric with others.
fn reason(total: Total) -> Option<&'static str> {
    match total {
        Total::Dials
        | Total::Connects
        | Total::FramesIn
        | Total::BytesIn
        | Total::FramesOut
        | Total::BytesOut
        | Total::Gaps
        | Total::LaggedItems => None,
        Total::IgnoredNotText => Some("not_text"),
        Total::IgnoredMalformed => Some("malformed"),
        Total::IgnoredUnknownType => Some("unknown_type"),
        Total::IgnoredResponseId => Some("response_id"),
        Total::IgnoredResponseShape => Some("response_shape"),
        Total::IgnoredEventShape => Some("event_shape"),
        Total::IgnoredUnawaited => Some("unawaited"),
        Total::IgnoredChallenge => Some("challenge"),
    }
}

/// Each level's metric: its name and what it is.
const GAUGES: [(Level, &str, &str); LEVELS] = [
    (Level::Pending, "onesocket_pending", "Requests that have not ended"),
    (Level::Subscriptions, "onesocket_subscriptions", "Subscriptions that have not ended"),
];

/// Handles of the recorder that was installed when the client was made.
pub(super) struct Exported {
    totals: [Counter; TOTALS],
    levels: [Gauge; LEVELS],
    round_trip: Histogram,
}

impl Exported {
    pub(super) fn register() -> Self {
        for (_, name, unit, what) in METRICS {
            describe_counter!(name, unit, what);
        }
        for (_, name, what) in GAUGES {
            describe_gauge!(name, Unit::Count, what);
        }
        describe_histogram!(
            "onesocket_round_trip_seconds",
            Unit::Seconds,
            "From sending to the first answer"
        );
        Self {
            totals: METRICS.map(|(total, name, _, _)| match reason(total) {
                Some(reason) => counter!(name, "reason" => reason),
                None => counter!(name),
            }),
            levels: GAUGES.map(|(_, name, _)| gauge!(name)),
            round_trip: histogram!("onesocket_round_trip_seconds"),
        }
    }

    pub(super) fn add(&self, total: Total, more: u64) {
        self.totals[total as usize].increment(more);
    }

    /// A gauge is shared by all clients, so each moves it by its own difference.
    pub(super) fn set(&self, level: Level, before: u64, after: u64) {
        self.levels[level as usize].increment(after as f64 - before as f64);
    }

    pub(super) fn round_trip(&self, took: Duration) {
        self.round_trip.record(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_its_own_metric() {
        for (index, (total, ..)) in METRICS.iter().enumerate() {
            assert_eq!(*total as usize, index);
        }
        for (index, (level, ..)) in GAUGES.iter().enumerate() {
            assert_eq!(*level as usize, index);
        }
    }
}
