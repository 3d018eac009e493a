//! Text that a peer wrote: whole for programs, safe to show to people.
//!
//! A gateway, or whatever stands in its place, chooses this text. Shown as it is, it could move the cursor of a
//! terminal, forge lines of a log, turn the rest of a line around, or fill a disk. So [`PeerText`] and [`OneLine`]
//! are shown on one line, with such characters escaped, and cut at [`SHOWN_CHARS_MAX`].
//!
//! In errors and in hello there is no credential either: one that was presented, stored or issued is replaced by
//! `[redacted]` where it is repeated, as it is, in letters of the other case, escaped, or cut off at the end. A credential of
//! fewer than six bytes is found as a word of its own only: use longer ones. Events and the results of requests belong to
//! the app and stay as they are.

use std::borrow::{Borrow, Cow};
use std::fmt::{self, Write as _};
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most characters that are shown of a text, escapes counted in full. The mark of a cut, `… (N bytes)` with the
/// size of the whole, comes on top.
pub const SHOWN_CHARS_MAX: usize = 256;

/// Text from the other end of the connection, whole.
///
/// `Display` and `Debug` show it as [`OneLine`] does; [`as_str`](Self::as_str) is the text itself. Cheap to clone.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerText(Arc<str>);

impl PeerText {
    /// The text as the peer wrote it, which is for programs and not for a terminal or a log.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PeerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&OneLine::cut(&self.0), f)
    }
}

impl fmt::Debug for PeerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&OneLine::cut(&self.0), f)
    }
}

/// Text that is shown on one line, with every character escaped for which [`needs_escape`] holds.
///
/// `Debug` is in quotes, and escapes quotes and backslashes as well.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OneLine<'a> {
    text: &'a str,
    chars_max: usize,
}

impl<'a> OneLine<'a> {
    /// No more than the first [`SHOWN_CHARS_MAX`] characters, and the size of the whole if there are more.
    #[must_use]
    pub fn cut(text: &'a str) -> Self {
        Self { text, chars_max: SHOWN_CHARS_MAX }
    }

    /// All of it: for text whose length is bounded already, or that was asked for.
    #[must_use]
    pub fn whole(text: &'a str) -> Self {
        Self { text, chars_max: usize::MAX }
    }

    fn write(self, escapes: impl Fn(char) -> bool, f: &mut fmt::Formatter<'_>) -> Result<bool, fmt::Error> {
        let mut left = self.chars_max;
        for c in self.text.chars() {
            let escape = escapes(c).then(|| c.escape_default());
            let Some(rest) = left.checked_sub(escape.as_ref().map_or(1, ExactSizeIterator::len)) else {
                return Ok(true);
            };
            left = rest;
            match escape {
                Some(escape) => write!(f, "{escape}")?,
                None => f.write_char(c)?,
            }
        }
        Ok(false)
    }
}

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.write(needs_escape, f)? {
            write!(f, "… ({} bytes)", self.text.len())?;
        }
        Ok(())
    }
}

impl fmt::Debug for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        let was_cut = self.write(|c| needs_escape(c) || matches!(c, '"' | '\\'), f)?;
        f.write_char('"')?;
        if was_cut {
            write!(f, "… ({} bytes)", self.text.len())?;
        }
        Ok(())
    }
}

/// Whether a character would do something else than to be seen: end the line, steer a terminal, change the
/// direction of what follows, or hide. These are the control characters, the separators of lines and paragraphs, and
/// those that Unicode calls default ignorable or format characters, as of Unicode 17.
///
/// Not among them are the two selectors of a symbol's presentation, which emoji are written with, and the signs that
/// Arabic and Syriac put before numbers, which are seen.
#[must_use]
pub fn needs_escape(c: char) -> bool {
    c.is_control() || (!c.is_ascii() && INVISIBLE.iter().any(|(first, last)| (*first..=*last).contains(&c)))
}

/// Format characters, default ignorable ones, and separators of lines and paragraphs, in order.
const INVISIBLE: [(char, char); 18] = [
    ('\u{ad}', '\u{ad}'),       // soft hyphen
    ('\u{34f}', '\u{34f}'),     // grapheme joiner
    ('\u{61c}', '\u{61c}'),     // direction mark
    ('\u{115f}', '\u{1160}'),   // Hangul fillers
    ('\u{17b4}', '\u{17b5}'),   // Khmer vowels that are not seen
    ('\u{180b}', '\u{180f}'),   // Mongolian selectors
    ('\u{200b}', '\u{200f}'),   // zero width, direction marks
    ('\u{2028}', '\u{202e}'),   // line and paragraph separators, directions
    ('\u{2060}', '\u{206f}'),   // word joiner, invisible operators, isolates, deprecated format characters
    ('\u{3164}', '\u{3164}'),   // Hangul filler
    ('\u{fe00}', '\u{fe0d}'),   // variation selectors but the two of presentation
    ('\u{feff}', '\u{feff}'),   // byte order mark
    ('\u{ffa0}', '\u{ffa0}'),   // half width Hangul filler
    ('\u{fff0}', '\u{fffb}'),   // interlinear annotation
    ('\u{13430}', '\u{1343f}'), // joiners of hieroglyphs
    ('\u{1bca0}', '\u{1bca3}'), // shorthand format
    ('\u{1d173}', '\u{1d17a}'), // musical format
    ('\u{e0000}', '\u{e0fff}'), // tags, more variation selectors
];

impl Deref for PeerText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for PeerText {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for PeerText {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&str> for PeerText {
    fn from(text: &str) -> Self {
        Self(Arc::from(text))
    }
}

impl From<String> for PeerText {
    fn from(text: String) -> Self {
        Self(Arc::from(text))
    }
}

impl From<Cow<'_, str>> for PeerText {
    fn from(text: Cow<'_, str>) -> Self {
        Self(Arc::from(&*text))
    }
}

impl From<PeerText> for String {
    fn from(text: PeerText) -> Self {
        text.as_str().to_owned()
    }
}

impl PartialEq<str> for PeerText {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for PeerText {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialEq<String> for PeerText {
    fn eq(&self, other: &String) -> bool {
        self.as_str() == other
    }
}

/// The text itself, for programs.
impl Serialize for PeerText {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PeerText {
    fn deserialize<D: Deserializer<'de>>(wire: D) -> Result<Self, D::Error> {
        String::deserialize(wire).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_stays_as_it_is() {
        for text in [
            "",
            "gateway 2026.9.1",
            "naïve — 設定 · हिन्दी · ⚠\u{fe0f} 🦀",
            "a\\b \"c\" {}",
            "e\u{301}\u{a0}«»",
        ] {
            assert_eq!(PeerText::from(text).to_string(), text);
        }
    }

    #[test]
    fn what_does_something_else_is_escaped() {
        let cases = [
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\u{1b}[31mred\u{7}\0\u{7f}", "\\u{1b}[31mred\\u{7}\\u{0}\\u{7f}"),
            ("\u{9b}2J\u{85}", "\\u{9b}2J\\u{85}"),
            (
                "\u{202e}x\u{202c}\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}",
                "\\u{202e}x\\u{202c}\\u{2066}\\u{2069}\\u{200e}\\u{200f}\\u{61c}",
            ),
            (
                "\u{2028}\u{2029}\u{feff}\u{200b}\u{200d}\u{2060}\u{ad}",
                "\\u{2028}\\u{2029}\\u{feff}\\u{200b}\\u{200d}\\u{2060}\\u{ad}",
            ),
            ("\u{e0041}\u{3164}", "\\u{e0041}\\u{3164}"),
        ];
        for (text, shown) in cases {
            assert_eq!(PeerText::from(text).to_string(), shown);
            assert_eq!(format!("{:?}", PeerText::from(text)), format!("\"{shown}\""));
        }
        assert_eq!(format!("{:?}", PeerText::from("a\"\\")), r#""a\"\\""#);
    }

    #[test]
    fn a_long_text_is_cut_and_its_size_is_told() {
        let shown = |text: &str| PeerText::from(text).to_string();
        let fits = "ä".repeat(SHOWN_CHARS_MAX);
        assert_eq!(shown(&fits), fits);
        assert_eq!(shown(&format!("{fits}b")), format!("{fits}… (513 bytes)"));
        // An escape is not cut in two.
        let escapes = "\u{1b}".repeat(100);
        assert_eq!(shown(&escapes), format!("{}… (100 bytes)", "\\u{1b}".repeat(SHOWN_CHARS_MAX / 6)));
        assert_eq!(
            format!("{:?}", PeerText::from("x".repeat(300))),
            format!("\"{}\"… (300 bytes)", "x".repeat(256))
        );
        assert_eq!(OneLine::whole(&"x\n".repeat(300)).to_string(), "x\\n".repeat(300));
    }

    #[test]
    fn the_ranges_of_invisible_characters_are_in_order() {
        assert!(INVISIBLE.is_sorted_by(|(_, last), (first, _)| last < first));
        assert!(INVISIBLE.iter().all(|(first, last)| first <= last));
    }
}
