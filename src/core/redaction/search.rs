//! Finds secrets in text and takes them out.

use std::fmt::Write as _;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use secrecy::zeroize::Zeroizing;

use crate::core::payload::Payload;
use crate::core::peer_text::PeerText;

/// What stands in the place of a credential.
const REDACTED: &str = "[redacted]";
/// A credential with fewer bytes is looked for as a word only.
const SUBSTRING_BYTES_MIN: usize = 6;
/// Letters of a base64 text around a credential that may hold some of its bits.
const BASE64_EDGE_CHARS: usize = 4;
/// No escape is longer, unless it was escaped many times.
const ESCAPE_BYTES_MAX: usize = 12;

/// Finds secrets in text.
#[derive(Default)]
pub(in crate::core) struct Redactor {
    needles: Vec<Needle>,
}

/// One form of a secret.
struct Needle {
    bytes: Zeroizing<Vec<u8>>,
    form: Form,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A short secret as it is.
    Word,
    /// A secret as it is.
    Plain,
    /// The part of a base64 text that only the secret decides.
    Base64,
}

/// How a text is searched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Search {
    /// Text for people.
    Prose,
    /// A code like those of the protocol, which apps branch on: `password` is no reason to break
    /// `AUTH_PASSWORD_MISMATCH`.
    Code,
}

impl Redactor {
    pub(super) fn add(&mut self, secret: &str) {
        if secret.len() < SUBSTRING_BYTES_MIN {
            if !secret.is_empty() {
                self.push(secret.as_bytes(), Form::Word);
            }
            return;
        }
        self.push(secret.as_bytes(), Form::Plain);
        for text in encodings(secret) {
            self.push(text.as_bytes(), Form::Plain);
        }
        for offset in 0..3 {
            for text in base64_cores(secret, offset) {
                self.push(text.as_bytes(), Form::Base64);
            }
        }
    }

    fn push(&mut self, bytes: &[u8], form: Form) {
        let bytes = Zeroizing::new(bytes.to_vec());
        if !self.needles.iter().any(|known| known.bytes == bytes) {
            self.needles.push(Needle { bytes, form });
        }
    }

    pub(super) fn text(&self, text: &mut PeerText) {
        self.edit(text, Search::Prose);
    }

    pub(super) fn code(&self, code: &mut PeerText) {
        let is_usual =
            code.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
        self.edit(code, if is_usual { Search::Code } else { Search::Prose });
    }

    fn edit(&self, text: &mut PeerText, search: Search) {
        if let Some(redacted) = self.redacted(text, search) {
            *text = redacted.into();
        }
    }

    /// `None` where nothing was found.
    fn redacted(&self, text: &str, search: Search) -> Option<String> {
        let found = merged(self.find(text, search));
        let mut rest = 0;
        let mut redacted = String::new();
        for range in found {
            redacted.push_str(&text[rest..range.start]);
            redacted.push_str(REDACTED);
            rest = range.end;
        }
        (rest > 0).then(|| redacted + &text[rest..])
    }

    fn find(&self, text: &str, search: Search) -> Vec<Range<usize>> {
        let bytes = text.as_bytes();
        let mut begins = [false; 256];
        for first in self.needles.iter().filter_map(|needle| needle.bytes.first()) {
            begins[usize::from(first.to_ascii_lowercase())] = true;
            begins[usize::from(first.to_ascii_uppercase())] = true;
        }
        // Backslashes in a row are read as one from the first of them: from each of them, a text of nothing else would
        // be read very often.
        let is_within = |at: usize| bytes[at] == b'\\' && at > 0 && bytes[at - 1] == b'\\';
        let is_begin = |at: usize| {
            let of_escape =
                || Character::read(&bytes[at..]).is_some_and(|read| begins[usize::from(read.utf8[0])]);
            begins[usize::from(bytes[at])] || (is_escape(bytes[at]) && of_escape())
        };
        let starts = (0..bytes.len()).filter(|at| !is_within(*at) && is_begin(*at));
        starts
            .flat_map(|at| self.needles.iter().filter_map(move |needle| needle.at(bytes, at, search)))
            .collect()
    }

    /// The JSON text of a payload. What is in it keeps its place, and JSON stays JSON.
    pub(super) fn payload(&self, payload: &mut Payload) {
        if let Some(redacted) = self.redacted_json(payload.get()) {
            *payload = Payload::from_text(redacted);
        }
    }

    fn redacted_json(&self, json: &str) -> Option<String> {
        let mut redacted = String::new();
        let mut found = false;
        for token in JsonTokens(json) {
            match self.redacted_token(token) {
                Some(text) => {
                    redacted.push_str(&text);
                    found = true;
                }
                None => redacted.push_str(token),
            }
        }
        found.then_some(redacted)
    }

    fn redacted_token(&self, token: &str) -> Option<String> {
        if let Some(text) = token.strip_prefix('"') {
            return self.redacted(text, Search::Prose).map(|text| format!("\"{text}"));
        }
        let is_number = token.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        let redacted = if is_number { self.redacted(token, Search::Prose) } else { None };
        redacted.map(|text| format!("\"{text}\""))
    }
}

impl Needle {
    /// Where the needle lies in `text`, if it begins at `at`.
    fn at(&self, text: &[u8], at: usize, search: Search) -> Option<Range<usize>> {
        match (search, self.form) {
            (Search::Prose, Form::Word) => self.as_word(text, at),
            (Search::Prose, Form::Plain) => {
                let end = self.literal(&text[at..], <[u8]>::eq_ignore_ascii_case);
                let end = end.or_else(|| self.escaped(&text[at..]));
                end.map(|end| at..at + end)
            }
            (Search::Prose, Form::Base64) => {
                let end = at + self.literal(&text[at..], <[u8]>::eq_ignore_ascii_case)?;
                let is_edge = |byte: &&u8| is_base64(**byte);
                let before = text[..at].iter().rev().take(BASE64_EDGE_CHARS).take_while(is_edge);
                let after = text[end..].iter().take(BASE64_EDGE_CHARS).take_while(is_edge);
                Some(at - before.count()..end + after.count())
            }
            (Search::Code, Form::Plain) => self.literal(&text[at..], <[u8]>::eq).map(|end| at..at + end),
            (Search::Code, Form::Word | Form::Base64) => None,
        }
    }

    /// Neither behind a letter or digit nor before one.
    fn as_word(&self, text: &[u8], at: usize) -> Option<Range<usize>> {
        let end = at + self.bytes.len();
        let is_part =
            |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii());
        let is_alone = !is_part(at.checked_sub(1).map(|before| &text[before])) && !is_part(text.get(end));
        (text[at..].starts_with(&self.bytes) && is_alone).then_some(at..end)
    }

    /// How many bytes of `text` are the needle. Where the text ends, its beginning is enough.
    fn literal(&self, text: &[u8], is_same: impl Fn(&[u8], &[u8]) -> bool) -> Option<usize> {
        let shared = text.len().min(self.bytes.len());
        let is_enough = shared == self.bytes.len() || shared >= SUBSTRING_BYTES_MIN;
        (is_enough && is_same(&text[..shared], &self.bytes[..shared])).then_some(shared)
    }

    /// The same for a text that JSON, urls or HTML have been at.
    fn escaped(&self, text: &[u8]) -> Option<usize> {
        let (mut needle, mut end) = (&self.bytes[..], 0);
        while !needle.is_empty() {
            let rest = &text[end..];
            let character = Character::read(rest);
            let same = character.as_ref().and_then(|character| character.stripped_from(needle));
            match (same, character) {
                (Some(left), Some(character)) => {
                    needle = left;
                    end += character.escaped_bytes;
                }
                (None, _) | (_, None) => {
                    // The text may end in the middle of an escape.
                    let is_end = rest.is_empty() || (rest.len() < ESCAPE_BYTES_MAX && is_escape(rest[0]));
                    let is_enough = self.bytes.len() - needle.len() >= SUBSTRING_BYTES_MIN;
                    return (is_end && is_enough).then_some(text.len());
                }
            }
        }
        Some(end)
    }
}

/// A character, or a byte of one, however often it was escaped.
struct Character {
    utf8: [u8; 4],
    bytes: usize,
    /// The bytes of what stands for it.
    escaped_bytes: usize,
}

impl Character {
    /// The first of a text; `None` if that is empty.
    fn read(text: &[u8]) -> Option<Self> {
        let first = *text.first()?;
        let escaped = match first {
            b'\\' => Self::in_json(text),
            b'%' => Self::in_url(text),
            b'&' => Self::in_html(text),
            _ => None,
        };
        escaped.or(Some(Self { utf8: [first, 0, 0, 0], bytes: 1, escaped_bytes: 1 }))
    }

    fn new(character: char, escaped_bytes: usize) -> Self {
        let mut utf8 = [0; 4];
        let bytes = character.encode_utf8(&mut utf8).len();
        Self { utf8, bytes, escaped_bytes }
    }

    /// Text that was written as JSON twice has three backslashes before its quotes.
    fn in_json(text: &[u8]) -> Option<Self> {
        let slashes = text.iter().take_while(|byte| **byte == b'\\').count();
        let rest = &text[slashes..];
        let character = match rest.first() {
            Some(quote @ (b'"' | b'/' | b'\'')) => char::from(*quote),
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                return Self::in_utf16(&rest[1..]).map(|(c, bytes)| Self::new(c, slashes + 1 + bytes));
            }
            Some(_) | None => return Some(Self::new('\\', slashes)),
        };
        Some(Self::new(character, slashes + 1))
    }

    /// The digits behind `\u`, and the other half of a pair if they are one.
    fn in_utf16(text: &[u8]) -> Option<(char, usize)> {
        let first = u16::try_from(hexadecimal(text.get(..4)?)?).ok()?;
        if let Some(character) = char::from_u32(u32::from(first)) {
            return Some((character, 4));
        }
        let slashes = text[4..].iter().take_while(|byte| **byte == b'\\').count();
        let other = text[4 + slashes..].strip_prefix(b"u")?;
        let second = u16::try_from(hexadecimal(other.get(..4)?)?).ok()?;
        let pair = char::decode_utf16([first, second]).next()?.ok()?;
        Some((pair, 4 + slashes + 5))
    }

    /// `%2F`, or `%252F` where it was encoded twice.
    fn in_url(text: &[u8]) -> Option<Self> {
        let mut digits = 1;
        while text[digits..].starts_with(b"25")
            && text.get(digits + 2..digits + 4).and_then(hexadecimal).is_some()
        {
            digits += 2;
        }
        let byte = u8::try_from(hexadecimal(text.get(digits..digits + 2)?)?).ok()?;
        Some(Self { utf8: [byte, 0, 0, 0], bytes: 1, escaped_bytes: digits + 2 })
    }

    /// `&lt;`, or `&amp;lt;` where it was escaped twice.
    fn in_html(text: &[u8]) -> Option<Self> {
        let end = text.iter().take(ESCAPE_BYTES_MAX).position(|byte| *byte == b';')?;
        let character = match &text[1..end] {
            b"amp" => {
                let nested = [b"&", &text[end + 1..text.len().min(end + ESCAPE_BYTES_MAX)]].concat();
                return Some(match Self::in_html(&nested) {
                    Some(inner) => Self { escaped_bytes: end + inner.escaped_bytes, ..inner },
                    None => Self::new('&', end + 1),
                });
            }
            b"lt" => '<',
            b"gt" => '>',
            b"quot" => '"',
            b"apos" => '\'',
            [b'#', b'x' | b'X', digits @ ..] => char::from_u32(hexadecimal(digits)?)?,
            [b'#', digits @ ..] => char::from_u32(std::str::from_utf8(digits).ok()?.parse().ok()?)?,
            _ => return None,
        };
        Some(Self::new(character, end + 1))
    }

    /// What follows this character in `needle`. Backslashes in a row count as one, as they are read.
    fn stripped_from<'n>(&self, needle: &'n [u8]) -> Option<&'n [u8]> {
        let (first, rest) = needle.split_at_checked(self.bytes)?;
        if !first.eq_ignore_ascii_case(&self.utf8[..self.bytes]) {
            return None;
        }
        let slashes = if first == b"\\" { rest.iter().take_while(|byte| **byte == b'\\').count() } else { 0 };
        Some(&rest[slashes..])
    }
}

fn is_escape(byte: u8) -> bool {
    matches!(byte, b'\\' | b'%' | b'&')
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok().filter(|_| is_number)
}

/// The other forms of a secret: as forms write its spaces, in hexadecimal digits, and without the escapes that it has
/// by itself, such as a part of a url.
fn encodings(secret: &str) -> Vec<Zeroizing<String>> {
    let mut hex = Zeroizing::new(String::new());
    for byte in secret.bytes() {
        let _ = write!(hex, "{byte:02x}");
    }
    let (mut plain, mut rest) = (Zeroizing::new(Vec::new()), secret.as_bytes());
    while let Some(character) = Character::read(rest) {
        plain.extend_from_slice(&character.utf8[..character.bytes]);
        rest = &rest[character.escaped_bytes..];
    }
    let plain = std::str::from_utf8(&plain).ok().filter(|plain| plain.len() >= SUBSTRING_BYTES_MIN);
    let form = Zeroizing::new(secret.replace(' ', "+"));
    plain.map(|plain| Zeroizing::new(plain.to_owned())).into_iter().chain([form, hex]).collect()
}

/// What base64 makes of a secret that stands `offset` bytes, by threes, behind the beginning of what was encoded:
/// the letters that hold bits of the secret only.
fn base64_cores(secret: &str, offset: usize) -> [Zeroizing<String>; 2] {
    let padded = Zeroizing::new([&[0; 2][..offset], secret.as_bytes()].concat());
    let core = (offset * 8).div_ceil(6)..padded.len() * 8 / 6;
    [STANDARD_NO_PAD.encode(&*padded), URL_SAFE_NO_PAD.encode(&*padded)]
        .map(|text| Zeroizing::new(text[core.clone()].to_owned()))
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=')
}

fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            Some(_) | None => merged.push(range),
        }
    }
    merged
}

/// Cuts JSON into strings, numbers, and what is between them.
struct JsonTokens<'a>(&'a str);

impl<'a> Iterator for JsonTokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let first = self.0.chars().next()?;
        let in_number = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.');
        let length = if first == '"' {
            string_bytes(self.0)
        } else if in_number(first) {
            self.0.find(|c| !in_number(c)).unwrap_or(self.0.len())
        } else {
            self.0.find(|c| c == '"' || in_number(c)).unwrap_or(self.0.len())
        };
        let (token, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(token)
    }
}

/// The length of the string at the beginning of `json`, with its quotes.
fn string_bytes(json: &str) -> usize {
    let mut is_escaped = false;
    let end = json.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    });
    end.map_or(json.len(), |end| end + 2)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn redactor(secrets: &[&str]) -> Redactor {
        let mut redactor = Redactor::default();
        secrets.iter().for_each(|secret| redactor.add(secret));
        redactor
    }

    fn shown(secrets: &[&str], text: &str) -> String {
        let mut text = PeerText::from(text);
        redactor(secrets).text(&mut text);
        text.as_str().to_owned()
    }

    #[test]
    fn right_credential_a_secret_is_found_wherever_it_stands() {
        let secret = "s3cret-Token";
        for (text, left) in [
            ("s3cret-Token", "[redacted]"),
            ("wrong token s3cret-Token.", "wrong token [redacted]."),
            ("xs3cret-Tokenx S3CRET-TOKEN", "x[redacted]x [redacted]"),
            ("s3cret-Tokens3cret-Token", "[redacted][redacted]"),
            // Where the text was cut.
            ("Bearer s3cret-T", "Bearer [redacted]"),
            ("Bearer s3cre", "Bearer s3cre"),
            ("s3cret-Toke and more", "s3cret-Toke and more"),
            ("nothing of it", "nothing of it"),
            ("", ""),
        ] {
            assert_eq!(shown(&[secret], text), left);
        }
    }

    #[test]
    fn right_credential_a_secret_is_found_behind_escapes() {
        let secret = "pä/ss+w\"or'd <&> \\1 🦀";
        let json = |text: &str| serde_json::Value::from(text).to_string().trim_matches('"').to_owned();
        let html = |text: &str| {
            text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
        };
        let percent = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let ascii = |text: &str| text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
        let encoded = [
            json(secret),
            json(&json(secret)),
            json(&json(&json(secret))),
            ascii(secret),
            json(&ascii(secret)),
            secret.replace('/', "\\/"),
            html(secret),
            html(&html(secret)),
            html(secret).replace('\'', "&#39;"),
            html(secret).replace('\'', "&#x27;"),
            percent(secret),
            percent(secret).to_ascii_lowercase(),
            percent(secret).replace('%', "%25"),
            "p%C3%A4/ss+w%22or%27d%20%3C%26%3E%20%5C1%20%F0%9F%A6%80".to_owned(),
            "p%c3%a4%2fss%2bw%22or'd+%3c%26%3e+%5c1+%f0%9f%a6%80".to_owned(),
        ];
        for text in encoded {
            assert_eq!(shown(&[secret], &format!("{{{text}}}")), "{[redacted]}", "{text}");
        }
        assert_eq!(shown(&["s3cret-Token"], "0x7333637265742D546F6B656E!"), "0x[redacted]!");
        assert_eq!(shown(&["a%2Fb%20secret"], "GET /?t=a/b secret"), "GET /?t=[redacted]");
        assert_eq!(shown(&["a/b/c/secret"], "cut: a%2Fb%2Fc%2Fsec"), "cut: [redacted]");
        assert_eq!(shown(&["a/b/c/secret"], "cut: a%2Fb%2Fc%2"), "cut: a%2Fb%2Fc%2");
        assert_eq!(shown(&["abc/def/secret"], "cut: abc%2Fdef%2"), "cut: [redacted]");
        assert_eq!(
            shown(&["s3cret"], "\\ % & \\u12 %4 &lt &; \\ud83d \\"),
            "\\ % & \\u12 %4 &lt &; \\ud83d \\"
        );
    }

    #[test]
    fn right_credential_a_secret_is_found_in_base64_behind_anything() {
        for secret in ["s3cret-Token", "s3cret-Tokens", "s3cret-Tokens!", "secret"] {
            for before in ["", "u:", "me:", "user:", "operator:"] {
                for after in ["", ":", "@@", "more"] {
                    let text = STANDARD.encode(format!("{before}{secret}{after}"));
                    let left = shown(&[secret], &format!("Basic {text} was refused"));
                    let [_, said] = left.split("[redacted]").collect::<Vec<_>>()[..] else {
                        panic!("{left}")
                    };
                    assert!(said.ends_with(" was refused"), "{left}");
                }
            }
        }
    }

    /// Else a gateway could keep the client busy for very long.
    #[test]
    fn no_wedge_a_text_of_escapes_is_read_in_linear_time() {
        for piece in ["\\", "%25", "%", "&amp;", "&", "\\u", "\\ud83d", "&amp;amp;", "s3cret-Toke", "\\\""] {
            let text = piece.repeat(100_000 / piece.len()) + " end";
            let redactor = redactor(&["s3cret-Token", "\\\\%%&&\"\""]);
            assert!(redactor.redacted(&text, Search::Prose).is_none(), "{piece}");
        }
    }

    #[test]
    fn right_credential_a_short_secret_is_found_as_a_word() {
        for (text, left) in [
            ("the password is 123", "the password is [redacted]"),
            ("1234 123x x123 123é", "1234 123x x123 123é"),
            ("123,(123)", "[redacted],([redacted])"),
        ] {
            assert_eq!(shown(&["123"], text), left);
        }
        assert_eq!(shown(&["abc"], "ABC abc"), "ABC [redacted]");
    }

    #[test]
    fn right_credential_secrets_that_overlap_leave_nothing() {
        assert_eq!(shown(&["abcdef", "cdefghij", "abcdefgh"], "-abcdefghij-"), "-[redacted]-");
        assert_eq!(shown(&["aaaaaa"], "aaaaaaaaa"), "[redacted]");
    }

    #[test]
    fn a_code_that_looks_like_a_password_stays() {
        let mut code = PeerText::from("AUTH_PASSWORD_MISMATCH");
        redactor(&["password"]).code(&mut code);
        assert_eq!(code, "AUTH_PASSWORD_MISMATCH");
        let mut code = PeerText::from("BAD_s3cret-Token");
        redactor(&["s3cret-Token"]).code(&mut code);
        assert_eq!(code, "BAD_[redacted]");
    }

    #[test]
    fn right_credential_json_without_a_secret_stays_json() {
        let json = r#"{ "s3cret-Token":["xs3cret-Token\n", "\u0073\u0033cret\u002dToken","\ud83d s3cret-Token"],"n":-1.5e3,"b":true,"e":"\"\\"}"#;
        let redacted = redactor(&["s3cret-Token"]).redacted_json(json).unwrap();
        assert_eq!(
            redacted,
            r#"{ "[redacted]":["x[redacted]\n", "[redacted]","\ud83d [redacted]"],"n":-1.5e3,"b":true,"e":"\"\\"}"#
        );
        assert_eq!(
            redactor(&["12345678"]).redacted_json(r#"{"pin":12345678}"#).unwrap(),
            r#"{"pin":"[redacted]"}"#
        );
        assert_eq!(redactor(&["true", "null", "missing-one"]).redacted_json(r#"{"a":true,"b":null}"#), None);
        assert_eq!(
            redactor(&["s3cret-Token"]).redacted_json(r#"["unclosed s3cret-Token"#).unwrap(),
            r#"["unclosed [redacted]"#
        );
    }
}
