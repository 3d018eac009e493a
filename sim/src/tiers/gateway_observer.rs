//! What the gateways of an async tier do, as records.

use std::time::Duration;

use onesocket_gateway::host::Observer;
use onesocket_gateway::{ConnectionId, Message, Note};

use crate::judge::shared_recorder::Book;
use crate::trace::probe::{probe_of, seen};
use crate::trace::{Seen, What};

/// Writes down what a gateway does.
pub(super) struct GatewayObserver {
    book: Book,
    gateway: u8,
}

impl GatewayObserver {
    pub(super) fn new(book: Book, gateway: u8) -> Self {
        Self { book, gateway }
    }
}

impl Observer for GatewayObserver {
    fn note(&mut self, _now: Duration, note: &Note) {
        if let Some(seen) = seen(note) {
            self.book.record(What::Gateway { gateway: self.gateway, seen });
        }
    }

    fn sent(&mut self, _now: Duration, _connection: ConnectionId, _text: &str) {
        self.book.stir();
    }

    fn received(&mut self, _now: Duration, connection: ConnectionId, message: &Message) {
        self.book.stir();
        if let Message::Text(text) = message
            && let Some(request) = probe_of(text)
        {
            let seen = Seen::Request { connection: connection.0, request };
            self.book.record(What::Gateway { gateway: self.gateway, seen });
        }
    }
}
