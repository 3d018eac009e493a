//! What the parts of an app share: a client and its limits, the hub, configs that follow a source, endpoints,
//! and the numbers about it all.

mod asked;
mod config_source;
mod dropping;
mod ending;
mod endpoint_store;
mod fairness;
mod hanging;
mod hub;
mod lagging;
mod lost;
mod requests;
mod rig;
mod statistics;
