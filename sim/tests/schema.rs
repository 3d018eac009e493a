//! What the gateways of generated plans send is valid against the gateway's own published schema.

#[path = "../gateway/tests/schema/validator.rs"]
mod validator;

use onesocket_gateway::Effect;
use onesocket_sim::plan::{Action, Fault, GatewayAction};
use onesocket_sim::search::generate;
use onesocket_sim::tiers::machine;

use validator::Inspector;

/// Generated plans reach what no test here thinks of.
#[test]
fn everything_sent_in_an_exploration_is_valid() {
    let mut inspector = Inspector::default();
    for seed in 0..300 {
        let mut plan = generate::plan(seed);
        plan.steps.retain(|step| !step.action.fault().is_some_and(sends_what_no_gateway_sends));
        inspector.ordered_events = plan.steps.iter().filter_map(|step| event_of(&step.action)).collect();
        let mut tap = |_, effect: &Effect| inspector.inspect(std::slice::from_ref(effect));
        let finished = machine::run_tapped(&plan, &mut tap);
        assert!(finished.violation.is_none(), "seed {seed}: {:?}", finished.violation);
    }
    assert!(inspector.frames > 10_000, "only {} frames were sent", inspector.frames);
}

/// The faults that are frames no faithful gateway sends.
fn sends_what_no_gateway_sends(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::BadChallenge
            | Fault::BadHello
            | Fault::Reject
            | Fault::FailRequests
            | Fault::StrayText
            | Fault::Binary
            | Fault::Giant
            | Fault::UnknownEvent
            | Fault::ExtraFields
            | Fault::NumericId
    )
}

fn event_of(action: &Action) -> Option<String> {
    match action {
        Action::Gateway { order: GatewayAction::Emit { event, .. }, .. } => Some(event.clone()),
        _ => None,
    }
}
