//! A run as data: who does what when, and what goes wrong.
//!
//! A plan is made from a seed before the run, or written by hand. The run draws from nothing but
//! the plan, so a stored plan stays what it was when the generator changes; a bare seed does not.
//!
//! ```toml
//! version = 1
//! seed = 7
//!
//! [params]
//! calm_ms = 20000
//! end_ms = 70000
//!
//! [[steps]]
//! at_ms = 100
//! do = "subscribe"
//! consumer = 0
//!
//! [[steps]]
//! after = "hello 1 of 0"
//! plus_ms = 2000
//! do = "misbehave"
//! gateway = 0
//! how = { handshake = { count = 1, fault = { late_hello = { by = 1500 } } } }
//! ```
//!
//! A step with `times = 3` and `every_ms = 500` happens three times, half a second apart, as if it were written three
//! times; that is how reports number it.

mod action;
pub mod consumer;
mod draw;
pub mod environment;
mod fault;
mod milestone;
mod params;
pub(crate) mod text;
mod tier;

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use action::{Action, Actor, AppAction, GatewayAction, LinkFault, ProcessFault};
pub(crate) use draw::FaultDraw;
pub use fault::Fault;
pub use milestone::{Milestone, MilestoneError, MilestoneKind};
pub use params::{Limits, Params};
pub use tier::Tier;

/// The version of the plan format. A plan of another version is refused, never guessed at.
pub const VERSION: u32 = 1;
/// Gateways of a run.
pub const GATEWAYS: u8 = 2;

/// A whole run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The format's version.
    pub version: u32,
    /// What the run still draws from while it goes on: latencies, jitter, ids, tie order.
    pub seed: u64,
    /// What stays the same during the run.
    pub params: Params,
    /// What happens: steps with a time of their own in its order, and anywhere between them those that follow a
    /// milestone.
    #[serde(default, deserialize_with = "text::steps")]
    pub steps: Vec<Step>,
}

/// Something that happens at a time of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub when: When,
    /// What.
    pub action: Action,
}

impl Step {
    /// A step at a time of its own.
    #[must_use]
    pub fn at(at_ms: u64, action: impl Into<Action>) -> Self {
        Self { when: When::At { at_ms }, action: action.into() }
    }

    /// A step that follows a milestone.
    #[must_use]
    pub fn after(after: Milestone, plus_ms: u64, action: impl Into<Action>) -> Self {
        Self { when: When::After { after, plus_ms }, action: action.into() }
    }
}

/// The time of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// A time of the run.
    At {
        /// Milliseconds of simulated time.
        at_ms: u64,
    },
    /// Some time after something that may come at any time, or never.
    After {
        /// What.
        after: Milestone,
        /// Milliseconds from then.
        plus_ms: u64,
    },
}

impl When {
    /// The time, if the plan knows it.
    #[must_use]
    pub fn at_ms(self) -> Option<u64> {
        match self {
            Self::At { at_ms } => Some(at_ms),
            Self::After { .. } => None,
        }
    }
}

impl std::fmt::Display for When {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::At { at_ms } => write!(f, "at {at_ms} ms"),
            Self::After { after, plus_ms } => write!(f, "{plus_ms} ms after {after}"),
        }
    }
}

/// Why a plan cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// The text is not a plan.
    #[error("this is not a plan: {0}")]
    Syntax(String),
    /// The plan is written for another version of the harness.
    #[error("the plan has version {found}, and this harness runs version {VERSION}")]
    Version {
        /// The version it has.
        found: u32,
    },
    /// The plan makes no sense.
    #[error("step {step} {when}: {why}")]
    Step {
        /// The number of the step, from 1.
        step: usize,
        /// Its time.
        when: When,
        /// What is wrong.
        why: String,
    },
    /// The tier cannot carry out a fault of the plan.
    #[error(
        "step {step} {when}: {fault} cannot happen on {tier}, only on {others}",
        fault = .fault.name(),
        tier = .tier.name(),
        others = .fault.tiers().iter().map(|tier| tier.name()).collect::<Vec<_>>().join(" and ")
    )]
    Tier {
        /// The number of the step, from 1.
        step: usize,
        /// Its time.
        when: When,
        /// The class of the fault.
        fault: Fault,
        /// The tier that was asked for.
        tier: Tier,
    },
    /// A parameter makes no sense.
    #[error("parameter {name}: {why}")]
    Param {
        /// The parameter.
        name: &'static str,
        /// What is wrong.
        why: &'static str,
    },
}

impl Plan {
    /// A plan in which nothing happens yet: default parameters, 60 seconds, and
    /// `seed` for what a run draws.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { version: VERSION, seed, params: Params::default(), steps: Vec::new() }
    }

    /// The plan with one more step. Steps may be added in any order; of those at the same time, what is added first
    /// happens first.
    #[must_use]
    pub fn at(mut self, at_ms: u64, action: impl Into<Action>) -> Self {
        let is_later = |step: &Step| step.when.at_ms().is_some_and(|other| other > at_ms);
        let index = self.steps.iter().position(is_later).unwrap_or(self.steps.len());
        self.steps.insert(index, Step::at(at_ms, action));
        self
    }

    /// The plan with one more step, some time after a milestone; it needs the parameter `calm_ms`.
    #[must_use]
    pub fn after(mut self, after: Milestone, plus_ms: u64, action: impl Into<Action>) -> Self {
        self.steps.push(Step::after(after, plus_ms, action));
        self
    }

    /// The plan with other parameters.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Params)) -> Self {
        change(&mut self.params);
        self
    }

    /// Reads a plan and checks it.
    ///
    /// # Errors
    /// [`PlanError`] says in one line what is wrong.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let plan: Self = text::read(text)?;
        plan.check()?;
        Ok(plan)
    }

    /// The plan as text that [`parse`](Self::parse) reads.
    #[must_use]
    pub fn to_text(&self) -> String {
        text::write(self)
    }

    /// Checks that the plan makes sense.
    ///
    /// # Errors
    /// [`PlanError`] names the first thing that does not.
    pub fn check(&self) -> Result<(), PlanError> {
        self.params.check()?;
        if self.seed > i64::MAX.cast_unsigned() {
            return Err(PlanError::Syntax(format!("the seed {} is above {}", self.seed, i64::MAX)));
        }
        let mut last = 0;
        for (index, step) in self.steps.iter().enumerate() {
            let error = |why: String| PlanError::Step { step: index + 1, when: step.when, why };
            if let Some(at_ms) = step.when.at_ms() {
                if at_ms < last {
                    return Err(error(format!("it comes after a step at {last} ms")));
                }
                last = at_ms;
            }
            step.action.check(&self.params).map_err(error)?;
            self.check_time(step).map_err(error)?;
            if step.action.gateway().is_some_and(|gateway| gateway >= GATEWAYS) {
                return Err(error(format!("there are only {GATEWAYS} gateways, numbered from 0")));
            }
        }
        Ok(())
    }

    /// Checks that `tier` can carry out every fault of the plan.
    ///
    /// # Errors
    /// [`PlanError::Tier`] names the first fault that it cannot carry out, and the tiers that can.
    pub fn check_for(&self, tier: Tier) -> Result<(), PlanError> {
        let impossible = |step: &Step| step.action.fault().filter(|fault| !fault.applies_to(tier));
        let first = self.steps.iter().enumerate().find_map(|(index, step)| Some((index, impossible(step)?)));
        let Some((index, fault)) = first else { return Ok(()) };
        Err(PlanError::Tier { step: index + 1, when: self.steps[index].when, fault, tier })
    }

    /// The plan without the faults that `tier` cannot carry out. All else is as it is on other tiers.
    #[must_use]
    pub fn for_tier(&self, tier: Tier) -> Cow<'_, Self> {
        if self.check_for(tier).is_ok() {
            return Cow::Borrowed(self);
        }
        let is_possible = |step: &&Step| step.action.fault().is_none_or(|fault| fault.applies_to(tier));
        let steps = self.steps.iter().filter(is_possible).cloned().collect();
        Cow::Owned(Self { steps, params: self.params.clone(), ..*self })
    }

    fn check_time(&self, step: &Step) -> Result<(), String> {
        let Params { calm_ms, end_ms, .. } = self.params;
        let latest_ms = match (step.when, calm_ms) {
            (When::At { at_ms }, Some(calm_ms)) if at_ms > calm_ms && step.action.fault().is_some() => {
                return Err(format!("no fault begins after calm_ms = {calm_ms}"));
            }
            (When::At { at_ms }, Some(_) | None) => at_ms,
            (When::After { .. }, Some(calm_ms)) => calm_ms,
            (When::After { .. }, None) => {
                return Err("a plan with a step after a milestone needs the parameter calm_ms".to_owned());
            }
        };
        if latest_ms.saturating_add(step.action.lasts_ms().unwrap_or(0)) > end_ms {
            return Err(format!("it lasts beyond the end of the run at {end_ms} ms"));
        }
        Ok(())
    }

    /// The token that every gateway starts with, and the first config names.
    pub const FIRST_TOKEN: &str = "token-0";

    /// The setup codes of every gateway. Each gateway takes each of them once.
    pub const BOOTSTRAP_TOKENS: [&str; 3] = ["bootstrap-0", "bootstrap-1", "bootstrap-2"];

    /// When the last fault is over, at the latest.
    #[must_use]
    pub fn healed_ms(&self) -> u64 {
        let latest_ms = |step: &Step| {
            let at_ms = step.when.at_ms().unwrap_or(self.params.calm_ms.unwrap_or(self.params.end_ms));
            at_ms + step.action.lasts_ms().unwrap_or(0)
        };
        self.steps.iter().filter(|step| step.action.fault().is_some()).map(latest_ms).max().unwrap_or(0)
    }

    /// The fault classes in it.
    #[must_use]
    pub fn faults(&self) -> BTreeSet<Fault> {
        self.steps.iter().filter_map(|step| step.action.fault()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use onesocket_gateway::{HandshakeFault, Misbehave, Rejection};

    fn error(text: &str) -> String {
        Plan::parse(text).expect_err("it is no plan").to_string()
    }

    #[test]
    fn steps_after_milestones_and_nested_misbehaviour_survive_their_text_form() {
        let refusal = Rejection {
            code: "UNAVAILABLE".to_owned(),
            details: Some(r#"{"code":"X"}"#.to_owned()),
            close: Some((1008, "no".to_owned())),
            ..Rejection::default()
        };
        let misbehave = |how| Action::Gateway { gateway: 0, order: GatewayAction::Misbehave { how } };
        let after = "hello 2 of 1".parse().expect("a milestone");
        let plan = Plan {
            steps: vec![
                Step::at(
                    5,
                    misbehave(Misbehave::Handshake { count: 2, fault: HandshakeFault::Reject(refusal) }),
                ),
                Step::after(after, 20, misbehave(Misbehave::StarveTicks { lasting: Duration::from_secs(2) })),
                Step::at(9, misbehave(Misbehave::Binary { data: vec![0, 255] })),
                Step::after(after, 0, misbehave(Misbehave::Behave)),
                Step::at(9, Action::Process(ProcessFault::Suspend { for_ms: 7 })),
            ],
            ..Plan::new(3).with(|params| params.calm_ms = Some(10_000))
        };
        let text = plan.to_text();
        assert_eq!(Plan::parse(&text).as_ref(), Ok(&plan), "{text}");
        assert!(text.contains("after = \"hello 2 of 1\"\nplus_ms = 20\ndo = \"misbehave\"\n"), "{text}");
        assert!(text.contains("how = { starve_ticks = { lasting = 2000 } }"), "{text}");
    }

    #[test]
    fn a_step_happens_as_often_as_it_says() {
        let text = "version = 1\nseed = 1\n[params]\ncalm_ms = 90\n\
            [[steps]]\nat_ms = 5\ntimes = 2\nevery_ms = 10\ndo = \"wake\"\n\
            [[steps]]\nat_ms = 5\ntimes = 2\ndo = \"resume\"\n\
            [[steps]]\nafter = \"hello 1\"\ntimes = 2\nevery_ms = 3\ndo = \"connect\"\n\
            [[steps]]\nat_ms = 9\ndo = \"shutdown\"\n";
        let hello = "hello 1".parse().expect("a milestone");
        let steps = [
            Step::at(5, AppAction::Wake {}),
            Step::at(5, AppAction::Resume {}),
            Step::after(hello, 0, AppAction::Connect {}),
            Step::after(hello, 3, AppAction::Connect {}),
            Step::at(5, AppAction::Resume {}),
            Step::at(9, AppAction::Shutdown {}),
            Step::at(15, AppAction::Wake {}),
        ];
        assert_eq!(Plan::parse(text).map(|plan| plan.steps), Ok(steps.to_vec()));
    }

    #[test]
    fn what_is_no_plan_is_told_in_one_line() {
        let head = "version = 1\nseed = 1\n[params]\ncalm_ms = 10\nend_ms = 100\n[[steps]]\n";
        let cases = [
            ("at_ms = 1\nafter = \"hello 1\"\ndo = \"wake\"", "either at_ms, or after and plus_ms"),
            ("do = \"wake\"", "either at_ms, or after and plus_ms"),
            ("after = \"hullo 1\"\ndo = \"wake\"", "\"hullo\" is no milestone"),
            ("at_ms = -1\ndo = \"wake\"", "must be a whole number"),
            ("at_ms = 1\nplus_ms = 1\ndo = \"wake\"", "either at_ms, or after and plus_ms"),
            ("at_ms = 11\ndo = \"half-open\"\ngateway = 0", "no fault begins after calm_ms = 10"),
            ("after = \"hello 1\"\ndo = \"suspend\"\nfor_ms = 99", "lasts beyond the end"),
            ("at_ms = 1\ndo = \"lose\"\ngateway = 0\ndirection = \"up\"\nfor_ms = 1", "unknown variant `up`"),
            (
                "at_ms = 1\ndo = \"misbehave\"\ngateway = 0\nhow = { giant = { bytes = 1, x = 2 } }",
                "unknown field `x`",
            ),
            ("at_ms = 1\ndo = \"misbehave\"\ngateway = 0\nhow = \"lie\"", "unknown variant `lie`"),
            ("at_ms = 1\ndo = \"subscribe-with\"\nconsumer = 0\nlag = \"wait\"", "unknown variant `wait`"),
            (
                "at_ms = 1\ndo = \"configure-bootstrap\"\ngateway = 0\ntoken = \"bootstrap-0\"",
                "only a device can be set up: the plan needs the parameter device",
            ),
            ("at_ms = 1\ntimes = 0\ndo = \"wake\"", "times must be from 1 to 10000"),
            ("at_ms = 1\nevery_ms = 5\ndo = \"wake\"", "every_ms needs times"),
            ("at_ms = 1\ntimes = 3\nevery_ms = 60\ndo = \"wake\"", "lasts beyond the end"),
            ("at_ms = 1\ndo = \"run-agent\"\nconsumer = 0\ntimeout_ms = 1", "missing field `key`"),
            (
                "at_ms = 1\ndo = \"subscribe-with\"\nconsumer = 0\nlag = \"close\"\nitems = 3",
                "items must be from 4 to the parameter subscription_items, which is 1024",
            ),
        ];
        for (step, part) in cases {
            let told = error(&format!("{head}{step}\n"));
            assert!(told.contains(part) && !told.contains('\n'), "{step}: {told}");
        }
        let plan = format!(
            "{head}at_ms = 1\ndo = \"wake\"\n[[steps]]\nat_ms = 2\ndo = \"bytes\"\ngateway = 0\nfor_ms = 1\n"
        );
        let plan = Plan::parse(&plan).expect("a plan");
        let told = |tier| plan.check_for(tier).map_err(|error| error.to_string());
        assert_eq!(told(Tier::Stream), Ok(()));
        assert_eq!(
            told(Tier::Turmoil),
            Err("step 2 at 2 ms: bytes cannot happen on turmoil, only on stream".to_owned())
        );
        assert_eq!(plan.for_tier(Tier::Machine).steps, plan.steps[..1]);
        let told = error("version = 1\nseed = 1\n[params]\n[[steps]]\nafter = \"hello 1\"\ndo = \"wake\"\n");
        assert_eq!(
            told,
            "step 1 0 ms after hello 1: a plan with a step after a milestone needs the parameter calm_ms"
        );
    }
}
