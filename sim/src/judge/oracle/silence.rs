//! `dead_is_detected`: silence has an end, and only silence ends what is alive.

use std::collections::BTreeMap;
use std::time::Duration;

use onesocket::core::Instant;

use super::Oracle;
use super::suspension::{LATE, Suspension};
use crate::plan::{Fault, Plan};
use crate::trace::{Event, GatewayEvent, Record, StatusKind};

/// A connection on which nothing arrives is closed after twice the tick interval, or sooner where the app says that
/// the network is back and nothing answers that. An attempt that comes to nothing is over after its stages, and what was
/// sent on it fails then. A connection on which something arrived, be it a byte, is not closed without another reason.
pub(super) struct DeadIsDetected {
    silence: Duration,
    /// What a peer is granted when it is asked for a sign of life.
    answer: Duration,
    attempt: Duration,
    suspension: Suspension,
    socket: Option<Socket>,
    /// Requests that have not ended, and whether they have arrived.
    open: BTreeMap<u32, bool>,
    /// Requests whose connection is gone, with the time it went.
    orphans: BTreeMap<u32, Instant>,
}

struct Socket {
    number: u32,
    gateway: u8,
    dialed: Instant,
    ready: bool,
    /// When the app said that the network is back while it was ready.
    wakes: Vec<Instant>,
    /// There is another reason to close it: it was ended from the other side, or on purpose.
    ended: bool,
}

impl DeadIsDetected {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            silence: Duration::from_millis(2 * plan.params.tick_ms),
            answer: plan.params.options().wake_timeout,
            attempt: Duration::from_millis(3 * plan.params.stage_ms + plan.params.close_grace_ms),
            suspension: Suspension::default(),
            socket: None,
            open: BTreeMap::new(),
            orphans: BTreeMap::new(),
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
        if socket.ended {
            return Ok(());
        }
        // Something that arrives at the very time of a question may have been there before it, or answer it.
        let latest = self.granted(received, socket.wakes.iter().find(|asked| **asked > received));
        let earliest = self.granted(received, socket.wakes.iter().find(|asked| **asked >= received));
        if self.suspension.is_overdue(latest, now) {
            return Err(format!("socket {number} is closed only after {silent:?} of silence"));
        }
        if now + LATE < earliest {
            return Err(format!("socket {number} is closed {silent:?} after something arrived on it"));
        }
        Ok(())
    }

    /// Until when a peer is granted to be silent from which something was received then, and that was asked for a
    /// sign of life afterwards.
    fn granted(&self, received: Instant, asked: Option<&Instant>) -> Instant {
        let silence = received + self.silence;
        asked.map_or(silence, |asked| silence.min(*asked + self.answer))
    }

    fn ended_by(&mut self, gateway: Option<u8>) {
        if let Some(socket) = &mut self.socket
            && gateway.is_none_or(|gateway| gateway == socket.gateway)
        {
            socket.ended = true;
        }
    }
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
                    wakes: Vec::new(),
                    ended: false,
                });
            }
            Event::Woken => {
                if let Some(socket) = self.socket.as_mut().filter(|socket| socket.ready) {
                    socket.wakes.push(now);
                }
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
            Event::Fault { fault: Fault::Reset, gateway } => self.ended_by(Some(*gateway)),
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

    /// The bytes of a message count, so nothing that befalls a link is a reason to close what it carries.
    #[test]
    fn a_cut_message_is_no_reason() {
        for fault in [Fault::StallToClient, Fault::Delay, Fault::Bytes] {
            let fault = (4_000, Event::Fault { fault, gateway: 0 });
            assert!(judge(&[(0, DIALED), (10, READY), fault, (5_000, released(500))]).is_err());
        }
    }

    /// Ticks every second, and a second for the answer to a wake.
    #[test]
    fn a_wake_that_nothing_answers_is_a_reason_and_a_duty() {
        let closed = |asked: &[u64], at, silent| {
            let wakes = asked.iter().map(|asked| (*asked, Event::Woken));
            let records: Vec<_> =
                [(0, DIALED), (10, READY)].into_iter().chain(wakes).chain([(at, released(silent))]).collect();
            judge(&records)
        };
        assert_eq!(closed(&[4_000], 5_000, 1_200), Ok(()));
        assert!(closed(&[4_000], 4_900, 1_100).is_err(), "too soon");
        assert!(closed(&[4_000], 5_100, 1_300).is_err(), "too late");
        assert!(closed(&[4_000], 5_000, 900).is_err(), "it was answered");
        assert_eq!(closed(&[4_000, 4_300, 4_600], 5_000, 1_200), Ok(()), "the first counts");
        assert_eq!(closed(&[4_000, 4_300], 5_300, 1_150), Ok(()), "unless it was answered");
        assert_eq!(closed(&[4_800], 5_000, 2_000), Ok(()), "silence is silence");
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
