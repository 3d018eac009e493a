//! The `machine` tier: core and gateway models joined by an event queue.
//!
//! No runtime, no bytes, no threads: time jumps from one event to the next. What happens at the same
//! time happens in an order drawn from the seed, so that no order is taken for granted.

mod gateways;
mod link;
mod queue;
mod world;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use onesocket::core::{Close, Connection, Effect, Epoch, Input, Instant};

use crate::base::rng::Rng;
use crate::judge::recorder::{Finished, Recorder};
use crate::pipe::Direction;
use crate::plan::environment::{ConfigRef, client_config, client_seed, gateway, gateway_of};
use crate::plan::{GATEWAYS, Plan, Tier};
use crate::subject::token_store::Tokens;
use crate::tiers::app::on_core::{self, CoreApp};
use crate::tiers::executor::{self, Turn};
use crate::trace::Event;
use onesocket_gateway::{self as gateway, ConnectionId, GatewayModel};

use link::{Network, ToClient, ToGateway};
use queue::{Due, Queue};

/// Events in one run, at most: far above any honest run, and a bound on a spinning one.
const EVENTS_MAX: u64 = 2_000_000;

/// Runs `plan` on this tier.
#[must_use]
pub fn run(plan: &Plan) -> Finished {
    run_tapped(plan, &mut |_, _| {})
}

/// Runs `plan` on this tier and shows `tap` everything the gateways do, with the gateway's number.
#[must_use]
pub fn run_tapped(plan: &Plan, tap: &mut dyn FnMut(u8, &gateway::Effect)) -> Finished {
    let plan = plan.for_tier(Tier::Machine);
    let run = pin!(executor::run(&plan, Machine::new(&plan, tap)));
    match run.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(machine) => machine.recorder.finish(),
        Poll::Pending => unreachable!("this tier waits for nothing"),
    }
}

struct Machine<'p> {
    plan: &'p Plan,
    now: Instant,
    core: Connection,
    tokens: Tokens,
    /// Answers of the token store that are on their way, in order.
    token_errands: VecDeque<Input>,
    gateways: Vec<GatewayModel>,
    network: Network,
    queue: Queue,
    ties: Rng,
    recorder: Recorder,
    /// Whether a milestone was reached of which the executor does not know.
    has_reached: bool,
    /// How many events there were.
    events: u64,
    app: CoreApp,
    /// Until then the client's process does not run.
    suspended_until: Instant,
    effects: Vec<Effect>,
    gateway_effects: Vec<gateway::Effect>,
    tap: &'p mut dyn FnMut(u8, &gateway::Effect),
}

impl<'p> Machine<'p> {
    fn new(plan: &'p Plan, tap: &'p mut dyn FnMut(u8, &gateway::Effect)) -> Self {
        let config = Arc::new(client_config(plan, &ConfigRef::first()));
        let core = Connection::new(Some(Arc::clone(&config)), plan.params.options(), client_seed(plan));
        Self {
            plan,
            now: Instant::ZERO,
            core: core.expect("a plan was checked").with_token_store(),
            tokens: Tokens::new(plan),
            token_errands: VecDeque::new(),
            gateways: (0..GATEWAYS).map(|index| gateway(plan, index)).collect(),
            network: Network::new(plan),
            queue: Queue::default(),
            ties: Rng::new(plan.seed, "ties"),
            recorder: Recorder::new(plan),
            has_reached: false,
            events: 0,
            app: CoreApp::new(config),
            suspended_until: Instant::ZERO,
            effects: Vec::new(),
            gateway_effects: Vec::new(),
            tap,
        }
    }

    /// One event. If the plan has its turn, it is for the executor; there may be none until `end`.
    fn run_next(&mut self, end: Instant) -> Option<Turn> {
        let mut deadlines = [None; 2 + GATEWAYS as usize];
        deadlines[0] = self.queue.next_time();
        deadlines[1] = self.core.next_deadline().map(|deadline| self.when_awake(deadline.at));
        for (slot, gateway) in deadlines[2..].iter_mut().zip(&self.gateways) {
            *slot = gateway.next_deadline().map(Instant::from);
        }
        let Some(next) = deadlines.iter().flatten().min().copied().filter(|next| *next <= end) else {
            self.now = self.now.max(end);
            return Some(Turn::Over);
        };
        self.now = self.now.max(next);
        self.events += 1;
        self.recorder.count_event(self.now);
        let mut due = [0; 2 + GATEWAYS as usize];
        let mut count = 0;
        for (index, deadline) in deadlines.iter().enumerate() {
            if *deadline == Some(next) {
                due[count] = index;
                count += 1;
            }
        }
        match if count == 1 { due[0] } else { *self.ties.pick(&due[..count]) } {
            0 => return self.run_queued(),
            1 => self.step_core(Input::Timeout),
            gateway => self.step_gateway(gateway - 2, gateway::Input::Timeout),
        }
        None
    }

    /// When the client's process gets to deal with a deadline. One that sleeps past it reads what waits for it
    /// first, as the driver does.
    fn when_awake(&self, deadline: Instant) -> Instant {
        if deadline > self.suspended_until || self.suspended_until == Instant::ZERO {
            deadline
        } else {
            self.suspended_until + Duration::from_micros(1)
        }
    }

    fn run_queued(&mut self) -> Option<Turn> {
        match self.queue.pop() {
            Due::Plan(event) => return Some(Turn::Due(event)),
            Due::ArriveAtGateway(socket) => self.arrive_at_gateway(socket),
            Due::ArriveAtClient(socket) => self.arrive_at_client(socket),
            Due::StoreAnswers if self.now < self.suspended_until => {
                self.queue.push(self.suspended_until, self.ties.any(), Due::StoreAnswers);
            }
            Due::StoreAnswers => {
                let answer = self.token_errands.pop_front().expect("an errand for each answer");
                self.step_core(answer);
            }
            Due::Read(subscription) if self.now < self.suspended_until => {
                self.queue.push(self.suspended_until, self.ties.any(), Due::Read(subscription));
            }
            Due::Read(subscription) => on_core::read_waiting(self, subscription),
            Due::AnswerClose(epoch) => self.answer_close(epoch),
        }
        None
    }

    fn record(&mut self, what: Event) {
        self.has_reached |= self.recorder.record(self.now, what);
    }

    fn step_core(&mut self, input: Input) {
        let mut effects = std::mem::take(&mut self.effects);
        self.core.step(self.now, input, &mut effects);
        let mut written = None;
        for effect in effects.drain(..) {
            if let Effect::Transmit { epoch, .. } = &effect {
                let (of, frames) = written.get_or_insert((*epoch, 0));
                assert_eq!(of, epoch, "one step writes to one socket");
                *frames += 1;
            }
            self.apply(effect);
        }
        self.effects = effects;
        // The transport of this tier takes everything at once.
        if let Some((epoch, frames)) = written {
            self.step_core(Input::Written { epoch, frames });
        }
        if self.app.has_more_to_do() {
            on_core::follow_up(self);
        }
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Dial { epoch, endpoint, headers: _ } => {
                let gateway = gateway_of(&endpoint);
                self.record(Event::Dialed { socket: socket_of(epoch), gateway });
                self.network.dial(self.now, epoch, gateway);
                self.send_to_gateway(epoch, ToGateway::Dial);
            }
            Effect::Transmit { epoch, text } => self.send_to_gateway(epoch, ToGateway::Text(text.0)),
            Effect::Ping { epoch } => self.send_to_gateway(epoch, ToGateway::Ping),
            Effect::HangUp { epoch, close: Close::Graceful { .. } } => {
                self.send_to_gateway(epoch, ToGateway::Close);
            }
            Effect::HangUp { epoch, close: Close::Now { .. } } => {
                self.send_to_gateway(epoch, ToGateway::Eof);
                self.release(epoch);
            }
            Effect::Complete { id, outcome } => on_core::settle(self, id, &outcome),
            Effect::Accepted { .. } | Effect::Ignored(_) => {}
            Effect::LoadToken { epoch, key } => {
                let result = self.tokens.load(&key);
                self.answer_from_store(Input::TokenLoaded { epoch, result });
            }
            Effect::SaveToken { key, token } => {
                // The core waits for the end of a write, well or not.
                let _ = self.tokens.save(&key, &token);
                self.answer_from_store(Input::TokenStored);
            }
            Effect::AdoptToken { key, token } => {
                if let Ok(stored) = self.tokens.load(&key)
                    && stored.is_none_or(|stored| stored.token != token.token)
                {
                    let _ = self.tokens.save(&key, &token);
                }
                self.answer_from_store(Input::TokenStored);
            }
            Effect::ClearToken { key, token } => {
                let _ = self.tokens.clear(&key, &token);
                self.answer_from_store(Input::TokenStored);
            }
            Effect::Deliver { to, push } => on_core::deliver(self, to, push),
            Effect::Status(status) => self.record(Event::Status((&status).into())),
            Effect::Stopped => on_core::stopped(self),
        }
    }

    /// The store does one thing after the other.
    fn answer_from_store(&mut self, answer: Input) {
        self.token_errands.push_back(answer);
        let arrival = self.tokens.finishes(self.now);
        self.queue.push(arrival, self.ties.any(), Due::StoreAnswers);
    }

    /// The client lets go of a socket, if it had not before.
    fn release(&mut self, epoch: Epoch) {
        if let Some(silent) = self.network.release(self.now, epoch) {
            self.record(Event::Released { socket: socket_of(epoch), silent });
        }
    }

    fn send_to_gateway(&mut self, epoch: Epoch, parcel: ToGateway) {
        if let Some(arrival) = self.network.send_to_gateway(self.now, epoch, parcel) {
            self.queue.push(arrival, self.ties.any(), Due::ArriveAtGateway(epoch));
        }
    }

    fn send_to_client(&mut self, epoch: Epoch, parcel: ToClient) {
        if let Some(arrival) = self.network.send_to_client(self.now, epoch, parcel) {
            self.queue.push(arrival, self.ties.any(), Due::ArriveAtClient(epoch));
        }
    }

    /// Late arrivals reach the core even after it let go of the socket: a transport may report what
    /// belongs to the past, and nothing of it may matter.
    fn arrive_at_client(&mut self, epoch: Epoch) {
        if self.network.stops(epoch, Direction::ToClient) {
            return;
        }
        if self.now < self.suspended_until {
            self.queue.push(self.suspended_until, self.ties.any(), Due::ArriveAtClient(epoch));
            return;
        }
        let Some(parcel) = self.network.take_at_client(self.now, epoch) else { return };
        match parcel.input(epoch) {
            link::Arrival::Input(input) => self.step_core(input),
            link::Arrival::Ping(input) => {
                self.send_to_gateway(epoch, ToGateway::Pong);
                self.step_core(input);
            }
            link::Arrival::End { input, acknowledge } => {
                if acknowledge {
                    self.send_to_gateway(epoch, ToGateway::Close);
                }
                self.release(epoch);
                self.step_core(input);
            }
        }
    }
}

fn socket_of(epoch: Epoch) -> u32 {
    u32::try_from(epoch.0).expect("a run has few epochs")
}

fn epoch_of(connection: ConnectionId) -> Epoch {
    Epoch(u64::from(connection.0))
}
