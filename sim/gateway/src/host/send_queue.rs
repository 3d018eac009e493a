//! The model and the queues of what it wants sent.

use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use tokio_tungstenite::tungstenite::Message as WsMessage;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;

use crate::model::{Admission, ConnectionId, Effect, GatewayModel, Input, Peer};

use super::Observer;

/// The model, its observer, and a queue for each connection.
pub(super) struct Connections {
    pub(super) model: GatewayModel,
    observer: Box<dyn Observer>,
    connections: BTreeMap<ConnectionId, SendQueue>,
    accepted: u32,
    /// The latest time the model was told.
    now: Duration,
    /// Reused between steps.
    effects: Vec<Effect>,
}

/// What waits to be sent on one connection.
#[derive(Default)]
pub(super) struct SendQueue {
    pub(super) messages: VecDeque<WsMessage>,
    /// The connection is to be dropped after one attempt to send the messages.
    pub(super) terminated: bool,
    /// The connection's task, when it waits.
    pub(super) task: Option<Waker>,
}

impl Connections {
    pub(super) fn new(model: GatewayModel, observer: Box<dyn Observer>) -> Self {
        Connections {
            model,
            observer,
            connections: BTreeMap::new(),
            accepted: 0,
            now: Duration::ZERO,
            effects: Vec::new(),
        }
    }

    pub(super) fn is_listening(&self) -> bool {
        match self.model.admission() {
            Admission::Open | Admission::Unavailable(_) => true,
            Admission::Refused => false,
        }
    }

    /// `now`, unless the model was told a later time already.
    pub(super) fn not_before(&self, now: Duration) -> Duration {
        now.max(self.now)
    }

    /// The queue of a connection whose guard lives.
    pub(super) fn queue(&mut self, connection: ConnectionId) -> &mut SendQueue {
        self.connections.get_mut(&connection).expect("a connection has a queue until it leaves")
    }

    pub(super) fn accept(&mut self, now: Duration, peer: Peer, wake: &mut Vec<Waker>) -> ConnectionId {
        self.accepted += 1;
        let connection = ConnectionId(self.accepted);
        self.connections.insert(connection, SendQueue::default());
        self.step(now, Input::Accepted { connection, peer }, wake);
        connection
    }

    pub(super) fn leave(&mut self, now: Duration, connection: ConnectionId, wake: &mut Vec<Waker>) {
        let terminated = self.connections.remove(&connection).is_some_and(|queue| queue.terminated);
        if !terminated {
            self.step(now, Input::Disconnected { connection }, wake);
        }
    }

    /// One step of the model, after whatever was due before it.
    ///
    /// Timers of the runtime are late by up to a millisecond; an input that comes in between must not overtake what
    /// the model meant to do before.
    pub(super) fn step(&mut self, now: Duration, input: Input, wake: &mut Vec<Waker>) {
        let overdue = self.model.next_deadline().is_some_and(|deadline| deadline < now);
        if overdue && !matches!(input, Input::Timeout) {
            self.step_once(now, Input::Timeout, wake);
        }
        self.step_once(now, input, wake);
    }

    fn step_once(&mut self, now: Duration, input: Input, wake: &mut Vec<Waker>) {
        self.now = now;
        if let Input::Received { connection, message } = &input {
            self.observer.received(now, *connection, message);
        }
        let mut effects = std::mem::take(&mut self.effects);
        self.model.step(now, input, &mut effects);
        for effect in effects.drain(..) {
            self.apply(effect, wake);
        }
        self.effects = effects;
    }

    fn apply(&mut self, effect: Effect, wake: &mut Vec<Waker>) {
        match effect {
            Effect::Send { connection, text } => {
                self.observer.sent(self.now, connection, &text);
                self.enqueue(connection, WsMessage::text(&*text), wake);
            }
            Effect::SendBinary { connection, data } => {
                self.observer.sent_binary(self.now, connection, &data);
                self.enqueue(connection, WsMessage::Binary(Bytes::copy_from_slice(&data)), wake);
            }
            Effect::Ping { connection } => self.enqueue(connection, WsMessage::Ping(Bytes::new()), wake),
            Effect::Close { connection, code, reason } => {
                let frame = CloseFrame { code: code.into(), reason: reason.as_ref().into() };
                self.enqueue(connection, WsMessage::Close(Some(frame)), wake);
            }
            Effect::Terminate { connection } => {
                if let Some(queue) = self.connections.get_mut(&connection) {
                    queue.terminated = true;
                    wake.extend(queue.task.take());
                }
            }
            Effect::ModelEvent(note) => self.observer.note(self.now, &note),
        }
    }

    /// Messages to a connection that has just left go nowhere.
    fn enqueue(&mut self, connection: ConnectionId, message: WsMessage, wake: &mut Vec<Waker>) {
        if let Some(queue) = self.connections.get_mut(&connection) {
            queue.messages.push_back(message);
            wake.extend(queue.task.take());
        }
    }
}
