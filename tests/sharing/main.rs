//! What apps share: the hub, configs that follow a source, endpoints, and the numbers about it all.

mod config_source;
mod hub;
mod rig;
