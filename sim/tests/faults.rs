//! Steps follow their milestones, and faults do what they say, on every tier where they can.

use std::time::Duration;

use onesocket::core::Instant;
use onesocket_sim::judge::recorder::Finished;
use onesocket_sim::plan::Tier;
use onesocket_sim::plan::{Fault, Plan};
use onesocket_sim::search::explore::run_judged;
use onesocket_sim::search::generate;
use onesocket_sim::trace::{Event, FailureKind, GatewayEvent, Outcome, Record, StatusKind};

fn plan(steps: &str) -> Plan {
    let head = "version = 1\nseed = 5\n[params]\ntick_ms = 1000\nstage_ms = 1000\nbackoff_cap_ms = 2000\n\
                retry_after_max_ms = 1000\ncalm_ms = 20000\nend_ms = 45000\n\
                [[steps]]\nat_ms = 100\ndo = \"subscribe\"\nconsumer = 0\n";
    Plan::parse(&format!("{head}{steps}")).unwrap_or_else(|error| panic!("{error}"))
}

fn run(tier: Tier, plan: &Plan) -> Finished {
    let finished = run_judged(tier, plan);
    if let Some(violation) = &finished.violation {
        let records: String = finished.records.iter().map(|record| format!("{record}\n")).collect();
        panic!("{records}{violation} on {}", tier.name());
    }
    finished
}

/// When the first record of its kind was taken.
fn when(finished: &Finished, kind: impl Fn(&Event) -> bool) -> Option<Instant> {
    finished.records.iter().find(|record| kind(&record.event)).map(|record| record.at)
}

fn count(finished: &Finished, kind: impl Fn(&Event) -> bool) -> usize {
    finished.records.iter().filter(|record| kind(&record.event)).count()
}

fn is_ready(what: &Event) -> bool {
    *what == Event::Status(StatusKind::Ready)
}

fn is_hello(what: &Event) -> bool {
    matches!(what, Event::Gateway { event: GatewayEvent::Hello { .. }, .. })
}

#[test]
fn a_step_follows_its_milestone_on_every_tier() {
    let plan = plan(
        "[[steps]]\nafter = \"hello 1 of 0\"\nplus_ms = 2000\ndo = \"terminate\"\ngateway = 0\n\
         [[steps]]\nafter = \"hello 2\"\ndo = \"close\"\ngateway = 0\ncode = 1012\nreason = \"\"\n\
         [[steps]]\nafter = \"hello 3\"\nplus_ms = 60000\ndo = \"wake\"\n\
         [[steps]]\nafter = \"hello 1 of 1\"\ndo = \"wake\"\n",
    );
    for tier in Tier::ALL {
        let finished = run(tier, &plan);
        let hello = when(&finished, is_hello).expect("a hello");
        let struck = when(&finished, |what| matches!(what, Event::Fault { fault: Fault::Terminate, .. }));
        let later = struck.expect("the step was carried out").since(hello);
        // The async tiers count whole milliseconds, and turmoil's hosts run tick by tick.
        let late = later.checked_sub(Duration::from_secs(2)).expect("not too early");
        assert!(late <= Duration::from_millis(10), "{}: {late:?} late", tier.name());
        assert_eq!(count(&finished, is_hello), 3, "{}", tier.name());
        assert_eq!(count(&finished, |what| *what == Event::Skipped { step: 4 }), 1, "{}", tier.name());
        assert_eq!(count(&finished, |what| *what == Event::Woken), 0, "{}", tier.name());
    }
}

/// What shows that a fault has struck.
type Sign = fn(&Finished) -> bool;

fn reconnects(finished: &Finished) -> bool {
    count(finished, is_ready) == 2
}

/// An attempt fails that would have succeeded.
fn dials_again(finished: &Finished) -> bool {
    count(finished, |what| matches!(what, Event::Dialed { .. })) > count(finished, is_hello)
}

fn a_request_times_out(finished: &Finished) -> bool {
    count(finished, |what| {
        matches!(
            what,
            Event::RequestSettled { outcome: Outcome::Failed { kind: FailureKind::TimedOut, .. }, .. }
        )
    }) == 1
}

fn a_socket_closes_for_all_its_grace(finished: &Finished) -> bool {
    let closing = when(finished, |what| *what == Event::Status(StatusKind::Closing)).expect("it closes");
    let released = when(finished, |what| matches!(what, Event::Released { .. })).expect("it lets go");
    released.since(closing) >= Duration::from_millis(500)
}

fn a_socket_closes_late(finished: &Finished) -> bool {
    let closing = when(finished, |what| *what == Event::Status(StatusKind::Closing)).expect("it closes");
    let released = when(finished, |what| matches!(what, Event::Released { .. })).expect("it lets go");
    (Duration::from_millis(200)..Duration::from_millis(300)).contains(&released.since(closing))
}

/// Each class of faults of links and processes, a step, and what shows that it struck.
const SIGNS: [(Fault, &str, Sign); 17] = [
    (Fault::Partition, "do = \"partition\"\nfor_ms = 500", reconnects),
    (Fault::LoseToGateway, "do = \"lose\"\ndirection = \"to_gateway\"\nfor_ms = 5000", a_request_times_out),
    (Fault::LoseToClient, "do = \"lose\"\ndirection = \"to_client\"\nfor_ms = 3000", reconnects),
    (Fault::HalfOpen, "do = \"half-open\"", reconnects),
    (Fault::Blip, "do = \"blip\"\nfor_ms = 1500", a_request_times_out),
    (Fault::StallToGateway, "do = \"stall\"\ndirection = \"to_gateway\"\nfor_ms = 1500", a_request_times_out),
    (Fault::StallToClient, "do = \"stall\"\ndirection = \"to_client\"\nfor_ms = 1500", a_request_times_out),
    (Fault::Delay, "do = \"delay\"\nby_ms = 400\nfor_ms = 1500", a_request_times_out),
    (
        Fault::Bufferbloat,
        "do = \"bufferbloat\"\nper_ms = 1\nup_to_ms = 400\nfor_ms = 1500",
        an_answer_is_slow,
    ),
    (Fault::Reset, "do = \"reset\"", reconnects),
    (Fault::RefuseDials, "do = \"refuse-dials\"\nfor_ms = 4000", dials_again),
    (Fault::IgnoreDials, "do = \"ignore-dials\"\nfor_ms = 4000", dials_again),
    (Fault::IgnoreUpgrades, "do = \"ignore-upgrades\"\nfor_ms = 4000", dials_again),
    (Fault::IgnoreCloses, "do = \"ignore-closes\"\nfor_ms = 4000", a_socket_closes_for_all_its_grace),
    (Fault::LateCloses, "do = \"late-closes\"\nby_ms = 200\nfor_ms = 4000", a_socket_closes_late),
    (Fault::Bytes, "do = \"bytes\"\nper_ms = 1\nfor_ms = 1500", an_answer_is_slow),
    (Fault::Suspend, "do = \"suspend\"\nfor_ms = 1500", a_request_is_made_late),
];

fn an_answer_is_slow(finished: &Finished) -> bool {
    let settled = when(finished, |what| matches!(what, Event::RequestSettled { .. })).expect("it ends");
    settled.since(Instant::from_millis(5_000)) >= Duration::from_millis(50)
}

/// A request of a process that does not run is made when it does again.
fn a_request_is_made_late(finished: &Finished) -> bool {
    let made = when(finished, |what| matches!(what, Event::RequestMade { .. })).expect("it is made");
    made.since(Instant::from_millis(6_200)) <= Duration::from_millis(10)
        && made >= Instant::from_millis(6_200)
}

/// A fault, and what the app or a gateway does then that shows it.
fn plan_of(fault: Fault, step: &str) -> Plan {
    let gateway = if fault == Fault::Suspend { "" } else { "gateway = 0\n" };
    let then = match fault {
        Fault::RefuseDials | Fault::IgnoreDials | Fault::IgnoreUpgrades => "do = \"terminate\"\ngateway = 0",
        Fault::IgnoreCloses | Fault::LateCloses => "do = \"configure\"\ngateway = 1\ntoken = \"token-0\"",
        _ => "do = \"request\"\nconsumer = 0\nmethod = \"test.echo\"\ntimeout_ms = 300",
    };
    plan(&format!("[[steps]]\nat_ms = 4700\n{gateway}{step}\n[[steps]]\nat_ms = 5000\n{then}\n"))
}

#[test]
fn the_faults_of_links_and_processes_do_what_they_say_where_they_can() {
    for (fault, step, sign) in SIGNS {
        let plan = plan_of(fault, step);
        assert!(plan.faults().contains(&fault), "{step}");
        for tier in Tier::ALL {
            let finished = run(tier, &plan);
            let is_seen =
                count(&finished, |what| matches!(what, Event::Fault { fault: event, .. } if *event == fault));
            assert_eq!(is_seen, usize::from(fault.applies_to(tier)), "{} on {}", fault.name(), tier.name());
            assert_eq!(plan.check_for(tier).is_ok(), fault.applies_to(tier), "{}", fault.name());
            if fault.applies_to(tier) {
                let records =
                    || finished.records.iter().map(Record::to_string).collect::<Vec<_>>().join("\n");
                assert!(sign(&finished), "{} on {}\n{}", fault.name(), tier.name(), records());
            }
        }
    }
}

/// The buffer is empty when the link has been idle, and full behind a burst; it is never longer than it is.
#[test]
fn what_waits_in_a_deep_buffer_waits_for_what_came_before() {
    let fault = "[[steps]]\nat_ms = 4000\ndo = \"bufferbloat\"\ngateway = 0\nper_ms = 20\nup_to_ms = 700\nfor_ms = 9000\n";
    let request = "do = \"request\"\nconsumer = 0\nmethod = \"test.echo\"\ntimeout_ms = 5000\n";
    let before = format!("[[steps]]\nat_ms = 5000\n{request}");
    let burst = format!("[[steps]]\nat_ms = 6000\ntimes = 60\n{request}");
    let later = format!("[[steps]]\nat_ms = 12000\n{request}");
    let plan = plan(&format!("{fault}{before}{burst}{later}"));
    for tier in [Tier::Machine, Tier::Stream] {
        let finished = run(tier, &plan);
        let took = |request| {
            let made = when(
                &finished,
                |what| matches!(what, Event::RequestMade { request: made, .. } if *made == request),
            );
            let settled = when(
                &finished,
                |what| matches!(what, Event::RequestSettled { request: settled, .. } if *settled == request),
            );
            settled.expect("it ends").since(made.expect("it is made"))
        };
        let (idle, busy) = (took(1).max(took(62)), took(61));
        assert!(idle < Duration::from_millis(150), "{}: {idle:?} with an empty buffer", tier.name());
        assert!(took(31) > idle * 2 && busy > took(31), "{}: {busy:?} behind a burst", tier.name());
        assert!(busy < Duration::from_millis(1_600), "{}: {busy:?} behind a burst", tier.name());
    }
}

#[test]
fn a_laptop_that_sleeps_for_an_hour_has_one_connection_when_it_wakes() {
    let text = plan("").to_text().replace("end_ms = 45000", "end_ms = 3700000");
    let text = text.replace("calm_ms = 20000", "calm_ms = 3600000");
    let step = "\n[[steps]]\nat_ms = 5000\ndo = \"suspend\"\nfor_ms = 3600000\n";
    let plan = Plan::parse(&format!("{text}{step}")).unwrap_or_else(|error| panic!("{error}"));
    // Turmoil would take a minute for the hour.
    for tier in [Tier::Machine, Tier::Stream] {
        let finished = run(tier, &plan);
        let asleep = |record: &&Record| {
            (Instant::from_millis(5_001)..Instant::from_millis(3_604_999)).contains(&record.at)
        };
        let by_client = |record: &&Record| !matches!(record.event, Event::Gateway { .. });
        let while_asleep = finished.records.iter().filter(asleep).filter(by_client).count();
        assert_eq!(while_asleep, 0, "{}: the client acts in its sleep", tier.name());
        assert_eq!(count(&finished, is_ready), 2, "{}", tier.name());
    }
}

#[test]
fn what_lasts_is_reported_as_over() {
    for seed in 0..300 {
        for step in &generate::plan(seed).steps {
            if let Some(fault) = step.action.fault() {
                assert_eq!(fault.lasts(), step.action.lasts_ms().is_some(), "{}", fault.name());
            }
        }
    }
}

/// A class that the generator never draws would be missed in vain.
#[test]
fn the_generator_draws_every_class() {
    let mut drawn = std::collections::BTreeSet::new();
    for seed in 0..3_000 {
        drawn.extend(generate::plan(seed).faults());
    }
    let missing: Vec<&str> =
        Fault::ALL.iter().filter(|fault| !drawn.contains(fault)).map(|fault| fault.name()).collect();
    assert!(missing.is_empty(), "never drawn: {}", missing.join(", "));
}
