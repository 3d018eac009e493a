//! Every placement of a few faults in one fixed session.
//!
//! The session is short: a client connects, asks, hears events, is closed once, and connects again. A placement puts
//! one of [`FAULTS`] right behind one of [`MILESTONES`]; a plan has up to a few different placements, in no order,
//! because time orders them. With `p` placements, a search for up to `n` faults makes
//! `1 + p + p·(p − 1)/2 + …` runs, up to the binomial coefficient of `p` and `n`: [`count`] says how many.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::judge::oracle::Violation;
use crate::judge::recorder::Finished;
use crate::plan::{
    Action, AppAction, Fault, GatewayAction, LinkFault, Milestone, MilestoneKind, Plan, ProcessFault, Step,
    Tier,
};
use crate::search::explore::run_judged;
use crate::trace::{Event, FailureKind, GatewayEvent, Item, Outcome, Record};
use onesocket_gateway::{HandshakeFault, Misbehave};

/// The most faults of one plan: a million runs are made in minutes, a hundred millions are not.
pub const FAULTS_MAX: usize = 3;

/// A fault that is placed.
pub struct PlacedFault {
    /// Its class.
    pub class: Fault,
    /// It strikes gateway 0, the path to it or the process. If it changes the token, it is given the new one.
    action: fn(String) -> Action,
}

/// The faults that are placed.
pub const FAULTS: [PlacedFault; 12] = [
    placed(Fault::Crash, |_| GatewayAction::Restart { down_ms: 700, crash: true }.of(0)),
    placed(Fault::Restart, |_| GatewayAction::Restart { down_ms: 700, crash: false }.of(0)),
    placed(Fault::Partition, |_| LinkFault::Partition { for_ms: 2_500 }.to(0)),
    placed(Fault::Blip, |_| LinkFault::Blip { for_ms: 600 }.to(0)),
    placed(Fault::HalfOpen, |_| LinkFault::HalfOpen {}.to(0)),
    placed(Fault::Reset, |_| LinkFault::Reset {}.to(0)),
    placed(Fault::Close, |_| GatewayAction::Close { code: 1008, reason: "slow consumer".to_owned() }.of(0)),
    placed(Fault::Terminate, |_| GatewayAction::Terminate {}.of(0)),
    placed(Fault::TokenChange, |token| GatewayAction::ChangeToken { token }.of(0)),
    placed(Fault::DropEvent, |_| GatewayAction::DropEvent {}.of(0)),
    placed(Fault::Suspend, |_| ProcessFault::Suspend { for_ms: 1_500 }.into()),
    placed(Fault::LateHello, |_| {
        let fault = HandshakeFault::LateHello { by: Duration::from_millis(600) };
        GatewayAction::Misbehave { how: Misbehave::Handshake { count: 1, fault } }.of(0)
    }),
];

const fn placed(class: Fault, action: fn(String) -> Action) -> PlacedFault {
    PlacedFault { class, action }
}

/// Where they are placed.
pub const MILESTONES: [(MilestoneKind, u32); 12] = [
    (MilestoneKind::Dial, 1),
    (MilestoneKind::Accepted, 1),
    (MilestoneKind::Connect, 1),
    (MilestoneKind::Hello, 1),
    (MilestoneKind::Snapshot, 1),
    (MilestoneKind::Request, 1),
    (MilestoneKind::Settled, 1),
    (MilestoneKind::Event, 1),
    (MilestoneKind::Closed, 1),
    (MilestoneKind::Backoff, 1),
    (MilestoneKind::Dial, 2),
    (MilestoneKind::Hello, 2),
];

/// Different placements.
pub const PLACEMENTS: u64 = (FAULTS.len() * MILESTONES.len()) as u64;

/// After this time no fault begins.
const CALM_MS: u64 = 8_000;
/// When the app says its last word: every fault is over for a good second.
const LAST_WORD_MS: u64 = CALM_MS + 4_000;
/// How long after a changed token the app knows it.
const TOLD_AFTER_MS: u64 = 400;
/// When the session's own connection is closed by its gateway.
const CLOSED_MS: u64 = 1_500;

/// A fault behind a milestone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Placement {
    fault: usize,
    milestone: usize,
}

impl Placement {
    fn numbered(number: u64) -> Self {
        let number = usize::try_from(number).expect("there are few placements");
        Self { fault: number % FAULTS.len(), milestone: number / FAULTS.len() }
    }

    /// The class of the fault.
    #[must_use]
    pub fn fault(self) -> Fault {
        FAULTS[self.fault].class
    }

    /// What it follows.
    #[must_use]
    pub fn milestone(self) -> Milestone {
        let (kind, number) = MILESTONES[self.milestone];
        Milestone { kind, number, gateway: None }
    }

    /// A token of its own, if it changes the token.
    fn token(self) -> Option<String> {
        (self.fault() == Fault::TokenChange).then(|| self.own_token())
    }

    fn own_token(self) -> String {
        format!("token-{}", self.milestone + 1)
    }

    fn action(self) -> Action {
        (FAULTS[self.fault].action)(self.own_token())
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after {}", self.fault().name(), self.milestone())
    }
}

/// How many plans have up to `faults` placements.
#[must_use]
pub fn count(faults: usize) -> u64 {
    (0..=faults as u64).map(|size| choose(PLACEMENTS, size)).sum()
}

/// The binomial coefficient: in how many ways `size` of `many` can be chosen.
fn choose(many: u64, size: u64) -> u64 {
    // After each step the product is itself a coefficient, so the division leaves nothing.
    (0..size).fold(1, |ways, index| ways * (many.saturating_sub(index)) / (index + 1))
}

/// The placements of the plan with this number: first the plan without any, then those with one, and so on, each
/// size in the order of its placements.
#[must_use]
pub fn placements(number: u64) -> Vec<Placement> {
    let (mut left, mut size) = (number, 0);
    while left >= choose(PLACEMENTS, size) {
        left -= choose(PLACEMENTS, size);
        size += 1;
    }
    let mut chosen = Vec::new();
    let mut candidate = 0;
    while size > 0 {
        // Those that begin with this candidate, and choose the rest among what comes after it.
        let with_it = choose(PLACEMENTS - candidate - 1, size - 1);
        if left < with_it {
            chosen.push(Placement::numbered(candidate));
            size -= 1;
        } else {
            left -= with_it;
        }
        candidate += 1;
    }
    chosen
}

/// The session with these faults.
#[must_use]
pub fn plan(placements: &[Placement]) -> Plan {
    let gateway = 0;
    let echo = |consumer| {
        Action::App(AppAction::Request { consumer, method: "test.echo".to_owned(), timeout_ms: 4_000 })
    };
    let emit = || Action::Gateway { gateway, order: GatewayAction::Emit { event: "chat".to_owned() } };
    let close = Action::Gateway {
        gateway,
        order: GatewayAction::Close { code: 1012, reason: "service restart".to_owned() },
    };
    let hello = |number| Milestone { kind: MilestoneKind::Hello, number, gateway: None };
    let mut plan = Plan::new(1)
        .with(|params| {
            params.tick_ms = 1_000;
            params.backoff_ms = 250;
            params.backoff_cap_ms = 1_000;
            params.stable_ms = 1_000;
            params.stage_ms = 1_000;
            params.close_grace_ms = 100;
            params.retry_after_max_ms = 1_000;
            params.calm_ms = Some(CALM_MS);
        })
        .at(10, AppAction::Subscribe { consumer: 0 })
        .at(20, echo(1))
        .at(400, emit())
        .at(CLOSED_MS, close)
        .at(CLOSED_MS + 10, echo(2))
        .after(hello(1), 100, echo(1))
        .after(hello(2), 50, emit());
    for placement in placements {
        plan.steps.push(Step::after(placement.milestone(), 0, placement.action()));
        if let Some(token) = placement.token() {
            let told = Action::App(AppAction::Configure { gateway, token });
            plan.steps.push(Step::after(placement.milestone(), TOLD_AFTER_MS, told));
        }
    }
    // Whichever change came last, and whether the app could be told: this is the token in the end.
    let token = placements.iter().rev().find_map(|placement| placement.token());
    if let Some(token) = &token {
        plan = plan.at(CALM_MS, GatewayAction::ChangeToken { token: token.clone() }.of(gateway));
    }
    let token = token.unwrap_or_else(|| Plan::FIRST_TOKEN.to_owned());
    plan = plan
        .at(LAST_WORD_MS, GatewayAction::Misbehave { how: Misbehave::Behave }.of(gateway))
        .at(LAST_WORD_MS, AppAction::Configure { gateway, token })
        .at(LAST_WORD_MS, AppAction::Resume {});
    let tail_ms = u64::try_from(plan.params.convergence().as_millis()).expect("a bound is short");
    plan.params.end_ms = LAST_WORD_MS + tail_ms + 500;
    plan
}

/// A plan that broke something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Its number.
    pub number: u64,
    /// Its placements.
    pub placements: Vec<Placement>,
    /// What it broke.
    pub violation: Violation,
}

/// What an exhaustive search came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exhausted {
    /// Plans that were run.
    pub runs: u64,
    /// Plans that broke something, lowest number first.
    pub broken: Vec<Broken>,
    /// Different traces, by their digests.
    pub traces: usize,
    /// Different courses of events: traces without their times, numbers and faults.
    pub courses: usize,
}

/// Something to look at while a search goes on, and a way to stop it.
#[derive(Debug, Default)]
pub struct Progress {
    runs: AtomicU64,
    broken: AtomicU64,
    stop: AtomicBool,
}

impl Progress {
    /// Runs made so far.
    #[must_use]
    pub fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }

    /// Plans that broke something so far.
    #[must_use]
    pub fn broken(&self) -> u64 {
        self.broken.load(Ordering::Relaxed)
    }

    /// Ends the search after the runs that are going on.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Runs the session with every choice of up to `faults` placements, on the machine tier.
#[must_use]
pub fn exhaust(faults: usize, jobs: usize, progress: &Progress) -> Exhausted {
    exhaust_with(count(faults), jobs, progress, &|plan| run_judged(Tier::Machine, plan))
}

/// Runs the plans below `end`; `judge` runs and judges each of them.
fn exhaust_with(
    end: u64,
    jobs: usize,
    progress: &Progress,
    judge: &(dyn Fn(&Plan) -> Finished + Sync),
) -> Exhausted {
    let next = AtomicU64::new(0);
    let total = Mutex::new(Part::default());
    let work = || {
        let mut part = Part::default();
        while !progress.stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= end {
                break;
            }
            part.add(number, judge, progress);
        }
        total.lock().expect("workers do not panic").merge(part);
    };
    thread::scope(|scope| {
        for _ in 1..jobs.max(1) {
            scope.spawn(work);
        }
        work();
    });
    let mut total = total.into_inner().expect("workers do not panic");
    total.broken.sort_by_key(|broken| broken.number);
    let (traces, courses) = (total.traces.len(), total.courses.len());
    Exhausted { runs: total.runs, broken: total.broken, traces, courses }
}

/// What one thread found.
#[derive(Default)]
struct Part {
    runs: u64,
    broken: Vec<Broken>,
    traces: BTreeSet<u64>,
    courses: BTreeSet<u64>,
    /// Reused for encoding.
    buffer: Vec<u8>,
}

impl Part {
    fn add(&mut self, number: u64, judge: &(dyn Fn(&Plan) -> Finished + Sync), progress: &Progress) {
        let placements = placements(number);
        let finished = judge(&plan(&placements));
        self.runs += 1;
        progress.runs.fetch_add(1, Ordering::Relaxed);
        self.traces.insert(finished.digest);
        self.courses.insert(course(&finished.records, &mut self.buffer));
        if let Some(violation) = finished.violation {
            progress.broken.fetch_add(1, Ordering::Relaxed);
            self.broken.push(Broken { number, placements, violation });
        }
    }

    fn merge(&mut self, other: Self) {
        self.runs += other.runs;
        self.broken.extend(other.broken);
        self.traces.extend(other.traces);
        self.courses.extend(other.courses);
    }
}

/// What the client went through, as one number: the order of what happened, without times and numbers, and without
/// the faults that brought it about.
fn course(records: &[Record], buffer: &mut Vec<u8>) -> u64 {
    buffer.clear();
    for record in records {
        let (kind, detail) = match &record.event {
            Event::Status(status) => (1, *status as u8),
            Event::Dialed { gateway, .. } => (2, *gateway),
            Event::Released { .. } => (3, 0),
            Event::Gateway { event, .. } => match event {
                GatewayEvent::Connect { .. } => (4, 0),
                GatewayEvent::Hello { .. } => (5, 0),
                GatewayEvent::Refused { .. } => (6, 0),
                GatewayEvent::Closed { .. } => (7, 0),
                GatewayEvent::Request { .. } => (8, 0),
                GatewayEvent::Accepted { .. }
                | GatewayEvent::RunStarted { .. }
                | GatewayEvent::EventSent { .. }
                | GatewayEvent::EventLost { .. }
                | GatewayEvent::Dropped { .. }
                | GatewayEvent::Gone { .. }
                | GatewayEvent::Misbehaved { .. }
                | GatewayEvent::Booted
                | GatewayEvent::Down => continue,
            },
            Event::RequestSettled { outcome: Outcome::Answered { .. }, .. } => (9, 0),
            Event::RequestSettled { outcome: Outcome::Failed { kind, delivery }, .. } => {
                (10, failure(*kind) * 4 + *delivery as u8)
            }
            Event::Pushed { item: Item::Snapshot { .. }, .. } => (11, 0),
            Event::Pushed { item: Item::Gap { .. }, .. } => (12, 0),
            Event::Pushed { item: Item::Lagged { .. }, .. } => (13, 0),
            Event::Pushed { item: Item::Event { .. } | Item::Status(_) | Item::Closed, .. }
            | Event::RequestMade { .. }
            | Event::RequestDropped { .. }
            | Event::Subscribed { .. }
            | Event::Unsubscribed { .. }
            | Event::Panicked { .. }
            | Event::Behaves { .. }
            | Event::Configured { .. }
            | Event::Unconfigured { .. }
            | Event::Wanted
            | Event::Woken
            | Event::Resumed
            | Event::ShutdownCalled
            | Event::ShutdownReturned
            | Event::Fault { .. }
            | Event::Healed { .. }
            | Event::Skipped { .. }
            | Event::Remaining { .. } => continue,
        };
        buffer.extend([kind, detail]);
    }
    xxh3_64(buffer)
}

fn failure(kind: FailureKind) -> u8 {
    match kind {
        FailureKind::Rejected => 0,
        FailureKind::TimedOut => 1,
        FailureKind::Disconnected => 2,
        FailureKind::Paused => 3,
        FailureKind::ShutDown => 4,
        FailureKind::Limit => 5,
        FailureKind::Other => 6,
        FailureKind::OtherConnection => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::marks::{Coverage, Mark};
    use crate::judge::oracle::Invariant;
    use crate::trace::StatusKind;

    #[test]
    fn the_numbers_go_through_all_choices_once() {
        let p = PLACEMENTS;
        assert_eq!((count(0), count(1), count(2)), (1, 1 + p, 1 + p + p * (p - 1) / 2));
        assert_eq!(count(3), count(2) + p * (p - 1) * (p - 2) / 6);
        let choices: BTreeSet<Vec<Placement>> = (0..count(2)).map(placements).collect();
        assert_eq!(choices.len() as u64, count(2));
        assert!(choices.iter().all(|choice| choice.windows(2).all(|pair| pair[0] != pair[1])));
        assert_eq!(placements(count(2) - 1).len(), 2);
        assert_eq!((placements(count(2)).len(), placements(count(3) - 1).len()), (3, 3));
    }

    #[test]
    fn every_fault_is_of_its_class() {
        for placed in FAULTS {
            assert_eq!((placed.action)("token-1".to_owned()).fault(), Some(placed.class));
        }
    }

    /// A fault behind a milestone that the session does not come to would be no fault at all.
    #[test]
    fn every_single_fault_strikes_where_it_is_placed() {
        let own = |finished: &Finished| {
            let begun = finished.records.iter().filter(|record| matches!(record.event, Event::Fault { .. }));
            begun.count()
        };
        let alone = run_judged(Tier::Machine, &plan(&[]));
        assert_eq!((alone.violation, own(&run_judged(Tier::Machine, &plan(&[])))), (None, 1));
        for number in 1..count(1) {
            let placements = placements(number);
            let plan = plan(&placements);
            plan.check().unwrap_or_else(|error| panic!("{}: {error}", placements[0]));
            let finished = run_judged(Tier::Machine, &plan);
            let expected = if placements[0].token().is_some() { 3 } else { 2 };
            assert_eq!(own(&finished), expected, "{}", placements[0]);
            assert_eq!(finished.violation, None, "{}", placements[0]);
        }
    }

    #[test]
    fn all_plans_are_run_and_the_result_does_not_depend_on_threads() {
        let one = exhaust(1, 1, &Progress::default());
        assert_eq!((one.runs, &one.broken[..]), (count(1), &[][..]));
        assert!(one.traces as u64 > PLACEMENTS / 2, "{}", one.traces);
        assert!((20..one.traces).contains(&one.courses), "{}", one.courses);
        let progress = Progress::default();
        assert_eq!(exhaust(1, 2, &progress), one);
        assert_eq!((progress.runs(), progress.broken()), (count(1), 0));
        progress.stop();
        assert_eq!(exhaust(1, 2, &progress).runs, 0);
    }

    /// A judge that minds one pair of faults, which no single fault shows.
    #[test]
    fn what_takes_two_faults_is_found_with_two() {
        let judge = |plan: &Plan| {
            let mut finished = Tier::Machine.run(plan);
            let mut coverage = Coverage::default();
            coverage.add(&finished.records);
            let reached = |mark| coverage.marks.contains_key(&mark);
            let token = Mark::Met(Fault::TokenChange, StatusKind::Handshaking);
            if reached(token) && reached(Mark::Met(Fault::Crash, StatusKind::Backoff)) {
                let what = "a made-up flaw".to_owned();
                finished.violation =
                    Some(Violation { invariant: Invariant::NoWedge, at: finished.simulated, what });
            }
            finished
        };
        let progress = Progress::default();
        assert_eq!(exhaust_with(count(1), 1, &progress, &judge).broken, []);
        // The first of the pairs that begin with a crash behind the first dial are enough.
        let pair = |number: &u64| {
            let names: Vec<String> = placements(*number).iter().map(Placement::to_string).collect();
            names == ["token-change after connect 1", "crash after backoff 1"]
        };
        let number = (count(1)..count(2)).find(pair).expect("the pair is among the plans");
        let finished = judge(&plan(&placements(number)));
        assert!(finished.violation.is_some(), "{:?}", placements(number));
        let mut part = Part::default();
        part.add(number, &judge, &progress);
        assert_eq!((part.broken.len(), part.broken[0].number, progress.broken()), (1, number, 1));
    }
}
