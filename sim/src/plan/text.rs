//! Plans as text.
//!
//! A step is one table: its time, `do`, and what the action needs, nested parts in one line each.

use std::fmt::Write;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Action, Milestone, Params, Plan, PlanError, Step, VERSION, When};

/// Reads a plan, or what has a plan in it, without checking whether it makes sense.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, PlanError> {
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
    toml::from_str(text).map_err(syntax)
}

/// The keys of a step that come before all others.
const FIRST: [&str; 4] = ["at_ms", "after", "plus_ms", "do"];

#[derive(Serialize)]
struct Head<'a> {
    version: u32,
    seed: u64,
    params: &'a Params,
}

pub(super) fn write(plan: &Plan) -> String {
    const DATA: &str = "a plan is plain data";
    let head = Head { version: plan.version, seed: plan.seed, params: &plan.params };
    let mut text = toml::to_string(&head).expect(DATA);
    for step in &plan.steps {
        text.push_str("\n[[steps]]\n");
        let mut table = toml::Table::try_from(step).expect(DATA);
        let first = FIRST.into_iter().filter_map(|key| Some((key.to_owned(), table.remove(key)?)));
        let first: Vec<(String, toml::Value)> = first.collect();
        for (key, value) in first.into_iter().chain(table) {
            writeln!(text, "{key} = {value}").expect("a string takes everything");
        }
    }
    text
}

impl Serialize for Step {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Flat<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            at_ms: Option<u64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            after: Option<Milestone>,
            #[serde(skip_serializing_if = "Option::is_none")]
            plus_ms: Option<u64>,
            #[serde(flatten)]
            action: &'a Action,
        }
        let (at_ms, after, plus_ms) = match self.when {
            When::At { at_ms } => (Some(at_ms), None, None),
            When::After { after, plus_ms } => (None, Some(after), Some(plus_ms)),
        };
        Flat { at_ms, after, plus_ms, action: &self.action }.serialize(serializer)
    }
}

/// A step as it is written: it may happen several times.
struct Repeated {
    step: Step,
    times: u64,
    every_ms: u64,
}

/// The most times that one written step may happen.
const TIMES_MAX: u64 = 10_000;

/// Reads steps, each as often as it says. Of those at one time, all first repetitions come before all second ones.
pub(crate) fn steps<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Step>, D::Error> {
    let written = Vec::<Repeated>::deserialize(deserializer)?;
    let times = written.iter().filter_map(|one| one.step.when.at_ms());
    // What is in no order stays so, and the check of the plan says which step it is.
    if !times.is_sorted() || written.iter().all(|one| one.times == 1) {
        return Ok(written.into_iter().map(|one| one.step).collect());
    }
    let (mut steps, mut last) = (Vec::new(), 0);
    for Repeated { step, times, every_ms } in written {
        for round in 0..times {
            let later = every_ms.saturating_mul(round);
            let action = step.action.clone();
            match step.when {
                When::At { at_ms } => {
                    last = at_ms;
                    let at_ms = at_ms.saturating_add(later);
                    steps.push((at_ms, round, Step::at(at_ms, action)));
                }
                When::After { after, plus_ms } => {
                    steps.push((last, 0, Step::after(after, plus_ms.saturating_add(later), action)));
                }
            }
        }
    }
    steps.sort_by_key(|(at_ms, round, _)| (*at_ms, *round));
    Ok(steps.into_iter().map(|(_, _, step)| step).collect())
}

/// Takes the time out by hand, because flattening would let unknown keys pass.
impl<'de> Deserialize<'de> for Repeated {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let mut table = toml::Table::deserialize(deserializer)?;
        let mut number = |key: &str| {
            let Some(value) = table.remove(key) else { return Ok(None) };
            let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
            let number = number.ok_or_else(|| format!("{key} must be a whole number, not below zero"));
            number.map(Some)
        };
        let at_ms = number("at_ms").map_err(D::Error::custom)?;
        let plus_ms = number("plus_ms").map_err(D::Error::custom)?;
        let times = number("times").map_err(D::Error::custom)?;
        let every_ms = number("every_ms").map_err(D::Error::custom)?;
        let after =
            table.remove("after").map(Milestone::deserialize).transpose().map_err(D::Error::custom)?;
        let when = match (at_ms, after, plus_ms) {
            (Some(at_ms), None, None) => When::At { at_ms },
            (None, Some(after), plus_ms) => When::After { after, plus_ms: plus_ms.unwrap_or(0) },
            (Some(_), Some(_), _) | (Some(_), None, Some(_)) | (None, None, _) => {
                return Err(D::Error::custom("a step has either at_ms, or after and plus_ms"));
            }
        };
        let times = match (times, every_ms) {
            (Some(times @ 1..=TIMES_MAX), _) => times,
            (Some(_), _) => return Err(D::Error::custom(format!("times must be from 1 to {TIMES_MAX}"))),
            (None, Some(_)) => return Err(D::Error::custom("every_ms needs times: how often it happens")),
            (None, None) => 1,
        };
        let action = Action::deserialize(toml::Value::Table(table)).map_err(D::Error::custom)?;
        Ok(Self { step: Step { when, action }, times, every_ms: every_ms.unwrap_or(0) })
    }
}
