//! Plans from plans.
//!
//! A plan has a body, in which things go wrong, and an ending: the last word of the app when everything is healed,
//! and a quiet tail. Only the body is changed. The ending moves to where the new body is over, names the token that
//! is right then, and the tail is as long as the parameters need it.

use toml::Value;

use crate::base::rng::Rng;
use crate::plan::{
    Action, Actor, AppAction, GATEWAYS, GatewayAction, Milestone, MilestoneKind, Params, Plan, Step, When,
};
use onesocket_gateway::Misbehave;

/// The last time at which a step of the body happens.
const ACTIVE_MAX_MS: u64 = 32_000;
/// Steps of a body, at most.
const BODY_MAX: usize = 400;
/// The largest number that is drawn for a number of a step, unless it was larger already.
const NUMBER_MAX: u64 = 20_000;
/// A gateway that stops takes a good second until it can be started again.
const HEAL_MS: u64 = 1_500;
/// Consumers of a plan.
const CONSUMERS: u64 = 3;
/// Numbers that are names: one that is near to another is not like it.
const NAMES: [&str; 3] = ["code", "close", "status"];

/// A plan in its two parts.
#[derive(Clone, Debug)]
struct Parts {
    params: Params,
    body: Vec<Step>,
    /// The last word, its times counted from its beginning.
    ending: Vec<(u64, Action)>,
    /// How much longer the tail is than convergence may take.
    slack_ms: u64,
}

/// A plan that is made of `parent` by a few changes, some of which take from `other`; none if it makes no sense.
pub(super) fn child(parent: &Plan, other: &Plan, draw: &mut Rng) -> Option<Plan> {
    let (mut parts, mut other) = (take_apart(parent)?, take_apart(other)?);
    for _ in 0..draw.log_between(1, 12) {
        match draw.between(1, 100) {
            1..=15 => drop_steps(&mut parts.body, draw),
            16..=28 => duplicate(&mut parts.body, draw),
            29..=48 => move_step(&mut parts.body, draw),
            49..=63 => follow(&mut parts.body, draw),
            64..=76 => redraw(&mut parts.body, draw),
            77..=91 => graft(&mut parts.body, &other.body, draw),
            92..=94 => splice(&mut parts.body, &mut other.body, draw),
            95..=97 => parts.params = other.params.clone(),
            _ => std::mem::swap(&mut parts.params.device, &mut other.params.device),
        }
    }
    let seed = if draw.chance(50) { draw.any() >> 1 } else { parent.seed };
    let plan = assemble(seed, parts);
    plan.check().is_ok().then_some(plan)
}

/// The last word begins with the last config that the app applies at a time of its own.
fn take_apart(plan: &Plan) -> Option<Parts> {
    let last_config = |step: &&Step| {
        matches!(step.action, Action::App(AppAction::Configure { .. })) && step.when.at_ms().is_some()
    };
    let begins_ms = plan.steps.iter().rev().find(last_config)?.when.at_ms()?;
    let (mut body, mut ending) = (Vec::new(), Vec::new());
    for step in &plan.steps {
        match step.when {
            When::At { at_ms } if at_ms >= begins_ms => ending.push((at_ms - begins_ms, step.action.clone())),
            When::At { .. } | When::After { .. } => body.push(step.clone()),
        }
    }
    let slack_ms = plan.params.end_ms.checked_sub(begins_ms + convergence_ms(&plan.params))?;
    Some(Parts { params: plan.params.clone(), body, ending, slack_ms })
}

fn convergence_ms(params: &Params) -> u64 {
    u64::try_from(params.convergence().as_millis()).expect("a bound is short")
}

fn assemble(seed: u64, parts: Parts) -> Plan {
    let Parts { mut params, mut body, mut ending, slack_ms } = parts;
    body.truncate(BODY_MAX);
    for step in &mut body {
        if let When::At { at_ms } = &mut step.when {
            *at_ms = (*at_ms).min(ACTIVE_MAX_MS);
        }
    }
    // Stable: what follows a milestone goes to the end.
    body.sort_by_key(|step| step.when.at_ms().unwrap_or(u64::MAX));
    let active_ms = body.iter().filter_map(|step| step.when.at_ms()).max().unwrap_or(0);
    let calm_ms = active_ms.max(params.calm_ms.unwrap_or(0).min(ACTIVE_MAX_MS));
    let follows = body.iter().any(|step| step.when.at_ms().is_none());
    params.calm_ms = follows.then_some(calm_ms);
    let ends_ms = |step: &Step| step.when.at_ms().unwrap_or(calm_ms) + step.action.lasts_ms().unwrap_or(0);
    let begins_ms = body.iter().map(ends_ms).max().unwrap_or(0).max(calm_ms) + HEAL_MS;
    complete(&mut ending, &body, &params);
    params.end_ms = begins_ms + convergence_ms(&params) + slack_ms;
    body.extend(ending.into_iter().map(|(after_ms, action)| Step::at(begins_ms + after_ms, action)));
    body.sort_by_key(|step| step.when.at_ms().unwrap_or(u64::MAX));
    Plan { params, steps: body, ..Plan::new(seed) }
}

/// Has the last word heal and say what is right after another body.
fn complete(ending: &mut Vec<(u64, Action)>, body: &[Step], params: &Params) {
    let mut gateway = 0;
    for (_, action) in ending.iter_mut() {
        if let Action::App(AppAction::Configure { gateway: named, token }) = action {
            gateway = *named;
            right_token(body, *named).clone_into(token);
        }
    }
    let heals = |(_, action): &(u64, Action)| {
        matches!(action, Action::Gateway { order: GatewayAction::Start { .. }, .. })
    };
    if body.iter().any(|step| step.action.actor() == Actor::Gateway) && !ending.iter().any(heals) {
        for gateway in 0..GATEWAYS {
            ending.insert(
                0,
                (0, Action::Gateway { gateway, order: GatewayAction::Misbehave { how: Misbehave::Behave } }),
            );
            ending.insert(0, (0, Action::Gateway { gateway, order: GatewayAction::Start {} }));
        }
    }
    let approves = |(_, action): &(u64, Action)| {
        matches!(action, Action::Gateway { order: GatewayAction::ApprovePairing { .. }, .. })
    };
    if params.pairing_by_order && params.device && !ending.iter().any(approves) {
        ending.push((3_000, Action::Gateway { gateway, order: GatewayAction::ApprovePairing {} }));
        ending.push((3_100, Action::App(AppAction::Resume {})));
    }
}

/// The token that a gateway has in the end.
fn right_token(body: &[Step], of: u8) -> &str {
    let changed = body.iter().rev().find_map(|step| match &step.action {
        Action::Gateway { gateway, order: GatewayAction::ChangeToken { token } } if *gateway == of => {
            Some(token.as_str())
        }
        _ => None,
    });
    changed.unwrap_or(Plan::FIRST_TOKEN)
}

/// One of `many`, or none of none.
fn any_index<T>(many: &[T], draw: &mut Rng) -> Option<usize> {
    let last = many.len().checked_sub(1)?;
    usize::try_from(draw.between(0, last as u64)).ok()
}

/// A fault as often as anything else: most steps are requests.
fn any_step(body: &[Step], draw: &mut Rng) -> Option<usize> {
    let faults: Vec<usize> = (0..body.len()).filter(|index| body[*index].action.fault().is_some()).collect();
    if draw.chance(50)
        && let Some(index) = any_index(&faults, draw)
    {
        return Some(faults[index]);
    }
    any_index(body, draw)
}

fn drop_steps(body: &mut Vec<Step>, draw: &mut Rng) {
    let Some(first) = any_index(body, draw) else { return };
    let few = usize::try_from(draw.log_between(1, 16)).unwrap_or(1);
    body.drain(first..(first + few).min(body.len()));
}

fn duplicate(body: &mut Vec<Step>, draw: &mut Rng) {
    let Some(index) = any_step(body, draw) else { return };
    let mut again = body[index].clone();
    match &mut again.when {
        When::At { at_ms } => *at_ms += draw.log_between(1, 4_000) - 1,
        When::After { plus_ms, .. } => *plus_ms += draw.log_between(1, 4_000) - 1,
    }
    body.push(again);
}

/// To any time, or near to another step: races need closeness.
fn move_step(body: &mut [Step], draw: &mut Rng) {
    let (Some(index), Some(near)) = (any_step(body, draw), any_index(body, draw)) else { return };
    let near_ms = body[near].when.at_ms().filter(|_| draw.chance(50));
    let to_ms = match near_ms {
        Some(near_ms) => near_ms + draw.between(0, 40),
        None => draw.between(0, ACTIVE_MAX_MS),
    };
    let soon_ms = draw.log_between(1, 5_000) - 1;
    match &mut body[index].when {
        When::At { at_ms } => *at_ms = to_ms,
        When::After { plus_ms, .. } => *plus_ms = soon_ms,
    }
}

/// A step follows a milestone from now on.
fn follow(body: &mut [Step], draw: &mut Rng) {
    let Some(index) = any_step(body, draw) else { return };
    let step = &mut body[index];
    // The app has to know when a token changes, and a stop is followed by a start.
    if matches!(
        step.action,
        Action::Gateway { order: GatewayAction::ChangeToken { .. }, .. }
            | Action::Gateway { order: GatewayAction::Stop { .. }, .. }
            | Action::Gateway { order: GatewayAction::Start { .. }, .. }
    ) {
        return;
    }
    let kind = *draw.pick(MilestoneKind::ALL);
    let number = u32::try_from(draw.log_between(1, 4)).expect("a small number");
    let gateway = kind.is_of_gateway().then(|| step.action.gateway().unwrap_or(0));
    let plus_ms = if draw.chance(60) { draw.between(0, 60) } else { draw.log_between(60, 5_000) };
    step.when = When::After { after: Milestone { kind, number, gateway }, plus_ms };
}

/// Draws one number of a step anew, near to what it was.
fn redraw(body: &mut [Step], draw: &mut Rng) {
    let Some(index) = any_step(body, draw) else { return };
    let action = &mut body[index].action;
    let Ok(mut value) = Value::try_from(&*action) else { return };
    let count = numbers(&mut value, "", &mut |_, _| {});
    let Some(wanted) = count.checked_sub(1).map(|last| draw.between(0, last)) else { return };
    let mut number = 0;
    numbers(&mut value, "", &mut |key, old| {
        if number == wanted {
            *old = redrawn(key, *old, draw);
        }
        number += 1;
    });
    if let Ok(changed) = value.try_into() {
        *action = changed;
    }
}

fn redrawn(key: &str, old: i64, draw: &mut Rng) -> i64 {
    let was = u64::try_from(old).unwrap_or(0);
    let new = match key {
        "gateway" => draw.between(0, u64::from(GATEWAYS) - 1),
        "consumer" => draw.between(0, CONSUMERS - 1),
        _ => draw.log_between((was / 4).max(1), was.saturating_mul(4).clamp(4, NUMBER_MAX.max(was))),
    };
    i64::try_from(new).unwrap_or(old)
}

/// Visits the numbers in a tree that are not names, and counts them.
fn numbers(value: &mut Value, key: &str, visit: &mut dyn FnMut(&str, &mut i64)) -> u64 {
    match value {
        Value::Integer(number) if !NAMES.contains(&key) => {
            visit(key, number);
            1
        }
        Value::Table(table) => table.iter_mut().map(|(key, value)| numbers(value, key, visit)).sum(),
        Value::Integer(_)
        | Value::Array(_)
        | Value::String(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_) => 0,
    }
}

/// Takes a few steps over, as they are.
fn graft(body: &mut Vec<Step>, other: &[Step], draw: &mut Rng) {
    for _ in 0..draw.log_between(1, 4) {
        if let Some(index) = any_step(other, draw) {
            body.push(other[index].clone());
        }
    }
}

/// The beginning of one and the end of the other.
fn splice(body: &mut Vec<Step>, other: &mut Vec<Step>, draw: &mut Rng) {
    let cut_ms = draw.between(0, ACTIVE_MAX_MS);
    body.retain(|step| step.when.at_ms().is_none_or(|at_ms| at_ms < cut_ms));
    other.retain(|step| step.when.at_ms().is_none_or(|at_ms| at_ms >= cut_ms));
    body.append(other);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::ProcessFault;
    use crate::search::generate;

    /// When the last word begins, its actions, and when the run ends.
    fn ending(plan: &Plan) -> (u64, Vec<&Action>) {
        let config = |step: &&Step| {
            matches!(step.action, Action::App(AppAction::Configure { .. })) && step.when.at_ms().is_some()
        };
        let begins_ms =
            plan.steps.iter().rev().find(config).and_then(|step| step.when.at_ms()).expect("a config");
        let steps =
            plan.steps.iter().filter(|step| step.when.at_ms().is_some_and(|at_ms| at_ms >= begins_ms));
        (begins_ms, steps.map(|step| &step.action).collect())
    }

    #[test]
    fn what_is_taken_apart_and_not_changed_comes_together_as_it_was() {
        for seed in 0..200 {
            let plan = generate::plan(seed);
            let parts = take_apart(&plan).expect("a generated plan has an ending");
            let again = assemble(plan.seed, parts.clone());
            assert_eq!(again.check(), Ok(()), "seed {seed}");
            let (begins_ms, actions) = ending(&again);
            assert_eq!(actions, ending(&plan).1, "seed {seed}");
            assert_eq!(again.params.end_ms - begins_ms, plan.params.end_ms - ending(&plan).0, "seed {seed}");
        }
    }

    #[test]
    fn every_child_heals_has_a_last_word_and_a_quiet_tail() {
        let mut plan = generate::plan(0);
        let mut changed = 0;
        for seed in 0..2_000 {
            let other = generate::plan(seed);
            let mut draw = Rng::new(seed, "test");
            let Some(child) = child(&plan, &other, &mut draw) else { continue };
            changed += u32::from(child.steps != plan.steps);
            let (begins_ms, actions) = ending(&child);
            assert!(child.healed_ms() + HEAL_MS <= begins_ms, "seed {seed}");
            assert!(begins_ms + convergence_ms(&child.params) <= child.params.end_ms, "seed {seed}");
            assert!(child.steps.len() <= BODY_MAX + 20, "seed {seed}: {}", child.steps.len());
            let Some(Action::App(AppAction::Configure { gateway, token })) =
                actions.iter().find(|action| matches!(action, Action::App(AppAction::Configure { .. })))
            else {
                panic!("seed {seed} has no last config")
            };
            assert_eq!(token, right_token(&child.steps, *gateway), "seed {seed}");
            let ordered = child.steps.iter().any(|step| step.action.actor() == Actor::Gateway);
            let started = actions.iter().any(|action| {
                matches!(action, Action::Gateway { gateway: 0, order: GatewayAction::Start {} })
            });
            assert!(started || !ordered, "seed {seed}");
            // Lines of descent, so that bodies grow as large as they get.
            plan = if seed % 100 == 99 { other } else { child };
        }
        assert!(changed > 1_500, "{changed}");
    }

    #[test]
    fn numbers_are_redrawn_and_names_are_not() {
        let action = Action::Gateway {
            gateway: 0,
            order: GatewayAction::Close { code: 1012, reason: "x".to_owned() },
        };
        let mut gateways = [false; 2];
        for seed in 0..50 {
            let mut body = [Step::at(1, action.clone())];
            redraw(&mut body, &mut Rng::new(seed, "test"));
            let Action::Gateway { gateway, order: GatewayAction::Close { code: 1012, .. } } = body[0].action
            else {
                panic!("{body:?}")
            };
            gateways[usize::from(gateway)] = true;
        }
        assert_eq!(gateways, [true, true]);
        let mut body = [Step::at(1, Action::Process(ProcessFault::Suspend { for_ms: 100 }))];
        redraw(&mut body, &mut Rng::new(1, "test"));
        assert!(
            matches!(body[0].action, Action::Process(ProcessFault::Suspend { for_ms }) if for_ms != 100 && for_ms <= 400)
        );
    }
}
