//! The start of the body of an HTTP answer.

use super::head::Head;

/// What is kept (protocol 1.5).
const KEPT_BYTES: usize = 2_048;
/// The longest line with the size of a chunk.
const SIZE_LINE_BYTES: usize = 1_024;

/// Takes a body in pieces.
pub(super) struct Body {
    kept: Vec<u8>,
    framing: Framing,
    /// Nothing that follows belongs to it, or would be kept.
    is_whole: bool,
}

enum Framing {
    /// So many bytes are missing.
    Length(u64),
    Chunked(Chunk),
    /// It ends with the connection.
    UntilEnd,
}

/// Where in a chunked body the next byte stands (RFC 9112, 7.1).
enum Chunk {
    /// In the line with the size of a chunk, behind these bytes.
    Size(Vec<u8>),
    /// In a chunk of which so many bytes are missing.
    Data(u64),
    /// In the end of the line behind a chunk.
    End,
}

impl Body {
    /// Nothing of the body that this head announces.
    pub(super) fn of(head: &Head) -> Self {
        let is_chunked =
            head.tokens("transfer-encoding").last().is_some_and(|last| last.eq_ignore_ascii_case("chunked"));
        let length = head.first("content-length").and_then(|length| length.parse().ok());
        let framing = match length {
            _ if is_chunked => Framing::Chunked(Chunk::Size(Vec::new())),
            Some(length) => Framing::Length(length),
            None => Framing::UntilEnd,
        };
        let is_whole = matches!(head.status, 204 | 304) || matches!(framing, Framing::Length(0));
        Self { kept: Vec::new(), framing, is_whole }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Takes the bytes that come next.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while !self.is_whole && !bytes.is_empty() {
            bytes = match &mut self.framing {
                Framing::UntilEnd => keep(&mut self.kept, bytes, bytes.len()),
                Framing::Length(missing) => {
                    let rest = keep(&mut self.kept, bytes, upto(*missing, bytes));
                    *missing -= (bytes.len() - rest.len()) as u64;
                    self.is_whole = *missing == 0;
                    rest
                }
                Framing::Chunked(chunk) => match chunk.feed(&mut self.kept, bytes) {
                    Some(rest) => rest,
                    None => {
                        self.is_whole = true;
                        return;
                    }
                },
            };
            self.is_whole |= self.kept.len() >= KEPT_BYTES;
        }
    }

    /// As text. A character that the limit cuts is left out.
    pub(super) fn into_text(mut self) -> String {
        self.kept.truncate(KEPT_BYTES);
        if let Err(error) = std::str::from_utf8(&self.kept)
            && error.error_len().is_none()
        {
            self.kept.truncate(error.valid_up_to());
        }
        String::from_utf8_lossy(&self.kept).trim().to_owned()
    }
}

impl Chunk {
    /// Takes a part of the bytes and gives the rest; `None` after the last chunk, or where no chunk can be.
    fn feed<'a>(&mut self, kept: &mut Vec<u8>, bytes: &'a [u8]) -> Option<&'a [u8]> {
        match self {
            Self::Size(line) => {
                let Some(at) = bytes.iter().position(|byte| *byte == b'\n') else {
                    line.extend_from_slice(bytes);
                    return (line.len() <= SIZE_LINE_BYTES).then_some(&[]);
                };
                line.extend_from_slice(&bytes[..at]);
                *self = Self::Data(chunk_size(line).filter(|size| *size > 0)?);
                Some(&bytes[at + 1..])
            }
            Self::Data(missing) => {
                let rest = keep(kept, bytes, upto(*missing, bytes));
                *missing -= (bytes.len() - rest.len()) as u64;
                if *missing == 0 {
                    *self = Self::End;
                }
                Some(rest)
            }
            Self::End => {
                let at = bytes.iter().position(|byte| *byte == b'\n');
                if at.is_some() {
                    *self = Self::Size(Vec::new());
                }
                Some(&bytes[at.map_or(bytes.len(), |at| at + 1)..])
            }
        }
    }
}

/// The size of a chunk by its line, which may have extensions.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let size = std::str::from_utf8(line.split(|byte| *byte == b';').next()?).ok()?.trim();
    // The standard library would take a sign.
    size.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u64::from_str_radix(size, 16).ok())?
}

/// As many of the bytes as there are, or are missing.
fn upto(missing: u64, bytes: &[u8]) -> usize {
    usize::try_from(missing).unwrap_or(usize::MAX).min(bytes.len())
}

/// Takes so many bytes, keeps of them what there is room for, and gives the rest.
fn keep<'a>(kept: &mut Vec<u8>, bytes: &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count);
    let room = KEPT_BYTES.saturating_sub(kept.len()).min(taken.len());
    kept.extend_from_slice(&taken[..room]);
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text of a body, and whether it was whole; the same wherever it is cut.
    fn body(headers: &str, bytes: &[u8]) -> (String, bool) {
        let fed = |cuts: &[usize]| {
            let head = format!("HTTP/1.1 502 Bad Gateway\r\n{headers}\r\n");
            let mut body = Body::of(&Head::parse(head.as_bytes()).expect("the head is right"));
            let mut from = 0;
            for to in cuts.iter().copied().chain([bytes.len()]) {
                body.feed(&bytes[from..to]);
                from = to;
            }
            (body.is_whole(), body.into_text())
        };
        let (is_whole, text) = fed(&[]);
        for cut in 0..bytes.len().min(100) {
            assert_eq!(fed(&[cut]), (is_whole, text.clone()), "cut at {cut}");
        }
        let each: Vec<usize> = (0..bytes.len()).collect();
        assert_eq!(fed(&each), (is_whole, text.clone()), "in pieces of one byte");
        (text, is_whole)
    }

    fn whole(text: &str) -> (String, bool) {
        (text.to_owned(), true)
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        assert_eq!(body("Content-Length: 5\r\n", b"hello, and more"), whole("hello"));
        assert_eq!(body("Content-Length: 0\r\n", b"more"), whole(""));
        assert_eq!(body("Content-Length: 50\r\n", b"begun"), ("begun".to_owned(), false));
        assert_eq!(body("", b"until the end"), ("until the end".to_owned(), false));
        let chunked = "Transfer-Encoding: gzip, Chunked\r\nContent-Length: 3\r\n";
        assert_eq!(
            body(chunked, b"5;x=y\r\nhello\r\nA\r\n, world!!!\r\n0\r\n\r\n"),
            whole("hello, world!!!")
        );
        assert_eq!(body(chunked, b"5\nhello\n0\n\n"), whole("hello"));
        assert_eq!(body(chunked, b"5\r\nhello\r\nno size\r\nlost"), whole("hello"));
        assert_eq!(body(chunked, b"ffffffffffffffffffff\r\nlost"), whole(""));
        assert_eq!(body(chunked, b"+5\r\nhello"), whole(""));
        assert_eq!(body(chunked, b"5\r\nhel"), ("hel".to_owned(), false));
    }

    #[test]
    fn a_long_body_is_cut_between_characters() {
        let long = "é".repeat(2_000);
        assert_eq!(body("", long.as_bytes()), whole(&"é".repeat(1_024)));
        let odd = format!("x{long}");
        assert_eq!(body("", odd.as_bytes()), whole(&format!("x{}", "é".repeat(1_023))));
        assert_eq!(body("Content-Length: 3\r\n", b"a\xffb"), whole("a\u{fffd}b"));
        let endless = [b"1;".as_slice(), &[b'x'; 2_000]].concat();
        assert!(body("Transfer-Encoding: chunked\r\n", &endless).1);
    }
}
