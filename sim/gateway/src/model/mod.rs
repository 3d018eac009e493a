//! A model of an OpenClaw Gateway 2026.9.1, protocol version 4, without any I/O; with the handshake of 2026.9.6 unless it is
//! [configured](config::Release) otherwise.
//!
//! ```text
//!   Accepted, Received, Pong,          +--------------+   Send, Ping, Close,
//!   Buffered, Disconnected  ---------> | GatewayModel | ------------------> to the link
//!   Timeout                 ---------> |    step()    |   Terminate
//!   Order (restart, token,  ---------> |              | ------------------> to trace and oracles
//!          kick, misbehave)            +--------------+   ModelEvent
//!                                        |          ^
//!                        next_deadline() |          | admission(): open, 503 or ECONNREFUSED
//!                                        v          |
//! ```
//!
//! One model serves every shell: the event queue of the machine tier, the in-memory streams, turmoil hosts and a real
//! listener. It has no clock, no sockets and no randomness but its seed, and it shares no code with the client core: two
//! ends that share a parser cannot disagree.
//!
//! Inside, one socket is a `session`, whose life before hello is in `handshake`, `auth`, `device` and `pairing`, and after
//! it in `requests`, `methods` and `runs`. What belongs to the whole gateway is in `process` (boots, clocks, restarts),
//! `broadcast` and `presence`. Everything that happens later is one queue in `timer`.
//!
//! Rules cite the notes on the protocol they come from, such as "protocol 2.4", and are checked against recordings of a
//! real gateway in `tests/recordings`. Deviations on purpose are [orders](Misbehave) only.
//!
//! Not modelled: plain HTTP, trusted proxies and Tailscale identities, the making of setup codes, suspension, node
//! commands, the byte limit of waiting requests and the separate budget of control-plane writes (protocol 8.5), and JSON
//! that only JavaScript accepts (lone surrogates, more than 128 levels).

mod answers;
mod auth;
mod broadcast;
pub mod config;
mod connect;
mod device;
mod device_methods;
mod effect;
mod frame;
mod gateway_model;
mod handshake;
mod lockout;
mod methods;
mod misbehave;
mod order;
mod pairing;
mod payload;
mod presence;
mod probe;
mod process;
mod random;
mod rejection;
mod requests;
mod runs;
mod schema;
mod scope;
mod session;
mod timer;

pub use config::GatewayConfig;
pub use effect::{
    Admission, ConnectionId, Deviation, Effect, Input, Message, ModelEvent, Peer, Presented, Secret,
    TerminateCause,
};
pub use gateway_model::GatewayModel;
pub use order::{HandshakeFault, Misbehave, Order, Rejection, RestartMode};
pub use probe::{Probe, ProbeAnswer};
