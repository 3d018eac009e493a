//! Where results go.

use std::io::{self, Write};

use super::CliError;

/// Prints a line. A reader that has seen enough, like `head`, ends the program without an error.
pub(super) fn print(line: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.map_err(CliError::system("standard output cannot be written")),
    }
}
