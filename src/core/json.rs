//! JSON as JavaScript writes and reads it, which is more than serde_json does.
//!
//! A string of JavaScript is a row of UTF-16 units. Half of a pair of surrogates, as it is left where a text was cut,
//! is written as an escape of its own and stands for no character. Values may be nested deeper than is safe for a
//! reader that recurses, a name may come twice, and a number may be larger than any. A reader of strict JSON refuses
//! all of it, and one such part would cost the whole message.
//!
//! Nothing here is paid for by a message that serde_json reads.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Levels of nesting that are read into types: what fits the stack of any thread, also without optimization. Text is
/// passed on however deep it is.
const DEPTH_MAX: usize = 512;

/// What stands for half of a pair of surrogates: as many bytes as its escape has.
const REPLACEMENT: &[u8] = b"\\ufffd";

/// Reads a value. Half a pair of surrogates becomes U+FFFD, of two members with one name the last one counts, a
/// number beyond all numbers is `null`, and values may be nested up to [`DEPTH_MAX`] levels deep.
pub(super) fn read<T: DeserializeOwned>(json: &str) -> Result<T, serde_json::Error> {
    let error = match serde_json::from_str(json) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let Repaired { text, depth } = repair(json);
    if depth > DEPTH_MAX {
        return Err(error);
    }
    read_deep(&text).or_else(|error| {
        if error.is_data() {
            // Of members with one name, a value keeps the last.
            serde_json::from_value(read_deep::<Value>(&text)?).map_err(|_| error)
        } else {
            Err(error)
        }
    })
}

/// The caller has looked at the depth.
fn read_deep<T: DeserializeOwned>(json: &str) -> Result<T, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(json);
    reader.disable_recursion_limit();
    let value = T::deserialize(&mut reader)?;
    reader.end().map(|()| value)
}

/// The text of a JSON string; `None` if it is none.
pub(super) fn string(json: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    // It is JSON: what is between quotes and has no backslash is the text itself.
    match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(text) if !text.contains('\\') => Some(Cow::Borrowed(text)),
        Some(_) => match serde_json::from_str::<Text<'_>>(json) {
            Ok(text) => Some(text.0),
            Err(_) => serde_json::from_str::<String>(&repair(json).text).ok().map(Cow::Owned),
        },
        None => None,
    }
}

/// A whole number from 0 on, however it is written (`3`, `3.0` and `3e0` are one number), that JavaScript can tell
/// from its neighbours.
pub(super) fn safe_integer(json: &str) -> Option<u64> {
    /// 2^53 - 1
    const MAX: u64 = 9_007_199_254_740_991;
    if let Ok(number) = serde_json::from_str::<u64>(json) {
        return (number <= MAX).then_some(number);
    }
    let number: f64 = serde_json::from_str(json).ok()?;
    let is_safe = number.fract() == 0.0 && (0.0..=MAX as f64).contains(&number);
    is_safe.then_some(number as u64)
}

/// JSON that serde_json reads, where it can be had, and how deep it is nested.
pub(super) struct Repaired {
    pub(super) text: String,
    pub(super) depth: usize,
}

/// Replaces what serde_json refuses and JavaScript does not. Text that is no JSON stays none.
pub(super) fn repair(json: &str) -> Repaired {
    let bytes = json.as_bytes();
    let mut text = Vec::with_capacity(bytes.len());
    let (mut level, mut depth, mut at) = (0_usize, 0, 0);
    while let Some(byte) = bytes.get(at) {
        let token = match byte {
            b'"' => string_length(&bytes[at..]),
            b'-' | b'0'..=b'9' => number_length(&bytes[at..]),
            _ => 1,
        };
        let token = &bytes[at..at + token];
        at += token.len();
        match byte {
            b'"' => push_string(&mut text, token),
            b'-' | b'0'..=b'9' if is_beyond_all(token) => text.extend_from_slice(b"null"),
            b'[' | b'{' => {
                level += 1;
                depth = depth.max(level);
                text.push(*byte);
            }
            b']' | b'}' => {
                level = level.saturating_sub(1);
                text.push(*byte);
            }
            _ => text.extend_from_slice(token),
        }
    }
    let text = String::from_utf8(text).expect("whole characters are copied, and ASCII is put in");
    Repaired { text, depth }
}

/// Bytes of the string that these begin with, its quotes included.
fn string_length(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn number_length(bytes: &[u8]) -> usize {
    let is_of_number = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'0'..=b'9' | b'e' | b'E');
    bytes.iter().take_while(|byte| is_of_number(byte)).count()
}

fn is_beyond_all(number: &[u8]) -> bool {
    let number = std::str::from_utf8(number).ok().and_then(|number| number.parse::<f64>().ok());
    number.is_some_and(f64::is_infinite)
}

fn push_string(text: &mut Vec<u8>, string: &[u8]) {
    let mut rest = string;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let (before, escape) = rest.split_at(at);
        text.extend_from_slice(before);
        let length = match (surrogate(escape), escape.get(6..).and_then(surrogate)) {
            (Some(Half::High), Some(Half::Low)) => 12,
            (Some(Half::High | Half::Low), _) => {
                text.extend_from_slice(REPLACEMENT);
                rest = &escape[REPLACEMENT.len()..];
                continue;
            }
            // A backslash and what it escapes.
            (None, _) => escape.len().min(2),
        };
        text.extend_from_slice(&escape[..length]);
        rest = &escape[length..];
    }
    text.extend_from_slice(rest);
}

enum Half {
    High,
    Low,
}

/// The half of a pair that these bytes begin with, as an escape.
fn surrogate(bytes: &[u8]) -> Option<Half> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    match (digits[0].to_ascii_lowercase(), digits[1].to_ascii_lowercase()) {
        _ if !digits.iter().all(u8::is_ascii_hexdigit) => None,
        (b'd', b'8' | b'9' | b'a' | b'b') => Some(Half::High),
        (b'd', b'c'..=b'f') => Some(Half::Low),
        (_, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> String {
        read(json).unwrap_or_else(|error| panic!("{json}: {error}"))
    }

    /// As JavaScript writes the halves, or as other writers may.
    #[test]
    fn half_a_pair_of_surrogates_is_read() {
        for half in [r"\ud83d", r"\uD83D", r"\udbff", r"\ude00", r"\uDFFF", r"\udC00"] {
            assert_eq!(text(&format!("\"{half}\"")), "\u{fffd}", "{half}");
            assert_eq!(text(&format!("\"a{half}b\"")), "a\u{fffd}b", "{half}");
            assert_eq!(text(&format!(r#""{half}\n{half}""#)), "\u{fffd}\n\u{fffd}", "{half}");
            assert_eq!(text(&format!(r#""{half}\\""#)), "\u{fffd}\\", "{half}");
        }
        assert_eq!(text(r#""\ud83d\ud83d\ude00\ude00""#), "\u{fffd}\u{1f600}\u{fffd}");
        assert_eq!(text(r#""\ude00\ud83d""#), "\u{fffd}\u{fffd}");
        assert_eq!(text(r#""\ud83d\u0041""#), "\u{fffd}A");
    }

    #[test]
    fn what_only_looks_like_half_a_pair_is_left_alone() {
        for json in [r#""\\ud83d""#, r#""\\\\ud83d""#, r#""\ud83d\ude00""#, r#""\ud7ff\ue000""#] {
            assert_eq!(repair(json).text, json);
        }
        assert_eq!(text(r#""\\\ud83d""#), "\\\u{fffd}");
    }

    /// It is as long as before, so that a place in it is the same place.
    #[test]
    fn names_are_repaired_as_values_are() {
        let json = r#"{"a\ud800":{"\udfff":"\udbff"}}"#;
        let Repaired { text, depth } = repair(json);
        assert_eq!(text, "{\"a\\ufffd\":{\"\\ufffd\":\"\\ufffd\"}}");
        assert_eq!((text.len(), depth), (json.len(), 2));
    }

    #[test]
    fn a_number_beyond_all_numbers_is_null() {
        for (json, expected) in [
            ("1e400", "null"),
            ("[-1E+999]", "[null]"),
            (r#"{"1e400":1e400}"#, r#"{"1e400":null}"#),
            ("1.7976931348623157e308", "1.7976931348623157e308"),
            ("-0", "-0"),
            ("1e-400", "1e-400"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
        ] {
            assert_eq!(repair(json).text, expected);
            assert!(read::<Value>(json).is_ok(), "{json}");
        }
    }

    #[test]
    fn of_two_members_with_one_name_the_last_counts() {
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        assert_eq!(read::<Named>(r#"{"name":1,"name":"a","name":"b"}"#).expect("an object").name, "b");
        assert_eq!(read::<Value>(r#"{"a":1,"a":2}"#).expect("an object")["a"], 2);
    }

    #[test]
    fn nesting_is_read_as_deep_as_it_is_safe() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        for levels in [127, 128, 200, DEPTH_MAX] {
            assert!(read::<Value>(&nested(levels)).is_ok(), "{levels}");
        }
        for levels in [DEPTH_MAX + 1, 100_000] {
            let error = read::<Value>(&nested(levels)).expect_err("too deep");
            assert!(error.to_string().contains("recursion limit"), "{error}");
        }
        let objects = format!("{}1{}", r#"{"a":"#.repeat(200), "}".repeat(200));
        assert!(read::<Value>(&objects).is_ok());
    }

    #[test]
    fn what_is_no_json_stays_none() {
        for json in
            ["", "{", "\"", "\"\\", "\"\\u", "\"\\ud8", "\"\\ud83d", "[1e400", "nul", "1 2", "\u{2028}", "é"]
        {
            assert!(read::<Value>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_whole_number_may_be_written_in_many_ways() {
        for (json, number) in [("3", 3), ("3.0", 3), ("3e0", 3), ("1e3", 1_000), ("-0", 0), ("0.0", 0)] {
            assert_eq!(safe_integer(json), Some(number), "{json}");
        }
        assert_eq!(safe_integer("9007199254740991"), Some(9_007_199_254_740_991));
        for json in ["9007199254740992", "1e16", "-1", "1.5", "1e400", "\"3\"", "null", "true", "[]"] {
            assert_eq!(safe_integer(json), None, "{json}");
        }
    }

    #[test]
    fn a_string_is_read_whatever_is_escaped() {
        for (json, expected) in [
            (r#""plain""#, "plain"),
            (r#""pl\u0061in""#, "plain"),
            (r#""a\/b""#, "a/b"),
            ("\"a\u{2028}b\"", "a\u{2028}b"),
            (r#""a\ud83d""#, "a\u{fffd}"),
            (r#""""#, ""),
        ] {
            assert_eq!(string(json).as_deref(), Some(expected));
        }
        for json in ["7", "null", "[\"a\"]", "{}"] {
            assert_eq!(string(json), None, "{json}");
        }
    }
}
