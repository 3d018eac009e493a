//! What the command line understands.

mod exploring;
mod mutants;
mod output;
mod replaying;

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use onesocket_sim::mutants::MutantError;
use onesocket_sim::plan::PlanError;
use onesocket_sim::run::Tier;
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
    /// Runs one plan and prints what happens.
    Replay(Replay),
    /// Breaks the core in known ways and shows that the oracles notice.
    Mutants(Mutants),
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
    /// Threads; by default one for each core.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    jobs: Option<u32>,
    /// Stop after so many seconds; without --seeds the seeds are fresh ones.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
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
    /// Run twice and compare the digests.
    #[arg(long)]
    check: bool,
    /// Print the plan instead of running it.
    #[arg(long)]
    print_plan: bool,
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
    /// Write the result as JSON to this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What a command found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing wrong.
    Clean,
    /// A broken invariant.
    Violated,
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
    /// The output cannot be written.
    #[error("{path} cannot be written: {why}")]
    Output {
        /// The file.
        path: String,
        /// Why.
        why: io::Error,
    },
    /// The mutants cannot be tried.
    #[error(transparent)]
    Mutants(#[from] MutantError),
}

/// Carries out a command.
pub(crate) fn run(arguments: Arguments) -> Result<Verdict, CliError> {
    match arguments.command {
        None => exploring::main_job(),
        Some(Command::Explore(explore)) => exploring::explore(&explore),
        Some(Command::Replay(replay)) => replaying::replay(&replay),
        Some(Command::Mutants(mutants)) => mutants::mutants(&mutants),
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
