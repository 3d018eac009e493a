//! The `sim` command line: explore, replay, shrink, and prove the harness.
//!
//! Exit status: 0 clean, 1 a violation (the last line is the command that replays it), 2 wrong usage or input,
//! 3 incomplete: nothing was violated in what ran, but it was interrupted or terminated, or a mark that had to be
//! reached was not (the last line says which).

mod cli;

use std::process::ExitCode;

use clap::Parser;

/// A run makes and drops thousands of short strings: another allocator saves a tenth of its time.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    match cli::run(arguments) {
        Ok(cli::Verdict::Clean) => ExitCode::SUCCESS,
        Ok(cli::Verdict::Violated) => ExitCode::from(1),
        Ok(cli::Verdict::Incomplete) => ExitCode::from(3),
        Err(error) => {
            cli::output::complain(&format!("sim: {error}"));
            ExitCode::from(2)
        }
    }
}
