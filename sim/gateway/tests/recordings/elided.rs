//! What recordings leave out because it is long, made again: messages cut off at their recorded length, and bursts of
//! which only the number was written down.

use serde_json::Value;

use crate::recording::Line;

/// The end of a connect of the recording client behind the first letters of its instance's name. What it was padded with
/// is not known; here it is the name of the user agent.
const CONNECT_TAIL: &str = r#"nceId":"probe-1"},"role":"operator","scopes":["operator.admin"],"caps":[],"auth":{"token":"T2"},"userAgent":""#;

/// Completes the messages of a recording that were cut off, and adds the bursts that it only notes.
pub(super) fn complete(name: &str, lines: Vec<Line>) -> Vec<Line> {
    let mut complete = Vec::with_capacity(lines.len());
    for mut line in lines {
        if line.dir == "send"
            && let Some(text) = completed(&line.text)
        {
            line.text = text;
        }
        let burst = match name {
            "pipelined-2000" if line.text.starts_with("2000 last-heartbeat requests") => {
                burst(2000, "p", "last-heartbeat")
            }
            "slow-consumer" if line.text.starts_with("client stops reading") => {
                burst(200, "s", "config.schema")
            }
            _ => Vec::new(),
        };
        let ms = line.ms;
        complete.push(line);
        complete.extend(burst.into_iter().map(|text| Line { ms, ..Line::sent("c1", text) }));
    }
    complete
}

/// A message that ends in `…(n bytes)`, with that many bytes.
fn completed(text: &str) -> Option<String> {
    let (start, rest) = text.split_once('…')?;
    let bytes: usize = rest.strip_prefix('(')?.strip_suffix(" bytes)")?.parse().ok()?;
    let tail = if start.ends_with("\"insta") { CONNECT_TAIL } else { "" };
    let known = start.len() + tail.len() + "\"}}".len();
    let whole = format!("{start}{tail}{}\"}}}}", "x".repeat(bytes - known));
    assert_eq!(whole.len(), bytes);
    let _: Value = serde_json::from_str(&whole).expect("it is a whole frame");
    Some(whole)
}

fn burst(count: usize, prefix: &str, method: &str) -> Vec<String> {
    (1..=count).map(|n| format!(r#"{{"type":"req","id":"{prefix}{n}","method":"{method}"}}"#)).collect()
}
