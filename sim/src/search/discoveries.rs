//! Which seed was the first to reach each mark, and each fault in each state of the client.

use std::collections::BTreeMap;

use crate::judge::marks::{Coverage, Mark};
use crate::plan::Fault;
use crate::trace::StatusKind;

/// The first seeds, whatever the number of threads that ran them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discoveries {
    marks: BTreeMap<Mark, u64>,
    pairs: BTreeMap<(Fault, StatusKind), u64>,
}

impl Discoveries {
    /// Notes what `coverage` has since `seed` was added to it. Where nothing is new this only counts.
    pub fn note(&mut self, seed: u64, coverage: &Coverage) {
        note(&mut self.marks, seed, &coverage.marks);
        note(&mut self.pairs, seed, &coverage.faults);
    }

    /// Adds what other seeds reached.
    pub fn merge(&mut self, other: &Self) {
        merge(&mut self.marks, &other.marks);
        merge(&mut self.pairs, &other.pairs);
    }

    /// The first seed that reached a mark.
    #[must_use]
    pub fn mark(&self, mark: Mark) -> Option<u64> {
        self.marks.get(&mark).copied()
    }

    /// The first seed of each mark that was reached.
    pub fn marks(&self) -> impl Iterator<Item = u64> + '_ {
        self.marks.values().copied()
    }

    /// The first seed of each fault in each state that was reached.
    pub fn pairs(&self) -> impl Iterator<Item = u64> + '_ {
        self.pairs.values().copied()
    }
}

fn note<K: Ord + Copy>(first: &mut BTreeMap<K, u64>, seed: u64, counts: &BTreeMap<K, u64>) {
    // Nothing is ever taken out of a coverage.
    if first.len() == counts.len() {
        return;
    }
    for (key, count) in counts {
        if *count > 0 {
            first.entry(*key).or_insert(seed);
        }
    }
}

fn merge<K: Ord + Copy>(first: &mut BTreeMap<K, u64>, other: &BTreeMap<K, u64>) {
    for (key, seed) in other {
        let known = first.entry(*key).or_insert(*seed);
        *known = (*known).min(*seed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::marks::Situation;

    #[test]
    fn the_lowest_seed_counts_whoever_ran_it() {
        let coverage = |marks: &[Mark]| Coverage {
            marks: marks.iter().map(|mark| (*mark, 1)).collect(),
            faults: BTreeMap::from([((Fault::Blip, StatusKind::Ready), 1)]),
        };
        let (mut one, mut other) = (Discoveries::default(), Discoveries::default());
        one.note(3, &coverage(&[Mark::In(Situation::Woken)]));
        one.note(5, &coverage(&[Mark::In(Situation::Woken), Mark::In(Situation::Paused)]));
        other.note(4, &coverage(&[Mark::In(Situation::Woken), Mark::In(Situation::Paused)]));
        one.merge(&other);
        assert_eq!(
            (one.mark(Mark::In(Situation::Woken)), one.mark(Mark::In(Situation::Paused))),
            (Some(3), Some(4))
        );
        assert_eq!(one.mark(Mark::In(Situation::GaveUp)), None);
        assert_eq!(one.pairs().collect::<Vec<_>>(), [3]);
    }
}
