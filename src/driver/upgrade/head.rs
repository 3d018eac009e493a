//! The head of an HTTP answer.

use httparse::{EMPTY_HEADER, Header, ParserConfig, Response, Status};

use crate::core::UpgradeFault;

/// Status line and headers.
pub(crate) struct Head {
    /// The minor number of HTTP/1.
    minor: u8,
    pub(crate) status: u16,
    pub(crate) reason: String,
    headers: Vec<(String, Vec<u8>)>,
}

/// Where a head ends, if it does; the bytes before `searched` were looked at before.
pub(crate) fn end(bytes: &[u8], searched: usize) -> Option<usize> {
    // The end may have come in pieces.
    let from = searched.saturating_sub(2);
    bytes[from..].iter().enumerate().filter(|(_, byte)| **byte == b'\n').find_map(|(at, _)| {
        match bytes[from + at + 1..] {
            [b'\n', ..] => Some(from + at + 2),
            [b'\r', b'\n', ..] => Some(from + at + 3),
            _ => None,
        }
    })
}

/// As far as the reason phrase goes the status line has this form: `HTTP/1.1 302`.
const STATUS_BYTES: usize = 12;

/// Whether this can be the beginning of an answer in HTTP/1.
pub(crate) fn may_be_http(bytes: &[u8]) -> bool {
    let version = b"HTTP/";
    let length = bytes.len().min(version.len());
    bytes[..length] == version[..length]
}

impl Head {
    /// Reads a whole head. One with an odd line or reason is read without it unless it means a websocket: a refusal
    /// that is not quite right is a refusal all the same.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, UpgradeFault> {
        let mut lenient = ParserConfig::default();
        lenient
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true)
            .ignore_invalid_headers_in_responses(true);
        Self::parse_by(&ParserConfig::default(), bytes).or_else(|fault| {
            let (line, rest) = bytes.split_at(status_line(bytes).len());
            let bytes = [&line[..line.len().min(STATUS_BYTES)], rest].concat();
            let head = Self::parse_by(&lenient, &bytes).map_err(|_| fault.clone())?;
            if head.status == 101 { Err(fault) } else { Ok(Self { reason: reason(line), ..head }) }
        })
    }

    fn parse_by(config: &ParserConfig, bytes: &[u8]) -> Result<Self, UpgradeFault> {
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        let mut headers: Vec<Header<'_>> = vec![EMPTY_HEADER; lines];
        let mut response = Response::new(&mut headers);
        let parsed = config.parse_response(&mut response, bytes);
        match parsed.map_err(|error| UpgradeFault::Malformed(in_words(error)))? {
            Status::Complete(_) => {}
            Status::Partial => return Err(UpgradeFault::Malformed("it ends within a line")),
        }
        let header = |header: &Header<'_>| (header.name.to_ascii_lowercase(), header.value.to_vec());
        Ok(Self {
            minor: response.version.unwrap_or_default(),
            status: response.code.unwrap_or_default(),
            reason: reason(status_line(bytes)),
            headers: response.headers.iter().map(header).collect(),
        })
    }

    /// Whether this opens a websocket that was asked for with the key of this answer.
    pub(super) fn verify(&self, accept_key: &str) -> Result<(), UpgradeFault> {
        if self.minor == 0 {
            return Err(UpgradeFault::OldHttp);
        }
        if !self.is_only("upgrade", |value| value.eq_ignore_ascii_case("websocket")) {
            return Err(UpgradeFault::NotWebSocket);
        }
        if !self.tokens("connection").any(|token| token.eq_ignore_ascii_case("upgrade")) {
            return Err(UpgradeFault::NoConnectionUpgrade);
        }
        if !self.is_only("sec-websocket-accept", |value| value == accept_key) {
            return Err(UpgradeFault::AcceptMismatch);
        }
        if self.tokens("sec-websocket-protocol").next().is_some() {
            return Err(UpgradeFault::UnaskedSubprotocol);
        }
        if self.tokens("sec-websocket-extensions").next().is_some() {
            return Err(UpgradeFault::UnaskedExtension);
        }
        Ok(())
    }

    /// The first header of a name, which is in lower case.
    pub(super) fn first(&self, name: &str) -> Option<String> {
        self.values(name).next()
    }

    /// All headers of a name as one list.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let values: Vec<String> = self.values(name).filter(|value| !value.is_empty()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// The parts of all headers of a name that is a list (RFC 9110, 5.6.1).
    pub(super) fn tokens(&self, name: &str) -> impl Iterator<Item = String> {
        let text = self.text(name).unwrap_or_default();
        let tokens: Vec<String> =
            text.split(',').map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()).collect();
        tokens.into_iter()
    }

    /// Whether there is such a header, and nothing else of its name.
    fn is_only(&self, name: &str, right: impl Fn(&str) -> bool) -> bool {
        self.values(name).next().is_some() && self.values(name).all(|value| right(&value))
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = String> + 'a {
        let named = self.headers.iter().filter(move |(found, _)| found == name);
        named.map(|(_, value)| String::from_utf8_lossy(value).trim().to_owned())
    }
}

fn status_line(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
    &bytes[..end.unwrap_or(bytes.len())]
}

/// What stands behind the status, which is for people.
fn reason(status_line: &[u8]) -> String {
    String::from_utf8_lossy(status_line.get(STATUS_BYTES..).unwrap_or_default()).trim().to_owned()
}

fn in_words(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "the name of a header holds what it may not",
        httparse::Error::HeaderValue => "the value of a header holds what it may not",
        httparse::Error::NewLine => "a line does not end as it must",
        httparse::Error::Status => "there is no status of three digits",
        httparse::Error::Token => "a byte is where it may not be",
        httparse::Error::TooManyHeaders => "there are too many headers",
        httparse::Error::Version => "its version is not HTTP/1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn verified(headers: &str) -> Result<(), UpgradeFault> {
        Head::parse(format!("HTTP/1.1 101 Switching Protocols\r\n{headers}\r\n").as_bytes())?.verify(ACCEPT)
    }

    #[test]
    fn an_upgrade_may_be_said_in_many_ways() {
        for headers in [
            "Upgrade: websocket\r\nConnection: Upgrade\r\n",
            "upgrade: WebSocket\r\nconnection: keep-alive, Upgrade\r\n",
            "UPGRADE:websocket  \r\nCONNECTION:\tupgrade\t,close\r\n",
            "Connection: keep-alive\r\nUpgrade: websocket\r\nConnection: UPGRADE\r\n",
            "Upgrade: websocket\r\nConnection: , ,Upgrade\r\nSec-WebSocket-Extensions:\r\nX-Empty:\r\n",
        ] {
            let headers = format!("{headers}Sec-WebSocket-Accept: {ACCEPT}\r\n");
            assert_eq!(verified(&headers), Ok(()), "{headers}");
        }
    }

    #[test]
    fn what_is_no_upgrade_is_told() {
        let accept = format!("Sec-WebSocket-Accept: {ACCEPT}\r\n");
        let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
        for (headers, fault) in [
            (format!("Connection: Upgrade\r\n{accept}"), UpgradeFault::NotWebSocket),
            (format!("Upgrade: h2c\r\nConnection: Upgrade\r\n{accept}"), UpgradeFault::NotWebSocket),
            (format!("Upgrade: websocket\r\n{accept}"), UpgradeFault::NoConnectionUpgrade),
            (
                format!("Upgrade: websocket\r\nConnection: no-upgrade, keep-alive\r\n{accept}"),
                UpgradeFault::NoConnectionUpgrade,
            ),
            (upgrade.to_owned(), UpgradeFault::AcceptMismatch),
            (format!("{upgrade}Sec-WebSocket-Accept: x\r\n"), UpgradeFault::AcceptMismatch),
            (format!("{upgrade}{accept}Sec-WebSocket-Accept: x\r\n"), UpgradeFault::AcceptMismatch),
            (format!("{upgrade}{}", accept.to_ascii_lowercase()), UpgradeFault::AcceptMismatch),
            (format!("{upgrade}{accept}Sec-WebSocket-Protocol: mqtt\r\n"), UpgradeFault::UnaskedSubprotocol),
            (
                format!("{upgrade}{accept}Sec-WebSocket-Extensions: permessage-deflate\r\n"),
                UpgradeFault::UnaskedExtension,
            ),
        ] {
            assert_eq!(verified(&headers), Err(fault), "{headers}");
        }
        let old = format!("HTTP/1.0 101 Switching Protocols\r\n{upgrade}{accept}\r\n");
        let old = Head::parse(old.as_bytes()).and_then(|head| head.verify(ACCEPT));
        assert_eq!(old, Err(UpgradeFault::OldHttp));
    }

    #[test]
    fn an_odd_line_spoils_an_upgrade_but_not_a_refusal() {
        for line in ["no colon", "Bad Name: x", "Folded: a\r\n b"] {
            let head = |status: &str| format!("HTTP/1.1 {status}\r\n{line}\r\nLocation: /x\r\n\r\n");
            let refusal = Head::parse(head("302").as_bytes()).expect("it is a refusal");
            assert_eq!((refusal.status, refusal.first("location").as_deref()), (302, Some("/x")), "{line}");
            assert!(matches!(Head::parse(head("101").as_bytes()), Err(UpgradeFault::Malformed(_))), "{line}");
        }
        for (line, reason) in
            [("302 F\u{1b}[31mound", "F\u{1b}[31mound"), ("302 Gefundén", "Gefundén"), ("302", "")]
        {
            let head = Head::parse(format!("HTTP/1.1 {line}\r\nLocation: /x\r\n\r\n").as_bytes());
            let head = head.expect("it is a refusal");
            assert_eq!((head.status, &*head.reason), (302, reason));
            assert_eq!(head.first("location").as_deref(), Some("/x"));
        }
        for head in ["HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1\r\n\r\n", "HTTP/x\n\n"] {
            assert!(matches!(Head::parse(head.as_bytes()), Err(UpgradeFault::Malformed(_))), "{head:?}");
        }
    }

    #[test]
    fn the_end_of_a_head_is_found_wherever_it_is_cut() {
        for head in
            ["HTTP/1.1 503 No\r\nA: b\r\n\r\n", "HTTP/1.1 503 No\nA: b\n\n", "HTTP/1.1 503 No\r\n\r\n"]
        {
            let bytes = format!("{head}\n\nmore").into_bytes();
            for cut in 0..bytes.len() {
                let first = end(&bytes[..cut], 0);
                let found = first.or_else(|| end(&bytes, cut));
                assert_eq!(found, Some(head.len()), "{head:?} cut at {cut}");
                assert_eq!(first.is_some(), cut >= head.len(), "{head:?} cut at {cut}");
            }
        }
    }
}
