//! Text that is seen as it is: nothing in it steers a terminal, hides, or turns a line around.
//!
//! Plans, panics and peers hold text that somebody chose. What leaves for a terminal, a page or a file of JSON goes
//! through here.

use std::fmt::Write as _;

use onesocket::core::peer_text::needs_escape;

/// Text for people, line by line: whatever is no line end and no tab is escaped, as `\u{1b}`.
#[must_use]
pub fn lines(text: &str) -> String {
    escaped(text, |out, c| out.extend(c.escape_default()))
}

/// JSON, escaped as JSON is: such characters are in strings only.
#[must_use]
pub fn json(text: &str) -> String {
    escaped(text, |out, c| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string does not fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    })
}

fn escaped(text: &str, escape: impl Fn(&mut String, char)) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if needs_escape(c) && !matches!(c, '\n' | '\t') {
            escape(&mut out, c);
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_a_terminal() {
        assert_eq!(lines("a\n\tb ä … 12\u{202f}000"), "a\n\tb ä … 12\u{202f}000");
        assert_eq!(lines("\u{1b}[31m\r\u{202e}\u{feff}"), "\\u{1b}[31m\\r\\u{202e}\\u{feff}");
    }

    #[test]
    fn json_stays_the_same_json() {
        let value = serde_json::json!({"a\u{202e}": "\u{9b}\u{e0041}\u{1b}\n", "b": ["\u{7f}", 1]});
        let text = json(&serde_json::to_string_pretty(&value).expect("it is JSON"));
        assert!(!text.contains(|c| needs_escape(c) && c != '\n'), "{text:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).ok(), Some(value));
    }
}
