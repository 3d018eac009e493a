//! Deadlines: which there are, and what happens when one has come.
//!
//! They are derived from the state each time, so that no timer outlives the state that wanted it.

use super::connection::{AfterClose, Connection, Phase};
use super::effect::{Close, Effect};
use super::error::{ConnectionError, Delivery, RequestError, RequestErrorKind, Stage};
use super::in_flight::Progress;
use super::session::SessionStage;
use super::time::Instant;

impl Connection {
    /// When this connection wants [`Input::Timeout`](super::Input::Timeout), if it does. May be in the past, or now.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Waiting { until, .. } => Some(*until),
            Phase::Live { session, stage } => Some(match stage {
                SessionStage::Dialing { deadline }
                | SessionStage::AwaitingChallenge { deadline }
                | SessionStage::AwaitingToken { deadline, .. }
                | SessionStage::AwaitingHello { deadline } => *deadline,
                SessionStage::Ready { policy, .. } => session.silent_at(policy),
            }),
            Phase::Closing { deadline, .. } | Phase::Flushing { deadline } => Some(*deadline),
            Phase::Idle | Phase::Paused(_) | Phase::Stopped => None,
        };
        phase.into_iter().chain(self.requests.next_deadline()).min()
    }

    pub(super) fn run_due(&mut self, effects: &mut Vec<Effect>) {
        self.run_due_phase(effects);
        while let Some(id) = self.requests.expired(self.now) {
            let (pending, progress) = self.requests.take(id).expect("a deadline belongs to a request");
            let kind = RequestErrorKind::TimedOut { after: pending.timeout.unwrap_or_default() };
            let error = RequestError { method: pending.method, kind, delivery: delivery(progress) };
            effects.push(Effect::Complete { id, outcome: Err(error) });
        }
        self.send_queued(effects);
        let next = self.next_deadline();
        assert!(
            next.is_none_or(|next| next > self.now),
            "deadline {next:?} was not dealt with at {}",
            self.now
        );
    }

    fn run_due_phase(&mut self, effects: &mut Vec<Effect>) {
        match self.phase {
            Phase::Waiting { until, .. } if until <= self.now => self.dial(effects),
            Phase::Live { .. } => self.run_due_stage(effects),
            Phase::Closing { epoch, deadline, then } if deadline <= self.now => {
                let close = Close::Now { code: 1000, reason: "close timeout" };
                effects.push(Effect::HangUp { epoch, close });
                // A store that takes longer than a peer is not waited for either.
                if then == AfterClose::Stop {
                    self.store_writes = 0;
                }
                self.after_close(then, deadline, effects);
                // A reconnect that follows is due now, and this is the time for what is due.
                if let Phase::Waiting { .. } = self.phase {
                    self.dial(effects);
                }
            }
            Phase::Flushing { deadline } if deadline <= self.now => {
                self.store_writes = 0;
                self.stopped(effects);
            }
            Phase::Idle
            | Phase::Waiting { .. }
            | Phase::Closing { .. }
            | Phase::Paused(_)
            | Phase::Flushing { .. }
            | Phase::Stopped => {}
        }
    }

    /// The last arm is the watchdog: nothing disables it, and what is pending fails here and now, not when a
    /// dead peer would have confirmed the close (B45, B63).
    fn run_due_stage(&mut self, effects: &mut Vec<Effect>) {
        let now = self.now;
        let (session, stage) = self.phase.live_mut();
        match stage {
            SessionStage::Dialing { deadline } if *deadline <= now => {
                self.give_up(timeout(Stage::Dial), 1000, "dial timeout", effects);
            }
            SessionStage::AwaitingChallenge { deadline } | SessionStage::AwaitingToken { deadline, .. }
                if *deadline <= now =>
            {
                self.give_up(timeout(Stage::Challenge), 1008, "connect challenge timeout", effects);
            }
            SessionStage::AwaitingHello { deadline } if *deadline <= now => {
                self.give_up(timeout(Stage::Hello), 4000, "connect timeout", effects);
            }
            SessionStage::Ready { policy, .. } if session.silent_at(policy) <= now => {
                let silent_for = now.since(session.last_inbound);
                self.give_up(ConnectionError::Silent { silent_for }, 4000, "tick timeout", effects);
            }
            SessionStage::Dialing { .. }
            | SessionStage::AwaitingChallenge { .. }
            | SessionStage::AwaitingToken { .. }
            | SessionStage::AwaitingHello { .. }
            | SessionStage::Ready { .. } => {}
        }
    }
}

fn timeout(stage: Stage) -> ConnectionError {
    ConnectionError::Timeout { stage }
}

fn delivery(progress: Progress) -> Delivery {
    match progress {
        Progress::Queued => Delivery::NotSent,
        Progress::Sent => Delivery::Unknown,
    }
}
