//! What happened in a run, as typed records, and their digest.
//!
//! Records are what can be seen from outside a client: its public surface, the network below it,
//! and the gateways. The same records come from every tier and would come from any other client.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use onesocket::core::{Delivery, Instant};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::plan::Fault;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// When.
    pub at: Instant,
    /// What.
    pub what: What,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A consumer made a request.
    RequestMade {
        /// The consumer.
        consumer: u8,
        /// The harness's number for it.
        request: u32,
        /// Its deadline.
        timeout_ms: u64,
    },
    /// A request ended.
    RequestSettled {
        /// Its number.
        request: u32,
        /// How.
        outcome: Outcome,
    },
    /// A consumer dropped a request.
    RequestDropped {
        /// Its number.
        request: u32,
    },
    /// A consumer subscribed.
    Subscribed {
        /// The consumer.
        consumer: u8,
        /// The harness's number for it.
        subscription: u32,
    },
    /// A consumer dropped a subscription.
    Unsubscribed {
        /// Its number.
        subscription: u32,
    },
    /// A consumer panicked while it handled an item, and took the subscription with it.
    Panicked {
        /// The subscription.
        subscription: u32,
    },
    /// A consumer behaves differently in the subscriptions that it opens from now on.
    Behaves {
        /// The consumer.
        consumer: u8,
        /// Whether it reads every item at once.
        prompt: bool,
    },
    /// A subscriber read an item.
    Pushed {
        /// The subscription.
        subscription: u32,
        /// The item.
        item: Item,
    },
    /// The client's status changed.
    Status(StatusKind),
    /// The app applied a config.
    Configured {
        /// The gateway it names.
        gateway: u8,
        /// The token it names.
        token: Arc<str>,
        /// Whether it differs from the one in force.
        changed: bool,
    },
    /// The app wanted a connection.
    Wanted,
    /// The app said that the network is back.
    Woken,
    /// The app said that the reason for a pause is gone.
    Resumed,
    /// The app began to shut the client down.
    ShutdownCalled,
    /// The shutdown returned.
    ShutdownReturned,
    /// The client began to dial.
    Dialed {
        /// The harness's number for the socket.
        socket: u32,
        /// The gateway it dialed.
        gateway: u8,
    },
    /// The client holds nothing of that socket any more.
    Released {
        /// Its number.
        socket: u32,
    },
    /// Something at a gateway.
    Gateway {
        /// Which.
        gateway: u8,
        /// What.
        seen: Seen,
    },
    /// A fault began.
    Fault {
        /// Its class.
        fault: Fault,
        /// The gateway it concerns.
        gateway: u8,
    },
    /// A fault that lasts is over.
    Healed {
        /// Its class.
        fault: Fault,
        /// The gateway it concerned.
        gateway: u8,
    },
    /// What the client still held when it had been shut down or the run ended.
    Remaining {
        /// Sockets, dialing or open.
        sockets: u32,
        /// Deadlines and tasks.
        timers: u32,
        /// Requests that have not ended.
        requests: u32,
    },
}

/// What a gateway saw or did.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// A socket was accepted.
    Accepted {
        /// The gateway's number for the connection.
        connection: u32,
    },
    /// A client presented its credentials.
    Connect {
        /// The connection.
        connection: u32,
        /// The shared token it presented.
        token: Option<Arc<str>>,
        /// The device token it presented.
        device_token: Option<Arc<str>>,
    },
    /// Hello was sent.
    Hello {
        /// The connection.
        connection: u32,
        /// The device token in it.
        issued: Option<Arc<str>>,
    },
    /// A connect was refused.
    Refused {
        /// The connection.
        connection: u32,
        /// The code that says why.
        code: Cow<'static, str>,
    },
    /// A request of a consumer arrived.
    Request {
        /// The connection.
        connection: u32,
        /// The harness's number of the request.
        request: u32,
    },
    /// An event was sent.
    EventSent {
        /// The connection.
        connection: u32,
        /// Its number.
        seq: u64,
    },
    /// An event got a number and was lost.
    EventLost {
        /// The connection.
        connection: u32,
        /// Its number.
        seq: u64,
    },
    /// The gateway began to close a connection.
    Closed {
        /// The connection.
        connection: u32,
        /// The close code.
        code: u16,
    },
    /// The gateway dropped a connection without a word.
    Dropped {
        /// The connection.
        connection: u32,
    },
    /// The connection is gone for the gateway.
    Gone {
        /// The connection.
        connection: u32,
    },
    /// A boot began.
    Booted,
    /// A boot ended.
    Down,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The gateway answered yes; `own` says whether the answer belongs to this request.
    Answered {
        /// Whether the payload repeats what this request sent.
        own: bool,
    },
    /// It failed.
    Failed {
        /// What is known about its way.
        delivery: Delivery,
        /// What the client says went wrong.
        kind: FailureKind,
    },
}

/// What a client says went wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The gateway said no.
    Rejected,
    /// The deadline passed.
    TimedOut,
    /// The connection ended.
    Disconnected,
    /// Reconnecting is paused.
    Paused,
    /// The client was shut down.
    ShutDown,
    /// A limit of the client.
    Limit,
    /// Anything else.
    Other,
}

/// An item of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// A snapshot.
    Snapshot {
        /// The connection it belongs to.
        epoch: u64,
    },
    /// An event.
    Event {
        /// The connection it came over.
        epoch: u64,
        /// Its number.
        seq: Option<u64>,
    },
    /// A hole in the numbers.
    Gap {
        /// The connection.
        epoch: u64,
        /// The number that should have come.
        expected: u64,
        /// The number that came.
        received: u64,
    },
    /// A change of status.
    Status(StatusKind),
    /// The subscriber was too slow.
    Lagged {
        /// Items lost.
        missed: u64,
    },
    /// The end.
    Closed,
}

/// The status of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatusKind {
    /// Nobody wants a connection.
    Idle,
    /// There is nothing to connect to.
    NotConfigured,
    /// Dialing.
    Connecting,
    /// Between the upgrade and hello.
    Handshaking,
    /// Connected.
    Ready,
    /// Waiting for the next dial.
    Backoff,
    /// Waiting for somebody to act.
    Paused,
    /// Closing the old socket.
    Closing,
    /// Shut down.
    Stopped,
}

/// The records of a run and their digest.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    records: Vec<Record>,
    digest: u64,
    now: Instant,
    /// Reused for encoding.
    buffer: Vec<u8>,
}

impl Trace {
    /// Appends a record. Time never goes back: hosts of a simulation may differ within a tick.
    pub fn push(&mut self, at: Instant, what: What) -> &Record {
        self.now = self.now.max(at);
        self.buffer.clear();
        encode(self.now, &what, &mut self.buffer);
        self.digest = xxh3_64_with_seed(&self.buffer, self.digest);
        self.records.push(Record { at: self.now, what });
        self.records.last().expect("a record was pushed")
    }

    /// All records.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The digest of all records: equal digests mean equal histories.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The time of the last record.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The records alone.
    #[must_use]
    pub fn into_records(self) -> Vec<Record> {
        self.records
    }
}

/// Writes a record as bytes that are the same on every machine.
fn encode(at: Instant, what: &What, out: &mut Vec<u8>) {
    let mut code = Encoder(out);
    code.number(at.as_micros());
    match what {
        What::RequestMade { consumer, request, timeout_ms } => {
            code.tag(0).number(u64::from(*consumer)).number(u64::from(*request)).number(*timeout_ms);
        }
        What::RequestSettled { request, outcome } => {
            code.tag(1).number(u64::from(*request));
            match outcome {
                Outcome::Answered { own } => code.tag(0).tag(u8::from(*own)),
                Outcome::Failed { delivery, kind } => code.tag(1).tag(*delivery as u8).tag(*kind as u8),
            };
        }
        What::RequestDropped { request } => {
            code.tag(2).number(u64::from(*request));
        }
        What::Subscribed { consumer, subscription } => {
            code.tag(3).number(u64::from(*consumer)).number(u64::from(*subscription));
        }
        What::Unsubscribed { subscription } => {
            code.tag(4).number(u64::from(*subscription));
        }
        What::Pushed { subscription, item } => {
            code.tag(5).number(u64::from(*subscription));
            encode_item(*item, &mut code);
        }
        What::Status(status) => {
            code.tag(6).tag(*status as u8);
        }
        What::Configured { gateway, token, changed } => {
            code.tag(7).tag(*gateway).text(token).tag(u8::from(*changed));
        }
        What::Wanted => {
            code.tag(8);
        }
        What::Woken => {
            code.tag(9);
        }
        What::Resumed => {
            code.tag(10);
        }
        What::ShutdownCalled => {
            code.tag(11);
        }
        What::ShutdownReturned => {
            code.tag(12);
        }
        What::Dialed { socket, gateway } => {
            code.tag(13).number(u64::from(*socket)).tag(*gateway);
        }
        What::Released { socket } => {
            code.tag(14).number(u64::from(*socket));
        }
        What::Gateway { gateway, seen } => {
            code.tag(15).tag(*gateway);
            encode_seen(seen, &mut code);
        }
        What::Fault { fault, gateway } => {
            code.tag(16).tag(*fault as u8).tag(*gateway);
        }
        What::Healed { fault, gateway } => {
            code.tag(17).tag(*fault as u8).tag(*gateway);
        }
        What::Remaining { sockets, timers, requests } => {
            code.tag(18).number(u64::from(*sockets)).number(u64::from(*timers)).number(u64::from(*requests));
        }
        What::Panicked { subscription } => {
            code.tag(19).number(u64::from(*subscription));
        }
        What::Behaves { consumer, prompt } => {
            code.tag(20).tag(*consumer).tag(u8::from(*prompt));
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

fn encode_seen(seen: &Seen, code: &mut Encoder<'_>) {
    match seen {
        Seen::Accepted { connection } => code.tag(0).number(u64::from(*connection)),
        Seen::Connect { connection, token, device_token } => code
            .tag(1)
            .number(u64::from(*connection))
            .text(token.as_deref().unwrap_or_default())
            .text(device_token.as_deref().unwrap_or_default()),
        Seen::Hello { connection, issued } => {
            code.tag(2).number(u64::from(*connection)).text(issued.as_deref().unwrap_or_default())
        }
        Seen::Refused { connection, code: why } => code.tag(3).number(u64::from(*connection)).text(why),
        Seen::Request { connection, request } => {
            code.tag(4).number(u64::from(*connection)).number(u64::from(*request))
        }
        Seen::EventSent { connection, seq } => code.tag(5).number(u64::from(*connection)).number(*seq),
        Seen::EventLost { connection, seq } => code.tag(6).number(u64::from(*connection)).number(*seq),
        Seen::Closed { connection, code: number } => {
            code.tag(7).number(u64::from(*connection)).number(u64::from(*number))
        }
        Seen::Dropped { connection } => code.tag(8).number(u64::from(*connection)),
        Seen::Gone { connection } => code.tag(9).number(u64::from(*connection)),
        Seen::Booted => code.tag(10),
        Seen::Down => code.tag(11),
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

/// Who a record is about, for columns and lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// The consumers of the client.
    Consumer,
    /// The client itself.
    Client,
    /// The network between client and gateway.
    Link,
    /// A gateway.
    Gateway(u8),
}

impl What {
    /// Who this is about.
    #[must_use]
    pub fn lane(&self) -> Lane {
        match self {
            Self::RequestMade { .. }
            | Self::RequestSettled { .. }
            | Self::RequestDropped { .. }
            | Self::Subscribed { .. }
            | Self::Unsubscribed { .. }
            | Self::Panicked { .. }
            | Self::Behaves { .. }
            | Self::Pushed { .. }
            | Self::Configured { .. }
            | Self::Wanted
            | Self::Woken
            | Self::Resumed
            | Self::ShutdownCalled
            | Self::ShutdownReturned => Lane::Consumer,
            Self::Status(_) | Self::Dialed { .. } | Self::Released { .. } | Self::Remaining { .. } => {
                Lane::Client
            }
            Self::Fault { fault: Fault::Partition | Fault::Blip, .. }
            | Self::Healed { fault: Fault::Partition | Fault::Blip, .. } => Lane::Link,
            Self::Gateway { gateway, .. } | Self::Fault { gateway, .. } | Self::Healed { gateway, .. } => {
                Lane::Gateway(*gateway)
            }
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lane = match self.what.lane() {
            Lane::Consumer => "consumer".to_owned(),
            Lane::Client => "client".to_owned(),
            Lane::Link => "link".to_owned(),
            Lane::Gateway(gateway) => format!("gateway {gateway}"),
        };
        write!(f, "{:>9}  {lane:<9}  {}", self.at.to_string(), self.what)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RequestMade { consumer, request, timeout_ms } => {
                write!(f, "consumer {consumer} makes request {request} (deadline {timeout_ms} ms)")
            }
            Self::RequestSettled { request, outcome: Outcome::Answered { own: true } } => {
                write!(f, "request {request} is answered")
            }
            Self::RequestSettled { request, outcome: Outcome::Answered { own: false } } => {
                write!(f, "request {request} gets the answer to another")
            }
            Self::RequestSettled { request, outcome: Outcome::Failed { delivery, kind } } => {
                write!(f, "request {request} fails: {kind:?}, {delivery:?}")
            }
            Self::RequestDropped { request } => write!(f, "request {request} is dropped by its caller"),
            Self::Subscribed { consumer, subscription } => {
                write!(f, "consumer {consumer} opens subscription {subscription}")
            }
            Self::Unsubscribed { subscription } => write!(f, "subscription {subscription} is dropped"),
            Self::Panicked { subscription } => write!(f, "the reader of subscription {subscription} panics"),
            Self::Behaves { consumer, prompt: true } => {
                write!(f, "consumer {consumer} reads at once from now on")
            }
            Self::Behaves { consumer, prompt: false } => {
                write!(f, "consumer {consumer} is slow, stuck or about to panic from now on")
            }
            Self::Pushed { subscription, item } => write!(f, "subscription {subscription} gets {item}"),
            Self::Status(status) => write!(f, "is {status:?}"),
            Self::Configured { gateway, token, changed: true } => {
                write!(f, "the config changes to gateway {gateway} with {token}")
            }
            Self::Configured { gateway, token, changed: false } => {
                write!(f, "the same config is applied: gateway {gateway} with {token}")
            }
            Self::Wanted => f.write_str("a connection is wanted"),
            Self::Woken => f.write_str("the network is said to be back"),
            Self::Resumed => f.write_str("reconnecting is resumed"),
            Self::ShutdownCalled => f.write_str("shutdown begins"),
            Self::ShutdownReturned => f.write_str("shutdown returns"),
            Self::Dialed { socket, gateway } => write!(f, "dials gateway {gateway}: socket {socket}"),
            Self::Released { socket } => write!(f, "lets go of socket {socket}"),
            Self::Gateway { seen, .. } => seen.fmt(f),
            Self::Fault { fault, .. } => write!(f, "FAULT {} begins", fault.name()),
            Self::Healed { fault, .. } => write!(f, "fault {} is over", fault.name()),
            Self::Remaining { sockets, timers, requests } => {
                write!(f, "holds {sockets} sockets, {timers} timers, {requests} requests")
            }
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted { connection } => write!(f, "accepts connection {connection}"),
            Self::Connect { connection, token, device_token } => {
                write!(f, "connection {connection} presents {}", token.as_deref().unwrap_or("no token"))?;
                match device_token {
                    Some(device_token) => write!(f, " and device token {device_token}"),
                    None => Ok(()),
                }
            }
            Self::Hello { connection, issued: None } => write!(f, "says hello to connection {connection}"),
            Self::Hello { connection, issued: Some(token) } => {
                write!(f, "says hello to connection {connection} and issues device token {token}")
            }
            Self::Refused { connection, code } => write!(f, "refuses connection {connection}: {code}"),
            Self::Request { connection, request } => {
                write!(f, "receives request {request} on connection {connection}")
            }
            Self::EventSent { connection, seq } => write!(f, "sends event {seq} on connection {connection}"),
            Self::EventLost { connection, seq } => write!(f, "loses event {seq} of connection {connection}"),
            Self::Closed { connection, code } => write!(f, "closes connection {connection} with {code}"),
            Self::Dropped { connection } => write!(f, "drops connection {connection}"),
            Self::Gone { connection } => write!(f, "has lost connection {connection}"),
            Self::Booted => f.write_str("is up"),
            Self::Down => f.write_str("is down"),
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snapshot { epoch } => write!(f, "the snapshot of epoch {epoch}"),
            Self::Event { epoch, seq: Some(seq) } => write!(f, "event {seq} of epoch {epoch}"),
            Self::Event { epoch, seq: None } => write!(f, "an unnumbered event of epoch {epoch}"),
            Self::Gap { epoch, expected, received } => {
                write!(f, "a gap in epoch {epoch}: {received} instead of {expected}")
            }
            Self::Status(status) => write!(f, "status {status:?}"),
            Self::Lagged { missed } => write!(f, "a lag of {missed} items"),
            Self::Closed => f.write_str("the end"),
        }
    }
}
