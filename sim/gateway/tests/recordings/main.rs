//! Replays recordings of a real gateway (2026.9.1) against the model.
//!
//! What the recorded client sent is given to the model at the recorded times; what the model answers on each socket is
//! compared with what the gateway answered, in order, after taking out what cannot agree: ids, times, versions, feature
//! lists, host details and the inside of large payloads, of which only the shape is compared. `health` events float
//! (their moment depends on how fast the gateway collects), and `tick` depends on when the gateway booted.
//!
//! What a recording leaves out for its length is [made anew](elided). Plain HTTP is compared where the model knows the path.
//!
//! Every recording is in [`REPLAYED`], or in [`SUMMARISED`] with a test of its own; a test asserts that.

mod elided;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use onesocket_gateway::config::{Auth, FixedMethod, GatewayConfig, RateLimit, Runs, Scripted};
use onesocket_gateway::{
    Admission, ConnectionId, Effect, GatewayModel, Input, Message, Order, Peer, Probe, RestartMode,
};
use serde_json::Value;

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

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts")
}

/// One line of a recording.
#[derive(Debug)]
struct Line {
    ms: f64,
    conn: String,
    dir: String,
    text: String,
    code: u16,
    reason: String,
    binary: bool,
    /// Of a plain HTTP exchange.
    path: String,
    status: u16,
}

impl Line {
    /// A message of a client.
    fn sent(conn: &str, text: String) -> Line {
        let (reason, path) = (String::new(), String::new());
        let (conn, dir) = (conn.to_owned(), "send".to_owned());
        Line { ms: 0.0, conn, dir, text, code: 0, reason, binary: false, path, status: 0 }
    }
}

fn read(name: &str) -> Vec<Line> {
    let path = directory().join(format!("{name}.jsonl"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let line = |line: &str| {
        let value: Value = serde_json::from_str(line).expect("a recording holds one JSON object a line");
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        Line {
            ms: value["ms"].as_f64().unwrap_or_default(),
            conn: text("conn"),
            dir: text("dir"),
            text: text("text"),
            code: value["code"].as_u64().unwrap_or_default() as u16,
            reason: text("reason"),
            binary: value["bin"].as_bool().unwrap_or_default(),
            path: text("path"),
            status: value["status"].as_u64().unwrap_or_default() as u16,
        }
    };
    // The first line describes the recording.
    let mut lines = elided::complete(name, text.lines().skip(1).map(line).collect());
    if name == "startup-unavailable-tight" {
        // Written socket by socket; they were open at the same time.
        lines.sort_by(|a, b| a.ms.total_cmp(&b.ms));
    }
    number_sockets(&mut lines);
    lines
}

/// Gives the sockets of a client that dialled several times names of their own.
fn number_sockets(lines: &mut [Line]) {
    let mut dials: BTreeMap<String, u32> = BTreeMap::new();
    for line in lines {
        let dial = dials.entry(line.conn.clone()).or_default();
        *dial += u32::from(line.dir == "open");
        if *dial > 1 {
            line.conn = format!("{}#{dial}", line.conn);
        }
    }
}

/// The gateway a recording was made with, as far as the recording tells.
fn config(name: &str, lines: &[Line]) -> GatewayConfig {
    let challenges = challenges(lines);
    let token = match name {
        "auth-rotation" => "OLD-token-abcdef",
        "rate-limit-origin"
        | "restart-rpc"
        | "restart-sigterm"
        | "restart-sigusr1"
        | "startup-unavailable"
        | "startup-unavailable-tight" => "T3",
        _ => "T2",
    };
    let (at_ms, ts) = lines
        .iter()
        .filter(|line| line.dir == "recv")
        .find_map(|line| {
            let frame: Value = serde_json::from_str(&line.text).ok()?;
            Some((line.ms, frame["payload"]["ts"].as_u64()?))
        })
        .unwrap_or_default();
    let mut config = GatewayConfig {
        auth: Auth::Token(token.to_owned()),
        epoch_ms: ts - at_ms as u64 - UPTIME.as_millis() as u64,
        scripted: Scripted {
            nonces: opened(lines).filter_map(|conn| challenges.get(conn).cloned()).collect(),
            device_tokens: device_tokens(lines),
        },
        ..GatewayConfig::default()
    };
    config.runs = Runs { error: Some("recorded failure".to_owned()), ..config.runs };
    config.timing.restart_down = Duration::from_millis(600);
    if name == "rate-limit-origin" {
        config.rate_limit = RateLimit {
            max_attempts: 4,
            lockout: Duration::from_millis(8000),
            exempt_loopback: false,
            ..RateLimit::default()
        };
    }
    let fixed =
        |scope: &str, payload: &str| FixedMethod { scope: Some(scope.into()), payload: payload.into() };
    config.fixed_methods.insert("logs.tail".into(), fixed("operator.read", "{}"));
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    config.fixed_methods.insert("config.schema".into(), fixed("operator.read", &large));
    config
}

fn opened(lines: &[Line]) -> impl Iterator<Item = &String> {
    lines.iter().filter(|line| line.dir == "open").map(|line| &line.conn)
}

/// The nonce each socket was challenged with.
fn challenges(lines: &[Line]) -> BTreeMap<String, String> {
    let mut nonces = BTreeMap::new();
    for line in lines.iter().filter(|line| line.dir == "recv") {
        let frame: Value = serde_json::from_str(&line.text).unwrap_or_default();
        if let Some(nonce) = frame["payload"]["nonce"].as_str() {
            nonces.insert(line.conn.clone(), nonce.to_owned());
        }
    }
    nonces
}

/// The device tokens issued, each once, in order.
fn device_tokens(lines: &[Line]) -> std::collections::VecDeque<String> {
    let mut tokens = std::collections::VecDeque::new();
    for line in lines.iter().filter(|line| line.dir == "recv") {
        let frame: Value = serde_json::from_str(&line.text).unwrap_or_default();
        if let Some(token) = frame["payload"]["auth"]["deviceToken"].as_str()
            && !tokens.iter().any(|known| known == token)
        {
            tokens.push_back(token.to_owned());
        }
    }
    tokens
}

/// Who dials; only one recording has browsers in it.
fn peer(name: &str, conn: &str) -> Peer {
    let origin = match (name, conn) {
        ("origin-check", "c1") => Some("https://evil.example".into()),
        ("origin-check", "c2") => Some("http://127.0.0.1:18890".into()),
        _ => None,
    };
    Peer { loopback: true, origin }
}

/// How long the recorded gateway had been up at least.
const UPTIME: Duration = Duration::from_secs(7);

/// A model fed with a recording.
struct Replay {
    model: GatewayModel,
    now: Duration,
    connections: BTreeMap<String, ConnectionId>,
    names: BTreeMap<ConnectionId, String>,
    answers: BTreeMap<String, Vec<String>>,
    closed: BTreeSet<ConnectionId>,
    /// Bytes sent to a client that does not read, if there is one.
    unread: Option<u64>,
}

impl Replay {
    fn step(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.model.step(self.now, input, &mut effects);
        let (mut gone, mut buffered) = (Vec::new(), Vec::new());
        for effect in effects {
            match effect {
                Effect::Send { connection, text } => {
                    self.answer(connection, frame(&text));
                    if let Some(unread) = &mut self.unread {
                        *unread += text.len() as u64;
                        buffered.push(Input::Buffered { connection, bytes: *unread });
                    }
                }
                Effect::Close { connection, code, reason } => {
                    self.answer(connection, format!("close {code} {}", masked_reason(&reason)));
                    gone.push(connection);
                }
                Effect::Terminate { connection } => {
                    self.answer(connection, "close 1006 ".to_owned());
                    self.closed.insert(connection);
                }
                Effect::Ping { .. } | Effect::SendBinary { .. } | Effect::ModelEvent(_) => {}
            }
        }
        for input in buffered {
            self.step(input);
        }
        for connection in gone {
            // Recorded clients answer a close at once.
            self.closed.insert(connection);
            self.step(Input::Disconnected { connection });
        }
    }

    fn answer(&mut self, connection: ConnectionId, text: String) {
        let name = self.names[&connection].clone();
        self.answers.entry(name).or_default().push(text);
    }

    fn advance(&mut self, to: Duration, pong: bool) {
        while let Some(due) = self.model.next_deadline().filter(|due| *due <= to) {
            self.now = due.max(self.now);
            self.step(Input::Timeout);
            if pong {
                for connection in self.names.keys().copied().collect::<Vec<_>>() {
                    self.step(Input::Pong { connection });
                }
            }
        }
        self.now = to.max(self.now);
    }
}

/// Feeds a recording to a model and returns what the model did on each socket.
fn replay(name: &str, lines: &[Line]) -> BTreeMap<String, Vec<String>> {
    let mut replay = Replay {
        model: GatewayModel::new(config(name, lines), 1),
        now: Duration::ZERO,
        connections: BTreeMap::new(),
        names: BTreeMap::new(),
        answers: BTreeMap::new(),
        closed: BTreeSet::new(),
        unread: None,
    };
    for line in lines {
        replay.advance(UPTIME + Duration::from_micros((line.ms * 1000.0) as u64), name != "no-pong");
        match &*line.dir {
            "open" => {
                let connection = ConnectionId(replay.names.len() as u32);
                assert_eq!(replay.model.admission(), Admission::Open, "{name}: {} at {}", line.conn, line.ms);
                replay.connections.insert(line.conn.clone(), connection);
                replay.names.insert(connection, line.conn.clone());
                replay.step(Input::Accepted { connection, peer: peer(name, &line.conn) });
            }
            "send" => {
                let message = match line.binary {
                    true => Message::Binary(binary(&line.text).into()),
                    false => Message::Text((&*line.text).into()),
                };
                replay.step(Input::Received { connection: replay.connections[&line.conn], message });
            }
            "close" => {
                // A close the model did not begin is the client's.
                if let Some(connection) = replay.connections.get(&line.conn).copied()
                    && is_the_clients(name, line)
                    && !replay.closed.contains(&connection)
                {
                    replay.step(Input::Disconnected { connection });
                    replay.closed.insert(connection);
                }
            }
            "http" if line.status == 200 => http(&replay, line),
            "http" => {
                assert_eq!(replay.model.admission(), Admission::Unavailable(leak(&line.text)), "{name}");
            }
            "error" if line.text.contains("ECONNREFUSED") => {
                assert_eq!(replay.model.admission(), Admission::Refused, "{name} at {}", line.ms);
            }
            "note" => order(&mut replay, &line.text),
            "recv" | "error" | "ping-recv" => {}
            other => panic!("{name}: unknown direction {other}"),
        }
    }
    replay.answers
}

/// The bytes of a binary message, which are recorded in hex unless they are JSON.
fn binary(text: &str) -> Vec<u8> {
    if text.starts_with('{') {
        return text.as_bytes().to_vec();
    }
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("other bytes are recorded in hex");
    (0..text.len()).step_by(2).map(byte).collect()
}

fn leak(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

/// What the operator did while the recording ran.
fn order(replay: &mut Replay, note: &str) {
    if note.starts_with("client stops reading") {
        replay.unread = Some(0);
    } else if note.starts_with("SIGUSR1") {
        let down = Duration::from_millis(650);
        replay.step(Input::Order(Order::Restart { mode: RestartMode::Graceful, down }));
    } else if note.starts_with("SIGTERM") {
        replay.step(Input::Order(Order::Stop));
    } else if note.starts_with("config file rewritten") {
        replay.step(Input::Order(Order::ChangeToken { token: "NEW-token-abcdef".to_owned() }));
    }
}

/// Whether a close was the client's: recorded clients leave with 1000, or vanish. Only two recordings show the gateway
/// dropping a socket.
fn is_the_clients(name: &str, line: &Line) -> bool {
    matches!(line.code, 1000 | 1005) || (line.code == 1006 && !matches!(name, "no-pong" | "restart-sigterm"))
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

/// A hello of which only the beginning was recorded.
const ELIDED: &str = "res \"l\" ok ";

/// A plain HTTP exchange. The pages of the Control UI, which every other path leads to, are not modelled.
fn http(replay: &Replay, line: &Line) {
    let Some(probe) = Probe::at(&line.path) else {
        return assert!(line.text.starts_with("<!doctype html>"), "{}", line.path);
    };
    let answer = replay.model.probe(replay.now, probe, true);
    assert!(answer.ok, "{}", line.path);
    let words = |text: &str| {
        let body: Value = serde_json::from_str(text).expect("a probe is answered with JSON");
        let said = ["ok", "status", "ready", "failing"].map(|name| body[name].to_string());
        (shape(&body), said)
    };
    assert_eq!(words(&answer.body), words(&line.text), "{}", line.path);
}

/// A frame without what cannot agree.
fn frame(text: &str) -> String {
    if let Some(known) = text.strip_suffix('…') {
        assert!(
            known.contains(r#""ok":true,"payload":{"type":"hello-ok""#),
            "only hellos were cut off: {known}"
        );
        return ELIDED.to_owned();
    }
    let value: Value = serde_json::from_str(text).expect("the gateway sends JSON");
    if value["type"] == "event" {
        let name = value["event"].as_str().unwrap_or_default();
        let payload = match name {
            "shutdown" => value["payload"].to_string(),
            "presence" => presence(&value["payload"]["presence"]),
            "device.pair.resolved" => value["payload"]["decision"].to_string(),
            _ => String::new(),
        };
        let versioned = if value.get("stateVersion").is_some() { " versioned" } else { "" };
        return format!("event {name}{versioned} {payload}");
    }
    let id = &value["id"];
    if value["ok"] == true {
        return format!("res {id} ok {}", shape(&value["payload"]));
    }
    let mut error = value["error"].clone();
    if error["code"] == "UNAVAILABLE" {
        error["message"] = "".into();
    }
    mask(&mut error);
    format!("res {id} error {error}{}", if value.get("payload").is_some() { " with payload" } else { "" })
}

/// Presence rows by mode and reason; what was there before the recording began is not known to the model.
fn presence(list: &Value) -> String {
    let rows = list.as_array().into_iter().flatten();
    let rows: Vec<String> = rows
        .map(|row| format!("{}/{}", row["mode"], row["reason"]))
        .filter(|row| row.contains("self"))
        .collect();
    rows.join(",")
}

/// The keys of a payload, with types for values. Free-form parts are not entered.
fn shape(value: &Value) -> String {
    const OPAQUE: &[&str] = &[
        "methods",
        "events",
        "capabilities",
        "presence",
        "health",
        "eventLoop",
        "plugins",
        "agents",
        "sessions",
        "updateSchedule",
        "parsed",
        "config",
        "resolved",
        "runtimeConfig",
        "sourceConfig",
        "details",
        "summary",
    ];
    match value {
        Value::Object(object) => {
            let entry = |(key, value): (&String, &Value)| match OPAQUE.contains(&&**key) {
                true => key.clone(),
                false => format!("{key}:{}", shape(value)),
            };
            let entries: Vec<String> = object.iter().map(entry).collect();
            format!("{{{}}}", entries.join(","))
        }
        Value::Array(_) => "[]".to_owned(),
        Value::String(_) => "text".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Null => "null".to_owned(),
    }
}

/// Takes random and timed values out of an error.
fn mask(error: &mut Value) {
    if let Some(ms) = error.get_mut("retryAfterMs") {
        *ms = "number".into();
    }
    if let Some(id) = error.get_mut("details").and_then(|details| details.get_mut("requestId")) {
        *id = "id".into();
    }
}

fn masked_reason(reason: &str) -> String {
    match reason.find("(requestId: ") {
        Some(at) => reason[..at].to_owned(),
        None => reason.to_owned(),
    }
}

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
