//! One dial attempt and the websocket it leads to, as a thing that is polled.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio::time::Instant as TokioInstant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};

use crate::core::{
    Close, ConnectionError, DialError, Endpoint, Epoch, Headers, Input, Options, PeerText, WireText,
};
use crate::network::{Network, dial_error};

use super::counted::Counted;
use super::incoming::Incoming;
use super::upgrade::{UpgradeRequest, upgrade};

/// Messages read in one turn, so that a busy gateway cannot starve commands and timers.
const READS_PER_TURN: usize = 64;
/// What the websocket layer reads at once. It clears all of it before every read, so its default of
/// 128 KiB would cost more than the rest of a small message.
const READ_BUFFER_BYTES: usize = 16 * 1024;
/// What the websocket layer collects before it writes without being asked to.
const WRITE_BUFFER_BYTES: usize = 128 * 1024;
/// The most that one byte of a method becomes in JSON, as `\u0000`.
const JSON_ESCAPE_BYTES: usize = 6;
/// Opcode, length and mask of a short frame from a client.
const CONTROL_FRAME_HEADER_BYTES: usize = 6;
/// How long before the end of the time for a dial a refusal is told as it is.
const UPGRADE_MARGIN: Duration = Duration::from_millis(10);

/// How long before the end of the time for a dial the network is told to give up.
const CONNECT_MARGIN: Duration = Duration::from_millis(20);

type WebSocket<S> = WebSocketStream<Counted<S>>;
type Dial<S> = Pin<Box<dyn Future<Output = Result<WebSocket<S>, DialError>> + Send>>;

/// The socket of one epoch.
///
/// ```text
///   Dialing ──▶ Open ──▶ Closing ──▶ Done
///      └──────────┴────────────────────▲
/// ```
pub(super) struct Socket<S> {
    pub(super) epoch: Epoch,
    state: State<S>,
    outbox: VecDeque<Message>,
    incoming: Incoming,
    /// What the network knows of bytes that cannot be read yet.
    bytes_arrived: fn(&S) -> Option<u64>,
    /// Frames taken by the websocket layer and not flushed yet.
    unflushed: usize,
    /// Bytes of the answers to pings since everything was last flushed.
    pong_bytes: usize,
    max_pong_bytes: usize,
    needs_flush: bool,
}

enum State<S> {
    Dialing(Dial<S>),
    Open(Box<WebSocket<S>>),
    /// Our close frame is on its way; what still arrives is read and ignored until the peer's.
    Closing(Box<WebSocket<S>>),
    Done,
}

impl<S> Socket<S>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    /// Begins to dial. Nothing happens until the socket is polled.
    pub(super) fn dial<N: Network<Stream = S>>(
        network: Arc<N>,
        epoch: Epoch,
        endpoint: Endpoint,
        headers: Arc<Headers>,
        limits: SocketLimits,
        started: TokioInstant,
    ) -> Self {
        let dial = async move {
            let give_up_at =
                TokioInstant::now().checked_add(limits.dial_timeout.saturating_sub(UPGRADE_MARGIN));
            let stream = network.connect_within(&endpoint, limits.connect_timeout()).await;
            let stream = stream.map_err(|error| dial_error(&error))?;
            let max_head_bytes = limits.max_upgrade_bytes;
            let request =
                UpgradeRequest { endpoint: &endpoint, headers: &headers, max_head_bytes, give_up_at };
            upgrade(Counted::new(stream), request, limits.websocket_config()).await
        };
        Self {
            epoch,
            state: State::Dialing(Box::pin(dial)),
            outbox: VecDeque::new(),
            incoming: Incoming::new(epoch, started),
            bytes_arrived: N::bytes_arrived,
            unflushed: 0,
            pong_bytes: 0,
            max_pong_bytes: limits.max_pong_bytes,
            needs_flush: false,
        }
    }

    /// Queues a message. The core bounds how many can be queued.
    pub(super) fn send(&mut self, text: &WireText) {
        self.outbox.push_back(Message::text(&*text.0));
    }

    /// Queues a ping.
    pub(super) fn ping(&mut self) {
        self.outbox.push_back(Message::Ping(Bytes::new()));
    }

    /// What has arrived of a message that is not whole, if that has not been told.
    pub(super) fn unreported_bytes(&mut self) -> Option<Input> {
        self.incoming.report()
    }

    /// Ends the socket; true if it may be dropped now.
    pub(super) fn close(&mut self, close: &Close) -> bool {
        self.outbox.clear();
        match close {
            Close::Now { code, reason } => {
                self.try_close_frame(*code, reason);
                true
            }
            Close::Graceful { code, reason } => {
                self.outbox.push_back(close_message(*code, reason));
                self.state = match std::mem::replace(&mut self.state, State::Done) {
                    State::Open(websocket) | State::Closing(websocket) => State::Closing(websocket),
                    State::Dialing(_) | State::Done => State::Done,
                };
                false
            }
        }
    }

    /// One attempt at a close frame, without waiting: the peer may be dead.
    fn try_close_frame(&mut self, code: u16, reason: &str) {
        let State::Open(websocket) = &mut self.state else { return };
        let mut cx = Context::from_waker(Waker::noop());
        let mut websocket = Pin::new(&mut **websocket);
        if websocket.as_mut().poll_ready(&mut cx).is_ready()
            && websocket.as_mut().start_send(close_message(code, reason)).is_ok()
        {
            // Whatever comes of it, the socket is dropped next.
            let _ = websocket.poll_flush(&mut cx);
        }
    }

    /// Moves everything that can move and appends what happened to `inputs`.
    ///
    /// Ready when something was appended. After an input that ends the socket it is never polled
    /// again, because the owner drops it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, inputs: &mut Vec<Input>) -> Poll<()> {
        let before = inputs.len();
        if let State::Dialing(dial) = &mut self.state {
            match dial.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(websocket)) => {
                    self.state = State::Open(Box::new(websocket));
                    inputs.push(Input::Opened { epoch: self.epoch });
                }
                Poll::Ready(Err(error)) => {
                    self.state = State::Done;
                    inputs.push(Input::DialFailed { epoch: self.epoch, error });
                }
            }
        } else {
            self.poll_read(cx, inputs);
            if let State::Open(websocket) = &self.state {
                let stream = websocket.get_ref();
                let read = stream.bytes_read();
                let arrived = (self.bytes_arrived)(stream.get_ref()).unwrap_or(read);
                inputs.extend(self.incoming.look(read, arrived));
            }
            self.poll_write(cx, inputs);
        }
        if inputs.len() > before { Poll::Ready(()) } else { Poll::Pending }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, inputs: &mut Vec<Input>) {
        for _ in 0..READS_PER_TURN {
            let (websocket, closing) = match &mut self.state {
                State::Open(websocket) => (websocket, false),
                State::Closing(websocket) => (websocket, true),
                State::Dialing(_) | State::Done => return,
            };
            let Poll::Ready(next) = Pin::new(&mut **websocket).poll_next(cx) else { return };
            match next {
                Some(Ok(Message::Close(frame))) => {
                    // The answer to the close is queued by now; give it one chance to leave, as the
                    // gateway waits for it (protocol 16.3).
                    let _ = Pin::new(&mut **websocket).poll_flush(cx);
                    return self.done(closed_by_peer(frame), inputs);
                }
                Some(Ok(message)) => {
                    match &message {
                        Message::Ping(payload) | Message::Pong(payload) => {
                            self.incoming.control(payload.len());
                        }
                        Message::Text(_) | Message::Binary(_) | Message::Frame(_) | Message::Close(_) => {
                            self.incoming.whole(websocket.get_ref().bytes_read());
                        }
                    }
                    if !closing {
                        inputs.push(received(self.epoch, &message));
                    }
                    if let Message::Ping(payload) = &message {
                        return self.pinged(payload.len(), cx, inputs);
                    }
                }
                Some(Err(error)) => return self.done(lost(&error), inputs),
                None => return self.done(ConnectionError::Lost("the stream ended".into()), inputs),
            }
        }
        // More may be waiting: come back after the other work of this turn.
        cx.waker().wake_by_ref();
    }

    /// The websocket layer has queued the answer to a ping. It is flushed before more is read, so each turn
    /// answers one ping at most. The socket is read on while the answers wait, because the peer may read only
    /// after it has written; so what waits is bounded.
    fn pinged(&mut self, payload_bytes: usize, cx: &mut Context<'_>, inputs: &mut Vec<Input>) {
        self.needs_flush = true;
        self.pong_bytes += CONTROL_FRAME_HEADER_BYTES + payload_bytes;
        if self.pong_bytes > self.max_pong_bytes {
            return self.done(ConnectionError::PingFlood { limit: self.max_pong_bytes }, inputs);
        }
        // While the socket is open, the ping is an input, and another turn follows.
        if let State::Closing(_) = self.state {
            cx.waker().wake_by_ref();
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, inputs: &mut Vec<Input>) {
        let (State::Open(websocket) | State::Closing(websocket)) = &mut self.state else { return };
        let mut websocket = Pin::new(&mut **websocket);
        while !self.outbox.is_empty() {
            match websocket.as_mut().poll_ready(cx) {
                Poll::Pending => return,
                Poll::Ready(Err(error)) => return self.done(lost(&error), inputs),
                Poll::Ready(Ok(())) => {}
            }
            let message = self.outbox.pop_front().expect("the outbox was not empty");
            // The core counts what it has to say, and not the pings.
            self.unflushed += usize::from(!message.is_ping());
            if let Err(error) = websocket.as_mut().start_send(message) {
                return self.done(lost(&error), inputs);
            }
            self.needs_flush = true;
        }
        if !self.needs_flush {
            return;
        }
        match websocket.poll_flush(cx) {
            Poll::Pending => {}
            Poll::Ready(Err(error)) => self.done(lost(&error), inputs),
            Poll::Ready(Ok(())) => {
                self.needs_flush = false;
                self.pong_bytes = 0;
                let frames = std::mem::take(&mut self.unflushed);
                if frames > 0 {
                    inputs.push(Input::Written { epoch: self.epoch, frames });
                }
            }
        }
    }

    fn done(&mut self, error: ConnectionError, inputs: &mut Vec<Input>) {
        self.state = State::Done;
        inputs.push(Input::Closed { epoch: self.epoch, error });
    }
}

/// The limits of one socket, out of the options of its client.
#[derive(Clone, Copy)]
pub(super) struct SocketLimits {
    max_message_bytes: usize,
    max_pong_bytes: usize,
    max_upgrade_bytes: usize,
    dial_timeout: Duration,
    /// The largest frame that a request can become.
    max_request_bytes: usize,
}

impl SocketLimits {
    pub(super) fn of(options: &Options) -> Self {
        Self {
            max_message_bytes: options.max_message_bytes,
            max_pong_bytes: options.max_pong_bytes,
            max_upgrade_bytes: options.max_upgrade_bytes,
            dial_timeout: options.dial_timeout,
            max_request_bytes: options.max_queued_bytes.saturating_mul(JSON_ESCAPE_BYTES),
        }
    }

    /// What the network has. It ends a little before the dial does, so that it can still say what it waited for.
    fn connect_timeout(self) -> Duration {
        self.dial_timeout.saturating_sub(CONNECT_MARGIN)
    }

    /// The write buffer takes a message only when the one before it has left, so what it must hold is its own
    /// minimum, one message, and the answers to pings.
    fn websocket_config(self) -> WebSocketConfig {
        let max_write_buffer_bytes = (2 * WRITE_BUFFER_BYTES)
            .saturating_add(self.max_request_bytes)
            .saturating_add(self.max_pong_bytes);
        WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_write_buffer_size(max_write_buffer_bytes)
            .max_message_size(Some(self.max_message_bytes))
            .max_frame_size(Some(self.max_message_bytes))
    }
}

fn received(epoch: Epoch, message: &Message) -> Input {
    match message {
        Message::Text(text) => Input::Received { epoch, text: WireText::from(text.as_str()) },
        Message::Binary(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Input::Received { epoch, text: WireText::from(text) },
            Err(_) => Input::Unreadable { epoch },
        },
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) | Message::Close(_) => {
            Input::Activity { epoch }
        }
    }
}

fn close_message(code: u16, reason: &str) -> Message {
    Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }))
}

fn closed_by_peer(frame: Option<CloseFrame>) -> ConnectionError {
    match frame {
        Some(frame) => {
            ConnectionError::Closed { code: frame.code.into(), reason: frame.reason.as_str().into() }
        }
        None => ConnectionError::Closed { code: 1005, reason: PeerText::default() },
    }
}

fn lost(error: &WsError) -> ConnectionError {
    match error {
        WsError::ConnectionClosed => ConnectionError::Closed { code: 1005, reason: PeerText::default() },
        WsError::Io(error) => ConnectionError::Lost(io_text(error)),
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            ConnectionError::Lost("the stream ended without a close frame".into())
        }
        other => ConnectionError::Lost(other.to_string().into()),
    }
}

/// The kind alone where it says enough: the full text differs between operating systems.
fn io_text(error: &io::Error) -> PeerText {
    match error.kind() {
        io::ErrorKind::ConnectionReset => "the connection was reset".into(),
        io::ErrorKind::BrokenPipe => "the connection is broken".into(),
        _ => error.to_string().into(),
    }
}
