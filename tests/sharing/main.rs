//! What apps share: the hub, configs that follow a source, endpoints, and the numbers about it all.

mod config_source;
mod dropping;
mod endpoint_store;
mod hub;
mod rig;
mod statistics;
