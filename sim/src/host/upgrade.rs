//! The HTTP request at the beginning of every stream.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::machine::TryParse;
use tokio_tungstenite::tungstenite::handshake::server::{Request, create_response, write_response};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::gateway::Admission;

use super::Host;
use super::conversation::Metered;

/// The longest request head, as in Node.js.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// What the websocket layer reads at once. It clears all of it before every read, so its default of 128 KiB would
/// take half the time of a run.
const READ_BUFFER_BYTES: usize = 16 * 1024;

/// A stream that has become a websocket.
pub(super) struct Upgraded<S> {
    pub(super) socket: WebSocketStream<Metered<S>>,
    pub(super) origin: Option<Arc<str>>,
}

/// Reads the request and answers it; `None` if there is nothing more to do with the stream.
pub(super) async fn answer<S>(
    host: &Host,
    mut stream: S,
    message_bytes_max: usize,
) -> io::Result<Option<Upgraded<S>>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Some((head, rest)) = read_head(&mut stream).await? else { return Ok(None) };
    let Ok(Some((_, request))) = Request::try_parse(&head) else {
        return refuse(stream, "400 Bad Request", "text/plain; charset=utf-8", "Bad Request").await;
    };
    if !request.headers().contains_key("upgrade") {
        return match request.uri().path() {
            "/health" | "/healthz" => {
                let body = r#"{"ok":true,"status":"live"}"#;
                refuse(stream, "200 OK", "application/json; charset=utf-8", body).await
            }
            _ => refuse(stream, "404 Not Found", "text/plain; charset=utf-8", "Not Found").await,
        };
    }
    match host.admission() {
        Admission::Open => {}
        Admission::Refused => return Ok(None),
        Admission::Unavailable(body) => {
            return refuse(stream, "503 Service Unavailable", "text/plain; charset=utf-8", body).await;
        }
    }
    let Ok(response) = create_response(&request) else {
        return refuse(stream, "400 Bad Request", "text/plain; charset=utf-8", "Bad Request").await;
    };
    let mut bytes = Vec::new();
    write_response(&mut bytes, &response).map_err(io::Error::other)?;
    stream.write_all(&bytes).await?;
    stream.flush().await?;

    let origin = request.headers().get("origin").map(|origin| String::from_utf8_lossy(origin.as_bytes()));
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max));
    let metered = Metered::new(stream, host.shared.preauth_allowance);
    let socket = WebSocketStream::from_partially_read(metered, rest, Role::Server, Some(config)).await;
    Ok(Some(Upgraded { socket, origin: origin.map(Arc::from) }))
}

/// Reads until the peer gives up, and says nothing.
pub(super) async fn ignore(mut stream: impl AsyncRead + Unpin) {
    let mut bytes = [0; 1024];
    while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
}

/// The request head, and what came with it; `None` if there is none.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut head = Vec::with_capacity(1024);
    loop {
        let seen = head.len();
        if stream.read_buf(&mut head).await? == 0 || seen > HEAD_BYTES_MAX {
            return Ok(None);
        }
        // The end may have come in two pieces.
        let from = seen.saturating_sub(3);
        if let Some(at) = head[from..].windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let rest = head.split_off(from + at + 4);
            return Ok(Some((head, rest)));
        }
    }
}

/// Answers without an upgrade, with the headers in the order the gateway sends them (protocol 1.4).
async fn refuse<S, T>(mut stream: S, status: &str, content_type: &str, body: &str) -> io::Result<Option<T>>
where
    S: AsyncWrite + Unpin,
{
    let length = body.len();
    let response = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(None)
}
