//! Where results and messages go.

use std::io::{self, Write};

use super::CliError;

/// Prints a line. A reader that has seen enough, like `head`, ends the program without an error.
pub(super) fn print(line: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(CliError::ReaderGone),
        other => other.map_err(CliError::system("standard output cannot be written")),
    }
}

/// Tells the person at the terminal something, in one line.
pub(crate) fn tell(line: &str) {
    // Nobody may be there to read it.
    let _ = writeln!(io::stderr().lock(), "onesocket: {line}");
}
