//! Rules for every history: see `judge`.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree;

use crate::judge::{KINDS, judge, reached};

fn acts(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<(u8, u8, u16)>> {
    prop::collection::vec((0..KINDS, any::<u8>(), any::<u16>()), length)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_history_obeys_the_laws(seed: u64, acts in acts(1..80)) {
        judge(seed, acts);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn any_long_history_obeys_the_laws(seed: u64, acts in acts(500..1_000)) {
        judge(seed, acts);
    }
}

/// A law that is never put to the test proves nothing: random histories must reach these places.
#[test]
fn histories_reach_what_the_laws_are_about() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for seed in 0..300 {
        let acts = acts(60..80).new_tree(&mut runner).unwrap().current();
        seen.extend(reached(seed, acts));
    }
    assert_eq!(seen.len(), 16, "only reached {seen:?}");
}
