//! The world of an async tier: any client on a tokio runtime, gateways behind byte streams, and the network that the
//! tier brings.

use onesocket::core::Instant;
use onesocket::network::Network;
use tokio::time::sleep_until;

use crate::base::tasks::Tasks;
use crate::judge::shared_recorder::SharedRecorder;
use crate::plan::{AppAction, Plan};
use crate::subject::suspension::Suspension;
use crate::subject::{Setup, Subject};
use crate::tiers::app::on_subject::{SubjectApp, first_target};
use crate::tiers::executor::{self, PlanEvent, Turn, World};
use crate::tiers::link_state::LinkState;
use crate::tiers::schedule::Schedule;
use crate::trace::Event;
use onesocket_gateway::Order;
use onesocket_gateway::host::{Host, SocketPolicy};

/// What a tier can do to the path between the client and a gateway.
pub(crate) trait Links: Clone + Send + 'static {
    /// The path is like this from now on.
    fn set_link_state(&self, gateway: u8, link_state: &LinkState);
    /// The connections that exist die without a word.
    fn half_open(&self, gateway: u8);
    /// The connections that exist are reset.
    fn reset(&self, gateway: u8);
    /// Sockets that the client holds.
    fn held(&self) -> u32;
}

/// Where a run takes place.
pub(crate) struct Stage<L, N> {
    pub(crate) recorder: SharedRecorder,
    pub(crate) links: L,
    pub(crate) hosts: Vec<Host>,
    pub(crate) network: N,
    /// The tasks of the harness on the runtime of the client.
    pub(crate) tasks: Tasks,
}

/// Runs `plan` from beginning to end, on the current runtime. When there is a client, `begin` sees it first.
pub(crate) async fn run<C: Subject, L: Links, N: Network>(
    plan: &Plan,
    stage: Stage<L, N>,
    begin: impl FnOnce(&C),
) {
    let Stage { recorder, links, hosts, network, tasks } = stage;
    let started = tokio::time::Instant::now();
    let suspension = Suspension::default();
    let client = C::start(Setup::new(plan, first_target(plan), &recorder, &suspension), network);
    begin(&client);
    let app = SubjectApp::new(plan, recorder.clone(), tasks.clone(), suspension.clone(), client);
    let schedule = Schedule::default();
    let runtime = Runtime { app, recorder, links, tasks, hosts, started, schedule, suspension };
    executor::run(plan, runtime).await;
}

struct Runtime<C, L> {
    app: SubjectApp<C>,
    recorder: SharedRecorder,
    links: L,
    tasks: Tasks,
    hosts: Vec<Host>,
    started: tokio::time::Instant,
    schedule: Schedule,
    /// Whether the client's process runs.
    suspension: Suspension,
}

impl<C, L> Runtime<C, L> {
    fn clock_at(&self, at: Instant) -> tokio::time::Instant {
        self.started + at.elapsed()
    }

    fn at_clock(&self, clock: tokio::time::Instant) -> Instant {
        Instant::from(clock.duration_since(self.started))
    }
}

impl<C: Subject, L: Links> World for Runtime<C, L> {
    fn now(&self) -> Instant {
        self.at_clock(tokio::time::Instant::now())
    }

    fn record(&mut self, event: Event) {
        self.recorder.record(event);
    }

    fn is_broken(&self) -> bool {
        self.recorder.is_broken()
    }

    fn take_reached(&mut self) -> Option<(usize, Instant)> {
        self.recorder.take_reached()
    }

    fn schedule(&mut self, at: Instant, event: PlanEvent) {
        self.schedule.add(at, event);
    }

    fn schedule_in_order(&mut self, at: Instant, step: usize) {
        self.schedule.add(at, PlanEvent::Step(step));
    }

    async fn next(&mut self, end: Instant) -> Turn {
        let next = self.schedule.next_time().map_or(end, |at| at.min(end));
        tokio::select! {
            biased;
            () = self.recorder.reached() => return Turn::Reached,
            () = sleep_until(self.clock_at(next)) => {}
        }
        match self.schedule.take_due(self.now()) {
            Some(event) => Turn::Due(event),
            None => Turn::Over,
        }
    }

    fn act(&mut self, action: &AppAction) {
        self.app.act(action);
    }

    fn shut_down(&mut self) {
        self.app.shut_down();
    }

    fn order(&mut self, gateway: u8, order: Order) {
        self.hosts[usize::from(gateway)].order(order);
    }

    fn set_link_state(&mut self, gateway: u8, link_state: &LinkState) {
        self.hosts[usize::from(gateway)].set_socket_policy(SocketPolicy {
            ignores_upgrades: link_state.ignores_upgrades(),
            close_answer: link_state.close_answer(),
        });
        self.links.set_link_state(gateway, link_state);
    }

    fn half_open(&mut self, gateway: u8) {
        self.links.half_open(gateway);
    }

    fn reset(&mut self, gateway: u8) {
        self.links.reset(gateway);
    }

    fn suspend(&mut self, until: Instant) {
        self.suspension.sleep_until(self.clock_at(until));
    }

    fn suspended_until(&self) -> Option<Instant> {
        self.suspension.until().map(|until| self.at_clock(until))
    }

    fn remaining(&self) -> Event {
        let few = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Event::Remaining {
            sockets: self.links.held(),
            // A timer of a client belongs to one of its tasks.
            timers: few(self.tasks.of_others()),
            requests: few(self.app.client().pending()),
            subscriptions: few(self.app.client().subscriptions()),
        }
    }
}
