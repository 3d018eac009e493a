//! What the gateway pushes, and the numbering that shows what is missing.

use super::id::Epoch;
use super::payload::Payload;
use super::peer_text::PeerText;

/// An event frame (protocol 2).
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The connection it came over.
    pub epoch: Epoch,
    /// The event's name, like `presence` or `chat`. Unknown names are delivered too.
    pub name: PeerText,
    /// Its payload; JSON `null` when the frame had none.
    pub payload: Payload,
    /// Its number on this connection, if it has one.
    pub seq: Option<u64>,
    /// The versions of the state it belongs to, if it names them.
    pub state_version: Option<StateVersion>,
}

/// Counters of the gateway's state, comparable within one boot (protocol 10.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct StateVersion {
    /// Grows with every change of presence.
    pub presence: u64,
    /// Grows with every refresh of health.
    pub health: u64,
}

/// A hole in the numbering of one connection's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The connection.
    pub epoch: Epoch,
    /// The number that should have come.
    pub expected: u64,
    /// The number that came.
    pub received: u64,
}
