//! What the gateways of an async tier do, as records.

use std::time::Duration;

use onesocket_gateway::host::Observer;
use onesocket_gateway::{ConnectionId, Message, ModelEvent};

use crate::judge::shared_recorder::SharedRecorder;
use crate::trace::probe::{gateway_event, probe_of};
use crate::trace::{Event, GatewayEvent};

/// Writes down what a gateway does.
pub(super) struct GatewayObserver {
    recorder: SharedRecorder,
    gateway: u8,
}

impl GatewayObserver {
    pub(super) fn new(recorder: SharedRecorder, gateway: u8) -> Self {
        Self { recorder, gateway }
    }
}

impl Observer for GatewayObserver {
    fn note(&mut self, _now: Duration, note: &ModelEvent) {
        if let Some(event) = gateway_event(note) {
            self.recorder.record(Event::Gateway { gateway: self.gateway, event });
        }
    }

    fn sent(&mut self, _now: Duration, _connection: ConnectionId, _text: &str) {
        self.recorder.count_event();
    }

    fn received(&mut self, _now: Duration, connection: ConnectionId, message: &Message) {
        self.recorder.count_event();
        if let Message::Text(text) = message
            && let Some(request) = probe_of(text)
        {
            let event = GatewayEvent::Request { connection: connection.0, request };
            self.recorder.record(Event::Gateway { gateway: self.gateway, event });
        }
    }
}
