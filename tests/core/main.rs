//! The rules of the sans-IO core, through its public API.
//!
//! A test is named for the invariant it belongs to and for its situation; numbers like B04 are those of
//! `docs/reports.md`, bugs that real clients of this kind had. Most tests are a script and the history that follows from
//! it (see `script.rs` and `history.rs`); rules that hold for every history are in `laws.rs`.

mod answers;
mod bench;
mod closes;
mod config_changes;
mod credentials;
mod deadlines;
mod devices;
mod endpoint;
mod gaps;
mod history;
mod judge;
mod lag_policies;
mod laws;
mod leases;
mod limits;
mod liveness;
mod mailbox;
mod members;
mod odd_messages;
mod pairing;
mod pauses;
mod peer_text;
mod proxies;
mod reconnect;
mod refusals;
mod requests;
mod script;
mod shared_attempt;
mod shutdown;
mod snapshots;
mod sockets;
mod table;
mod wake;
