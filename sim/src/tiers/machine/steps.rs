//! What the steps of a plan do on this tier.

use std::time::Duration;

use onesocket::core::Command;

use super::Machine;
use super::link::{ToClient, ToGateway};
use super::queue::Due;
use crate::pipe::Direction;
use crate::plan::consumer::RequestSpec;
use crate::plan::environment::ConfigRef;
use crate::plan::{Action, Actor};
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
            Action::Connect {} => {
                self.record(Event::Wanted);
                self.command(Command::Connect);
            }
            Action::Request { .. }
            | Action::BoundRequest { .. }
            | Action::UnboundedRequest { .. }
            | Action::RunAgent { .. } => {
                if let Some((consumer, spec)) = action.request_spec() {
                    self.request(consumer, &spec);
                }
            }
            Action::AbandonRequest { consumer, method, timeout_ms, polls } => {
                self.abandon_request(*consumer, &RequestSpec::new(method, *timeout_ms), *polls);
            }
            Action::DropRequest { consumer } => self.drop_request(*consumer),
            Action::Behave { consumer, behavior } => self.behave(*consumer, behavior),
            Action::Subscribe { .. } | Action::SubscribeWith { .. } => {
                if let Some((consumer, spec)) = action.subscribe_spec() {
                    self.subscribe(consumer, spec);
                }
            }
            Action::Unsubscribe { consumer } => self.unsubscribe(*consumer),
            // A future that was polled has given its order, which is all there is of it here.
            Action::Configure { gateway, token } | Action::AbandonConfigure { gateway, token, .. } => {
                self.configure(ConfigRef::shared(*gateway, token));
            }
            Action::ConfigureBootstrap { gateway, token } => {
                self.configure(ConfigRef::bootstrap(*gateway, token))
            }
            Action::Unconfigure {} => self.unconfigure(),
            Action::Wake {} => {
                self.record(Event::Woken);
                self.command(Command::Wake);
            }
            Action::Resume {} => {
                self.record(Event::Resumed);
                self.command(Command::Resume);
            }
            Action::Shutdown {} | Action::AbandonShutdown { .. } => self.shut_down(),
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
                    self.step_gateway(usize::from(gateway), gateway::Input::Order(order));
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
            | Action::Bytes { .. } => self.inject(action),
            Action::Suspend { for_ms } => {
                let until = self.now + Duration::from_millis(*for_ms);
                self.suspended_until = self.suspended_until.max(until);
            }
        }
    }

    /// A fault of the path begins.
    fn inject(&mut self, action: &Action) {
        let gateway = action.gateway().expect("a path leads to a gateway");
        self.network.begin(gateway, action);
        if let Action::HalfOpen { .. } = action {
            for direction in Direction::BOTH {
                self.network.lose(gateway, direction);
            }
        }
        if let Action::Reset { .. } = action {
            for epoch in self.network.sockets_of(gateway) {
                self.send_to_gateway(epoch, ToGateway::Eof);
                self.send_to_client(epoch, ToClient::Reset);
            }
        }
    }

    pub(super) fn heal(&mut self, index: usize) {
        let action = &self.plan.steps[index].action;
        let gateway = action.gateway().unwrap_or_default();
        if action.actor() == Actor::Link {
            let mut due = Vec::new();
            self.network.end(gateway, action, &mut due);
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
