//! A stored scenario: a plan, the situation it is for, and what its run must have seen.

use serde::{Deserialize, Serialize};

use super::expectation::Expectation;
use crate::plan::{Params, Plan, PlanError, Step, Tier, text};

/// A plan that is kept for a situation. A bare plan is a scenario without expectations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// The situation, in a sentence.
    pub about: String,
    /// The tiers it is for; all of them if none is named.
    pub tiers: Vec<Tier>,
    /// What a run must have seen, or it never was in its situation.
    pub expect: Vec<Expectation>,
    /// What a run must not have seen.
    pub forbid: Vec<Expectation>,
    /// What happens.
    pub plan: Plan,
}

impl Scenario {
    /// A plan of which nothing is expected, for every tier.
    #[must_use]
    pub fn of(plan: Plan) -> Self {
        Self { about: String::new(), tiers: Vec::new(), expect: Vec::new(), forbid: Vec::new(), plan }
    }

    /// Reads a scenario and checks its plan, for every tier that the scenario names.
    ///
    /// # Errors
    /// [`PlanError`] says in one line what is wrong.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let Stored { version, seed, about, tiers, expect, forbid, params, steps } = text::read(text)?;
        let plan = Plan { version, seed, params, steps };
        plan.check()?;
        for tier in &tiers {
            plan.check_for(*tier)?;
        }
        Ok(Self { about, tiers, expect, forbid, plan })
    }

    /// The scenario as text that [`parse`](Self::parse) reads.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { about, tiers, expect, forbid, plan } = self;
        let head = Head { about, tiers, expect, forbid };
        let head = toml::to_string(&head).expect("a scenario is plain data");
        plan.to_text().replacen("\n\n[params]", &format!("\n{head}\n[params]"), 1)
    }

    /// Whether it is for this tier: one that it names, or any that can carry it out if it names none.
    #[must_use]
    pub fn is_for(&self, tier: Tier) -> bool {
        self.plan.check_for(tier).is_ok() && (self.tiers.is_empty() || self.tiers.contains(&tier))
    }
}

/// The file. Flattening the plan would let unknown keys pass and lose the lines of errors.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    seed: u64,
    #[serde(default)]
    about: String,
    #[serde(default)]
    tiers: Vec<Tier>,
    #[serde(default)]
    expect: Vec<Expectation>,
    #[serde(default)]
    forbid: Vec<Expectation>,
    params: Params,
    #[serde(default, deserialize_with = "text::steps")]
    steps: Vec<Step>,
}

/// What a scenario has besides its plan.
#[derive(Serialize)]
struct Head<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    about: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tiers: &'a [Tier],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    expect: &'a [Expectation],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    forbid: &'a [Expectation],
}
