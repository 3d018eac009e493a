//! Why a client pauses, and what has to happen before it goes on.

use std::fmt;

use thiserror::Error;

use super::error::{DialError, GatewayError};
use super::peer_text::PeerText;
use super::time::Instant;
use super::upgrade::UpgradeRefusal;

/// How a client that waits for its device to be approved gets to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AfterApproval {
    /// By being told to resume.
    Resume,
    /// By asking the gateway again by itself, at this time for the next time; in the past while it asks
    /// ([`Options::pairing_poll`](super::Options::pairing_poll)).
    Poll {
        /// When.
        at: Instant,
    },
    /// From the gateway, over the connection, which is kept open for it: then it connects anew
    /// ([`Options::pairing_hold`](super::Options::pairing_hold)).
    Told,
}

impl fmt::Display for AfterApproval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resume => f.write_str(", then resume"),
            Self::Poll { .. } => f.write_str(" (the client asks again by itself)"),
            Self::Told => f.write_str(" (the gateway tells when that is done)"),
        }
    }
}

/// Why reconnecting is paused until somebody acts. No timer runs meanwhile, but for a device that waits for approval:
/// see [`AfterApproval`].
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum PauseReason {
    /// The credentials were refused: configure others, or fix the gateway and resume.
    #[error(
        "the gateway refused the credentials ({0}): configure others, or resume once the gateway takes these"
    )]
    Credentials(GatewayError),
    /// The device waits for approval on the gateway: approve it there. What follows is in `then`.
    #[error(
        "the gateway wants this device approved ({error}): approve request {}{then}",
        request_id.as_deref().unwrap_or("of this device")
    )]
    Pairing {
        /// The id of the pairing request, if the gateway named a well-formed one.
        request_id: Option<PeerText>,
        /// What has to follow the approval.
        then: AfterApproval,
        /// The gateway's refusal.
        error: GatewayError,
    },
    /// Whoever approves devices on the gateway has declined this one: resume to ask again.
    #[error("the gateway's owner declined this device ({0}): resume to ask again")]
    PairingRejected(GatewayError),
    /// Nobody approved the device in time: resume to ask again, and approve it on the gateway.
    #[error("nobody approved this device in time ({0}): resume to ask again, and approve it on the gateway")]
    PairingExpired(GatewayError),
    /// The gateway knows who asks and denies access: have it granted there, or configure other credentials.
    #[error(
        "the gateway denies access ({0}): have its owner grant it, or configure other credentials, then resume"
    )]
    AccessDenied(GatewayError),
    /// The gateway advises a person to update or review something: see to it, then resume.
    #[error("the gateway refused to connect ({error}) and advises {step}: see to it, then resume")]
    Advised {
        /// The gateway's advice, like `update_client`; `pauseReconnect` where it only said that a person must act.
        step: PeerText,
        /// The gateway's refusal.
        error: GatewayError,
    },
    /// Client and gateway speak different protocol versions: update one of them.
    #[error("client and gateway speak different protocol versions ({0}): update the older one, then resume")]
    Protocol(GatewayError),
    /// The gateway answered with a protocol version that this client does not speak: update the older one.
    #[error(
        "the gateway answers with protocol version {answered} and this client speaks {offered}: update the older one, then resume"
    )]
    ProtocolVersion {
        /// What this client offers.
        offered: u32,
        /// What the gateway answered with.
        answered: u64,
    },
    /// The endpoint cannot be dialed by this network, or what listens there is no gateway: configure another.
    #[error("{0}; configure another endpoint")]
    Endpoint(DialError),
    /// The proxy has to be seen to: configure its credentials, or another one, or have its rules changed.
    #[error("{0}; see to it, or configure another proxy, then resume")]
    Proxy(DialError),
    /// The upgrade was refused, and asking again does not help: see [`UpgradeRefusal::remedy`] for what does.
    #[error("the upgrade was answered with {0}")]
    Upgrade(Box<UpgradeRefusal>),
}
