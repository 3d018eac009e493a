//! Runs and explorations as something to read: where two runs part, and pages to look at.

pub mod compare;
pub mod picture;
