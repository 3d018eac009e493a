//! The plans that reached something new, as many as there is room for.

use crate::base::rng::Rng;
use crate::plan::Plan;

use super::coverage::{RunTriples, Triples};

/// Plans that are kept.
pub(super) const PLANS_MAX: usize = 512;
/// The weight of a plan that alone reached something, compared with one of many: 1.
const RAREST: u64 = 1_024;
/// A plan that was chosen so often counts half.
const TIRED_AFTER: u64 = 16;

/// A plan that is kept, and why.
#[derive(Clone, Debug)]
struct Kept {
    plan: Plan,
    reached: RunTriples,
    chosen: u64,
}

/// A bounded collection.
#[derive(Clone, Debug)]
pub(super) struct Corpus {
    kept: Vec<Kept>,
    max: usize,
    /// The weights of the plans, each added to those before it.
    weights: Vec<u64>,
}

impl Corpus {
    /// One with room for `max` plans.
    pub(super) fn new(max: usize) -> Self {
        Self { kept: Vec::new(), max, weights: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Takes a plan in. If there are too many now, the one goes whose rarest triple is the most common; of several
    /// the oldest.
    pub(super) fn keep(&mut self, plan: Plan, reached: RunTriples, triples: &Triples) {
        self.kept.push(Kept { plan, reached, chosen: 0 });
        if self.kept.len() > self.max {
            let rarest = |index: &usize| (triples.rarest_of(&self.kept[*index].reached), usize::MAX - index);
            let gone = (0..self.kept.len()).max_by_key(rarest).expect("it is not empty");
            self.kept.remove(gone);
        }
    }

    /// Weighs the plans anew: those that reach what is rare are worth more, and less the more often they were chosen.
    pub(super) fn weigh(&mut self, triples: &Triples) {
        let mut sum = 0;
        self.weights.clear();
        for kept in &self.kept {
            let rarest = triples.rarest_of(&kept.reached).max(1);
            sum += 1 + RAREST * TIRED_AFTER / rarest / (TIRED_AFTER + kept.chosen);
            self.weights.push(sum);
        }
    }

    /// A plan by its weight; none if there is none. What came since [`weigh`](Self::weigh) is not chosen.
    pub(super) fn choose(&mut self, draw: &mut Rng) -> Option<&Plan> {
        let ticket = draw.between(1, *self.weights.last()?);
        let index = self.weights.partition_point(|sum| *sum < ticket);
        let kept = &mut self.kept[index];
        kept.chosen += 1;
        Some(&kept.plan)
    }

    /// Any plan, all alike.
    pub(super) fn any(&self, draw: &mut Rng) -> Option<&Plan> {
        let last = self.kept.len().checked_sub(1)?;
        let index = draw.between(0, last as u64);
        self.kept.get(usize::try_from(index).ok()?).map(|kept| &kept.plan)
    }
}

#[cfg(test)]
mod tests {
    use onesocket::core::Instant;

    use super::*;
    use crate::trace::{Event, Record, StatusKind};

    fn reached(status: StatusKind) -> RunTriples {
        RunTriples::of(&[Record { at: Instant::ZERO, event: Event::Status(status) }])
    }

    #[test]
    fn the_corpus_is_bounded_and_keeps_what_is_rare() {
        let mut triples = Triples::default();
        let mut corpus = Corpus::new(2);
        let (common, rare) = (reached(StatusKind::Ready), reached(StatusKind::Paused));
        for seed in 0..20 {
            let reached = if seed == 7 { &rare } else { &common };
            triples.add(seed, reached);
            corpus.keep(Plan::new(seed), reached.clone(), &triples);
            assert!(corpus.len() <= 2);
        }
        let seeds: Vec<u64> = corpus.kept.iter().map(|kept| kept.plan.seed).collect();
        assert_eq!(seeds, [7, 19]);
    }

    #[test]
    fn rare_plans_are_chosen_more_often_and_tired_ones_less() {
        let mut triples = Triples::default();
        let mut corpus = Corpus::new(9);
        assert!(corpus.choose(&mut Rng::new(1, "test")).is_none());
        for (seed, status) in [(0, StatusKind::Ready), (1, StatusKind::Paused)] {
            let times = if seed == 0 { 100 } else { 1 };
            for run in 0..times {
                triples.add(run, &reached(status));
            }
            corpus.keep(Plan::new(seed), reached(status), &triples);
        }
        corpus.weigh(&triples);
        let mut draw = Rng::new(1, "test");
        for _ in 0..1_000 {
            assert!(corpus.choose(&mut draw).is_some());
        }
        let chosen: Vec<u64> = corpus.kept.iter().map(|kept| kept.chosen).collect();
        assert!(chosen[0] > 0 && chosen[1] > 10 * chosen[0], "{chosen:?}");
        let before = corpus.weights.clone();
        corpus.weigh(&triples);
        assert!(corpus.weights[1] < before[1], "{before:?} {:?}", corpus.weights);
    }
}
