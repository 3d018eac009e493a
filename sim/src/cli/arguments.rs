//! What the command line understands.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use onesocket_sim::plan::Tier;

/// Deterministic simulation of the onesocket client core.
///
/// Without a command: explores fresh seeds on all three tiers for about a minute and reports.
#[derive(Debug, Parser)]
#[command(name = "cargo sim", bin_name = "cargo sim", version, disable_help_subcommand = false)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Explores a range of seeds, or as many as a time allows, on one tier.
    Explore(Explore),
    /// Runs one fixed session with every placement of up to a few faults, on machine.
    Exhaust(Exhaust),
    /// Runs one plan and prints what happens.
    Replay(Replay),
    /// Makes a plan that breaks an invariant as small as it can be, and stores it for the tests.
    ///
    /// Writes a plan without a single step too many that breaks the same invariant, by default to the next free
    /// `scenarios/regressions/NNNN-….toml`, where `cargo test` finds it. Ctrl-C keeps the best so far. Exits with 1
    /// and the replay command as the last line, or with 0 if the plan breaks nothing.
    Shrink(Shrink),
    /// Breaks the core in known ways and shows that the oracles notice.
    Mutants(Mutants),
    /// Serves the gateway model on real TCP, as a stand-in for a gateway.
    ///
    /// Prints `listening on ws://ADDR` when it is ready, and then what it does. While it runs, it is steered with
    /// `POST /__sim/<word>` on the control address, whose body is what the word takes, and at the prompt if
    /// standard input is a terminal: restart, crash, token, kick, drop-next-event, stall, emit and more; `help`
    /// lists them. Ctrl-C stops it as SIGTERM stops a gateway.
    Gateway(Gateway),
}

/// Explores a range of seeds, or as many as a time allows, on one tier.
#[derive(Args, Debug)]
pub(super) struct Explore {
    /// The tier: machine, stream or turmoil.
    #[arg(long, default_value = "machine", value_parser = tier)]
    pub(super) tier: Tier,
    /// The seeds, as FIRST..END (END is not run).
    #[arg(long, value_parser = seeds)]
    pub(super) seeds: Option<Range<u64>>,
    /// Make every run twice and compare the digests, not only a sample of them.
    #[arg(long)]
    pub(super) check: bool,
    /// Threads; by default one for each core.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(super) jobs: Option<u32>,
    /// Stop after so many seconds; without --seeds the seeds are fresh ones.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(super) seconds: Option<u64>,
    /// Keep the plans that reach something new, change them and try again. The seeds are then the number of runs and
    /// what they are drawn from.
    #[arg(long)]
    pub(super) guided: bool,
    /// Write plans that break something, and that no seed stands for, to this folder [default: target/sim].
    #[arg(long, value_name = "FOLDER", requires = "guided")]
    pub(super) out: Option<PathBuf>,
    /// Exit with 3 if a mark was never reached.
    #[arg(long)]
    pub(super) require_marks: bool,
    /// Write the result as JSON to this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Write a page with the whole report to this file; it needs no network.
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
}

/// Runs one fixed session with every placement of up to a few faults, on machine.
#[derive(Args, Debug)]
pub(super) struct Exhaust {
    /// The most faults of one plan: 1 and 2 take seconds, 3 a few minutes.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=3))]
    pub(super) faults: u8,
    /// Threads; by default one for each core.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(super) jobs: Option<u32>,
    /// Write plans that break something to this folder [default: target/sim].
    #[arg(long, value_name = "FOLDER")]
    pub(super) out: Option<PathBuf>,
    /// Write the result as JSON to this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
}

/// Runs one plan and prints what happens.
#[derive(Args, Debug)]
pub(super) struct Replay {
    /// A seed, or a file with a plan.
    pub(super) plan: String,
    /// The tier: machine, stream or turmoil.
    #[arg(long, default_value = "machine", value_parser = tier)]
    pub(super) tier: Tier,
    /// Run again, here and in another process, and show the first record that differs.
    #[arg(long)]
    pub(super) check: bool,
    /// Write all records to this file, as JSON lines; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub(super) records: Option<PathBuf>,
    /// Show the first record in which the run differs from one that was written with --records.
    #[arg(long, value_name = "FILE")]
    pub(super) against: Option<PathBuf>,
    /// Show the first record, times left aside, in which the run differs from one on this tier.
    #[arg(long, value_name = "TIER", value_parser = tier)]
    pub(super) against_tier: Option<Tier>,
    /// Print the plan instead of running it.
    #[arg(long)]
    pub(super) print_plan: bool,
    /// Write the result as JSON to this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Write a page with a picture of the run to this file; it needs no network.
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
}

/// Makes a plan that breaks an invariant as small as it can be, and stores it for the tests.
#[derive(Args, Debug)]
pub(super) struct Shrink {
    /// A seed, or a file with a plan.
    pub(super) plan: String,
    /// The tier on which it breaks something: machine, stream or turmoil. If it breaks the same on machine, it is
    /// shrunk there.
    #[arg(long, default_value = "machine", value_parser = tier)]
    pub(super) tier: Tier,
    /// Write the small plan to this file instead.
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// Stop after so many seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(super) seconds: u64,
    /// Stop after so many runs.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) runs: u64,
    /// Write the result as JSON to this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
}

/// Breaks the core in known ways and shows that the oracles notice.
#[derive(Args, Debug)]
pub(super) struct Mutants {
    /// Only these, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub(super) only: Vec<String>,
    /// Shrink the first plan that each of them fails, and say how many steps are left.
    #[arg(long)]
    pub(super) shrink: bool,
    /// Write the result as JSON to this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
}

/// Serves the gateway model on real TCP, as a stand-in for a gateway.
#[derive(Args, Debug)]
pub(super) struct Gateway {
    /// Where clients dial: an address and port, or a port of this machine. Port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:18789")]
    pub(super) listen: String,
    /// The shared token [default: test-token, or token-0 with a plan].
    #[arg(long)]
    pub(super) token: Option<String>,
    /// A plan, or the seed of one, whose steps for gateway 0 are carried out at their times: restart, change-token,
    /// close, drop-event, emit and blip. Its tick and answer times are used as well.
    #[arg(long, value_name = "FILE")]
    pub(super) plan: Option<String>,
    /// Seconds that a client has for its HTTP request. A gateway gives 60 to 90 and has no limit of connections; this one
    /// serves 512 at a time, and clients that send nothing must not keep others out for long.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(super) head_timeout: u64,
    /// Where the HTTP control listens.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub(super) control: String,
    /// Have no HTTP control.
    #[arg(long, conflicts_with = "control")]
    pub(super) no_control: bool,
}

impl Explore {
    pub(super) fn time(&self) -> Option<Duration> {
        self.seconds.map(Duration::from_secs)
    }
}

fn tier(text: &str) -> Result<Tier, String> {
    Tier::from_name(text).ok_or_else(|| "the tiers are machine, stream and turmoil".to_owned())
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let range = text.split_once("..").and_then(|(first, end)| Some(first.parse().ok()?..end.parse().ok()?));
    let range = range.ok_or_else(|| "a range of seeds looks like 0..1000".to_owned())?;
    if Range::<u64>::is_empty(&range) { Err("the range of seeds is empty".to_owned()) } else { Ok(range) }
}
