//! One websocket: messages both ways, polled by hand so that a stuck writer does not stop the reader.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::{Error as WsError, Message as WsMessage};

use crate::model::Message;

use super::{CloseAnswer, ConnectionGuard};

/// Messages read in one turn, so that a busy peer cannot starve its own answers.
const READS_PER_TURN: usize = 64;
/// Bytes of messages after which a turn ends: what they are answered with has to be counted before more is read.
const BYTES_PER_TURN: usize = 256 * 1024;
/// Bytes of answers to pings that may wait for the peer to read: whoever pings faster than it reads is let go.
const PONG_BYTES_MAX: u64 = 1024 * 1024;
/// Turns in one poll, so that a busy connection cannot starve other tasks of its thread.
const TURNS_PER_POLL: usize = 16;

/// A connection of the model and its socket.
///
/// Fields are dropped in order: the model learns of the end before the peer can react to it.
pub(super) struct WebSocketConnection<S> {
    guard: ConnectionGuard,
    socket: WebSocketStream<Metered<S>>,
    /// Messages the socket has no room for yet.
    outgoing: VecDeque<WsMessage>,
    /// Bytes given to the websocket layer so far, as frames.
    framed: u64,
    /// Bytes of the answers to pings since everything was last flushed.
    pong_bytes: u64,
    needs_flush: bool,
    /// The model wants the stream dropped.
    terminated: bool,
    /// Nothing can be sent any more: the peer has said close, or writing failed. What it sent before is still read.
    mute: bool,
    /// The buffer level the model knows.
    buffered: u64,
    /// Whether the peer is one that may send what it likes, as it is after hello.
    widened: bool,
    /// The peer has said close and waits for the answer.
    silence: Option<Silence>,
}

/// A close frame that is not answered, or not before a time.
struct Silence {
    until: Option<Pin<Box<Sleep>>>,
}

impl Silence {
    fn begun_by(answer: CloseAnswer) -> Option<Self> {
        match answer {
            CloseAnswer::Prompt => None,
            CloseAnswer::Late(by) => Some(Self { until: Some(Box::pin(tokio::time::sleep(by))) }),
            CloseAnswer::Never => Some(Self { until: None }),
        }
    }
}

/// The conversation has ended.
struct Over;

impl<S> WebSocketConnection<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    pub(super) fn new(guard: ConnectionGuard, socket: WebSocketStream<Metered<S>>) -> Self {
        WebSocketConnection {
            guard,
            socket,
            outgoing: VecDeque::new(),
            framed: 0,
            pong_bytes: 0,
            needs_flush: false,
            terminated: false,
            mute: false,
            buffered: 0,
            widened: false,
            silence: None,
        }
    }

    pub(super) async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..TURNS_PER_POLL {
            match self.turn(cx) {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(Over) => return Poll::Ready(()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// One turn; true if there may be more to do.
    fn turn(&mut self, cx: &mut Context<'_>) -> Result<bool, Over> {
        if self.silence.is_some() {
            return self.keep_silent(cx);
        }
        self.clear_desk();
        self.poll_write(cx)?;
        // Also when there is always more to read: the model drops a peer that only ever sends.
        self.report_buffered();
        let moved = self.poll_read(cx)?;
        if moved {
            return Ok(true);
        }
        // The socket has nothing to do; the queue is looked at last, because reading has filled it.
        Ok(!self.park(cx.waker()))
    }

    /// A close frame is not answered, or not yet: the websocket layer would answer it when it is touched next.
    fn keep_silent(&mut self, cx: &mut Context<'_>) -> Result<bool, Over> {
        self.clear_desk();
        self.outgoing.clear();
        if self.terminated {
            return Err(Over);
        }
        let until = self.silence.as_mut().and_then(|silence| silence.until.as_mut());
        if until.is_some_and(|until| until.as_mut().poll(cx).is_ready()) {
            self.silence = None;
            return Ok(true);
        }
        let mut bytes = [0; 1024];
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(self.socket.get_mut()).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => Err(Over),
            Poll::Ready(Ok(())) => Ok(true),
            Poll::Ready(Err(_)) => Err(Over),
            Poll::Pending => Ok(!self.park(cx.waker())),
        }
    }

    fn clear_desk(&mut self) {
        let WebSocketConnection { guard, outgoing, terminated, .. } = self;
        guard.with_desk(|queue| {
            outgoing.append(&mut queue.messages);
            *terminated = queue.terminated;
        });
    }

    /// Waits for the queue, unless there is something on it.
    fn park(&self, waker: &Waker) -> bool {
        self.guard.with_desk(|queue| {
            let idle = queue.messages.is_empty() && queue.terminated == self.terminated;
            if idle {
                queue.task = Some(waker.clone());
            }
            idle
        })
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<(), Over> {
        if self.try_write(cx).is_err() {
            self.mute = true;
            self.needs_flush = false;
        }
        if self.mute {
            self.outgoing.clear();
        }
        // One attempt is what a dropped socket has: the kernel may still have had room.
        if self.terminated { Err(Over) } else { Ok(()) }
    }

    fn try_write(&mut self, cx: &mut Context<'_>) -> Result<(), WsError> {
        let mut socket = Pin::new(&mut self.socket);
        while !self.mute && !self.outgoing.is_empty() {
            let Poll::Ready(ready) = socket.as_mut().poll_ready(cx) else { return Ok(()) };
            ready?;
            let message = self.outgoing.pop_front().expect("it is not empty");
            self.framed += frame_bytes(&message);
            socket.as_mut().start_send(message)?;
            self.needs_flush = true;
        }
        if self.needs_flush
            && let Poll::Ready(flushed) = socket.as_mut().poll_flush(cx)
        {
            flushed?;
            self.needs_flush = false;
            self.pong_bytes = 0;
            // Answers to pings were written, too.
            self.framed = self.socket.get_ref().written;
        }
        Ok(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<bool, Over> {
        let mut bytes = 0;
        for read in 0..READS_PER_TURN {
            if bytes >= BYTES_PER_TURN {
                return Ok(true);
            }
            let Poll::Ready(next) = Pin::new(&mut self.socket).poll_next(cx) else { return Ok(read > 0) };
            match next {
                Some(Ok(WsMessage::Text(text))) => {
                    bytes += text.len();
                    self.message(Message::Text(Arc::from(text.as_str())));
                }
                Some(Ok(WsMessage::Binary(data))) => {
                    bytes += data.len();
                    self.message(Message::Binary(Arc::from(&*data)));
                }
                Some(Ok(WsMessage::Pong(_))) => self.guard.pong(),
                // The websocket layer has queued the answer, which is written before more is read.
                Some(Ok(ping @ WsMessage::Ping(_))) => {
                    self.pinged(frame_bytes(&ping))?;
                    return Ok(true);
                }
                Some(Ok(WsMessage::Close(_))) => {
                    self.mute = true;
                    self.needs_flush = true;
                    self.silence = Silence::begun_by(self.guard.host.socket_policy().close_answer);
                    if self.silence.is_some() {
                        return Ok(true);
                    }
                }
                Some(Ok(WsMessage::Frame(_))) => unreachable!("raw frames are not read"),
                Some(Err(WsError::Capacity(_))) => {
                    self.refuse_giant(cx);
                    return Err(Over);
                }
                Some(Err(_)) | None => {
                    if self.socket.get_ref().allowance == 0 {
                        self.refuse_giant(cx);
                    }
                    return Err(Over);
                }
            }
        }
        Ok(true)
    }

    /// An answer of as many bytes waits to be written.
    fn pinged(&mut self, answer_bytes: u64) -> Result<(), Over> {
        self.needs_flush = true;
        self.pong_bytes += answer_bytes;
        self.framed += answer_bytes;
        if self.pong_bytes > PONG_BYTES_MAX { Err(Over) } else { Ok(()) }
    }

    /// Gives the model a message, which may be the one after which larger ones are welcome.
    fn message(&mut self, message: Message) {
        self.guard.message(message);
        if !self.widened && self.guard.is_established() {
            self.widened = true;
            self.socket.get_mut().allowance = u64::MAX;
        }
    }

    /// The close code of a message that is too large even to show it to the model.
    fn refuse_giant(&mut self, cx: &mut Context<'_>) {
        let frame = CloseFrame { code: 1009.into(), reason: "".into() };
        let mut socket = Pin::new(&mut self.socket);
        if socket.as_mut().start_send(WsMessage::Close(Some(frame))).is_ok() {
            // One attempt: the rest of the message will not be read, so nothing waits for an answer.
            let _ = socket.poll_flush(cx);
        }
    }

    fn report_buffered(&mut self) {
        let waiting: u64 = self.outgoing.iter().map(frame_bytes).sum();
        let buffered = waiting + self.framed.saturating_sub(self.socket.get_ref().written);
        if buffered != self.buffered {
            self.buffered = buffered;
            self.guard.buffered(buffered);
        }
    }
}

/// The size of a message on the wire, unmasked.
fn frame_bytes(message: &WsMessage) -> u64 {
    let payload = message.len() as u64;
    let header = match payload {
        0..=125 => 2,
        126..=65_535 => 4,
        65_536.. => 10,
    };
    header + payload
}

/// A stream that counts the bytes it has taken, and gives only so many.
pub(super) struct Metered<S> {
    stream: S,
    written: u64,
    /// Bytes that may still be read.
    allowance: u64,
}

impl<S> Metered<S> {
    /// The websocket layer learns its limits once, so what strangers may send is limited here.
    pub(super) fn new(stream: S, allowance: u64) -> Self {
        Metered { stream, written: 0, allowance }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.allowance == 0 {
            return Poll::Ready(Err(io::ErrorKind::FileTooLarge.into()));
        }
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        let taken = (into.filled().len() - before) as u64;
        self.allowance = self.allowance.saturating_sub(taken);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, data);
        if let Poll::Ready(Ok(len)) = written {
            self.written += len as u64;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
