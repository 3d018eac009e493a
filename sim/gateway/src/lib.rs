#![doc = include_str!("../README.md")]

#[cfg(feature = "host")]
pub mod host;
pub mod model;
mod names;

pub use model::config;
pub use model::{
    Admission, ConnectionId, Deviation, Effect, GatewayConfig, GatewayModel, HandshakeFault, Input, Message,
    Misbehave, ModelEvent, Order, Peer, Presented, Probe, ProbeAnswer, Rejection, RestartMode, Secret,
    TerminateCause,
};
