//! What the gateway says, phase by phase.

use std::sync::Arc;

use super::connection::{Connection, Phase};
use super::effect::{Effect, Push, Reply, Response};
use super::error::{ConnectionError, Delivery, RequestError, RequestErrorKind};
use super::event::{Event, Ignored};
use super::frame::{
    EventFrame, Frame, FrameError, ResponseFrame, decode, malformed_answer_id, malformed_event_seq,
};
use super::handshake::{gateway_error, text_member};
use super::hello::read_hello;
use super::id::Epoch;
use super::pairing::PAIRING_RESOLVED;
use super::payload::Payload;
use super::peer_text::PeerText;
use super::session::{Early, EarlyLimits, Session, SessionStage};

impl Connection {
    /// Any message is a sign of life; only a well-formed one has an effect. What arrives on a socket that
    /// closes has none.
    pub(super) fn received(&mut self, text: &Arc<str>, effects: &mut Vec<Effect>) {
        let Phase::Live { session, .. } = &mut self.phase else { return };
        session.message_arrived(self.now);
        match decode(text) {
            Ok(Frame::Response(frame)) => self.response(text, frame, effects),
            Ok(Frame::Event(frame)) if frame.event == "connect.challenge" => {
                self.challenge(&payload_of(text, &frame), frame.seq, effects);
            }
            Ok(Frame::Event(frame)) => self.event(text, &frame, effects),
            Err(FrameError::Malformed) => self.unreadable_frame(text, effects),
            Err(error) => self.no_frame(text, error, effects),
        }
    }

    /// A whole message that is no text.
    pub(super) fn unreadable(&mut self, effects: &mut Vec<Effect>) {
        let Phase::Live { session, .. } = &mut self.phase else { return };
        session.message_arrived(self.now);
        effects.push(Effect::Ignored(Ignored::NotText));
    }

    /// It may be a frame to JavaScript: then what it says is read from a copy that is one to us.
    fn unreadable_frame(&mut self, text: &Arc<str>, effects: &mut Vec<Effect>) {
        match Payload::from_text(Arc::clone(text)).repaired() {
            Some(repaired) if !matches!(decode(repaired.get()), Err(FrameError::Malformed)) => {
                self.received(&Arc::from(repaired.get()), effects);
            }
            Some(_) | None => effects.push(Effect::Ignored(Ignored::NoFrame(FrameError::Malformed))),
        }
    }

    /// What is no frame has no effect but these: its number counts, and whoever waits for it as an answer need not
    /// wait any longer.
    fn no_frame(&mut self, text: &str, error: FrameError, effects: &mut Vec<Effect>) {
        if let Some(seq) = malformed_event_seq(text).filter(|_| error == FrameError::EventShape) {
            self.count(Some(seq), effects);
        }
        let answered = malformed_answer_id(text).filter(|_| error == FrameError::ResponseShape);
        match answered {
            Some(id) if self.malformed_answer(&id, error, effects) => {}
            Some(_) | None => effects.push(Effect::Ignored(Ignored::NoFrame(error))),
        }
    }

    /// Ends what waits for the answer with this id, if anything does.
    fn malformed_answer(&mut self, id: &str, error: FrameError, effects: &mut Vec<Effect>) -> bool {
        let (session, stage) = self.phase.live_mut();
        let epoch = session.epoch;
        match stage {
            SessionStage::AwaitingHello { .. } | SessionStage::AwaitingApproval { .. } => {
                let is_hello = id == self.connect_id(epoch);
                if is_hello {
                    let error = ConnectionError::Handshake("the answer to connect is malformed");
                    self.give_up(error, 1008, "connect failed", effects);
                }
                is_hello
            }
            SessionStage::Ready { .. } => {
                let Some((id, _)) = self.reply_to(id) else { return false };
                self.fail(id, RequestErrorKind::MalformedAnswer(error), Delivery::Unknown, effects);
                self.send_queued(effects);
                true
            }
            SessionStage::Dialing { .. }
            | SessionStage::AwaitingChallenge { .. }
            | SessionStage::AwaitingToken { .. } => false,
        }
    }

    /// A challenge that is repeated after `connect` was sent is answered by nothing, and no consumer receives it. If
    /// it has a number, that counts (protocol 11.1).
    fn challenge(&mut self, payload: &Payload, seq: Option<u64>, effects: &mut Vec<Effect>) {
        self.count(seq, effects);
        match self.phase.live_mut().1 {
            SessionStage::AwaitingChallenge { deadline } | SessionStage::AwaitingToken { deadline, .. } => {
                let deadline = *deadline;
                self.challenged(payload, deadline, effects);
            }
            SessionStage::Dialing { .. }
            | SessionStage::AwaitingHello { .. }
            | SessionStage::AwaitingApproval { .. }
            | SessionStage::Ready { .. } => effects.push(Effect::Ignored(Ignored::Challenge)),
        }
    }

    /// Takes the number of an event that nobody receives.
    fn count(&mut self, seq: Option<u64>, effects: &mut Vec<Effect>) {
        let limits = self.early_limits();
        let (session, stage) = self.phase.live_mut();
        let Some(gap) = session.admit(seq) else { return };
        match stage {
            SessionStage::Ready { .. } => self.deliver(&Push::Gap(gap), effects),
            SessionStage::Dialing { .. }
            | SessionStage::AwaitingChallenge { .. }
            | SessionStage::AwaitingToken { .. }
            | SessionStage::AwaitingHello { .. }
            | SessionStage::AwaitingApproval { .. } => session.keep_early(Early::Gap(gap), limits),
        }
    }

    fn early_limits(&self) -> EarlyLimits {
        EarlyLimits { events: self.options.max_early_events, bytes: self.options.max_early_bytes }
    }

    fn event(&mut self, text: &Arc<str>, frame: &EventFrame<'_>, effects: &mut Vec<Effect>) {
        let limits = self.early_limits();
        let (session, stage) = self.phase.live_mut();
        match stage {
            SessionStage::AwaitingChallenge { .. }
            | SessionStage::AwaitingToken { .. }
            | SessionStage::AwaitingHello { .. } => early_event(session, limits, text, frame),
            SessionStage::AwaitingApproval { .. } => {
                if frame.event == PAIRING_RESOLVED {
                    self.resolved(&payload_of(text, frame), effects);
                } else {
                    early_event(session, limits, text, frame);
                }
            }
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
            // A gateway that kept the socket open may answer once more.
            SessionStage::AwaitingHello { .. } | SessionStage::AwaitingApproval { .. } => {
                self.hello(epoch, text, frame, effects);
            }
            SessionStage::Ready { .. } => self.reply(epoch, text, frame, effects),
            SessionStage::Dialing { .. }
            | SessionStage::AwaitingChallenge { .. }
            | SessionStage::AwaitingToken { .. } => effects.push(Effect::Ignored(Ignored::Unawaited)),
        }
    }

    fn hello(&mut self, epoch: Epoch, text: &Arc<str>, frame: ResponseFrame<'_>, effects: &mut Vec<Effect>) {
        if frame.id != self.connect_id(epoch) {
            effects.push(Effect::Ignored(Ignored::Unawaited));
            return;
        }
        let payload = frame.payload.map(|raw| Payload::within(text, raw));
        if !frame.ok {
            let error = gateway_error(&Payload::from_text(Arc::clone(text)), frame.error, payload);
            self.refused(error, effects);
            return;
        }
        // One odd string is no reason to refuse the gateway.
        let payload = payload.map_or_else(Payload::null, |payload| payload.repaired().unwrap_or(payload));
        let default_tick = self.options.default_tick_interval;
        let offered = self.phase.live_mut().1.offered();
        let mut snapshot = match read_hello(epoch, &payload, offered, default_tick) {
            Ok(snapshot) => snapshot,
            Err(fault) => {
                self.give_up(fault.into(), 1008, "connect failed", effects);
                return;
            }
        };
        let early = self.phase.live_mut().0.take_early();
        self.keep_tokens(&snapshot.hello, effects);
        self.redact_hello(&mut snapshot.hello);
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
        let Some((id, reply)) = self.reply_to(&frame.id) else {
            effects.push(Effect::Ignored(Ignored::Unawaited));
            return;
        };
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
            let mut error = gateway_error(&Payload::from_text(Arc::clone(text)), frame.error, payload);
            // A refusal may come after the deed.
            let delivery = if error.may_have_executed() { Delivery::Unknown } else { Delivery::Rejected };
            error.redact(&self.redactor());
            Err((RequestErrorKind::Rejected(Arc::new(error)), delivery))
        };
        let (pending, _) = self.requests.take(id).expect("a reply was found for a pending request");
        let outcome =
            outcome.map_err(|(kind, delivery)| RequestError { method: pending.method, kind, delivery });
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
        recipient_profile_id: frame.recipient_profile_id.as_deref().map(PeerText::from),
    }
}
