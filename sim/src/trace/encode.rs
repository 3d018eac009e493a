//! Records as bytes that are the same on every machine.

use onesocket::core::Instant;

use super::{Event, GatewayEvent, Item, Outcome};
use crate::plan::environment::ConfigRef;

/// Writes a record as bytes that are the same on every machine.
pub(super) fn encode(at: Instant, event: &Event, out: &mut Vec<u8>) {
    let mut code = Encoder(out);
    code.number(at.as_micros());
    match event {
        Event::RequestMade { consumer, request, timeout_ms, bound_to, key, to_the_end } => {
            code.tag(0).number(u64::from(*consumer)).number(u64::from(*request));
            code.number(timeout_ms.unwrap_or(u64::MAX)).number(bound_to.unwrap_or(u64::MAX));
            code.number(key.map_or(u64::MAX, u64::from)).tag(u8::from(*to_the_end));
        }
        Event::RequestSettled { request, outcome } => {
            code.tag(1).number(u64::from(*request));
            match outcome {
                Outcome::Answered { own } => code.tag(0).tag(u8::from(*own)),
                Outcome::Failed { delivery, kind } => code.tag(1).tag(*delivery as u8).tag(*kind as u8),
            };
        }
        Event::RequestDropped { request } => {
            code.tag(2).number(u64::from(*request));
        }
        Event::Subscribed { consumer, subscription, lag } => {
            code.tag(3).number(u64::from(*consumer)).number(u64::from(*subscription)).tag(*lag as u8);
        }
        Event::Unsubscribed { subscription } => {
            code.tag(4).number(u64::from(*subscription));
        }
        Event::Pushed { subscription, item } => {
            code.tag(5).number(u64::from(*subscription));
            encode_item(*item, &mut code);
        }
        Event::Status(status) => {
            code.tag(6).tag(*status as u8);
        }
        Event::Configured { config: ConfigRef { gateway, token, kind }, changed } => {
            code.tag(7).tag(*gateway).text(token).tag(*kind as u8).tag(u8::from(*changed));
        }
        Event::Unconfigured { changed } => {
            code.tag(22).tag(u8::from(*changed));
        }
        Event::Wanted => {
            code.tag(8);
        }
        Event::Woken => {
            code.tag(9);
        }
        Event::Resumed => {
            code.tag(10);
        }
        Event::ShutdownCalled => {
            code.tag(11);
        }
        Event::ShutdownReturned => {
            code.tag(12);
        }
        Event::Dialed { socket, gateway } => {
            code.tag(13).number(u64::from(*socket)).tag(*gateway);
        }
        Event::Released { socket, silent } => {
            code.tag(14).number(u64::from(*socket)).number(Instant::from(*silent).as_micros());
        }
        Event::Gateway { gateway, event } => {
            code.tag(15).tag(*gateway);
            encode_seen(event, &mut code);
        }
        Event::Fault { fault, gateway } => {
            code.tag(16).tag(*fault as u8).tag(*gateway);
        }
        Event::Healed { fault, gateway } => {
            code.tag(17).tag(*fault as u8).tag(*gateway);
        }
        Event::Remaining { sockets, timers, requests, subscriptions } => {
            code.tag(18).number(u64::from(*sockets)).number(u64::from(*timers));
            code.number(u64::from(*requests)).number(u64::from(*subscriptions));
        }
        Event::Panicked { subscription } => {
            code.tag(20).number(u64::from(*subscription));
        }
        Event::Behaves { consumer, prompt } => {
            code.tag(21).tag(*consumer).tag(u8::from(*prompt));
        }
        Event::Skipped { step } => {
            code.tag(19).number(u64::from(*step));
        }
    }
}

fn encode_item(item: Item, code: &mut Encoder<'_>) {
    match item {
        Item::Snapshot { epoch } => code.tag(0).number(epoch),
        Item::Event { epoch, seq } => code.tag(1).number(epoch).number(seq.map_or(u64::MAX, |seq| seq)),
        Item::Gap { epoch, expected, received } => {
            code.tag(2).number(epoch).number(expected).number(received)
        }
        Item::Status(status) => code.tag(3).tag(status as u8),
        Item::Lagged { missed } => code.tag(4).number(missed),
        Item::Closed => code.tag(5),
    };
}

fn encode_seen(event: &GatewayEvent, code: &mut Encoder<'_>) {
    match event {
        GatewayEvent::Accepted { connection } => code.tag(0).number(u64::from(*connection)),
        GatewayEvent::Connect { connection, token, device_token, bootstrap_token } => code
            .tag(1)
            .number(u64::from(*connection))
            .text(token.as_deref().unwrap_or_default())
            .text(device_token.as_deref().unwrap_or_default())
            .text(bootstrap_token.as_deref().unwrap_or_default()),
        GatewayEvent::Hello { connection, issued, handed_over } => code
            .tag(2)
            .number(u64::from(*connection))
            .text(issued.as_deref().unwrap_or_default())
            .text(handed_over.as_deref().unwrap_or_default()),
        GatewayEvent::Refused { connection, code: why, retry_after } => {
            code.tag(3).number(u64::from(*connection)).text(why).number(
                retry_after.map_or(u64::MAX, |wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            )
        }
        GatewayEvent::Request { connection, request } => {
            code.tag(4).number(u64::from(*connection)).number(u64::from(*request))
        }
        GatewayEvent::RunStarted { run } => code.tag(13).text(run),
        GatewayEvent::EventSent { connection, seq } => {
            code.tag(5).number(u64::from(*connection)).number(*seq)
        }
        GatewayEvent::EventLost { connection, seq } => {
            code.tag(6).number(u64::from(*connection)).number(*seq)
        }
        GatewayEvent::Closed { connection, code: number } => {
            code.tag(7).number(u64::from(*connection)).number(u64::from(*number))
        }
        GatewayEvent::Dropped { connection } => code.tag(8).number(u64::from(*connection)),
        GatewayEvent::Gone { connection } => code.tag(9).number(u64::from(*connection)),
        GatewayEvent::Booted => code.tag(10),
        GatewayEvent::Down => code.tag(11),
        GatewayEvent::Misbehaved { connection, deviation } => {
            code.tag(12).number(connection.map_or(u64::MAX, u64::from)).tag(*deviation as u8)
        }
    };
}

struct Encoder<'a>(&'a mut Vec<u8>);

impl Encoder<'_> {
    fn tag(&mut self, tag: u8) -> &mut Self {
        self.0.push(tag);
        self
    }

    fn number(&mut self, number: u64) -> &mut Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
        self
    }
}
