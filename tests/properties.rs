//! The first four invariants over arbitrary plans: proptest makes the plans and shrinks them.
//!
//! The generator of `onesocket-sim` makes likely plans; these are any plans at all, on the `machine`
//! tier.

use onesocket_sim::judge::oracle::Invariant;
use onesocket_sim::plan::Tier;
use onesocket_sim::plan::consumer::Lag;
use onesocket_sim::plan::{Action, AppAction, GatewayAction, LinkFault, Params, Plan, Step};
use onesocket_sim::search::explore::run_judged;
use proptest::prelude::*;

/// When the faults of these plans are over, at the latest.
const ACTIVE_MS: u64 = 20_000;

fn token() -> impl Strategy<Value = String> {
    prop_oneof![4 => Just("token-0".to_owned()), 1 => Just("token-1".to_owned()), 1 => Just("wrong".to_owned())]
}

fn action() -> impl Strategy<Value = Action> {
    let gateway = prop_oneof![3 => Just(0u8), 1 => Just(1u8)];
    let consumer = 0u8..3;
    let lasting_ms = 1u64..8_000;
    let method = prop_oneof![Just("test.echo"), Just("health"), Just("test.never"), Just("no.such.method")];
    prop_oneof![
        6 => (consumer.clone(), method, 1u64..10_000).prop_map(|(consumer, method, timeout_ms)| {
            Action::App(AppAction::Request { consumer, method: method.to_owned(), timeout_ms })
        }),
        1 => (consumer.clone(), 1u64..10_000).prop_map(|(consumer, timeout_ms)| {
            Action::App(AppAction::BoundRequest { consumer, method: "test.echo".to_owned(), timeout_ms })
        }),
        1 => (consumer.clone(), 0u32..3, 1u64..10_000, any::<bool>()).prop_map(
            |(consumer, key, timeout_ms, to_the_end)| Action::App(AppAction::RunAgent { consumer, key, timeout_ms, to_the_end })
        ),
        1 => (consumer.clone(), prop_oneof![Just(Lag::Resnapshot), Just(Lag::Close)])
            .prop_map(|(consumer, lag)| Action::App(AppAction::SubscribeWith { consumer, lag, items: Some(4) })),
        2 => consumer.clone().prop_map(|consumer| Action::App(AppAction::DropRequest { consumer })),
        2 => consumer.clone().prop_map(|consumer| Action::App(AppAction::Subscribe { consumer })),
        1 => consumer.prop_map(|consumer| Action::App(AppAction::Unsubscribe { consumer })),
        3 => (gateway.clone(), token()).prop_map(|(gateway, token)| Action::App(AppAction::Configure { gateway, token })),
        1 => Just(Action::App(AppAction::Connect {})),
        1 => Just(Action::App(AppAction::Wake {})),
        1 => Just(Action::App(AppAction::Resume {})),
        1 => Just(Action::App(AppAction::Shutdown {})),
        2 => gateway.clone().prop_map(|gateway| Action::Gateway { gateway, order: GatewayAction::Emit { event: "chat".to_owned() } }),
        2 => (gateway.clone(), lasting_ms.clone(), any::<bool>())
            .prop_map(|(gateway, down_ms, crash)| Action::Gateway { gateway, order: GatewayAction::Restart { down_ms, crash } }),
        1 => (gateway.clone(), lasting_ms.clone())
            .prop_map(|(gateway, for_ms)| Action::Link { gateway, fault: LinkFault::Partition { for_ms } }),
        1 => (gateway.clone(), lasting_ms).prop_map(|(gateway, for_ms)| Action::Link { gateway, fault: LinkFault::Blip { for_ms } }),
        1 => (gateway.clone(), token()).prop_map(|(gateway, token)| Action::Gateway { gateway, order: GatewayAction::ChangeToken { token } }),
        1 => (gateway.clone(), prop_oneof![Just(1000u16), Just(1008), Just(1012), Just(4001)])
            .prop_map(|(gateway, code)| Action::Gateway { gateway, order: GatewayAction::Close { code, reason: String::new() } }),
        1 => gateway.prop_map(|gateway| Action::Gateway { gateway, order: GatewayAction::DropEvent {} }),
    ]
}

prop_compose! {
    fn plan()(
        seed in any::<u64>(),
        latency_max_us in 50u64..100_000,
        close_grace_ms in 1u64..1_000,
        steps in prop::collection::vec((0..ACTIVE_MS, action()), 0..40),
    ) -> Plan {
        let params = Params { latency_min_us: 50, latency_max_us, close_grace_ms, ..Params::default() };
        let mut steps: Vec<Step> = steps.into_iter().map(|(at_ms, action)| Step::at(at_ms, action)).collect();
        steps.sort_by_key(|step| step.when.at_ms());
        Plan { params, steps, ..Plan::new(seed) }
    }
}

/// Runs the plan; breaking the invariant, or any assertion on the way, fails the property.
fn holds(invariant: Invariant, plan: &Plan) -> Result<(), TestCaseError> {
    match run_judged(Tier::Machine, plan).violation {
        Some(violation) if [invariant, Invariant::NoPanic].contains(&violation.invariant) => {
            Err(TestCaseError::fail(format!("{violation}\n{}", plan.to_text())))
        }
        Some(_) | None => Ok(()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn one_socket(plan in plan()) {
        holds(Invariant::OneSocket, &plan)?;
    }

    #[test]
    fn stop_is_final(plan in plan()) {
        holds(Invariant::StopIsFinal, &plan)?;
    }

    #[test]
    fn one_reconnect_per_change(plan in plan()) {
        holds(Invariant::OneReconnectPerChange, &plan)?;
    }

    #[test]
    fn shared_attempt(plan in plan()) {
        holds(Invariant::SharedAttempt, &plan)?;
    }

    /// All the others at once: any plan at all must leave every invariant whole.
    #[test]
    fn every_invariant(plan in plan()) {
        let violation = run_judged(Tier::Machine, &plan).violation;
        prop_assert!(violation.is_none(), "{}\n{}", violation.unwrap(), plan.to_text());
    }
}
