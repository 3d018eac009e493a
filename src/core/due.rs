//! Deadlines: which there are, and what happens when one has come.
//!
//! They are derived from the state each time, so that no timer outlives the state that wanted it.

use std::fmt;

use super::config::Options;
use super::connection::{AfterClose, Connection, Phase};
use super::effect::{Close, Effect};
use super::error::{ConnectionError, Stage};
use super::id::RequestId;
use super::session::{Session, SessionStage};
use super::time::Instant;

/// When a connection wants [`Input::Timeout`](super::Input::Timeout), and what for. Prints as the two, for a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// When.
    pub at: Instant,
    /// What for.
    pub reason: DeadlineReason,
}

/// What is due at a [`Deadline`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeadlineReason {
    /// The wait is over: the next dial.
    Dial,
    /// This stage of the attempt has taken too long.
    Stage(Stage),
    /// The gateway has sent nothing for too long.
    Silence,
    /// A message that the gateway has begun takes too long.
    Message,
    /// A pairing request has not been decided in time, on a connection that is kept open for that.
    Approval,
    /// The peer has not confirmed a close in time.
    Close,
    /// The token store has not finished its writes in time, for which a shutdown waits.
    Flush,
    /// This request has not been answered in time.
    Request(RequestId),
}

impl Connection {
    /// When this connection wants [`Input::Timeout`](super::Input::Timeout), and what for, if it does. May be in the
    /// past, or now.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Deadline> {
        let phase = match &self.phase {
            Phase::Waiting { until, .. } => Some(Deadline { at: *until, reason: DeadlineReason::Dial }),
            Phase::Live { session, stage } => Some(stage_deadline(session, stage, &self.options)),
            Phase::Closing { deadline, .. } => {
                Some(Deadline { at: *deadline, reason: DeadlineReason::Close })
            }
            Phase::Flushing { deadline } => Some(Deadline { at: *deadline, reason: DeadlineReason::Flush }),
            Phase::Paused { poll_at, .. } => poll_at.map(|at| Deadline { at, reason: DeadlineReason::Dial }),
            Phase::Idle | Phase::Stopped => None,
        };
        let request = self
            .requests
            .next_deadline()
            .map(|(at, id)| Deadline { at, reason: DeadlineReason::Request(id) });
        phase.into_iter().chain(request).min_by_key(|deadline| deadline.at)
    }

    pub(super) fn run_due(&mut self, effects: &mut Vec<Effect>) {
        self.run_due_phase(effects);
        while let Some(id) = self.requests.expired(self.now) {
            self.time_out(id, effects);
        }
        self.send_queued(effects);
        if let Some(next) = self.next_deadline() {
            assert!(next.at > self.now, "the deadline {next} was not dealt with at {}", self.now);
        }
    }

    fn run_due_phase(&mut self, effects: &mut Vec<Effect>) {
        match self.phase {
            Phase::Waiting { until, .. } if until <= self.now => self.dial(effects),
            Phase::Paused { poll_at: Some(at), .. } if at <= self.now => self.poll(effects),
            Phase::Live { .. } => self.run_due_stage(effects),
            Phase::Closing { epoch, deadline, then } if deadline <= self.now => {
                let close = Close::Now { code: 1000, reason: "close timeout" };
                effects.push(Effect::HangUp { epoch, close });
                // A store that takes longer than a peer is not waited for either.
                if then == AfterClose::Stop {
                    self.store_writes = 0;
                }
                self.after_close(then, deadline, effects);
                // A reconnect that follows is due now as a rule, and this is the time for what is due.
                if let Phase::Waiting { until, .. } = self.phase
                    && until <= self.now
                {
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
            | Phase::Paused { .. }
            | Phase::Flushing { .. }
            | Phase::Stopped => {}
        }
    }

    /// The last two arms are the watchdog: nothing disables it, and what is pending fails here and now, not when a
    /// dead peer would have confirmed the close (B45, B63).
    fn run_due_stage(&mut self, effects: &mut Vec<Effect>) {
        let now = self.now;
        let (session, stage) = self.phase.live_mut();
        match stage {
            SessionStage::Dialing { deadline } if *deadline <= now => {
                self.give_up(timeout(Stage::Dial), 1000, "dial timeout", effects);
            }
            SessionStage::AwaitingChallenge { deadline } if *deadline <= now => {
                self.give_up(timeout(Stage::Challenge), 1008, "connect challenge timeout", effects);
            }
            SessionStage::AwaitingToken { deadline, .. } if *deadline <= now => {
                self.give_up(timeout(Stage::TokenStore), 1000, "no credentials", effects);
            }
            SessionStage::AwaitingHello { deadline, .. } if *deadline <= now => {
                self.give_up(timeout(Stage::Hello), 4000, "connect timeout", effects);
            }
            SessionStage::AwaitingApproval { deadline, .. } if *deadline <= now => self.undecided(effects),
            SessionStage::Ready { policy, .. } if session.silent_at(policy, &self.options) <= now => {
                let silent_for = now.since(session.last_inbound);
                self.give_up(ConnectionError::Silent { silent_for }, 4000, "tick timeout", effects);
            }
            SessionStage::Ready { .. } if session.message_due(&self.options).is_some_and(|at| at <= now) => {
                let limit = self.options.max_message_duration;
                self.give_up(ConnectionError::SlowMessage { limit }, 4000, "message timeout", effects);
            }
            SessionStage::Dialing { .. }
            | SessionStage::AwaitingChallenge { .. }
            | SessionStage::AwaitingToken { .. }
            | SessionStage::AwaitingHello { .. }
            | SessionStage::AwaitingApproval { .. }
            | SessionStage::Ready { .. } => {}
        }
    }
}

fn stage_deadline(session: &Session, stage: &SessionStage, options: &Options) -> Deadline {
    let (at, reason) = match stage {
        SessionStage::Dialing { deadline } => (*deadline, DeadlineReason::Stage(Stage::Dial)),
        SessionStage::AwaitingChallenge { deadline } => (*deadline, DeadlineReason::Stage(Stage::Challenge)),
        SessionStage::AwaitingToken { deadline, .. } => (*deadline, DeadlineReason::Stage(Stage::TokenStore)),
        SessionStage::AwaitingHello { deadline, .. } => (*deadline, DeadlineReason::Stage(Stage::Hello)),
        SessionStage::AwaitingApproval { deadline, .. } => (*deadline, DeadlineReason::Approval),
        SessionStage::Ready { policy, .. } => {
            let silent_at = session.silent_at(policy, options);
            match session.message_due(options).filter(|due| *due < silent_at) {
                Some(due) => (due, DeadlineReason::Message),
                None => (silent_at, DeadlineReason::Silence),
            }
        }
    };
    Deadline { at, reason }
}

fn timeout(stage: Stage) -> ConnectionError {
    ConnectionError::Timeout { stage }
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {}", self.reason, self.at)
    }
}
