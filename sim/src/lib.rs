//! Deterministic simulation testing harness for the onesocket client core.

pub mod gateway;
pub mod host;
pub mod pipe;
