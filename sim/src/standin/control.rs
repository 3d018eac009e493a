//! The HTTP control: `POST /__sim/<word>`, with what the word takes as the body.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::base::visible;

use super::command::{Command, WordError, help};
use super::stall_switch::StallSwitch;
use super::stallable_stream::StallableStream;
use super::{EventLog, Steering};

/// Requests at a time.
const REQUESTS_MAX: usize = 32;
/// How long a request may take to arrive.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 16 * 1024;
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Serves control requests for ever.
pub(super) async fn serve(listener: &TcpListener, steering: &Steering, event_log: &EventLog) {
    let room = Arc::new(Semaphore::new(REQUESTS_MAX));
    let mut requests = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = requests.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
                    let stallable_stream = StallableStream::new(stream, permit, StallSwitch::default());
                    requests.spawn(answer(stallable_stream, steering.clone(), event_log.clone()));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
        }
    }
}

/// What was asked.
struct Request {
    method: String,
    path: String,
    from_browser: bool,
    body: String,
}

/// What is answered.
struct Reply {
    status: &'static str,
    text: String,
}

impl Reply {
    fn new(status: &'static str, text: impl Into<String>) -> Self {
        // It repeats what was asked, and is read in a terminal.
        Reply { status, text: visible::lines(&text.into()) }
    }
}

async fn answer(mut stallable_stream: StallableStream, steering: Steering, event_log: EventLog) {
    let request = tokio::time::timeout(REQUEST_TIMEOUT, read(&mut stallable_stream)).await;
    let reply = match request {
        Ok(Ok(Ok(request))) => respond(&request, &steering, &event_log),
        Ok(Ok(Err(refusal))) => refusal,
        // There is nobody to answer to, or nobody in time.
        Ok(Err(_)) | Err(_) => return,
    };
    let Reply { status, text } = reply;
    let response = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n{text}\n",
        text.len() + 1
    );
    let write = async {
        stallable_stream.write_all(response.as_bytes()).await?;
        stallable_stream.shutdown().await
    };
    // A peer that does not read its answer does without.
    let _: Result<io::Result<()>, _> = tokio::time::timeout(REQUEST_TIMEOUT, write).await;
}

fn respond(request: &Request, steering: &Steering, event_log: &EventLog) -> Reply {
    if request.from_browser {
        // Any page a developer has open could otherwise steer the gateway.
        return Reply::new("403 Forbidden", "requests with an Origin are not served");
    }
    let path = request.path.split('?').next().unwrap_or_default();
    let Some(word) = path.strip_prefix("/__sim/") else {
        return Reply::new("404 Not Found", format!("POST /__sim/<word>, where the words are:\n{}", help()));
    };
    let asks_only = matches!(word, "status" | "help");
    match request.method.as_str() {
        "POST" => {}
        "GET" if asks_only => {}
        _ => return Reply::new("405 Method Not Allowed", "use POST"),
    }
    match Command::parse(&format!("{word} {}", request.body)) {
        Ok(Command::Quit) => Reply::new("403 Forbidden", "only the prompt can end the stand-in"),
        Ok(command) => {
            if !asks_only {
                event_log.write(&format!("control: {}", command.in_words()));
            }
            Reply::new("200 OK", command.apply(steering))
        }
        Err(error @ WordError::Unknown(_)) => Reply::new("404 Not Found", error.to_string()),
        Err(error @ WordError::Arguments { .. }) => Reply::new("400 Bad Request", error.to_string()),
    }
}

/// Reads a request; the inner error is an answer to one that is not understood.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Result<Request, Reply>> {
    let bad = |why: &str| Ok(Err(Reply::new("400 Bad Request", why)));
    let mut bytes = Vec::with_capacity(1024);
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if bytes.len() > HEAD_BYTES_MAX {
            return Ok(Err(Reply::new("431 Request Header Fields Too Large", "the head is too large")));
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let mut body = bytes.split_off(head_end + 4);
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(path), Some("HTTP/1.1" | "HTTP/1.0"), None) =
        (first.next(), first.next(), first.next(), first.next())
    else {
        return bad("this is no HTTP/1.1");
    };
    let headers = || lines.clone().filter_map(|line| line.split_once(':'));
    let header = |name: &str| {
        headers().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    if header("transfer-encoding").is_some() {
        return Ok(Err(Reply::new("411 Length Required", "send a Content-Length")));
    }
    let Ok(length) = header("content-length").unwrap_or("0").parse::<usize>() else {
        return bad("the Content-Length is no number");
    };
    if length > BODY_BYTES_MAX {
        return Ok(Err(Reply::new("413 Content Too Large", "the body is too large")));
    }
    while body.len() < length {
        if stream.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    body.truncate(length);
    let Ok(body) = String::from_utf8(body) else { return bad("the body is no UTF-8") };
    let from_browser = header("origin").is_some();
    Ok(Ok(Request { method: method.to_owned(), path: path.to_owned(), from_browser, body }))
}
