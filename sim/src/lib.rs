//! Deterministic simulation testing harness for the onesocket client core.
//!
//! ```text
//!   seed ── generate ──▶ Plan ──┬─▶ machine   core + model, an event queue
//!                               ├─▶ stream    driver + model, in-memory bytes, one paused runtime
//!                               └─▶ turmoil   driver + model, turmoil's hosts and links
//!                                       │
//!                          Recorder: Trace (digest) ──▶ Judge (oracles), Coverage (marks)
//! ```
//!
//! # Code map
//!
//! Layers, each of which imports those above it in this list and none below:
//!
//! - `onesocket_gateway`, a crate of its own: the model of the gateway, and the host that serves it. It shares no parser
//!   with the core: two ends with one parser cannot disagree, and a mistake in it would cancel out.
//! - [`base`]: random numbers, counted tasks, panics; [`pipe`]: byte streams with faults.
//! - [`plan`]: a run as data, the faults there are, and how consumers behave.
//! - [`trace`]: what happened, in words that fit any client.
//! - [`judge`]: the recorder, the oracles, the marks and the logs.
//! - [`subject`]: the trait through which any client is driven, and how to bring one's own.
//! - [`tiers`]: the three ways to run a plan.
//! - [`search`]: plans from seeds, explorations, guided and exhaustive search, shrinking, mutants.
//! - [`scenario`]: plans that are kept, with what their runs must have seen; [`report`]: where runs part, and pages.
//! - [`standin`]: the model on real TCP; the command line is in the binary.
//!
//! # What is absent, on purpose
//!
//! - Nothing here reads a clock or draws from the system while a run goes on: the plan is all there is.
//! - No oracle looks inside the client, the model or a tier.
//! - No run shares state with another: thousands go on side by side on any number of threads.
//! - No panic is lost: the runtimes swallow those of tasks, and [`panics`](base::panics) sees them all the same.

pub mod base;
pub mod judge;
pub mod pipe;
pub mod plan;
pub mod report;
pub mod scenario;
pub mod search;
pub mod standin;
pub mod subject;
pub mod tiers;
pub mod trace;
