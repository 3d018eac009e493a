//! Text that other programs have written: variables of the environment, and files.
//!
//! Editors and shells put a byte order mark before text, write it in UTF-16, and end its lines in their own way.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Read};
use std::path::Path;

use onesocket::core::OneLine;
use thiserror::Error;

use super::CliError;

/// A file may be longer than anything that is sent to a gateway; then it is the wrong one.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What is wrong with a text.
#[derive(Debug, Error)]
pub(crate) enum InputProblem {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// It holds nothing, or white space only.
    #[error("is empty")]
    Empty,
    /// It is no text in UTF-8, nor UTF-16 with a byte order mark.
    #[error("is not text in UTF-8, or in UTF-16 with a byte order mark")]
    NotText,
    /// It is in UTF-16 and does not say so.
    #[error("holds NUL bytes, like UTF-16 without a byte order mark: save it as UTF-8")]
    Nul,
    /// It must be one line.
    #[error("holds more than one line")]
    Lines,
    /// It holds a character that nobody can have meant.
    #[error("holds the invisible character U+{:04X}", u32::from(*.0))]
    Invisible(char),
    /// It has no end.
    #[error("is longer than {FILE_BYTES_MAX} bytes")]
    TooLong,
}

/// The variables of the environment that were asked for.
#[derive(Default)]
pub(super) struct Environment {
    /// The first that is set to something else than text.
    unreadable: RefCell<Option<String>>,
}

impl Environment {
    /// A variable; one that is blank counts as not set.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let value = std::env::var_os(name)?;
        let Ok(text) = value.into_string() else {
            self.unreadable.borrow_mut().get_or_insert_with(|| name.to_owned());
            return None;
        };
        let text = trimmed(&text);
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// A variable that is one line, such as a token.
    pub(super) fn secret(&self, name: &'static str) -> Result<Option<String>, CliError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        one_line(&text)
            .map(|line| Some(line.to_owned()))
            .map_err(|problem| CliError::Variable { name: name.to_owned(), problem })
    }

    /// Whether everything that was asked for could be read. What could not must not be taken for absent: the default
    /// gateway would be dialed, or another credential presented.
    pub(super) fn check(self) -> Result<(), CliError> {
        match self.unreadable.into_inner() {
            Some(name) => Err(CliError::Variable { name, problem: InputProblem::NotText }),
            None => Ok(()),
        }
    }
}

/// What a file is for, as errors call it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum InputFile {
    /// The token.
    Token,
    /// Headers for the upgrade.
    Headers,
    /// The parameters of a call.
    Params,
}

impl fmt::Display for InputFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token => "the token file",
            Self::Headers => "the file with headers",
            Self::Params => "the file with parameters",
        })
    }
}

impl InputFile {
    /// The text in it, without what other programs put around it. `-` is standard input.
    pub(super) fn read(self, path: &Path) -> Result<String, CliError> {
        let bytes = if path == Path::new("-") {
            bytes_of(io::stdin())
        } else {
            std::fs::File::open(path).map_err(InputProblem::Unreadable).and_then(bytes_of)
        };
        let text = bytes.and_then(|bytes| decoded(&bytes)).and_then(|text| match trimmed(&text) {
            "" => Err(InputProblem::Empty),
            trimmed => Ok(trimmed.to_owned()),
        });
        text.map_err(|problem| self.problem(path, problem))
    }

    /// The one line in it.
    pub(super) fn read_line(self, path: &Path) -> Result<String, CliError> {
        let text = self.read(path)?;
        one_line(&text).map(str::to_owned).map_err(|problem| self.problem(path, problem))
    }

    fn problem(self, path: &Path, problem: InputProblem) -> CliError {
        CliError::File { file: self, path: shown(path), problem }
    }
}

/// A path for a message.
pub(super) fn shown(path: &Path) -> String {
    OneLine::whole(&path.display().to_string()).to_string()
}

fn bytes_of(file: impl Read) -> Result<Vec<u8>, InputProblem> {
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(InputProblem::Unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX { Err(InputProblem::TooLong) } else { Ok(bytes) }
}

/// UTF-8, or UTF-16 if a byte order mark says so.
fn decoded(bytes: &[u8]) -> Result<String, InputProblem> {
    let of_utf16 = |units: &[u8], read: fn([u8; 2]) -> u16| {
        let (units, rest) = units.as_chunks::<2>();
        let text = String::from_utf16(&units.iter().copied().map(read).collect::<Vec<_>>());
        text.ok().filter(|_| rest.is_empty()).ok_or(InputProblem::NotText)
    };
    let text = match bytes {
        [0xff, 0xfe, units @ ..] => of_utf16(units, u16::from_le_bytes)?,
        [0xfe, 0xff, units @ ..] => of_utf16(units, u16::from_be_bytes)?,
        _ if bytes.contains(&0) => return Err(InputProblem::Nul),
        _ => String::from_utf8(bytes.to_vec()).map_err(|_| InputProblem::NotText)?,
    };
    if text.contains('\0') { Err(InputProblem::Nul) } else { Ok(text) }
}

/// Without white space and byte order marks around it.
fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
}

fn one_line(text: &str) -> Result<&str, InputProblem> {
    if text.contains(['\n', '\r']) {
        return Err(InputProblem::Lines);
    }
    // Those two are a part of how some scripts and many emoji are written.
    let is_odd =
        |c: &char| onesocket::core::peer_text::needs_escape(*c) && !matches!(c, '\u{200c}' | '\u{200d}');
    match text.chars().find(is_odd) {
        Some('\0') => Err(InputProblem::Nul),
        Some(odd) => Err(InputProblem::Invisible(odd)),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bytes: &[u8]) -> Result<String, String> {
        let text = decoded(bytes).map_err(|problem| problem.to_string())?;
        one_line(trimmed(&text)).map(str::to_owned).map_err(|problem| problem.to_string())
    }

    #[test]
    fn what_other_programs_put_around_a_text_goes() {
        let utf16 =
            |text: &str, bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        for bytes in [
            b"secret".to_vec(),
            b"\xef\xbb\xbfsecret\r\n".to_vec(),
            b"\xef\xbb\xbf\xef\xbb\xbf secret \n\n".to_vec(),
            b"\t secret\xef\xbb\xbf\xc2\xa0\n".to_vec(),
            utf16("\u{feff}secret\r\n", u16::to_le_bytes),
            utf16("\u{feff}secret", u16::to_be_bytes),
        ] {
            assert_eq!(line(&bytes).as_deref(), Ok("secret"), "{bytes:?}");
        }
        assert_eq!(line(&utf16("\u{feff}gehe\u{ef}m 🦀", u16::to_le_bytes)).as_deref(), Ok("gehe\u{ef}m 🦀"));
    }

    #[test]
    fn what_cannot_be_meant_is_an_error() {
        for (bytes, problem) in [
            (&b"a\nb"[..], "holds more than one line"),
            (b"a\rb", "holds more than one line"),
            (b"a\0b", "holds NUL bytes, like UTF-16 without a byte order mark: save it as UTF-8"),
            (b"s\0e\0c\0", "holds NUL bytes, like UTF-16 without a byte order mark: save it as UTF-8"),
            (b"\xff\xfea", "is not text in UTF-8, or in UTF-16 with a byte order mark"),
            (b"\xff\xfe\0\xd8", "is not text in UTF-8, or in UTF-16 with a byte order mark"),
            (b"\xe9", "is not text in UTF-8, or in UTF-16 with a byte order mark"),
            (b"a\x1b[31mb", "holds the invisible character U+001B"),
            ("a\u{200b}b".as_bytes(), "holds the invisible character U+200B"),
            ("a\u{feff}b".as_bytes(), "holds the invisible character U+FEFF"),
            ("a\u{2028}b".as_bytes(), "holds the invisible character U+2028"),
        ] {
            assert_eq!(line(bytes).unwrap_err(), problem, "{bytes:?}");
        }
    }
}
