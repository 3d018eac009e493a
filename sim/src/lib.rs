//! Deterministic simulation testing harness for the onesocket client core.

pub mod gateway;
pub mod observe;
pub mod oracle;
pub mod plan;
pub mod random;
pub mod trace;
