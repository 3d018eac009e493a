//! What the executor and the app can do on this tier.

use std::sync::Arc;
use std::time::Duration;

use onesocket::core::{Command, Input, Instant, Snapshot};

use super::link::{ToClient, ToGateway};
use super::queue::Due;
use super::{EVENTS_MAX, Machine};
use crate::pipe::Direction;
use crate::plan::{AppAction, Plan};
use crate::tiers::app::on_core::{self, CoreApp, CoreHost};
use crate::tiers::executor::{PlanEvent, Turn, World};
use crate::tiers::link_state::LinkState;
use crate::trace::Event;
use onesocket_gateway as gateway;

impl World for Machine<'_> {
    fn now(&self) -> Instant {
        self.now
    }

    fn record(&mut self, event: Event) {
        Machine::record(self, event);
    }

    fn is_broken(&self) -> bool {
        self.recorder.is_broken()
    }

    fn take_reached(&mut self) -> Option<(usize, Instant)> {
        self.recorder.take_reached()
    }

    fn schedule(&mut self, at: Instant, event: PlanEvent) {
        self.queue.push(at, self.ties.any(), Due::Plan(event));
    }

    fn schedule_in_order(&mut self, at: Instant, step: usize) {
        self.queue.push(at, 0, Due::Plan(PlanEvent::Step(step)));
    }

    /// Waits for nothing: time is a number.
    async fn next(&mut self, end: Instant) -> Turn {
        loop {
            if self.recorder.is_broken() {
                return Turn::Over;
            }
            if std::mem::take(&mut self.has_reached) {
                return Turn::Reached;
            }
            if let Some(turn) = self.run_next(end) {
                return turn;
            }
            assert!(self.events < EVENTS_MAX, "more than {EVENTS_MAX} events: something spins");
        }
    }

    fn act(&mut self, action: &AppAction) {
        on_core::act(self, action);
    }

    fn shut_down(&mut self) {
        on_core::shut_down(self);
    }

    fn order(&mut self, gateway: u8, order: gateway::Order) {
        self.step_gateway(usize::from(gateway), gateway::Input::Order(order));
    }

    fn set_link_state(&mut self, gateway: u8, link_state: &LinkState) {
        for (epoch, direction) in self.network.set_link_state(gateway, link_state) {
            let due = match direction {
                Direction::ToGateway => Due::ArriveAtGateway(epoch),
                Direction::ToClient => Due::ArriveAtClient(epoch),
            };
            self.queue.push(self.now, self.ties.any(), due);
        }
    }

    fn half_open(&mut self, gateway: u8) {
        for direction in Direction::BOTH {
            self.network.lose(gateway, direction);
        }
    }

    fn reset(&mut self, gateway: u8) {
        for epoch in self.network.sockets_of(gateway) {
            self.send_to_gateway(epoch, ToGateway::Eof);
            self.send_to_client(epoch, ToClient::Reset);
        }
    }

    fn suspend(&mut self, until: Instant) {
        self.suspended_until = self.suspended_until.max(until);
    }

    fn suspended_until(&self) -> Option<Instant> {
        Some(self.suspended_until).filter(|until| self.now < *until)
    }

    fn remaining(&self) -> Event {
        Event::Remaining {
            sockets: self.network.held(),
            timers: u32::from(self.core.next_deadline().is_some()),
            requests: u32::try_from(self.core.pending()).unwrap_or(u32::MAX),
            subscriptions: u32::try_from(self.core.subscriptions()).unwrap_or(u32::MAX),
        }
    }
}

impl CoreHost for Machine<'_> {
    fn app(&mut self) -> &mut CoreApp {
        &mut self.app
    }

    fn plan(&self) -> &Plan {
        self.plan
    }

    fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.core.snapshot().cloned()
    }

    fn record(&mut self, event: Event) {
        Machine::record(self, event);
    }

    fn command(&mut self, command: Command) {
        self.step_core(Input::Command(command));
    }

    fn read_later(&mut self, subscription: u32, after: Duration) {
        self.queue.push(self.now + after, self.ties.any(), Due::Read(subscription));
    }
}
