//! The production networks.

mod tcp;

pub use tcp::TcpNetwork;
