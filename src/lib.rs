//! A client core that holds exactly one socket to an OpenClaw Gateway.

pub mod core;

#[cfg(feature = "driver")]
mod client;
#[cfg(feature = "driver")]
pub mod config_source;
#[cfg(feature = "driver")]
mod driver;
#[cfg(feature = "driver")]
pub mod endpoint_store;
#[cfg(feature = "driver")]
pub mod hub;
#[cfg(feature = "net")]
pub mod net;
#[cfg(feature = "driver")]
pub mod network;
#[cfg(feature = "driver")]
pub mod statistics;

#[cfg(feature = "driver")]
pub use client::{
    Builder, Client, ConfigureError, NotReady, RequestBuilder, RequestFuture, SubscribeError, Subscription,
};
#[cfg(feature = "driver")]
pub use driver::{Driver, ShutdownReport};
#[cfg(feature = "driver")]
pub use hub::Hub;
#[cfg(feature = "driver")]
pub use statistics::Statistics;
