//! The app is the same on every tier: one plan, and the app decides, asks for and is given the same.

use onesocket_sim::plan::consumer::{ConsumerAction, ConsumerBehavior};
use onesocket_sim::plan::{AppAction, LinkFault, Milestone, Plan, Tier};
use onesocket_sim::search::explore::run_judged;
use onesocket_sim::trace::Event;

fn plan() -> Plan {
    Plan::new(5).with(|params| (params.calm_ms, params.end_ms) = (Some(20_000), 45_000))
}

fn milestone(text: &str) -> Milestone {
    text.parse().expect("a milestone")
}

fn request(consumer: u8) -> AppAction {
    AppAction::Request { consumer, method: "health".to_owned(), timeout_ms: 15_000 }
}

fn abandon(consumer: u8, polls: u32) -> AppAction {
    AppAction::AbandonRequest { consumer, method: "health".to_owned(), timeout_ms: 15_000, polls }
}

fn acts_on_end(consumer: u8, then: ConsumerAction) -> AppAction {
    AppAction::Behave { consumer, behavior: ConsumerBehavior::ActsOnEnd { then } }
}

/// Whether it is of the app itself, and nothing that its consumers read.
fn is_of_app(event: &Event) -> bool {
    match event {
        Event::RequestMade { .. }
        | Event::RequestSettled { .. }
        | Event::RequestDropped { .. }
        | Event::Subscribed { .. }
        | Event::Unsubscribed { .. }
        | Event::Panicked { .. }
        | Event::Behaves { .. }
        | Event::Configured { .. }
        | Event::Unconfigured { .. }
        | Event::Wanted
        | Event::Woken
        | Event::Resumed
        | Event::ShutdownCalled
        | Event::ShutdownReturned => true,
        Event::Pushed { .. }
        | Event::Status(_)
        | Event::Dialed { .. }
        | Event::Released { .. }
        | Event::Gateway { .. }
        | Event::Fault { .. }
        | Event::Skipped { .. }
        | Event::Healed { .. }
        | Event::Remaining { .. } => false,
    }
}

/// What the app did in a run of `plan`, which is the same on every tier.
fn app_of(plan: &Plan) -> Vec<Event> {
    plan.check().unwrap_or_else(|error| panic!("{error}"));
    let [machine, others @ ..] = Tier::ALL.map(|tier| {
        let finished = run_judged(tier, plan);
        if let Some(violation) = &finished.violation {
            panic!("{violation} on {}", tier.name());
        }
        let events: Vec<Event> = finished.records.into_iter().map(|record| record.event).collect();
        (tier, events.into_iter().filter(is_of_app).collect::<Vec<_>>())
    });
    for (tier, events) in &others {
        assert_eq!(*events, machine.1, "on {} and on {}", tier.name(), machine.0.name());
    }
    machine.1
}

/// The place of the first such event.
fn place(events: &[Event], is_it: impl Fn(&Event) -> bool) -> usize {
    events.iter().position(is_it).unwrap_or_else(|| panic!("it is not in {events:#?}"))
}

fn is_settled(event: &Event, number: u32) -> bool {
    matches!(event, Event::RequestSettled { request, .. } if *request == number)
}

#[test]
fn a_request_that_drops_itself_is_dropped_by_nobody_else() {
    let plan = plan()
        .at(0, LinkFault::IgnoreDials { for_ms: 500 }.to(0))
        .at(0, abandon(0, 6))
        .at(0, request(0))
        .at(0, AppAction::DropRequest { consumer: 0 })
        .at(9_000, request(0));
    let events = app_of(&plan);
    let dropped = |number| place(&events, |event| *event == Event::RequestDropped { request: number });
    assert!(dropped(2) < dropped(1), "{events:#?}");
    assert!(place(&events, |event| is_settled(event, 3)) > dropped(1), "{events:#?}");
}

#[test]
fn a_request_that_is_never_polled_leaves_its_consumer_as_it_is() {
    for (polls, acts_after) in [(0, 2), (1, 0)] {
        let plan = plan()
            .at(0, acts_on_end(0, ConsumerAction::Subscribe))
            .at(1_000, abandon(0, polls))
            .at(2_000, request(0));
        let events = app_of(&plan);
        let subscribed = events.iter().position(|event| matches!(event, Event::Subscribed { .. }));
        let settled = place(&events, |event| is_settled(event, 2));
        match acts_after {
            0 => assert_eq!(subscribed, None, "the request that was dropped had its consumer act"),
            _ => assert_eq!(subscribed, Some(settled + 1), "{events:#?}"),
        }
    }
}

#[test]
fn a_request_that_has_settled_is_not_dropped_while_its_consumer_acts() {
    let then = ConsumerAction::Configure { gateway: 1, token: Plan::FIRST_TOKEN.to_owned() };
    let plan = plan().at(0, acts_on_end(0, then)).at(1_000, request(0)).after(
        milestone("settled 1"),
        0,
        AppAction::DropRequest { consumer: 0 },
    );
    let events = app_of(&plan);
    let settled = place(&events, |event| is_settled(event, 1));
    assert!(matches!(events[settled + 1], Event::Configured { changed: true, .. }), "{events:#?}");
    assert!(!events.iter().any(|event| matches!(event, Event::RequestDropped { .. })), "{events:#?}");
}

/// A request is made where it is first polled, which is in the step that makes it.
#[test]
fn what_comes_first_in_a_plan_comes_first_at_the_client() {
    let configure = |gateway| AppAction::Configure { gateway, token: Plan::FIRST_TOKEN.to_owned() };
    let plan = plan()
        .at(0, LinkFault::Blip { for_ms: 500 }.to(0))
        .at(1_000, request(0))
        .at(1_000, configure(1))
        .at(1_001, request(1))
        .at(2_000, AppAction::Unconfigure {})
        .at(2_000, configure(0))
        .at(2_000, request(0));
    let events = app_of(&plan);
    let failed = place(&events, |event| is_settled(event, 1));
    assert!(failed < place(&events, |event| is_settled(event, 2)), "{events:#?}");
    assert!(format!("{:?}", events[failed]).contains("Disconnected"), "{events:#?}");
}

#[test]
fn every_call_of_shutdown_reaches_the_client_and_one_is_recorded() {
    for first in [AppAction::Shutdown {}, AppAction::AbandonShutdown { polls: 1 }] {
        let plan = plan()
            .at(0, AppAction::Subscribe { consumer: 0 })
            .at(3_000, first)
            .at(3_000, AppAction::Shutdown {})
            .at(10_000, AppAction::AbandonShutdown { polls: 2 })
            .at(12_000, request(0));
        let events = app_of(&plan);
        let count = |wanted: &Event| events.iter().filter(|event| *event == wanted).count();
        assert_eq!((count(&Event::ShutdownCalled), count(&Event::ShutdownReturned)), (1, 1));
        let returned = place(&events, |event| *event == Event::ShutdownReturned);
        assert!(place(&events, |event| is_settled(event, 1)) > returned, "{events:#?}");
    }
}

#[test]
fn a_subscription_that_is_refused_is_left_at_once() {
    let most = u32::try_from(plan().params.options().max_subscriptions).expect("a small number");
    let subscribe = |plan: Plan, _| plan.at(0, AppAction::Subscribe { consumer: 0 });
    let plan = (0..most + 2).fold(plan(), subscribe);
    let plan = plan.at(5_000, AppAction::Unsubscribe { consumer: 0 });
    let left = app_of(&plan.at(6_000, AppAction::Subscribe { consumer: 0 }));
    let left = left.into_iter().filter_map(|event| match event {
        Event::Unsubscribed { subscription } => Some(subscription),
        _ => None,
    });
    assert_eq!(left.collect::<Vec<_>>(), [most + 1, most + 2, 1]);
}

/// The oldest subscription of a consumer may be one that has ended, and leaving it leaves the other one alone.
#[test]
fn a_subscription_that_has_ended_is_still_the_oldest() {
    let plan = plan()
        .at(0, AppAction::Subscribe { consumer: 0 })
        .at(3_000, AppAction::Shutdown {})
        .at(6_000, AppAction::Subscribe { consumer: 0 })
        .at(9_000, AppAction::Unsubscribe { consumer: 0 })
        .at(9_000, AppAction::Unsubscribe { consumer: 0 })
        .at(9_000, AppAction::Unsubscribe { consumer: 0 });
    let left = app_of(&plan).into_iter().filter_map(|event| match event {
        Event::Unsubscribed { subscription } => Some(subscription),
        _ => None,
    });
    assert_eq!(left.collect::<Vec<_>>(), [1, 2]);
}

/// What a consumer does in the middle of an item or an answer, on every tier the same.
#[test]
fn consumers_act_the_same_in_the_middle_of_what_they_are_given() {
    let on_item = |item, then| ConsumerBehavior::ActsOnItem { item, then };
    let behaviors = [
        on_item(1, ConsumerAction::Subscribe),
        on_item(1, ConsumerAction::Unsubscribe),
        on_item(2, ConsumerAction::Request { timeout_ms: 5_000 }),
        on_item(1, ConsumerAction::Configure { gateway: 1, token: Plan::FIRST_TOKEN.to_owned() }),
        on_item(1, ConsumerAction::Shutdown),
        ConsumerBehavior::Panics { item: 1 },
        ConsumerBehavior::Slow { every_ms: 700 },
        ConsumerBehavior::Stuck,
    ];
    for behavior in behaviors {
        let plan = plan()
            .at(0, AppAction::Behave { consumer: 0, behavior: behavior.clone() })
            .at(0, AppAction::Subscribe { consumer: 0 })
            .at(4_000, request(0))
            .at(8_000, AppAction::Unsubscribe { consumer: 0 })
            .at(9_000, AppAction::Unsubscribe { consumer: 0 });
        let events = app_of(&plan);
        let is_left = |event: &Event| {
            matches!(event, Event::Unsubscribed { subscription: 1 } | Event::Panicked { subscription: 1 })
        };
        assert_eq!(events.iter().filter(|event| is_left(event)).count(), 1, "{behavior:?}: {events:#?}");
    }
}
