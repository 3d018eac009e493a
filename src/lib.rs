//! A client core that holds exactly one socket to an OpenClaw Gateway.
//!
//! # Bird's eye
//!
//! ```text
//!   consumers ── Client ─commands─▶ Driver ──Input──▶ core::Connection
//!       ▲          ▲                  │ ▲                  │
//!       │          └──answers─────────┘ └──────Effect──────┘
//!       └──── Subscription ◀──pushes── │
//!                                      └── Network ── byte stream ── gateway
//! ```
//!
//! A [`Client`] is a cheap handle. It sends commands to the one [`Driver`], which owns the one socket. The
//! driver decides nothing: it tells the sans-IO [`core::Connection`] what happened and carries out the
//! [`core::Effect`]s that come back. Bytes come from a [`network::Network`], the one seam to the world;
//! time comes from the runtime; randomness is a seed.
//!
//! # Code map
//!
//! - [`core`]: the protocol and every decision. `connection` is the state machine (its diagram is there),
//!   `inbound` reads what the gateway says, `requests` lets requests in and out and `in_flight` holds them,
//!   `session` what belongs to one socket, `selection` which credential it presents and `credentials` which one is
//!   kept, `decision` what follows the end of a socket and `reconnect` how, `settling` when a changed config is dialed,
//!   `mailbox` what waits for a subscriber, [`core::typed`] events with types.
//! - `driver`: the loop, `socket`, which makes a websocket something that is polled, and `last_word`, which tells what
//!   ended a driver that nobody shut down.
//! - `client`: the handle, requests as futures, subscriptions as streams, the status as something to watch.
//! - [`network`] and [`net`]: the seam, and TCP, proxies and TLS behind it, each a network over the one below. Names are
//!   looked up by a [`net::resolver`], and their addresses raced in `happy_eyeballs`.
//! - [`hub`], [`config_source`] and [`endpoint_store`]: one connection for each config of a process, and where
//!   configs come from.
//! - [`token_store`]: where device tokens are kept between connections and runs.
//! - [`statistics`]: what is counted, readable at any time.
//!
//! # Subscribers
//!
//! One event is parsed once and shared by all. Each subscriber has a bounded queue of its own, and says what is
//! to happen when it is full ([`core::LagPolicy`]): the mailbox decides, with the connection's snapshot of that
//! moment at hand; the driver only carries. [`core::Event::decode`] gives an event a type.
//!
//! # What is absent, on purpose
//!
//! - The core has no clock, no entropy, no I/O, no async runtime and no unordered map. It cannot block, and
//!   the same inputs give the same effects.
//! - No timer exists that a state does not imply: deadlines are derived, so none can be left behind.
//! - The driver never waits while it carries out an effect, and no code of a consumer runs inside it.
//! - Nothing reaches the connection from the socket of a past epoch: one line in `step` sees to that.
//! - A dial happens in one place only, and never while a socket is dialing, open or closing.
//! - No credential has a `Debug` form, and none is part of an error.
//! - There is no test-only branch or hook in this library: the simulator uses what everybody uses.
//!
//! # Cancel safety
//!
//! Every future may be dropped at any await. Dropping a request forgets it; dropping a subscription ends it;
//! dropping a `shutdown` or `configure` that was polled does not take it back; dropping a wait for an item or a
//! status loses neither.

pub mod core;

#[cfg(feature = "driver")]
mod client;
#[cfg(feature = "driver")]
pub mod config_source;
#[cfg(feature = "driver")]
mod driver;
#[cfg(feature = "driver")]
pub mod endpoint_store;
#[cfg(feature = "driver")]
pub mod hub;
#[cfg(any(feature = "net", feature = "tls", feature = "proxy"))]
pub mod net;
#[cfg(feature = "driver")]
pub mod network;
#[cfg(feature = "driver")]
pub mod statistics;
#[cfg(feature = "driver")]
pub mod token_store;

#[cfg(feature = "driver")]
pub use client::{
    Builder, Client, ConfigureError, IdempotencyKey, NotReady, RequestBuilder, RequestFuture, StatusWatch,
    SubscribeError, SubscribeOptions, Subscription,
};
#[cfg(feature = "driver")]
pub use driver::{Driver, ShutdownReport};
#[cfg(feature = "driver")]
pub use hub::Hub;
#[cfg(feature = "driver")]
pub use statistics::{IgnoredMessages, Statistics};

/// The README's example is compiled as a test.
#[cfg(all(doctest, feature = "net"))]
#[doc = include_str!("../README.md")]
struct Readme;
