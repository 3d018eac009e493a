//! The shrinker, judged by made-up rules whose smallest plans are known.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use onesocket_sim::plan::{Action, AppAction, GatewayAction, Params, Plan, Step};
use onesocket_sim::search::generate;
use onesocket_sim::search::shrink::{self, End, Limits, Shrunk};
use proptest::prelude::*;

const LIMITS: Limits = Limits { runs: 100_000, time: Duration::from_secs(600) };

/// Shrinks under a rule that says whether a plan fails, and checks what must always hold.
fn shrunk(plan: &Plan, fails: &dyn Fn(&Plan) -> bool) -> Shrunk {
    assert!(fails(plan), "the plan must fail to begin with");
    let shrunk = shrink::shrink(plan, LIMITS, &mut |plan| fails(plan).then_some(0), &|| false);
    assert_eq!(shrunk.end, End::Minimal);
    assert!(fails(&shrunk.plan), "what is left must fail");
    assert_eq!(shrunk.plan.check(), Ok(()));
    assert_eq!(Plan::parse(&shrunk.plan.to_text()).as_ref(), Ok(&shrunk.plan));
    for index in 0..shrunk.plan.steps.len() {
        let mut less = shrunk.plan.clone();
        less.steps.remove(index);
        assert!(!fails(&less), "step {index} is not needed: {:#?}", shrunk.plan.steps);
    }
    shrunk
}

fn names(plan: &Plan) -> Vec<String> {
    shrink::names(&plan.steps)
}

/// Whether `wanted` occurs in `names` in this order, with anything in between.
fn holds(names: &[String], wanted: &[String]) -> bool {
    let mut rest = names.iter();
    wanted.iter().all(|word| rest.any(|name| name == word))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// A rule that needs some actions in an order is left with exactly these, as small as they go.
    #[test]
    fn what_needs_an_order_of_actions_is_left_with_them(
        seed in 0u64..2_000,
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
    ) {
        let plan = generate::plan(seed);
        let all = names(&plan);
        let places: BTreeSet<usize> = picks.iter().map(|pick| pick.index(all.len())).collect();
        let wanted: Vec<String> = places.into_iter().map(|place| all[place].clone()).collect();
        let shrunk = shrunk(&plan, &|plan| holds(&names(plan), &wanted));
        prop_assert_eq!(names(&shrunk.plan), wanted);
        prop_assert!(shrunk.plan.steps.iter().all(|step| step.when.at_ms().is_none_or(|at_ms| at_ms == 0)));
        prop_assert_eq!(shrunk.plan.seed, 0);
        let Params { end_ms, calm_ms, .. } = shrunk.plan.params;
        // A bootstrap token is for a device, so a plan that needs the one needs the other.
        let mut actions = shrunk.plan.steps.iter().map(|step| &step.action);
        let device = actions.any(|action| matches!(action, Action::App(AppAction::ConfigureBootstrap { .. })));
        let usual = Params { end_ms, calm_ms, device, ..Params::default() };
        prop_assert_eq!(&shrunk.plan.params, &usual);
        prop_assert!(usual.end_ms <= 2, "the run ends at {} ms", usual.end_ms);
    }

    /// A rule that is hard on delta debugging, because a part of what fails need not fail: an even number of
    /// requests, at least four, and a step of a kind after the last of them.
    #[test]
    fn what_does_not_fail_in_parts_is_1_minimal_all_the_same(seed in 0u64..2_000) {
        let fails = |plan: &Plan| {
            let names = names(plan);
            let requests = names.iter().filter(|name| *name == "request").count();
            requests >= 4 && requests % 2 == 0 && names.last().is_some_and(|name| name != "request")
        };
        let plan = generate::plan(seed);
        prop_assume!(fails(&plan));
        let shrunk = shrunk(&plan, &fails);
        let requests = names(&shrunk.plan).iter().filter(|name| *name == "request").count();
        prop_assert_eq!(shrunk.plan.steps.len(), requests + 1, "{:#?}", shrunk.plan.steps);
    }

    /// Two steps of one kind that are far enough apart, and one that lasts long enough: times and durations stay
    /// just above what the rule needs.
    #[test]
    fn times_and_durations_go_down_to_what_is_needed(seed in 0u64..2_000, apart in 100u64..4_000, lasts in 10u64..3_000) {
        let subscribed_ms = |step: &Step| {
            let is_subscribe = matches!(step.action, Action::App(AppAction::Subscribe { .. }));
            step.when.at_ms().filter(|_| is_subscribe)
        };
        let fails = |plan: &Plan| {
            let mut steps = plan.steps.iter().filter_map(subscribed_ms);
            let long = plan.steps.iter().any(|step| step.action.lasts_ms() >= Some(lasts));
            let (first, last) = (steps.next(), steps.next_back());
            long && first.zip(last).is_some_and(|(first, last)| last - first >= apart)
        };
        let plan = generate::plan(seed);
        prop_assume!(fails(&plan));
        let shrunk = shrunk(&plan, &fails);
        prop_assert_eq!(shrunk.plan.steps.len(), 3);
        let longest = shrunk.plan.steps.iter().filter_map(|step| step.action.lasts_ms()).max().unwrap_or(0);
        prop_assert!(longest <= lasts + 2 + lasts / 25, "{longest} of {lasts}");
        let last = shrunk.plan.steps.iter().filter_map(|step| step.when.at_ms()).max().unwrap_or(0);
        prop_assert!(last <= apart + 2 + apart / 25, "{last} of {apart}");
    }
}

/// What depends on a draw survives the loss of a step by another seed.
#[test]
fn another_seed_is_tried_when_a_step_is_left_out() {
    let plan = Plan { seed: 1, ..generate::plan(7) };
    let before = plan.steps.len() as u64;
    // Like a race that only some draws win: which seeds fail depends on how many steps there are.
    let shrunk = shrunk(&plan, &|plan| (before - plan.steps.len() as u64 + 1) % 3 == plan.seed % 3);
    assert!(shrunk.plan.steps.is_empty(), "{:#?}", shrunk.plan.steps);
}

#[test]
fn parameters_that_matter_stay_and_the_others_are_as_usual() {
    let seeds = (0..).map(generate::plan);
    let plan = seeds.into_iter().find(|plan| plan.params.device && plan.params.latency_max_us > 20_000);
    let plan = plan.expect("there are many");
    let shrunk = shrunk(&plan, &|plan| plan.params.device && plan.params.latency_max_us > 10_000);
    let latency = shrunk.plan.params.latency_max_us;
    assert!(latency > 10_000 && latency < 10_500, "{latency}");
    assert_eq!(shrunk.plan.params.latency_min_us, latency, "a latency that matters is constant");
    let usual = Params {
        device: true,
        latency_min_us: latency,
        latency_max_us: latency,
        end_ms: shrunk.plan.params.end_ms,
        ..Params::default()
    };
    assert_eq!(shrunk.plan.params, usual);
}

/// Numbers that are names stay what they are, and texts become the plain ones.
#[test]
fn a_close_code_is_no_quantity() {
    let close = Action::Gateway {
        gateway: 1,
        order: GatewayAction::Close { code: 4_001, reason: "gateway auth changed".to_owned() },
    };
    let request =
        Action::App(AppAction::Request { consumer: 2, method: "no.such.method".to_owned(), timeout_ms: 777 });
    let steps = [(10, close), (20, request)].map(|(at_ms, action)| Step::at(at_ms, action));
    let plan = Plan { steps: steps.to_vec(), ..Plan::new(9) };
    let shrunk = shrunk(&plan, &|plan| plan.steps.len() == 2);
    let close =
        Action::Gateway { gateway: 0, order: GatewayAction::Close { code: 4_001, reason: String::new() } };
    let request = Action::App(AppAction::Request { consumer: 0, method: "health".to_owned(), timeout_ms: 0 });
    assert_eq!(shrunk.plan.steps.iter().map(|step| &step.action).collect::<Vec<_>>(), [&close, &request]);
}

#[test]
fn a_limit_or_a_stop_gives_the_best_so_far() {
    let plan = generate::plan(3);
    let mut breaks = |plan: &Plan| (!plan.steps.is_empty()).then_some(0);
    let limits = Limits { runs: 3, ..LIMITS };
    let few = shrink::shrink(&plan, limits, &mut breaks, &|| false);
    assert_eq!((few.end, few.runs), (End::OutOfRuns, 3));
    assert!(!few.plan.steps.is_empty() && few.plan.steps.len() < plan.steps.len());
    let asked = Cell::new(0);
    let stopped = shrink::shrink(&plan, LIMITS, &mut breaks, &|| asked.replace(asked.get() + 1) == 5);
    assert_eq!(stopped.end, End::Stopped);
    let none = Limits { time: Duration::ZERO, ..LIMITS };
    let late = shrink::shrink(&plan, none, &mut breaks, &|| false);
    assert_eq!((late.end, late.runs, late.plan.steps.len()), (End::OutOfTime, 0, plan.steps.len()));
}
