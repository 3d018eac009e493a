//! A client core that holds exactly one socket to an OpenClaw Gateway.

pub mod core;

#[cfg(feature = "driver")]
mod client;
#[cfg(feature = "driver")]
mod driver;
#[cfg(feature = "net")]
pub mod net;
#[cfg(feature = "driver")]
pub mod network;

#[cfg(feature = "driver")]
pub use client::{Builder, Client, NotReady, RequestBuilder, RequestFuture, SubscribeError, Subscription};
#[cfg(feature = "driver")]
pub use driver::{Driver, ShutdownReport};
