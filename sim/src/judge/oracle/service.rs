//! `requests_are_served`: what a request is owed from its making to its end.

mod causes;
mod delivery;

use super::Oracle;
use super::suspension::Suspension;
use crate::plan::Plan;
use crate::trace::Record;
use causes::Causes;
use delivery::InOrder;

/// A request leaves in time and in order while there is a connection for it, and fails only for a cause that came up
/// since it was made.
pub(super) struct RequestsAreServed {
    suspension: Suspension,
    causes: Causes,
    delivery: InOrder,
}

impl RequestsAreServed {
    pub(super) fn new(plan: &Plan) -> Self {
        Self { suspension: Suspension::default(), causes: Causes::new(plan), delivery: InOrder::new(plan) }
    }
}

impl Oracle for RequestsAreServed {
    fn observe(&mut self, record: &Record) -> Result<(), String> {
        self.suspension.observe(record);
        self.causes.observe(record)?;
        self.delivery.observe(record, &self.suspension)
    }
}
