//! What the gateway pushes, and the numbering that shows what is missing.

use super::frame::FrameError;
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
    /// The account it is for, where a gateway tells several apart and this event is for one of them.
    pub recipient_profile_id: Option<PeerText>,
}

/// Why a message of the gateway had no effect. The connection goes on (protocol 2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ignored {
    /// It is no text: a binary message that is not UTF-8.
    NotText,
    /// It is no frame.
    NoFrame(FrameError),
    /// It answers a request that nobody waits for: one that has ended or was answered already, or none of ours.
    Unawaited,
    /// It is a challenge, and `connect` has been sent already.
    Challenge,
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
