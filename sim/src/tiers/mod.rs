//! The three ways to run a plan.
//!
//! On every tier the same `executor` carries out the plan, the same `app` decides what consumers do, and `link_state` says
//! what is wrong with a link at a time. [`machine`] joins core and model by an event queue. [`stream`] and [`turmoil`]
//! have any client on a `runtime`, and differ in the network they bring.

mod app;
mod executor;
mod gateway_observer;
mod link_state;
pub mod machine;
mod runtime;
mod schedule;
pub mod stream;
mod tracked_stream;
pub mod turmoil;

use crate::judge::recorder::Finished;
use crate::plan::{Plan, Tier};

impl Tier {
    /// Runs `plan` on this tier, without the faults that the tier cannot carry out: see
    /// [`Plan::check_for`](crate::plan::Plan::check_for).
    #[must_use]
    pub fn run(self, plan: &Plan) -> Finished {
        match self {
            Self::Machine => machine::run(plan),
            Self::Stream => stream::run(plan),
            Self::Turmoil => turmoil::run(plan),
        }
    }
}
