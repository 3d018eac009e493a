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
//! [`coverage`] counts what was reached, [`guided`] keeps the plans that reached something new and changes them, and
//! [`exhaust`] leaves nothing to chance in a small world: every placement of a few faults in one fixed session.

mod corpus;
pub mod coverage;
pub mod discoveries;
pub mod exhaust;
pub mod explore;
pub mod generate;
pub mod guided;
pub mod mutants;
mod mutate;
pub mod shrink;
