//! The sans-IO core: every protocol decision, and nothing that can block.
//!
//! The rules of this module, checked by `tests/tidy.rs`:
//!
//! 1. Time is an argument ([`Instant`]); there is no clock here.
//! 2. Randomness is a seed given to [`Connection::new`]; there is no entropy here.
//! 3. No async runtime, no socket, no thread, no environment, no global state.
//! 4. Ordered maps only, so that two runs of one history are the same run.
//! 5. [`Connection::step`] is the one entry point. It returns all it wants done as
//!    [`Effect`]s, and [`Connection::next_deadline`] says when it wants to run again, and why.
//!
//! Because deadlines are derived from the state instead of being kept in a table of their own, a
//! timer cannot outlive the state that wanted it.

mod backoff;
pub mod certificate;
mod close_reason;
pub mod config;
mod connection;
mod credentials;
mod decision;
mod device;
mod driver_end;
mod due;
pub mod effect;
mod endpoint;
pub mod error;
mod event;
pub mod frame;
mod handshake;
pub mod headers;
mod hello;
mod host;
mod id;
mod in_flight;
mod inbound;
mod json;
pub mod mailbox;
mod members;
pub(crate) mod name_set;
mod options;
mod pairing;
mod pause;
pub mod payload;
pub mod peer_text;
mod pins;
mod proxy;
mod reach;
mod reconnect;
mod redaction;
mod requests;
mod selection;
mod sequence;
mod session;
mod settling;
pub mod snapshot;
mod store_error;
pub mod time;
mod tls;
pub mod typed;
pub mod upgrade;

pub use certificate::{CertificatePin, Pin, PublicKeyPin};
pub use config::{ClientInfo, Config, Credentials, Options, Secret};
pub use connection::Connection;
pub use device::{DeviceIdentity, SignatureVersion};
pub use driver_end::{DriverEnd, DriverPart};
pub use due::{Deadline, DeadlineReason};
pub use effect::{
    Close, Command, Effect, Input, Push, Reply, Response, Status, StoredToken, TokenKey, WireText,
};
pub use endpoint::{Endpoint, Plaintext};
pub use error::{
    AfterApproval, BadMember, ConfigError, ConnectionError, Delivery, DialError, GatewayError, Initiator,
    PauseReason, RequestError, RequestErrorKind, Stage,
};
pub use event::{Event, Gap, Ignored, StateVersion};
pub use headers::Headers;
#[cfg(feature = "net")]
pub(crate) use host::is_private;
pub use id::{Epoch, RequestId, SubscriptionId};
pub use mailbox::LagPolicy;
pub use payload::Payload;
pub use peer_text::{OneLine, PeerText};
pub use pins::{PinPolicy, Pins};
pub use proxy::{Proxy, ProxyProblem, ProxyProtocol, SocksReply};
pub use reach::{AddressFailure, AddressFailures, NameProblem, Shortage};
pub use snapshot::{AuthMethod, Hello, Policy, RoleToken, Snapshot};
pub use store_error::StoreError;
pub use time::Instant;
pub use tls::{CertificateProblem, PresentedCertificate, TlsFailure, UnixTime};
pub use typed::{DecodeError, TypedEvent};
pub use upgrade::{PeerProtocol, UpgradeFault, UpgradeRefusal, UpgradeRemedy};
