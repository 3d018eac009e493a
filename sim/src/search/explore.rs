//! Many seeds: run, judge, count.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use crate::base::panics;
use crate::judge::logs::{self, Keep, LogLine};
use crate::judge::marks::{Coverage, Mark};
use crate::judge::oracle::{Invariant, Violation};
use crate::judge::recorder::Finished;
use crate::plan::Tier;
use crate::plan::{Fault, Plan};
use crate::search::coverage::{RunTriples, Triple, Triples};
use crate::search::discoveries::Discoveries;
use crate::search::generate;
use crate::trace::StatusKind;

/// Every how many seeds a run is made twice and its digests are compared.
const CHECK_EVERY: u64 = 64;

/// What to explore.
#[derive(Clone, Debug)]
pub struct Exploration {
    /// On which tier.
    pub tier: Tier,
    /// Which seeds; the end may be far away if `time` ends it.
    pub seeds: Range<u64>,
    /// When to stop, at the latest.
    pub time: Option<Duration>,
    /// How many threads.
    pub jobs: usize,
    /// After how many violations to stop.
    pub violations_max: usize,
    /// Whether every run is made twice; otherwise a sample of them is.
    pub check: bool,
}

/// A seed that broke an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The plan, if it is not the one that is generated from the seed.
    pub plan: Option<Box<Plan>>,
    /// What it broke.
    pub violation: Violation,
}

impl Failure {
    /// The plan that broke it.
    #[must_use]
    pub fn plan(&self) -> Cow<'_, Plan> {
        match &self.plan {
            Some(plan) => Cow::Borrowed(plan),
            None => Cow::Owned(generate::plan(self.seed)),
        }
    }
}

/// What an exploration came to.
#[derive(Clone, Debug)]
pub struct ExplorationReport {
    /// The tier.
    pub tier: Tier,
    /// The first of the seeds.
    pub first_seed: u64,
    /// Runs made.
    pub runs: u64,
    /// Simulated time of all of them.
    pub simulated: Duration,
    /// Time it took.
    pub wall: Duration,
    /// Records of all runs.
    pub events: u64,
    /// Seeds that broke something, lowest first.
    pub failures: Vec<Failure>,
    /// What was reached.
    pub coverage: Coverage,
    /// Which states of client and gateway met under which fault.
    pub triples: Triples,
    /// Which seeds reached it first.
    pub discoveries: Discoveries,
    /// The digests of all runs in one number, whatever the order they were made in.
    pub digest: u64,
}

/// Something to look at while an exploration goes on, and a way to stop it.
#[derive(Debug, Default)]
pub struct Progress {
    runs: AtomicU64,
    simulated_us: AtomicU64,
    reached: Mutex<Reached>,
    stop: AtomicBool,
}

/// What some run reached, across all threads.
#[derive(Debug, Default)]
struct Reached {
    pairs: BTreeSet<(Fault, StatusKind)>,
    marks: BTreeSet<Mark>,
    triples: RunTriples,
}

impl Progress {
    /// Runs made so far.
    #[must_use]
    pub fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }

    /// Simulated time so far.
    #[must_use]
    pub fn simulated(&self) -> Duration {
        Duration::from_micros(self.simulated_us.load(Ordering::Relaxed))
    }

    /// Pairs of a fault and the state it met that were reached so far, and marks.
    #[must_use]
    pub fn reached(&self) -> (usize, usize) {
        let reached = self.reached.lock().expect("workers do not panic");
        (reached.pairs.len(), reached.marks.len())
    }

    /// Triples that were reached so far.
    #[must_use]
    pub fn triples(&self) -> usize {
        self.reached.lock().expect("workers do not panic").triples.len()
    }

    /// Takes note of a run that reached what `report` has, or a part of it.
    pub(crate) fn note(&self, simulated: Duration, report: &ExplorationReport, triples: &RunTriples) {
        self.count(simulated);
        let coverage = &report.coverage;
        let mut reached = self.reached.lock().expect("workers do not panic");
        reached.triples.unite(triples);
        reached.pairs.extend(coverage.faults.keys());
        reached.marks.extend(coverage.marks.iter().filter(|(_, count)| **count > 0).map(|(mark, _)| mark));
    }

    fn count(&self, simulated: Duration) {
        self.runs.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(simulated.as_micros()).unwrap_or(u64::MAX);
        self.simulated_us.fetch_add(micros, Ordering::Relaxed);
    }

    /// Stops the exploration after the runs that are going on.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether somebody stopped it.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

fn sizes(report: &ExplorationReport) -> (usize, usize, usize) {
    (report.coverage.faults.len(), report.coverage.marks.len(), report.triples.len())
}

/// Runs a plan and turns a panic into a violation: assertions of the core and the harness are
/// oracles too.
#[must_use]
pub fn run_judged(tier: Tier, plan: &Plan) -> Finished {
    judged(Keep::Errors, || tier.run(plan))
}

/// As [`run_judged`], for any run, with its log: a line at level `error` is a violation, and so is a secret in any
/// line that is kept.
#[must_use]
pub fn judged(keep: Keep, run: impl FnOnce() -> Finished) -> Finished {
    let ((finished, panic), lines) = logs::kept(keep, || panics::watch(run));
    let mut finished = finished.unwrap_or_else(|| Finished {
        records: Vec::new(),
        digest: 0,
        simulated: onesocket::core::Instant::ZERO,
        violation: None,
        logs: Vec::new(),
    });
    finished.logs = lines;
    if finished.violation.is_none() {
        finished.violation = logged(&finished);
    }
    if let Some(what) = panic {
        // An assertion says more than what followed from its failure.
        finished.violation = Some(Violation { invariant: Invariant::NoPanic, at: finished.simulated, what });
    }
    finished
}

/// What the log of a run says against it.
fn logged(finished: &Finished) -> Option<Violation> {
    let at = |line: &LogLine| {
        let record = finished.records.get(line.after).or(finished.records.last());
        record.map_or(onesocket::core::Instant::ZERO, |record| record.at)
    };
    if let Some(line) = logs::leak(&finished.logs, &finished.records) {
        let what = format!("a secret is in the log, in a line of {}", line.target);
        return Some(Violation { invariant: Invariant::RightCredential, at: at(line), what });
    }
    let line = logs::unexpected(&finished.logs)?;
    let what = format!("{} logs an error: {}", line.target, line.text);
    Some(Violation { invariant: Invariant::NoErrorLog, at: at(line), what })
}

/// Explores.
#[must_use]
pub fn explore(exploration: &Exploration, progress: &Progress) -> ExplorationReport {
    let started = Instant::now();
    let next = AtomicU64::new(exploration.seeds.start);
    let total = Mutex::new(ExplorationReport::new(exploration));
    thread::scope(|scope| {
        for _ in 0..exploration.jobs.max(1) {
            scope.spawn(|| {
                let part = work(exploration, progress, &next, started);
                total.lock().expect("workers do not panic").merge(&part);
                if part.failures.len() >= exploration.violations_max {
                    progress.stop();
                }
            });
        }
    });
    let mut report = total.into_inner().expect("workers do not panic");
    report.wall = started.elapsed();
    report.failures.sort_by_key(|found| found.seed);
    report
}

fn work(
    exploration: &Exploration,
    progress: &Progress,
    next: &AtomicU64,
    started: Instant,
) -> ExplorationReport {
    let mut report = ExplorationReport::new(exploration);
    while !progress.is_stopped() && exploration.time.is_none_or(|time| started.elapsed() < time) {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if !exploration.seeds.contains(&seed) || report.failures.len() >= exploration.violations_max {
            break;
        }
        let (known, simulated) = (sizes(&report), report.simulated);
        let triples = report.add(seed, &generate::plan(seed), exploration.check);
        let simulated = report.simulated - simulated;
        // Most runs reach nothing that their thread has not seen, and need no lock.
        if known == sizes(&report) {
            progress.count(simulated);
        } else {
            progress.note(simulated, &report, &triples);
        }
    }
    report
}

impl ExplorationReport {
    /// Nothing yet.
    pub(crate) fn new(exploration: &Exploration) -> Self {
        Self {
            tier: exploration.tier,
            first_seed: exploration.seeds.start,
            runs: 0,
            simulated: Duration::ZERO,
            wall: Duration::ZERO,
            events: 0,
            failures: Vec::new(),
            coverage: Coverage::default(),
            triples: Triples::default(),
            discoveries: Discoveries::default(),
            digest: 0,
        }
    }

    /// Runs a plan and adds what comes of it; it is made a second time if `check` says so, and now and then anyway.
    pub(crate) fn add(&mut self, seed: u64, plan: &Plan, check: bool) -> RunTriples {
        let tier = self.tier;
        let finished = run_judged(tier, plan);
        let reached = RunTriples::of(&finished.records);
        self.triples.add(seed, &reached);
        self.runs += 1;
        self.simulated += finished.simulated.elapsed();
        self.events += finished.records.len() as u64;
        self.coverage.add(&finished.records);
        self.discoveries.note(seed, &self.coverage);
        self.digest = self.digest.wrapping_add(seeded_digest(seed, finished.digest));
        let checked = check || seed.is_multiple_of(CHECK_EVERY);
        let differs = || if checked { differs(tier, plan, finished.digest) } else { None };
        let violation = finished.violation.or_else(differs);
        if let Some(violation) = violation {
            self.failures.push(Failure { seed, plan: None, violation });
        }
        reached
    }

    /// Adds what other runs came to.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.runs += other.runs;
        self.simulated += other.simulated;
        self.events += other.events;
        self.failures.extend(other.failures.iter().cloned());
        self.coverage.merge(&other.coverage);
        self.triples.merge(&other.triples);
        self.discoveries.merge(&other.discoveries);
        self.digest = self.digest.wrapping_add(other.digest);
    }

    /// The contract's JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let names = |(fault, count): (Fault, u64)| (fault.name(), count);
        let json = ExploredJson {
            tier: self.tier.name(),
            runs: self.runs,
            sim_seconds: self.simulated.as_secs_f64(),
            wall_seconds: self.wall.as_secs_f64(),
            events: self.events,
            violations: self.failures.iter().map(FoundJson::from).collect(),
            faults: self.coverage.fault_totals().into_iter().map(names).collect(),
            marks: Mark::all()
                .into_iter()
                .map(|mark| (mark.name(), self.coverage.marks.get(&mark).copied().unwrap_or(0)))
                .collect(),
            triples: self.triples.len(),
            rarest: self.triples.by_rarity().into_iter().take(RAREST).map(rare).collect(),
            chance_of_new: self.triples.chance_of_new(),
            digest: format!("{:016x}", self.digest),
        };
        serde_json::to_string(&json).expect("a report is plain data")
    }
}

/// Ties a run's digest to its seed, so that two runs cannot trade places unseen.
fn seeded_digest(seed: u64, digest: u64) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..].copy_from_slice(&digest.to_le_bytes());
    xxh3_64(&bytes)
}

/// Runs again, with its whole log, in which no secret may be: the same plan must give the same digest.
fn differs(tier: Tier, plan: &Plan, digest: u64) -> Option<Violation> {
    let again = judged(Keep::Everything, || tier.run(plan));
    if again.violation.is_some() {
        return again.violation;
    }
    (again.digest != digest).then(|| Violation {
        invariant: Invariant::Deterministic,
        at: again.simulated,
        what: format!("the digest is {:016x} in a second run and {digest:016x} in the first", again.digest),
    })
}

#[derive(Serialize)]
struct ExploredJson {
    tier: &'static str,
    runs: u64,
    sim_seconds: f64,
    wall_seconds: f64,
    events: u64,
    violations: Vec<FoundJson>,
    faults: BTreeMap<&'static str, u64>,
    marks: BTreeMap<Cow<'static, str>, u64>,
    triples: usize,
    rarest: Vec<(String, u64)>,
    chance_of_new: Option<f64>,
    digest: String,
}

/// Rare triples that a report names.
const RAREST: usize = 20;

fn rare((count, triple): (u64, Triple)) -> (String, u64) {
    (triple.to_string(), count)
}

#[derive(Serialize)]
struct FoundJson {
    seed: u64,
    invariant: &'static str,
    at_ms: u64,
    plan: String,
}

impl From<&Failure> for FoundJson {
    fn from(found: &Failure) -> Self {
        Self {
            seed: found.seed,
            invariant: found.violation.invariant.name(),
            at_ms: found.violation.at.as_micros() / 1_000,
            plan: found.plan().to_text(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exploration(check: bool) -> Exploration {
        Exploration { tier: Tier::Machine, seeds: 1..9, time: None, jobs: 2, violations_max: 1, check }
    }

    #[test]
    fn another_digest_is_a_violation() {
        let plan = generate::plan(1);
        let digest = run_judged(Tier::Machine, &plan).digest;
        assert_eq!(differs(Tier::Machine, &plan, digest), None);
        let violation = differs(Tier::Machine, &plan, digest ^ 1).expect("the digests differ");
        assert_eq!(violation.invariant, Invariant::Deterministic);
    }

    #[test]
    fn progress_ends_where_the_report_does_and_checks_change_nothing() {
        let progress = Progress::default();
        let report = explore(&exploration(true), &progress);
        assert_eq!((progress.runs(), progress.simulated()), (report.runs, report.simulated));
        let marks = report.coverage.marks.values().filter(|count| **count > 0).count();
        assert_eq!(progress.reached(), (report.coverage.faults.len(), marks));
        assert_eq!(progress.triples(), report.triples.len());
        assert_eq!(explore(&exploration(false), &Progress::default()).digest, report.digest);
    }

    #[test]
    fn a_stopped_exploration_makes_no_run() {
        let progress = Progress::default();
        progress.stop();
        assert_eq!(explore(&exploration(false), &progress).runs, 0);
    }
}
