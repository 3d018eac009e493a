//! The commands.

mod arguments;
mod error;
mod exhausting;
mod exploring;
mod gateway;
mod interrupt;
mod mutants;
pub(crate) mod output;
mod printer;
mod replaying;
mod shrinking;

pub(crate) use arguments::Arguments;
use arguments::Command;
pub(crate) use error::{CliError, Verdict};

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
