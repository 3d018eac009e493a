//! `stop_is_final`: a shutdown returns promptly and leaves nothing.

use std::time::Duration;

use onesocket::core::Instant;

use super::Oracle;
use super::suspension::Suspension;
use crate::plan::Plan;
use crate::trace::{Event, Outcome, Record, StatusKind};

/// Where the shutdown stands.
enum Stage {
    Running,
    Called(Instant),
    Returned,
}

/// Looks at what happens once a shutdown began.
pub(super) struct StopIsFinal {
    stage: Stage,
    bound: Duration,
    suspension: Suspension,
}

impl StopIsFinal {
    pub(super) fn new(plan: &Plan) -> Self {
        let bound = Duration::from_millis(plan.params.close_grace_ms);
        Self { stage: Stage::Running, bound, suspension: Suspension::default() }
    }

    fn after_return(record: &Record) -> Result<(), String> {
        match &record.event {
            Event::Dialed { socket, .. } => Err(format!("socket {socket} is dialed after the shutdown")),
            Event::Remaining { sockets, timers, .. } if sockets + timers > 0 => {
                Err(format!("{sockets} sockets and {timers} timers are left after the shutdown"))
            }
            Event::Remaining { subscriptions, .. } if *subscriptions > 0 => {
                Err(format!("{subscriptions} subscriptions are left after the shutdown"))
            }
            Event::Status(status) if *status != StatusKind::Stopped => {
                Err(format!("the status becomes {status:?} after the shutdown"))
            }
            Event::RequestSettled { request, outcome: Outcome::Answered { .. } } => {
                Err(format!("request {request} is answered after the shutdown"))
            }
            _ => Ok(()),
        }
    }
}

impl Oracle for StopIsFinal {
    fn observe(&mut self, record: &Record) -> Result<(), String> {
        self.suspension.observe(record);
        match (&self.stage, &record.event) {
            (Stage::Running, Event::ShutdownCalled) => self.stage = Stage::Called(record.at),
            (Stage::Running, _) => {}
            (Stage::Called(called), what) => {
                if self.suspension.is_overdue(*called + self.bound, record.at) {
                    return Err(format!("the shutdown takes longer than {:?}", self.bound));
                }
                if let Event::Dialed { socket, .. } = what {
                    return Err(format!("socket {socket} is dialed while the client shuts down"));
                }
                if *what == Event::ShutdownReturned {
                    self.stage = Stage::Returned;
                }
            }
            (Stage::Returned, _) => return Self::after_return(record),
        }
        Ok(())
    }
}
