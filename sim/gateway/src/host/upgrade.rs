//! The HTTP request at the beginning of every stream.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::machine::TryParse;
use tokio_tungstenite::tungstenite::handshake::server::{Request, create_response, write_response};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::model::{Admission, Probe, ProbeAnswer};

use super::Host;
use super::websocket_connection::Metered;

/// The longest request head, as in Node.js.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// What the websocket layer reads at once. It clears all of it before every read, so its default of 128 KiB would
/// take half the time of a run.
const READ_BUFFER_BYTES: usize = 16 * 1024;

const PLAIN: &str = "text/plain; charset=utf-8";

/// A stream that has become a websocket.
pub(super) struct Upgraded<S> {
    pub(super) socket: WebSocketStream<Metered<S>>,
    pub(super) origin: Option<Arc<str>>,
}

/// Reads the request and answers it; `None` if there is nothing more to do with the stream.
pub(super) async fn answer<S>(
    host: &Host,
    mut stream: S,
    local: bool,
    message_bytes_max: usize,
) -> io::Result<Option<Upgraded<S>>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Ok(read) = timeout(host.shared.head_timeout, read_head(&mut stream)).await else {
        stream.write_all(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n").await?;
        return Ok(None);
    };
    let Some((head, rest)) = read? else { return Ok(None) };
    let Ok(Some((_, request))) = Request::try_parse(&head) else {
        return match probed_otherwise(&head) {
            Some((method, probe)) => answer_probe(host, stream, probe, method, local).await,
            None => refuse(stream, "400 Bad Request", PLAIN, "Bad Request").await,
        };
    };
    if !request.headers().contains_key("upgrade") {
        return match Probe::at(request.uri().path()) {
            Some(probe) => answer_probe(host, stream, probe, "GET", local).await,
            None => refuse(stream, "404 Not Found", PLAIN, "Not Found").await,
        };
    }
    match host.admission() {
        Admission::Open => {}
        Admission::Refused => return Ok(None),
        Admission::Unavailable(body) => {
            return refuse(stream, "503 Service Unavailable", PLAIN, body).await;
        }
    }
    let Ok(response) = create_response(&request) else {
        return refuse(stream, "400 Bad Request", PLAIN, "Bad Request").await;
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

/// The method and the probe of a request that is no GET, which the websocket library does not read.
fn probed_otherwise(head: &[u8]) -> Option<(&str, Probe)> {
    let line = std::str::from_utf8(head).ok()?.lines().next()?;
    let mut words = line.strip_suffix(" HTTP/1.1")?.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let path = target.split('?').next().unwrap_or_default();
    let is_method = method != "GET" && method.bytes().all(|byte| byte.is_ascii_uppercase());
    Probe::at(path).filter(|_| is_method).map(|probe| (method, probe))
}

async fn answer_probe<S, T>(
    host: &Host,
    stream: S,
    probe: Probe,
    method: &str,
    local: bool,
) -> io::Result<Option<T>>
where
    S: AsyncWrite + Unpin,
{
    if !matches!(method, "GET" | "HEAD") {
        let headers = format!("Allow: GET, HEAD\r\nContent-Type: {PLAIN}");
        return respond(stream, "405 Method Not Allowed", &headers, "Method Not Allowed", true).await;
    }
    if host.admission() == Admission::Refused {
        return Ok(None);
    }
    let ProbeAnswer { ok, body } = host.probe(probe, local);
    let status = if ok { "200 OK" } else { "503 Service Unavailable" };
    let headers = "Content-Type: application/json; charset=utf-8\r\nCache-Control: no-store";
    respond(stream, status, headers, &body, method == "GET").await
}

/// Answers without an upgrade, with the headers in the order the gateway sends them (protocol 1.4).
async fn refuse<S, T>(stream: S, status: &str, content_type: &str, body: &str) -> io::Result<Option<T>>
where
    S: AsyncWrite + Unpin,
{
    respond(stream, status, &format!("Content-Type: {content_type}"), body, true).await
}

/// Answers and ends the stream. The length is that of the body, whether it is sent or only asked for.
async fn respond<S, T>(
    mut stream: S,
    status: &str,
    headers: &str,
    body: &str,
    with_body: bool,
) -> io::Result<Option<T>>
where
    S: AsyncWrite + Unpin,
{
    let (length, sent) = (body.len(), if with_body { body } else { "" });
    let response = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\nContent-Length: {length}\r\n\r\n{sent}"
    );
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(None)
}
