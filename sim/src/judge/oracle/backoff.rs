//! `backoff_is_kept`: how long each wait lasts.

use std::time::Duration;

use onesocket::core::Instant;
use onesocket::core::config::BackoffOptions;

use super::Oracle;
use super::suspension::{LATE, Suspension};
use crate::plan::Plan;
use crate::trace::{Event, GatewayEvent, Record, StatusKind};

/// The shortest wait after the answer that a gateway is starting (protocol 17.2).
const STARTUP_WAIT: Duration = Duration::from_millis(100);
/// The wait before the one retry with the stored device token (protocol 7.10).
const DEVICE_TOKEN_WAIT: Duration = Duration::from_millis(250);
/// The longest wait that the answer of a starting gateway asks for.
const STARTUP_WAIT_MAX: Duration = Duration::from_secs(2);

/// Counts failures as an observer can and holds each wait, from the status that announces it to the dial that ends it,
/// against the backoff: the n-th wait since the last success is no shorter than `min(cap, initial · growth^(n-1) · (1 +
/// jitter)) / (1 + jitter)` and no longer than `1 + jitter` times that. A refusal may ask for more, up to what is
/// believed, and gets it where it must have been heard: no fault could hold it back, and no stage of the attempt can
/// have run out of time. A lasting connection, another config, the end of a pause and the news that the network is back begin anew.
pub(super) struct BackoffIsKept {
    options: BackoffOptions,
    suspension: Suspension,
    failures: Failures,
    status: Option<StatusKind>,
    ready_since: Option<Instant>,
    waiting: Option<Waiting>,
    refusal: Refusal,
    /// The wait that the latest refusal asks for, at least.
    floor: Duration,
    /// The time of a stage of an attempt: no attempt that is shorter ran out of time.
    stage: Duration,
    dialed: Instant,
    /// Whether that was after the latest wait began.
    has_dialed: bool,
    /// Faults that go on, and whether there was any since the latest dial.
    lasting: u32,
    is_disturbed: bool,
}

/// How many failures the client counts: an observer does not always know which of two it is.
#[derive(Clone, Copy, Default)]
struct Failures {
    least: u32,
    most: u32,
}

/// A wait that goes on.
struct Waiting {
    since: Instant,
    shortest: Duration,
    longest: Duration,
    /// The news that the network is back made it shorter, and is announced like a new one.
    is_moved: bool,
}

/// What was refused since the latest dial. Whether the client got to know it is not certain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refusal {
    None,
    /// A gateway that is starting: not counted as a failure for a while.
    Starting,
    /// A shared token: not counted when the stored device token is tried next.
    Token,
    Other,
}

impl BackoffIsKept {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            options: plan.params.options().backoff,
            suspension: Suspension::default(),
            failures: Failures::default(),
            status: None,
            ready_since: None,
            waiting: None,
            refusal: Refusal::None,
            floor: Duration::ZERO,
            stage: Duration::from_millis(plan.params.stage_ms),
            dialed: Instant::ZERO,
            has_dialed: false,
            lasting: 0,
            is_disturbed: false,
        }
    }

    fn status(&mut self, status: StatusKind, at: Instant) {
        let before = self.status.replace(status);
        if status == StatusKind::Ready {
            self.ready_since = Some(at);
        } else if let Some(since) = self.ready_since.take() {
            self.lasted(at.since(since));
        }
        match status {
            StatusKind::Backoff if before != Some(StatusKind::Backoff) => self.begin(at),
            StatusKind::Backoff => self.begin_again(at),
            // The dial that ends the wait is judged when it is seen.
            StatusKind::Connecting | StatusKind::Handshaking => {}
            StatusKind::Idle
            | StatusKind::NotConfigured
            | StatusKind::Ready
            | StatusKind::Paused
            | StatusKind::Closing
            // The config has changed, and failures do not count any more.
            | StatusKind::Settling
            | StatusKind::Stopped => self.waiting = None,
        }
    }

    /// A connection is over that was ready for this long.
    fn lasted(&mut self, ready: Duration) {
        if ready + LATE >= self.options.stable_after {
            self.failures.least = 0;
        }
        if ready >= self.options.stable_after + LATE {
            self.failures.most = 0;
        }
    }

    fn begin(&mut self, at: Instant) {
        self.has_dialed = false;
        let next = self.failures.least + 1;
        self.failures.most += 1;
        let soonest = match self.refusal {
            Refusal::None | Refusal::Other => None,
            Refusal::Starting => Some(STARTUP_WAIT),
            Refusal::Token => Some(DEVICE_TOKEN_WAIT),
        };
        if soonest.is_none() {
            self.failures.least = next;
        }
        let is_heard = !self.is_disturbed && at.since(self.dialed) + LATE < self.stage;
        let floor = if is_heard { self.floor.min(self.options.retry_after_max) } else { Duration::ZERO };
        let shortest = self.shortest(next).min(soonest.unwrap_or(Duration::MAX)).max(floor);
        let asked_for = match self.refusal {
            Refusal::None => Duration::ZERO,
            Refusal::Starting | Refusal::Token | Refusal::Other => self.longest_floor(),
        };
        let longest = self.longest(self.failures.most).max(asked_for);
        self.waiting = Some(Waiting { since: at, shortest, longest, is_moved: false });
    }

    /// A wait is followed by another: an attempt failed before anything was dialed, as when the token store fails. Its
    /// own statuses were over before a watcher could see them.
    fn begin_again(&mut self, at: Instant) {
        let Some(before) = self.waiting.take() else {
            // A dial that failed at once, of which no watcher saw the beginning; or, for a changed config, either an
            // attempt that failed before it dialed or a wait in which it settles.
            if self.has_dialed {
                self.begin(at);
            } else {
                self.failures.most += 1;
            }
            return;
        };
        (self.refusal, self.floor, self.dialed) = (Refusal::None, Duration::ZERO, at);
        let least = self.failures.least;
        self.begin(at);
        if let (true, Some(waiting)) = (before.is_moved, &mut self.waiting) {
            // Or nothing failed, and it is the same wait, which may go on for as long as a gateway asked for.
            self.failures.least = least;
            waiting.shortest = Duration::ZERO;
            waiting.longest = waiting.longest.max((before.since + before.longest).since(at));
        }
    }

    fn refused(&mut self, code: &str, retry_after: Duration) {
        (self.refusal, self.floor) = match code {
            "startup-sidecars" => (Refusal::Starting, retry_after.clamp(STARTUP_WAIT, STARTUP_WAIT_MAX)),
            // The one retry does not wait for it.
            "AUTH_TOKEN_MISMATCH" => (Refusal::Token, Duration::ZERO),
            _ => (Refusal::Other, retry_after),
        };
    }

    fn dialed(&mut self, socket: u32, at: Instant) -> Result<(), String> {
        self.refusal = Refusal::None;
        self.floor = Duration::ZERO;
        self.dialed = at;
        self.has_dialed = true;
        self.is_disturbed = self.lasting > 0;
        let Some(Waiting { since, shortest, .. }) = self.waiting.take() else { return Ok(()) };
        let waited = at.since(since);
        if waited + LATE < shortest {
            return Err(format!(
                "socket {socket} is dialed {waited:?} after a failure, and that wait lasts {shortest:?} at least"
            ));
        }
        Ok(())
    }

    fn overdue(&self, now: Instant) -> Result<(), String> {
        match &self.waiting {
            Some(Waiting { since, longest, .. }) if self.suspension.is_overdue(*since + *longest, now) => {
                Err(format!("nothing is dialed since {since}, and that wait lasts {longest:?} at most"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The app did something after which failures do not count.
    fn begin_anew(&mut self) {
        self.waiting = None;
        self.failures = Failures::default();
    }

    /// The news that the network is back ends a wait as soon as `no_storm` allows. Outside of a wait it changes nothing.
    fn woken(&mut self, at: Instant) {
        self.failures.least = 0;
        if let Some(waiting) = &mut self.waiting {
            waiting.shortest = Duration::ZERO;
            waiting.is_moved = true;
            // One that began this very moment may have begun after it.
            if at > waiting.since + LATE {
                self.failures.most = 0;
            }
        }
    }

    fn resumed(&mut self) {
        match self.status {
            Some(StatusKind::Paused) => self.begin_anew(),
            // The watcher of a pause may be late.
            _ => self.failures.least = 0,
        }
    }

    fn shortest(&self, failures: u32) -> Duration {
        self.longest(failures).div_f64(1.0 + self.options.jitter)
    }

    fn longest(&self, failures: u32) -> Duration {
        let (initial, cap) = (self.options.initial.as_secs_f64(), self.options.cap.as_secs_f64());
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let nominal = initial * (1.0 + self.options.jitter) * self.options.growth.powi(exponent);
        Duration::from_secs_f64(nominal.min(cap))
    }

    /// The longest wait that a refusal leads to.
    fn longest_floor(&self) -> Duration {
        let floor = self.options.retry_after_max.max(STARTUP_WAIT_MAX);
        floor + floor.mul_f64(self.options.jitter).min(self.options.cap)
    }
}

impl Oracle for BackoffIsKept {
    fn observe(&mut self, record: &Record) -> Result<(), String> {
        self.suspension.observe(record);
        match &record.event {
            Event::Dialed { socket, .. } => {
                self.overdue(record.at)?;
                return self.dialed(*socket, record.at);
            }
            Event::Status(status) => {
                self.overdue(record.at)?;
                self.status(*status, record.at);
            }
            Event::Configured { changed: true, .. }
            | Event::Unconfigured { changed: true }
            | Event::ShutdownCalled => self.begin_anew(),
            Event::Resumed => self.resumed(),
            Event::Woken => self.woken(record.at),
            Event::Gateway { event: GatewayEvent::Refused { code, retry_after, .. }, .. } => {
                self.refused(code, retry_after.unwrap_or_default());
            }
            Event::Fault { fault, .. } => {
                self.is_disturbed = true;
                self.lasting += u32::from(fault.lasts());
            }
            Event::Healed { .. } => self.lasting = self.lasting.saturating_sub(1),
            _ => return self.overdue(record.at),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::first_broken;
    use super::*;
    use crate::plan::{Fault, Params};

    const BACKOFF: Event = Event::Status(StatusKind::Backoff);
    const DIALED: Event = Event::Dialed { socket: 1, gateway: 0 };

    /// A first wait of 1 to 1.2 s, a longest of 4 s, and connections that are stable after 10 s.
    fn broken(history: &[(u64, Event)]) -> Option<usize> {
        let params = Params {
            backoff_ms: 1_000,
            backoff_cap_ms: 4_000,
            stable_ms: 10_000,
            retry_after_max_ms: 6_000,
            ..Params::default()
        };
        let plan = Plan::new(1).with(|it| *it = params);
        first_broken(&mut BackoffIsKept::new(&plan), history.iter().cloned())
    }

    /// Waits of these lengths, one after the other.
    fn waits(waits_ms: &[u64]) -> Vec<(u64, Event)> {
        let mut at_ms = 0;
        let wait = |wait_ms: &u64| {
            let begin = (at_ms, BACKOFF);
            at_ms += wait_ms;
            let rest = [(at_ms, DIALED), (at_ms, Event::Status(StatusKind::Connecting))];
            at_ms += 10;
            [begin].into_iter().chain(rest)
        };
        waits_ms.iter().flat_map(wait).collect()
    }

    #[test]
    fn waits_grow_to_the_cap() {
        assert_eq!(broken(&waits(&[1_000, 2_400, 3_400, 4_000, 4_000])), None);
        for (index, wrong) in [&[900][..], &[1_300], &[1_100, 1_200], &[1_100, 2_500], &[1_100, 2_000, 3_200]]
            .into_iter()
            .enumerate()
        {
            assert_eq!(broken(&waits(wrong)), Some(3 * (wrong.len() - 1) + 1), "{index}");
        }
        let endless =
            [waits(&[1_100, 2_200, 3_500]), vec![(6_830, BACKOFF), (11_000, Event::Wanted)]].concat();
        assert_eq!(broken(&endless), Some(10));
    }

    /// A connection that is ready for this long, after a wait of one second and before one of `second_ms`.
    fn ready_for(ready_ms: u64, second_ms: u64) -> Option<usize> {
        let rest = [
            (1_020, Event::Status(StatusKind::Ready)),
            (1_020 + ready_ms, BACKOFF),
            (1_020 + ready_ms + second_ms, DIALED),
        ];
        broken(&[&waits(&[1_000])[..], &rest].concat())
    }

    #[test]
    fn only_a_lasting_connection_is_a_success() {
        assert_eq!(ready_for(9_000, 2_000), None);
        assert_eq!(ready_for(9_000, 1_000), Some(5));
        assert_eq!(ready_for(10_500, 1_000), None);
        assert_eq!(ready_for(10_500, 2_000), Some(5));
    }

    #[test]
    fn what_the_app_does_begins_anew() {
        let changed = Event::Unconfigured { changed: true };
        let after = |event: Event, wait_ms: u64| {
            let rest = [(2_000, event), (2_100, BACKOFF), (2_100 + wait_ms, DIALED)];
            broken(&[&waits(&[1_000])[..], &rest].concat())
        };
        assert_eq!(after(changed.clone(), 1_000), None);
        assert_eq!(after(changed, 2_000), Some(5));
        assert_eq!(after(Event::Wanted, 1_000), Some(5));
        let woken = |wait_ms: u64| {
            let rest = [(1_010, BACKOFF), (1_100, Event::Woken), (1_010 + wait_ms, DIALED)];
            broken(&[&waits(&[1_000])[..], &rest].concat())
        };
        assert_eq!(woken(200), None);
        assert_eq!(woken(2_500), Some(5));
    }

    #[test]
    fn a_refusal_may_ask_for_more() {
        let refused = |code: &'static str, wait_ms: u64| {
            let refused = GatewayEvent::Refused { connection: 1, code: code.into(), retry_after: None };
            broken(&[(0, Event::Gateway { gateway: 0, event: refused }), (5, BACKOFF), (5 + wait_ms, DIALED)])
        };
        let asks = |before: Event, wait_ms: u64| {
            let retry_after = Some(Duration::from_secs(3));
            let refused = GatewayEvent::Refused { connection: 1, code: "UNAVAILABLE".into(), retry_after };
            let refused = (3, Event::Gateway { gateway: 0, event: refused });
            broken(&[(0, DIALED), (1, before), refused, (5, BACKOFF), (5 + wait_ms, DIALED)])
        };
        assert_eq!(asks(Event::Wanted, 3_100), None);
        assert_eq!(asks(Event::Wanted, 1_100), Some(4));
        // It may not have been heard.
        assert_eq!(asks(Event::Fault { fault: Fault::Blip, gateway: 0 }, 1_100), None);
        assert_eq!(refused("UNAVAILABLE", 7_000), None);
        assert_eq!(refused("UNAVAILABLE", 7_300), Some(2));
        assert_eq!(refused("UNAVAILABLE", 250), Some(2));
        assert_eq!(refused("AUTH_TOKEN_MISMATCH", 250), None);
        assert_eq!(refused("startup-sidecars", 100), None);
        assert_eq!(refused("startup-sidecars", 70), Some(2));
    }

    #[test]
    fn an_attempt_may_fail_before_anything_is_dialed() {
        let again = |first_ms, second_ms| {
            broken(&[(0, BACKOFF), (first_ms, BACKOFF), (first_ms + second_ms, DIALED)])
        };
        assert_eq!(again(1_100, 2_100), None);
        assert_eq!(again(1_100, 1_100), Some(2));
        assert_eq!(again(1_300, 2_100), Some(1));
        let unseen = |second_ms: u64| {
            broken(&[(0, BACKOFF), (1_100, DIALED), (1_100, BACKOFF), (1_100 + second_ms, DIALED)])
        };
        assert_eq!(unseen(2_100), None);
        assert_eq!(unseen(1_100), Some(3));
        // The same wait, as the gateway asked for, announced again.
        let retry_after = Some(Duration::from_secs(3));
        let refused = GatewayEvent::Refused { connection: 1, code: "UNAVAILABLE".into(), retry_after };
        let moved = |at_ms| {
            let refused = (3, Event::Gateway { gateway: 0, event: refused.clone() });
            let woken = [(1_000, Event::Woken), (1_000, BACKOFF), (at_ms, DIALED)];
            broken(&[&[(0, DIALED), refused, (5, BACKOFF)], &woken[..]].concat())
        };
        assert_eq!(moved(3_200), None);
        assert_eq!(moved(8_000), Some(5));
    }

    #[test]
    fn a_process_that_sleeps_dials_when_it_wakes() {
        let suspend = (500, Event::Fault { fault: Fault::Suspend, gateway: 0 });
        let wakes = (9_000, Event::Healed { fault: Fault::Suspend, gateway: 0 });
        assert_eq!(broken(&[(0, BACKOFF), suspend.clone(), wakes.clone(), (9_010, DIALED)]), None);
        assert_eq!(broken(&[(0, BACKOFF), suspend, wakes, (9_100, DIALED)]), Some(3));
    }
}
