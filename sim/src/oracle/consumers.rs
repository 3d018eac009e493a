//! `isolated_consumers`: nobody misses anything because of somebody else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use onesocket::core::Instant;

use super::{Invariant, Oracle};
use crate::plan::{Fault, Plan};
use crate::trace::{Item, Record, Seen, StatusKind, What};

/// Longer than any tick of a clock or a network: what happens within it has no certain order.
const BLUR: Duration = Duration::from_millis(20);

/// Looks at what every subscriber gets.
///
/// - An event that a gateway sends over a healthy connection reaches everybody who reads at once, within the time
///   that messages take. A client that waits for one of its consumers breaks this for the others.
/// - Who reads slowly may lose items and is told how many: what it read, and what it was told that it lost, is what
///   somebody who reads at once got in the same time.
pub(super) struct IsolatedConsumers {
    travel: Duration,
    /// Who does not read at once in the subscriptions it opens from now on.
    slow_consumers: BTreeSet<u8>,
    subscriptions: BTreeMap<u32, Reading>,
    /// The connection that said hello last, while nothing is known against it.
    healthy: Option<(u8, u32)>,
    /// The numbers and times of its events that may be on their way, oldest first.
    under_way: VecDeque<(Instant, u64)>,
    /// Faults that go on.
    lasting: u32,
    /// Whether newcomers get a snapshot at once.
    ready: bool,
}

/// What is known of one subscription.
struct Reading {
    prompt: bool,
    opened: Instant,
    /// Items read, and items it was told that it lost.
    total: u64,
    /// Of others that read at once, the totals they had when this subscription began with a snapshot: from then
    /// on both get the same.
    twins: BTreeMap<u32, u64>,
    /// The number of the latest event of the healthy connection; none before its snapshot.
    seq: Option<u64>,
    /// Got the last item.
    closed: bool,
    /// Dropped by its consumer.
    left: bool,
}

impl IsolatedConsumers {
    pub(super) fn new(plan: &Plan) -> Self {
        let latency = Duration::from_micros(plan.params.latency_max_us.max(1_000));
        Self {
            // Bytes may come in pieces, and a frame may wait for the ticks of a network.
            travel: latency * 4 + BLUR * 5,
            slow_consumers: BTreeSet::new(),
            subscriptions: BTreeMap::new(),
            healthy: None,
            under_way: VecDeque::new(),
            lasting: 0,
            ready: false,
        }
    }

    /// The connection is no measure any more.
    fn trouble(&mut self) {
        self.healthy = None;
        self.under_way.clear();
    }

    fn overdue(&mut self, now: Instant) -> Result<(), String> {
        while let Some((sent, seq)) = self.under_way.front().copied()
            && now > sent + self.travel
        {
            for (number, reading) in &self.subscriptions {
                let waits =
                    reading.prompt && !reading.closed && !reading.left && reading.opened + BLUR < sent;
                if waits && reading.seq.is_none_or(|got| got < seq) {
                    return Err(format!(
                        "subscription {number} is read at once and did not get event {seq}, sent at {sent}"
                    ));
                }
            }
            self.under_way.pop_front();
        }
        Ok(())
    }

    fn opened(&mut self, consumer: u8, subscription: u32, at: Instant) {
        let twins = self.subscriptions.iter().filter(|(_, other)| {
            self.ready && other.prompt && !other.closed && !other.left && other.total > 0
        });
        let reading = Reading {
            prompt: !self.slow_consumers.contains(&consumer),
            opened: at,
            total: 0,
            twins: twins.map(|(number, other)| (*number, other.total)).collect(),
            seq: None,
            closed: false,
            left: false,
        };
        self.subscriptions.insert(subscription, reading);
    }

    fn pushed(&mut self, subscription: u32, item: Item, at: Instant) -> Result<(), String> {
        let Some(reading) = self.subscriptions.get_mut(&subscription) else { return Ok(()) };
        reading.total += match item {
            Item::Lagged { missed } => missed,
            Item::Snapshot { .. }
            | Item::Event { .. }
            | Item::Gap { .. }
            | Item::Status(_)
            | Item::Closed => 1,
        };
        match item {
            Item::Snapshot { .. } => reading.seq = Some(0),
            Item::Event { seq, .. } => reading.seq = reading.seq.max(seq),
            Item::Closed => reading.closed = true,
            Item::Gap { .. } | Item::Status(_) | Item::Lagged { .. } => {}
        }
        // Whether a newcomer got this item too is not certain.
        for newcomer in self.subscriptions.values_mut().filter(|other| at <= other.opened + BLUR) {
            newcomer.twins.remove(&subscription);
        }
        if item == Item::Closed { self.compare(subscription) } else { Ok(()) }
    }

    /// Two that were open together until the end got the same.
    fn compare(&self, subscription: u32) -> Result<(), String> {
        for (number, reading) in self.subscriptions.iter().filter(|(_, reading)| reading.closed) {
            for (twin, before) in &reading.twins {
                let other = &self.subscriptions[twin];
                if (*number != subscription && *twin != subscription) || !other.closed {
                    continue;
                }
                // The newcomer's snapshot is its own.
                let (got, expected) = (reading.total, other.total - before + 1);
                if got != expected {
                    return Err(format!(
                        "subscription {number} got, or was told that it lost, {got} items, where subscription {twin} \
                         shows that there were {expected}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn gateway(&mut self, gateway: u8, seen: &Seen, at: Instant) {
        match seen {
            Seen::Hello { connection, .. } => {
                self.trouble();
                self.healthy = Some((gateway, *connection));
                for reading in self.subscriptions.values_mut() {
                    reading.seq = None;
                }
            }
            Seen::EventSent { connection, seq } => {
                // A hello that is late or spoiled makes no connection; the client says when there is one.
                if self.ready && self.lasting == 0 && self.healthy == Some((gateway, *connection)) {
                    self.under_way.push_back((at, *seq));
                }
            }
            Seen::Closed { connection, .. } | Seen::Dropped { connection } | Seen::Gone { connection } => {
                if self.healthy == Some((gateway, *connection)) {
                    self.trouble();
                }
            }
            Seen::Booted | Seen::Down | Seen::Misbehaved { .. } => self.trouble(),
            Seen::Accepted { .. }
            | Seen::Connect { .. }
            | Seen::Refused { .. }
            | Seen::Request { .. }
            | Seen::EventLost { .. } => {}
        }
    }
}

/// Whether what is sent before and after the fault arrives all the same.
fn is_harmless(fault: Fault) -> bool {
    matches!(fault, Fault::Blip | Fault::TokenChange | Fault::DropEvent)
}

impl Oracle for IsolatedConsumers {
    fn invariant(&self) -> Invariant {
        Invariant::IsolatedConsumers
    }

    fn observe(&mut self, record: &Record) -> Result<(), String> {
        self.overdue(record.at)?;
        match &record.what {
            What::Behaves { consumer, prompt: true } => {
                self.slow_consumers.remove(consumer);
            }
            What::Behaves { consumer, prompt: false } => {
                self.slow_consumers.insert(*consumer);
            }
            What::Subscribed { consumer, subscription } => self.opened(*consumer, *subscription, record.at),
            What::Unsubscribed { subscription } | What::Panicked { subscription } => {
                if let Some(reading) = self.subscriptions.get_mut(subscription) {
                    reading.left = true;
                }
            }
            What::Pushed { subscription, item } => return self.pushed(*subscription, *item, record.at),
            What::Status(status) => self.ready = *status == StatusKind::Ready,
            What::Configured { changed: true, .. }
            | What::Unconfigured { changed: true }
            | What::ShutdownCalled => {
                self.ready = false;
                self.trouble();
            }
            What::Released { .. } => self.trouble(),
            What::Fault { fault, .. } => {
                self.lasting += u32::from(fault.lasts());
                self.under_way.clear();
                if !is_harmless(*fault) {
                    self.trouble();
                }
            }
            What::Healed { .. } => self.lasting -= 1,
            What::Gateway { gateway, seen } => self.gateway(*gateway, seen, record.at),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::first_broken;
    use super::*;

    const PROMPT: u32 = 1;
    const SLOW: u32 = 2;

    /// Two subscribers of a connection, the second of them slow.
    fn begin() -> Vec<(u64, What)> {
        let hello = Seen::Hello { connection: 1, issued: None };
        vec![
            (0, What::Subscribed { consumer: 0, subscription: PROMPT }),
            (100, What::Gateway { gateway: 0, seen: hello }),
            (110, What::Status(StatusKind::Ready)),
            (110, What::Pushed { subscription: PROMPT, item: Item::Snapshot { epoch: 1 } }),
            (200, What::Behaves { consumer: 1, prompt: false }),
            (200, What::Subscribed { consumer: 1, subscription: SLOW }),
        ]
    }

    fn sent(at_ms: u64, seq: u64) -> (u64, What) {
        (at_ms, What::Gateway { gateway: 0, seen: Seen::EventSent { connection: 1, seq } })
    }

    fn got(at_ms: u64, subscription: u32, seq: u64) -> (u64, What) {
        (at_ms, What::Pushed { subscription, item: Item::Event { epoch: 1, seq: Some(seq) } })
    }

    fn item(at_ms: u64, subscription: u32, item: Item) -> (u64, What) {
        (at_ms, What::Pushed { subscription, item })
    }

    fn broken(rest: &[(u64, What)]) -> Option<usize> {
        let mut history = begin();
        history.extend_from_slice(rest);
        first_broken(&mut IsolatedConsumers::new(&Plan::new(1)), history)
    }

    #[test]
    fn who_reads_at_once_gets_every_event_in_time() {
        let later = (2_000, What::Woken);
        assert_eq!(broken(&[sent(1_000, 1), got(1_002, PROMPT, 1), later.clone()]), None);
        assert_eq!(broken(&[sent(1_000, 1), later.clone()]), Some(7));
        let fault = |fault| (1_001, What::Fault { fault, gateway: 0 });
        assert_eq!(broken(&[sent(1_000, 1), fault(Fault::Partition), later.clone()]), None);
        let left = (900, What::Unsubscribed { subscription: PROMPT });
        assert_eq!(broken(&[left, sent(1_000, 1), later]), None);
    }

    #[test]
    fn a_lag_is_told_and_its_count_is_right() {
        let events = [got(1_000, PROMPT, 1), got(1_100, PROMPT, 2), got(1_200, PROMPT, 3)];
        let told = |missed| {
            [
                item(1_300, SLOW, Item::Snapshot { epoch: 1 }),
                item(1_400, SLOW, Item::Lagged { missed }),
                got(1_500, SLOW, 3),
                (1_600, What::ShutdownCalled),
                item(1_610, PROMPT, Item::Closed),
                item(1_700, SLOW, Item::Closed),
            ]
        };
        assert_eq!(broken(&[&events[..], &told(2)].concat()), None);
        assert_eq!(broken(&[&events[..], &told(1)].concat()), Some(14));
        let uncertain = [got(205, PROMPT, 0)];
        assert_eq!(broken(&[&uncertain[..], &events, &told(1)].concat()), None);
    }
}
