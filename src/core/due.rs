//! Deadlines: which there are, and what happens when one has come.
//!
//! They are derived from the state each time, so that no timer outlives the state that wanted it.

use super::connection::{AfterClose, Connection, Phase};
use super::effect::Effect;
use super::error::{ConnectionError, Delivery, RequestError, RequestErrorKind, Stage};
use super::in_flight::Progress;
use super::session::Session;
use super::time::Instant;

impl Connection {
    /// When this connection wants [`Input::Timeout`](super::Input::Timeout), if it does. May be in the past, or now.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Waiting { until, .. } => Some(*until),
            Phase::Dialing { deadline }
            | Phase::AwaitingChallenge { deadline }
            | Phase::AwaitingHello { deadline }
            | Phase::Closing { deadline, .. } => Some(*deadline),
            Phase::Ready { .. } => self.session.as_ref().map(Session::silent_at),
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
            Phase::Dialing { deadline } if deadline <= self.now => {
                self.give_up(Stage::Dial, 1000, "dial timeout", effects);
            }
            Phase::AwaitingChallenge { deadline } if deadline <= self.now => {
                self.give_up(Stage::Challenge, 1008, "connect challenge timeout", effects);
            }
            Phase::AwaitingHello { deadline } if deadline <= self.now => {
                self.give_up(Stage::Hello, 4000, "connect timeout", effects);
            }
            Phase::Closing { deadline, then } if deadline <= self.now => {
                self.hang_up(1000, "close timeout", effects);
                // A store that takes longer than a peer is not waited for either.
                if then == AfterClose::Stop {
                    self.store_writes = 0;
                }
                self.after_close(then, effects);
                // A reconnect that follows is due now, and this is the time for what is due.
                if let Phase::Waiting { .. } = self.phase {
                    self.dial(effects);
                }
            }
            Phase::Ready { .. } => self.check_silence(effects),
            Phase::Idle
            | Phase::Waiting { .. }
            | Phase::Dialing { .. }
            | Phase::AwaitingChallenge { .. }
            | Phase::AwaitingHello { .. }
            | Phase::Closing { .. }
            | Phase::Paused(_)
            | Phase::Stopped => {}
        }
    }

    /// The watchdog: nothing disables it, and what is pending fails here and now, not when a dead
    /// peer would have confirmed the close (B45, B63).
    fn check_silence(&mut self, effects: &mut Vec<Effect>) {
        let Some(session) = &self.session else { return };
        if session.silent_at() <= self.now {
            let silent_for = self.now.since(session.last_inbound);
            self.hang_up(4000, "tick timeout", effects);
            self.ended(ConnectionError::Silent { silent_for }, effects);
        }
    }

    fn give_up(&mut self, stage: Stage, code: u16, reason: &'static str, effects: &mut Vec<Effect>) {
        self.hang_up(code, reason, effects);
        self.ended(ConnectionError::Timeout { stage }, effects);
    }
}

fn delivery(progress: Progress) -> Delivery {
    match progress {
        Progress::Queued => Delivery::NotSent,
        Progress::Sent => Delivery::Unknown,
    }
}
