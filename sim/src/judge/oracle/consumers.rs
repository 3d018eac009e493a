//! `isolated_consumers`: nobody misses anything because of somebody else.

mod reading;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use onesocket::core::Instant;

use super::Oracle;
use crate::plan::consumer::Lag;
use crate::plan::{Action, Fault, LinkFault, Plan};
use crate::trace::{Event, GatewayEvent, Item, Record, StatusKind};
use reading::{Reading, Tally};

/// Longer than any tick of a clock or a network: what happens within it has no certain order.
const BLUR: Duration = Duration::from_millis(20);

/// Looks at what every subscriber gets.
///
/// - An event that a gateway sends over a healthy connection reaches everybody who reads at once, within the time
///   that messages take. A client that waits for one of its consumers breaks this for the others.
/// - Who reads slowly may lose items and is notified how many: what it read, and what it was notified that it lost, is what
///   somebody who reads at once got in the same time. Where a lag leads to a new snapshot, snapshots do not count.
/// - A subscription that ends when it lags ends right after the news of it, and none ends for another reason before
///   the client is shut down.
/// - A shutdown ends every subscription, also one that is opened while it goes on or afterwards.
pub(super) struct IsolatedConsumers {
    travel: Duration,
    /// The longest that a message takes on its way after everything takes longer: it is never overtaken.
    delay: Duration,
    /// When the last message that takes longer has arrived.
    caught_up: Instant,
    /// The longest that a slow line needs for what waits for it when the line is fast again, by what made it slow.
    drains: BTreeMap<Fault, Duration>,
    /// What a slow line held back on the healthy connection and still delivers.
    backlog: Option<Backlog>,
    /// Who does not read at once in the subscriptions it opens from now on.
    slow_consumers: BTreeSet<u8>,
    subscriptions: BTreeMap<u32, Reading>,
    /// The connection that was accepted since the latest dial: what is said on another one is said to nobody.
    newest: Option<(u8, u32)>,
    /// The numbers of its events from before hello: they follow the snapshot.
    early: Vec<u64>,
    /// The connection that said hello last, while nothing is known against it.
    healthy: Option<(u8, u32)>,
    /// The numbers and times of its events that may be on their way, oldest first.
    under_way: VecDeque<(Instant, u64)>,
    /// Faults that go on.
    lasting: u32,
    /// Whether newcomers get a snapshot at once.
    ready: bool,
    /// When the config last changed.
    changed: Option<Instant>,
    stopping: bool,
}

/// Messages that a slow line held back: they keep their times after the line is fast again, and nothing overtakes
/// them.
struct Backlog {
    /// When all of it has arrived, however much it was.
    until: Instant,
    /// The first event since the line is fast again. Whoever gets it got the backlog before it.
    first_behind: Option<u64>,
}

impl IsolatedConsumers {
    pub(super) fn new(plan: &Plan) -> Self {
        let latency = Duration::from_micros(plan.params.latency_max_us.max(1_000));
        Self {
            // Bytes may come in pieces, and a frame may wait for the ticks of a network.
            travel: latency * 4 + BLUR * 5,
            delay: delay(plan),
            caught_up: Instant::ZERO,
            drains: drains(plan),
            backlog: None,
            slow_consumers: BTreeSet::new(),
            subscriptions: BTreeMap::new(),
            newest: None,
            early: Vec::new(),
            healthy: None,
            under_way: VecDeque::new(),
            lasting: 0,
            ready: false,
            changed: None,
            stopping: false,
        }
    }

    /// The connection is no measure any more.
    fn trouble(&mut self) {
        self.healthy = None;
        self.backlog = None;
        self.under_way.clear();
        self.early.clear();
    }

    fn overdue(&mut self, now: Instant) -> Result<(), String> {
        while let Some((sent, seq)) = self.under_way.front().copied()
            && now > sent + self.travel
        {
            for (number, reading) in &self.subscriptions {
                let waits =
                    reading.prompt && !reading.closed && !reading.left && reading.opened + BLUR < sent;
                if waits && !reading.has(seq) {
                    return Err(format!(
                        "subscription {number} is read at once and did not get event {seq}, sent at {sent}"
                    ));
                }
            }
            self.under_way.pop_front();
        }
        Ok(())
    }

    fn opened(&mut self, consumer: u8, subscription: u32, lag: Lag, at: Instant) {
        let twins = self.subscriptions.iter().filter(|(_, other)| {
            let reads = other.prompt && !other.closed && !other.left && other.tally.total > 0;
            self.ready && reads && other.lag == Lag::DropOldest
        });
        let reading = Reading {
            prompt: !self.slow_consumers.contains(&consumer),
            lag,
            opened: at,
            tally: Tally::default(),
            twins: twins.map(|(number, other)| (*number, other.tally)).collect(),
            last: None,
            gave_up: false,
            seq: None,
            first: None,
            closed: false,
            left: false,
        };
        self.subscriptions.insert(subscription, reading);
    }

    fn pushed(&mut self, subscription: u32, item: Item, at: Instant) -> Result<(), String> {
        let Some(reading) = self.subscriptions.get_mut(&subscription) else { return Ok(()) };
        reading.tally.take(item);
        let lagged = matches!(reading.last.replace(item), Some(Item::Lagged { .. }));
        match item {
            // A lag may have taken the first events of the connection with it.
            Item::Snapshot { .. } => {
                (reading.seq, reading.first) = (Some(0), lagged.then_some(0));
            }
            Item::Event { seq, .. } => {
                reading.seq = reading.seq.max(seq);
                reading.first = reading.first.or(seq);
                self.backlog.take_if(|backlog| backlog.first_behind.is_some_and(|first| seq >= Some(first)));
            }
            Item::Closed => reading.closed = true,
            // What it says is lost was told.
            Item::Gap { expected, received, .. } => {
                reading.seq = reading.seq.max(Some(received.saturating_sub(1)));
                reading.first = reading.first.or(Some(expected));
            }
            Item::Lagged { .. } => reading.first = Some(0),
            Item::Status(_) => {}
        }
        match (reading.lag, lagged, item) {
            (Lag::Close, true, Item::Closed) => reading.gave_up = true,
            (Lag::Close, true, _) => {
                return Err(format!("subscription {subscription} was to end with its lag, and gets {item}"));
            }
            (_, _, Item::Closed) if !self.stopping => {
                return Err(format!("subscription {subscription} ends, and nobody asked for it"));
            }
            (Lag::DropOldest | Lag::Resnapshot | Lag::Close, _, _) => {}
        }
        // Whether a newcomer got this item too is not certain.
        for newcomer in self.subscriptions.values_mut().filter(|other| at <= other.opened + BLUR) {
            newcomer.twins.remove(&subscription);
        }
        if item == Item::Closed { self.compare(subscription) } else { Ok(()) }
    }

    /// Nothing comes any more.
    fn finished(&self) -> Result<(), String> {
        let waits = |reading: &Reading| reading.prompt && !reading.closed && !reading.left;
        match self.subscriptions.iter().find(|(_, reading)| self.stopping && waits(reading)) {
            Some((number, _)) => {
                Err(format!("subscription {number} is read at once and did not get the end"))
            }
            None => Ok(()),
        }
    }

    /// Two that were open together until the end got the same.
    fn compare(&self, subscription: u32) -> Result<(), String> {
        for (number, reading) in self.subscriptions.iter().filter(|(_, reading)| reading.closed) {
            for (twin, before) in &reading.twins {
                let other = &self.subscriptions[twin];
                if (*number != subscription && *twin != subscription) || !other.closed {
                    continue;
                }
                let (got, expected) = self.account(reading, *before, other.tally);
                if !expected.contains(&got) {
                    let (least, most) = expected.into_inner();
                    return Err(format!(
                        "subscription {number} got, or was notified that it lost, {got} items, where subscription {twin} \
                         shows that there were {least} to {most}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// What a subscription got, and what it must have got as somebody shows who had `before` when it began and has
    /// `now`.
    fn account(&self, reading: &Reading, before: Tally, now: Tally) -> (u64, RangeInclusive<u64>) {
        match reading.lag {
            // The newcomer's snapshot is its own. Who gave up was there for a part of it.
            Lag::DropOldest | Lag::Close => {
                let all = now.total - before.total + 1;
                (reading.tally.total, if reading.gave_up { 0..=all } else { all..=all })
            }
            Lag::Resnapshot => {
                let plain = now.plain() - before.plain();
                // A snapshot that gives way is no loss when a newer one takes its place, and one like any other when
                // there is none, as after a change of the config. What the other lost may have been a snapshot.
                let snapshots = now.snapshots - before.snapshots;
                let changed = self.changed.is_some_and(|changed| changed >= reading.opened);
                let more = if changed || now.lagged { snapshots } else { 0 };
                let less = if now.lagged { now.total - before.total } else { 0 };
                (reading.tally.plain(), plain.saturating_sub(less)..=plain + more)
            }
        }
    }

    /// An event leaves on the healthy connection while its link has no fault.
    fn sent(&mut self, seq: u64, at: Instant) {
        self.backlog.take_if(|backlog| at >= backlog.until);
        match &mut self.backlog {
            Some(backlog) => {
                backlog.first_behind.get_or_insert(seq);
            }
            None => self.under_way.push_back((at, seq)),
        }
    }

    fn gateway(&mut self, gateway: u8, event: &GatewayEvent, at: Instant) {
        match event {
            GatewayEvent::Accepted { connection } => {
                self.newest = Some((gateway, *connection));
                self.early.clear();
            }
            GatewayEvent::Hello { connection, .. } if self.newest == Some((gateway, *connection)) => {
                let early = std::mem::take(&mut self.early);
                self.trouble();
                self.early = early;
                self.healthy = Some((gateway, *connection));
                for reading in self.subscriptions.values_mut() {
                    reading.seq = None;
                }
            }
            GatewayEvent::EventSent { connection, seq } => {
                // A hello that is late or spoiled makes no connection; the client says when there is one.
                let is_free = self.lasting == 0 && at >= self.caught_up;
                if self.ready && is_free && self.healthy == Some((gateway, *connection)) {
                    self.sent(*seq, at);
                } else if is_free && self.newest == Some((gateway, *connection)) {
                    self.early.push(*seq);
                }
            }
            GatewayEvent::Closed { connection, .. }
            | GatewayEvent::Dropped { connection }
            | GatewayEvent::Gone { connection } => {
                if self.healthy == Some((gateway, *connection)) {
                    self.trouble();
                }
            }
            GatewayEvent::Booted | GatewayEvent::Down | GatewayEvent::Misbehaved { .. } => self.trouble(),
            GatewayEvent::Hello { .. }
            | GatewayEvent::Connect { .. }
            | GatewayEvent::Refused { .. }
            | GatewayEvent::Request { .. }
            | GatewayEvent::RunStarted { .. }
            | GatewayEvent::EventLost { .. } => {}
        }
    }
}

/// All delays of a plan at once.
fn delay(plan: &Plan) -> Duration {
    let by_ms = |action: &Action| {
        if let Action::Link { fault: LinkFault::Delay { by_ms, .. }, .. } = action { *by_ms } else { 0 }
    };
    Duration::from_millis(plan.steps.iter().map(|step| by_ms(&step.action)).sum())
}

/// How long the slowest line of a plan needs for all that can be on its way, by what makes it slow.
fn drains(plan: &Plan) -> BTreeMap<Fault, Duration> {
    let mut drains = BTreeMap::new();
    for step in &plan.steps {
        if let (Action::Link { fault, .. }, Some(class)) = (&step.action, step.action.fault())
            && !fault.drain().is_zero()
        {
            let longest = drains.entry(class).or_insert(Duration::ZERO);
            *longest = fault.drain().max(*longest);
        }
    }
    drains
}

/// Whether what is sent before and after the fault arrives all the same.
fn is_harmless(fault: Fault) -> bool {
    matches!(fault, Fault::Blip | Fault::TokenChange | Fault::DropEvent)
}

impl Oracle for IsolatedConsumers {
    fn observe(&mut self, record: &Record) -> Result<(), String> {
        self.overdue(record.at)?;
        match &record.event {
            Event::Behaves { consumer, prompt: true } => {
                self.slow_consumers.remove(consumer);
            }
            Event::Behaves { consumer, prompt: false } => {
                self.slow_consumers.insert(*consumer);
            }
            Event::Subscribed { consumer, subscription, lag } => {
                self.opened(*consumer, *subscription, *lag, record.at);
            }
            Event::Unsubscribed { subscription } | Event::Panicked { subscription } => {
                if let Some(reading) = self.subscriptions.get_mut(subscription) {
                    reading.left = true;
                }
            }
            Event::Pushed { subscription, item } => return self.pushed(*subscription, *item, record.at),
            Event::Status(status) => {
                self.ready = *status == StatusKind::Ready;
                if self.ready && self.healthy.is_some() {
                    std::mem::take(&mut self.early).into_iter().for_each(|seq| self.sent(seq, record.at));
                }
            }
            Event::Configured { changed: true, .. }
            | Event::Unconfigured { changed: true }
            | Event::ShutdownCalled => {
                self.stopping |= matches!(record.event, Event::ShutdownCalled);
                self.changed = Some(record.at);
                self.ready = false;
                self.trouble();
            }
            Event::Dialed { .. } => self.newest = None,
            Event::Released { .. } => self.trouble(),
            Event::Fault { fault, .. } => {
                self.lasting += u32::from(fault.lasts());
                self.under_way.clear();
                if !is_harmless(*fault) {
                    self.trouble();
                }
            }
            Event::Healed { fault, .. } => {
                self.lasting -= 1;
                if *fault == Fault::Delay {
                    self.caught_up = record.at + self.delay;
                }
                if let Some(drain) = self.drains.get(fault) {
                    self.under_way.clear();
                    self.backlog = Some(Backlog { until: record.at + *drain, first_behind: None });
                }
            }
            Event::Gateway { gateway, event } => self.gateway(*gateway, event, record.at),
            Event::Remaining { .. } => return self.finished(),
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
    fn begin(lag: Lag) -> Vec<(u64, Event)> {
        vec![
            (0, Event::Dialed { socket: 1, gateway: 0 }),
            (0, Event::Subscribed { consumer: 0, subscription: PROMPT, lag: Lag::DropOldest }),
            (90, at_gateway(GatewayEvent::Accepted { connection: 1 })),
            (100, at_gateway(GatewayEvent::Hello { connection: 1, issued: None, handed_over: None })),
            (110, Event::Status(StatusKind::Ready)),
            (110, Event::Pushed { subscription: PROMPT, item: Item::Snapshot { epoch: 1 } }),
            (200, Event::Behaves { consumer: 1, prompt: false }),
            (200, Event::Subscribed { consumer: 1, subscription: SLOW, lag }),
        ]
    }

    fn at_gateway(event: GatewayEvent) -> Event {
        Event::Gateway { gateway: 0, event }
    }

    fn sent(at_ms: u64, seq: u64) -> (u64, Event) {
        (at_ms, at_gateway(GatewayEvent::EventSent { connection: 1, seq }))
    }

    fn got(at_ms: u64, subscription: u32, seq: u64) -> (u64, Event) {
        (at_ms, Event::Pushed { subscription, item: Item::Event { epoch: 1, seq: Some(seq) } })
    }

    fn item(at_ms: u64, subscription: u32, item: Item) -> (u64, Event) {
        (at_ms, Event::Pushed { subscription, item })
    }

    fn broken(rest: &[(u64, Event)]) -> Option<usize> {
        broken_with(Lag::DropOldest, rest)
    }

    fn broken_with(lag: Lag, rest: &[(u64, Event)]) -> Option<usize> {
        let mut history = begin(lag);
        history.extend_from_slice(rest);
        first_broken(&mut IsolatedConsumers::new(&Plan::new(1)), history)
    }

    #[test]
    fn who_reads_at_once_gets_every_event_in_time() {
        let later = (2_000, Event::Woken);
        assert_eq!(broken(&[sent(1_000, 1), got(1_002, PROMPT, 1), later.clone()]), None);
        assert_eq!(broken(&[sent(1_000, 1), later.clone()]), Some(9));
        let fault = |fault| (1_001, Event::Fault { fault, gateway: 0 });
        assert_eq!(broken(&[sent(1_000, 1), fault(Fault::Partition), later.clone()]), None);
        let left = (900, Event::Unsubscribed { subscription: PROMPT });
        assert_eq!(broken(&[left, sent(1_000, 1), later.clone()]), None);
        let old = GatewayEvent::Hello { connection: 7, issued: None, handed_over: None };
        let to_nobody = GatewayEvent::EventSent { connection: 7, seq: 1 };
        assert_eq!(broken(&[(990, at_gateway(old)), (1_000, at_gateway(to_nobody)), later]), None);
    }

    #[test]
    fn events_from_before_hello_follow_the_snapshot() {
        let early = (95, at_gateway(GatewayEvent::EventSent { connection: 1, seq: 1 }));
        let history = |rest: &[(u64, Event)]| {
            let begin = begin(Lag::DropOldest);
            [&begin[..3], std::slice::from_ref(&early), &begin[3..], rest, &[(2_000, Event::Woken)]].concat()
        };
        let broken =
            |rest: &[(u64, Event)]| first_broken(&mut IsolatedConsumers::new(&Plan::new(1)), history(rest));
        assert_eq!(broken(&[got(210, PROMPT, 1)]), None);
        assert_eq!(broken(&[item(210, PROMPT, Item::Gap { epoch: 1, expected: 1, received: 2 })]), None);
        assert_eq!(broken(&[]), Some(9));
        // The news of a lag may come before the snapshot.
        let lag =
            [item(205, PROMPT, Item::Lagged { missed: 3 }), item(205, PROMPT, Item::Snapshot { epoch: 2 })];
        assert_eq!(broken(&[&lag[..], &[got(210, PROMPT, 2)]].concat()), None);
        // A later one does not show that the first ones came.
        assert_eq!(broken(&[got(210, PROMPT, 2)]), Some(10));
    }

    #[test]
    fn what_follows_delayed_messages_waits_for_them() {
        let delay = Action::Link { gateway: 0, fault: LinkFault::Delay { by_ms: 1_000, for_ms: 50 } };
        let plan = Plan::new(1).at(0, delay);
        let history = |sent_at| {
            let fault = [
                (0, Event::Fault { fault: Fault::Delay, gateway: 0 }),
                (50, Event::Healed { fault: Fault::Delay, gateway: 0 }),
            ];
            [&fault[..], &begin(Lag::DropOldest), &[sent(sent_at, 1), (3_000, Event::Woken)]].concat()
        };
        let broken = |sent_at| first_broken(&mut IsolatedConsumers::new(&plan), history(sent_at));
        assert_eq!(broken(1_000), None);
        assert_eq!(broken(1_100), Some(11));
    }

    #[test]
    fn what_follows_the_backlog_of_a_slow_line_waits_for_it() {
        let plan = |per_ms| {
            let slow = LinkFault::Bytes { chop: 0, coalesce: false, per_ms, for_ms: 50 };
            Plan::new(1).at(0, Action::Link { gateway: 0, fault: slow })
        };
        let history = |rest: &[(u64, Event)]| {
            let over = (900, Event::Healed { fault: Fault::Bytes, gateway: 0 });
            let fault = (0, Event::Fault { fault: Fault::Bytes, gateway: 0 });
            [&[fault], &begin(Lag::DropOldest)[..], &[over], rest].concat()
        };
        let broken = |per_ms, rest: &[(u64, Event)]| {
            first_broken(&mut IsolatedConsumers::new(&plan(per_ms)), history(rest))
        };
        let later = (190_000, Event::Woken);
        // What is held back is excused until something that was sent after it arrives,
        assert_eq!(broken(2, &[sent(1_000, 3), later.clone()]), None);
        assert_eq!(
            broken(2, &[sent(1_000, 3), got(9_000, PROMPT, 3), sent(9_500, 4), later.clone()]),
            Some(13)
        );
        // and in any case no longer than the line needs for as much as it holds.
        assert_eq!(broken(2, &[sent(133_000, 3), later.clone()]), Some(11));
        // A fast line holds nothing back.
        assert_eq!(broken(0, &[sent(1_000, 3), later]), Some(11));
    }

    #[test]
    fn a_lag_is_reported_and_its_count_is_right() {
        let events = [got(1_000, PROMPT, 1), got(1_100, PROMPT, 2), got(1_200, PROMPT, 3)];
        let told = |missed| {
            [
                item(1_300, SLOW, Item::Snapshot { epoch: 1 }),
                item(1_400, SLOW, Item::Lagged { missed }),
                got(1_500, SLOW, 3),
                (1_600, Event::ShutdownCalled),
                item(1_610, PROMPT, Item::Closed),
                item(1_700, SLOW, Item::Closed),
            ]
        };
        assert_eq!(broken(&[&events[..], &told(2)].concat()), None);
        assert_eq!(broken(&[&events[..], &told(1)].concat()), Some(16));
        assert_eq!(broken(&[item(1_600, PROMPT, Item::Closed)]), Some(8));
        let uncertain = [got(205, PROMPT, 0)];
        assert_eq!(broken(&[&uncertain[..], &events, &told(1)].concat()), None);
    }

    #[test]
    fn snapshots_do_not_count_for_a_subscription_that_resnapshots() {
        let events = [got(1_000, PROMPT, 1), got(1_100, PROMPT, 2), got(1_200, PROMPT, 3)];
        let told = |missed| {
            [
                item(1_300, SLOW, Item::Snapshot { epoch: 1 }),
                item(1_400, SLOW, Item::Lagged { missed }),
                item(1_450, SLOW, Item::Snapshot { epoch: 1 }),
                got(1_500, SLOW, 3),
                (1_600, Event::ShutdownCalled),
                item(1_610, PROMPT, Item::Closed),
                item(1_700, SLOW, Item::Closed),
            ]
        };
        let anew = |missed| broken_with(Lag::Resnapshot, &[&events[..], &told(missed)].concat());
        assert_eq!(anew(2), None);
        assert_eq!(anew(1), Some(17));
        assert_eq!(anew(3), Some(17));
    }

    #[test]
    fn a_shutdown_ends_every_subscription_that_is_read() {
        let stop = (1_600, Event::ShutdownCalled);
        let late = (1_600, Event::Subscribed { consumer: 2, subscription: 3, lag: Lag::DropOldest });
        let end = |of| item(1_700, of, Item::Closed);
        let left = (1_800, Event::Remaining { sockets: 0, timers: 0, requests: 0, subscriptions: 0 });
        let all = [stop.clone(), late.clone(), end(PROMPT), end(3), left.clone()];
        assert_eq!(broken(&all), None);
        assert_eq!(broken(&[stop.clone(), late, end(PROMPT), left.clone()]), Some(11));
        assert_eq!(broken(&[stop, left]), Some(9));
    }

    #[test]
    fn who_ends_with_a_lag_ends_at_once() {
        let lag = item(1_400, SLOW, Item::Lagged { missed: 2 });
        let with = |rest: &[(u64, Event)]| {
            let begin = [got(1_000, PROMPT, 1), got(1_100, PROMPT, 2), lag.clone()];
            broken_with(Lag::Close, &[&begin[..], rest].concat())
        };
        let end = |at_ms, of| item(at_ms, of, Item::Closed);
        let stop = (1_600, Event::ShutdownCalled);
        assert_eq!(with(&[end(1_500, SLOW), stop.clone(), end(1_700, PROMPT)]), None);
        assert_eq!(with(&[got(1_500, SLOW, 2)]), Some(11));
        let endless = item(1_350, SLOW, Item::Lagged { missed: 7 });
        let begin = [got(1_000, PROMPT, 1), endless, end(1_500, SLOW), stop, end(1_700, PROMPT)];
        assert_eq!(broken_with(Lag::Close, &begin), Some(12));
    }
}
