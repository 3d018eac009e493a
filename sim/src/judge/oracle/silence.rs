//! `dead_is_detected`: silence has an end, and only silence ends what is alive.

use std::collections::BTreeMap;
use std::time::Duration;

use onesocket::core::Instant;

use super::Oracle;
use super::suspension::{LATE, Suspension};
use crate::plan::{Fault, Plan};
use crate::trace::{Event, GatewayEvent, Record, StatusKind};

/// A connection on which nothing arrives is closed after twice the tick interval, an attempt that comes to nothing
/// after its stages, and what was sent on it fails then. A connection on which something arrived is not closed
/// without another reason.
pub(super) struct DeadIsDetected {
    silence: Duration,
    attempt: Duration,
    suspension: Suspension,
    socket: Option<Socket>,
    /// Requests that have not ended, and whether they have arrived.
    open: BTreeMap<u32, bool>,
    /// Requests whose connection is gone, with the time it went.
    orphans: BTreeMap<u32, Instant>,
    /// Faults of each path that go on and cut messages or hold their rest back.
    cutting: BTreeMap<u8, u32>,
    /// When such a fault was last there.
    cut: BTreeMap<u8, Instant>,
}

struct Socket {
    number: u32,
    gateway: u8,
    dialed: Instant,
    ready: bool,
    /// There is another reason to close it: it was ended from the other side, or on purpose.
    ended: bool,
}

impl DeadIsDetected {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            silence: Duration::from_millis(2 * plan.params.tick_ms),
            attempt: Duration::from_millis(3 * plan.params.stage_ms + plan.params.close_grace_ms),
            suspension: Suspension::default(),
            socket: None,
            open: BTreeMap::new(),
            orphans: BTreeMap::new(),
            cutting: BTreeMap::new(),
            cut: BTreeMap::new(),
        }
    }

    fn released(&mut self, number: u32, silent: Duration, now: Instant) -> Result<(), String> {
        for (request, arrived) in &self.open {
            if *arrived {
                self.orphans.entry(*request).or_insert(now);
            }
        }
        let Some(socket) = self.socket.take_if(|socket| socket.number == number) else { return Ok(()) };
        if !socket.ready {
            // An attempt that was ended on purpose is over sooner, never later. Stages that begin after a sleep have
            // all their time.
            let begun = self.suspension.awake_since(socket.dialed);
            if self.suspension.is_overdue(begun + self.attempt, now) {
                return Err(format!("socket {number} is no connection after all stages of an attempt"));
            }
            return Ok(());
        }
        let received = Instant::from(now.elapsed().saturating_sub(silent));
        if !socket.ended && self.suspension.is_overdue(received + self.silence, now) {
            return Err(format!("socket {number} is closed only after {silent:?} of silence"));
        }
        let alive = silent + LATE < self.silence;
        if alive && !socket.ended && !self.was_cut(socket.gateway, now) {
            return Err(format!("socket {number} is closed {silent:?} after something arrived on it"));
        }
        Ok(())
    }

    /// Whether the rest of a message may be missing since the last complete one: bytes are no sign of life to a
    /// client that waits for messages.
    fn was_cut(&self, gateway: u8, now: Instant) -> bool {
        let goes_on = self.cutting.get(&gateway).is_some_and(|count| *count > 0);
        goes_on || self.cut.get(&gateway).is_some_and(|cut| now.since(*cut) <= self.silence + LATE)
    }

    fn ended_by(&mut self, gateway: Option<u8>) {
        if let Some(socket) = &mut self.socket
            && gateway.is_none_or(|gateway| gateway == socket.gateway)
        {
            socket.ended = true;
        }
    }

    fn fault(&mut self, fault: Fault, gateway: u8, now: Instant, begins: bool) {
        if fault == Fault::Reset {
            self.ended_by(Some(gateway));
        }
        if !cuts(fault) {
            return;
        }
        self.cut.insert(gateway, now);
        if fault.lasts() {
            let count = self.cutting.entry(gateway).or_default();
            *count = if begins { *count + 1 } else { count.saturating_sub(1) };
        }
    }
}

/// Whether it can leave a message incomplete.
fn cuts(fault: Fault) -> bool {
    fault.is_of_link() && !matches!(fault, Fault::RefuseDials | Fault::IgnoreDials | Fault::IgnoreUpgrades)
}

impl Oracle for DeadIsDetected {
    fn observe(&mut self, record: &Record) -> Result<(), String> {
        self.suspension.observe(record);
        let now = record.at;
        if !self.orphans.is_empty()
            && let Some((request, since)) =
                self.orphans.iter().find(|(_, since)| self.suspension.is_overdue(**since, now))
        {
            return Err(format!("request {request} is open although its connection is gone since {since}"));
        }
        match &record.event {
            Event::Dialed { socket, gateway } => {
                self.socket = Some(Socket {
                    number: *socket,
                    gateway: *gateway,
                    dialed: now,
                    ready: false,
                    ended: false,
                });
            }
            Event::Released { socket, silent } => return self.released(*socket, *silent, now),
            Event::Status(StatusKind::Ready) => {
                if let Some(socket) = &mut self.socket {
                    socket.ready = true;
                }
            }
            Event::Configured { changed: true, .. }
            | Event::Unconfigured { changed: true }
            | Event::ShutdownCalled => self.ended_by(None),
            Event::Gateway {
                gateway,
                event: GatewayEvent::Closed { .. } | GatewayEvent::Dropped { .. } | GatewayEvent::Down,
            } => {
                self.ended_by(Some(*gateway));
            }
            Event::Gateway { event: GatewayEvent::Request { request, .. }, .. } => {
                if let Some(arrived) = self.open.get_mut(request) {
                    *arrived = true;
                }
            }
            Event::RequestMade { request, .. } => {
                self.open.insert(*request, false);
            }
            Event::RequestSettled { request, .. } | Event::RequestDropped { request } => {
                self.open.remove(request);
                self.orphans.remove(request);
            }
            Event::Fault { fault, gateway } => self.fault(*fault, *gateway, now, true),
            Event::Healed { fault, gateway } => self.fault(*fault, *gateway, now, false),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Params;
    use crate::trace::Outcome;

    /// Ticks every second, stages of a second.
    fn judge(records: &[(u64, Event)]) -> Result<(), String> {
        let params = Params { tick_ms: 1_000, stage_ms: 1_000, close_grace_ms: 100, ..Params::default() };
        let mut oracle = DeadIsDetected::new(&Plan::new(0).with(|it| *it = params));
        records.iter().try_for_each(|(at_ms, event)| {
            oracle.observe(&Record { at: Instant::from_millis(*at_ms), event: event.clone() })
        })
    }

    const DIALED: Event = Event::Dialed { socket: 1, gateway: 0 };
    const READY: Event = Event::Status(StatusKind::Ready);

    fn released(silent_ms: u64) -> Event {
        Event::Released { socket: 1, silent: Duration::from_millis(silent_ms) }
    }

    #[test]
    fn a_silent_connection_is_let_go_in_time() {
        assert_eq!(judge(&[(0, DIALED), (10, READY), (5_000, released(2_000))]), Ok(()));
        assert!(judge(&[(0, DIALED), (10, READY), (5_000, released(2_500))]).is_err());
    }

    #[test]
    fn a_live_connection_is_not_let_go_without_a_reason() {
        let dies =
            |between: Event| judge(&[(0, DIALED), (10, READY), (4_000, between), (5_000, released(500))]);
        assert!(dies(Event::Woken).is_err());
        let closed = GatewayEvent::Closed { connection: 1, code: 1000 };
        assert_eq!(dies(Event::Gateway { gateway: 0, event: closed.clone() }), Ok(()));
        assert!(dies(Event::Gateway { gateway: 1, event: closed }).is_err());
        assert_eq!(dies(Event::ShutdownCalled), Ok(()));
        assert_eq!(dies(Event::Fault { fault: Fault::Reset, gateway: 0 }), Ok(()));
        assert!(dies(Event::Fault { fault: Fault::UnknownEvent, gateway: 0 }).is_err());
    }

    #[test]
    fn an_attempt_has_an_end() {
        assert_eq!(judge(&[(0, DIALED), (3_000, released(3_000))]), Ok(()));
        assert!(judge(&[(0, DIALED), (4_000, released(4_000))]).is_err());
    }

    #[test]
    fn what_was_sent_fails_with_its_connection() {
        let made = Event::RequestMade {
            consumer: 0,
            request: 7,
            timeout_ms: Some(60_000),
            bound_to: None,
            key: None,
            to_the_end: false,
        };
        let arrived =
            Event::Gateway { gateway: 0, event: GatewayEvent::Request { connection: 1, request: 7 } };
        let settled = Event::RequestSettled { request: 7, outcome: Outcome::Answered { own: true } };
        let start = [(0, DIALED), (10, READY), (20, made), (30, arrived), (3_000, released(2_000))];
        let with = |end: &[(u64, Event)]| judge(&[&start, end].concat());
        assert_eq!(with(&[(3_000, settled.clone()), (4_000, Event::Woken)]), Ok(()));
        assert!(with(&[(4_000, settled)]).is_err());
    }

    #[test]
    fn a_process_that_sleeps_notices_when_it_wakes() {
        let suspend = (3_000, Event::Fault { fault: Fault::Suspend, gateway: 0 });
        let wakes = (60_000, Event::Healed { fault: Fault::Suspend, gateway: 0 });
        let with = |end| judge(&[(0, DIALED), (10, READY), suspend.clone(), wakes.clone(), end]);
        assert_eq!(with((60_010, released(58_000))), Ok(()));
        assert!(with((61_000, released(58_000))).is_err());
    }
}
