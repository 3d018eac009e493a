//! What the command line understands.

mod exhausting;
mod exploring;
mod gateway;
mod interrupt;
mod mutants;
mod output;
mod printer;
mod replaying;
mod shrinking;

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use onesocket_sim::plan::PlanError;
use onesocket_sim::plan::Tier;
use onesocket_sim::search::mutants::MutantError;
use onesocket_sim::standin::StandInError;
use thiserror::Error;

/// Deterministic simulation of the onesocket client core.
///
/// Without a command: explores fresh seeds on all three tiers for about a minute and reports.
#[derive(Debug, Parser)]
#[command(name = "cargo sim", bin_name = "cargo sim", version, disable_help_subcommand = false)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
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
struct Explore {
    /// The tier: machine, stream or turmoil.
    #[arg(long, default_value = "machine", value_parser = tier)]
    tier: Tier,
    /// The seeds, as FIRST..END (END is not run).
    #[arg(long, value_parser = seeds)]
    seeds: Option<Range<u64>>,
    /// Make every run twice and compare the digests, not only a sample of them.
    #[arg(long)]
    check: bool,
    /// Threads; by default one for each core.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    jobs: Option<u32>,
    /// Stop after so many seconds; without --seeds the seeds are fresh ones.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Keep the plans that reach something new, change them and try again. The seeds are then the number of runs and
    /// what they are drawn from.
    #[arg(long)]
    guided: bool,
    /// Write plans that break something, and that no seed stands for, to this folder [default: target/sim].
    #[arg(long, value_name = "FOLDER", requires = "guided")]
    out: Option<PathBuf>,
    /// Exit with 3 if a mark was never reached.
    #[arg(long)]
    require_marks: bool,
    /// Write the result as JSON to this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with the whole report to this file; it needs no network.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Runs one fixed session with every placement of up to a few faults, on machine.
#[derive(Args, Debug)]
struct Exhaust {
    /// The most faults of one plan: 1 and 2 take seconds, 3 a few minutes.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=3))]
    faults: u8,
    /// Threads; by default one for each core.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    jobs: Option<u32>,
    /// Write plans that break something to this folder [default: target/sim].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Write the result as JSON to this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs one plan and prints what happens.
#[derive(Args, Debug)]
struct Replay {
    /// A seed, or a file with a plan.
    plan: String,
    /// The tier: machine, stream or turmoil.
    #[arg(long, default_value = "machine", value_parser = tier)]
    tier: Tier,
    /// Run again, here and in another process, and show the first record that differs.
    #[arg(long)]
    check: bool,
    /// Write all records to this file, as JSON lines; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,
    /// Show the first record in which the run differs from one that was written with --records.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Show the first record, times left aside, in which the run differs from one on this tier.
    #[arg(long, value_name = "TIER", value_parser = tier)]
    against_tier: Option<Tier>,
    /// Print the plan instead of running it.
    #[arg(long)]
    print_plan: bool,
    /// Write the result as JSON to this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with a picture of the run to this file; it needs no network.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Makes a plan that breaks an invariant as small as it can be, and stores it for the tests.
#[derive(Args, Debug)]
struct Shrink {
    /// A seed, or a file with a plan.
    plan: String,
    /// The tier on which it breaks something: machine, stream or turmoil. If it breaks the same on machine, it is
    /// shrunk there.
    #[arg(long, default_value = "machine", value_parser = tier)]
    tier: Tier,
    /// Write the small plan to this file instead.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Stop after so many seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Stop after so many runs.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Write the result as JSON to this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Breaks the core in known ways and shows that the oracles notice.
#[derive(Args, Debug)]
struct Mutants {
    /// Only these, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Shrink the first plan that each of them fails, and say how many steps are left.
    #[arg(long)]
    shrink: bool,
    /// Write the result as JSON to this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Serves the gateway model on real TCP, as a stand-in for a gateway.
#[derive(Args, Debug)]
struct Gateway {
    /// Where clients dial: an address and port, or a port of this machine. Port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:18789")]
    listen: String,
    /// The shared token [default: test-token, or token-0 with a plan].
    #[arg(long)]
    token: Option<String>,
    /// A plan, or the seed of one, whose steps for gateway 0 are carried out at their times: restart, change-token,
    /// close, drop-event, emit and blip. Its tick and answer times are used as well.
    #[arg(long, value_name = "FILE")]
    plan: Option<String>,
    /// Seconds that a client has for its HTTP request. A gateway gives 60 to 90 and has no limit of connections; this one
    /// serves 512 at a time, and clients that send nothing must not keep others out for long.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    head_timeout: u64,
    /// Where the HTTP control listens.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    control: String,
    /// Have no HTTP control.
    #[arg(long, conflicts_with = "control")]
    no_control: bool,
}

/// What a command found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing wrong.
    Clean,
    /// A broken invariant.
    Violated,
    /// Nothing wrong in what ran, which is not all: it was interrupted, or a mark that had to be reached was not.
    Incomplete,
}

/// Why a command could not do its work.
#[derive(Debug, Error)]
pub(crate) enum CliError {
    /// The argument is neither a seed nor a readable file.
    #[error("{plan:?} is neither a seed nor a plan file that can be read: {why}")]
    NoPlan {
        /// The argument.
        plan: String,
        /// Why the file cannot be read.
        why: io::Error,
    },
    /// The plan cannot be run.
    #[error("{path}: {why}")]
    Plan {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: PlanError,
    },
    /// The records to compare with cannot be read.
    #[error("{path} holds no records to compare with: {why}")]
    Records {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The other process of a check gave no records.
    #[error("the other process gave no records: {0}")]
    OtherProcess(String),
    /// The output cannot be written.
    #[error("{path} cannot be written: {why}")]
    Output {
        /// The file.
        path: String,
        /// Why.
        why: io::Error,
    },
    /// An address is none.
    #[error("{text:?} is no address to listen on: {why}")]
    Address {
        /// What was given.
        text: String,
        /// What is wrong.
        why: String,
    },
    /// The stand-in cannot be served.
    #[error(transparent)]
    StandIn(#[from] StandInError),
    /// There is no runtime to serve on.
    #[error("no runtime: {0}")]
    Runtime(io::Error),
    /// The mutants cannot be tried.
    #[error(transparent)]
    Mutants(#[from] MutantError),
}

/// Carries out a command.
pub(crate) fn run(arguments: Arguments) -> Result<Verdict, CliError> {
    match arguments.command {
        None => exploring::main_job(),
        Some(Command::Explore(explore)) => exploring::explore(&explore),
        Some(Command::Exhaust(exhaust)) => exhausting::exhaust(&exhaust),
        Some(Command::Replay(replay)) => replaying::replay(&replay),
        Some(Command::Shrink(shrink)) => shrinking::shrink(&shrink),
        Some(Command::Mutants(mutants)) => mutants::mutants(&mutants),
        Some(Command::Gateway(gateway)) => gateway::gateway(&gateway),
    }
}

impl Explore {
    fn time(&self) -> Option<Duration> {
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
