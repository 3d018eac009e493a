//! JSON of a gateway, written anew: on one line for programs, on many for people.
//!
//! It is never read into values, so what is passed on is what was sent, in its order and however deep, but for white
//! space, and for what no reader should get raw: half of a pair of surrogates, and characters that do something to a
//! terminal.

use std::fmt::Write as _;

use onesocket::core::Payload;
use onesocket::core::peer_text::needs_escape;

/// Deeper levels are not moved further to the right.
const INDENTED_LEVELS_MAX: usize = 64;

/// The value on one line.
pub(super) fn on_one_line(payload: &Payload) -> String {
    rewritten(&payload.strict_text(), None)
}

/// The value with a line for each of its parts.
pub(super) fn for_people(payload: &Payload) -> String {
    rewritten(&payload.strict_text(), Some(0))
}

/// A value of ours on one line.
pub(super) fn value(value: &serde_json::Value) -> String {
    rewritten(&value.to_string(), None)
}

/// An object of ours on one line.
pub(super) fn object(members: &[(&str, String)]) -> String {
    let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    rewritten(&format!("{{{}}}", members.join(",")), None)
}

/// The text as it is in JSON.
pub(super) fn text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// `level` is that of a text with lines.
fn rewritten(json: &str, mut level: Option<usize>) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json.char_indices().filter(|(_, c)| !is_space(*c)).peekable();
    while let Some((at, c)) = rest.next() {
        match c {
            '"' => {
                let end = at + string_length(&json[at..]);
                push_string(&mut out, &json[at..end]);
                while rest.next_if(|(next, _)| *next < end).is_some() {}
            }
            '{' | '[' => {
                out.push(c);
                level = level.map(|level| level + 1);
                if rest.peek().is_some_and(|(_, next)| !matches!(next, '}' | ']')) {
                    new_line(&mut out, level);
                }
            }
            '}' | ']' => {
                level = level.map(|level| level.saturating_sub(1));
                if !out.ends_with(['{', '[']) {
                    new_line(&mut out, level);
                }
                out.push(c);
            }
            ',' => {
                out.push(c);
                new_line(&mut out, level);
            }
            ':' => out.push_str(if level.is_some() { ": " } else { ":" }),
            _ => out.push(c),
        }
    }
    out
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// Bytes of the string that this text begins with, its quotes included.
fn string_length(json: &str) -> usize {
    let mut is_escaped = true;
    for (at, c) in json.char_indices() {
        match c {
            '"' if !is_escaped => return at + 1,
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    json.len()
}

fn push_string(out: &mut String, string: &str) {
    for c in string.chars() {
        if needs_escape(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
}

fn new_line(out: &mut String, level: Option<usize>) {
    if let Some(level) = level {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", level.min(INDENTED_LEVELS_MAX)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> (String, String) {
        let payload = Payload::from_text(json);
        (on_one_line(&payload), for_people(&payload))
    }

    #[test]
    fn white_space_goes_and_comes() {
        let json = "\n{ \"b\" : [ 1 , 2.50 ] ,\r\n \"a\\\" {\":{ } , \"c\":[ ],\"d\":\" x \" }\t";
        let (line, lines) = of(json);
        assert_eq!(line, r#"{"b":[1,2.50],"a\" {":{},"c":[],"d":" x "}"#);
        let expected =
            "{\n  \"b\": [\n    1,\n    2.50\n  ],\n  \"a\\\" {\": {},\n  \"c\": [],\n  \"d\": \" x \"\n}";
        assert_eq!(lines, expected);
    }

    #[test]
    fn what_json_has_is_passed_on() {
        for json in
            ["null", "-0", "12345678901234567890123", r#""\\\"""#, r#"{"a":1,"a":2}"#, r#""\/""#, "\"\""]
        {
            assert_eq!(of(json).0, json);
        }
    }

    #[test]
    fn strict_readers_can_read_it() {
        assert_eq!(of("[1e400,\"\\ud83d\"]").0, r#"[null,"\ufffd"]"#);
    }

    #[test]
    fn nothing_reaches_a_terminal_raw() {
        let (line, lines) = of("\"\\ud83d a\u{2028}b\u{202e}c\u{e0041}\\u001b\"");
        assert_eq!(line, r#""\ufffd a\u2028b\u202ec\udb40\udc41\u001b""#);
        assert_eq!(line, lines);
    }

    #[test]
    fn depth_costs_no_stack_and_little_room() {
        let json = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
        let (line, lines) = of(&json);
        assert_eq!(line, json);
        assert!(lines.len() < 40_000 * (2 * INDENTED_LEVELS_MAX + 2));
    }

    #[test]
    fn an_object_of_ours_holds_values_of_others() {
        let payload = Payload::from_text("{ \"t\" : \"\\ud83d\" }");
        let line = object(&[("event", text("a\u{202e}\"")), ("payload", on_one_line(&payload))]);
        assert_eq!(line, r#"{"event":"a\u202e\"","payload":{"t":"\ufffd"}}"#);
    }
}
