//! How the upgrade to a websocket is asked for, and what is made of an answer that is none.

mod answers;
mod refusals;
mod requests;
mod rig;
mod splits;
