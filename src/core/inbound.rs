//! What the gateway says, phase by phase.

use std::sync::Arc;

use super::connection::{Connection, Phase};
use super::effect::{Effect, Push, Reply, Response};
use super::error::{ConnectionError, Delivery, RequestError, RequestErrorKind};
use super::event::Event;
use super::frame::{EventFrame, Frame, ResponseFrame, decode};
use super::handshake::{gateway_error, text_member};
use super::id::Epoch;
use super::payload::Payload;
use super::peer_text::PeerText;
use super::session::{Early, EarlyLimits, Session, SessionStage};
use super::snapshot::read_hello;

impl Connection {
    /// Any message is a sign of life; only a well-formed one has an effect. What arrives on a socket that
    /// closes has none.
    pub(super) fn received(&mut self, text: &Arc<str>, effects: &mut Vec<Effect>) {
        let Phase::Live { session, .. } = &mut self.phase else { return };
        session.last_inbound = self.now;
        match decode(text) {
            Ok(Frame::Response(frame)) => self.response(text, frame, effects),
            Ok(Frame::Event(frame)) if frame.event == "connect.challenge" => {
                self.challenge(&payload_of(text, &frame), effects);
            }
            Ok(Frame::Event(frame)) => self.event(text, &frame, effects),
            Err(_) => {}
        }
    }

    /// A challenge that is repeated after `connect` was sent is answered by nothing, and no consumer receives it.
    fn challenge(&mut self, payload: &Payload, effects: &mut Vec<Effect>) {
        match self.phase.live_mut().1 {
            SessionStage::AwaitingChallenge { deadline } | SessionStage::AwaitingToken { deadline, .. } => {
                let deadline = *deadline;
                self.challenged(payload, deadline, effects);
            }
            SessionStage::Dialing { .. }
            | SessionStage::AwaitingHello { .. }
            | SessionStage::Ready { .. } => {}
        }
    }

    fn event(&mut self, text: &Arc<str>, frame: &EventFrame<'_>, effects: &mut Vec<Effect>) {
        let limits =
            EarlyLimits { events: self.options.max_early_events, bytes: self.options.max_early_bytes };
        let (session, stage) = self.phase.live_mut();
        match stage {
            SessionStage::AwaitingChallenge { .. }
            | SessionStage::AwaitingToken { .. }
            | SessionStage::AwaitingHello { .. } => early_event(session, limits, text, frame),
            SessionStage::Ready { .. } => {
                let gap = session.admit(frame.seq);
                let event = Arc::new(event_of(session.epoch, text, frame));
                if let Some(gap) = gap {
                    self.deliver(&Push::Gap(gap), effects);
                }
                self.deliver_event(event, effects);
            }
            SessionStage::Dialing { .. } => {}
        }
    }

    fn deliver_event(&mut self, event: Arc<Event>, effects: &mut Vec<Effect>) {
        if let Some(newer) = self.snapshot.as_ref().and_then(|snapshot| snapshot.after(&event)) {
            self.snapshot = Some(Arc::new(newer));
        }
        self.deliver(&Push::Event(event), effects);
    }

    fn response(&mut self, text: &Arc<str>, frame: ResponseFrame<'_>, effects: &mut Vec<Effect>) {
        let (session, stage) = self.phase.live_mut();
        let epoch = session.epoch;
        match stage {
            SessionStage::AwaitingHello { .. } => self.hello(epoch, text, frame, effects),
            SessionStage::Ready { .. } => self.reply(epoch, text, frame, effects),
            SessionStage::Dialing { .. }
            | SessionStage::AwaitingChallenge { .. }
            | SessionStage::AwaitingToken { .. } => {}
        }
    }

    fn hello(&mut self, epoch: Epoch, text: &Arc<str>, frame: ResponseFrame<'_>, effects: &mut Vec<Effect>) {
        if frame.id != self.connect_id(epoch) {
            return;
        }
        let payload = frame.payload.map(|raw| Payload::within(text, raw));
        if !frame.ok {
            let error = gateway_error(&Payload::from_text(Arc::clone(text)), frame.error, payload);
            self.refused(error, effects);
            return;
        }
        let default_tick = self.options.default_tick_interval;
        let Some(snapshot) = payload.and_then(|payload| read_hello(epoch, &payload, default_tick)) else {
            let error = ConnectionError::Handshake("the answer to connect is no hello");
            self.give_up(error, 1008, "connect failed", effects);
            return;
        };
        let early = self.phase.live_mut().0.take_early();
        self.keep_tokens(&snapshot.hello, effects);
        self.ready(snapshot, effects);
        for item in early {
            match item {
                Early::Gap(gap) => self.deliver(&Push::Gap(gap), effects),
                Early::Event(event) => self.deliver_event(event, effects),
            }
        }
        self.send_queued(effects);
    }

    /// Ends the request that `frame` answers. Answers to nobody (late, repeated, foreign) are inert.
    fn reply(&mut self, epoch: Epoch, text: &Arc<str>, frame: ResponseFrame<'_>, effects: &mut Vec<Effect>) {
        let Some((id, reply)) = self.reply_to(&frame.id) else { return };
        let payload = frame.payload.map(|raw| Payload::within(text, raw));
        let outcome = if frame.ok {
            let payload = payload.unwrap_or_else(Payload::null);
            let accepted = || text_member(&payload, "status").as_deref() == Some("accepted");
            if reply == Reply::Final && accepted() {
                if self.requests.accept(id) {
                    effects.push(Effect::Accepted { id, payload });
                }
                return;
            }
            Ok(Response { epoch, payload })
        } else {
            let error = gateway_error(&Payload::from_text(Arc::clone(text)), frame.error, payload);
            Err(RequestErrorKind::Rejected(Arc::new(error)))
        };
        let (pending, _) = self.requests.take(id).expect("a reply was found for a pending request");
        let outcome = outcome.map_err(|kind| RequestError {
            method: pending.method,
            kind,
            delivery: Delivery::Rejected,
        });
        effects.push(Effect::Complete { id, outcome });
        self.send_queued(effects);
    }
}

/// An event before hello counts for the numbering and waits for the snapshot (protocol 10.5).
fn early_event(session: &mut Session, limits: EarlyLimits, text: &Arc<str>, frame: &EventFrame<'_>) {
    if let Some(gap) = session.admit(frame.seq) {
        session.keep_early(Early::Gap(gap), limits);
    }
    let event = event_of(session.epoch, text, frame);
    session.keep_early(Early::Event(Arc::new(event)), limits);
}

fn payload_of(text: &Arc<str>, frame: &EventFrame<'_>) -> Payload {
    frame.payload.map_or_else(Payload::null, |raw| Payload::within(text, raw))
}

fn event_of(epoch: Epoch, text: &Arc<str>, frame: &EventFrame<'_>) -> Event {
    Event {
        epoch,
        name: PeerText::from(&*frame.event),
        payload: payload_of(text, frame),
        seq: frame.seq,
        state_version: frame.state_version,
    }
}
