//! The tiers, as data: which there are and what they are called.

use serde::{Deserialize, Serialize};

/// The three ways to run a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Core and gateway model joined by an event queue: no runtime, time jumps.
    Machine,
    /// The real driver over in-memory byte streams on one paused runtime.
    Stream,
    /// The real driver on turmoil's hosts and links.
    Turmoil,
}

impl Tier {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Machine, Self::Stream, Self::Turmoil];

    /// The name used on the command line and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Stream => "stream",
            Self::Turmoil => "turmoil",
        }
    }

    /// The tier of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.name() == name)
    }
}
