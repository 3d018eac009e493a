//! Replays recordings of a real gateway (2026.9.1) against the model.
//!
//! What the recorded client sent is given to the model at the recorded times; what the model answers on each socket is
//! compared with what the gateway answered, in order, after taking out what cannot agree: ids, times, versions, feature
//! lists, host details and the inside of large payloads, of which only the shape is compared. `health` events float
//! (their moment depends on how fast the gateway collects), and `tick` depends on when the gateway booted.
//!
//! What a recording leaves out for its length is [made again](elided). Plain HTTP is compared where the model knows the path.
//!
//! Every recording is in [`REPLAYED`], or in [`SUMMARISED`] with a test of its own; a test asserts that.

mod elided;
mod recording;
mod replay;
mod shape;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::recording::{Line, directory, is_the_clients, opened, read};
use crate::replay::replay;
use crate::shape::{ELIDED, frame, masked_reason};

/// How much of a recording the model must reproduce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// Responses, events and closes, in order.
    All,
    /// Responses and closes: the recorded gateway had other clients, whose events it sent too.
    Responses,
}

/// The recordings that are replayed.
const REPLAYED: &[(&str, Extent)] = &[
    ("agent-two-phase", Extent::Responses),
    ("auth-rotation", Extent::All),
    ("bad-token", Extent::All),
    ("bad-token-with-device", Extent::All),
    ("binary-frame", Extent::All),
    ("device-proof-failures", Extent::All),
    ("duplicate-request-id", Extent::All),
    ("first-frame-not-connect", Extent::All),
    ("handshake-ok-device", Extent::All),
    ("handshake-ok-token", Extent::All),
    ("handshake-timeout", Extent::All),
    ("http-probe", Extent::All),
    ("malformed-json", Extent::All),
    ("missing-token", Extent::All),
    ("no-device-non-backend", Extent::All),
    ("no-pong", Extent::Responses),
    ("origin-check", Extent::All),
    ("oversize-post-hello", Extent::All),
    ("oversize-preconnect", Extent::All),
    ("pipelined-200", Extent::All),
    ("preauth-budget", Extent::All),
    ("presence-on-join", Extent::All),
    ("protocol-mismatch", Extent::All),
    ("rate-limit-loopback-default", Extent::All),
    ("rate-limit-origin", Extent::All),
    ("restart-rpc", Extent::All),
    ("restart-sigterm", Extent::All),
    ("restart-sigusr1", Extent::All),
    ("rpc-health-status-presence", Extent::All),
    ("seq-numbering", Extent::All),
    ("startup-unavailable", Extent::Responses),
    ("startup-unavailable-tight", Extent::Responses),
    ("tick-35s", Extent::Responses),
    ("two-connects", Extent::All),
    ("unknown-method-invalid-params", Extent::All),
];

/// The recordings that hold a summary instead of what was sent, each with a test here.
const SUMMARISED: &[&str] = &["pipelined-2000", "slow-consumer"];

/// Whether a line of the comparison depends on the moment and is left out.
fn is_compared(line: &str, extent: Extent) -> bool {
    let floats = line.starts_with("event health") || line.starts_with("event tick");
    !floats
        && (extent == Extent::All
            || !line.starts_with("event ")
            || line.starts_with("event connect.challenge"))
}

fn check(name: &str, extent: Extent) -> Result<(), String> {
    let lines = read(name);
    let (mut expected, mut actual) = (recorded(name, &lines), replay(name, &lines));
    let mut report = String::new();
    for answers in expected.values_mut().chain(actual.values_mut()) {
        answers.retain(|line| is_compared(line, extent));
    }
    if name == "startup-unavailable" {
        // The gateway had not asked for updates yet, half a second after its start; the model always has.
        for line in actual.values_mut().flatten() {
            *line = line.replace("updateSchedule,", "");
        }
    }
    for (conn, expected) in &mut expected {
        let mut actual = actual.get(conn).cloned().unwrap_or_default();
        drop_last_presence(expected);
        drop_last_presence(&mut actual);
        let alike = |(expected, actual): (&String, &String)| {
            expected == actual || (expected == ELIDED && actual.starts_with(ELIDED))
        };
        if expected.len() != actual.len() || !expected.iter().zip(&actual).all(alike) {
            report.push_str(&difference(name, conn, expected, &actual));
        }
    }
    if report.is_empty() { Ok(()) } else { Err(report) }
}

/// What the gateway did on each socket, in the same form.
fn recorded(name: &str, lines: &[Line]) -> BTreeMap<String, Vec<String>> {
    let mut answers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut welcomed = BTreeSet::new();
    let opened: BTreeSet<&String> = opened(lines).collect();
    for line in lines.iter().filter(|line| opened.contains(&line.conn)) {
        let answers = answers.entry(line.conn.clone()).or_default();
        match &*line.dir {
            "recv" => {
                if line.text.contains("\"hello-ok\"") {
                    welcomed.insert(&line.conn);
                }
                answers.push(frame(&line.text));
            }
            // After hello, the recorded clients leave with 1000; before it, only the gateway closes, but for those that
            // look no further than the challenge.
            "close"
                if !is_the_clients(name, line)
                    || (line.code == 1000 && name != "http-probe" && !welcomed.contains(&line.conn)) =>
            {
                answers.push(format!("close {} {}", line.code, masked_reason(&line.reason)));
            }
            _ => {}
        }
    }
    answers
}

/// Clients that leave together see each other leave or not: the last presence event is a race.
fn drop_last_presence(answers: &mut Vec<String>) {
    while answers.last().is_some_and(|line| line.starts_with("event presence")) {
        answers.pop();
    }
}

fn difference(name: &str, conn: &str, expected: &[String], actual: &[String]) -> String {
    let first = expected.iter().zip(actual).position(|(a, b)| a != b);
    let first = first.unwrap_or(expected.len().min(actual.len()));
    let at = |list: &[String]| list.get(first).cloned().unwrap_or_else(|| "nothing".to_owned());
    format!("{name} {conn} frame {first}\n  gateway: {}\n  model:   {}\n", at(expected), at(actual))
}

#[test]
fn the_model_answers_as_the_recorded_gateway_did() {
    let failures: Vec<String> =
        REPLAYED.iter().filter_map(|(name, extent)| check(name, *extent).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Of 2000 requests in one burst the 257th is the first that is refused, in these words; how many were answered depends
/// on how fast the gateway started them.
#[test]
fn a_burst_is_refused_from_the_recorded_request_on() {
    let lines = read("pipelined-2000");
    let summary = lines.iter().find(|line| line.text.starts_with("{\"received\"")).expect("it was summed up");
    let summary: Value = serde_json::from_str(&summary.text).expect("it is JSON");
    let answers = &replay("pipelined-2000", &lines)["c1"];
    let burst: Vec<&String> = answers.iter().filter(|answer| answer.starts_with("res \"p")).collect();
    assert_eq!(burst.len() as u64, summary["received"].as_u64().expect("a number"));
    let first = burst.iter().find(|answer| answer.contains(" error ")).expect("some are refused");
    assert_eq!(**first, frame(&summary["sample"].to_string()));
    assert_eq!(summary["firstFailed"], summary["sample"]["id"]);
    let answered = burst.iter().filter(|answer| answer.contains(" ok ")).count();
    assert!((256..2000).contains(&answered), "{answered}");
}

/// A client that stops reading is dropped without a close frame. The answers to its requests were not recorded; they are
/// larger than what the gateway keeps for a client.
#[test]
fn a_client_that_stops_reading_is_dropped_as_recorded() {
    let lines = read("slow-consumer");
    assert!(lines.iter().any(|line| line.dir == "close" && line.code == 1006));
    let answers = &replay("slow-consumer", &lines)["c1"];
    assert_eq!(answers.last().map(String::as_str), Some("close 1006 "));
    let answered = answers.iter().filter(|answer| answer.starts_with("res \"s")).count();
    assert!((50..200).contains(&answered), "{answered} answers of a mebibyte were written");
}

#[test]
fn every_recording_is_accounted_for() {
    let files = std::fs::read_dir(directory()).expect("the recordings are there");
    let names: BTreeSet<String> =
        files.filter_map(|file| file.ok()?.path().file_stem()?.to_str().map(str::to_owned)).collect();
    let listed = REPLAYED.iter().map(|(name, _)| *name).chain(SUMMARISED.iter().copied());
    let listed: BTreeSet<String> = listed.map(str::to_owned).collect();
    assert_eq!(names, listed);
    assert_eq!(REPLAYED.len() + SUMMARISED.len(), listed.len(), "a recording is listed twice");
}
