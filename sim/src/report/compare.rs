//! Where two runs part.
//!
//! Two runs of one plan are equal to the last record, or something drew from outside of it. The digests say
//! whether; the first record that differs says where to look.

use std::fmt;

use onesocket::core::Instant;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::trace::{Lane, Record};

/// Records before the difference that are shown, so that one sees what led to it.
const CONTEXT: usize = 5;

/// A record as it is stored: one JSON object on a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordLine {
    /// When, in microseconds of simulated time.
    pub at_us: u64,
    /// Who it is about.
    pub lane: String,
    /// What happened, in words.
    pub what: String,
}

/// What of two records must be equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// All of it: for two runs on one tier.
    Exact,
    /// All but the time: for two tiers, whose bytes do not travel equally fast.
    Timeless,
}

/// The first difference between two runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The number of the first record that differs, from 1.
    pub number: usize,
    /// The records before it, which are equal.
    pub before: Vec<RecordLine>,
    /// The first run's record, unless that run is over.
    pub first: Option<RecordLine>,
    /// The other run's record, unless that run is over.
    pub second: Option<RecordLine>,
}

/// Why a text is no list of records.
#[derive(Debug, Error)]
#[error("line {line} is no record: {why}")]
pub struct LinesError {
    /// The line, from 1.
    line: usize,
    why: serde_json::Error,
}

/// The records of a run in their stored form.
#[must_use]
pub fn lines(records: &[Record]) -> Vec<RecordLine> {
    records.iter().map(RecordLine::from).collect()
}

/// The stored form as text: JSON lines.
#[must_use]
pub fn to_text(lines: &[RecordLine]) -> String {
    let texts: Vec<String> =
        lines.iter().map(|line| serde_json::to_string(line).expect("a line is plain data")).collect();
    texts.join("\n")
}

/// Reads JSON lines.
///
/// # Errors
/// [`LinesError`] names the first line that is no record.
pub fn parse(text: &str) -> Result<Vec<RecordLine>, LinesError> {
    let numbered = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    numbered
        .map(|(index, line)| serde_json::from_str(line).map_err(|why| LinesError { line: index + 1, why }))
        .collect()
}

/// Finds the first record in which two runs differ.
#[must_use]
pub fn first_difference(
    first: &[RecordLine],
    second: &[RecordLine],
    strictness: Strictness,
) -> Option<Difference> {
    let is_equal = |one: &RecordLine, other: &RecordLine| match strictness {
        Strictness::Exact => one == other,
        Strictness::Timeless => one.lane == other.lane && one.what == other.what,
    };
    let same = first.iter().zip(second).take_while(|(one, other)| is_equal(one, other)).count();
    if same == first.len() && same == second.len() {
        return None;
    }
    Some(Difference {
        number: same + 1,
        before: first[same.saturating_sub(CONTEXT)..same].to_vec(),
        first: first.get(same).cloned(),
        second: second.get(same).cloned(),
    })
}

impl From<&Record> for RecordLine {
    fn from(record: &Record) -> Self {
        let lane = match record.event.lane() {
            Lane::Consumer => "consumer".to_owned(),
            Lane::Client => "client".to_owned(),
            Lane::Link => "link".to_owned(),
            Lane::Gateway(gateway) => format!("gateway {gateway}"),
        };
        Self { at_us: record.at.as_micros(), lane, what: record.event.to_string() }
    }
}

impl fmt::Display for RecordLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = Instant::from_micros(self.at_us);
        write!(f, "{:>9}  {:<9}  {}", at.to_string(), self.lane, self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at_us: u64, what: &str) -> RecordLine {
        RecordLine { at_us, lane: "client".to_owned(), what: what.to_owned() }
    }

    #[test]
    fn the_first_record_that_differs_is_found_with_what_led_to_it() {
        let first: Vec<RecordLine> = (0..10).map(|at| line(at, "is Ready")).collect();
        assert_eq!(first_difference(&first, &first, Strictness::Exact), None);
        let mut second = first.clone();
        second[7].what = "is Backoff".to_owned();
        let difference = first_difference(&first, &second, Strictness::Exact).expect("they differ");
        assert_eq!((difference.number, difference.before.as_slice()), (8, &first[2..7]));
        assert_eq!(difference.second, Some(line(7, "is Backoff")));
    }

    #[test]
    fn a_run_that_ends_early_differs_and_times_may_be_left_out() {
        let first = [line(1, "dials"), line(2, "is Ready")];
        let difference = first_difference(&first, &first[..1], Strictness::Timeless).expect("one is shorter");
        assert_eq!(
            (difference.number, difference.first, difference.second),
            (2, Some(line(2, "is Ready")), None)
        );
        let later = [line(5, "dials"), line(9, "is Ready")];
        assert_eq!(first_difference(&first, &later, Strictness::Timeless), None);
        assert_eq!(first_difference(&first, &later, Strictness::Exact).map(|found| found.number), Some(1));
    }

    #[test]
    fn lines_survive_their_text_form_and_nonsense_is_refused() {
        let first = [line(1, "dials"), line(2, "says \"no\"")];
        assert_eq!(parse(&to_text(&first)).expect("it was written so"), first);
        let error = parse("{\"at_us\":1,\"lane\":\"client\",\"what\":\"x\"}\nno").expect_err("no record");
        assert!(error.to_string().starts_with("line 2 is no record"), "{error}");
    }
}
