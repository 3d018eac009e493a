//! The `sim` command line.
use onesocket_sim::{generate, machine};
fn main() {
    let mut args = std::env::args().skip(1);
    let a: u64 = args.next().unwrap().parse().unwrap();
    let b: u64 = args.next().unwrap().parse().unwrap();
    let start = std::time::Instant::now();
    let mut n = 0;
    let mut by = std::collections::BTreeMap::new();
    let mut recs = 0;
    let mut simt = 0;
    for seed in a..b {
        let plan = generate::plan(seed);
        let run = machine::run(&plan);
        recs += run.records.len();
        simt += run.simulated.as_micros() / 1_000_000;
        if let Some(v) = &run.violation {
            let e = by.entry(v.invariant.id()).or_insert((0, seed));
            e.0 += 1;
            if b - a == 1 {
                for r in &run.records {
                    println!("{r}");
                }
                println!("{v}");
            } else if e.0 <= 3 {
                println!("seed {seed}: {v}");
            }
        } else if b - a == 1 {
            for r in &run.records {
                println!("{r}");
            }
        }
        n += 1;
    }
    println!(
        "{n} runs {by:?} {:.0}/s records {} sim {}",
        n as f64 / start.elapsed().as_secs_f64(),
        recs / n,
        simt / n as u64
    );
}
