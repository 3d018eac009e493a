//! `stop_is_final`, in bytes: what a run took from the heap it gives back, whatever went wrong in it.
//!
//! The leak that no count of tasks, sockets or entries shows is a circle of shared pointers. It is here that it would
//! be seen, in the core, the model and the harness together. The allocator is that of the whole process, so there is
//! one test only.

use std::alloc::System;

use onesocket_sim::plan::Tier;
use onesocket_sim::search::generate;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What is still held of what was taken since the region began.
fn held(region: &Region<'_, System>) -> isize {
    let change = region.change();
    let bytes = |bytes: usize| isize::try_from(bytes).expect("a process has less memory");
    bytes(change.bytes_allocated) - bytes(change.bytes_deallocated)
}

#[test]
fn a_run_gives_back_all_that_it_took() {
    for (tier, seeds) in [(Tier::Machine, 200), (Tier::Stream, 30), (Tier::Turmoil, 2)] {
        let plans: Vec<_> = (0..seeds).map(generate::plan).collect();
        // What is made once for the process or the thread is made now.
        for plan in &plans {
            let _ = tier.run(plan);
        }
        for plan in &plans {
            let region = Region::new(ALLOCATOR);
            let finished = tier.run(plan);
            assert!(held(&region) > 0, "the records of a run are held");
            drop(finished);
            assert_eq!(held(&region), 0, "seed {} on {} keeps memory", plan.seed, tier.name());
        }
    }
}
