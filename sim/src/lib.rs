//! Deterministic simulation testing harness for the onesocket client core.

pub mod book;
mod director;
pub mod explore;
pub mod gateway;
pub mod generate;
pub mod host;
pub mod machine;
pub mod marks;
pub mod mutants;
pub mod observe;
pub mod oracle;
pub mod panics;
pub mod pipe;
pub mod plan;
pub mod random;
pub mod run;
pub mod standin;
pub mod stream;
mod token_store;
pub mod trace;
mod tracked;
pub mod turmoil_tier;
