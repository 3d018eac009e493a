//! When and in which order requests arrive.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use onesocket::core::Instant;

use crate::judge::oracle::suspension::Suspension;
use crate::plan::{Fault, Plan};
use crate::trace::{Event, GatewayEvent, Record, StatusKind};

/// Longer than any tick of a clock or a network.
const BLUR: Duration = Duration::from_millis(100);

/// The requests of a consumer arrive over each connection in the order in which they were made; and while a connection is
/// ready, its path is free and the window has room, each arrives within the time that messages take. No more are without an
/// answer than the window has places.
pub(super) struct InOrder {
    travel: Duration,
    max_in_flight: usize,
    /// Whose each request is, and when it was made, until it arrives or ends.
    waiting: BTreeMap<u32, (u8, Instant)>,
    /// Requests that may take a place in the window, and since when all of them have one.
    open: BTreeSet<u32>,
    room: Instant,
    /// Those of them that arrived: never more than the window has places.
    in_flight: BTreeSet<u32>,
    /// The latest request of each consumer that arrived over each connection.
    arrived: BTreeMap<(u8, u32, u8), u32>,
    /// The connection that was accepted since the latest dial, and since when it is known to deliver.
    path: Option<Path>,
    ready: Option<Instant>,
    /// Faults that go on, by path.
    lasting: BTreeMap<u8, u32>,
}

struct Path {
    gateway: u8,
    number: u32,
    /// Nothing held its messages back since then; none while a fault goes on, and after it until something that was
    /// sent later has arrived.
    free: Option<Instant>,
    /// When the latest fault of its path ended.
    healed: Option<Instant>,
}

impl InOrder {
    pub(super) fn new(plan: &Plan) -> Self {
        let latency = Duration::from_micros(plan.params.latency_max_us.max(1_000));
        Self {
            travel: latency * 4 + BLUR,
            max_in_flight: plan.params.options().max_in_flight,
            waiting: BTreeMap::new(),
            open: BTreeSet::new(),
            room: Instant::ZERO,
            in_flight: BTreeSet::new(),
            arrived: BTreeMap::new(),
            path: None,
            ready: None,
            lasting: BTreeMap::new(),
        }
    }

    pub(super) fn observe(&mut self, record: &Record, suspension: &Suspension) -> Result<(), String> {
        self.overdue(record.at, suspension)?;
        match &record.event {
            Event::RequestMade { consumer, request, bound_to, .. } => {
                self.open.insert(*request);
                // One that is bound may be refused instead.
                if bound_to.is_none() {
                    self.waiting.insert(*request, (*consumer, record.at));
                }
            }
            Event::RequestSettled { request, .. } | Event::RequestDropped { request } => {
                self.ended(*request, record.at);
            }
            Event::Status(status) => self.ready = (*status == StatusKind::Ready).then_some(record.at),
            Event::Configured { changed: true, .. }
            | Event::Unconfigured { changed: true }
            | Event::ShutdownCalled
            | Event::Released { .. }
            | Event::Dialed { .. } => self.path = None,
            Event::Fault { fault, gateway } => self.fault(*fault, *gateway),
            Event::Healed { fault, gateway } => self.healed(*fault, *gateway, record.at),
            Event::Gateway { gateway, event } => return self.gateway(*gateway, event, record.at),
            _ => {}
        }
        Ok(())
    }

    fn ended(&mut self, request: u32, at: Instant) {
        let was_full = self.open.len() > self.max_in_flight;
        self.open.remove(&request);
        self.waiting.remove(&request);
        self.in_flight.remove(&request);
        if was_full && self.open.len() <= self.max_in_flight {
            self.room = at;
        }
    }

    fn fault(&mut self, fault: Fault, gateway: u8) {
        if fault.lasts() {
            *self.lasting.entry(gateway).or_default() += 1;
        }
        // A fault that does not last may end what it meets: the connection has to prove itself.
        if let Some(path) = self.path.as_mut().filter(|it| it.gateway == gateway) {
            path.free = None;
            path.healed = None;
        }
    }

    fn healed(&mut self, fault: Fault, gateway: u8, at: Instant) {
        debug_assert!(fault.lasts(), "only what lasts heals");
        let count = self.lasting.entry(gateway).or_default();
        *count = count.saturating_sub(1);
        if let Some(path) = self.path.as_mut().filter(|it| *count == 0 && it.gateway == gateway) {
            path.healed = Some(at);
        }
    }

    fn gateway(&mut self, gateway: u8, event: &GatewayEvent, at: Instant) -> Result<(), String> {
        match event {
            GatewayEvent::Accepted { connection } => {
                let is_free = self.lasting.get(&gateway).is_none_or(|count| *count == 0);
                let free = is_free.then_some(at);
                self.path = Some(Path { gateway, number: *connection, free, healed: None });
            }
            GatewayEvent::Request { connection, request } => {
                return self.arrives(gateway, *connection, *request, at);
            }
            GatewayEvent::Closed { connection, .. }
            | GatewayEvent::Dropped { connection }
            | GatewayEvent::Gone { connection }
                if self.path.as_ref().is_some_and(|it| it.number == *connection) =>
            {
                self.path = None;
            }
            GatewayEvent::Booted | GatewayEvent::Down => self.path = None,
            GatewayEvent::Closed { .. }
            | GatewayEvent::Dropped { .. }
            | GatewayEvent::Gone { .. }
            | GatewayEvent::Connect { .. }
            | GatewayEvent::Hello { .. }
            | GatewayEvent::Refused { .. }
            | GatewayEvent::RunStarted { .. }
            | GatewayEvent::EventSent { .. }
            | GatewayEvent::EventLost { .. }
            | GatewayEvent::Misbehaved { .. } => {}
        }
        Ok(())
    }

    fn arrives(&mut self, gateway: u8, connection: u32, request: u32, at: Instant) -> Result<(), String> {
        if self.open.contains(&request) {
            self.in_flight.insert(request);
        }
        if self.in_flight.len() > self.max_in_flight {
            return Err(format!(
                "request {request} arrives beside {} others without an answer",
                self.max_in_flight
            ));
        }
        let Some((consumer, made)) = self.waiting.remove(&request) else { return Ok(()) };
        if let Some(path) = self.path.as_mut().filter(|it| it.gateway == gateway && it.number == connection)
            && path.healed.is_some_and(|healed| healed < made)
        {
            path.free.get_or_insert(at);
        }
        match self.arrived.insert((gateway, connection, consumer), request) {
            Some(before) if before > request => Err(format!(
                "request {request} of consumer {consumer} arrives after request {before}, which was made later"
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn overdue(&self, now: Instant, suspension: &Suspension) -> Result<(), String> {
        let (Some(ready), Some(Path { free: Some(free), .. })) = (self.ready, &self.path) else {
            return Ok(());
        };
        if self.open.len() > self.max_in_flight {
            return Ok(());
        }
        // The oldest has the lowest number.
        let Some((request, (_, made))) = self.waiting.first_key_value() else { return Ok(()) };
        let since = (*made).max(ready).max(*free).max(self.room);
        if suspension.is_overdue(since + self.travel, now) {
            return Err(format!("request {request} could leave since {since} and has not arrived"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_gateway(event: GatewayEvent) -> Event {
        Event::Gateway { gateway: 0, event }
    }

    fn made(at_ms: u64, consumer: u8, request: u32) -> (u64, Event) {
        let timeout_ms = None;
        let made = Event::RequestMade {
            consumer,
            request,
            timeout_ms,
            bound_to: None,
            key: None,
            to_the_end: false,
        };
        (at_ms, made)
    }

    fn arrives(at_ms: u64, request: u32) -> (u64, Event) {
        (at_ms, at_gateway(GatewayEvent::Request { connection: 1, request }))
    }

    fn fault(at_ms: u64) -> (u64, Event) {
        (at_ms, Event::Fault { fault: Fault::Blip, gateway: 0 })
    }

    fn healed(at_ms: u64) -> (u64, Event) {
        (at_ms, Event::Healed { fault: Fault::Blip, gateway: 0 })
    }

    /// The number of the first record, after a connection that is ready, to which the judge objects.
    fn broken(rest: &[(u64, Event)]) -> Option<usize> {
        let mut judge = InOrder::new(&Plan::new(1));
        let ready = [
            (0, at_gateway(GatewayEvent::Accepted { connection: 1 })),
            (10, Event::Status(StatusKind::Ready)),
        ];
        let history = [&ready, rest].concat();
        let broken = history.into_iter().position(|(at_ms, event)| {
            let record = Record { at: Instant::from_millis(at_ms), event };
            judge.observe(&record, &Suspension::default()).is_err()
        });
        broken.map(|index| index - ready.len())
    }

    #[test]
    fn a_request_leaves_while_it_can() {
        let later = (2_000, Event::Wanted);
        assert_eq!(broken(&[made(100, 0, 1), arrives(103, 1), later.clone()]), None);
        assert_eq!(broken(&[made(100, 0, 1), later.clone()]), Some(1));
        let dropped = (110, Event::RequestDropped { request: 1 });
        assert_eq!(broken(&[made(100, 0, 1), dropped, later.clone()]), None);
        let backoff = (110, Event::Status(StatusKind::Backoff));
        assert_eq!(broken(&[made(100, 0, 1), backoff, later.clone()]), None);
        let gone = (110, at_gateway(GatewayEvent::Gone { connection: 1 }));
        assert_eq!(broken(&[made(100, 0, 1), gone, later]), None);
    }

    #[test]
    fn a_path_that_was_disturbed_has_to_deliver_first() {
        let later = (2_000, Event::Wanted);
        assert_eq!(broken(&[fault(50), made(100, 0, 1), later.clone()]), None);
        assert_eq!(broken(&[fault(50), healed(90), made(100, 0, 1), later.clone()]), None);
        let proven =
            [fault(50), healed(90), made(100, 0, 1), arrives(900, 1), made(1_000, 0, 2), later.clone()];
        assert_eq!(broken(&proven), Some(5));
        // One from before proves nothing: it may have been on its way.
        assert_eq!(
            broken(&[fault(50), made(60, 0, 1), healed(90), arrives(95, 1), made(100, 0, 2), later]),
            None
        );
    }

    #[test]
    fn the_window_is_kept() {
        let plan = Plan::new(1).with(|params| params.limits.in_flight = 1);
        let broken = |history: &[(u64, Event)]| {
            let mut judge = InOrder::new(&plan);
            history.iter().cloned().position(|(at_ms, event)| {
                let record = Record { at: Instant::from_millis(at_ms), event };
                judge.observe(&record, &Suspension::default()).is_err()
            })
        };
        let ended = (30, Event::RequestDropped { request: 1 });
        let begin = [made(20, 0, 1), made(20, 0, 2), arrives(25, 1)];
        assert_eq!(broken(&[&begin[..], &[arrives(26, 2)]].concat()), Some(3));
        assert_eq!(broken(&[&begin[..], &[ended, arrives(36, 2)]].concat()), None);
    }

    #[test]
    fn each_consumer_keeps_its_order() {
        let both = |first, second| {
            broken(&[made(20, 0, 1), made(20, 0, 2), arrives(25, first), arrives(25, second)])
        };
        assert_eq!(both(1, 2), None);
        assert_eq!(both(2, 1), Some(3));
        assert_eq!(broken(&[made(20, 0, 1), made(20, 1, 2), arrives(25, 2), arrives(25, 1)]), None);
    }
}
