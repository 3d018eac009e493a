//! Where results go.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use onesocket_sim::base::visible;

use super::error::CliError;

/// Writes JSON to a file, or to standard output for `-`.
pub(super) fn write_json(path: &Path, json: &str) -> Result<(), CliError> {
    write(path, &visible::json(json))
}

/// Writes `text` to a file, or to standard output for `-`.
pub(super) fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let error = |why| CliError::Output { path: path.display().to_string(), why };
    if path == Path::new("-") {
        return print(text).map_err(error);
    }
    fs::write(path, format!("{text}\n")).map_err(error)
}

/// A path as one would type it here.
pub(super) fn shown(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let short = here.as_deref().and_then(|here| path.strip_prefix(here).ok()).unwrap_or(path);
    short.display().to_string()
}

/// Prints a line. A reader that has seen enough, like `head`, is no error.
pub(super) fn print(line: &str) -> io::Result<()> {
    match writeln!(io::stdout().lock(), "{}", visible::lines(line)) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Prints a line to standard output, or, when JSON goes there, to standard error.
pub(super) fn say(json_on_stdout: bool, line: &str) {
    if json_on_stdout {
        complain(line);
    } else if let Err(error) = print(line) {
        complain(&format!("sim: standard output cannot be written: {error}"));
    }
}

/// Prints a line to standard error, where nobody may be there to read it.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", visible::lines(line));
}

/// Whether JSON goes to standard output.
pub(super) fn is_stdout(json: Option<&Path>) -> bool {
    json == Some(Path::new("-"))
}
