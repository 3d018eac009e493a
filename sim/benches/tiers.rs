//! What a run costs on each tier: the same generated plans, side by side.
//!
//! Each iteration is the next seed, so that a number is the mean over the default workload; a run's cost
//! is more than its mean, which is why a report gives ratios and not a promise.
//! `cargo bench --package onesocket-sim --bench tiers`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use onesocket_sim::plan::Tier;
use onesocket_sim::search::generate;

fn tiers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("run");
    group.throughput(Throughput::Elements(1));
    for tier in Tier::ALL {
        if tier == Tier::Turmoil {
            group.sample_size(10);
        }
        let mut seed = 0;
        group.bench_function(BenchmarkId::from_parameter(tier.name()), |bench| {
            bench.iter(|| {
                seed += 1;
                let plan = generate::plan(seed);
                tier.run(black_box(&plan)).digest
            });
        });
    }
    group.finish();
}

/// What of a run is not the run: making its plan.
fn plans(criterion: &mut Criterion) {
    let mut seed = 0;
    criterion.bench_function("generate", |bench| {
        bench.iter(|| {
            seed += 1;
            generate::plan(black_box(seed)).steps.len()
        });
    });
}

criterion_group!(benches, tiers, plans);
criterion_main!(benches);
