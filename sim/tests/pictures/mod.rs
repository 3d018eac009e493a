//! Runs to draw: short, long, broken, and full of strings that a page must not believe.

use std::sync::Arc;

use onesocket::core::Instant;
use onesocket_sim::judge::recorder::{Finished, Recorder};
use onesocket_sim::plan::Tier;
use onesocket_sim::plan::consumer::Lag;
use onesocket_sim::plan::environment::ConfigRef;
use onesocket_sim::plan::{Action, AppAction, Plan, Step, When};
use onesocket_sim::report::picture::{self, Run};
use onesocket_sim::search::generate;
use onesocket_sim::trace::{Event, GatewayEvent, Item, StatusKind};

/// A plan, what came of it, and its page.
pub(crate) struct Drawn {
    pub(crate) name: &'static str,
    pub(crate) finished: Finished,
    pub(crate) page: String,
}

impl Drawn {
    fn new(name: &'static str, plan: &Plan, finished: Finished) -> Self {
        let page = picture::of_run(Run { name, tier: Tier::Machine, plan, finished: &finished });
        Self { name, finished, page }
    }
}

/// About twenty records: one consumer connects, asks, listens and leaves.
pub(crate) fn short() -> Drawn {
    let plan = Plan::parse(
        r#"
        version = 1
        seed = 3

        [params]
        end_ms = 4000

        [[steps]]
        at_ms = 100
        do = "subscribe"
        consumer = 0

        [[steps]]
        at_ms = 300
        do = "request"
        consumer = 0
        method = "test.echo"
        timeout_ms = 1000

        [[steps]]
        at_ms = 500
        do = "emit"
        gateway = 0
        event = "chat"

        [[steps]]
        at_ms = 2500
        do = "shutdown"
        "#,
    )
    .expect("the plan is valid");
    let finished = Tier::Machine.run(&plan);
    Drawn::new("scenarios/short.toml", &plan, finished)
}

/// More than two thousand records: the same minute four times.
pub(crate) fn long() -> Drawn {
    let mut plan = generate::plan(11);
    let steps: Vec<(u64, Action)> = plan
        .steps
        .iter()
        .filter(|step| step.action != Action::App(AppAction::Shutdown {}))
        .filter_map(|step| match step.when {
            When::At { at_ms } => Some((at_ms, step.action.clone())),
            When::After { .. } => None,
        })
        .collect();
    let length = plan.params.end_ms;
    plan.params.end_ms = length * 4;
    plan.steps.clear();
    for round in 0..4 {
        let again = |(at_ms, action): &(u64, Action)| Step {
            when: When::At { at_ms: at_ms + round * length },
            action: action.clone(),
        };
        plan.steps.extend(steps.iter().map(again));
    }
    let finished = Tier::Machine.run(&plan);
    Drawn::new("long.toml", &plan, finished)
}

/// What a page must show and not obey.
pub(crate) const HOSTILE: &str =
    "</script><script>window.obeyed = 1</script><img src=x onerror=obeyed=1>\"'&<!--]]>";

/// A client that dials a second time while it holds a socket, in a plan whose strings are markup.
pub(crate) fn broken() -> Drawn {
    let mut plan = Plan::parse("version = 1\nseed = 1\n[params]\n").expect("the plan is valid");
    plan.steps.push(Step {
        when: When::At { at_ms: 50 },
        action: Action::App(AppAction::Configure { gateway: 0, token: HOSTILE.to_owned() }),
    });
    let mut recorder = Recorder::new(&plan);
    let token: Arc<str> = HOSTILE.into();
    let connection = 1;
    let told = [
        (50, Event::Configured { config: ConfigRef::shared(0, HOSTILE), changed: true }),
        (60, Event::Subscribed { consumer: 0, subscription: 1, lag: Lag::DropOldest }),
        (60, Event::Status(StatusKind::Connecting)),
        (60, Event::Dialed { socket: 1, gateway: 0 }),
        (61, Event::Gateway { gateway: 0, event: GatewayEvent::Accepted { connection } }),
        (62, Event::Status(StatusKind::Handshaking)),
        (
            63,
            Event::Gateway {
                gateway: 0,
                event: GatewayEvent::Connect {
                    connection,
                    token: Some(token),
                    device_token: None,
                    bootstrap_token: None,
                },
            },
        ),
        (
            64,
            Event::Gateway {
                gateway: 0,
                event: GatewayEvent::Hello { connection, issued: None, handed_over: None },
            },
        ),
        (65, Event::Status(StatusKind::Ready)),
        (65, Event::Pushed { subscription: 1, item: Item::Snapshot { epoch: 1 } }),
        (70, Event::Gateway { gateway: 0, event: GatewayEvent::EventSent { connection, seq: 1 } }),
        (71, Event::Pushed { subscription: 1, item: Item::Event { epoch: 1, seq: Some(1) } }),
        (9_000, Event::Dialed { socket: 2, gateway: 0 }),
        (9_002, Event::Gateway { gateway: 0, event: GatewayEvent::Accepted { connection: 2 } }),
    ];
    for (at_ms, what) in told {
        recorder.record(Instant::from_millis(at_ms), what);
    }
    Drawn::new("broken.toml", &plan, recorder.finish())
}
