//! Who a record is about.

use super::Event;
use crate::plan::Fault;

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

impl Event {
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
            | Self::Unconfigured { .. }
            | Self::Wanted
            | Self::Woken
            | Self::Resumed
            | Self::ShutdownCalled
            | Self::ShutdownReturned
            | Self::Skipped { .. } => Lane::Consumer,
            Self::Status(_) | Self::Dialed { .. } | Self::Released { .. } | Self::Remaining { .. } => {
                Lane::Client
            }
            Self::Fault { fault: Fault::Suspend, .. } | Self::Healed { fault: Fault::Suspend, .. } => {
                Lane::Client
            }
            Self::Fault { fault, .. } | Self::Healed { fault, .. } if fault.is_of_link() => Lane::Link,
            Self::Gateway { gateway, .. } | Self::Fault { gateway, .. } | Self::Healed { gateway, .. } => {
                Lane::Gateway(*gateway)
            }
        }
    }
}
