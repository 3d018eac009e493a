//! Why a request fails.

use std::collections::BTreeMap;
use std::time::Duration;

use onesocket::core::{Delivery, Instant};

use crate::judge::oracle::suspension::{LATE, TICK};
use crate::plan::{Limits, Plan};
use crate::trace::{Event, FailureKind, Outcome, Record, StatusKind};

/// The most that the method and the parameters of a request of the harness take.
const REQUEST_BYTES: usize = 96;

/// The cause that a failure names is in the trace, at the time at which it is named or since the request was made.
///
/// Watchers of the status may be late, so that a cause which only a status shows may come a moment after the failure.
pub(super) struct Causes {
    limits: Limits,
    open: BTreeMap<u32, Open>,
    /// When each cause was there last; what still goes on is there now.
    paused: Period,
    unconfigured: Period,
    changed: Option<Instant>,
    disconnected: Option<Instant>,
    shutting_down: bool,
    /// How many were dropped at the latest moment at which any was: the client may not know yet.
    dropped: (Instant, usize),
    /// A failure whose cause did not show yet.
    doubt: Option<Doubt>,
}

struct Open {
    made: Instant,
    deadline: Option<Instant>,
    is_bound: bool,
    /// How many were open together with it, at most: what it met at its limit may end before it does.
    beside: usize,
}

/// When something was the case last.
#[derive(Clone, Copy, Default)]
struct Period {
    goes_on: bool,
    ended: Option<Instant>,
}

impl Period {
    fn set(&mut self, goes_on: bool, at: Instant) {
        if self.goes_on && !goes_on {
            self.ended = Some(at);
        }
        self.goes_on = goes_on;
    }

    fn was_there_since(self, made: Instant) -> bool {
        self.goes_on || self.ended.is_some_and(|ended| ended + LATE >= made)
    }
}

struct Doubt {
    request: u32,
    made: Instant,
    at: Instant,
    kind: FailureKind,
}

impl Causes {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            limits: plan.params.limits.clone(),
            open: BTreeMap::new(),
            paused: Period::default(),
            unconfigured: Period::default(),
            changed: None,
            disconnected: None,
            shutting_down: false,
            dropped: (Instant::ZERO, 0),
            doubt: None,
        }
    }

    pub(super) fn observe(&mut self, record: &Record) -> Result<(), String> {
        self.doubted(record.at)?;
        match &record.event {
            Event::RequestMade { request, timeout_ms, bound_to, .. } => {
                let deadline = timeout_ms.map(|ms| record.at + Duration::from_millis(ms));
                let open = Open { made: record.at, deadline, is_bound: bound_to.is_some(), beside: 0 };
                self.open.insert(*request, open);
                let beside = self.open.len() + self.dropped_by(record.at);
                self.open.values_mut().for_each(|open| open.beside = open.beside.max(beside));
            }
            Event::RequestDropped { request } => {
                self.open.remove(request);
                self.dropped = (record.at, self.dropped_by(record.at) + 1);
            }
            Event::RequestSettled { request, outcome } => {
                if let (Some(open), Outcome::Failed { delivery, kind }) = (self.open.remove(request), outcome)
                {
                    return self.failed(*request, &open, *delivery, *kind, record.at);
                }
            }
            Event::Status(status) => self.status(*status, record.at),
            Event::Released { .. } => self.disconnected = Some(record.at),
            Event::Configured { changed: true, .. } => {
                self.changed = Some(record.at);
                self.unconfigured.set(false, record.at);
            }
            Event::Unconfigured { changed: true } => {
                self.changed = Some(record.at);
                self.unconfigured.set(true, record.at);
            }
            Event::ShutdownCalled => self.shutting_down = true,
            _ => {}
        }
        Ok(())
    }

    /// Requests that were dropped a moment ago.
    fn dropped_by(&self, at: Instant) -> usize {
        let (latest, count) = self.dropped;
        if at <= latest + LATE { count } else { 0 }
    }

    fn status(&mut self, status: StatusKind, at: Instant) {
        self.paused.set(status == StatusKind::Paused, at);
        match status {
            StatusKind::Backoff | StatusKind::Paused | StatusKind::Closing | StatusKind::Stopped => {
                self.disconnected = Some(at);
            }
            StatusKind::Idle
            | StatusKind::NotConfigured
            | StatusKind::Connecting
            | StatusKind::Handshaking
            | StatusKind::Settling
            | StatusKind::Ready => {}
        }
    }

    fn failed(
        &mut self,
        request: u32,
        open: &Open,
        delivery: Delivery,
        kind: FailureKind,
        at: Instant,
    ) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("request {request} {what}"));
        match kind {
            FailureKind::TimedOut if open.deadline.is_none_or(|deadline| at + TICK < deadline) => {
                wrong("times out before its time is over")
            }
            FailureKind::ShutDown if !self.shutting_down => wrong("fails with a shutdown that nobody asked for"),
            FailureKind::Limit if !self.is_full(open.beside - 1) => {
                wrong(&format!("meets a limit beside {} others", open.beside - 1))
            }
            // What was not handed to the connection that is gone waits for the next.
            FailureKind::Disconnected
                if delivery == Delivery::NotSent
                    && !open.is_bound
                    && self.changed.is_none_or(|changed| changed < open.made) =>
            {
                wrong("was not sent, and fails with a connection")
            }
            FailureKind::Disconnected | FailureKind::Paused | FailureKind::Other => {
                let doubt = Doubt { request, made: open.made, at, kind };
                if !self.has_cause(&doubt) {
                    self.doubt.get_or_insert(doubt);
                }
                Ok(())
            }
            FailureKind::TimedOut
            | FailureKind::ShutDown
            | FailureKind::Limit
            // What a gateway rejects arrived, and what is bound has a judge of its own.
            | FailureKind::Rejected
            | FailureKind::OtherConnection => Ok(()),
        }
    }

    /// Whether there may be no place beside so many others, of which any may be queued: no record tells. The app has one
    /// handle, and a handle may hold no more than twice as many places as are left.
    fn is_full(&self, others: usize) -> bool {
        let Limits { queued, in_flight, queued_bytes, .. } = self.limits;
        let share_is_taken = 3 * others > 2 * queued.saturating_add(in_flight);
        others >= queued || share_is_taken || (others + 1) * REQUEST_BYTES > queued_bytes
    }

    /// Whether what the failure names is, or was, the case.
    fn has_cause(&self, Doubt { made, kind, .. }: &Doubt) -> bool {
        let since = |at: Option<Instant>| at.is_some_and(|at| at + LATE >= *made);
        match kind {
            FailureKind::Disconnected => since(self.disconnected) || since(self.changed),
            FailureKind::Paused => self.paused.was_there_since(*made),
            FailureKind::Other => self.unconfigured.was_there_since(*made),
            FailureKind::TimedOut
            | FailureKind::ShutDown
            | FailureKind::Limit
            | FailureKind::Rejected
            | FailureKind::OtherConnection => true,
        }
    }

    fn doubted(&mut self, now: Instant) -> Result<(), String> {
        let Some(doubt) = &self.doubt else { return Ok(()) };
        if self.has_cause(doubt) {
            self.doubt = None;
        } else if now > doubt.at + LATE {
            return Err(format!(
                "request {} fails at {} as {:?}, for no cause",
                doubt.request, doubt.at, doubt.kind
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADE: Event = Event::RequestMade {
        consumer: 0,
        request: 1,
        timeout_ms: Some(500),
        bound_to: None,
        key: None,
        to_the_end: false,
    };

    /// The number of the first record of a history, of a request made after half a second, to which the judge objects.
    fn broken(before: &[(u64, Event)], after: &[(u64, Event)]) -> Option<usize> {
        let mut causes = Causes::new(&Plan::new(1));
        let history = [before, &[(500, MADE)], after].concat();
        history.into_iter().position(|(at_ms, event)| {
            causes.observe(&Record { at: Instant::from_millis(at_ms), event }).is_err()
        })
    }

    fn fails(at_ms: u64, kind: FailureKind, delivery: Delivery) -> (u64, Event) {
        (at_ms, Event::RequestSettled { request: 1, outcome: Outcome::Failed { delivery, kind } })
    }

    fn status(at_ms: u64, status: StatusKind) -> (u64, Event) {
        (at_ms, Event::Status(status))
    }

    const LATER: (u64, Event) = (5_000, Event::Wanted);

    #[test]
    fn a_deadline_is_not_early() {
        let times_out = |at_ms| broken(&[], &[fails(at_ms, FailureKind::TimedOut, Delivery::NotSent)]);
        assert_eq!(times_out(1_000), None);
        assert_eq!(times_out(900), Some(1));
    }

    #[test]
    fn a_failure_has_the_cause_that_it_names() {
        let fails = |kind| fails(700, kind, Delivery::NotSent);
        for (kind, cause) in [
            (FailureKind::Paused, Event::Status(StatusKind::Paused)),
            (FailureKind::ShutDown, Event::ShutdownCalled),
            (FailureKind::Disconnected, Event::Unconfigured { changed: true }),
            (FailureKind::Other, Event::Unconfigured { changed: true }),
        ] {
            assert_eq!(broken(&[], &[(690, cause), fails(kind), LATER]), None, "{kind:?}");
            assert!(broken(&[], &[(690, Event::Woken), fails(kind), LATER]).is_some(), "{kind:?}");
        }
        assert_eq!(broken(&[], &[fails(FailureKind::Limit)]), Some(1));
    }

    #[test]
    fn a_cause_from_before_does_not_count_once_it_is_over() {
        let paused = [status(100, StatusKind::Paused), status(200, StatusKind::Ready)];
        let fails = fails(700, FailureKind::Paused, Delivery::NotSent);
        assert_eq!(broken(&paused[..1], &[fails.clone(), LATER]), None);
        assert_eq!(broken(&paused, &[fails.clone(), LATER]), Some(4));
        // The watcher may be late.
        assert_eq!(broken(&paused, &[fails, status(715, StatusKind::Paused), LATER]), None);
    }

    #[test]
    fn what_was_not_sent_outlives_its_connection() {
        let lost = (690, Event::Released { socket: 1, silent: Duration::ZERO });
        let fails = |delivery| fails(700, FailureKind::Disconnected, delivery);
        assert_eq!(broken(&[], &[lost.clone(), fails(Delivery::Unknown), LATER]), None);
        assert_eq!(broken(&[], &[lost, fails(Delivery::NotSent)]), Some(2));
    }
}
