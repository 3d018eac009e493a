//! Carries out the steps of a plan that a gateway can carry out alone.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::plan::{Action, LinkFault, Plan};

use super::command::Command;
use super::{EventLog, Steering};

/// What a step means to gateway 0, if it means anything: the rest is for clients, links and other gateways.
pub fn order_of_step(action: &Action) -> Option<Command> {
    if let Action::Link { gateway: 0, fault: LinkFault::Blip { for_ms } } = action {
        // Nothing arrives for a while, and nothing is lost: a stall.
        return Some(Command::Stall(Duration::from_millis(*for_ms)));
    }
    match action.order() {
        Some((0, order)) => Some(Command::Order(order)),
        Some(_) | None => None,
    }
}

/// Carries out the steps of `plan` for gateway 0 at their times, counted from now.
pub async fn play(plan: &Plan, steering: &Steering, event_log: &EventLog) {
    let start = Instant::now();
    // What follows a milestone follows what clients do, and it is not for a stand-in to say when that is.
    let steps =
        || plan.steps.iter().filter_map(|step| Some((step.when.at_ms()?, order_of_step(&step.action)?)));
    let count = steps().count();
    let others = plan.steps.len() - count;
    event_log.write(&format!("plan: {count} steps for this gateway; {others} others are left out"));
    for (at_ms, command) in steps() {
        sleep_until(start + Duration::from_millis(at_ms)).await;
        event_log.write(&format!("plan: {}", command.in_words()));
        command.apply(steering);
    }
    event_log.write("plan: done; the gateway goes on");
}
