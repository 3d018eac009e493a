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
//! - [`plan`] is a run as data; [`generate`] makes one from a seed; [`random`] gives each concern numbers of
//!   its own.
//! - [`subject`] is the trait through which any client is driven, and says how to bring one's own; [`consumer`] says
//!   how those behave who use it; [`scenario`] checks a plan in one call.
//! - [`run`] names the tiers: [`machine`], [`stream`] and [`turmoil_tier`]. The two async ones share the
//!   director, which plays the app, [`pipe`] or turmoil's network, and [`host`], which gives the model a clock
//!   and sockets.
//! - [`gateway`] is the model. It is sans-IO and shares no parser with the core: two ends with one parser
//!   cannot disagree, and a mistake in it would cancel out.
//! - A step of a plan may follow a milestone: `milestones` counts them in the trace, the machine's queue or the
//!   director's `agenda` takes it from there. `path` says what is wrong with a link at a time, the same on every
//!   tier; `nap` keeps the futures of a suspended process from being polled; `pace` bounds what happens in a second.
//! - [`trace`] holds what happened, in words that fit any client; [`oracle`] judges it and knows nothing else;
//!   [`marks`] counts what was reached.
//! - [`scenario`] checks a plan in one call; [`expectation`] is what a stored plan says about its run; [`shrink`]
//!   makes a plan that breaks something small, and [`compare`] finds where two runs part.
//! - [`search`] counts which states met under which fault, changes the plans that reached something new, and places
//!   a few faults everywhere in one small session.
//! - [`logs`] keeps what is logged in a run; [`explore`] runs many seeds; [`discoveries`] says which were the first
//!   to reach something; [`picture`] draws runs and explorations; [`mutants`] breaks the core on purpose; [`standin`]
//!   serves the model on real
//!   TCP.
//!
//! # What is absent, on purpose
//!
//! - Nothing here reads a clock or draws from the system while a run goes on: the plan is all there is.
//! - No oracle looks inside the client, the model or a tier.
//! - No run shares state with another: thousands go on side by side on any number of threads.
//! - No panic is lost: the runtimes swallow those of tasks, and [`panics`] sees them all the same.

mod agenda;
mod app;
pub mod book;
pub mod compare;
pub mod consumer;
mod director;
pub mod discoveries;
pub mod expectation;
pub mod explore;
pub mod generate;
pub mod logs;
pub mod machine;
pub mod marks;
mod milestones;
pub mod mutants;
mod nap;
pub mod observe;
pub mod oracle;
mod pace;
pub mod panics;
mod path;
pub mod picture;
pub mod pipe;
pub mod plan;
pub mod random;
pub mod run;
pub mod scenario;
pub mod search;
pub mod shrink;
pub mod standin;
pub mod stream;
pub mod subject;
mod tasks;
mod token_store;
pub mod trace;
mod tracked;
pub mod turmoil_tier;
