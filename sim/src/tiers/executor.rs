//! Carries out a plan in the [`World`] of a tier: its steps in their order, those that follow milestones, the process
//! that sleeps meanwhile, and the beginnings and ends of faults. The same on every tier.

use std::time::Duration;

use onesocket::core::Instant;

use crate::plan::{Action, Actor, AppAction, GATEWAYS, LinkFault, Plan, ProcessFault, When};
use crate::tiers::link_state::LinkState;
use crate::trace::Event;
use onesocket_gateway::Order;

/// What a tier can do, whose time and network are its own. What it cannot do, its plans do not have:
/// [`Plan::for_tier`] sees to that.
pub(crate) trait World {
    fn now(&self) -> Instant;
    fn record(&mut self, event: Event);
    /// Whether an invariant is broken.
    fn is_broken(&self) -> bool;
    /// A step of the plan, by its index, whose milestone was reached, and when that was.
    fn take_reached(&mut self) -> Option<(usize, Instant)>;
    /// Has `event` come at a time, among what else comes then.
    fn schedule(&mut self, at: Instant, event: PlanEvent);
    /// Has a step come at a time, before what else comes then, and after the steps that were scheduled so before.
    fn schedule_in_order(&mut self, at: Instant, step: usize);
    /// Lets everything happen until the plan has its turn, or until `end`.
    async fn next(&mut self, end: Instant) -> Turn;
    /// The app takes a step.
    fn act(&mut self, action: &AppAction);
    /// The app shuts the client down.
    fn shut_down(&mut self);
    /// A gateway is given an order.
    fn order(&mut self, gateway: u8, order: Order);
    /// The path to a gateway, and the gateway's way with sockets, are like this from now on.
    fn set_link_state(&mut self, gateway: u8, link_state: &LinkState);
    /// The connections that exist die without a word.
    fn half_open(&mut self, gateway: u8);
    /// The connections that exist are reset.
    fn reset(&mut self, gateway: u8);
    /// The process of the client sleeps until then, or longer if it was to sleep longer.
    fn suspend(&mut self, until: Instant);
    /// Until when it sleeps, if it does.
    fn suspended_until(&self) -> Option<Instant>;
    /// What the client still holds.
    fn remaining(&self) -> Event;
}

/// Something of the plan that comes at a time: the step with this index, or the end of the fault that it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlanEvent {
    Step(usize),
    Heal(usize),
}

/// Why the plan has its turn.
pub(crate) enum Turn {
    /// This is due.
    Due(PlanEvent),
    /// A milestone was reached.
    Reached,
    /// The time is over, or an invariant is broken.
    Over,
}

/// Carries out `plan` from beginning to end.
pub(crate) async fn run<W: World>(plan: &Plan, world: W) -> W {
    let link_states = vec![LinkState::default(); usize::from(GATEWAYS)];
    let mut executor = Executor { plan, world, link_states };
    executor.run().await;
    executor.world
}

struct Executor<'p, W> {
    plan: &'p Plan,
    world: W,
    link_states: Vec<LinkState>,
}

impl<W: World> Executor<'_, W> {
    async fn run(&mut self) {
        for (index, step) in self.plan.steps.iter().enumerate() {
            if let When::At { at_ms } = step.when {
                self.world.schedule_in_order(Instant::from_millis(at_ms), index);
            }
        }
        let end = Instant::from_millis(self.plan.params.end_ms);
        self.run_until(end).await;
        if self.world.is_broken() {
            return;
        }
        self.world.shut_down();
        let grace = Duration::from_millis(self.plan.params.close_grace_ms + 1_000);
        self.run_until(self.world.now().max(end) + grace).await;
        if !self.world.is_broken() {
            let remaining = self.world.remaining();
            self.world.record(remaining);
        }
    }

    async fn run_until(&mut self, end: Instant) {
        while !self.world.is_broken() {
            match self.world.next(end).await {
                Turn::Due(PlanEvent::Step(index)) => self.begin(index),
                Turn::Due(PlanEvent::Heal(index)) => self.heal(index),
                Turn::Reached => self.schedule_reached(),
                Turn::Over => return,
            }
        }
    }

    /// Steps whose milestone was reached have a time from now on.
    fn schedule_reached(&mut self) {
        while let Some((index, reached)) = self.world.take_reached() {
            let When::After { plus_ms, .. } = self.plan.steps[index].when else { continue };
            let at = reached + Duration::from_millis(plus_ms);
            if self.plan.params.calm_ms.is_some_and(|calm_ms| at > Instant::from_millis(calm_ms)) {
                let step = u32::try_from(index + 1).unwrap_or(u32::MAX);
                self.world.record(Event::Skipped { step });
            } else {
                self.world.schedule(at, PlanEvent::Step(index));
            }
        }
    }

    fn begin(&mut self, index: usize) {
        let action = &self.plan.steps[index].action;
        if action.actor() == Actor::App
            && let Some(awake) = self.world.suspended_until()
        {
            return self.world.schedule_in_order(awake, index);
        }
        if let Some(fault) = action.fault() {
            let gateway = action.gateway().unwrap_or_default();
            self.world.record(Event::Fault { fault, gateway });
        }
        if let Some(lasts_ms) = action.lasts_ms() {
            let over = self.world.now() + Duration::from_millis(lasts_ms);
            self.world.schedule(over, PlanEvent::Heal(index));
        }
        match action {
            Action::App(action) => self.world.act(action),
            Action::Gateway { gateway, order } => self.world.order(*gateway, order.order()),
            Action::Link { gateway, fault } => self.inject(*gateway, fault),
            Action::Process(ProcessFault::Suspend { for_ms }) => {
                self.world.suspend(self.world.now() + Duration::from_millis(*for_ms));
            }
        }
    }

    /// A fault of the path begins.
    fn inject(&mut self, gateway: u8, fault: &LinkFault) {
        let link_state = &mut self.link_states[usize::from(gateway)];
        link_state.begin(fault);
        if let LinkFault::HalfOpen {} = fault {
            self.world.half_open(gateway);
        }
        if let LinkFault::Reset {} = fault {
            self.world.reset(gateway);
        }
        self.world.set_link_state(gateway, link_state);
    }

    /// What the step began is over.
    fn heal(&mut self, index: usize) {
        let action = &self.plan.steps[index].action;
        let gateway = action.gateway().unwrap_or_default();
        if let Action::Link { fault, .. } = action {
            let link_state = &mut self.link_states[usize::from(gateway)];
            link_state.end(fault);
            self.world.set_link_state(gateway, link_state);
        }
        if let Some(fault) = action.fault() {
            self.world.record(Event::Healed { fault, gateway });
        }
    }
}
