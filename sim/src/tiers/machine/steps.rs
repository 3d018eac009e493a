//! What the steps of a plan do on this tier.

use std::time::Duration;

use onesocket::core::Command;

use super::Machine;
use super::link::{ToClient, ToGateway};
use super::queue::Due;
use crate::pipe::Direction;
use crate::plan::consumer::RequestSpec;
use crate::plan::environment::ConfigRef;
use crate::plan::{Action, Actor, AppAction, LinkFault, ProcessFault};
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
            Action::App(action) => self.act_as_app(action),
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

    fn act_as_app(&mut self, action: &AppAction) {
        match action {
            AppAction::Connect {} => {
                self.record(Event::Wanted);
                self.command(Command::Connect);
            }
            AppAction::Request { .. }
            | AppAction::BoundRequest { .. }
            | AppAction::UnboundedRequest { .. }
            | AppAction::RunAgent { .. } => {
                if let Some((consumer, spec)) = action.request_spec() {
                    self.request(consumer, &spec);
                }
            }
            AppAction::AbandonRequest { consumer, method, timeout_ms, polls } => {
                self.abandon_request(*consumer, &RequestSpec::new(method, *timeout_ms), *polls);
            }
            AppAction::DropRequest { consumer } => self.drop_request(*consumer),
            AppAction::Behave { consumer, behavior } => self.behave(*consumer, behavior),
            AppAction::Subscribe { .. } | AppAction::SubscribeWith { .. } => {
                if let Some((consumer, spec)) = action.subscribe_spec() {
                    self.subscribe(consumer, spec);
                }
            }
            AppAction::Unsubscribe { consumer } => self.unsubscribe(*consumer),
            // A future that was polled has given its order, which is all there is of it here.
            AppAction::Configure { gateway, token } | AppAction::AbandonConfigure { gateway, token, .. } => {
                self.configure(ConfigRef::shared(*gateway, token));
            }
            AppAction::ConfigureBootstrap { gateway, token } => {
                self.configure(ConfigRef::bootstrap(*gateway, token));
            }
            AppAction::Unconfigure {} => self.unconfigure(),
            AppAction::Wake {} => {
                self.record(Event::Woken);
                self.command(Command::Wake);
            }
            AppAction::Resume {} => {
                self.record(Event::Resumed);
                self.command(Command::Resume);
            }
            AppAction::Shutdown {} | AppAction::AbandonShutdown { .. } => self.shut_down(),
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
