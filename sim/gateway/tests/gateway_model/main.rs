//! Behaviours of the gateway model, by name. Comments cite the protocol rule a test shows.

mod auth;
mod devices;
mod events;
mod handshake;
mod misbehaviour;
mod process;
mod requests;
mod rig;
mod schema;
#[path = "../schema/validator.rs"]
mod validator;
mod walk;
