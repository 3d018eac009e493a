//! Carries out a plan with a client, on whatever network and runtime the tier brings.

use std::collections::BTreeMap;
use std::time::Duration;

use onesocket::network::Network;
use tokio::time::{Instant, sleep_until};

use crate::app::{App, first_target};
use crate::book::Book;
use crate::host::Host;
use crate::machine::gateway_order;
use crate::plan::{Action, Fault, Plan};
use crate::subject::{Setup, Subject};
use crate::tasks::Tasks;
use crate::trace::What;

/// What a tier can do to the path between the client and a gateway.
pub(crate) trait Links: Clone + Send + 'static {
    /// Everything vanishes.
    fn partition(&self, gateway: u8);
    /// New connections work again.
    fn heal(&self, gateway: u8);
    /// Nothing arrives.
    fn hold(&self, gateway: u8);
    /// What was held arrives.
    fn release(&self, gateway: u8);
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
    /// Faults of a kind that add up: a link is healed when the last of them is over.
    lasting: BTreeMap<(Fault, u8), u32>,
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
    let client = C::start(Setup::new(plan, first_target(plan), &book), network);
    begin(&client);
    let app = App::new(plan, book.clone(), tasks.clone(), client);
    let mut director = Director { app, book, links, tasks, hosts, started, lasting: BTreeMap::new() };
    director.play(plan).await;
}

/// Something the director does: a step of the plan, or the end of a fault.
enum Cue<'p> {
    Act(&'p Action),
    Heal(Fault, u8),
}

impl<C: Subject, L: Links> Director<C, L> {
    async fn play(&mut self, plan: &Plan) {
        for (at_ms, cue) in cues(plan) {
            sleep_until(self.started + Duration::from_millis(at_ms)).await;
            if self.book.is_broken() {
                return;
            }
            match cue {
                Cue::Act(action) => self.act(action).await,
                Cue::Heal(fault, gateway) => self.heal(fault, gateway),
            }
        }
        sleep_until(self.started + Duration::from_millis(plan.params.end_ms)).await;
        self.app.shut_down(None).await;
        let grace = Duration::from_millis(plan.params.close_grace_ms + 1_000);
        sleep_until(Instant::now() + grace).await;
        let few = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let remaining = What::Remaining {
            sockets: self.links.held(),
            // A timer of a client belongs to one of its tasks.
            timers: few(self.tasks.of_others()),
            requests: few(self.app.client().pending()),
        };
        self.book.record(remaining);
    }

    async fn act(&mut self, action: &Action) {
        if let Some(fault) = action.fault() {
            let gateway = action.gateway().unwrap_or_default();
            self.book.record(What::Fault { fault, gateway });
            if fault.lasts() {
                *self.lasting.entry((fault, gateway)).or_default() += 1;
            }
        }
        match action {
            Action::Connect {} => self.app.connect(),
            Action::Request { consumer, method, timeout_ms } => {
                self.app.request(*consumer, method, *timeout_ms, None);
            }
            Action::AbandonRequest { consumer, method, timeout_ms, polls } => {
                self.app.request(*consumer, method, *timeout_ms, Some(*polls));
            }
            Action::DropRequest { consumer } => self.app.drop_request(*consumer),
            Action::Subscribe { consumer } => self.app.subscribe(*consumer),
            Action::Unsubscribe { consumer } => self.app.unsubscribe(*consumer),
            Action::Behave { consumer, manner } => self.app.behave(*consumer, manner),
            Action::Configure { gateway, token } => self.app.configure(*gateway, token, None).await,
            Action::AbandonConfigure { gateway, token, polls } => {
                self.app.configure(*gateway, token, Some(*polls)).await;
            }
            Action::Wake {} => self.app.wake(),
            Action::Resume {} => self.app.resume(),
            Action::Shutdown {} => self.app.shut_down(None).await,
            Action::AbandonShutdown { polls } => self.app.shut_down(Some(*polls)).await,
            Action::Emit { .. }
            | Action::Restart { .. }
            | Action::ChangeToken { .. }
            | Action::Close { .. }
            | Action::DropEvent { .. } => {
                if let Some((gateway, order)) = gateway_order(action) {
                    self.hosts[usize::from(gateway)].order(order);
                }
            }
            Action::Partition { gateway, .. } => self.links.partition(*gateway),
            Action::Blip { gateway, .. } => self.links.hold(*gateway),
        }
    }

    fn heal(&mut self, fault: Fault, gateway: u8) {
        let left = self.lasting.entry((fault, gateway)).or_default();
        *left -= 1;
        match (fault, *left) {
            (Fault::Partition, 0) => self.links.heal(gateway),
            (Fault::Blip, 0) => self.links.release(gateway),
            (
                Fault::Partition
                | Fault::Blip
                | Fault::Restart
                | Fault::Crash
                | Fault::TokenChange
                | Fault::Close
                | Fault::DropEvent,
                _,
            ) => {}
        }
        self.book.record(What::Healed { fault, gateway });
    }
}

/// Steps and the ends of faults, in order of time; at the same time, steps first.
fn cues(plan: &Plan) -> Vec<(u64, Cue<'_>)> {
    let mut cues: Vec<(u64, Cue<'_>)> = Vec::with_capacity(plan.steps.len() * 2);
    for step in &plan.steps {
        cues.push((step.at_ms, Cue::Act(&step.action)));
    }
    for step in &plan.steps {
        if let Some(fault) = step.action.fault().filter(|fault| fault.lasts()) {
            let gateway = step.action.gateway().unwrap_or_default();
            cues.push((step.at_ms + step.action.lasts_ms(), Cue::Heal(fault, gateway)));
        }
    }
    cues.sort_by_key(|(at_ms, _)| *at_ms);
    cues
}
