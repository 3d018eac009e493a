//! What happened is recorded, judged by oracles, and counted as marks.
//!
//! [`recorder`] gives each record to the trace, to the [oracles](oracle) and to `milestones`; [`shared_recorder`] is the
//! same with a clock, for the async tiers. `event_rate` bounds what happens in a simulated second, [`logs`] keeps what
//! is logged meanwhile, and [`marks`] says which rare situations a trace shows.

mod event_rate;
pub mod logs;
pub mod marks;
mod milestones;
pub mod oracle;
pub mod recorder;
pub mod shared_recorder;
