//! `settles_once`: every request ends once, in time, and with the truth about its delivery.

mod bound;
mod runs;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use onesocket::core::Instant;

use super::Oracle;
use super::suspension::Suspension;
use bound::Bound;
use runs::Runs;

use crate::plan::Fault;
use crate::trace::probe::may_have_arrived;
use crate::trace::{Event, FailureKind, GatewayEvent, Outcome, Record};

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
    bound: Bound,
    runs: Runs,
}

struct Open {
    made: Instant,
    /// None waits for ever.
    deadline: Option<Instant>,
    /// The process fell asleep at the moment at which it was made: its time begins when that wakes.
    asleep: bool,
}

impl SettlesOnce {
    fn made(&mut self, request: u32, made: Instant, timeout: Option<Duration>) {
        let deadline = timeout.map(|timeout| made + timeout);
        self.earliest = self.earliest.into_iter().chain(deadline).min();
        self.open.insert(request, Open { made, deadline, asleep: false });
    }

    fn fell_asleep(&mut self, at: Instant) {
        for open in self.open.values_mut().filter(|open| open.made == at) {
            open.asleep = true;
        }
    }

    fn woke(&mut self, at: Instant) {
        for open in self.open.values_mut().filter(|open| open.asleep) {
            open.asleep = false;
            open.deadline = open.deadline.map(|deadline| deadline + at.since(open.made));
        }
    }

    /// Looks for a request that should have ended by now.
    fn overdue(&mut self, now: Instant) -> Result<(), String> {
        let is_overdue = |deadline: Instant| self.suspension.is_overdue(deadline, now);
        if !self.earliest.is_some_and(is_overdue) {
            return Ok(());
        }
        let overdue = |open: &Open| open.deadline.filter(|deadline| is_overdue(*deadline));
        if let Some((request, deadline)) =
            self.open.iter().find_map(|(request, open)| Some((request, overdue(open)?)))
        {
            return Err(format!("request {request} is still open after its deadline at {deadline}"));
        }
        self.earliest = self.open.values().filter_map(|open| open.deadline).min();
        Ok(())
    }

    fn settled(&mut self, request: u32, outcome: Outcome, at: Instant) -> Result<(), String> {
        let Some(Open { deadline, .. }) = self.open.remove(&request) else {
            return Err(format!("request {request} ends twice, or was never made"));
        };
        if let Some(deadline) = deadline.filter(|deadline| self.suspension.is_overdue(*deadline, at)) {
            return Err(format!("request {request} ends after its deadline at {deadline}"));
        }
        self.bound.settled(request, outcome, at)?;
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
    fn observe(&mut self, record: &Record) -> Result<(), String> {
        self.suspension.observe(record);
        self.overdue(record.at)?;
        self.bound.observe(record)?;
        self.runs.observe(record)?;
        match &record.event {
            Event::RequestMade { request, timeout_ms, .. } => {
                self.made(*request, record.at, timeout_ms.map(Duration::from_millis));
            }
            Event::Fault { fault: Fault::Suspend, .. } => self.fell_asleep(record.at),
            Event::Healed { fault: Fault::Suspend, .. } if self.suspension.is_awake() => self.woke(record.at),
            Event::RequestSettled { request, outcome } => return self.settled(*request, *outcome, record.at),
            Event::RequestDropped { request } => {
                self.open.remove(request);
            }
            Event::Gateway { event: GatewayEvent::Request { request, .. }, .. } => {
                return self.arrived(*request);
            }
            Event::Remaining { requests, .. } if *requests > 0 => {
                return Err(format!("{requests} requests are left"));
            }
            Event::ShutdownReturned => {
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

#[cfg(test)]
mod tests {
    use super::super::first_broken;
    use super::*;

    #[test]
    fn the_time_of_a_request_begins_when_its_process_wakes() {
        let made = Event::RequestMade {
            consumer: 0,
            request: 1,
            timeout_ms: Some(100),
            bound_to: None,
            key: None,
            to_the_end: false,
        };
        let suspend = |at_ms| (at_ms, Event::Fault { fault: Fault::Suspend, gateway: 0 });
        let wake = (2_000, Event::Healed { fault: Fault::Suspend, gateway: 0 });
        let broken = |asleep_ms, now_ms| {
            let history = [(1_000, made.clone()), suspend(asleep_ms), wake.clone(), (now_ms, Event::Woken)];
            first_broken(&mut SettlesOnce::default(), history)
        };
        assert_eq!(broken(1_000, 2_100), None);
        assert_eq!(broken(1_000, 2_121), Some(3));
        assert_eq!(broken(1_001, 2_010), None);
        assert_eq!(broken(1_001, 2_100), Some(3));
    }
}
