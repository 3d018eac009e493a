//! Deviations from the protocol on order. Nothing in here happens without one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::broadcast::Event;
use super::effect::{ConnectionId, Deviation, Effect, ModelEvent};
use super::frame;
use super::gateway_model::{GatewayModel, Turn};
use super::order::{HandshakeFault, Misbehave, Rejection};
use super::session::{Established, Session};
use super::timer::Timer;

/// The orders to misbehave that still have occasions left.
#[derive(Debug, Clone, Default)]
pub(super) struct PendingDeviations {
    handshakes: VecDeque<(u32, HandshakeFault)>,
    treatments: VecDeque<(u32, ResponsePolicy)>,
    /// Events that consume their number and are not sent.
    drop_events: u32,
    extra_fields: u32,
    ticks_starved_until: Duration,
    pings_starved_until: Duration,
    pub(super) upgrades_refused: bool,
}

/// How a request is treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ResponsePolicy {
    Faithful,
    Withhold,
    Delay(Duration),
    RefuseCapacity,
    Fail(Box<Rejection>),
}

impl PendingDeviations {
    pub(super) fn take_handshake_fault(&mut self) -> Option<HandshakeFault> {
        take(&mut self.handshakes)
    }

    pub(super) fn take_treatment(&mut self) -> ResponsePolicy {
        take(&mut self.treatments).unwrap_or(ResponsePolicy::Faithful)
    }

    /// Lets the next event be lost.
    pub(super) fn drop_event(&mut self) {
        self.drop_events = self.drop_events.saturating_add(1);
    }

    pub(super) fn take_event_drop(&mut self) -> bool {
        take_one(&mut self.drop_events)
    }

    pub(super) fn take_extra_fields(&mut self) -> bool {
        take_one(&mut self.extra_fields)
    }

    pub(super) fn ticks_starved(&self, now: Duration) -> bool {
        now < self.ticks_starved_until
    }

    pub(super) fn pings_starved(&self, now: Duration) -> bool {
        now < self.pings_starved_until
    }
}

/// Adds `count` occasions of an order.
fn put<T>(orders: &mut VecDeque<(u32, T)>, count: u32, order: T) {
    if count > 0 {
        orders.push_back((count, order));
    }
}

/// Takes one occasion of the first order.
fn take<T: Clone>(orders: &mut VecDeque<(u32, T)>) -> Option<T> {
    let (count, order) = orders.front_mut()?;
    let order = order.clone();
    *count -= 1;
    if *count == 0 {
        orders.pop_front();
    }
    Some(order)
}

fn take_one(count: &mut u32) -> bool {
    let any = *count > 0;
    *count = count.saturating_sub(1);
    any
}

impl GatewayModel {
    pub(super) fn misbehaved(&self, turn: &mut Turn<'_>, connection: ConnectionId, deviation: Deviation) {
        turn.note(ModelEvent::Misbehaved { connection: Some(connection), deviation });
    }

    pub(super) fn misbehave(&mut self, turn: &mut Turn<'_>, misbehave: Misbehave) {
        let deviation = &mut self.deviation;
        match misbehave {
            Misbehave::Handshake { count, fault } => put(&mut deviation.handshakes, count, fault),
            Misbehave::StarveTicks { lasting } => deviation.ticks_starved_until = turn.now + lasting,
            Misbehave::StarvePings { lasting } => deviation.pings_starved_until = turn.now + lasting,
            Misbehave::SkewClock { by_ms } => {
                self.config.epoch_ms = self.config.epoch_ms.saturating_add_signed(by_ms);
            }
            Misbehave::DropEvents { count } => {
                deviation.drop_events = deviation.drop_events.saturating_add(count);
            }
            Misbehave::RepeatLastEvent => self.repeat_last_event(turn),
            Misbehave::OlderEvent { by } => self.older_event(turn, by),
            Misbehave::SkipSequence { by } => self.skip_sequence(turn, by),
            Misbehave::Text { text } => self.send_invented(turn, |_| text.clone()),
            Misbehave::Binary { data } => self.send_binary(turn, &data.into()),
            Misbehave::Giant { bytes } => self.send_giant(turn, bytes as usize),
            Misbehave::UnknownEvent => self.send_unknown_event(turn),
            Misbehave::ExtraFields { count } => {
                deviation.extra_fields = deviation.extra_fields.saturating_add(count);
            }
            Misbehave::NumericId => {
                let text = frame::response("7", &frame::ok_body("{}"));
                self.send_invented(turn, |_| text.clone());
            }
            Misbehave::ForeignResponse { id } => self.send_foreign_response(turn, &id),
            Misbehave::RepeatLastResponse => self.repeat_last_response(turn),
            Misbehave::WithholdResponses { count } => {
                put(&mut deviation.treatments, count, ResponsePolicy::Withhold);
            }
            Misbehave::DelayResponses { count, by } => {
                put(&mut deviation.treatments, count, ResponsePolicy::Delay(by));
            }
            Misbehave::RefuseCapacity { count } => {
                put(&mut deviation.treatments, count, ResponsePolicy::RefuseCapacity);
            }
            Misbehave::FailRequests { count, error } => {
                put(&mut deviation.treatments, count, ResponsePolicy::Fail(Box::new(error)));
            }
            Misbehave::RefuseUpgrades { lasting } => {
                deviation.upgrades_refused = true;
                self.timers.retain(|timer| *timer != Timer::AdmitUpgrades);
                self.timers.insert(turn.now + lasting, Timer::AdmitUpgrades);
            }
            Misbehave::Behave => self.deviation = PendingDeviations::default(),
        }
    }

    /// Every established connection, in order.
    fn each_established(&mut self) -> impl Iterator<Item = (ConnectionId, &mut Established)> {
        self.sessions.iter_mut().filter_map(|(id, session)| Some((*id, session.established_mut()?)))
    }

    /// Sends a frame to every established connection that no faithful gateway would send.
    fn send_invented(&mut self, turn: &mut Turn<'_>, text: impl Fn(&mut Established) -> Arc<str>) {
        for (connection, established) in self.each_established() {
            let text = text(established);
            turn.effects.push(Effect::Send { connection, text });
            turn.note(ModelEvent::Misbehaved {
                connection: Some(connection),
                deviation: Deviation::FrameInvented,
            });
        }
    }

    fn send_binary(&mut self, turn: &mut Turn<'_>, data: &Arc<[u8]>) {
        for (connection, _) in self.each_established() {
            turn.effects.push(Effect::SendBinary { connection, data: data.clone() });
            turn.note(ModelEvent::Misbehaved {
                connection: Some(connection),
                deviation: Deviation::FrameInvented,
            });
        }
    }

    fn repeat_last_event(&mut self, turn: &mut Turn<'_>) {
        for (connection, established) in self.each_established() {
            let Some((text, event, seq)) = established.last_event.clone() else { continue };
            turn.effects.push(Effect::Send { connection, text });
            turn.note(ModelEvent::Misbehaved {
                connection: Some(connection),
                deviation: Deviation::SequenceBent,
            });
            turn.note(ModelEvent::EventSent { connection, event, seq });
        }
    }

    fn older_event(&mut self, turn: &mut Turn<'_>, by: u64) {
        let payload = format!(r#"{{"ts":{}}}"#, self.unix_ms(turn.now));
        for (connection, established) in self.each_established() {
            let seq = established.seq.saturating_add(1).saturating_sub(by);
            let text = frame::event("tick", &payload, Some(seq), None);
            turn.effects.push(Effect::Send { connection, text });
            turn.note(ModelEvent::Misbehaved {
                connection: Some(connection),
                deviation: Deviation::SequenceBent,
            });
            turn.note(ModelEvent::EventSent { connection, event: "tick".into(), seq });
        }
    }

    fn skip_sequence(&mut self, turn: &mut Turn<'_>, by: u64) {
        for (connection, established) in self.each_established() {
            established.seq = established.seq.saturating_add(by);
            turn.note(ModelEvent::Misbehaved {
                connection: Some(connection),
                deviation: Deviation::SequenceBent,
            });
        }
    }

    fn send_giant(&mut self, turn: &mut Turn<'_>, bytes: usize) {
        for (connection, established) in self.each_established() {
            established.seq = established.seq.saturating_add(1);
            let seq = established.seq;
            let empty = frame::event("test.giant", r#"{"pad":""}"#, Some(seq), None);
            let payload = format!(r#"{{"pad":"{}"}}"#, "x".repeat(bytes.saturating_sub(empty.len())));
            let text = frame::event("test.giant", &payload, Some(seq), None);
            turn.effects.push(Effect::Send { connection, text });
            turn.note(ModelEvent::EventSent { connection, event: "test.giant".into(), seq });
        }
    }

    fn send_unknown_event(&mut self, turn: &mut Turn<'_>) {
        let payload = r#"{"unknown":{"nested":[1,null,"two"]}}"#;
        self.broadcast(turn, &Event::new("simulated.unknown", payload));
    }

    fn send_foreign_response(&mut self, turn: &mut Turn<'_>, id: &str) {
        let text = frame::response(&frame::string(id), &frame::ok_body(r#"{"foreign":true}"#));
        let ids: Vec<ConnectionId> = self.each_established().map(|(connection, _)| connection).collect();
        for connection in ids {
            turn.effects.push(Effect::Send { connection, text: text.clone() });
            self.misbehaved(turn, connection, Deviation::ResponseInvented);
        }
    }

    fn repeat_last_response(&mut self, turn: &mut Turn<'_>) {
        let last = |session: &Session| session.established()?.last_response.clone();
        for connection in self.connections(|session| last(session).is_some()) {
            let Some((text, id, ok)) = self.sessions.get(&connection).and_then(last) else { continue };
            turn.effects.push(Effect::Send { connection, text });
            self.misbehaved(turn, connection, Deviation::ResponseRepeated);
            turn.note(ModelEvent::ResponseSent { connection, id, ok, accepted: false });
        }
    }
}
