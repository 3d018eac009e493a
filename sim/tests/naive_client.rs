//! The harness judges any client: a naive one breaks what it must break, and onesocket nothing under the same plans.

#[path = "../examples/naive_client/client.rs"]
mod client;

use client::{NaiveClient, habits};
use onesocket::Client;
use onesocket_sim::judge::logs::Keep;
use onesocket_sim::judge::recorder::Finished;
use onesocket_sim::plan::Plan;
use onesocket_sim::search::explore::judged;
use onesocket_sim::tiers::{stream, turmoil};

#[test]
fn every_habit_of_the_naive_client_breaks_its_invariant_and_onesocket_has_none() {
    type Run = fn(&Plan) -> Finished;
    let tiers: [(&str, Run, Run); 2] = [
        ("stream", stream::run_with::<NaiveClient>, stream::run_with::<Client>),
        ("turmoil", turmoil::run_with::<NaiveClient>, turmoil::run_with::<Client>),
    ];
    for (tier, naive, onesocket) in tiers {
        for (invariants, habit, plan) in habits() {
            plan.check().expect("the plan makes sense");
            let finished = judged(Keep::Errors, || naive(&plan));
            let broken = finished.violation.map(|violation| violation.invariant);
            let is_right = broken.is_some_and(|broken| invariants.contains(&broken));
            assert!(is_right, "on {tier}, a client that {habit} breaks {broken:?}");
            let finished = judged(Keep::Everything, || onesocket(&plan));
            assert_eq!(finished.violation, None, "on {tier}, onesocket where a client {habit}");
        }
    }
}

#[test]
fn a_replay_of_the_naive_client_is_the_same_run() {
    for (_, _, plan) in habits() {
        let [one, other] = [(); 2].map(|()| judged(Keep::Errors, || stream::run_with::<NaiveClient>(&plan)));
        assert_eq!(one.digest, other.digest);
    }
}
