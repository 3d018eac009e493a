//! Headers that an app adds to the upgrade request ([`Headers`]).

use std::fmt;

use super::config::Secret;
use super::error::ConfigError;

/// Bytes of names and values together, at most. Servers refuse longer requests: Node.js at 16 KiB, nginx at 32 KiB
/// and at 8 KiB for one header.
pub const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Headers of the websocket's own, or of the connection below it, in lower case.
const OWN: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];
/// What all headers of the websocket begin with.
const OWN_PREFIX: &str = "sec-websocket-";

/// Headers for whatever stands in front of a gateway, as a proxy that wants credentials.
///
/// Values are secrets: no `Debug` output shows them, and their memory is wiped. Two lists are equal if a server
/// cannot tell them apart: names are compared without regard to case, and the order counts only among values of one
/// name.
#[derive(Clone, Default)]
pub struct Headers {
    /// Sorted by the names in lower case; values of one name in the order they were given in.
    sorted: Vec<Header>,
}

#[derive(Clone)]
struct Header {
    name: String,
    value: Secret,
}

impl Headers {
    /// No headers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one. A name may come more than once, and its values then keep their order. White space around name and
    /// value is dropped.
    ///
    /// # Errors
    /// [`ConfigError::Header`] when the name is none, belongs to the websocket or the connection below it, the value
    /// is blank or holds a control character, or all of them are longer than [`MAX_HEADER_BYTES`].
    pub fn add(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        let name = name.trim();
        let refused = |why| ConfigError::Header { name: name.to_owned(), why };
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(refused("it is not the name of an HTTP header"));
        }
        let lower = name.to_ascii_lowercase();
        if OWN.contains(&&*lower) || lower.starts_with(OWN_PREFIX) {
            return Err(refused("it belongs to the connection itself"));
        }
        let value = Secret::trimmed(value).ok_or_else(|| refused("its value is blank"))?;
        if value.expose().contains(|c: char| c.is_ascii_control() && c != '\t') {
            return Err(refused("its value holds a control character or more than one line"));
        }
        let bytes: usize = self.iter().map(|(name, value)| name.len() + value.expose().len()).sum();
        if bytes + name.len() + value.expose().len() > MAX_HEADER_BYTES {
            return Err(refused("all headers together are longer than 16 KiB"));
        }
        let at = self.sorted.partition_point(|header| header.name.to_ascii_lowercase() <= lower);
        self.sorted.insert(at, Header { name: name.to_owned(), value });
        Ok(())
    }

    /// Whether a header has this name, in any case.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.sorted.iter().any(|header| header.name.eq_ignore_ascii_case(name))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// All of them, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.sorted.iter().map(|header| (&*header.name, &header.value))
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        let same = |(one, other): (&Header, &Header)| {
            one.name.eq_ignore_ascii_case(&other.name) && one.value == other.value
        };
        self.sorted.len() == other.sorted.len() && self.sorted.iter().zip(&other.sorted).all(same)
    }
}

impl Eq for Headers {}

/// The names only.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// A character of a header's name (RFC 9110, 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(of: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in of {
            headers.add(name, value).expect("the header is valid");
        }
        headers
    }

    #[test]
    fn lists_that_a_server_cannot_tell_apart_are_equal() {
        let one = headers(&[("X-A", "1"), ("Authorization", "Basic eA=="), ("x-a", "2")]);
        let other = headers(&[("authorization", " Basic eA== "), ("X-A", "1"), ("X-A", "2")]);
        assert_eq!(one, other);
        assert_ne!(one, headers(&[("Authorization", "Basic eA=="), ("X-A", "2"), ("X-A", "1")]));
        assert_ne!(one, headers(&[("Authorization", "Basic eA=="), ("X-A", "1")]));
        assert_ne!(headers(&[("X-A", "a")]), headers(&[("X-A", "A")]), "values have a case");
    }

    #[test]
    fn right_credential_no_value_is_shown() {
        let shown = format!("{:?}", headers(&[("Authorization", "Basic sesame")]));
        assert!(shown.contains("Authorization") && !shown.contains("sesame"), "{shown}");
    }

    #[test]
    fn a_header_that_cannot_be_sent_is_refused() {
        let mut headers = Headers::new();
        for (name, value, why) in [
            ("Host", "x", "belongs to the connection"),
            ("connection", "close", "belongs to the connection"),
            ("UPGRADE", "h2c", "belongs to the connection"),
            ("Content-Length", "1", "belongs to the connection"),
            ("Transfer-Encoding", "chunked", "belongs to the connection"),
            ("Sec-WebSocket-Key", "x", "belongs to the connection"),
            ("sec-websocket-protocol", "x", "belongs to the connection"),
            ("", "x", "not the name"),
            ("X A", "x", "not the name"),
            ("X:A", "x", "not the name"),
            ("X-Ä", "x", "not the name"),
            ("X-A\r\nX-B", "x", "not the name"),
            ("X-A", " \t", "blank"),
            ("X-A", "1\r\nX-B: 2", "more than one line"),
            ("X-A", "1\nX-B: 2", "more than one line"),
            ("X-A", "\u{1b}[31m", "control character"),
            ("X-A", "nul\0", "control character"),
        ] {
            let error = headers.add(name, value).expect_err(name).to_string();
            assert!(error.contains(why), "{name:?}: {error}");
        }
        assert!(headers.is_empty());
        headers.add("X-City", "Montréal").expect("a value may be any text");
        let error = headers.add("X-Long", &"x".repeat(MAX_HEADER_BYTES)).expect_err("it is too long");
        assert!(error.to_string().contains("16 KiB"), "{error}");
    }
}
