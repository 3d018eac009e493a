//! Any history of inputs: the core never panics, and obeys the laws of `tests/core/judge`.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

#[path = "../../tests/core/judge/mod.rs"]
#[expect(dead_code, reason = "the property tests use more of it")]
mod judge;

#[derive(Arbitrary, Debug)]
struct History {
    seed: u64,
    acts: Vec<Act>,
}

/// See `Judge::act`.
#[derive(Arbitrary, Debug)]
struct Act {
    kind: u8,
    a: u8,
    b: u16,
}

fuzz_target!(|history: History| {
    judge::judge(history.seed, history.acts.into_iter().map(|act| (act.kind, act.a, act.b)));
});
