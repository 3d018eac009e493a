//! `settles_once`: every request ends once, in time, and with the truth about its delivery.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use onesocket::core::Instant;

use super::suspension::Suspension;
use super::{Invariant, Oracle};
use crate::observe::may_have_arrived;
use crate::trace::{FailureKind, Outcome, Record, Seen, What};

/// Looks at every request from its making to the end of the run.
#[derive(Default)]
pub(super) struct SettlesOnce {
    open: BTreeMap<u32, Open>,
    /// No open request has an earlier deadline: until then none of them can be overdue.
    earliest: Option<Instant>,
    suspension: Suspension,
    arrived: BTreeSet<u32>,
    /// Ended as not sent: must never arrive.
    not_sent: BTreeSet<u32>,
}

struct Open {
    made: Instant,
    deadline: Instant,
}

impl SettlesOnce {
    fn made(&mut self, request: u32, made: Instant, timeout: Duration) {
        let deadline = made + timeout;
        self.earliest = Some(self.earliest.map_or(deadline, |earliest| earliest.min(deadline)));
        self.open.insert(request, Open { made, deadline });
    }

    /// Looks for a request that should have ended by now.
    fn overdue(&mut self, now: Instant) -> Result<(), String> {
        if !self.earliest.is_some_and(|earliest| self.suspension.is_overdue(earliest, now)) {
            return Ok(());
        }
        for (request, Open { deadline, .. }) in &self.open {
            if self.suspension.is_overdue(*deadline, now) {
                return Err(format!("request {request} is still open after its deadline at {deadline}"));
            }
        }
        self.earliest = self.open.values().map(|open| open.deadline).min();
        Ok(())
    }

    fn settled(&mut self, request: u32, outcome: Outcome, at: Instant) -> Result<(), String> {
        let Some(Open { deadline, .. }) = self.open.remove(&request) else {
            return Err(format!("request {request} ends twice, or was never made"));
        };
        if self.suspension.is_overdue(deadline, at) {
            return Err(format!("request {request} ends after its deadline at {deadline}"));
        }
        match outcome {
            Outcome::Answered { own: false } => Err(format!("request {request} gets the answer to another")),
            Outcome::Answered { own: true } | Outcome::Failed { kind: FailureKind::Rejected, .. } => {
                if self.arrived.contains(&request) {
                    Ok(())
                } else {
                    Err(format!("request {request} is answered and never arrived"))
                }
            }
            Outcome::Failed { delivery, .. } if may_have_arrived(delivery) => Ok(()),
            Outcome::Failed { .. } => {
                self.not_sent.insert(request);
                if self.arrived.contains(&request) {
                    Err(format!("request {request} is reported as not sent and arrived"))
                } else {
                    Ok(())
                }
            }
        }
    }

    fn arrived(&mut self, request: u32) -> Result<(), String> {
        if self.not_sent.contains(&request) {
            return Err(format!("request {request} was reported as not sent and arrives"));
        }
        if !self.arrived.insert(request) {
            return Err(format!("request {request} arrives twice"));
        }
        Ok(())
    }
}

impl Oracle for SettlesOnce {
    fn invariant(&self) -> Invariant {
        Invariant::SettlesOnce
    }

    fn observe(&mut self, record: &Record) -> Result<(), String> {
        self.suspension.observe(record);
        self.overdue(record.at)?;
        match &record.what {
            What::RequestMade { request, timeout_ms, .. } => {
                self.made(*request, record.at, Duration::from_millis(*timeout_ms));
            }
            What::RequestSettled { request, outcome } => return self.settled(*request, *outcome, record.at),
            What::RequestDropped { request } => {
                self.open.remove(request);
            }
            What::Gateway { seen: Seen::Request { request, .. }, .. } => return self.arrived(*request),
            What::Remaining { requests, .. } if *requests > 0 => {
                return Err(format!("{requests} requests are left"));
            }
            What::ShutdownReturned => {
                // A request that is made at this very moment may not have had its turn yet to say how it ended.
                let open = self.open.values().filter(|open| open.made < record.at).count();
                if open > 0 {
                    return Err(format!("{open} requests are open after the shutdown"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
