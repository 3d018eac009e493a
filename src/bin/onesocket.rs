//! The `onesocket` command line: call a gateway, watch it, and count the sockets to it.
//!
//! Exit status: 0 done, 1 the gateway could not be reached or said no, 2 wrong usage or input.

#[path = "../cli/mod.rs"]
mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    match cli::run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("onesocket: {error}");
            ExitCode::from(error.exit_status())
        }
    }
}
