//! What the steps of a plan do on this tier.

use std::time::Duration;

use super::Machine;
use super::link::{ToClient, ToGateway};
use super::queue::Due;
use crate::pipe::Direction;
use crate::plan::{Action, Actor, LinkFault, ProcessFault};
use crate::tiers::app::on_core;
use crate::trace::Event;
use onesocket_gateway as gateway;

impl Machine<'_> {
    pub(super) fn act(&mut self, index: usize, action: &Action) {
        if action.actor() == Actor::App && self.now < self.suspended_until {
            self.queue.push(self.suspended_until, 0, Due::Step(index));
            return;
        }
        if let Some(fault) = action.fault() {
            let gateway = action.gateway().unwrap_or_default();
            self.record(Event::Fault { fault, gateway });
        }
        if let Some(lasts_ms) = action.lasts_ms() {
            let over = self.now + Duration::from_millis(lasts_ms);
            self.queue.push(over, self.ties.any(), Due::Heal(index));
        }
        self.carry_out_step(action);
    }

    fn carry_out_step(&mut self, action: &Action) {
        match action {
            Action::App(action) => on_core::act(self, action),
            Action::Gateway { gateway, order } => {
                self.step_gateway(usize::from(*gateway), gateway::Input::Order(order.order()));
            }
            Action::Link { gateway, fault } => self.inject(*gateway, fault),
            Action::Process(ProcessFault::Suspend { for_ms }) => {
                let until = self.now + Duration::from_millis(*for_ms);
                self.suspended_until = self.suspended_until.max(until);
            }
        }
    }

    /// A fault of the path begins.
    fn inject(&mut self, gateway: u8, fault: &LinkFault) {
        self.network.begin(gateway, fault);
        if let LinkFault::HalfOpen {} = fault {
            for direction in Direction::BOTH {
                self.network.lose(gateway, direction);
            }
        }
        if let LinkFault::Reset {} = fault {
            for epoch in self.network.sockets_of(gateway) {
                self.send_to_gateway(epoch, ToGateway::Eof);
                self.send_to_client(epoch, ToClient::Reset);
            }
        }
    }

    pub(super) fn heal(&mut self, index: usize) {
        let action = &self.plan.steps[index].action;
        let gateway = action.gateway().unwrap_or_default();
        if let Action::Link { fault, .. } = action {
            let mut due = Vec::new();
            self.network.end(gateway, fault, &mut due);
            for (epoch, direction) in due {
                let due = match direction {
                    Direction::ToGateway => Due::ArriveAtGateway(epoch),
                    Direction::ToClient => Due::ArriveAtClient(epoch),
                };
                self.queue.push(self.now, self.ties.any(), due);
            }
        }
        if let Some(fault) = action.fault() {
            self.record(Event::Healed { fault, gateway });
        }
    }
}
