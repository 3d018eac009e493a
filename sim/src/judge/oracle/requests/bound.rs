//! Requests that are bound to one connection.

use std::collections::BTreeMap;

use onesocket::core::{Delivery, Instant};

use crate::judge::oracle::suspension::LATE;
use crate::trace::{Event, FailureKind, GatewayEvent, Item, Outcome, Record, StatusKind};

/// A request that is bound to a connection arrives over no other, and is refused only when that connection is not the
/// ready one, and then as not sent.
#[derive(Default)]
pub(super) struct Bound {
    /// Records so far: what comes first at one moment matters.
    records: u64,
    /// When each connection was accepted, and when a snapshot of each epoch was first read, in records.
    accepted: BTreeMap<(u8, u32), u64>,
    read: BTreeMap<u64, u64>,
    /// The epoch of each request that is bound to one.
    requests: BTreeMap<u32, u64>,
    ready: Option<Instant>,
    newest: Option<(Instant, u64)>,
    /// The ready connection, when it is known for sure which that is.
    current: Option<u64>,
    /// A request that was refused although its connection seems to be the ready one.
    doubt: Option<(Instant, u32)>,
}

impl Bound {
    pub(super) fn settled(&mut self, request: u32, outcome: Outcome, at: Instant) -> Result<(), String> {
        let bound_to = self.requests.remove(&request);
        let Outcome::Failed { kind: FailureKind::OtherConnection, delivery } = outcome else { return Ok(()) };
        let Some(epoch) = bound_to else {
            return Err(format!("request {request} is refused for its connection, and is bound to none"));
        };
        if delivery != Delivery::NotSent {
            return Err(format!("request {request} is refused for its connection as {delivery:?}"));
        }
        if self.current == Some(epoch) {
            self.doubt.get_or_insert((at, request));
        }
        Ok(())
    }

    pub(super) fn observe(&mut self, record: &Record) -> Result<(), String> {
        self.records += 1;
        if let Some((at, request)) = self.doubt
            && record.at > at + LATE
        {
            return Err(format!("request {request} was refused at {at}, and its connection was ready"));
        }
        match &record.event {
            Event::RequestMade { request, bound_to: Some(epoch), .. } => {
                self.requests.insert(*request, *epoch);
            }
            Event::RequestDropped { request } => {
                self.requests.remove(request);
            }
            Event::Gateway { gateway, event: GatewayEvent::Accepted { connection } } => {
                self.accepted.insert((*gateway, *connection), self.records);
            }
            Event::Gateway { gateway, event: GatewayEvent::Request { connection, request } } => {
                return self.arrived(*gateway, *connection, *request);
            }
            Event::Pushed { item: Item::Snapshot { epoch }, .. } if !self.read.contains_key(epoch) => {
                self.read.insert(*epoch, self.records);
                self.newest = Some((record.at, *epoch));
                self.know(record.at);
            }
            Event::Status(StatusKind::Ready) => {
                self.forget();
                self.ready = Some(record.at);
                self.know(record.at);
            }
            Event::Status(_)
            | Event::Dialed { .. }
            | Event::Released { .. }
            | Event::Configured { changed: true, .. }
            | Event::Unconfigured { .. }
            | Event::ShutdownCalled
            | Event::Fault { .. } => self.forget(),
            _ => {}
        }
        Ok(())
    }

    fn arrived(&self, gateway: u8, connection: u32, request: u32) -> Result<(), String> {
        let Some(epoch) = self.requests.get(&request) else { return Ok(()) };
        let accepted = self.accepted.get(&(gateway, connection));
        if accepted.is_some_and(|accepted| self.read.get(epoch).is_none_or(|read| accepted > read)) {
            return Err(format!(
                "request {request} is bound to epoch {epoch}, and arrives on the newer connection {connection}"
            ));
        }
        Ok(())
    }

    /// A snapshot that is first read at the moment at which a connection is ready is the one of that connection.
    fn know(&mut self, at: Instant) {
        if let (Some(ready), Some((read, epoch))) = (self.ready, self.newest)
            && ready == at
            && read == at
        {
            self.current = Some(epoch);
        }
    }

    fn forget(&mut self) {
        (self.ready, self.current, self.doubt) = (None, None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::first_broken;
    use super::super::SettlesOnce;
    use super::*;

    fn made(request: u32, bound_to: u64) -> Event {
        let (timeout_ms, bound_to) = (Some(60_000), Some(bound_to));
        Event::RequestMade { consumer: 0, request, timeout_ms, bound_to, key: None, to_the_end: false }
    }

    fn at_gateway(event: GatewayEvent) -> Event {
        Event::Gateway { gateway: 0, event }
    }

    fn snapshot(epoch: u64) -> Event {
        Event::Pushed { subscription: 1, item: Item::Snapshot { epoch } }
    }

    fn refused(request: u32, delivery: Delivery) -> Event {
        let outcome = Outcome::Failed { delivery, kind: FailureKind::OtherConnection };
        Event::RequestSettled { request, outcome }
    }

    /// The beginning is the first connection, all of it at one moment; then one record every 100 ms.
    fn broken(rest: &[Event]) -> Option<usize> {
        let begin = [
            at_gateway(GatewayEvent::Accepted { connection: 1 }),
            Event::Status(StatusKind::Ready),
            snapshot(7),
        ];
        let begin = begin.into_iter().map(|what| (100, what));
        let rest = (2..).map(|number| number * 100).zip(rest.iter().cloned());
        first_broken(&mut SettlesOnce::default(), begin.chain(rest))
    }

    #[test]
    fn a_bound_request_arrives_on_its_own_connection_or_nowhere() {
        let arrives = |connection| at_gateway(GatewayEvent::Request { connection, request: 1 });
        assert_eq!(broken(&[made(1, 7), arrives(1)]), None);
        let next = at_gateway(GatewayEvent::Accepted { connection: 2 });
        assert_eq!(broken(&[made(1, 7), next.clone(), arrives(2)]), Some(5));
        assert_eq!(broken(&[next.clone(), made(1, 7), arrives(2)]), Some(5));
        assert_eq!(broken(&[next, snapshot(8), made(1, 8), arrives(2)]), None);
    }

    #[test]
    fn a_bound_request_is_refused_when_its_connection_is_not_the_ready_one() {
        let refusal = || refused(1, Delivery::NotSent);
        let lost = Event::Status(StatusKind::Backoff);
        assert_eq!(broken(&[lost.clone(), made(1, 7), refusal(), Event::Woken]), None);
        assert_eq!(broken(&[made(1, 7), refusal(), Event::Woken]), Some(5));
        assert_eq!(broken(&[made(1, 7), refused(1, Delivery::Unknown)]), Some(4));
        let (timeout_ms, bound_to) = (None, None);
        let unbound = Event::RequestMade {
            consumer: 0,
            request: 1,
            timeout_ms,
            bound_to,
            key: None,
            to_the_end: false,
        };
        assert_eq!(broken(&[lost, unbound, refusal()]), Some(5));
    }
}
