//! Carries out a plan with a client, on whatever network and runtime the tier brings.

use std::time::Duration;

use onesocket::network::Network;
use tokio::time::{Instant, sleep_until};

use crate::base::tasks::Tasks;
use crate::judge::shared_recorder::SharedRecorder;
use crate::plan::{Action, Actor, GATEWAYS, LinkFault, Plan, ProcessFault, When};
use crate::subject::suspension::Suspension;
use crate::subject::{Setup, Subject};
use crate::tiers::app::on_subject::{SubjectApp, first_target};
use crate::tiers::link_state::LinkState;
use crate::tiers::schedule::{Schedule, ScheduledEvent};
use crate::trace::Event;
use onesocket_gateway::host::{Host, SocketPolicy};

/// What a tier can do to the path between the client and a gateway. What it cannot do, its plans do not have:
/// [`Plan::for_tier`] sees to that.
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

/// Whoever has the app act, and steers the gateways and the links.
pub(crate) struct Executor<C, L> {
    app: SubjectApp<C>,
    recorder: SharedRecorder,
    links: L,
    tasks: Tasks,
    hosts: Vec<Host>,
    started: Instant,
    plan: Plan,
    link_states: Vec<LinkState>,
    schedule: Schedule,
    /// Whether the client's process runs.
    suspension: Suspension,
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

/// Plays `plan` from beginning to end, on the current runtime. When there is a client, `begin` sees it first.
pub(crate) async fn play<C: Subject, L: Links, N: Network>(
    plan: &Plan,
    stage: Stage<L, N>,
    begin: impl FnOnce(&C),
) {
    let Stage { recorder, links, hosts, network, tasks } = stage;
    let started = Instant::now();
    let suspension = Suspension::default();
    let client = C::start(Setup::new(plan, first_target(plan), &recorder, &suspension), network);
    begin(&client);
    let app = SubjectApp::new(plan, recorder.clone(), tasks.clone(), suspension.clone(), client);
    let mut executor = Executor {
        app,
        recorder,
        links,
        tasks,
        hosts,
        started,
        plan: plan.clone(),
        link_states: vec![LinkState::default(); usize::from(GATEWAYS)],
        schedule: Schedule::new(plan),
        suspension,
    };
    executor.play(plan).await;
}

impl<C: Subject, L: Links> Executor<C, L> {
    async fn play(&mut self, plan: &Plan) {
        let end = self.started + Duration::from_millis(plan.params.end_ms);
        loop {
            self.plan_reached();
            let next = self.schedule.next_time().map_or(end, |at| (self.started + at).min(end));
            tokio::select! {
                biased;
                () = self.recorder.reached() => continue,
                () = sleep_until(next) => {}
            }
            if self.recorder.is_broken() {
                return;
            }
            match self.schedule.take_due(self.started.elapsed()) {
                Some(ScheduledEvent::Act(index)) => self.act(index, &plan.steps[index].action),
                Some(ScheduledEvent::Heal(index)) => self.heal(&plan.steps[index].action),
                None if Instant::now() >= end => break,
                None => {}
            }
        }
        self.app.shut_down();
        let grace = Duration::from_millis(plan.params.close_grace_ms + 1_000);
        sleep_until(Instant::now() + grace).await;
        let few = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let remaining = Event::Remaining {
            sockets: self.links.held(),
            // A timer of a client belongs to one of its tasks.
            timers: few(self.tasks.of_others()),
            requests: few(self.app.client().pending()),
            subscriptions: few(self.app.client().subscriptions()),
        };
        self.recorder.record(remaining);
    }

    /// Steps whose milestone was reached have a time from now on.
    fn plan_reached(&mut self) {
        while let Some((index, reached)) = self.recorder.take_reached() {
            let When::After { plus_ms, .. } = self.plan.steps[index].when else { continue };
            let at = reached.elapsed() + Duration::from_millis(plus_ms);
            if self.plan.params.calm_ms.is_some_and(|calm_ms| at > Duration::from_millis(calm_ms)) {
                let step = u32::try_from(index + 1).unwrap_or(u32::MAX);
                self.recorder.record(Event::Skipped { step });
            } else {
                self.schedule.add(at, ScheduledEvent::Act(index));
            }
        }
    }

    fn act(&mut self, index: usize, action: &Action) {
        if action.actor() == Actor::App
            && let Some(awake) = self.suspension.until()
        {
            self.schedule.add(awake.duration_since(self.started), ScheduledEvent::Act(index));
            return;
        }
        if let Some(fault) = action.fault() {
            let gateway = action.gateway().unwrap_or_default();
            self.recorder.record(Event::Fault { fault, gateway });
        }
        if let Some(lasts_ms) = action.lasts_ms() {
            self.schedule
                .add(self.started.elapsed() + Duration::from_millis(lasts_ms), ScheduledEvent::Heal(index));
        }
        self.apply(action);
    }

    fn apply(&mut self, action: &Action) {
        match action {
            Action::App(action) => self.app.act(action),
            Action::Gateway { gateway, order } => self.hosts[usize::from(*gateway)].order(order.order()),
            Action::Link { gateway, fault } => self.inject(*gateway, fault),
            Action::Process(ProcessFault::Suspend { for_ms }) => {
                self.suspension.sleep_until(Instant::now() + Duration::from_millis(*for_ms));
            }
        }
    }

    /// A fault of the path begins.
    fn inject(&mut self, gateway: u8, fault: &LinkFault) {
        self.link_states[usize::from(gateway)].begin(fault);
        if let LinkFault::HalfOpen {} = fault {
            self.links.half_open(gateway);
        }
        if let LinkFault::Reset {} = fault {
            self.links.reset(gateway);
        }
        self.set_link_state(gateway);
    }

    fn heal(&mut self, action: &Action) {
        let gateway = action.gateway().unwrap_or_default();
        if let Action::Link { fault, .. } = action {
            self.link_states[usize::from(gateway)].end(fault);
            self.set_link_state(gateway);
        }
        if let Some(fault) = action.fault() {
            self.recorder.record(Event::Healed { fault, gateway });
        }
    }

    fn set_link_state(&mut self, gateway: u8) {
        let link_state = &self.link_states[usize::from(gateway)];
        self.hosts[usize::from(gateway)].set_socket_policy(SocketPolicy {
            ignores_upgrades: link_state.ignores_upgrades(),
            close_answer: link_state.close_answer(),
        });
        self.links.set_link_state(gateway, link_state);
    }
}
