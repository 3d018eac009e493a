//! Carries out a plan with a client, on whatever network and runtime the tier brings.

use std::time::Duration;

use onesocket::network::Network;
use tokio::time::{Instant, sleep_until};

use crate::base::tasks::Tasks;
use crate::judge::shared_recorder::Book;
use crate::plan::consumer::Ask;
use crate::plan::environment::ConfigRef;
use crate::plan::{Action, Actor, GATEWAYS, Plan, When};
use crate::subject::suspension::Nap;
use crate::subject::{Setup, Subject};
use crate::tiers::app::{App, first_target};
use crate::tiers::link_state::Path;
use crate::tiers::schedule::{Agenda, Cue};
use crate::trace::What;
use onesocket_gateway::host::{Host, SocketPolicy};

/// What a tier can do to the path between the client and a gateway. What it cannot do, it leaves undone:
/// [`Fault::applies_to`](crate::plan::Fault::applies_to) says what that is.
pub(crate) trait Links: Clone + Send + 'static {
    /// The path is like this from now on.
    fn set_path(&self, gateway: u8, path: &Path);
    /// The connections that exist die without a word.
    fn half_open(&self, gateway: u8);
    /// The connections that exist are reset.
    fn reset(&self, gateway: u8);
    /// Sockets that the client holds.
    fn held(&self) -> u32;
}

/// Whoever has the app act, and steers the gateways and the links.
pub(crate) struct Director<C, L> {
    app: App<C>,
    book: Book,
    links: L,
    tasks: Tasks,
    hosts: Vec<Host>,
    started: Instant,
    plan: Plan,
    paths: Vec<Path>,
    agenda: Agenda,
    /// Whether the client's process runs.
    nap: Nap,
}

/// Where a run takes place.
pub(crate) struct Stage<L, N> {
    pub(crate) book: Book,
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
    let Stage { book, links, hosts, network, tasks } = stage;
    let started = Instant::now();
    let nap = Nap::default();
    let client = C::start(Setup::new(plan, first_target(plan), &book, &nap), network);
    begin(&client);
    let app = App::new(plan, book.clone(), tasks.clone(), nap.clone(), client);
    let mut director = Director {
        app,
        book,
        links,
        tasks,
        hosts,
        started,
        plan: plan.clone(),
        paths: vec![Path::default(); usize::from(GATEWAYS)],
        agenda: Agenda::new(plan),
        nap,
    };
    director.play(plan).await;
}

impl<C: Subject, L: Links> Director<C, L> {
    async fn play(&mut self, plan: &Plan) {
        let end = self.started + Duration::from_millis(plan.params.end_ms);
        loop {
            self.plan_reached();
            let next = self.agenda.next_time().map_or(end, |at| (self.started + at).min(end));
            tokio::select! {
                biased;
                () = self.book.reached() => continue,
                () = sleep_until(next) => {}
            }
            if self.book.is_broken() {
                return;
            }
            match self.agenda.take_due(self.started.elapsed()) {
                Some(Cue::Act(index)) => self.act(index, &plan.steps[index].action).await,
                Some(Cue::Heal(index)) => self.heal(&plan.steps[index].action),
                None if Instant::now() >= end => break,
                None => {}
            }
        }
        self.app.shut_down(None).await;
        let grace = Duration::from_millis(plan.params.close_grace_ms + 1_000);
        sleep_until(Instant::now() + grace).await;
        let few = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let remaining = What::Remaining {
            sockets: self.links.held(),
            // A timer of a client belongs to one of its tasks.
            timers: few(self.tasks.of_others()),
            requests: few(self.app.client().pending()),
            subscriptions: few(self.app.client().subscriptions()),
        };
        self.book.record(remaining);
    }

    /// Steps whose milestone was reached have a time from now on.
    fn plan_reached(&mut self) {
        while let Some((index, reached)) = self.book.take_reached() {
            let When::After { plus_ms, .. } = self.plan.steps[index].when else { continue };
            let at = reached.elapsed() + Duration::from_millis(plus_ms);
            if self.plan.params.calm_ms.is_some_and(|calm_ms| at > Duration::from_millis(calm_ms)) {
                let step = u32::try_from(index + 1).unwrap_or(u32::MAX);
                self.book.record(What::Skipped { step });
            } else {
                self.agenda.add(at, Cue::Act(index));
            }
        }
    }

    async fn act(&mut self, index: usize, action: &Action) {
        if action.actor() == Actor::App
            && let Some(awake) = self.nap.until()
        {
            self.agenda.add(awake.duration_since(self.started), Cue::Act(index));
            return;
        }
        if let Some(fault) = action.fault() {
            let gateway = action.gateway().unwrap_or_default();
            self.book.record(What::Fault { fault, gateway });
        }
        if let Some(lasts_ms) = action.lasts_ms() {
            self.agenda.add(self.started.elapsed() + Duration::from_millis(lasts_ms), Cue::Heal(index));
        }
        self.carry_out(action).await;
    }

    async fn carry_out(&mut self, action: &Action) {
        match action {
            Action::Connect {} => self.app.connect(),
            Action::Request { .. }
            | Action::BoundRequest { .. }
            | Action::UnboundedRequest { .. }
            | Action::RunAgent { .. } => {
                if let Some((consumer, ask)) = action.ask() {
                    self.app.request(consumer, &ask, None);
                }
            }
            Action::AbandonRequest { consumer, method, timeout_ms, polls } => {
                self.app.request(*consumer, &Ask::new(method, *timeout_ms), Some(*polls));
            }
            Action::DropRequest { consumer } => self.app.drop_request(*consumer),
            Action::Subscribe { .. } | Action::SubscribeWith { .. } => {
                if let Some((consumer, terms)) = action.terms() {
                    self.app.subscribe(consumer, terms);
                }
            }
            Action::Unsubscribe { consumer } => self.app.unsubscribe(*consumer),
            Action::Behave { consumer, manner } => self.app.behave(*consumer, manner),
            Action::Configure { gateway, token } => {
                self.app.configure(ConfigRef::shared(*gateway, token), None).await
            }
            Action::ConfigureBootstrap { gateway, token } => {
                self.app.configure(ConfigRef::bootstrap(*gateway, token), None).await;
            }
            Action::AbandonConfigure { gateway, token, polls } => {
                self.app.configure(ConfigRef::shared(*gateway, token), Some(*polls)).await;
            }
            Action::Unconfigure {} => self.app.unconfigure().await,
            Action::Wake {} => self.app.wake(),
            Action::Resume {} => self.app.resume(),
            Action::Shutdown {} => self.app.shut_down(None).await,
            Action::AbandonShutdown { polls } => self.app.shut_down(Some(*polls)).await,
            Action::Emit { .. }
            | Action::Restart { .. }
            | Action::Stop { .. }
            | Action::Start { .. }
            | Action::ChangeToken { .. }
            | Action::Close { .. }
            | Action::Terminate { .. }
            | Action::DropEvent { .. }
            | Action::ApprovePairing { .. }
            | Action::RejectPairing { .. }
            | Action::RotateTokens { .. }
            | Action::RevokeDevices { .. }
            | Action::Misbehave { .. } => {
                if let Some((gateway, order)) = action.order() {
                    self.hosts[usize::from(gateway)].order(order);
                }
            }
            Action::Partition { .. }
            | Action::Lose { .. }
            | Action::HalfOpen { .. }
            | Action::Blip { .. }
            | Action::Stall { .. }
            | Action::Delay { .. }
            | Action::Reset { .. }
            | Action::RefuseDials { .. }
            | Action::IgnoreDials { .. }
            | Action::IgnoreUpgrades { .. }
            | Action::IgnoreCloses { .. }
            | Action::LateCloses { .. }
            | Action::Bytes { .. } => self.strike(action),
            Action::Suspend { for_ms } => {
                self.nap.sleep_until(Instant::now() + Duration::from_millis(*for_ms));
            }
        }
    }

    /// A fault of the path begins.
    fn strike(&mut self, action: &Action) {
        let gateway = action.gateway().expect("a path leads to a gateway");
        self.paths[usize::from(gateway)].begin(action);
        if let Action::HalfOpen { .. } = action {
            self.links.half_open(gateway);
        }
        if let Action::Reset { .. } = action {
            self.links.reset(gateway);
        }
        self.set_path(gateway);
    }

    fn heal(&mut self, action: &Action) {
        let gateway = action.gateway().unwrap_or_default();
        if action.actor() == Actor::Link {
            self.paths[usize::from(gateway)].end(action);
            self.set_path(gateway);
        }
        if let Some(fault) = action.fault() {
            self.book.record(What::Healed { fault, gateway });
        }
    }

    fn set_path(&mut self, gateway: u8) {
        let path = &self.paths[usize::from(gateway)];
        self.hosts[usize::from(gateway)].set_socket_policy(SocketPolicy {
            ignores_upgrades: path.ignores_upgrades(),
            close_answer: path.close_answer(),
        });
        self.links.set_path(gateway, path);
    }
}
