//! Plans that are kept: what a run of one must have seen, and one-call checks.

pub mod check;
pub mod expectation;
pub mod file;
pub mod regression;
