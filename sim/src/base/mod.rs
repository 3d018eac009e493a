//! What every layer stands on: random numbers, counted tasks and panics that nobody loses.

pub mod panics;
pub mod rng;
pub(crate) mod tasks;
