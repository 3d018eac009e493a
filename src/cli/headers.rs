//! Where the headers for the upgrade come from: arguments, a file, the environment.

use std::path::Path;

use onesocket::core::Headers;

use super::CliError;

/// The environment variable that holds headers, one a line.
const VARIABLE: &str = "OPENCLAW_GATEWAY_HEADERS";

/// All headers to send. A name in the arguments goes before the same name in the file, and that before the
/// environment.
pub(super) fn headers(arguments: &[String], file: Option<&Path>) -> Result<Headers, CliError> {
    let mut headers = Headers::new();
    add(&mut headers, "--header", arguments.iter().map(String::as_str))?;
    if let Some(file) = file {
        let path = file.display().to_string();
        let text = std::fs::read_to_string(file);
        let text = text.map_err(|why| CliError::HeaderFile { path: path.clone(), why })?;
        add(&mut headers, &path, lines(&text))?;
    }
    if let Some(text) = std::env::var_os(VARIABLE) {
        let text = text.into_string().map_err(|_| CliError::HeaderLine { from: VARIABLE.to_owned() })?;
        add(&mut headers, VARIABLE, lines(&text))?;
    }
    Ok(headers)
}

/// The lines that are neither blank nor comments. Some editors put a byte order mark before the first.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Adds those whose names no source before this one had.
fn add<'a>(headers: &mut Headers, from: &str, lines: impl Iterator<Item = &'a str>) -> Result<(), CliError> {
    let before = headers.clone();
    for line in lines {
        // What is no header may be a secret all the same: it is not repeated.
        let header = line.split_once(':').ok_or_else(|| CliError::HeaderLine { from: from.to_owned() });
        let (name, value) = header?;
        if !before.contains(name.trim()) {
            headers.add(name, value)?;
        }
    }
    Ok(())
}
