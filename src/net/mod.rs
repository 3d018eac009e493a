//! The production networks.

#[cfg(feature = "net")]
mod tcp;
#[cfg(feature = "tls")]
pub mod tls;

#[cfg(feature = "net")]
pub use tcp::TcpNetwork;
#[cfg(feature = "tls")]
pub use tls::TlsNetwork;
