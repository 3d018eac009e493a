//! Breaking the core on purpose, to see that the oracles notice.
//!
//! A mutant is a piece of text to be replaced in one file of `src/`. It is applied to a copy of the
//! workspace, which is built and explored; the sources themselves are never touched, and hold
//! nothing that exists for mutants.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::judge::oracle::Invariant;
use crate::plan::Tier;

/// Seeds within which an oracle must notice.
pub const SEEDS: u64 = 1_000;

/// A way to break the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// Its id: the name of its file.
    pub id: String,
    /// The invariant it breaks.
    pub invariant: Invariant,
    /// Where to look for it.
    pub tier: Tier,
    /// The file that it changes, from the workspace's root.
    file: PathBuf,
    find: String,
    replace: String,
}

/// What became of a mutant.
#[derive(Clone, Debug, PartialEq)]
pub struct MutantResult {
    /// Which mutant.
    pub id: String,
    /// The invariant it breaks.
    pub invariant: Invariant,
    /// Whether that invariant's oracle noticed.
    pub found: bool,
    /// Where it was looked for.
    pub tier: Tier,
    /// How many seeds it took; the number tried if it was not found.
    pub seeds_to_find: u64,
    /// How long that took, without the build.
    pub seconds_to_find: f64,
    /// Other invariants that were broken on the way.
    pub others: Vec<String>,
    /// What became of the plan that was noticed first, if it was to be shrunk.
    pub shrunk: Option<ShrunkTo>,
    /// The simulator with this mutant, until the next one is built.
    pub binary: PathBuf,
}

/// How small the first failing plan of a mutant is.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ShrunkTo {
    /// Steps of the plan that was found.
    pub steps_before: usize,
    /// Steps that are left.
    pub steps: usize,
    /// Whether it was shown that none of them can go.
    pub minimal: bool,
    /// Runs it took.
    pub runs: u64,
    /// How long that took.
    pub wall_seconds: f64,
    /// The small plan.
    pub plan: String,
}

impl fmt::Display for MutantResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, invariant, tier, seeds_to_find, seconds_to_find, .. } = self;
        let (invariant, tier) = (invariant.name(), tier.name());
        if self.found {
            write!(
                f,
                "{id}: {invariant} noticed on {tier} after {seeds_to_find} seeds, {seconds_to_find:.1} s"
            )?;
        } else {
            write!(f, "{id}: SURVIVED {seeds_to_find} seeds on {tier}; {invariant} should have noticed")?;
        }
        if let Some(ShrunkTo { steps_before, steps, runs, wall_seconds, .. }) = &self.shrunk {
            write!(f, "; {steps_before} steps shrunk to {steps} with {runs} runs, {wall_seconds:.1} s")?;
        }
        if self.others.is_empty() { Ok(()) } else { write!(f, " (also: {})", self.others.join(", ")) }
    }
}

/// Why a mutant cannot be tried.
#[derive(Debug, Error)]
pub enum MutantError {
    /// There is no such mutant.
    #[error("there is no mutant {id:?} in scenarios/mutants")]
    Unknown {
        /// The id.
        id: String,
    },
    /// Its file makes no sense.
    #[error("{path}: {why}")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The text it replaces is not there, or not once: the core has changed.
    #[error("mutant {id} wants to replace a text that occurs {count} times in {file}: adapt it to the core")]
    Stale {
        /// The mutant.
        id: String,
        /// Where it looks.
        file: String,
        /// How often the text occurs.
        count: usize,
    },
    /// A file or a process failed.
    #[error("{what}: {why}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        why: io::Error,
    },
    /// The mutated core does not compile.
    #[error("mutant {id} does not compile:\n{log}")]
    Build {
        /// The mutant.
        id: String,
        /// The end of the compiler's words.
        log: String,
    },
    /// The exploration of the mutated core gave no result.
    #[error("exploring mutant {id} gave no result: {log}")]
    Explore {
        /// The mutant.
        id: String,
        /// What it said instead.
        log: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MutantFile {
    invariant: String,
    tier: String,
    /// The bug it stands for, for readers of the file.
    #[serde(rename = "why")]
    _why: String,
    file: PathBuf,
    find: String,
    replace: String,
}

/// The mutants of `workspace`, all or only those with these ids, in the order of their ids.
///
/// # Errors
/// When one cannot be read, or an id is unknown.
pub fn load(workspace: &Path, only: &[String]) -> Result<Vec<Mutant>, MutantError> {
    let folder = workspace.join("scenarios/mutants");
    let io = |why| MutantError::Io { what: format!("{} cannot be read", folder.display()), why };
    let mut mutants = BTreeMap::new();
    for entry in fs::read_dir(&folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let mutant = read(&path)?;
            mutants.insert(mutant.id.clone(), mutant);
        }
    }
    if only.is_empty() {
        return Ok(mutants.into_values().collect());
    }
    only.iter().map(|id| mutants.remove(id).ok_or_else(|| MutantError::Unknown { id: id.clone() })).collect()
}

fn read(path: &Path) -> Result<Mutant, MutantError> {
    let malformed = |why: String| MutantError::Malformed { path: path.display().to_string(), why };
    let text = fs::read_to_string(path)
        .map_err(|why| MutantError::Io { what: format!("{} cannot be read", path.display()), why })?;
    let file: MutantFile = toml::from_str(&text).map_err(|error| malformed(error.message().to_owned()))?;
    let id = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
    Ok(Mutant {
        id,
        invariant: Invariant::from_name(&file.invariant)
            .ok_or_else(|| malformed(format!("there is no invariant {:?}", file.invariant)))?,
        tier: Tier::from_name(&file.tier)
            .ok_or_else(|| malformed(format!("there is no tier {:?}", file.tier)))?,
        file: file.file,
        find: file.find,
        replace: file.replace,
    })
}

/// Applies a mutant to a copy of `workspace`, builds it, and searches until the oracle notices; `shrinks` also makes
/// the plan that was noticed small.
///
/// # Errors
/// When the copy cannot be made, built or explored. A mutant that survives is no error.
pub fn try_out(workspace: &Path, mutant: &Mutant, shrinks: bool) -> Result<MutantResult, MutantError> {
    let target = target_folder(workspace).join("mutants");
    let copy = target.join("workspace");
    copy_workspace(workspace, &copy)?;
    apply(&copy, mutant)?;
    let binary = build(&copy, &target.join("build"), mutant)?;
    let mut outcome = search(&binary, mutant)?;
    if shrinks && outcome.found {
        outcome.shrunk =
            Some(shrink(&binary, &target.join("shrunk.toml"), mutant, outcome.seeds_to_find - 1)?);
    }
    Ok(outcome)
}

fn target_folder(workspace: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from)
}

/// What a build of the simulator does not need, and what would be large to copy.
const LEFT_OUT: [&str; 4] = ["target", ".git", "fuzz", "scenarios"];

fn copy_workspace(workspace: &Path, copy: &Path) -> Result<(), MutantError> {
    let failed = |what: &Path| {
        let what = format!("{} cannot be copied", what.display());
        move |why| MutantError::Io { what, why }
    };
    for entry in fs::read_dir(workspace).map_err(failed(workspace))? {
        let entry = entry.map_err(failed(workspace))?;
        let (from, to) = (entry.path(), copy.join(entry.file_name()));
        if LEFT_OUT.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let copied = if from.is_dir() { copy_folder(&from, &to) } else { copy_file(&from, &to) };
        copied.map_err(failed(&from))?;
    }
    Ok(())
}

/// Mirrors a folder: what is gone from the original goes from the copy.
fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        if !from.join(entry.file_name()).exists() {
            let path = entry.path();
            if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, copy) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() { copy_folder(&source, &copy)? } else { copy_file(&source, &copy)? }
    }
    Ok(())
}

/// Leaves a file alone that is the same already, so that the build does not see it as new.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let text = fs::read(from)?;
    if fs::read(to).is_ok_and(|old| old == text) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(to, text)
}

impl Mutant {
    /// The text of the file that it changes in `workspace`, changed.
    ///
    /// # Errors
    /// [`MutantError::Stale`] if the core has changed, [`MutantError::Io`] if the file cannot be read.
    pub fn mutated(&self, workspace: &Path) -> Result<String, MutantError> {
        let text = fs::read_to_string(workspace.join(&self.file)).map_err(|why| self.unreadable(why))?;
        let count = text.matches(&self.find).count();
        if count != 1 {
            let file = self.file.display().to_string();
            return Err(MutantError::Stale { id: self.id.clone(), file, count });
        }
        Ok(text.replacen(&self.find, &self.replace, 1))
    }

    fn unreadable(&self, why: io::Error) -> MutantError {
        MutantError::Io { what: format!("{} cannot be changed", self.file.display()), why }
    }
}

fn apply(copy: &Path, mutant: &Mutant) -> Result<(), MutantError> {
    let text = mutant.mutated(copy)?;
    fs::write(copy.join(&mutant.file), text).map_err(|why| mutant.unreadable(why))
}

fn build(copy: &Path, target: &Path, mutant: &Mutant) -> Result<PathBuf, MutantError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--package", "onesocket-sim", "--bin", "sim", "--target-dir"])
        .arg(target)
        // Each mutant is built once and run briefly: a quick build beats a quick binary.
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env_remove("RUSTFLAGS")
        .current_dir(copy)
        .output()
        .map_err(|why| MutantError::Io { what: "cargo cannot be started".to_owned(), why })?;
    if output.status.success() {
        return Ok(target.join("debug/sim"));
    }
    Err(MutantError::Build { id: mutant.id.clone(), log: tail(&output.stderr) })
}

#[derive(Deserialize)]
struct ExploreJson {
    runs: u64,
    violations: Vec<FoundJson>,
}

#[derive(Deserialize)]
struct FoundJson {
    seed: u64,
    invariant: String,
}

/// Explores in small parts until the right invariant is broken.
fn search(binary: &Path, mutant: &Mutant) -> Result<MutantResult, MutantError> {
    const PART: u64 = 50;
    let started = Instant::now();
    let mut outcome = MutantResult {
        id: mutant.id.clone(),
        invariant: mutant.invariant,
        found: false,
        tier: mutant.tier,
        seeds_to_find: 0,
        seconds_to_find: 0.0,
        others: Vec::new(),
        shrunk: None,
        binary: binary.to_owned(),
    };
    for first in (0..SEEDS).step_by(usize::try_from(PART).expect("a small number")) {
        let report = explore(binary, mutant, first, first + PART)?;
        let hit = report.violations.iter().find(|found| found.invariant == mutant.invariant.name());
        outcome.seeds_to_find = hit.map_or(first + report.runs, |found| found.seed + 1);
        outcome.seconds_to_find = started.elapsed().as_secs_f64();
        outcome.found = hit.is_some();
        for found in &report.violations {
            if found.invariant != mutant.invariant.name() && !outcome.others.contains(&found.invariant) {
                outcome.others.push(found.invariant.clone());
            }
        }
        if outcome.found {
            break;
        }
    }
    Ok(outcome)
}

fn explore(binary: &Path, mutant: &Mutant, first: u64, end: u64) -> Result<ExploreJson, MutantError> {
    let output = Command::new(binary)
        .args(["explore", "--json", "-", "--jobs", "1", "--tier", mutant.tier.name()])
        .args(["--seeds", &format!("{first}..{end}")])
        .output()
        .map_err(|why| MutantError::Io { what: "the mutated simulator cannot be started".to_owned(), why })?;
    serde_json::from_slice(&output.stdout)
        .map_err(|_| MutantError::Explore { id: mutant.id.clone(), log: tail(&output.stderr) })
}

/// Has the mutated simulator shrink the plan of the seed that was found.
fn shrink(binary: &Path, out: &Path, mutant: &Mutant, seed: u64) -> Result<ShrunkTo, MutantError> {
    let output = Command::new(binary)
        .args(["shrink", &seed.to_string(), "--tier", mutant.tier.name(), "--json", "-", "--out"])
        .arg(out)
        .output()
        .map_err(|why| MutantError::Io { what: "the mutated simulator cannot be started".to_owned(), why })?;
    serde_json::from_slice(&output.stdout)
        .map_err(|_| MutantError::Explore { id: mutant.id.clone(), log: tail(&output.stderr) })
}

/// The end of what a process said.
fn tail(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// The contract's JSON.
#[must_use]
pub fn to_json(outcomes: &[MutantResult]) -> String {
    #[derive(Serialize)]
    struct Json<'a> {
        mutants: Vec<Line<'a>>,
    }
    #[derive(Serialize)]
    struct Line<'a> {
        id: &'a str,
        invariant: &'static str,
        found: bool,
        tier: &'static str,
        seeds_to_find: u64,
        seconds_to_find: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        steps: Option<usize>,
    }
    let mutants = outcomes
        .iter()
        .map(|outcome| Line {
            id: &outcome.id,
            invariant: outcome.invariant.name(),
            found: outcome.found,
            tier: outcome.tier.name(),
            seeds_to_find: outcome.seeds_to_find,
            seconds_to_find: outcome.seconds_to_find,
            steps: outcome.shrunk.as_ref().map(|shrunk| shrunk.steps),
        })
        .collect();
    serde_json::to_string(&Json { mutants }).expect("a report is plain data")
}
