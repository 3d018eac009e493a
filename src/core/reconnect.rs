//! Reconnecting: from the end of one connection or attempt to the dial of the next, and only here.

use std::sync::Arc;
use std::time::Duration;

use super::close_reason::refusal_of_close;
use super::connection::{Connection, Phase};
use super::decision::{Decision, decide};
use super::effect::{Close, Effect, Status};
use super::error::{ConnectionError, PauseReason, RequestErrorKind, Stage};
use super::id::Epoch;
use super::options::Options;
use super::peer_text::PeerText;
use super::session::{Session, SessionStage};
use super::time::Instant;

/// The wait before the one retry with the stored device token (protocol 7.10).
pub(super) const DEVICE_TOKEN_RETRY: Duration = Duration::from_millis(250);

/// Startup answers in a row that are retried quickly; after that the backoff takes over, so that
/// a gateway that never finishes starting meets no storm.
const STARTUP_RETRIES_MAX: u32 = 20;

impl Connection {
    pub(super) fn wake(&mut self, effects: &mut Vec<Effect>) {
        match &mut self.phase {
            Phase::Waiting { until, not_before } => {
                let (until, not_before) = (*until, *not_before);
                self.backoff.reset();
                let earliest = self.last_dial.map_or(self.now, |last| last + self.options.backoff.initial);
                // A wait that ends sooner than that, as after a config change, is not made longer.
                let until = self.now.max(not_before).max(earliest).min(until);
                self.dial_at(until, not_before, effects);
            }
            Phase::Live { session, stage: SessionStage::Ready { .. } } => {
                // One question is enough until it is answered, or is not in time.
                if session.probed.is_none() {
                    session.probed = Some(self.now);
                    effects.push(Effect::Ping { epoch: session.epoch });
                }
            }
            // An attempt finds out by itself, within the time of its stage.
            Phase::Live {
                stage:
                    SessionStage::Dialing { .. }
                    | SessionStage::AwaitingChallenge { .. }
                    | SessionStage::AwaitingToken { .. }
                    | SessionStage::AwaitingHello { .. }
                    | SessionStage::AwaitingApproval { .. },
                ..
            } => {}
            Phase::Idle
            | Phase::Closing { .. }
            | Phase::Paused { .. }
            | Phase::Flushing { .. }
            | Phase::Stopped => {}
        }
    }

    pub(super) fn resume(&mut self, effects: &mut Vec<Effect>) {
        match &mut self.phase {
            Phase::Paused { .. } => {
                self.backoff.reset();
                self.settle(effects);
            }
            Phase::Live { session, stage: SessionStage::AwaitingApproval { .. } } => {
                let close = Close::Now { code: 1000, reason: "connecting anew" };
                effects.push(Effect::HangUp { epoch: session.epoch, close });
                self.backoff.reset();
                self.settle(effects);
            }
            // The attempt that is under way will do.
            Phase::Live { session, stage } if session.polls_for.is_some() => {
                session.polls_for = None;
                let epoch = session.epoch;
                let is_open = !matches!(stage, SessionStage::Dialing { .. });
                self.backoff.reset();
                let status = match is_open {
                    true => Status::Handshaking { epoch },
                    false => Status::Connecting { epoch, attempt: 1 },
                };
                self.set_status(status, effects);
            }
            Phase::Live { .. }
            | Phase::Idle
            | Phase::Waiting { .. }
            | Phase::Closing { .. }
            | Phase::Flushing { .. }
            | Phase::Stopped => {}
        }
    }

    /// With no socket left: dial as soon as the caller has said all it has to say, and the config has settled; or rest.
    pub(super) fn settle(&mut self, effects: &mut Vec<Effect>) {
        if self.wanted && self.config.is_some() {
            let Options { config_settle, backoff, .. } = &self.options;
            let due = self.config_changes.due(self.now, *config_settle, backoff.initial);
            if due > self.now {
                self.phase = Phase::Waiting { until: due, not_before: due };
                self.set_status(Status::Settling { until: due }, effects);
            } else {
                self.dial_at(due, due, effects);
            }
        } else {
            self.phase = Phase::Idle;
            self.set_status(if self.wanted { Status::NotConfigured } else { Status::Idle }, effects);
        }
    }

    pub(super) fn dial_at(&mut self, until: Instant, not_before: Instant, effects: &mut Vec<Effect>) {
        self.phase = Phase::Waiting { until, not_before };
        // A dial that is due now shows as `Connecting` in a moment; a status for it would be noise.
        if let (true, Status::Backoff { attempt, cause, .. }) = (until > self.now, self.status()) {
            let status = Status::Backoff { attempt: *attempt, until, cause: Arc::clone(cause) };
            self.set_status(status, effects);
        }
    }

    pub(super) fn dial(&mut self, effects: &mut Vec<Effect>) {
        self.dial_for(None, effects);
    }

    /// Dials, for the pause that `polls_for` if there is one: it goes on, and its status stays.
    pub(super) fn dial_for(&mut self, polls_for: Option<Arc<PauseReason>>, effects: &mut Vec<Effect>) {
        let config = self.config.as_ref().expect("only a configured connection waits to dial");
        assert!(self.live_epoch().is_none(), "a dial while a socket is alive");
        let epoch = Epoch(self.next_epoch);
        self.next_epoch += 1;
        self.last_dial = Some(self.now);
        self.config_changes.dialed(self.now);
        let headers = Arc::clone(&config.headers);
        effects.push(Effect::Dial { epoch, endpoint: config.endpoint.clone(), headers });
        let key = self.token_key();
        let is_poll = polls_for.is_some();
        let mut session = Session::new(epoch, self.now, key.is_some());
        session.polls_for = polls_for;
        self.phase = Phase::Live {
            session,
            stage: SessionStage::Dialing { deadline: self.now + self.options.dial_timeout },
        };
        if !is_poll {
            self.set_status(Status::Connecting { epoch, attempt: self.backoff.attempts() + 1 }, effects);
        }
        effects.extend(key.map(|key| Effect::LoadToken { epoch, key }));
    }

    /// The transport says that the socket is gone.
    pub(super) fn ended(&mut self, error: ConnectionError, effects: &mut Vec<Effect>) {
        if let Phase::Closing { then, deadline, .. } = self.phase {
            self.after_close(then, deadline, effects);
            return;
        }
        let error = self.blamed_on_the_store(error);
        let decision = self.after_end(&error, effects);
        self.ended_with(error, decision, effects);
    }

    /// A gateway closes cleanly, and says nothing, when it has waited too long for `connect` (protocol 3.1). While that
    /// waits for the token store, it is the store that is late.
    fn blamed_on_the_store(&self, error: ConnectionError) -> ConnectionError {
        let waits_for_the_store =
            matches!(self.phase, Phase::Live { stage: SessionStage::AwaitingToken { .. }, .. });
        let silent_close = ConnectionError::Closed { code: 1000, reason: PeerText::default() };
        if waits_for_the_store && error == silent_close {
            return ConnectionError::Timeout { stage: Stage::TokenStore };
        }
        error
    }

    /// What comes next. A close may say that the credential was refused, as an answer does.
    fn after_end(&mut self, error: &ConnectionError, effects: &mut Vec<Effect>) -> Decision {
        if let Some(decision) = self.after_hold(error) {
            return decision;
        }
        let ConnectionError::Closed { code, reason } = error else { return decide(error) };
        let refusal = refusal_of_close(*code, reason);
        let retry = refusal.is_some_and(|refusal| self.refused_credential(&refusal, effects));
        if retry { Decision::RetryDeviceToken } else { decide(error) }
    }

    /// Drops the live socket without waiting for the peer.
    pub(super) fn give_up(
        &mut self,
        error: ConnectionError,
        code: u16,
        reason: &'static str,
        effects: &mut Vec<Effect>,
    ) {
        let decision = decide(&error);
        self.give_up_with(error, decision, (code, reason), effects);
    }

    pub(super) fn give_up_with(
        &mut self,
        error: ConnectionError,
        decision: Decision,
        (code, reason): (u16, &'static str),
        effects: &mut Vec<Effect>,
    ) {
        let (session, _) = self.phase.live_mut();
        effects.push(Effect::HangUp { epoch: session.epoch, close: Close::Now { code, reason } });
        self.ended_with(error, decision, effects);
    }

    /// The live socket is gone: fail what it carried, and do what was decided.
    fn ended_with(&mut self, mut error: ConnectionError, mut decision: Decision, effects: &mut Vec<Effect>) {
        let redactor = self.redactor();
        error.redact(&redactor);
        decision.redact(&redactor);
        if let (_, SessionStage::Ready { since, .. }) = self.phase.live_mut()
            && self.now.since(*since) >= self.options.backoff.stable_after
        {
            self.backoff.reset();
        }
        let polls_for = self.phase.live_mut().0.polls_for.take();
        let cause = Arc::new(error);
        // The phase changes before anything is told, so that nothing acts on a dead connection; and the
        // status before any request fails, so that whoever sees the failure sees no status from before.
        match decision {
            Decision::Pause(reason) => self.pause(reason, &cause, effects),
            Decision::Retry { .. } | Decision::RetryStartup { .. } | Decision::RetryDeviceToken
                if let Some(reason) = polls_for =>
            {
                self.go_on_pausing(reason, &decision, effects);
            }
            Decision::Retry { floor } => self.back_off(floor, cause, effects),
            Decision::RetryStartup { delay } if self.startup_retries < STARTUP_RETRIES_MAX => {
                self.startup_retries += 1;
                self.wait(delay, Duration::ZERO, cause, effects);
            }
            Decision::RetryDeviceToken => self.wait(DEVICE_TOKEN_RETRY, Duration::ZERO, cause, effects),
            Decision::RetryStartup { delay } => self.back_off(Some(delay), cause, effects),
        }
    }

    fn back_off(&mut self, floor: Option<Duration>, cause: Arc<ConnectionError>, effects: &mut Vec<Effect>) {
        let delay = self.backoff.next_delay(floor, &mut self.rng);
        self.wait(delay, floor.unwrap_or_default().min(delay), cause, effects);
    }

    fn wait(
        &mut self,
        delay: Duration,
        floor: Duration,
        cause: Arc<ConnectionError>,
        effects: &mut Vec<Effect>,
    ) {
        let until = self.now + delay;
        self.phase = Phase::Waiting { until, not_before: self.now + floor };
        let status = Status::Backoff { attempt: self.backoff.attempts(), until, cause: Arc::clone(&cause) };
        self.set_status(status, effects);
        self.fail_carried(&RequestErrorKind::Disconnected(cause), effects);
    }

    fn pause(&mut self, reason: Arc<PauseReason>, cause: &Arc<ConnectionError>, effects: &mut Vec<Effect>) {
        let wait = self.pairing_wait();
        let (reason, poll_at) = self.with_poll(reason, wait);
        self.phase = Phase::Paused { reason: Arc::clone(&reason), poll_at };
        self.set_status(Status::Paused(Arc::clone(&reason)), effects);
        self.fail_carried(&RequestErrorKind::Disconnected(Arc::clone(cause)), effects);
        self.fail_all(&RequestErrorKind::Paused(reason), effects);
    }
}
