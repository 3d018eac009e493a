//! `cargo sim mutants`.

use std::path::Path;

use onesocket_sim::search::mutants::{self, MutantResult};

use super::arguments::Mutants;
use super::error::{CliError, Verdict};
use super::output::{is_stdout, say, write_json};

/// Tries every mutant and prints which oracle noticed it.
pub(super) fn mutants(arguments: &Mutants) -> Result<Verdict, CliError> {
    let json_on_stdout = is_stdout(arguments.json.as_deref());
    // The command needs the sources it was built from, which the alias runs in.
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("sim is a member of the workspace");
    let chosen = mutants::load(workspace, &arguments.only)?;
    let mut outcomes = Vec::new();
    for mutant in &chosen {
        let outcome = mutants::try_out(workspace, mutant, arguments.shrink)?;
        say(json_on_stdout, &outcome.to_string());
        outcomes.push(outcome);
    }
    if let Some(path) = &arguments.json {
        write_json(path, &mutants::to_json(&outcomes))?;
    }
    let survivors = outcomes.iter().filter(|outcome| !outcome.found).count();
    let tried = outcomes.len();
    let mutants = if tried == 1 { "mutant" } else { "mutants" };
    say(json_on_stdout, &format!("{tried} {mutants}, {survivors} survived"));
    if outcomes.iter().all(|outcome: &MutantResult| outcome.found) {
        Ok(Verdict::Clean)
    } else {
        Ok(Verdict::Violated)
    }
}
