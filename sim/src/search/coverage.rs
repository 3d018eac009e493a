//! Which state of the client met which state of its gateway, and under which fault.
//!
//! Marks are declared one by one. Triples are counted whatever they are: nobody has to think of a situation for it
//! to be seen, and one that was never seen before is worth coming back to.

use std::collections::BTreeSet;
use std::fmt;

use crate::plan::{Fault, GATEWAYS};
use crate::trace::{Event, GatewayEvent, Record, StatusKind};

/// How a gateway stands, as far as a trace tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GatewayState {
    /// It is up and knows of no connection.
    Vacant,
    /// It has accepted a socket and not said hello on any.
    Greeting,
    /// It has said hello on a connection.
    Serving,
    /// It is closing its connections.
    Parting,
    /// It was told to stop or to restart, and is not down yet.
    Draining,
    /// It is down.
    Down,
}

impl GatewayState {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Vacant, Self::Greeting, Self::Serving, Self::Parting, Self::Draining, Self::Down];
}

/// The state of the client, that of the gateway which it dialed last, and a fault that was active there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Triple {
    /// The client.
    pub client: StatusKind,
    /// The gateway.
    pub gateway: GatewayState,
    /// A fault that had begun and was not over, or began just then; none if there was no such fault.
    pub fault: Option<Fault>,
}

impl fmt::Display for Triple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = self.fault.map_or("no fault", Fault::name);
        write!(f, "{:?}/{:?}/{fault}", self.client, self.gateway)
    }
}

/// A set of faults, one bit for each, and the last bit for their absence.
type Faults = u128;
const CALM: usize = Fault::ALL.len();
/// The faults, and none.
const COLUMNS: usize = CALM + 1;
const ROWS: usize = StatusKind::ALL.len() * GatewayState::ALL.len();
const _: () = assert!(COLUMNS <= Faults::BITS as usize, "a set of faults has a bit for each");

fn row(client: StatusKind, gateway: GatewayState) -> usize {
    client as usize * GatewayState::ALL.len() + gateway as usize
}

fn triple(row: usize, column: usize) -> Triple {
    Triple {
        client: StatusKind::ALL[row / GatewayState::ALL.len()],
        gateway: GatewayState::ALL[row % GatewayState::ALL.len()],
        fault: Fault::ALL.get(column).copied(),
    }
}

/// The triples of one run, or of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunTriples {
    rows: [Faults; ROWS],
}

impl Default for RunTriples {
    fn default() -> Self {
        Self { rows: [0; ROWS] }
    }
}

impl RunTriples {
    /// What a run reached.
    #[must_use]
    pub fn of(records: &[Record]) -> Self {
        let mut collector = TripleCollector::default();
        for record in records {
            collector.take(&record.event);
        }
        collector.reached
    }

    /// How many triples it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.iter().map(|faults| faults.count_ones() as usize).sum()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.iter().all(|faults| *faults == 0)
    }

    /// Whether it has this one.
    #[must_use]
    pub fn has(&self, triple: Triple) -> bool {
        let column = triple.fault.map_or(CALM, |fault| fault as usize);
        self.rows[row(triple.client, triple.gateway)] & (1 << column) != 0
    }

    /// Adds those of another run.
    pub fn unite(&mut self, other: &Self) {
        for (mine, theirs) in self.rows.iter_mut().zip(&other.rows) {
            *mine |= theirs;
        }
    }

    /// The numbers of its triples.
    fn numbers(&self) -> impl Iterator<Item = usize> + '_ {
        self.rows.iter().enumerate().flat_map(|(row, faults)| {
            let mut left = *faults;
            std::iter::from_fn(move || {
                let column = left.trailing_zeros() as usize;
                // What is empty has 128 trailing zeros.
                left &= left.checked_sub(1)?;
                Some(row * COLUMNS + column)
            })
        })
    }
}

/// In how many runs each triple was reached, and in which first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Triples {
    runs: u64,
    counts: Vec<u64>,
    first: Vec<u64>,
    /// How many of the counts are not 0: this is asked for after every run.
    different: usize,
}

impl Default for Triples {
    fn default() -> Self {
        Self { runs: 0, different: 0, counts: vec![0; ROWS * COLUMNS], first: vec![u64::MAX; ROWS * COLUMNS] }
    }
}

impl Triples {
    /// Adds what the run `run` reached.
    pub fn add(&mut self, run: u64, reached: &RunTriples) {
        self.runs += 1;
        for number in reached.numbers() {
            self.different += usize::from(self.counts[number] == 0);
            self.counts[number] += 1;
            self.first[number] = self.first[number].min(run);
        }
    }

    /// Adds what other runs reached.
    pub fn merge(&mut self, other: &Self) {
        self.runs += other.runs;
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            self.different += usize::from(*mine == 0 && *theirs > 0);
            *mine += theirs;
        }
        for (mine, theirs) in self.first.iter_mut().zip(&other.first) {
            *mine = (*mine).min(*theirs);
        }
    }

    /// How many different ones were reached.
    #[must_use]
    pub fn len(&self) -> usize {
        self.different
    }

    /// Whether none was reached.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How much of `reached` no run has reached.
    #[must_use]
    pub fn lacking(&self, reached: &RunTriples) -> u64 {
        reached.numbers().map(|number| u64::from(self.counts[number] == 0)).sum()
    }

    /// The first run that reached each of those that were reached.
    pub fn first_runs(&self) -> impl Iterator<Item = u64> + '_ {
        self.first.iter().copied().filter(|run| *run < u64::MAX)
    }

    /// In how many runs the rarest of `reached` was reached.
    #[must_use]
    pub fn rarest_of(&self, reached: &RunTriples) -> u64 {
        reached.numbers().map(|number| self.counts[number]).min().unwrap_or(u64::MAX)
    }

    /// Those that were reached, the rarest first, each with its number of runs.
    #[must_use]
    pub fn by_rarity(&self) -> Vec<(u64, Triple)> {
        let counted = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        let mut all: Vec<(u64, Triple)> =
            counted.map(|(number, count)| (*count, triple(number / COLUMNS, number % COLUMNS))).collect();
        all.sort_unstable();
        all
    }

    /// The chance that the next run reaches a triple which no run has reached, as Good and Turing estimate it: the
    /// share of the runs that reached something which no other run did. The more often everything was seen, the less
    /// is left. None without a run.
    ///
    /// The estimate is for more runs of the same kind; a guided search changes its kind as it goes on, and so it is
    /// only a hint there.
    #[must_use]
    pub fn chance_of_new(&self) -> Option<f64> {
        let once = self.counts.iter().zip(&self.first).filter(|(count, _)| **count == 1);
        // What was reached once was reached by the first run that did.
        let runs: BTreeSet<u64> = once.map(|(_, first)| *first).collect();
        (self.runs > 0).then(|| runs.len() as f64 / self.runs as f64)
    }
}

/// Faults that are active, each counted: two of a class may overlap.
#[derive(Clone)]
struct Active {
    counts: [u16; CALM],
    set: Faults,
}

impl Default for Active {
    fn default() -> Self {
        Self { counts: [0; CALM], set: 0 }
    }
}

impl Active {
    fn begin(&mut self, fault: Fault) {
        let count = &mut self.counts[fault as usize];
        *count = count.saturating_add(1);
        self.set |= 1 << fault as usize;
    }

    fn end(&mut self, fault: Fault) {
        let count = &mut self.counts[fault as usize];
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.set &= !(1 << fault as usize);
        }
    }
}

/// One gateway, from the outside.
#[derive(Clone, Default)]
struct Gateway {
    down: bool,
    draining: bool,
    /// Its connections, and how it stands to each; there are hardly ever more than two.
    connections: Vec<(u32, GatewayState)>,
    active: Active,
}

impl Gateway {
    fn standing(&self) -> GatewayState {
        if self.down {
            return GatewayState::Down;
        }
        if self.draining {
            return GatewayState::Draining;
        }
        let has = |wanted| self.connections.iter().any(|(_, standing)| *standing == wanted);
        let busy = [GatewayState::Serving, GatewayState::Greeting, GatewayState::Parting];
        busy.into_iter().find(|standing| has(*standing)).unwrap_or(GatewayState::Vacant)
    }

    fn is_now(&mut self, connection: u32, standing: GatewayState) {
        for (known, its) in &mut self.connections {
            if *known == connection {
                *its = standing;
            }
        }
    }

    fn sees(&mut self, event: &GatewayEvent) {
        match event {
            GatewayEvent::Accepted { connection } => {
                self.connections.push((*connection, GatewayState::Greeting));
            }
            GatewayEvent::Hello { connection, .. } => self.is_now(*connection, GatewayState::Serving),
            GatewayEvent::Closed { connection, .. } => self.is_now(*connection, GatewayState::Parting),
            GatewayEvent::Dropped { connection } | GatewayEvent::Gone { connection } => {
                self.connections.retain(|(known, _)| known != connection);
            }
            GatewayEvent::Down => {
                self.down = true;
                self.draining = false;
                self.connections.clear();
            }
            GatewayEvent::Booted => {
                self.down = false;
                self.draining = false;
            }
            GatewayEvent::Connect { .. }
            | GatewayEvent::Refused { .. }
            | GatewayEvent::Request { .. }
            | GatewayEvent::RunStarted { .. }
            | GatewayEvent::EventSent { .. }
            | GatewayEvent::EventLost { .. }
            | GatewayEvent::Misbehaved { .. } => {}
        }
    }
}

/// One pass over a trace.
struct TripleCollector {
    client: StatusKind,
    /// The gateway that was dialed last.
    dialed: usize,
    gateways: [Gateway; GATEWAYS as usize],
    /// Faults of the client's own process.
    at_home: Active,
    reached: RunTriples,
}

impl Default for TripleCollector {
    fn default() -> Self {
        Self {
            client: StatusKind::Idle,
            dialed: 0,
            gateways: Default::default(),
            at_home: Active::default(),
            reached: RunTriples::default(),
        }
    }
}

impl TripleCollector {
    fn take(&mut self, what: &Event) {
        match what {
            Event::Status(status) => {
                self.client = *status;
                self.note(0);
            }
            Event::Dialed { gateway, .. } => {
                self.dialed = usize::from(*gateway);
                self.note(0);
            }
            Event::Gateway {
                event:
                    GatewayEvent::Connect { .. }
                    | GatewayEvent::Request { .. }
                    | GatewayEvent::EventSent { .. }
                    | GatewayEvent::EventLost { .. },
                ..
            } => {}
            Event::Gateway { gateway, event } => {
                self.gateways[usize::from(*gateway)].sees(event);
                self.note(0);
            }
            Event::Fault { fault, gateway } => self.begin(*fault, usize::from(*gateway)),
            Event::Healed { fault, gateway } => {
                self.active(*fault, usize::from(*gateway)).end(*fault);
                self.note(0);
            }
            Event::RequestMade { .. }
            | Event::RequestSettled { .. }
            | Event::RequestDropped { .. }
            | Event::Subscribed { .. }
            | Event::Unsubscribed { .. }
            | Event::Panicked { .. }
            | Event::Behaves { .. }
            | Event::Pushed { .. }
            | Event::Configured { .. }
            | Event::Unconfigured { .. }
            | Event::Wanted
            | Event::Woken
            | Event::Resumed
            | Event::ShutdownCalled
            | Event::ShutdownReturned
            | Event::Released { .. }
            | Event::Skipped { .. }
            | Event::Remaining { .. } => {}
        }
    }

    fn active(&mut self, fault: Fault, gateway: usize) -> &mut Active {
        if fault == Fault::Suspend { &mut self.at_home } else { &mut self.gateways[gateway].active }
    }

    fn begin(&mut self, fault: Fault, gateway: usize) {
        let mut moment = 0;
        if fault.lasts() {
            self.active(fault, gateway).begin(fault);
        } else if gateway == self.dialed {
            moment = 1 << fault as usize;
        }
        self.note(moment);
        // What it was told takes effect after the moment in which it was told.
        if matches!(fault, Fault::Restart | Fault::Stop) && !self.gateways[gateway].down {
            self.gateways[gateway].draining = true;
            self.note(0);
        }
    }

    fn note(&mut self, moment: Faults) {
        let gateway = &self.gateways[self.dialed];
        let active = gateway.active.set | self.at_home.set | moment;
        let faults = if active == 0 { 1 << CALM } else { active };
        self.reached.rows[row(self.client, gateway.standing())] |= faults;
    }
}

#[cfg(test)]
mod tests {
    use onesocket::core::Instant;

    use super::*;

    fn reached(events: Vec<Event>) -> RunTriples {
        let records: Vec<Record> =
            events.into_iter().map(|event| Record { at: Instant::ZERO, event }).collect();
        RunTriples::of(&records)
    }

    fn listed(reached: &RunTriples) -> Vec<String> {
        reached.numbers().map(|number| triple(number / COLUMNS, number % COLUMNS).to_string()).collect()
    }

    fn gateway_event(event: GatewayEvent) -> Event {
        Event::Gateway { gateway: 0, event }
    }

    #[test]
    fn numbers_are_those_of_the_enums() {
        for (number, state) in StatusKind::ALL.iter().copied().enumerate() {
            assert_eq!(state as usize, number);
        }
        for (number, standing) in GatewayState::ALL.into_iter().enumerate() {
            assert_eq!(standing as usize, number);
        }
        for (number, fault) in Fault::ALL.iter().enumerate() {
            assert_eq!(*fault as usize, number);
        }
    }

    #[test]
    fn a_fault_counts_from_its_beginning_to_its_end_and_a_moment_once() {
        let reached = reached(vec![
            Event::Dialed { socket: 1, gateway: 0 },
            Event::Fault { fault: Fault::Blip, gateway: 0 },
            gateway_event(GatewayEvent::Accepted { connection: 1 }),
            Event::Status(StatusKind::Handshaking),
            Event::Healed { fault: Fault::Blip, gateway: 0 },
            gateway_event(GatewayEvent::Hello { connection: 1, issued: None, handed_over: None }),
            Event::Status(StatusKind::Ready),
            Event::Fault { fault: Fault::Close, gateway: 0 },
            gateway_event(GatewayEvent::Closed { connection: 1, code: 1012 }),
            gateway_event(GatewayEvent::Gone { connection: 1 }),
        ]);
        assert_eq!(
            listed(&reached),
            [
                "Idle/Vacant/blip",
                "Idle/Vacant/no fault",
                "Idle/Greeting/blip",
                "Handshaking/Greeting/blip",
                "Handshaking/Greeting/no fault",
                "Handshaking/Serving/no fault",
                "Ready/Vacant/no fault",
                "Ready/Serving/close",
                "Ready/Serving/no fault",
                "Ready/Parting/no fault",
            ]
        );
        assert_eq!(reached.len(), 10);
        let first = triple(0, Fault::Blip as usize);
        assert!(reached.has(first) && !reached.has(Triple { client: StatusKind::Paused, ..first }));
    }

    #[test]
    fn faults_elsewhere_do_not_count_and_overlapping_ones_end_with_the_last() {
        let blip = |gateway| Event::Fault { fault: Fault::Blip, gateway };
        let healed = Event::Healed { fault: Fault::Blip, gateway: 0 };
        let elsewhere = reached(vec![blip(1), Event::Fault { fault: Fault::Reset, gateway: 1 }]);
        assert_eq!(listed(&elsewhere), ["Idle/Vacant/no fault"]);
        let overlapping =
            reached(vec![blip(0), blip(0), healed.clone(), Event::Status(StatusKind::Ready), healed]);
        assert_eq!(listed(&overlapping), ["Idle/Vacant/blip", "Ready/Vacant/blip", "Ready/Vacant/no fault"]);
    }

    #[test]
    fn a_restart_is_drained_down_and_up() {
        let reached = reached(vec![
            Event::Fault { fault: Fault::Restart, gateway: 0 },
            gateway_event(GatewayEvent::Down),
            Event::Fault { fault: Fault::Suspend, gateway: 1 },
            Event::Healed { fault: Fault::Restart, gateway: 0 },
            Event::Healed { fault: Fault::Suspend, gateway: 1 },
            gateway_event(GatewayEvent::Booted),
        ]);
        let expected = [
            "Idle/Vacant/restart",
            "Idle/Vacant/no fault",
            "Idle/Draining/restart",
            "Idle/Down/restart",
            "Idle/Down/suspend",
            "Idle/Down/no fault",
        ];
        assert_eq!(listed(&reached), expected);
    }

    #[test]
    fn the_chance_of_something_new_is_the_share_of_runs_that_were_alone_with_something() {
        let common = reached(vec![Event::Status(StatusKind::Ready)]);
        let mut rare = reached(vec![Event::Status(StatusKind::Paused), Event::Status(StatusKind::Backoff)]);
        let mut triples = Triples::default();
        assert_eq!(triples.chance_of_new(), None);
        assert_eq!(triples.lacking(&common), 1);
        triples.add(10, &common);
        assert_eq!((triples.lacking(&common), triples.lacking(&rare)), (0, 2));
        assert_eq!(triples.chance_of_new(), Some(1.0));
        let mut other = Triples::default();
        other.add(11, &common);
        other.add(12, &common);
        // Two at once are one run that found something.
        assert_eq!(rare.len(), 2);
        other.add(13, &rare);
        triples.merge(&other);
        assert_eq!((triples.len(), triples.chance_of_new()), (3, Some(0.25)));
        assert_eq!(triples.by_rarity()[0].0, 1);
        assert_eq!((triples.rarest_of(&common), triples.rarest_of(&rare)), (3, 1));
        rare.unite(&common);
        assert_eq!(triples.rarest_of(&rare), 1);
    }
}
