//! The lines of a recording, as they were written down and as far as they can be completed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::elided;

/// Where the recordings are.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts")
}

/// One line of a recording.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) ms: f64,
    pub(crate) conn: String,
    pub(crate) dir: String,
    pub(crate) text: String,
    pub(crate) code: u16,
    pub(crate) reason: String,
    pub(crate) binary: bool,
    /// Of a plain HTTP exchange.
    pub(crate) path: String,
    pub(crate) status: u16,
}

impl Line {
    /// A message that the client sends.
    pub(crate) fn sent(conn: &str, text: String) -> Line {
        let (reason, path) = (String::new(), String::new());
        let (conn, dir) = (conn.to_owned(), "send".to_owned());
        Line { ms: 0.0, conn, dir, text, code: 0, reason, binary: false, path, status: 0 }
    }
}

/// Reads the recording called `name`.
pub(crate) fn read(name: &str) -> Vec<Line> {
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

/// The sockets that the client of a recording opened, in order.
pub(crate) fn opened(lines: &[Line]) -> impl Iterator<Item = &String> {
    lines.iter().filter(|line| line.dir == "open").map(|line| &line.conn)
}

/// Whether a close was the client's: recorded clients leave with 1000, or vanish. Only two recordings show the gateway
/// dropping a socket.
pub(crate) fn is_the_clients(name: &str, line: &Line) -> bool {
    matches!(line.code, 1000 | 1005) || (line.code == 1006 && !matches!(name, "no-pong" | "restart-sigterm"))
}
