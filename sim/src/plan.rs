//! A run as data: who does what when, and what goes wrong.
//!
//! A plan is made from a seed before the run, or written by hand. The run draws from nothing but
//! the plan, so a stored plan stays what it was when the generator changes; a bare seed does not.

use std::collections::BTreeSet;
use std::time::Duration;

use onesocket::core::config::Options;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::run::Tier;
use crate::scenario::Expectation;

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
    /// The situation, in a sentence, if the plan was written or kept for one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// The tiers it is for; all of them if none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<Tier>,
    /// What a run must have seen, or it never was in its situation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<Expectation>,
    /// What a run must not have seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forbid: Vec<Expectation>,
    /// What stays the same during the run.
    pub params: Params,
    /// What happens, in order of time.
    #[serde(default)]
    pub steps: Vec<Step>,
}

/// What stays the same during a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// The shortest time a message takes from one end to the other, in microseconds.
    pub latency_min_us: u64,
    /// The longest such time.
    pub latency_max_us: u64,
    /// The gateway's tick interval.
    pub tick_ms: u64,
    /// How long the gateway takes to answer a request, at most.
    pub answer_ms: u64,
    /// The client's first wait after a failure.
    pub backoff_ms: u64,
    /// The client's longest wait without a floor.
    pub backoff_cap_ms: u64,
    /// How long a connection must last before earlier failures are forgotten.
    pub stable_ms: u64,
    /// The client's limit for each stage of an attempt: dial, challenge and hello.
    pub stage_ms: u64,
    /// How long the client waits for the answer to its close frame.
    pub close_grace_ms: u64,
    /// Whether the client proves to be a device and keeps the tokens it is given.
    pub device: bool,
    /// How long the client's token store takes for anything, at most.
    pub store_ms: u64,
    /// How many of a hundred reads and writes of the token store fail.
    pub store_fails_percent: u64,
    /// When the run ends.
    pub end_ms: u64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            latency_min_us: 200,
            latency_max_us: 2_000,
            tick_ms: 5_000,
            answer_ms: 20,
            backoff_ms: 1_000,
            backoff_cap_ms: 8_000,
            stable_ms: 10_000,
            stage_ms: 3_000,
            close_grace_ms: 500,
            device: false,
            store_ms: 0,
            store_fails_percent: 0,
            end_ms: 60_000,
        }
    }
}

impl Params {
    /// The client's options in this run.
    #[must_use]
    pub fn options(&self) -> Options {
        let mut options = Options::default();
        let stage = Duration::from_millis(self.stage_ms);
        options.dial_timeout = stage;
        options.challenge_timeout = stage;
        options.hello_timeout = stage;
        options.close_grace = Duration::from_millis(self.close_grace_ms);
        options.backoff.initial = Duration::from_millis(self.backoff_ms);
        options.backoff.cap = Duration::from_millis(self.backoff_cap_ms);
        options.backoff.stable_after = Duration::from_millis(self.stable_ms);
        options
    }

    /// How long after the last fault a wanted connection may take to be ready: the silence that a
    /// dead peer is granted, then the longest wait, then one whole attempt that began too early and
    /// one that succeeds.
    #[must_use]
    pub fn convergence(&self) -> Duration {
        let attempt = 3 * self.stage_ms + self.close_grace_ms;
        let travel = self.latency_max_us.div_ceil(1_000) * 8;
        Duration::from_millis(2 * self.tick_ms + 2 * self.backoff_cap_ms + 2 * attempt + travel + 1_000)
    }
}

/// Something that happens at a time of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When, in milliseconds of simulated time.
    pub at_ms: u64,
    /// What.
    pub action: Action,
}

/// What can happen in a run. Gateways are numbered from 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// A consumer asks for a connection without asking anything of it.
    Connect {},
    /// A consumer calls a method.
    Request {
        /// Which consumer.
        consumer: u8,
        /// The gateway model's name of the method.
        method: String,
        /// The deadline.
        timeout_ms: u64,
    },
    /// A consumer drops its oldest request that has not ended.
    DropRequest {
        /// Which consumer.
        consumer: u8,
    },
    /// A consumer subscribes.
    Subscribe {
        /// Which consumer.
        consumer: u8,
    },
    /// A consumer drops its oldest subscription.
    Unsubscribe {
        /// Which consumer.
        consumer: u8,
    },
    /// The app applies a config, which may be the one that is in force.
    Configure {
        /// Which gateway.
        gateway: u8,
        /// Which token.
        token: String,
    },
    /// The app says that the network is back.
    Wake {},
    /// The app says that the reason for a pause is gone.
    Resume {},
    /// The app shuts the client down.
    Shutdown {},
    /// A gateway pushes an event to everybody.
    Emit {
        /// Which gateway.
        gateway: u8,
        /// The event's name.
        event: String,
    },
    /// Fault: a gateway restarts.
    Restart {
        /// Which gateway.
        gateway: u8,
        /// How long nothing listens.
        down_ms: u64,
        /// Whether it dies without a word.
        crash: bool,
    },
    /// Fault: what is sent between client and gateway vanishes, and connections that exist
    /// meanwhile stay dead.
    Partition {
        /// Which gateway.
        gateway: u8,
        /// For how long.
        for_ms: u64,
    },
    /// Fault: what is sent between client and gateway arrives late, in order.
    Blip {
        /// Which gateway.
        gateway: u8,
        /// For how long nothing arrives.
        for_ms: u64,
    },
    /// Fault: a gateway changes its token.
    ChangeToken {
        /// Which gateway.
        gateway: u8,
        /// The new token.
        token: String,
    },
    /// Fault: a gateway closes every connection.
    Close {
        /// Which gateway.
        gateway: u8,
        /// The close code.
        code: u16,
        /// The reason.
        reason: String,
    },
    /// Fault: the next event of a gateway is lost on its way out.
    DropEvent {
        /// Which gateway.
        gateway: u8,
    },
}

impl Action {
    /// The name of the fault class, if this is a fault.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::Restart { crash: false, .. } => Some(Fault::Restart),
            Self::Restart { crash: true, .. } => Some(Fault::Crash),
            Self::Partition { .. } => Some(Fault::Partition),
            Self::Blip { .. } => Some(Fault::Blip),
            Self::ChangeToken { .. } => Some(Fault::TokenChange),
            Self::Close { .. } => Some(Fault::Close),
            Self::DropEvent { .. } => Some(Fault::DropEvent),
            Self::Connect {}
            | Self::Request { .. }
            | Self::DropRequest { .. }
            | Self::Subscribe { .. }
            | Self::Unsubscribe { .. }
            | Self::Configure { .. }
            | Self::Wake {}
            | Self::Resume {}
            | Self::Shutdown {}
            | Self::Emit { .. } => None,
        }
    }

    /// The gateway it concerns, if it concerns one.
    #[must_use]
    pub fn gateway(&self) -> Option<u8> {
        match self {
            Self::Configure { gateway, .. }
            | Self::Emit { gateway, .. }
            | Self::Restart { gateway, .. }
            | Self::Partition { gateway, .. }
            | Self::Blip { gateway, .. }
            | Self::ChangeToken { gateway, .. }
            | Self::Close { gateway, .. }
            | Self::DropEvent { gateway } => Some(*gateway),
            Self::Connect {}
            | Self::Request { .. }
            | Self::DropRequest { .. }
            | Self::Subscribe { .. }
            | Self::Unsubscribe { .. }
            | Self::Wake {}
            | Self::Resume {}
            | Self::Shutdown {} => None,
        }
    }

    /// How long it goes on.
    #[must_use]
    pub fn lasts_ms(&self) -> u64 {
        match self {
            Self::Restart { down_ms, .. } => *down_ms,
            Self::Partition { for_ms, .. } | Self::Blip { for_ms, .. } => *for_ms,
            Self::Connect {}
            | Self::Request { .. }
            | Self::DropRequest { .. }
            | Self::Subscribe { .. }
            | Self::Unsubscribe { .. }
            | Self::Configure { .. }
            | Self::Wake {}
            | Self::Resume {}
            | Self::Shutdown {}
            | Self::Emit { .. }
            | Self::ChangeToken { .. }
            | Self::Close { .. }
            | Self::DropEvent { .. } => 0,
        }
    }
}

/// The classes of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A gateway restarts and says so.
    Restart,
    /// A gateway dies and comes back.
    Crash,
    /// A silent black hole.
    Partition,
    /// A delay in which nothing arrives and nothing is lost.
    Blip,
    /// A gateway changes its token.
    TokenChange,
    /// A gateway closes its connections.
    Close,
    /// A gateway loses an event.
    DropEvent,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Restart,
        Self::Crash,
        Self::Partition,
        Self::Blip,
        Self::TokenChange,
        Self::Close,
        Self::DropEvent,
    ];

    /// Whether it goes on for a while and then ends.
    #[must_use]
    pub const fn lasts(self) -> bool {
        match self {
            Self::Restart | Self::Crash | Self::Partition | Self::Blip => true,
            Self::TokenChange | Self::Close | Self::DropEvent => false,
        }
    }

    /// The name used in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Crash => "crash",
            Self::Partition => "partition",
            Self::Blip => "blip",
            Self::TokenChange => "token-change",
            Self::Close => "close",
            Self::DropEvent => "drop-event",
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
    #[error("step {step} at {at_ms} ms: {why}")]
    Step {
        /// The number of the step, from 1.
        step: usize,
        /// Its time.
        at_ms: u64,
        /// What is wrong.
        why: String,
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
    /// A plan of today's version that is for every tier and expects nothing.
    #[must_use]
    pub fn new(seed: u64, params: Params, steps: Vec<Step>) -> Self {
        Self {
            version: VERSION,
            seed,
            about: String::new(),
            tiers: Vec::new(),
            expect: Vec::new(),
            forbid: Vec::new(),
            params,
            steps,
        }
    }

    /// Whether it is for this tier.
    #[must_use]
    pub fn is_for(&self, tier: Tier) -> bool {
        self.tiers.is_empty() || self.tiers.contains(&tier)
    }

    /// Reads a plan and checks it.
    ///
    /// # Errors
    /// [`PlanError`] says in one line what is wrong.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        #[derive(Deserialize)]
        struct Head {
            version: Option<u32>,
        }
        let syntax = |error: toml::de::Error| {
            let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].lines().count());
            let what = error.message().lines().collect::<Vec<_>>().join(" ");
            PlanError::Syntax(format!("line {}: {what}", line.max(1)))
        };
        let head: Head = toml::from_str(text).map_err(syntax)?;
        match head.version {
            Some(VERSION) => {}
            Some(found) => return Err(PlanError::Version { found }),
            None => return Err(PlanError::Syntax("it has no version".to_owned())),
        }
        let plan: Self = toml::from_str(text).map_err(syntax)?;
        plan.check()?;
        Ok(plan)
    }

    /// Checks that the plan makes sense.
    ///
    /// # Errors
    /// [`PlanError`] names the first thing that does not.
    pub fn check(&self) -> Result<(), PlanError> {
        self.params.check()?;
        let mut last = 0;
        for (index, step) in self.steps.iter().enumerate() {
            let error = |why: String| PlanError::Step { step: index + 1, at_ms: step.at_ms, why };
            if step.at_ms < last {
                return Err(error(format!("it comes after a step at {last} ms")));
            }
            last = step.at_ms;
            if step.at_ms.saturating_add(step.action.lasts_ms()) > self.params.end_ms {
                return Err(error(format!(
                    "it lasts beyond the end of the run at {} ms",
                    self.params.end_ms
                )));
            }
            if step.action.gateway().is_some_and(|gateway| gateway >= GATEWAYS) {
                return Err(error(format!("there are only {GATEWAYS} gateways, numbered from 0")));
            }
        }
        Ok(())
    }

    /// The plan as text that [`parse`](Self::parse) reads.
    #[must_use]
    pub fn to_text(&self) -> String {
        toml::to_string(self).expect("a plan is plain data")
    }

    /// The token that every gateway starts with, and the first config names.
    pub const FIRST_TOKEN: &str = "token-0";

    /// When the last fault is over.
    #[must_use]
    pub fn healed_ms(&self) -> u64 {
        let faults = self.steps.iter().filter(|step| step.action.fault().is_some());
        faults.map(|step| step.at_ms + step.action.lasts_ms()).max().unwrap_or(0)
    }

    /// The fault classes in it.
    #[must_use]
    pub fn faults(&self) -> BTreeSet<Fault> {
        self.steps.iter().filter_map(|step| step.action.fault()).collect()
    }
}

impl Params {
    fn check(&self) -> Result<(), PlanError> {
        let error = |name, why| Err(PlanError::Param { name, why });
        if self.latency_min_us > self.latency_max_us {
            return error("latency_min_us", "must not be above latency_max_us");
        }
        if self.tick_ms < 1_000 {
            return error("tick_ms", "must be at least 1000, the shortest interval a client believes");
        }
        if self.end_ms == 0 || self.end_ms > 86_400_000 {
            return error("end_ms", "must be from 1 to 86400000, which is a day");
        }
        if self.options().validate().is_err() {
            return error(
                "backoff_ms",
                "the times of the client must be above zero, and the cap above the first wait",
            );
        }
        Ok(())
    }
}

/// In text, a step is one table: `at_ms`, `do`, and what the action needs.
impl Serialize for Step {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Flat<'a> {
            at_ms: u64,
            #[serde(flatten)]
            action: &'a Action,
        }
        Flat { at_ms: self.at_ms, action: &self.action }.serialize(serializer)
    }
}

/// Takes `at_ms` out by hand, because flattening would let unknown keys pass.
impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let mut table = toml::Table::deserialize(deserializer)?;
        let at_ms = table.remove("at_ms").ok_or_else(|| D::Error::missing_field("at_ms"))?;
        let at_ms = at_ms.as_integer().and_then(|at| u64::try_from(at).ok());
        let at_ms = at_ms.ok_or_else(|| D::Error::custom("at_ms must be a whole number, not below zero"))?;
        let action = Action::deserialize(toml::Value::Table(table)).map_err(D::Error::custom)?;
        Ok(Self { at_ms, action })
    }
}
