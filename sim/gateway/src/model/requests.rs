//! Requests after hello: reading, starting, answering (protocol 2.3, 2.6, 8.5).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::effect::{ConnectionId, Deviation, Effect, Message, ModelEvent, TerminateCause};
use super::frame::{self, ErrorShape, Frame, Request};
use super::gateway_model::{GatewayModel, Turn};
use super::methods::Reply;
use super::misbehave::ResponsePolicy;
use super::session::Session;
use super::timer::{Answer, Timer};

/// Requests that wait for their start; the gateway starts only so many in one turn of its event loop.
#[derive(Debug, Clone, Default)]
pub(super) struct Starts {
    waiting: VecDeque<(ConnectionId, Request, ResponsePolicy)>,
    turn_began: Duration,
    started: usize,
}

impl Starts {
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.started = 0;
    }
}

impl GatewayModel {
    /// One message on an established connection.
    pub(super) fn on_message(&mut self, turn: &mut Turn<'_>, connection: ConnectionId, message: &Message) {
        match frame::read(&message.text()) {
            Frame::Request(request) => self.on_request(turn, connection, request),
            Frame::Invalid { id, complaint } => {
                turn.note(ModelEvent::FrameRejected { connection, answered: true });
                let error = ErrorShape::invalid_request(format!("invalid request frame: {complaint}"));
                let text = frame::response(&id, &frame::error_body(None, &error));
                if self.may_send(turn, connection) {
                    turn.effects.push(Effect::Send { connection, text });
                }
            }
            Frame::Garbage => turn.note(ModelEvent::FrameRejected { connection, answered: false }),
        }
    }

    fn on_request(&mut self, turn: &mut Turn<'_>, connection: ConnectionId, request: Request) {
        let (id, method) = (request.id.clone(), request.method.clone());
        turn.note(ModelEvent::RequestReceived { connection, id, method });
        if self.process.is_draining() {
            let message = format!("{} unavailable during gateway restart", request.method);
            let method = frame::string(&request.method);
            let details =
                format!(r#"{{"method":{method},"reason":"gateway-restarting","phase":"draining"}}"#);
            let error = ErrorShape::new("UNAVAILABLE", message).with_details(details).retryable(Some(1000));
            return self.fail(turn, connection, &request.id, &error);
        }
        let policy = self.deviation.take_treatment();
        if policy == ResponsePolicy::RefuseCapacity {
            self.misbehaved(turn, connection, Deviation::CapacityRefused);
            return self.fail(turn, connection, &request.id, &capacity_exceeded());
        }
        self.queue_start(turn, connection, request, policy);
    }

    fn queue_start(
        &mut self,
        turn: &mut Turn<'_>,
        connection: ConnectionId,
        request: Request,
        policy: ResponsePolicy,
    ) {
        let (limits, length) = (&self.config.limits, self.config.timing.turn);
        let starts = &mut self.starts;
        if turn.now >= starts.turn_began + length && starts.waiting.is_empty() {
            starts.turn_began = turn.now;
            starts.started = 0;
        }
        // What was started in this turn still counts: a burst arrives before the gateway's queue is drained.
        if starts.waiting.len() + starts.started >= limits.request_starts {
            return self.fail(turn, connection, &request.id, &capacity_exceeded());
        }
        if starts.waiting.is_empty() && starts.started < limits.starts_per_turn {
            starts.started += 1;
            return self.start_request(turn, connection, &request, policy);
        }
        if starts.waiting.is_empty() {
            self.timers.insert(starts.turn_began + length, Timer::Starts);
        }
        starts.waiting.push_back((connection, request, policy));
    }

    pub(super) fn on_starts_due(&mut self, turn: &mut Turn<'_>) {
        self.starts.turn_began = turn.now;
        self.starts.started = 0;
        while self.starts.started < self.config.limits.starts_per_turn.max(1) {
            let Some((connection, request, policy)) = self.starts.waiting.pop_front() else { return };
            self.starts.started += 1;
            self.start_request(turn, connection, &request, policy);
        }
        if !self.starts.waiting.is_empty() {
            self.timers.insert(turn.now + self.config.timing.turn, Timer::Starts);
        }
    }

    fn start_request(
        &mut self,
        turn: &mut Turn<'_>,
        connection: ConnectionId,
        request: &Request,
        policy: ResponsePolicy,
    ) {
        if self.sessions.get(&connection).is_none_or(|session| session.established().is_none()) {
            return;
        }
        let mut delay = self.latency_of(&request.method);
        let reply = match policy {
            ResponsePolicy::Faithful => self.call(turn, connection, request, delay),
            ResponsePolicy::Delay(by) => {
                delay += by;
                self.call(turn, connection, request, delay)
            }
            ResponsePolicy::Withhold => {
                self.misbehaved(turn, connection, Deviation::ResponseWithheld);
                // The work is done all the same; only its answer is lost.
                self.call(turn, connection, request, delay);
                return;
            }
            ResponsePolicy::Fail(rejection) => Reply::Error(Box::new((&*rejection).into())),
            ResponsePolicy::RefuseCapacity => Reply::Error(Box::new(capacity_exceeded())),
        };
        let id = request.id.clone();
        let answer = match reply {
            Reply::Payload(payload) => {
                Answer { id, body: frame::ok_body(&payload), ok: true, accepted: false }
            }
            Reply::Accepted(payload) => {
                Answer { id, body: frame::ok_body(&payload), ok: true, accepted: true }
            }
            Reply::Outcome { body, ok } => Answer { id, body, ok, accepted: false },
            Reply::Error(error) => {
                Answer { id, body: frame::error_body(None, &error), ok: false, accepted: false }
            }
            Reply::Later => return,
        };
        self.answer(turn, connection, answer, delay);
    }

    /// How long the answer to one request of this method takes.
    fn latency_of(&mut self, method: &str) -> Duration {
        let latencies = &self.config.latency;
        let latency = latencies.by_method.get(method).copied().unwrap_or(latencies.request);
        self.random.latency(latency)
    }

    /// Sends a response now or later.
    pub(super) fn answer(
        &mut self,
        turn: &mut Turn<'_>,
        connection: ConnectionId,
        answer: Answer,
        delay: Duration,
    ) {
        if delay.is_zero() {
            self.deliver(turn, connection, &answer);
        } else {
            let answer = Box::new(answer);
            self.timers.insert(turn.now + delay, Timer::Answer { connection, answer });
        }
    }

    /// Answers at once with an error.
    pub(super) fn fail(
        &mut self,
        turn: &mut Turn<'_>,
        connection: ConnectionId,
        id: &Arc<str>,
        error: &ErrorShape,
    ) {
        let body = frame::error_body(None, error);
        self.deliver(turn, connection, &Answer { id: id.clone(), body, ok: false, accepted: false });
    }

    /// Sends a response, unless its connection is gone.
    pub(super) fn deliver(&mut self, turn: &mut Turn<'_>, connection: ConnectionId, answer: &Answer) {
        if !self.may_send(turn, connection) {
            return;
        }
        let mut text = frame::response(&frame::string(&answer.id), &answer.body);
        if self.deviation.take_extra_fields() {
            text = with_extra_fields(&text);
            self.misbehaved(turn, connection, Deviation::FrameInvented);
        }
        if let Some(established) = self.sessions.get_mut(&connection).and_then(Session::established_mut) {
            established.last_response = Some((text.clone(), answer.id.clone(), answer.ok));
        }
        turn.effects.push(Effect::Send { connection, text });
        let (id, ok, accepted) = (answer.id.clone(), answer.ok, answer.accepted);
        turn.note(ModelEvent::ResponseSent { connection, id, ok, accepted });
    }

    /// Whether a response can go out; a connection whose buffer is full is dropped instead (protocol 11.6).
    fn may_send(&mut self, turn: &mut Turn<'_>, connection: ConnectionId) -> bool {
        let Some(session) = self.sessions.get(&connection) else { return false };
        if session.established().is_none() {
            return false;
        }
        if session.buffered > self.config.limits.buffered_bytes {
            self.terminate(turn, connection, TerminateCause::SlowConsumer);
            return false;
        }
        true
    }
}

/// The refusal of a request that there is no room for (protocol 8.5).
pub(super) fn capacity_exceeded() -> ErrorShape {
    ErrorShape::new("UNAVAILABLE", "gateway request start capacity exceeded").retryable(None)
}

/// The same response with a field no client knows, in the frame and in an object payload.
fn with_extra_fields(text: &str) -> Arc<str> {
    let text = text.replacen("\"payload\":{\"", "\"payload\":{\"unknownField\":[1,{\"a\":null}],\"", 1);
    text.replacen("{\"type\":\"res\",", "{\"type\":\"res\",\"unknownField\":{\"a\":[]},", 1).into()
}
