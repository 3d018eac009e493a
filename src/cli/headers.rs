//! Where the headers for the upgrade come from: arguments, a file, the environment.

use std::path::Path;

use onesocket::core::Headers;

use super::CliError;
use super::input::{Environment, InputFile, shown};

/// The environment variable that holds headers, one a line.
const VARIABLE: &str = "OPENCLAW_GATEWAY_HEADERS";

/// All headers to send. A name in the arguments goes before the same name in the file, and that before the
/// environment.
pub(super) fn headers(
    environment: &Environment,
    arguments: &[String],
    file: Option<&Path>,
) -> Result<Headers, CliError> {
    let mut headers = Headers::new();
    add(&mut headers, "--header", arguments.iter().map(String::as_str))?;
    if let Some(file) = file {
        let text = InputFile::Headers.read(file)?;
        add(&mut headers, &shown(file), lines(&text))?;
    }
    if let Some(text) = environment.get(VARIABLE) {
        add(&mut headers, VARIABLE, lines(&text))?;
    }
    Ok(headers)
}

/// The lines that are neither blank nor comments.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(str::trim);
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
