//! The gateways of this tier, and what arrives at them.

use onesocket::core::{Epoch, WireText};

use super::link::{ToClient, ToGateway};
use super::queue::Due;
use super::{Machine, epoch_of, socket_of};
use crate::pipe::{Dials, Direction};
use crate::trace::probe::{gateway_event, probe_of};
use crate::trace::{Event, GatewayEvent};
use onesocket_gateway::host::CloseAnswer;
use onesocket_gateway::{self as gateway, ConnectionId, Peer};

impl Machine<'_> {
    pub(super) fn arrive_at_gateway(&mut self, epoch: Epoch) {
        if self.network.stops(epoch, Direction::ToGateway) {
            return;
        }
        let Some((gateway, parcel)) = self.network.take_at_gateway(epoch) else { return };
        let connection = ConnectionId(socket_of(epoch));
        let index = usize::from(gateway);
        match parcel {
            ToGateway::Dial => self.dial_arrives(epoch, index),
            ToGateway::Text(text) => {
                if let Some(request) = probe_of(&text) {
                    let event = GatewayEvent::Request { connection: connection.0, request };
                    self.record(Event::Gateway { gateway, event });
                }
                let message = gateway::Message::Text(text);
                self.step_gateway(index, gateway::Input::Received { connection, message });
            }
            // The websocket layer of a gateway answers, whatever else the gateway does.
            ToGateway::Ping => self.send_to_client(epoch, ToClient::Pong),
            ToGateway::Pong => self.step_gateway(index, gateway::Input::Pong { connection }),
            ToGateway::Close => match self.network.close_answer(gateway) {
                CloseAnswer::Prompt => self.answer_close(epoch),
                CloseAnswer::Late(by) => {
                    self.queue.push(self.now + by, self.ties.any(), Due::AnswerClose(epoch));
                }
                CloseAnswer::Never => {}
            },
            ToGateway::Eof => self.step_gateway(index, gateway::Input::Disconnected { connection }),
        }
    }

    /// The gateway's end of the close handshake that the client began.
    pub(super) fn answer_close(&mut self, epoch: Epoch) {
        let Some(gateway) = self.network.gateway_of(epoch) else { return };
        self.send_to_client(epoch, ToClient::Close { code: 1000, reason: String::new() });
        let connection = ConnectionId(socket_of(epoch));
        self.step_gateway(usize::from(gateway), gateway::Input::Disconnected { connection });
    }

    fn dial_arrives(&mut self, epoch: Epoch, index: usize) {
        match self.network.dials(u8::try_from(index).expect("there are few gateways")) {
            Dials::Answered => {}
            Dials::Refused => return self.send_to_client(epoch, ToClient::Refused),
            Dials::Ignored => return,
        }
        match self.gateways[index].admission() {
            gateway::Admission::Open => {
                self.send_to_client(epoch, ToClient::Opened);
                let connection = ConnectionId(socket_of(epoch));
                let peer = Peer::LOCAL;
                self.step_gateway(index, gateway::Input::Accepted { connection, peer });
            }
            gateway::Admission::Refused => self.send_to_client(epoch, ToClient::Refused),
            gateway::Admission::Unavailable(body) => self.send_to_client(epoch, ToClient::Unavailable(body)),
        }
    }

    pub(super) fn step_gateway(&mut self, index: usize, input: gateway::Input) {
        let mut effects = std::mem::take(&mut self.gateway_effects);
        self.gateways[index].step(self.now.elapsed(), input, &mut effects);
        for effect in effects.drain(..) {
            self.apply_gateway_effect(index, effect);
        }
        self.gateway_effects = effects;
    }

    fn apply_gateway_effect(&mut self, index: usize, effect: gateway::Effect) {
        let gateway = u8::try_from(index).expect("there are few gateways");
        (self.tap)(gateway, &effect);
        match effect {
            gateway::Effect::Send { connection, text } => {
                self.send_to_client(epoch_of(connection), ToClient::Text(WireText(text)));
            }
            gateway::Effect::SendBinary { connection, data } => {
                // The driver takes for text what can be text.
                let parcel = match std::str::from_utf8(&data) {
                    Ok(text) => ToClient::Text(WireText::from(text)),
                    Err(_) => ToClient::Noise,
                };
                self.send_to_client(epoch_of(connection), parcel);
            }
            gateway::Effect::Ping { connection } => self.send_to_client(epoch_of(connection), ToClient::Ping),
            gateway::Effect::Close { connection, code, reason } => {
                let reason = reason.into_owned();
                self.send_to_client(epoch_of(connection), ToClient::Close { code, reason });
            }
            gateway::Effect::Terminate { connection } => {
                self.send_to_client(epoch_of(connection), ToClient::Reset);
            }
            gateway::Effect::ModelEvent(note) => {
                if let Some(event) = gateway_event(&note) {
                    self.record(Event::Gateway { gateway, event });
                }
            }
        }
    }
}
