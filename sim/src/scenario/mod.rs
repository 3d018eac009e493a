//! Plans that are kept: what a run of one must have seen, and one-call checks.

mod check;
pub mod expectation;
mod file;
pub mod regression;

pub use check::{check, check_app, check_with};
pub use file::Scenario;
