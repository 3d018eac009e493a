//! What a trace tells: who each record is about, what lasts from where to where, and what travelled.
//!
//! A trace names no frames. A request is followed by its number, an event by its number on its connection, a dial by
//! the next connection that its gateway accepts. What cannot be matched is drawn as it was seen, at one end only.

mod network;
mod requests;

use std::collections::{BTreeMap, BTreeSet};

use crate::judge::oracle::Violation;
use crate::plan::Fault;
use crate::trace::{Event, GatewayEvent, Item, Lane, Outcome, Record, StatusKind};

use network::Network;
use requests::Requests;

/// A lane of the picture, from left to right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Column {
    /// What the app says to the client.
    App,
    /// One consumer.
    Consumer(u8),
    /// The client.
    Client,
    /// The sockets.
    Link,
    /// A gateway.
    Gateway(u8),
}

impl Column {
    pub(super) fn name(self) -> String {
        match self {
            Self::App => "app".to_owned(),
            Self::Consumer(number) => format!("consumer {number}"),
            Self::Client => "client".to_owned(),
            Self::Link => "link".to_owned(),
            Self::Gateway(number) => format!("gateway {number}"),
        }
    }
}

/// What a record is about, to choose what to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    App,
    Requests,
    Events,
    Status,
    Sockets,
    Handshake,
    Gateways,
    Faults,
}

impl Kind {
    pub(super) const ALL: [Self; 8] = [
        Self::App,
        Self::Requests,
        Self::Events,
        Self::Status,
        Self::Sockets,
        Self::Handshake,
        Self::Gateways,
        Self::Faults,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Requests => "requests",
            Self::Events => "events",
            Self::Status => "status",
            Self::Sockets => "sockets",
            Self::Handshake => "handshake",
            Self::Gateways => "gateways",
            Self::Faults => "faults",
        }
    }

    fn of(what: &Event) -> Self {
        match what {
            Event::RequestMade { .. } | Event::RequestSettled { .. } | Event::RequestDropped { .. } => {
                Self::Requests
            }
            Event::Subscribed { .. }
            | Event::Unsubscribed { .. }
            | Event::Panicked { .. }
            | Event::Pushed { .. } => Self::Events,
            Event::Status(_) => Self::Status,
            Event::Configured { .. }
            | Event::Unconfigured { .. }
            | Event::Wanted
            | Event::Woken
            | Event::Resumed
            | Event::ShutdownCalled
            | Event::ShutdownReturned
            | Event::Skipped { .. }
            | Event::Behaves { .. }
            | Event::Remaining { .. } => Self::App,
            Event::Dialed { .. } | Event::Released { .. } => Self::Sockets,
            Event::Gateway { event, .. } => Self::of_seen(event),
            Event::Fault { .. } | Event::Healed { .. } => Self::Faults,
        }
    }

    fn of_seen(event: &GatewayEvent) -> Self {
        match event {
            GatewayEvent::Accepted { .. }
            | GatewayEvent::Closed { .. }
            | GatewayEvent::Dropped { .. }
            | GatewayEvent::Gone { .. } => Self::Sockets,
            GatewayEvent::Connect { .. } | GatewayEvent::Hello { .. } | GatewayEvent::Refused { .. } => {
                Self::Handshake
            }
            GatewayEvent::Request { .. } | GatewayEvent::RunStarted { .. } => Self::Requests,
            GatewayEvent::EventSent { .. } | GatewayEvent::EventLost { .. } => Self::Events,
            GatewayEvent::Booted | GatewayEvent::Down => Self::Gateways,
            GatewayEvent::Misbehaved { .. } => Self::Faults,
        }
    }
}

/// How a record looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Glyph {
    /// It happened.
    Dot,
    /// Something failed or was lost.
    Cross,
    /// Somebody gave up on something.
    Ring,
    /// A fault.
    Wedge,
}

/// One record.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) at_us: u64,
    pub(super) column: Column,
    pub(super) kind: Kind,
    pub(super) glyph: Glyph,
    pub(super) text: String,
}

/// What a span shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shade {
    /// The client was in a state.
    State(StatusKind),
    /// The client held a socket.
    Socket,
    /// A gateway held a connection.
    Connection,
    /// A gateway was down.
    Down,
    /// A fault lasted.
    Fault,
    /// A request waited.
    Request,
}

/// Something that lasted from one record to another.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) column: Column,
    /// Side by side with others of its shade in its lane.
    pub(super) track: usize,
    pub(super) from: usize,
    /// The number of records, if it lasted to the end.
    pub(super) to: usize,
    pub(super) shade: Shade,
    pub(super) label: String,
}

/// What an arrow shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// A dial, a handshake, a close.
    Control,
    /// A request.
    Request,
    /// The answer to one.
    Answer,
    /// An event, or anything else a subscriber gets.
    Event,
    /// Something that did not arrive.
    Lost,
}

/// Something that travelled.
#[derive(Debug)]
pub(super) struct Arrow {
    pub(super) from: (usize, Column),
    pub(super) to: (usize, Column),
    pub(super) message: Message,
}

/// A whole trace.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) rows: Vec<Row>,
    pub(super) columns: BTreeSet<Column>,
    pub(super) spans: Vec<Span>,
    pub(super) arrows: Vec<Arrow>,
    /// The record that showed the violation.
    pub(super) broken_at: Option<usize>,
}

impl Story {
    pub(super) fn of(records: &[Record], violation: Option<&Violation>) -> Self {
        let mut teller = Teller::new(records.len());
        for (index, record) in records.iter().enumerate() {
            teller.take(index, record);
        }
        let mut story = teller.story;
        story.columns.extend([Column::Client, Column::Link]);
        story.columns.extend(story.rows.iter().map(|row| row.column));
        story.arrows.sort_by_key(|arrow| arrow.from.0.max(arrow.to.0));
        // A judge looks at each record, so the last one up to its sentence is the one that showed it.
        story.broken_at = violation
            .and_then(|violation| records.iter().rposition(|record| record.at <= violation.at))
            .or_else(|| violation.and(records.len().checked_sub(1)));
        story
    }
}

/// An arrow leans over so many records at most; beyond, it is drawn level where it arrives.
const LEAN_MAX: usize = 8;

struct Teller {
    story: Story,
    end: usize,
    requests: Requests,
    network: Network,
    subscribers: BTreeMap<u32, u8>,
    /// The span of the state that the client is in.
    state: Option<usize>,
    /// The spans of faults that go on.
    faults: BTreeMap<(Fault, u8), Vec<usize>>,
    /// The spans of gateways that are down.
    down: BTreeMap<u8, usize>,
}

impl Teller {
    fn new(end: usize) -> Self {
        let story = Story {
            rows: Vec::with_capacity(end),
            columns: BTreeSet::new(),
            spans: Vec::new(),
            arrows: Vec::new(),
            broken_at: None,
        };
        Self {
            story,
            end,
            requests: Requests::default(),
            network: Network::default(),
            subscribers: BTreeMap::new(),
            state: None,
            faults: BTreeMap::new(),
            down: BTreeMap::new(),
        }
    }

    fn take(&mut self, index: usize, record: &Record) {
        let (column, glyph) = self.tell(index, &record.event);
        let mut text = record.event.to_string();
        if let Event::Fault { gateway, .. } | Event::Healed { gateway, .. } = record.event
            && column == Column::Link
        {
            text = format!("{text} (to gateway {gateway})");
        }
        let at_us = record.at.as_micros();
        self.story.rows.push(Row { at_us, column, kind: Kind::of(&record.event), glyph, text });
    }

    /// Follows one record, and says where it belongs and how it looks.
    fn tell(&mut self, index: usize, what: &Event) -> (Column, Glyph) {
        match what {
            Event::RequestMade { consumer, request, .. } => {
                let column = Column::Consumer(*consumer);
                let span = self.open(index, column, Shade::Request, format!("request {request}"), usize::MAX);
                self.story.spans[span].track = self.requests.made(*request, *consumer, index, span);
                (column, Glyph::Dot)
            }
            Event::RequestSettled { request, outcome } => self.settled(index, *request, *outcome),
            Event::RequestDropped { request } => {
                let ended = self.requests.ended(*request);
                self.close(ended.as_ref().map(|request| request.span), index);
                (self.requests.column(ended.as_ref()), Glyph::Ring)
            }
            Event::Subscribed { consumer, subscription, .. } => {
                self.subscribers.insert(*subscription, *consumer);
                (Column::Consumer(*consumer), Glyph::Dot)
            }
            Event::Panicked { subscription } => (self.subscriber(*subscription), Glyph::Cross),
            Event::Behaves { consumer, .. } => (Column::Consumer(*consumer), Glyph::Dot),
            Event::Unsubscribed { subscription } => (self.subscriber(*subscription), Glyph::Ring),
            Event::Pushed { subscription, item } => self.pushed(index, *subscription, *item),
            Event::Status(status) => {
                self.status(index, *status);
                (Column::Client, Glyph::Dot)
            }
            Event::Configured { .. }
            | Event::Unconfigured { .. }
            | Event::Wanted
            | Event::Woken
            | Event::Resumed
            | Event::ShutdownCalled
            | Event::ShutdownReturned => (Column::App, Glyph::Dot),
            Event::Skipped { .. } => (Column::App, Glyph::Ring),
            Event::Remaining { .. } => (Column::Client, Glyph::Dot),
            Event::Dialed { socket, gateway } => {
                let span = self.open(index, Column::Link, Shade::Socket, format!("socket {socket}"), 0);
                self.story.spans[span].track = self.network.dialed(*socket, *gateway, index, span);
                (Column::Client, Glyph::Dot)
            }
            Event::Released { socket, .. } => {
                let released = self.network.released(*socket);
                self.close(released, index);
                (Column::Client, Glyph::Ring)
            }
            Event::Gateway { gateway, event } => self.gateway_event(index, *gateway, event),
            Event::Fault { fault, gateway } => {
                self.fault(index, *fault, *gateway, place(what));
                (place(what), Glyph::Wedge)
            }
            Event::Healed { fault, gateway } => {
                let spans = self.faults.get_mut(&(*fault, *gateway));
                let oldest = spans.filter(|spans| !spans.is_empty()).map(|spans| spans.remove(0));
                self.close(oldest, index);
                (place(what), Glyph::Wedge)
            }
        }
    }

    fn settled(&mut self, index: usize, request: u32, outcome: Outcome) -> (Column, Glyph) {
        let ended = self.requests.ended(request);
        self.close(ended.as_ref().map(|request| request.span), index);
        let column = self.requests.column(ended.as_ref());
        match outcome {
            Outcome::Answered { own } => {
                if let Some(gateway) = ended.and_then(|request| request.arrived_at) {
                    self.arrow((index, Column::Gateway(gateway)), (index, column), Message::Answer);
                }
                (column, if own { Glyph::Dot } else { Glyph::Cross })
            }
            Outcome::Failed { .. } => (column, Glyph::Cross),
        }
    }

    fn subscriber(&self, subscription: u32) -> Column {
        self.subscribers.get(&subscription).map_or(Column::App, |consumer| Column::Consumer(*consumer))
    }

    fn pushed(&mut self, index: usize, subscription: u32, item: Item) -> (Column, Glyph) {
        let column = self.subscriber(subscription);
        let (sent, glyph) = match item {
            Item::Event { epoch, seq } => (seq.and_then(|seq| self.network.event(epoch, seq)), Glyph::Dot),
            Item::Snapshot { epoch } => {
                self.network.epoch_began(epoch);
                (None, Glyph::Dot)
            }
            Item::Gap { .. } | Item::Lagged { .. } => (None, Glyph::Cross),
            Item::Status(_) | Item::Closed => (None, Glyph::Dot),
        };
        let from = sent.map_or((index, Column::Client), |(row, gateway)| (row, Column::Gateway(gateway)));
        self.arrow(from, (index, column), Message::Event);
        (column, glyph)
    }

    fn status(&mut self, index: usize, status: StatusKind) {
        let before = self.state.take();
        self.close(before, index);
        self.state = Some(self.open(index, Column::Client, Shade::State(status), format!("{status:?}"), 0));
        if status == StatusKind::Ready
            && let Some((row, gateway)) = self.network.hello_arrived()
        {
            self.arrow((row, Column::Gateway(gateway)), (index, Column::Client), Message::Control);
        }
    }

    fn fault(&mut self, index: usize, fault: Fault, gateway: u8, column: Column) {
        let span = self.open(index, column, Shade::Fault, fault.name().to_owned(), 0);
        if fault.lasts() {
            self.faults.entry((fault, gateway)).or_default().push(span);
        } else {
            self.close(Some(span), index);
        }
    }

    fn gateway_event(&mut self, index: usize, gateway: u8, event: &GatewayEvent) -> (Column, Glyph) {
        let column = Column::Gateway(gateway);
        let glyph = match event {
            GatewayEvent::Accepted { connection } => {
                let label = format!("connection {connection}");
                let span = self.open(index, Column::Link, Shade::Connection, label, 0);
                let (track, dialed) = self.network.accepted(gateway, *connection, span);
                self.story.spans[span].track = track;
                if let Some(row) = dialed {
                    self.arrow((row, Column::Client), (index, column), Message::Control);
                }
                Glyph::Dot
            }
            GatewayEvent::Connect { .. } => {
                self.arrow((index, Column::Client), (index, column), Message::Control);
                Glyph::Dot
            }
            GatewayEvent::Hello { connection, .. } => {
                self.network.hello(gateway, *connection, index);
                Glyph::Dot
            }
            GatewayEvent::Refused { .. } | GatewayEvent::Closed { .. } => {
                self.arrow((index, column), (index, Column::Link), Message::Control);
                Glyph::Cross
            }
            GatewayEvent::Request { request, .. } => {
                if let Some((row, consumer)) = self.requests.arrived(*request, gateway) {
                    self.arrow((row, Column::Consumer(consumer)), (index, column), Message::Request);
                }
                Glyph::Dot
            }
            GatewayEvent::EventSent { connection, seq } => {
                self.network.event_sent(gateway, *connection, *seq, index);
                self.arrow((index, column), (index, Column::Link), Message::Event);
                Glyph::Dot
            }
            GatewayEvent::EventLost { .. } => {
                self.arrow((index, column), (index, Column::Link), Message::Lost);
                Glyph::Cross
            }
            GatewayEvent::Dropped { connection } | GatewayEvent::Gone { connection } => {
                let gone = self.network.gone(gateway, *connection);
                self.close(gone, index);
                if matches!(event, GatewayEvent::Dropped { .. }) { Glyph::Cross } else { Glyph::Ring }
            }
            GatewayEvent::Misbehaved { .. } => Glyph::Cross,
            GatewayEvent::RunStarted { .. } => Glyph::Dot,
            GatewayEvent::Booted => {
                let down = self.down.remove(&gateway);
                self.close(down, index);
                Glyph::Dot
            }
            GatewayEvent::Down => {
                let span = self.open(index, column, Shade::Down, "down".to_owned(), 0);
                let before = self.down.insert(gateway, span);
                self.close(before, index);
                Glyph::Ring
            }
        };
        (column, glyph)
    }

    fn open(&mut self, from: usize, column: Column, shade: Shade, label: String, track: usize) -> usize {
        self.story.spans.push(Span { column, track, from, to: self.end, shade, label });
        self.story.spans.len() - 1
    }

    fn close(&mut self, span: Option<usize>, to: usize) {
        if let Some(span) = span {
            self.story.spans[span].to = to;
        }
    }

    fn arrow(&mut self, from: (usize, Column), to: (usize, Column), message: Message) {
        let leans = to.0.saturating_sub(from.0) <= LEAN_MAX;
        let from = if leans { from } else { (to.0, from.1) };
        self.story.arrows.push(Arrow { from, to, message });
    }
}

/// The lane of a fault.
fn place(what: &Event) -> Column {
    match what.lane() {
        Lane::Consumer => Column::App,
        Lane::Client => Column::Client,
        Lane::Link => Column::Link,
        Lane::Gateway(gateway) => Column::Gateway(gateway),
    }
}

/// The lowest free place, taken.
fn take_track(tracks: &mut Vec<bool>) -> usize {
    let free = tracks.iter().position(|taken| !taken);
    let track = free.unwrap_or(tracks.len());
    if track == tracks.len() {
        tracks.push(true);
    } else {
        tracks[track] = true;
    }
    track
}
