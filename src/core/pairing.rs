//! Waiting for a device to be approved: the pause itself, questions during it, and a connection that is kept open for the
//! answer.

use std::sync::Arc;
use std::time::Duration;

use super::connection::{Connection, Phase};
use super::decision::{Decision, decide, pairing_request};
use super::effect::{Close, Effect, Status};
use super::error::{AfterApproval, ConnectionError, GatewayError, PauseReason, RequestErrorKind};
use super::handshake::text_member;
use super::payload::Payload;
use super::peer_text::PeerText;
use super::reconnect::DEVICE_TOKEN_RETRY;
use super::session::SessionStage;
use super::time::Instant;

/// The event that says how a pairing request was decided (protocol 7.8).
pub(super) const PAIRING_RESOLVED: &str = "device.pair.resolved";

impl Connection {
    /// The pause that holds, if one does: also while an attempt asks whether it is over, or a connection is kept open for
    /// the answer.
    pub(super) fn paused(&self) -> Option<&Arc<PauseReason>> {
        match &self.phase {
            Phase::Paused { reason, .. } => Some(reason),
            Phase::Live { stage: SessionStage::AwaitingApproval { reason, .. }, .. } => Some(reason),
            Phase::Live { session, .. } => session.polls_for.as_ref(),
            Phase::Idle
            | Phase::Waiting { .. }
            | Phase::Closing { .. }
            | Phase::Flushing { .. }
            | Phase::Stopped => None,
        }
    }

    /// Asks the gateway whether the pause is over.
    pub(super) fn poll(&mut self, effects: &mut Vec<Effect>) {
        let reason = self.paused().map(Arc::clone);
        self.dial_for(reason, effects);
    }

    /// How long to wait before the next question, if any is to be asked.
    pub(super) fn pairing_wait(&mut self) -> Option<Duration> {
        self.options.pairing_poll.map(|wait| self.backoff.spread(wait, &mut self.rng))
    }

    /// The reason for a pause that begins now, and when the gateway is asked about it, which is after `wait` and not before
    /// what it wishes itself.
    pub(super) fn with_poll(
        &self,
        mut reason: Arc<PauseReason>,
        wait: Option<Duration>,
    ) -> (Arc<PauseReason>, Option<Instant>) {
        let (PauseReason::Pairing { error, .. }, Some(wait)) = (&*reason, wait) else {
            return (reason, None);
        };
        let wish = error.retry_after.map_or(Duration::ZERO, |wish| self.backoff.believed(wish));
        let at = self.now + wait.max(wish);
        if let PauseReason::Pairing { then, .. } = Arc::make_mut(&mut reason) {
            *then = AfterApproval::Poll { at };
        }
        (reason, Some(at))
    }

    /// A question got no answer: the pause goes on, and there will be another one.
    pub(super) fn go_on_pausing(
        &mut self,
        reason: Arc<PauseReason>,
        decision: &Decision,
        effects: &mut Vec<Effect>,
    ) {
        let usual = self.pairing_wait();
        let wait = match decision {
            Decision::RetryDeviceToken => Some(DEVICE_TOKEN_RETRY),
            Decision::Retry { floor: Some(floor) } => {
                usual.map(|usual| usual.max(self.backoff.believed(*floor)))
            }
            Decision::Retry { floor: None } | Decision::RetryStartup { .. } | Decision::Pause(_) => usual,
        };
        let (reason, poll_at) = self.with_poll(reason, wait);
        self.phase = Phase::Paused { reason: Arc::clone(&reason), poll_at };
        self.set_status(Status::Paused(reason), effects);
    }

    /// The pairing request whose decision the gateway promises to tell on this socket, if it does and it is ours.
    pub(super) fn request_to_hold_for(&self, refusal: &GatewayError) -> Option<PeerText> {
        self.options.pairing_hold?;
        let details = refusal.details.as_ref()?;
        let promised = details.part("waitForResolution").is_some_and(|flag| flag.get() == "true");
        let device = self.config.as_ref()?.proof.device.as_ref()?;
        let is_ours = text_member(details, "deviceId").as_deref() == Some(device.id());
        let is_required = refusal.detail_code.as_deref() == Some("PAIRING_REQUIRED");
        if promised && is_ours && is_required { pairing_request(refusal) } else { None }
    }

    /// Keeps the socket for the decision on `request`.
    pub(super) fn hold(&mut self, request: PeerText, refusal: &GatewayError, effects: &mut Vec<Effect>) {
        let deadline = self.now + self.options.pairing_hold.unwrap_or_default();
        let mut reason = PauseReason::Pairing {
            request_id: Some(request.clone()),
            then: AfterApproval::Told,
            error: refusal.clone(),
        };
        reason.redact(&self.redactor());
        let reason = Arc::new(reason);
        let (session, stage) = self.phase.live_mut();
        session.polls_for = None;
        *stage = SessionStage::AwaitingApproval { deadline, request, reason: Arc::clone(&reason) };
        self.set_status(Status::Paused(Arc::clone(&reason)), effects);
        self.fail_all(&RequestErrorKind::Paused(reason), effects);
    }

    /// The gateway tells how a pairing request was decided. One of another device is none of our business.
    pub(super) fn resolved(&mut self, payload: &Payload, effects: &mut Vec<Effect>) {
        let device = self.config.as_ref().and_then(|config| config.proof.device.clone());
        let (session, stage) = self.phase.live_mut();
        let SessionStage::AwaitingApproval { request, .. } = stage else { return };
        let is_ours = text_member(payload, "deviceId")
            .is_none_or(|named| device.is_some_and(|device| *named == *device.id()));
        if !is_ours || text_member(payload, "requestId").as_ref() != Some(request) {
            return;
        }
        let decision = text_member(payload, "decision");
        let (close, detail) = match decision.as_deref() {
            Some("approved") => ("pairing approved", None),
            Some("rejected") => ("pairing rejected", Some("PAIRING_REJECTED")),
            Some("expired") => ("pairing expired", Some("PAIRING_EXPIRED")),
            Some(_) | None => return,
        };
        let epoch = session.epoch;
        let Some(detail) = detail else {
            effects.push(Effect::HangUp { epoch, close: Close::Now { code: 1000, reason: close } });
            self.backoff.reset();
            // A person acted, but a gateway that says so all the time meets the first wait nonetheless.
            let earliest = self.last_dial.map_or(self.now, |last| last + self.options.backoff.initial);
            let until = earliest.max(self.now);
            return self.dial_at(until, until, effects);
        };
        let error = ConnectionError::Refused(GatewayError {
            code: "NOT_PAIRED".into(),
            message: close.into(),
            detail_code: Some(detail.into()),
            details: Some(payload.clone()),
            retryable: false,
            retry_after: None,
            payload: None,
            close_code: None,
        });
        self.give_up(error, 1000, close, effects);
    }

    /// Nobody decided in time: what the refusal would have led to follows now.
    pub(super) fn undecided(&mut self, effects: &mut Vec<Effect>) {
        if let Some(refusal) = self.held_refusal() {
            self.give_up(ConnectionError::Refused(refusal), 1000, "pairing undecided", effects);
        }
    }

    /// What follows the end of a socket that was kept for a decision: what the refusal would have led to, unless the end
    /// itself says something about it. `None` if it was another socket.
    pub(super) fn after_hold(&self, error: &ConnectionError) -> Option<Decision> {
        let refusal = self.held_refusal()?;
        let said = decide(error);
        match said {
            Decision::Pause(_) => Some(said),
            Decision::Retry { .. } | Decision::RetryStartup { .. } | Decision::RetryDeviceToken => {
                Some(decide(&ConnectionError::Refused(refusal)))
            }
        }
    }

    fn held_refusal(&self) -> Option<GatewayError> {
        let Phase::Live { stage: SessionStage::AwaitingApproval { reason, .. }, .. } = &self.phase else {
            return None;
        };
        if let PauseReason::Pairing { error, .. } = &**reason { Some(error.clone()) } else { None }
    }
}
