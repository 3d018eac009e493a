//! The upgrade of a stream to a websocket: the request, and what is made of the answer (RFC 6455, 4.1).
//!
//! The websocket library could do this, too. Its reader wants heads in large pieces and a `Connection` of one word,
//! takes an interim answer for a refusal, and keeps of a refusal what came in one segment with its head.

mod body;
pub(crate) mod head;
mod request;

use std::io;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::core::{DialError, Endpoint, Headers, PeerProtocol, PeerText, UpgradeRefusal};
use crate::network::dial_error;

use body::Body;
use head::Head;

/// How long more is waited for of an answer that has failed already: the body of a refusal (protocol 1.5), or the
/// rest of a greeting that is not HTTP.
const REST_TIME: Duration = Duration::from_secs(1);
/// The start of an answer that is neither HTTP nor known, as it is kept.
const START_BYTES: usize = 64;
/// What is read at once.
const READ_BYTES: usize = 4 * 1024;

/// What is asked for, and how.
pub(super) struct UpgradeRequest<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) headers: &'a Headers,
    /// The longest head of an answer, with interim ones before it.
    pub(super) max_head_bytes: usize,
    /// When whoever waits gives up; what is known of a refusal by then is told before.
    pub(super) give_up_at: Option<Instant>,
}

/// Makes a websocket of a stream.
pub(super) async fn upgrade<S>(
    mut stream: S,
    request: UpgradeRequest<'_>,
    config: WebSocketConfig,
) -> Result<WebSocketStream<S>, DialError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let key = generate_key();
    let bytes = request::bytes(request.endpoint, request.headers, &key);
    if let Err(error) = write(&mut stream, &bytes).await
        && dial_error(&error) != DialError::Reset
    {
        return Err(dial_error(&error));
    }
    // A peer may answer and be gone without having read the request.
    drop(bytes);
    let mut answer = Answer { stream: &mut stream, bytes: Vec::new(), left: request.max_head_bytes };
    let head = answer.final_head(&request).await?;
    if head.status == 101 {
        head.verify(&derive_accept_key(key.as_bytes()))?;
        let early = answer.bytes;
        return Ok(WebSocketStream::from_partially_read(stream, early, Role::Client, Some(config)).await);
    }
    let until = Instant::now() + REST_TIME;
    let until = request.give_up_at.map_or(until, |give_up_at| until.min(give_up_at));
    let body = answer.body(&head, until).await;
    Err(DialError::Upgrade(Box::new(refusal(&head, body))))
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// What a peer answers, as far as it is read and not used.
struct Answer<'a, S> {
    stream: &'a mut S,
    bytes: Vec<u8>,
    /// Bytes that heads may still have.
    left: usize,
}

impl<S: AsyncRead + Unpin> Answer<'_, S> {
    /// The head behind all interim ones, taken out of the bytes. Their number is limited by their bytes.
    async fn final_head(&mut self, request: &UpgradeRequest<'_>) -> Result<Head, DialError> {
        loop {
            let end = self.head_end(request).await?;
            let head = Head::parse(&self.bytes[..end])?;
            self.bytes.drain(..end);
            self.left -= end;
            if !(100..200).contains(&head.status) || head.status == 101 {
                return Ok(head);
            }
        }
    }

    /// Reads until there is a whole head, and says where it ends.
    async fn head_end(&mut self, request: &UpgradeRequest<'_>) -> Result<usize, DialError> {
        let limit = request.max_head_bytes;
        let mut searched = 0;
        loop {
            // Empty lines before an answer are ignored (RFC 9112, 2.2).
            let blank = self.bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            if searched == 0 && blank > 0 {
                self.bytes.drain(..blank);
                self.left = self.left.checked_sub(blank).ok_or(DialError::UpgradeTooLong { limit })?;
            }
            if !head::may_be_http(&self.bytes) {
                return Err(self.no_http().await);
            }
            if let Some(end) = head::end(&self.bytes, searched) {
                return if end > self.left { Err(DialError::UpgradeTooLong { limit }) } else { Ok(end) };
            }
            if self.bytes.len() >= self.left {
                return Err(DialError::UpgradeTooLong { limit });
            }
            searched = self.bytes.len();
            let error = match self.read().await {
                Ok(0) => DialError::Reset,
                Ok(_) => continue,
                Err(error) => dial_error(&error),
            };
            // In front of TLS this is a broken connection as any other.
            let unanswered =
                error == DialError::Reset && self.bytes.is_empty() && !request.endpoint.is_secure();
            return Err(if unanswered { DialError::Unanswered } else { error });
        }
    }

    /// Says what it is instead, and waits a little for as much of it as it takes to know.
    async fn no_http(&mut self) -> DialError {
        let line_end = |bytes: &[u8]| {
            let end = bytes.iter().position(|byte| *byte == b'\n')?;
            (!bytes[..end].contains(&0)).then_some(end + 1)
        };
        let enough = |bytes: &[u8]| {
            bytes.len() >= START_BYTES
                || line_end(bytes).is_some()
                || PeerProtocol::of_first_bytes(bytes).is_some()
        };
        let more = async {
            while !enough(&self.bytes) {
                if matches!(self.read().await, Ok(0) | Err(_)) {
                    return;
                }
            }
        };
        // What has come by then is what there is.
        let _ = timeout(REST_TIME, more).await;
        match PeerProtocol::of_first_bytes(&self.bytes) {
            Some(protocol) => DialError::OtherProtocol(protocol),
            None => {
                let start = &self.bytes[..self.bytes.len().min(START_BYTES)];
                let start = &start[..line_end(start).unwrap_or(start.len())];
                DialError::NotHttp { start: PeerText::from(String::from_utf8_lossy(start)) }
            }
        }
    }

    /// The start of the body, as far as it comes in time.
    async fn body(&mut self, head: &Head, until: Instant) -> String {
        let mut body = Body::of(head);
        body.feed(&self.bytes);
        let more = async {
            while !body.is_whole() {
                self.bytes.clear();
                if matches!(self.read().await, Ok(0) | Err(_)) {
                    return;
                }
                body.feed(&self.bytes);
            }
        };
        // Whoever never finishes has said enough.
        let _ = timeout_at(until, more).await;
        body.into_text()
    }

    async fn read(&mut self) -> io::Result<usize> {
        self.bytes.reserve(READ_BYTES);
        self.stream.read_buf(&mut self.bytes).await
    }
}

fn refusal(head: &Head, body: String) -> UpgradeRefusal {
    let text = |name: &str| head.text(name).map(PeerText::from);
    let mut refusal = UpgradeRefusal::new(head.status);
    refusal.reason = head.reason.as_str().into();
    refusal.location = text("location");
    refusal.authenticate = text("www-authenticate").or_else(|| text("proxy-authenticate"));
    refusal.retry_after = retry_after(head);
    refusal.body = body.into();
    refusal
}

/// `Retry-After`, which is in seconds or a date (RFC 9110, 10.2.3). The date is the server's, as is the `Date` of the
/// answer; our clock is taken where that is missing.
pub(crate) fn retry_after(head: &Head) -> Option<Duration> {
    let value = head.first("retry-after")?;
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Only a number too large for any wait does not fit.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(&value).ok()?;
    let now = head.first("date").and_then(|date| httpdate::parse_http_date(&date).ok());
    Some(date.duration_since(now.unwrap_or_else(SystemTime::now)).unwrap_or_default())
}
