//! What apps share: the hub, configs that follow a source, endpoints, and the numbers about it all.

mod hub;
mod rig;
