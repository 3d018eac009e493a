//! The production networks.

#[cfg(feature = "net")]
mod happy_eyeballs;
#[cfg(feature = "net")]
mod os_error;
#[cfg(feature = "net")]
pub mod resolver;
#[cfg(feature = "net")]
mod tcp;
#[cfg(feature = "tls")]
pub mod tls;

#[cfg(feature = "net")]
pub use tcp::{TcpConnector, TcpNetwork, TcpOptions};
#[cfg(feature = "tls")]
pub use tls::TlsNetwork;
