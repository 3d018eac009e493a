//! Searching for runs that no seed would find soon.
//!
//! ```text
//!              ┌──────────── corpus: plans that reached something new ◀───────────┐
//!              ▼                                                                  │
//!   rarity ─▶ parents ─▶ mutation ─▶ plan ─▶ tier ─▶ trace ─▶ triples and marks ──┘
//!                                      ▲
//!   seeds ──────── generator ──────────┘
//! ```
//!
//! [`triples`] counts what was reached, [`guided`] keeps the plans that reached something new and changes them, and
//! [`exhaust`] leaves nothing to chance in a small world: every placement of a few faults in one fixed session.

mod corpus;
pub mod exhaust;
pub mod guided;
mod mutate;
pub mod triples;
