//! Requests: what is let in, what is sent when, and how the end of a connection ends them.

use std::sync::Arc;
use std::time::Duration;

use super::connection::{AfterClose, Connection, Phase};
use super::effect::{Effect, Reply, WireText};
use super::error::{Delivery, RequestError, RequestErrorKind};
use super::frame::encode_request_as;
use super::id::{Epoch, RequestId};
use super::in_flight::{Outgoing, Pending, Progress};
use super::session::SessionStage;

impl Connection {
    pub(super) fn request(
        &mut self,
        id: RequestId,
        waited: Duration,
        pending: Pending,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(kind) = self.refusal(waited, &pending) {
            let error = RequestError { method: pending.method, kind, delivery: Delivery::NotSent };
            effects.push(Effect::Complete { id, outcome: Err(error) });
            return;
        }
        self.requests.queue(self.now, waited, id, pending);
        self.want(effects);
        self.send_queued(effects);
    }

    /// Why a request is not let in, if it is not.
    fn refusal(&self, waited: Duration, pending: &Pending) -> Option<RequestErrorKind> {
        let bytes = pending.bytes();
        let elsewhere = pending.only_on.filter(|epoch| !self.is_ready_on(*epoch));
        // An answer nobody waits for saves the gateway the work.
        let late = pending.timeout.filter(|timeout| waited >= *timeout);
        let (most, most_bytes) = (self.options.max_queued, self.options.max_queued_bytes);
        match (&self.phase, elsewhere) {
            (Phase::Stopped | Phase::Flushing { .. } | Phase::Closing { then: AfterClose::Stop, .. }, _) => {
                Some(RequestErrorKind::ShutDown)
            }
            (_, Some(bound_to)) => Some(RequestErrorKind::OtherConnection { bound_to }),
            _ if self.paused().is_some() => {
                self.paused().map(|reason| RequestErrorKind::Paused(Arc::clone(reason)))
            }
            _ if late.is_some() => late.map(|after| RequestErrorKind::TimedOut { after }),
            _ if self.config.is_none() => Some(RequestErrorKind::NotConfigured),
            _ if bytes > most_bytes => Some(RequestErrorKind::TooLarge { bytes, limit: most_bytes }),
            _ if self.requests.queued() >= most => Some(RequestErrorKind::Overloaded { limit: most }),
            _ if self.requests.queued_bytes().saturating_add(bytes) > most_bytes => {
                Some(RequestErrorKind::Overloaded { limit: most_bytes })
            }
            (
                Phase::Idle
                | Phase::Waiting { .. }
                | Phase::Paused { .. }
                | Phase::Live { .. }
                | Phase::Closing { then: AfterClose::Reconnect, .. },
                None,
            ) => None,
        }
    }

    /// Hands queued requests to the transport while the gateway and the transport have room. One whose time is over is
    /// not sent any more.
    pub(super) fn send_queued(&mut self, effects: &mut Vec<Effect>) {
        while let Some(id) = self.requests.expired_in_queue(self.now) {
            self.time_out(id, effects);
        }
        while let Phase::Live { session, stage: SessionStage::Ready { policy, .. } } = &mut self.phase
            && session.unwritten < self.options.max_unwritten
            && self.requests.sent() < self.options.max_in_flight
            && let Some(Outgoing { id, method, params, expected_profile_id }) = self.requests.send_next()
        {
            let params = params.as_ref().map(|params| &*params.0);
            let id_on_wire = wire_id(&self.id_prefix, id);
            let text = encode_request_as(&id_on_wire, &method, params, expected_profile_id.as_deref());
            if text.len() > policy.max_payload {
                let kind = RequestErrorKind::TooLarge { bytes: text.len(), limit: policy.max_payload };
                self.fail(id, kind, Delivery::NotSent, effects);
                continue;
            }
            session.unwritten += 1;
            effects.push(Effect::Transmit { epoch: session.epoch, text: WireText::from(text.as_str()) });
        }
    }

    /// Ends a request whose deadline has come.
    pub(super) fn time_out(&mut self, id: RequestId, effects: &mut Vec<Effect>) {
        let (pending, progress) = self.requests.take(id).expect("a deadline belongs to a request");
        let delivery = match progress {
            Progress::Queued => Delivery::NotSent,
            Progress::Sent => Delivery::Unknown,
        };
        let kind = RequestErrorKind::TimedOut { after: pending.timeout.unwrap_or_default() };
        let error = RequestError { method: pending.method, kind, delivery };
        effects.push(Effect::Complete { id, outcome: Err(error) });
    }

    pub(super) fn written(&mut self, frames: usize, effects: &mut Vec<Effect>) {
        if let Phase::Live { session, .. } = &mut self.phase {
            session.unwritten = session.unwritten.saturating_sub(frames);
            self.send_queued(effects);
        }
    }

    /// Fails what a connection that is over takes with it: what was sent, and what was meant for it alone.
    pub(super) fn fail_carried(&mut self, kind: &RequestErrorKind, effects: &mut Vec<Effect>) {
        while let Some(id) = self.requests.first(Some(Progress::Sent)) {
            self.fail(id, kind.clone(), Delivery::Unknown, effects);
        }
        while let Some(id) = self.requests.first_bound() {
            self.fail(id, kind.clone(), Delivery::NotSent, effects);
        }
    }

    pub(super) fn fail_all(&mut self, kind: &RequestErrorKind, effects: &mut Vec<Effect>) {
        self.fail_carried(kind, effects);
        while let Some(id) = self.requests.first(None) {
            self.fail(id, kind.clone(), Delivery::NotSent, effects);
        }
    }

    pub(super) fn fail(
        &mut self,
        id: RequestId,
        kind: RequestErrorKind,
        delivery: Delivery,
        effects: &mut Vec<Effect>,
    ) {
        let (pending, _) = self.requests.take(id).expect("only pending requests fail");
        let error = RequestError { method: pending.method, kind, delivery };
        effects.push(Effect::Complete { id, outcome: Err(error) });
    }

    pub(super) fn reply_to(&self, wire: &str) -> Option<(RequestId, Reply)> {
        let id = request_id(&self.id_prefix, wire)?;
        self.requests.reply(id).map(|reply| (id, reply))
    }

    /// The id of this epoch's `connect`: in a name space of its own, so that no answer to a
    /// request can be taken for hello.
    pub(super) fn connect_id(&self, epoch: Epoch) -> String {
        format!("{}connect-{epoch}", self.id_prefix)
    }

    fn is_ready_on(&self, epoch: Epoch) -> bool {
        matches!(
            &self.phase,
            Phase::Live { session, stage: SessionStage::Ready { .. } } if session.epoch == epoch
        )
    }
}

fn wire_id(prefix: &str, id: RequestId) -> String {
    let digits = id.0.to_string();
    let mut wire = String::with_capacity(prefix.len() + digits.len());
    wire.push_str(prefix);
    wire.push_str(&digits);
    wire
}

/// Undoes [`wire_id`]; ids of any other form, also other spellings of the same, belong to nobody.
fn request_id(prefix: &str, wire: &str) -> Option<RequestId> {
    let digits = wire.strip_prefix(prefix)?;
    let is_padded = digits.len() > 1 && digits.starts_with('0');
    if is_padded || digits.starts_with('+') {
        return None;
    }
    digits.parse().ok().map(RequestId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settles_once_an_id_has_one_spelling() {
        let prefix = "0000a7f3-";
        for number in [0, 7, 10, u64::MAX] {
            let wire = wire_id(prefix, RequestId(number));
            assert_eq!(request_id(prefix, &wire), Some(RequestId(number)));
        }
        for other in ["7", "a7f3-7", "0000A7F3-7", "0000a7f3-", "0000a7f3-+7", "0000a7f3-07", "0000a7f3-7 "] {
            assert_eq!(request_id(prefix, other), None, "{other}");
        }
        assert_eq!(request_id(prefix, "0000a7f3-18446744073709551616"), None, "no number of a request");
    }
}
