//! From a plan that breaks an invariant to a small one that breaks the same.
//!
//! ```text
//!   plan ─▶ steps: delta debugging ─▶ values: every number, text and parameter ─┐
//!             ▲                                                                 │
//!             └───────────────────── as long as anything changes ◀──────────────┘
//!                                               │
//!                                               ▼
//!                     proof: without any one of the steps it does not happen
//! ```
//!
//! A plan is a [`Plan`] to delta debugging, which knows only that it has steps, and a tree of TOML values to the
//! rest, which knows only that smaller numbers are simpler: an action that is added tomorrow shrinks as well. What
//! [`Plan::check`] refuses is never run.

mod steps;
mod symptom;
mod values;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_128;

pub use self::symptom::{Symptom, judge};

use crate::plan::{Plan, Step};

/// Other seeds of a run that are tried when the removal of a step loses the violation: what is left may only have
/// drawn another latency.
const OTHER_SEEDS: u64 = 4;

/// Where shrinking ends, finished or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Runs.
    pub runs: u64,
    /// Time on the wall.
    pub time: Duration,
}

/// Why shrinking ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The plan is 1-minimal: each of its steps was left out once more, and the violation was gone each time.
    Minimal,
    /// The limit of runs was reached.
    OutOfRuns,
    /// The time was up.
    OutOfTime,
    /// Somebody wanted the best so far.
    Stopped,
}

/// What shrinking came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Shrunk {
    /// The smallest plan found; it breaks the invariant.
    pub plan: Plan,
    /// Steps of the plan that it was made of.
    pub steps_before: usize,
    /// Runs made.
    pub runs: u64,
    /// Time it took.
    pub wall: Duration,
    /// Why it ended.
    pub end: End,
}

/// Shrinks `plan`, which is known to break something.
///
/// `breaks` runs a plan and says at which millisecond of the run the same thing is broken, if it is. `is_stopped` is
/// asked before every run.
pub fn shrink(
    plan: &Plan,
    limits: Limits,
    breaks: &mut dyn FnMut(&Plan) -> Option<u64>,
    is_stopped: &dyn Fn() -> bool,
) -> Shrunk {
    // What the plan was stored for is not what the smaller one is for.
    let bare = Plan { params: plan.params.clone(), steps: plan.steps.clone(), ..Plan::new(plan.seed) };
    let steps_before = bare.steps.len();
    let mut search = Search {
        best: bare,
        breaks,
        is_stopped,
        tried: BTreeSet::new(),
        limits,
        started: Instant::now(),
        runs: 0,
        end: None,
    };
    search.descend();
    let end = search.end.unwrap_or(End::Minimal);
    Shrunk { plan: search.best, steps_before, runs: search.runs, wall: search.started.elapsed(), end }
}

/// The way down.
struct Search<'a> {
    /// The smallest plan so far.
    best: Plan,
    breaks: &'a mut dyn FnMut(&Plan) -> Option<u64>,
    is_stopped: &'a dyn Fn() -> bool,
    /// What was tried: the same plan gives the same result.
    tried: BTreeSet<u128>,
    limits: Limits,
    started: Instant,
    runs: u64,
    end: Option<End>,
}

impl Search<'_> {
    fn descend(&mut self) {
        loop {
            let before = self.best.clone();
            steps::remove(self);
            values::simplify(self);
            if self.is_over() {
                return;
            }
            if self.best == before && self.is_minimal() {
                return;
            }
        }
    }

    /// Leaves out each step once more, whatever was tried before. A step that can go after all is gone then.
    fn is_minimal(&mut self) -> bool {
        for index in 0..self.best.steps.len() {
            let candidate = self.without(index..index + 1);
            if candidate.check().is_ok() && self.run(&candidate).is_some() {
                self.best = candidate;
                return false;
            }
            if self.is_over() {
                return false;
            }
        }
        true
    }

    /// Whether a limit is reached.
    fn is_over(&mut self) -> bool {
        if self.end.is_none() {
            self.end = if (self.is_stopped)() {
                Some(End::Stopped)
            } else if self.runs >= self.limits.runs {
                Some(End::OutOfRuns)
            } else if self.started.elapsed() >= self.limits.time {
                Some(End::OutOfTime)
            } else {
                None
            };
        }
        self.end.is_some()
    }

    fn run(&mut self, plan: &Plan) -> Option<u64> {
        if self.is_over() {
            return None;
        }
        self.runs += 1;
        (self.breaks)(plan)
    }

    /// Runs a candidate that was not tried yet; if it breaks the same, it is the best from now on.
    fn accept(&mut self, candidate: Plan) -> bool {
        if candidate == self.best || candidate.check().is_err() {
            return false;
        }
        let is_new = self.tried.insert(xxh3_128(candidate.to_text().as_bytes()));
        let breaks = is_new && self.run(&candidate).is_some();
        if breaks {
            self.best = candidate;
        }
        breaks
    }

    /// Like [`accept`](Self::accept), with other seeds as well.
    fn accept_with_any_seed(&mut self, candidate: &Plan) -> bool {
        let mut seeds = vec![candidate.seed];
        seeds.extend((0..OTHER_SEEDS).filter(|seed| *seed != candidate.seed));
        seeds.into_iter().any(|seed| self.accept(Plan { seed, ..candidate.clone() }))
    }

    /// The best plan without some of its steps.
    fn without(&self, gone: std::ops::Range<usize>) -> Plan {
        let mut candidate = self.best.clone();
        candidate.steps.drain(gone);
        candidate
    }
}

/// Steps of a plan that are left, for reports.
#[must_use]
pub fn names(steps: &[Step]) -> Vec<String> {
    steps.iter().map(values::name).collect()
}
