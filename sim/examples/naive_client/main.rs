//! Judges a naive client: `cargo run --example naive_client` shows which invariants it breaks and when, and with a
//! seed behind it, `cargo run --example naive_client -- 3`, the timeline of that seed.

mod client;

use std::collections::BTreeMap;
use std::env;

use client::{NaiveClient, habits};
use onesocket::Client;
use onesocket_sim::judge::logs::Keep;
use onesocket_sim::judge::recorder::{Finished, timeline};
use onesocket_sim::plan::Plan;
use onesocket_sim::search::explore::judged;
use onesocket_sim::search::generate;
use onesocket_sim::tiers::stream;

/// Seeds that are tried.
const SEEDS: u64 = 40;

fn main() {
    match env::args().nth(1).map(|argument| argument.parse()) {
        None => {
            show_habits();
            explore();
        }
        Some(Ok(seed)) => {
            let finished = run(&generate::plan(seed));
            timeline(&finished).for_each(|line| println!("{line}"));
            println!("digest {:016x}: {}", finished.digest, verdict(&finished));
        }
        Some(Err(error)) => eprintln!("a seed is a number: {error}"),
    }
}

fn run(plan: &Plan) -> Finished {
    judged(Keep::Errors, || stream::run_with::<NaiveClient>(plan))
}

fn verdict(finished: &Finished) -> String {
    finished.violation.as_ref().map_or_else(|| "clean".to_owned(), ToString::to_string)
}

/// What the client does, what the harness says to it, and that onesocket does not.
fn show_habits() {
    for (_, habit, plan) in habits() {
        let finished = run(&plan);
        println!("It {habit}:");
        let lines: Vec<String> = timeline(&finished).collect();
        lines.iter().rev().take(4).rev().for_each(|line| println!("  {line}"));
        println!("  => {}", verdict(&finished));
        println!("  onesocket: {}\n", verdict(&judged(Keep::Errors, || stream::run_with::<Client>(&plan))));
    }
}

/// Generated plans, of which few are as kind as those.
fn explore() {
    let mut broken: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for seed in 0..SEEDS {
        let name =
            run(&generate::plan(seed)).violation.map_or("(clean)", |violation| violation.invariant.name());
        broken.entry(name).or_default().push(seed);
    }
    println!("Of {SEEDS} generated plans:");
    for (name, seeds) in broken {
        println!(
            "  {name:<26} {:>3}, replay with: cargo run --example naive_client -- {}",
            seeds.len(),
            seeds[0]
        );
    }
}
