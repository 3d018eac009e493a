//! What comes of a command.

use std::io;

use onesocket_sim::plan::PlanError;
use onesocket_sim::search::mutants::MutantError;
use onesocket_sim::standin::StandInError;
use thiserror::Error;

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
