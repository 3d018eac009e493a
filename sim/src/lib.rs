//! Deterministic simulation testing harness for the onesocket client core.

pub mod explore;
pub mod gateway;
pub mod generate;
pub mod host;
pub mod machine;
pub mod marks;
pub mod mutants;
pub mod observe;
pub mod oracle;
pub mod pipe;
pub mod plan;
pub mod random;
pub mod run;
pub mod trace;
