//! The production networks.
//!
//! ```text
//!   TlsNetwork ──▶ ProxyNetwork ──▶ TlsNetwork ──▶ TcpNetwork
//!    wss://         through it       https://       names and addresses
//! ```
//!
//! Each is a [`Network`](crate::network::Network) over the next and leaves alone what it has nothing to do with, so an app
//! puts on top of TCP what its gateways need. `any_network` has all of it.

#[cfg(feature = "net")]
mod happy_eyeballs;
#[cfg(any(
    feature = "net",
    all(feature = "tls", unix, not(target_vendor = "apple"), not(target_os = "android"))
))]
mod os_error;
#[cfg(feature = "proxy")]
mod proxy;
#[cfg(feature = "net")]
pub mod resolver;
#[cfg(feature = "net")]
mod tcp;
#[cfg(feature = "tls")]
pub mod tls;

#[cfg(feature = "proxy")]
pub use proxy::ProxyNetwork;
#[cfg(feature = "net")]
pub use tcp::{TcpConnector, TcpNetwork, TcpOptions};
#[cfg(feature = "tls")]
pub use tls::TlsNetwork;

/// Whatever a config asks for: TLS for the gateway, in a proxy or not, which may itself speak TLS.
#[cfg(all(feature = "net", feature = "tls", feature = "proxy"))]
pub type AnyNetwork = TlsNetwork<ProxyNetwork<TlsNetwork<TcpNetwork>>>;

/// The network for every config, with the trust of the operating system.
#[cfg(all(feature = "net", feature = "tls", feature = "proxy"))]
#[must_use]
pub fn any_network() -> AnyNetwork {
    TlsNetwork::new(ProxyNetwork::new(TlsNetwork::new(TcpNetwork)))
}
