//! Coverage-guided search: what reached something new is kept, changed and tried again.
//!
//! Runs are made in rounds. The plans of a round follow from the seeds and from what was known before the round, and
//! its results are taken in in their order, so that the search is the same for any number of threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::base::rng::Rng;
use crate::plan::Plan;
use crate::search::explore::{Exploration, ExplorationReport, Progress};
use crate::search::generate;

use super::corpus::{Corpus, PLANS_MAX};
use super::coverage::RunTriples;
use super::mutate;

/// Runs of a round.
const ROUND: u64 = 64;
/// How many of a hundred plans are generated as ever, at least and at most: what is not in the corpus has to come
/// from somewhere, and what pays now may not pay later.
const FRESH_PERCENT: (u64, u64) = (10, 90);
/// How many of a hundred second parents are generated, and not from the corpus.
const FRESH_OTHER_PERCENT: u64 = 50;

/// What a guided search came to.
#[derive(Clone, Debug)]
pub struct Guided {
    /// The same as of any exploration; plans that broke something are in it, since no seed says what they are.
    pub report: ExplorationReport,
    /// Plans that were kept.
    pub corpus: usize,
    /// Runs of plans that were made from other plans.
    pub mutated: u64,
}

/// A plan that waits for its run.
struct Candidate {
    /// The number that everything about the run is drawn from.
    seed: u64,
    plan: Plan,
    is_mutated: bool,
}

/// Searches: `exploration.seeds` is how many runs there are at most, and what they are drawn from.
#[must_use]
pub fn search(exploration: &Exploration, progress: &Progress) -> Guided {
    search_with(exploration, progress, Corpus::new(PLANS_MAX))
}

fn search_with(exploration: &Exploration, progress: &Progress, mut corpus: Corpus) -> Guided {
    let started = Instant::now();
    let mut report = ExplorationReport::new(exploration);
    let mut mutated = 0;
    let mut yields = Yields::default();
    let mut next = exploration.seeds.start;
    while next < exploration.seeds.end
        && !progress.is_stopped()
        && exploration.time.is_none_or(|time| started.elapsed() < time)
        && report.failures.len() < exploration.violations_max
    {
        let end = next.saturating_add(ROUND).min(exploration.seeds.end);
        corpus.weigh(&report.triples);
        let fresh_percent = yields.fresh_percent();
        let candidates: Vec<Candidate> =
            (next..end).map(|seed| candidate(seed, fresh_percent, &mut corpus)).collect();
        let results = run(&candidates, exploration, progress);
        for (candidate, result) in candidates.into_iter().zip(results) {
            // Somebody stopped the search before this run.
            let Some((part, reached)) = result else { continue };
            mutated += u64::from(candidate.is_mutated);
            let marks = report.coverage.marks.len();
            let new = report.triples.lacking(&reached);
            yields.add(candidate.is_mutated, new);
            report.merge(&part);
            // A plan that breaks something would only find the same again.
            if part.failures.is_empty() && (new > 0 || report.coverage.marks.len() > marks) {
                corpus.keep(candidate.plan, reached, &report.triples);
            }
        }
        next = end;
    }
    report.wall = started.elapsed();
    Guided { report, corpus: corpus.len(), mutated }
}

/// What generated plans and changed ones brought lately, for each run of theirs.
#[derive(Default)]
struct Yields {
    fresh: Yield,
    mutated: Yield,
}

#[derive(Default)]
struct Yield {
    runs: u64,
    new: u64,
}

impl Yields {
    fn add(&mut self, is_mutated: bool, new: u64) {
        let side = if is_mutated { &mut self.mutated } else { &mut self.fresh };
        side.runs += 1;
        side.new += new;
        // What was long ago counts less.
        if side.runs >= 4 * ROUND {
            side.runs /= 2;
            side.new /= 2;
        }
    }

    /// The side that brings more gets more runs than in proportion; one more for both, so that a side without any is not given up.
    fn fresh_percent(&self) -> u64 {
        let per_mille = |side: &Yield| (side.new + 1) * 1_000 / (side.runs + 1);
        let square = |side| per_mille(side) * per_mille(side);
        let (fresh, mutated) = (square(&self.fresh), square(&self.mutated));
        (fresh * 100 / (fresh + mutated).max(1)).clamp(FRESH_PERCENT.0, FRESH_PERCENT.1)
    }
}

fn candidate(seed: u64, fresh_percent: u64, corpus: &mut Corpus) -> Candidate {
    let mut selection = Rng::new(seed, "selection");
    if !selection.chance(fresh_percent)
        && let Some(parent) = corpus.choose(&mut selection).cloned()
    {
        let mut mutation = Rng::new(seed, "mutation");
        let other = if selection.chance(FRESH_OTHER_PERCENT) {
            generate::plan(seed)
        } else {
            corpus.any(&mut selection).unwrap_or(&parent).clone()
        };
        if let Some(plan) = mutate::child(&parent, &other, &mut mutation) {
            return Candidate { seed, plan, is_mutated: true };
        }
    }
    Candidate { seed, plan: generate::plan(seed), is_mutated: false }
}

/// Runs a round on as many threads as wanted; the results are in the order of the plans.
fn run(
    candidates: &[Candidate],
    exploration: &Exploration,
    progress: &Progress,
) -> Vec<Option<(ExplorationReport, RunTriples)>> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(vec![None; candidates.len()]);
    let work = || {
        while !progress.is_stopped() {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(Candidate { seed, plan, is_mutated }) = candidates.get(index) else { return };
            let mut part = ExplorationReport::new(exploration);
            let reached = part.add(*seed, plan, exploration.check);
            if *is_mutated {
                part.failures.iter_mut().for_each(|found| found.plan = Some(Box::new(plan.clone())));
            }
            progress.note(part.simulated, &part, &reached);
            results.lock().expect("workers do not panic")[index] = Some((part, reached));
        }
    };
    thread::scope(|scope| {
        for _ in 1..exploration.jobs.max(1) {
            scope.spawn(work);
        }
        work();
    });
    results.into_inner().expect("workers do not panic")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Tier;
    use crate::search::explore::explore;

    fn exploration(end: u64, jobs: usize) -> Exploration {
        let violations_max = usize::MAX;
        Exploration { tier: Tier::Machine, seeds: 0..end, time: None, jobs, violations_max, check: false }
    }

    #[test]
    fn the_search_is_the_same_for_any_number_of_threads() {
        let found = |jobs| {
            let Guided { report, corpus, mutated } = search(&exploration(140, jobs), &Progress::default());
            (report.digest, report.triples, report.failures, corpus, mutated)
        };
        let one = found(1);
        assert!(one.4 > 0, "no plan was made from others");
        assert_eq!(one, found(2));
    }

    #[test]
    fn the_side_that_brings_more_gets_more_runs_and_none_is_given_up() {
        let mut yields = Yields::default();
        assert_eq!(yields.fresh_percent(), 50);
        (0..20).for_each(|_| yields.add(false, 9));
        assert_eq!(yields.fresh_percent(), FRESH_PERCENT.1);
        (0..200).for_each(|_| yields.add(false, 0));
        (0..20).for_each(|_| yields.add(true, 9));
        assert_eq!(yields.fresh_percent(), FRESH_PERCENT.0);
        assert!(yields.fresh.runs < 4 * ROUND);
    }

    #[test]
    fn the_corpus_stays_within_its_bound() {
        let exploration = exploration(130, 1);
        let Guided { report, corpus, .. } = search_with(&exploration, &Progress::default(), Corpus::new(20));
        assert_eq!((report.runs, corpus), (130, 20));
    }

    #[test]
    fn guided_runs_reach_no_fewer_triples_than_as_many_random_ones() {
        // There is nothing to change before something was found: the first few hundred runs are random in both.
        let (exploration, progress) = (exploration(1_024, 1), Progress::default());
        let random = explore(&exploration, &Progress::default()).triples;
        let guided = search(&exploration, &progress).report;
        assert!(guided.triples.len() >= random.len(), "{} and {}", guided.triples.len(), random.len());
        assert_eq!(progress.triples(), guided.triples.len());
    }

    #[test]
    fn what_breaks_is_told_with_its_plan() {
        let exploration = exploration(1, 1);
        let plan = generate::plan(4);
        let candidates = [Candidate { seed: 9, plan: plan.clone(), is_mutated: true }];
        let results = run(&candidates, &exploration, &Progress::default());
        let (part, _) = results.into_iter().next().flatten().expect("it ran");
        assert_eq!(part.runs, 1);
        assert!(part.failures.iter().all(|found| found.plan().as_ref() == &plan));
        let stopped = Progress::default();
        stopped.stop();
        assert!(run(&candidates, &exploration, &stopped)[0].is_none());
    }
}
