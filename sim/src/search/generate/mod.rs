//! From a seed to a plan.
//!
//! A swarm mask comes first: each fault class is on or off for the whole run, because a uniform mix
//! of everything averages out. Then come weighted steps that make sense at their time, then a heal,
//! a last word of the app, and a quiet tail longer than the longest wait.
//!
//! Each fault class draws from a stream of its own, so that a new class leaves the draws of all others alone.

use crate::base::rng::Rng;
use crate::plan::consumer::{ConsumerAction, ConsumerBehavior, Lag};
use crate::plan::{
    Action, Actor, AppAction, Fault, FaultDraw, GATEWAYS, GatewayAction, Limits, Milestone, MilestoneKind,
    Params, Plan, Step, Tier,
};
use onesocket_gateway::Misbehave;

/// Consumers of a run.
const CONSUMERS: u64 = 3;
/// The methods that requests call, with their weights.
const METHODS: [(&str, u64); 5] =
    [("test.echo", 60), ("health", 20), ("status", 10), ("test.never", 5), ("no.such.method", 5)];
/// The events that gateways push.
const EVENTS: [&str; 3] = ["chat", "agent", "presence"];
/// The plan of `seed`.
#[must_use]
pub fn plan(seed: u64) -> Plan {
    let mut params = params(&mut Rng::new(seed, "params"));
    params.verify_proofs = !params.device || Rng::new(seed, "proofs").chance(25);
    params.limits = limits(&mut Rng::new(seed, "limits"));
    let mut generator = Generator {
        active_ms: params.end_ms,
        params,
        // Most plans have fewer.
        steps: Vec::with_capacity(128),
        tokens: vec![vec![(0, Plan::FIRST_TOKEN.to_owned())]; usize::from(GATEWAYS)],
    };
    generator.faults(seed);
    generator.workload(&mut Rng::new(seed, "workload"));
    generator.configs(&mut Rng::new(seed, "configs"));
    generator.without_config(&mut Rng::new(seed, "without config"));
    generator.race_steps(&mut Rng::new(seed, "pounce"));
    generator.behaviors(&mut Rng::new(seed, "manners"));
    generator.lags(&mut Rng::new(seed, "lags"));
    generator.special_requests(&mut Rng::new(seed, "wishes"));
    generator.bootstraps(&mut Rng::new(seed, "bootstraps"));
    generator.pairings(&mut Rng::new(seed, "pairings"));
    generator.final_phase(&mut Rng::new(seed, "last word"));
    // Stable: what follows a milestone goes to the end.
    generator.steps.sort_by_cached_key(|step| step.when.at_ms().unwrap_or(u64::MAX));
    Plan { params: generator.params, steps: generator.steps, ..Plan::new(seed) }
}

/// The plan of `seed` without the faults that `tier` cannot carry out.
#[must_use]
pub fn plan_for(seed: u64, tier: Tier) -> Plan {
    plan(seed).for_tier(tier).into_owned()
}

fn params(draw: &mut Rng) -> Params {
    let latency_max_us = draw.log_between(200, 60_000);
    let backoff_ms = draw.log_between(250, 1_500);
    Params {
        latency_min_us: draw.between(50, latency_max_us),
        latency_max_us,
        tick_ms: draw.between(1, 5) * 1_000,
        answer_ms: draw.log_between(1, 2_000),
        backoff_ms,
        backoff_cap_ms: backoff_ms * draw.between(2, 8),
        stable_ms: draw.log_between(500, 10_000),
        stage_ms: draw.between(1_000, 3_000),
        close_grace_ms: draw.log_between(20, 1_000),
        device: draw.chance(40),
        // Drawn by itself.
        verify_proofs: Params::default().verify_proofs,
        store_ms: if draw.chance(50) { draw.log_between(1, 500) } else { 0 },
        store_fails_percent: if draw.chance(30) { draw.between(1, 40) } else { 0 },
        // Set together with those who read slowly.
        subscription_items: Params::default().subscription_items,
        pairing_by_order: draw.chance(25),
        pairing_poll_ms: None,
        refusals_by_close: false,
        retry_after_max_ms: draw.log_between(500, 8_000),
        calm_ms: None,
        // The time in which things go wrong; the quiet tail is added later.
        end_ms: draw.between(12_000, 32_000),
        // Drawn by themselves.
        limits: Limits::default(),
    }
}

/// Most runs meet no limit of the client, a quarter of them meet some again and again.
fn limits(draw: &mut Rng) -> Limits {
    if !draw.chance(25) {
        return Limits::default();
    }
    let mut least_to_most =
        |least, most| usize::try_from(draw.log_between(least, most)).expect("a limit is small");
    Limits {
        in_flight: least_to_most(1, 16),
        queued: least_to_most(1, 64),
        queued_bytes: least_to_most(64, 8_192),
        unwritten: least_to_most(1, 8),
        early_events: least_to_most(1, 8),
        early_bytes: least_to_most(512, 65_536),
        subscription_bytes: least_to_most(4_096, 1 << 20),
    }
}

struct Generator {
    params: Params,
    active_ms: u64,
    steps: Vec<Step>,
    /// The tokens of each gateway, with the time each came into force.
    tokens: Vec<Vec<(u64, String)>>,
}

impl Generator {
    fn add(&mut self, at_ms: u64, action: impl Into<Action>) {
        self.steps.push(Step::at(at_ms, action));
    }

    /// A step after a milestone; nothing of its kind begins after the active time.
    fn follow(&mut self, after: Milestone, plus_ms: u64, action: impl Into<Action>) {
        self.params.calm_ms = Some(self.active_ms);
        self.steps.push(Step::after(after, plus_ms, action));
    }

    /// How dense faults are is drawn for the whole run, and which classes there are for each of them.
    fn faults(&mut self, seed: u64) {
        let density = Rng::new(seed, "density").log_between(1, 6);
        for fault in Fault::ALL.iter().copied() {
            let mut draw = Rng::new(seed, fault.name());
            if draw.chance(density * fault.row().weight) {
                for _ in 0..draw.log_between(1, 2) {
                    self.inject(fault, &mut draw);
                }
            }
        }
    }

    fn inject(&mut self, fault: Fault, draw: &mut Rng) {
        let at_ms = draw.between(0, self.active_ms);
        // Most faults hit the gateway that most configs name.
        let gateway = u8::from(draw.chance(25));
        let action = self.fault(fault, gateway, at_ms, draw);
        let milestone = milestone(gateway, draw);
        let plus_ms = if draw.chance(60) { draw.between(0, 60) } else { draw.log_between(60, 5_000) };
        match action {
            // The app has to know when a token changes, and a stop is followed by a start.
            Action::Gateway { order: GatewayAction::ChangeToken { .. }, .. } => self.add(at_ms, action),
            Action::Gateway { gateway, order: GatewayAction::Stop {} } => {
                self.add(at_ms, action);
                self.add(at_ms + draw.log_between(100, 8_000), GatewayAction::Start {}.of(gateway));
            }
            // Spoiling a handshake says little without one.
            Action::Gateway {
                order: GatewayAction::Misbehave { how: Misbehave::Handshake { .. }, .. },
                ..
            } => {
                if draw.chance(40) {
                    self.add(at_ms.min(draw.between(0, 50)), action);
                } else if draw.chance(60) {
                    self.add(at_ms, action);
                    self.add(at_ms + draw.between(0, 20), GatewayAction::Terminate {}.of(gateway));
                } else {
                    self.add_or_follow(at_ms, milestone, plus_ms, action, draw);
                }
            }
            Action::Gateway {
                order:
                    GatewayAction::Emit { .. }
                    | GatewayAction::Restart { .. }
                    | GatewayAction::Start {}
                    | GatewayAction::Close { .. }
                    | GatewayAction::DropEvent {}
                    | GatewayAction::Terminate {}
                    | GatewayAction::ApprovePairing {}
                    | GatewayAction::RejectPairing {}
                    | GatewayAction::RotateTokens {}
                    | GatewayAction::RevokeDevices {}
                    | GatewayAction::Misbehave { .. },
                ..
            }
            | Action::App(_)
            | Action::Link { .. }
            | Action::Process(_) => self.add_or_follow(at_ms, milestone, plus_ms, action, draw),
        }
    }

    /// Some faults follow a milestone.
    fn add_or_follow(
        &mut self,
        at_ms: u64,
        milestone: Milestone,
        plus_ms: u64,
        action: Action,
        draw: &mut Rng,
    ) {
        if draw.chance(30) {
            self.follow(milestone, plus_ms, action);
        } else {
            self.add(at_ms, action);
        }
    }

    /// A fault of this class.
    fn fault(&mut self, fault: Fault, gateway: u8, at_ms: u64, draw: &mut Rng) -> Action {
        let mut new_token = |gateway| self.new_token(gateway, at_ms);
        (fault.row().draw)(&mut FaultDraw::new(gateway, draw, &mut new_token))
    }

    fn new_token(&mut self, gateway: u8, at_ms: u64) -> String {
        let tokens = &mut self.tokens[usize::from(gateway)];
        let token = format!("token-{}", tokens.len());
        tokens.push((at_ms, token.clone()));
        tokens.sort();
        token
    }

    fn workload(&mut self, draw: &mut Rng) {
        for consumer in 0..CONSUMERS {
            let consumer = u8::try_from(consumer).expect("there are few consumers");
            let requests = draw.log_between(2, 32);
            for _ in 0..requests {
                let at_ms = draw.between(0, self.active_ms);
                self.request(consumer, at_ms, draw);
            }
            for _ in 0..draw.between(0, 2) {
                let at_ms = draw.between(0, self.active_ms);
                self.add(at_ms, AppAction::Subscribe { consumer });
            }
            if draw.chance(30) {
                let at_ms = draw.between(0, self.active_ms);
                self.add(at_ms, AppAction::Unsubscribe { consumer });
            }
            for _ in 0..draw.between(0, 3) {
                let at_ms = draw.between(0, self.active_ms);
                self.add(at_ms, AppAction::DropRequest { consumer });
            }
        }
        for _ in 0..draw.log_between(1, 40) {
            let at_ms = draw.between(0, self.active_ms);
            let event = (*draw.pick(&EVENTS)).to_owned();
            self.add(at_ms, GatewayAction::Emit { event }.of(u8::from(draw.chance(25))));
        }
    }

    /// Mostly spread out, sometimes a burst at one moment.
    fn request(&mut self, consumer: u8, at_ms: u64, draw: &mut Rng) {
        let burst = if draw.chance(5) { draw.between(2, 20) } else { 1 };
        for _ in 0..burst {
            let mut ticket = draw.between(1, 100);
            let method = METHODS.iter().find(|(_, weight)| {
                let hit = ticket <= *weight;
                ticket = ticket.saturating_sub(*weight);
                hit
            });
            let method = method.map_or("health", |(method, _)| *method).to_owned();
            let timeout_ms = draw.log_between(10, 20_000);
            self.add(at_ms, AppAction::Request { consumer, method, timeout_ms });
        }
    }

    /// The app applies configs: again and again the same one, as a poll does, and sometimes another.
    fn configs(&mut self, draw: &mut Rng) {
        if draw.chance(30) {
            let poll_ms = draw.log_between(500, 8_000);
            let first = draw.between(0, poll_ms);
            for at_ms in (first..self.active_ms).step_by(usize::try_from(poll_ms).expect("a poll is short")) {
                let token = self.token_at(0, at_ms);
                self.add(at_ms, AppAction::Configure { gateway: 0, token });
            }
        }
        if draw.chance(50) {
            for _ in 0..draw.log_between(1, 6) {
                let at_ms = draw.between(0, self.active_ms);
                for _ in 0..draw.log_between(1, 3) {
                    self.configure(at_ms, draw);
                }
            }
        }
        for _ in 0..draw.between(0, 2) {
            let at_ms = draw.between(0, self.active_ms);
            self.add(
                at_ms,
                if draw.chance(50) {
                    Action::App(AppAction::Wake {})
                } else {
                    Action::App(AppAction::Resume {})
                },
            );
        }
        if draw.chance(10) {
            let at_ms = draw.between(0, self.active_ms);
            self.add(at_ms, AppAction::Shutdown {});
        }
    }

    /// The app has nothing to connect to for a while, or for no time at all.
    fn without_config(&mut self, draw: &mut Rng) {
        if !draw.chance(12) {
            return;
        }
        for _ in 0..draw.log_between(1, 2) {
            let at_ms = draw.between(0, self.active_ms);
            self.add(at_ms, AppAction::Unconfigure {});
            let for_ms = if draw.chance(30) { 0 } else { draw.log_between(1, 8_000) };
            self.configure(at_ms + for_ms, draw);
        }
    }

    fn configure(&mut self, at_ms: u64, draw: &mut Rng) {
        let action = self.config(at_ms, draw);
        self.add(at_ms, action);
    }

    fn config(&self, at_ms: u64, draw: &mut Rng) -> Action {
        let gateway = u8::from(draw.chance(40));
        let token = if draw.chance(80) { self.token_at(gateway, at_ms) } else { "token-wrong".to_owned() };
        Action::App(AppAction::Configure { gateway, token })
    }

    /// Races need closeness: the app acts again a moment after something else happened.
    fn race_steps(&mut self, draw: &mut Rng) {
        if self.steps.is_empty() || draw.chance(40) {
            return;
        }
        for _ in 0..draw.log_between(1, 6) {
            let near_ms = draw.pick(&self.steps).when.at_ms();
            let at_ms = near_ms.unwrap_or_else(|| draw.between(0, self.active_ms)) + draw.between(0, 40);
            let consumer = u8::try_from(draw.between(0, CONSUMERS - 1)).expect("there are few consumers");
            let action = match draw.between(1, 100) {
                1..=6 => Action::App(AppAction::Shutdown {}),
                7..=40 => self.config(at_ms, draw),
                41..=60 => Action::App(AppAction::DropRequest { consumer }),
                61..=75 => Action::App(AppAction::Subscribe { consumer }),
                76..=85 => Action::App(AppAction::Unsubscribe { consumer }),
                86..=93 => Action::App(AppAction::Wake {}),
                _ => Action::App(AppAction::Resume {}),
            };
            if draw.chance(40) {
                let milestone = milestone(0, draw);
                self.follow(milestone, draw.between(0, 40), action);
            } else {
                self.add(at_ms, action);
            }
        }
    }

    /// Consumers that are slow, stuck, panic, act where they stand, or drop what they began.
    fn behaviors(&mut self, draw: &mut Rng) {
        if !draw.chance(40) {
            return;
        }
        if draw.chance(70) {
            self.params.subscription_items = draw.log_between(4, 64);
        }
        for _ in 0..draw.log_between(1, 6) {
            let at_ms = draw.between(0, self.active_ms);
            let consumer = u8::try_from(draw.between(0, CONSUMERS - 1)).expect("there are few consumers");
            if draw.chance(30) {
                let action = self.abandoned(consumer, at_ms, draw);
                self.add(at_ms, action);
                continue;
            }
            let behavior = self.behavior(at_ms, draw);
            let acts_on_end = matches!(behavior, ConsumerBehavior::ActsOnEnd { .. });
            self.add(at_ms, AppAction::Behave { consumer, behavior });
            if acts_on_end {
                self.request(consumer, at_ms, draw);
            } else {
                self.add(at_ms, AppAction::Subscribe { consumer });
            }
            if draw.chance(70) {
                self.add(at_ms, AppAction::Behave { consumer, behavior: ConsumerBehavior::Prompt });
            }
        }
    }

    /// Subscriptions that say what happens when they are read too slowly, most of them by somebody who does.
    fn lags(&mut self, draw: &mut Rng) {
        if !draw.chance(30) {
            return;
        }
        for _ in 0..draw.log_between(1, 4) {
            let at_ms = draw.between(0, self.active_ms);
            let consumer = u8::try_from(draw.between(0, CONSUMERS - 1)).expect("there are few consumers");
            let behavior = match draw.between(1, 100) {
                1..=75 => ConsumerBehavior::Slow { every_ms: draw.log_between(10, 4_000) },
                76..=85 => ConsumerBehavior::Stuck,
                _ => ConsumerBehavior::Prompt,
            };
            let lag =
                *draw.pick(&[Lag::DropOldest, Lag::Resnapshot, Lag::Resnapshot, Lag::Close, Lag::Close]);
            let items = Some(draw.log_between(4, 16).min(self.params.subscription_items));
            self.add(at_ms, AppAction::Behave { consumer, behavior });
            self.add(at_ms, AppAction::SubscribeWith { consumer, lag, items });
            self.add(at_ms, AppAction::Behave { consumer, behavior: ConsumerBehavior::Prompt });
        }
    }

    /// The app has a setup code instead of a token, and comes back with what it got for it.
    fn bootstraps(&mut self, draw: &mut Rng) {
        if !self.params.device || !draw.chance(40) {
            return;
        }
        let gateway = u8::from(draw.chance(40));
        let mut at_ms = if draw.chance(30) { 0 } else { draw.between(0, self.active_ms) };
        let token = if draw.chance(90) { *draw.pick(&Plan::BOOTSTRAP_TOKENS) } else { "bootstrap-wrong" };
        for _ in 0..draw.between(1, 3) {
            self.add(at_ms, AppAction::ConfigureBootstrap { gateway, token: token.to_owned() });
            at_ms += draw.log_between(100, 5_000);
            match draw.between(1, 100) {
                1..=50 => self.add(at_ms, AppAction::Unconfigure {}),
                51..=75 => self.configure(at_ms, draw),
                _ => self.add(at_ms, AppAction::Resume {}),
            }
            at_ms += draw.log_between(1, 500);
        }
    }

    /// Requests that are bound to a connection, that wait for ever, and that may be repeated.
    fn special_requests(&mut self, draw: &mut Rng) {
        if !draw.chance(40) {
            return;
        }
        for key in 1..=few(draw.log_between(1, 6)) {
            let at_ms = draw.between(0, self.active_ms);
            let consumer = u8::try_from(draw.between(0, CONSUMERS - 1)).expect("there are few consumers");
            let method = METHODS[if draw.chance(80) { 0 } else { 3 }].0.to_owned();
            let timeout_ms = draw.log_between(100, 20_000);
            match draw.between(1, 100) {
                1..=35 => self.add(at_ms, AppAction::BoundRequest { consumer, method, timeout_ms }),
                36..=55 => self.add(at_ms, AppAction::UnboundedRequest { consumer, method }),
                _ => self.work(consumer, key, at_ms, draw),
            }
        }
    }

    /// Somebody asks for the same work until the answer is there, which the plan cannot know.
    fn work(&mut self, consumer: u8, key: u32, mut at_ms: u64, draw: &mut Rng) {
        for _ in 0..draw.between(1, 3) {
            let timeout_ms = draw.log_between(50, 5_000);
            let to_the_end = draw.chance(50);
            self.add(at_ms, AppAction::RunAgent { consumer, key, timeout_ms, to_the_end });
            at_ms += draw.log_between(1, 6_000);
        }
    }

    fn behavior(&mut self, at_ms: u64, draw: &mut Rng) -> ConsumerBehavior {
        match draw.between(1, 100) {
            1..=30 => ConsumerBehavior::Slow { every_ms: draw.log_between(10, 4_000) },
            31..=45 => ConsumerBehavior::Stuck,
            46..=60 => ConsumerBehavior::Panics { item: few(draw.log_between(1, 20)) },
            61..=85 => ConsumerBehavior::ActsOnItem {
                item: few(draw.log_between(1, 20)),
                then: self.consumer_action(at_ms, draw),
            },
            _ => ConsumerBehavior::ActsOnEnd { then: self.consumer_action(at_ms, draw) },
        }
    }

    fn consumer_action(&mut self, at_ms: u64, draw: &mut Rng) -> ConsumerAction {
        match draw.between(1, 100) {
            1..=25 => ConsumerAction::Subscribe,
            26..=45 => ConsumerAction::Unsubscribe,
            46..=65 => ConsumerAction::Request { timeout_ms: draw.log_between(10, 20_000) },
            66..=92 => {
                let gateway = u8::from(draw.chance(40));
                ConsumerAction::Configure { gateway, token: self.token_at(gateway, at_ms) }
            }
            _ => ConsumerAction::Shutdown,
        }
    }

    fn abandoned(&mut self, consumer: u8, at_ms: u64, draw: &mut Rng) -> Action {
        let polls = few(draw.log_between(1, 8));
        match draw.between(1, 100) {
            1..=65 => Action::App(AppAction::AbandonRequest {
                consumer,
                method: METHODS[0].0.to_owned(),
                timeout_ms: draw.log_between(10, 20_000),
                polls,
            }),
            66..=95 => {
                let gateway = u8::from(draw.chance(40));
                Action::App(AppAction::AbandonConfigure {
                    gateway,
                    token: self.token_at(gateway, at_ms),
                    polls,
                })
            }
            _ => Action::App(AppAction::AbandonShutdown { polls }),
        }
    }

    /// Somebody decides about the pairings that wait, some time after they are asked for.
    fn pairings(&mut self, draw: &mut Rng) {
        if !self.params.pairing_by_order || !self.params.device {
            return;
        }
        for number in 1..=2 {
            let after = Milestone { kind: MilestoneKind::Refused, number, gateway: Some(0) };
            let plus_ms = draw.log_between(10, 5_000);
            self.follow(after, plus_ms, GatewayAction::ApprovePairing {}.of(0));
            self.follow(after, plus_ms + draw.between(0, 500), AppAction::Resume {});
        }
    }

    /// The token that is right at that time.
    fn token_at(&self, gateway: u8, at_ms: u64) -> String {
        let tokens = &self.tokens[usize::from(gateway)];
        let (_, token) =
            tokens.iter().rev().find(|(since, _)| *since <= at_ms).expect("there is a first token");
        token.clone()
    }

    /// When everything is healed the app applies what is right and asks for a connection; after that
    /// there must be quiet, and a connection.
    fn final_phase(&mut self, draw: &mut Rng) {
        let ends_ms = |step: &Step| {
            let at_ms = step.when.at_ms().unwrap_or(self.active_ms);
            at_ms + step.action.lasts_ms().unwrap_or(0)
        };
        let healed_ms = self.steps.iter().map(ends_ms).max().unwrap_or(0);
        let calm_ms = self.steps.iter().filter(|step| step.action.fault().is_some());
        let calm_ms = calm_ms.filter_map(|step| step.when.at_ms()).max().unwrap_or(0);
        if let Some(calm) = &mut self.params.calm_ms {
            *calm = calm_ms.max(*calm);
        }
        // A gateway that stops takes a good second until it can be started again.
        let at_ms = healed_ms.max(self.active_ms).max(calm_ms) + 1_500;
        let ordered = |action: &Action| action.actor() == Actor::Gateway;
        if self.steps.iter().any(|step| ordered(&step.action)) {
            for gateway in 0..GATEWAYS {
                self.add(at_ms, GatewayAction::Start {}.of(gateway));
                self.add(at_ms, GatewayAction::Misbehave { how: Misbehave::Behave }.of(gateway));
            }
        }
        let gateway = u8::from(draw.chance(20));
        let token = self.token_at(gateway, at_ms);
        self.add(at_ms, AppAction::Configure { gateway, token });
        self.add(at_ms, AppAction::Resume {});
        self.add(at_ms, AppAction::Subscribe { consumer: 0 });
        if self.params.pairing_by_order && self.params.device {
            self.add(at_ms + 3_000, GatewayAction::ApprovePairing {}.of(gateway));
            self.add(at_ms + 3_100, AppAction::Resume {});
        }
        // Now and then nothing is to be connected to in the end, which is to be seen as well.
        if draw.chance(3) {
            self.add(at_ms + draw.between(0, 200), AppAction::Unconfigure {});
        }
        let convergence_ms = u64::try_from(self.params.convergence().as_millis()).expect("a bound is short");
        self.params.end_ms = at_ms + convergence_ms + 2_000;
    }
}

fn few(number: u64) -> u32 {
    u32::try_from(number).expect("a small number")
}

/// Something near a gateway, or in the client, that steps may follow.
fn milestone(gateway: u8, draw: &mut Rng) -> Milestone {
    const KINDS: [MilestoneKind; 14] = [
        MilestoneKind::Dial,
        MilestoneKind::Accepted,
        MilestoneKind::Connect,
        MilestoneKind::Hello,
        MilestoneKind::Refused,
        MilestoneKind::Request,
        MilestoneKind::Down,
        MilestoneKind::Booted,
        MilestoneKind::Released,
        MilestoneKind::Ready,
        MilestoneKind::Backoff,
        MilestoneKind::Paused,
        MilestoneKind::Closing,
        MilestoneKind::Gap,
    ];
    let kind = *draw.pick(&KINDS);
    let number = u32::try_from(draw.log_between(1, 4)).expect("a small number");
    Milestone { kind, number, gateway: kind.is_of_gateway().then_some(gateway) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_generated_plan_is_valid_and_survives_its_text_form() {
        for seed in 0..500 {
            let plan = plan(seed);
            plan.check().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert_eq!(Plan::parse(&plan.to_text()).as_ref(), Ok(&plan), "seed {seed}");
        }
    }
}
