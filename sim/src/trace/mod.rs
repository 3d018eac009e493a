//! What happened in a run, as typed records, and their digest.
//!
//! Records are what can be seen from outside a client: its public surface, the network below it,
//! and the gateways. The same records come from every tier and would come from any other client.

mod display;
mod encode;
mod lane;
pub mod probe;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use onesocket::core::{Delivery, Instant};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::plan::Fault;
use crate::plan::consumer::Lag;
use crate::plan::environment::ConfigRef;
pub use onesocket_gateway::Deviation;
use onesocket_gateway::named;

use encode::encode;
pub use lane::Lane;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// When.
    pub at: Instant,
    /// What.
    pub event: Event,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A consumer made a request.
    RequestMade {
        /// The consumer.
        consumer: u8,
        /// The harness's number for it.
        request: u32,
        /// Its deadline; `None` waits for ever.
        timeout_ms: Option<u64>,
        /// The connection it may go over, if there is just one.
        bound_to: Option<u64>,
        /// The work it asks for, if that is to be done once however often it is asked for.
        key: Option<u32>,
        /// Whether it waits for the end of that work.
        to_the_end: bool,
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
        /// What happens if it is read too slowly.
        lag: Lag,
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
        /// What it names.
        config: ConfigRef,
        /// Whether it differs from the one in force.
        changed: bool,
    },
    /// The app took the config away.
    Unconfigured {
        /// Whether there was one.
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
        /// For how long nothing had arrived on it.
        silent: Duration,
    },
    /// Something at a gateway.
    Gateway {
        /// Which.
        gateway: u8,
        /// What.
        event: GatewayEvent,
    },
    /// A fault began.
    Fault {
        /// Its class.
        fault: Fault,
        /// The gateway it concerns.
        gateway: u8,
    },
    /// A step of the plan came too late to begin.
    Skipped {
        /// The number of the step, from 1.
        step: u32,
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
        /// Subscriptions that have not ended.
        subscriptions: u32,
    },
}

/// What a gateway saw or did.
#[derive(Clone, Debug, PartialEq)]
pub enum GatewayEvent {
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
        /// The bootstrap token it presented.
        bootstrap_token: Option<Arc<str>>,
    },
    /// Hello was sent.
    Hello {
        /// The connection.
        connection: u32,
        /// The device token in it.
        issued: Option<Arc<str>>,
        /// The device token in it that is for another role.
        handed_over: Option<Arc<str>>,
    },
    /// A connect was refused.
    Refused {
        /// The connection.
        connection: u32,
        /// The code that says why.
        code: Cow<'static, str>,
        /// The wait that it asks for.
        retry_after: Option<Duration>,
    },
    /// A request of a consumer arrived.
    Request {
        /// The connection.
        connection: u32,
        /// The harness's number of the request.
        request: u32,
    },
    /// A piece of work began.
    RunStarted {
        /// The key it was asked for by.
        run: Arc<str>,
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
    /// An ordered deviation from the protocol took effect.
    Misbehaved {
        /// The connection, unless it concerns none.
        connection: Option<u32>,
        /// What was done.
        deviation: Deviation,
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
        /// Whether the payload repeats what this request sent, and is the answer that was waited for.
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
    /// It was bound to a connection that is not there any more, or not yet.
    OtherConnection,
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

named! {
    /// The status of a client.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum StatusKind {
        /// Nobody wants a connection.
        Idle = "Idle",
        /// There is nothing to connect to.
        NotConfigured = "NotConfigured",
        /// Dialing.
        Connecting = "Connecting",
        /// Between the upgrade and hello.
        Handshaking = "Handshaking",
        /// Connected.
        Ready = "Ready",
        /// Waiting for the next dial.
        Backoff = "Backoff",
        /// Waiting for somebody to act.
        Paused = "Paused",
        /// Closing the old socket.
        Closing = "Closing",
        /// Shut down.
        Stopped = "Stopped",
        /// Waiting for a config that keeps changing.
        Settling = "Settling",
    }
}

/// The records of a run and their digest.
#[derive(Clone, Debug)]
pub struct Trace {
    records: Vec<Record>,
    digest: u64,
    now: Instant,
    /// Reused for encoding.
    buffer: Vec<u8>,
}

impl Default for Trace {
    fn default() -> Self {
        // Most runs have fewer records than this.
        Self {
            records: Vec::with_capacity(512),
            digest: 0,
            now: Instant::ZERO,
            buffer: Vec::with_capacity(128),
        }
    }
}

impl Trace {
    /// Appends a record. Time never goes back: hosts of a simulation may differ within a tick.
    pub fn push(&mut self, at: Instant, event: Event) -> &Record {
        self.now = self.now.max(at);
        self.buffer.clear();
        encode(self.now, &event, &mut self.buffer);
        self.digest = xxh3_64_with_seed(&self.buffer, self.digest);
        self.records.push(Record { at: self.now, event });
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
