//! What a stored plan says about its own run: that it came to its situation.
//!
//! A scenario that breaks no invariant proves nothing if its fault came a moment too late. So it names what its
//! run must have seen, and a change that makes it miss its situation fails the scenario.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::file::Scenario;
use crate::judge::marks::{Coverage, Mark};
use crate::judge::recorder::Finished;
use crate::trace::{Event, FailureKind, GatewayEvent, Item, Outcome, Record, StatusKind};
use onesocket_gateway::named;

/// Something that a run has seen or not: a [`Mark`], as `reconnected`, or a [`Count`] compared with a number, as
/// `dials = 2`, `hellos >= 3` or `gaps <= 0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// The mark was reached.
    Reached(Mark),
    /// As many records were seen as the comparison says.
    Counted(Count, Comparison, u64),
}

named! {
    /// How a count is compared.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Comparison {
        /// `=`: exactly so many.
        Exactly = "=",
        /// `>=`: so many or more.
        AtLeast = ">=",
        /// `<=`: so many or fewer.
        AtMost = "<=",
    }
}

named! {
    /// Records of a kind, to be counted.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Count {
        /// Sockets dialed by the client.
        Dials = "dials",
        /// Hellos said by the gateways.
        Hellos = "hellos",
        /// Connects refused by the gateways.
        Refusals = "refusals",
        /// Requests answered.
        Answered = "answered",
        /// Requests refused by a gateway.
        Rejected = "rejected-requests",
        /// Requests that ran into their deadline.
        TimedOut = "timed-out",
        /// Requests that ended with their connection.
        Lost = "lost",
        /// Snapshots read by subscribers.
        Snapshots = "snapshots",
        /// Events read by subscribers.
        Events = "events",
        /// Gaps read by subscribers.
        Gaps = "gaps",
        /// Configs applied, equal ones included.
        Configs = "configs",
        /// Times at which the client had nothing to connect to.
        NotConfigured = "not-configured",
        /// Pauses of reconnecting.
        Pauses = "pauses",
        /// Waits before a dial.
        Backoffs = "backoffs",
        /// Connections that gateways dropped without a word.
        Drops = "drops",
    }
}

/// Why a text is no expectation.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text:?} is neither a mark nor a count like \"dials = 2\"; {known}")]
pub struct ExpectationError {
    text: String,
    known: String,
}

/// What is wrong with a run of a scenario that broke no invariant; empty if nothing is.
#[must_use]
pub fn shortfalls(scenario: &Scenario, finished: &Finished) -> Vec<String> {
    if scenario.expect.is_empty() && scenario.forbid.is_empty() {
        return Vec::new();
    }
    let mut coverage = Coverage::default();
    coverage.add(&finished.records);
    let holds = |expectation: &Expectation| match expectation {
        Expectation::Reached(mark) => coverage.marks.get(mark).is_some_and(|count| *count > 0),
        Expectation::Counted(count, comparison, number) => {
            comparison.holds(count.of(&finished.records), *number)
        }
    };
    let counted = |expectation: &Expectation| match expectation {
        Expectation::Reached(_) => String::new(),
        Expectation::Counted(count, ..) => format!(": there were {}", count.of(&finished.records)),
    };
    let missing = scenario.expect.iter().filter(|expectation| !holds(expectation));
    let missing = missing.map(|expectation| format!("expected {expectation}{}", counted(expectation)));
    let present = scenario.forbid.iter().filter(|expectation| holds(expectation));
    let present = present.map(|expectation| format!("forbidden {expectation}{}", counted(expectation)));
    missing.chain(present).collect()
}

impl Expectation {
    /// Reads a mark or a comparison of a count.
    ///
    /// # Errors
    /// [`ExpectationError`] lists what there is.
    pub fn parse(text: &str) -> Result<Self, ExpectationError> {
        let known = || {
            let counts: Vec<&str> = Count::ALL.iter().copied().map(Count::name).collect();
            // Those of a fault in a state are many, and all built alike.
            let single = Mark::all().into_iter().filter(|mark| !matches!(mark, Mark::Met(..)));
            let marks: Vec<_> = single.map(Mark::name).collect();
            let (counts, marks) = (counts.join(", "), marks.join(", "));
            let known =
                format!("the counts are {counts}; the marks are {marks}, and those like crash-meets-ready");
            ExpectationError { text: text.to_owned(), known }
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        match words[..] {
            [mark] => Mark::from_name(mark).map(Self::Reached).ok_or_else(known),
            [count, comparison, number] => {
                let parts =
                    Count::from_name(count).zip(Comparison::from_name(comparison)).zip(number.parse().ok());
                let ((count, comparison), number) = parts.ok_or_else(known)?;
                Ok(Self::Counted(count, comparison, number))
            }
            _ => Err(known()),
        }
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reached(mark) => f.write_str(&mark.name()),
            Self::Counted(count, comparison, number) => {
                write!(f, "{} {} {number}", count.name(), comparison.name())
            }
        }
    }
}

impl Serialize for Expectation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Expectation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Comparison {
    const fn holds(self, event: u64, number: u64) -> bool {
        match self {
            Self::Exactly => event == number,
            Self::AtLeast => event >= number,
            Self::AtMost => event <= number,
        }
    }
}

impl Count {
    fn of(self, records: &[Record]) -> u64 {
        records.iter().filter(|record| self.is(&record.event)).count() as u64
    }

    fn is(self, what: &Event) -> bool {
        let failed = |wanted: FailureKind| matches!(what, Event::RequestSettled { outcome: Outcome::Failed { kind, .. }, .. } if *kind == wanted);
        match self {
            Self::Dials => matches!(what, Event::Dialed { .. }),
            Self::Hellos => matches!(what, Event::Gateway { event: GatewayEvent::Hello { .. }, .. }),
            Self::Refusals => matches!(what, Event::Gateway { event: GatewayEvent::Refused { .. }, .. }),
            Self::Answered => matches!(what, Event::RequestSettled { outcome: Outcome::Answered { .. }, .. }),
            Self::Rejected => failed(FailureKind::Rejected),
            Self::TimedOut => failed(FailureKind::TimedOut),
            Self::Lost => failed(FailureKind::Disconnected),
            Self::Snapshots => matches!(what, Event::Pushed { item: Item::Snapshot { .. }, .. }),
            Self::Events => matches!(what, Event::Pushed { item: Item::Event { .. }, .. }),
            Self::Gaps => matches!(what, Event::Pushed { item: Item::Gap { .. }, .. }),
            Self::Configs => matches!(what, Event::Configured { .. }),
            Self::NotConfigured => matches!(what, Event::Status(StatusKind::NotConfigured)),
            Self::Pauses => matches!(what, Event::Status(StatusKind::Paused)),
            Self::Backoffs => matches!(what, Event::Status(StatusKind::Backoff)),
            Self::Drops => matches!(what, Event::Gateway { event: GatewayEvent::Dropped { .. }, .. }),
        }
    }
}

#[cfg(test)]
mod tests {
    use onesocket::core::Instant;

    use super::*;
    use crate::plan::Plan;

    fn finished(events: Vec<Event>) -> Finished {
        let records = events.into_iter().map(|event| Record { at: Instant::ZERO, event }).collect();
        Finished { records, digest: 0, simulated: Instant::ZERO, violation: None, logs: Vec::new() }
    }

    fn plan(expect: &[&str], forbid: &[&str]) -> Scenario {
        let parse = |texts: &[&str]| -> Vec<Expectation> {
            texts.iter().map(|text| Expectation::parse(text).expect("an expectation")).collect()
        };
        let mut scenario = Scenario::of(Plan::new(0));
        scenario.expect = parse(expect);
        scenario.forbid = parse(forbid);
        scenario
    }

    #[test]
    fn what_a_run_has_not_seen_and_what_it_must_not_see_is_told() {
        let run = finished(vec![Event::Dialed { socket: 1, gateway: 0 }, Event::Status(StatusKind::Paused)]);
        assert_eq!(
            shortfalls(&plan(&["dials = 1", "paused", "dials >= 1", "gaps <= 0"], &["reconnected"]), &run),
            [""; 0]
        );
        assert_eq!(
            shortfalls(&plan(&["dials >= 2", "reconnected"], &["paused", "dials = 1"]), &run),
            [
                "expected dials >= 2: there were 1",
                "expected reconnected",
                "forbidden paused",
                "forbidden dials = 1: there were 1"
            ]
        );
    }

    #[test]
    fn an_expectation_survives_its_text_form_and_nonsense_is_refused() {
        for mark in Mark::all() {
            assert_eq!(Expectation::parse(&mark.name()), Ok(Expectation::Reached(mark)));
        }
        for count in Count::ALL {
            for comparison in Comparison::ALL {
                let expectation = Expectation::Counted(*count, *comparison, 7);
                assert_eq!(Expectation::parse(&expectation.to_string()), Ok(expectation));
            }
        }
        for text in
            ["", "no-such-mark", "dials", "dials = many", "dials < 2", "dials = 2 or so", "sockets = 1"]
        {
            let error = Expectation::parse(text).expect_err("this is nonsense");
            assert!(error.to_string().contains("the counts are dials"), "{error}");
        }
    }
}
