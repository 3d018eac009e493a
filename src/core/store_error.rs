//! Why a token store could not do what it was asked to.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::peer_text::OneLine;

/// Why a token store could not do what it was asked to. Nothing has changed then. It holds no token.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store says so in its own words.
    #[error("the token store failed: {}", OneLine::whole(.0))]
    Failed(String),
    /// The operating system does not let this user do it: change the owner or the mode.
    #[error("{} may not be {what} by this user: change its owner or its mode", path.display())]
    NotPermitted {
        /// The file.
        path: PathBuf,
        /// What was to be done, as a participle.
        what: &'static str,
    },
    /// There is no room left, or no more is granted: make some.
    #[error("{} cannot be {what}, as there is no room left: make some", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// What was to be done, as a participle.
        what: &'static str,
    },
    /// The path, or the end of its symbolic links, is none of a plain file: name another one. Nothing was opened, so
    /// that a pipe without a writer does not block its reader.
    #[error("{} is {is} and not a file: name another path for the token store", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is instead.
        is: &'static str,
    },
    /// Others have held the lock of the file all the time: end whoever holds it, or wait longer.
    #[error("{} was locked by others for {waited:?}: end whoever holds it, or raise lock_timeout", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// How long it was tried.
        waited: Duration,
    },
    /// The file cannot be understood; it stays as it is. Mend it, or put it aside and pair anew.
    #[error("{} is damaged at line {line}: mend it, or put it aside and pair anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where it cannot be understood any more, counted from 1; the line after the last if it is incomplete.
        line: usize,
    },
    /// The file has a format of another version; it stays as it is. Update this client, or put the file aside.
    #[error("{} has version {found} and not {known}: update this client, or put the file aside", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The one that is known here.
        known: u32,
    },
    /// The operating system has failed otherwise.
    #[error("{} cannot be {what}: {why}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// What was to be done, as a participle.
        what: &'static str,
        /// Why, in the words of the operating system.
        why: String,
    },
}

impl StoreError {
    /// With a reason for humans, for a store of your own. Keep secrets out of it.
    #[must_use]
    pub fn new(why: impl Into<String>) -> Self {
        Self::Failed(why.into())
    }
}
