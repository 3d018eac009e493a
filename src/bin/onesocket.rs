//! The `onesocket` command line: call a gateway, watch it, and count the sockets to it.
//!
//! Exit status: 0 done, 1 the gateway could not be reached in time or said no, 2 wrong usage or input, 130 interrupted,
//! 143 terminated.

#[path = "../cli/mod.rs"]
mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    match cli::run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if error.is_news() {
                cli::output::tell(&error.to_string());
            }
            ExitCode::from(error.exit_status())
        }
    }
}
