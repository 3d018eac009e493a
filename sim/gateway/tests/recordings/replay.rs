//! A model that is fed with what the client of a recording sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use onesocket_gateway::config::{Auth, FixedMethod, GatewayConfig, RateLimit, Release, Runs, Scripted};
use onesocket_gateway::{
    Admission, ConnectionId, Effect, GatewayModel, Input, Message, Order, Peer, Probe, RestartMode,
};
use serde_json::Value;

use crate::recording::{Line, is_the_clients, opened};
use crate::shape::{frame, masked_reason, shape};

/// Feeds a recording to a model and returns what the model did on each socket.
pub(crate) fn replay(name: &str, lines: &[Line]) -> BTreeMap<String, Vec<String>> {
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

/// A plain HTTP exchange. The pages of the Control UI, which every other path leads to, are not modelled.
fn http(replay: &Replay, line: &Line) {
    let Some(probe) = Probe::at(&line.path) else {
        return assert!(line.text.starts_with("<!doctype html>"), "{}", line.path);
    };
    let answer = replay.model.probe(replay.now, probe, true);
    assert!(answer.ok, "{}", line.path);
    let words = |text: &str| {
        let body: Value = serde_json::from_str(text).expect("a probe is answered with JSON");
        let parts = ["ok", "status", "ready", "failing"].map(|name| body[name].to_string());
        (shape(&body), parts)
    };
    assert_eq!(words(&answer.body), words(&line.text), "{}", line.path);
}

/// The gateway a recording was made with, as far as the recording shows.
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
        release: Release::R2026_9_1,
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
fn device_tokens(lines: &[Line]) -> VecDeque<String> {
    let mut tokens = VecDeque::new();
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
