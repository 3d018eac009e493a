//! What every layer stands on: random numbers, counted tasks, panics that nobody loses, and text that is seen as it is.

pub mod panics;
pub mod rng;
pub(crate) mod tasks;
pub mod visible;
