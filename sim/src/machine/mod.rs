//! The `machine` tier: core and gateway models joined by an event queue.
//!
//! No runtime, no bytes, no threads: time jumps from one event to the next. What happens at the same
//! time happens in an order drawn from the seed, so that no order is taken for granted.

mod app;
mod link;
mod queue;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use onesocket::core::{Close, Command, Connection, Effect, Epoch, Input, Instant, WireText};

use crate::gateway::{self, ConnectionId, GatewayModel, Order, Peer, RestartMode};
use crate::observe::{outcome, probe_of, seen};
use crate::plan::{Action, Fault, GATEWAYS, Plan};
use crate::random::Stream;
use crate::run::{Finished, Recorder, client_seed, gateway, gateway_of};
use crate::token_store::Tokens;
use crate::trace::{Seen, What};

use app::App;
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
    let mut machine = Machine::new(plan, tap);
    machine.run();
    machine.recorder.finish()
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
    ties: Stream,
    recorder: Recorder,
    app: App,
    effects: Vec<Effect>,
    gateway_effects: Vec<gateway::Effect>,
    tap: &'p mut dyn FnMut(u8, &gateway::Effect),
}

impl<'p> Machine<'p> {
    fn new(plan: &'p Plan, tap: &'p mut dyn FnMut(u8, &gateway::Effect)) -> Self {
        let mut app = App::new(plan);
        let token: Arc<str> = Arc::from(Plan::FIRST_TOKEN);
        let config = app.config(plan, 0, &token);
        app.config = Some((0, token));
        let core = Connection::new(Some(config), plan.params.options(), client_seed(plan));
        let mut queue = Queue::default();
        if let Some(first) = plan.steps.first() {
            queue.push(Instant::from_millis(first.at_ms), 0, Due::Step(0));
        }
        Self {
            plan,
            now: Instant::ZERO,
            core: core.expect("a plan was checked").with_token_store(),
            tokens: Tokens::new(plan),
            token_errands: VecDeque::new(),
            gateways: (0..GATEWAYS).map(|index| gateway(plan, index)).collect(),
            network: Network::new(plan),
            queue,
            ties: Stream::new(plan.seed, "ties"),
            recorder: Recorder::new(plan),
            app,
            effects: Vec::new(),
            gateway_effects: Vec::new(),
            tap,
        }
    }

    fn run(&mut self) {
        let end = Instant::from_millis(self.plan.params.end_ms);
        self.run_until(end);
        self.shut_down();
        let grace = Duration::from_millis(self.plan.params.close_grace_ms + 1_000);
        self.run_until(self.now.max(end) + grace);
        let remaining = What::Remaining {
            sockets: self.network.held(),
            timers: u32::from(self.core.next_deadline().is_some()),
            requests: u32::try_from(self.core.pending()).unwrap_or(u32::MAX),
        };
        self.record(remaining);
    }

    /// Lets everything happen that happens until `end`.
    fn run_until(&mut self, end: Instant) {
        for _ in 0..EVENTS_MAX {
            if self.recorder.is_broken() || !self.run_next(end) {
                return;
            }
        }
        panic!("more than {EVENTS_MAX} events: something spins");
    }

    /// One event; false if there is none until `end`.
    fn run_next(&mut self, end: Instant) -> bool {
        let mut deadlines = [None; 2 + GATEWAYS as usize];
        deadlines[0] = self.queue.next_time();
        deadlines[1] = self.core.next_deadline();
        for (deadline, gateway) in deadlines[2..].iter_mut().zip(&self.gateways) {
            *deadline = gateway.next_deadline().map(Instant::from);
        }
        let Some(next) = deadlines.iter().flatten().min().copied().filter(|next| *next <= end) else {
            self.now = self.now.max(end);
            return false;
        };
        self.now = self.now.max(next);
        let mut due = [0; 2 + GATEWAYS as usize];
        let mut count = 0;
        for (index, _) in deadlines.iter().enumerate().filter(|(_, deadline)| **deadline == Some(next)) {
            due[count] = index;
            count += 1;
        }
        match if count == 1 { due[0] } else { *self.ties.pick(&due[..count]) } {
            0 => self.run_queued(),
            1 => self.step_core(Input::Timeout),
            gateway => self.step_gateway(gateway - 2, gateway::Input::Timeout),
        }
        true
    }

    fn run_queued(&mut self) {
        match self.queue.pop() {
            Due::Step(index) => {
                if let Some(next) = self.plan.steps.get(index + 1) {
                    self.queue.push(Instant::from_millis(next.at_ms), 0, Due::Step(index + 1));
                }
                let plan = self.plan;
                self.act(&plan.steps[index].action);
            }
            Due::ArriveAtGateway(socket) => self.arrive_at_gateway(socket),
            Due::ArriveAtClient(socket) => self.arrive_at_client(socket),
            Due::StoreAnswers => {
                let answer = self.token_errands.pop_front().expect("an errand for each answer");
                self.step_core(answer);
            }
            Due::Read(subscription) => self.read_one(subscription),
            Due::Heal(fault, gateway) => {
                if fault == Fault::Partition {
                    self.network.heal(gateway);
                }
                self.record(What::Healed { fault, gateway });
            }
        }
    }

    fn record(&mut self, what: What) {
        self.recorder.record(self.now, what);
    }

    fn act(&mut self, action: &Action) {
        if let Some(fault) = action.fault() {
            let gateway = action.gateway().unwrap_or_default();
            self.record(What::Fault { fault, gateway });
            if fault.lasts() {
                let over = self.now + Duration::from_millis(action.lasts_ms());
                self.queue.push(over, self.ties.any(), Due::Heal(fault, gateway));
            }
        }
        match action {
            Action::Connect {} => {
                self.record(What::Wanted);
                self.command(Command::Connect);
            }
            Action::Request { consumer, method, timeout_ms } => {
                self.request(*consumer, method, *timeout_ms);
            }
            Action::AbandonRequest { consumer, method, timeout_ms, polls } => {
                self.abandon_request(*consumer, method, *timeout_ms, *polls);
            }
            Action::DropRequest { consumer } => self.drop_request(*consumer),
            Action::Behave { consumer, manner } => self.behave(*consumer, manner),
            Action::Subscribe { consumer } => self.subscribe(*consumer),
            Action::Unsubscribe { consumer } => self.unsubscribe(*consumer),
            // A future that was polled has given its order, which is all there is of it here.
            Action::Configure { gateway, token } | Action::AbandonConfigure { gateway, token, .. } => {
                self.configure(*gateway, token);
            }
            Action::Wake {} => {
                self.record(What::Woken);
                self.command(Command::Wake);
            }
            Action::Resume {} => {
                self.record(What::Resumed);
                self.command(Command::Resume);
            }
            Action::Shutdown {} | Action::AbandonShutdown { .. } => self.shut_down(),
            Action::Emit { .. }
            | Action::Restart { .. }
            | Action::ChangeToken { .. }
            | Action::Close { .. }
            | Action::DropEvent { .. } => {
                if let Some((gateway, order)) = gateway_order(action) {
                    self.step_gateway(usize::from(gateway), gateway::Input::Order(order));
                }
            }
            Action::Partition { gateway, .. } => self.network.partition(*gateway),
            Action::Blip { gateway, for_ms } => {
                self.network.hold(*gateway, self.now + Duration::from_millis(*for_ms));
            }
        }
    }

    fn command(&mut self, command: Command) {
        self.step_core(Input::Command(command));
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
            self.carry_out(effect);
        }
        self.effects = effects;
        // The transport of this tier takes everything at once.
        if let Some((epoch, frames)) = written {
            self.step_core(Input::Written { epoch, frames });
        }
        if self.app.has_more_to_do() {
            self.app_goes_on();
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Dial { epoch, endpoint } => {
                let gateway = gateway_of(&endpoint);
                self.record(What::Dialed { socket: socket_of(epoch), gateway });
                self.network.dial(epoch, gateway);
                self.send_to_gateway(epoch, ToGateway::Dial);
            }
            Effect::Transmit { epoch, text } => self.send_to_gateway(epoch, ToGateway::Text(text.0)),
            Effect::HangUp { epoch, close: Close::Graceful { .. } } => {
                self.send_to_gateway(epoch, ToGateway::Close);
            }
            Effect::HangUp { epoch, close: Close::Now { .. } } => {
                self.send_to_gateway(epoch, ToGateway::Eof);
                self.release(epoch);
            }
            Effect::Complete { id, outcome: result } => {
                let request = u32::try_from(id.0).expect("requests are numbered by this tier");
                self.record(What::RequestSettled { request, outcome: outcome(request, &result) });
                self.app.request_ended(request);
            }
            Effect::Accepted { .. } => {}
            Effect::LoadToken { epoch, key } => {
                let result = self.tokens.load(&key);
                self.answer_from_store(Input::TokenLoaded { epoch, result });
            }
            Effect::SaveToken { key, token } => {
                // The core waits for the end of a write, well or not.
                let _ = self.tokens.save(&key, &token);
                self.answer_from_store(Input::TokenStored);
            }
            Effect::ClearToken { key, token } => {
                let _ = self.tokens.clear(&key, &token);
                self.answer_from_store(Input::TokenStored);
            }
            Effect::Deliver { to, push } => self.deliver(to, push),
            Effect::Status(status) => self.record(What::Status((&status).into())),
            Effect::Stopped => {
                if !self.app.stopped {
                    self.app.stopped = true;
                    self.record(What::ShutdownReturned);
                }
            }
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
        if self.network.release(epoch) {
            self.record(What::Released { socket: socket_of(epoch) });
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

    fn arrive_at_gateway(&mut self, epoch: Epoch) {
        if let Some(later) = self.network.held_until(epoch, self.now) {
            self.queue.push(later, self.ties.any(), Due::ArriveAtGateway(epoch));
            return;
        }
        let Some((gateway, parcel)) = self.network.take_at_gateway(epoch) else { return };
        let connection = ConnectionId(socket_of(epoch));
        let index = usize::from(gateway);
        match parcel {
            ToGateway::Dial => self.dial_arrives(epoch, index),
            ToGateway::Text(text) => {
                if let Some(request) = probe_of(&text) {
                    let seen = Seen::Request { connection: connection.0, request };
                    self.record(What::Gateway { gateway, seen });
                }
                let message = gateway::Message::Text(text);
                self.step_gateway(index, gateway::Input::Received { connection, message });
            }
            ToGateway::Pong => self.step_gateway(index, gateway::Input::Pong { connection }),
            ToGateway::Close => {
                self.send_to_client(epoch, ToClient::Close { code: 1000, reason: String::new() });
                self.step_gateway(index, gateway::Input::Disconnected { connection });
            }
            ToGateway::Eof => self.step_gateway(index, gateway::Input::Disconnected { connection }),
        }
    }

    fn dial_arrives(&mut self, epoch: Epoch, index: usize) {
        match self.gateways[index].admission() {
            gateway::Admission::Open => {
                self.send_to_client(epoch, ToClient::Opened);
                let connection = ConnectionId(socket_of(epoch));
                let peer = Peer::LOCAL;
                self.step_gateway(index, gateway::Input::Accepted { connection, peer });
            }
            gateway::Admission::Refused => self.send_to_client(epoch, ToClient::Refused),
            gateway::Admission::Unavailable(body) => self.send_to_client(epoch, ToClient::Unavailable(body)),
        }
    }

    /// Late arrivals reach the core even after it let go of the socket: a transport may report what
    /// belongs to the past, and nothing of it may matter.
    fn arrive_at_client(&mut self, epoch: Epoch) {
        if let Some(later) = self.network.held_until(epoch, self.now) {
            self.queue.push(later, self.ties.any(), Due::ArriveAtClient(epoch));
            return;
        }
        let Some(parcel) = self.network.take_at_client(epoch) else { return };
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

    fn step_gateway(&mut self, index: usize, input: gateway::Input) {
        let mut effects = std::mem::take(&mut self.gateway_effects);
        self.gateways[index].step(self.now.elapsed(), input, &mut effects);
        for effect in effects.drain(..) {
            self.carry_out_at_gateway(index, effect);
        }
        self.gateway_effects = effects;
    }

    fn carry_out_at_gateway(&mut self, index: usize, effect: gateway::Effect) {
        let gateway = u8::try_from(index).expect("there are few gateways");
        (self.tap)(gateway, &effect);
        match effect {
            gateway::Effect::Send { connection, text } => {
                self.send_to_client(epoch_of(connection), ToClient::Text(WireText(text)));
            }
            gateway::Effect::SendBinary { connection, .. } => {
                self.send_to_client(epoch_of(connection), ToClient::Noise);
            }
            gateway::Effect::Ping { connection } => self.send_to_client(epoch_of(connection), ToClient::Ping),
            gateway::Effect::Close { connection, code, reason } => {
                let reason = reason.into_owned();
                self.send_to_client(epoch_of(connection), ToClient::Close { code, reason });
            }
            gateway::Effect::Terminate { connection } => {
                self.send_to_client(epoch_of(connection), ToClient::Reset);
            }
            gateway::Effect::Note(note) => {
                if let Some(seen) = seen(&note) {
                    self.record(What::Gateway { gateway, seen });
                }
            }
        }
    }
}

/// The gateway's order that carries out an action, if the action is one of a gateway.
#[must_use]
pub fn gateway_order(action: &Action) -> Option<(u8, Order)> {
    match action {
        Action::Emit { gateway, event } => {
            Some((*gateway, Order::Emit { event: event.clone(), payload: Arc::from("{}") }))
        }
        Action::Restart { gateway, down_ms, crash } => {
            let mode = if *crash { RestartMode::Crash } else { RestartMode::Graceful };
            Some((*gateway, Order::Restart { mode, down: Duration::from_millis(*down_ms) }))
        }
        Action::ChangeToken { gateway, token } => {
            Some((*gateway, Order::ChangeToken { token: token.clone() }))
        }
        Action::Close { gateway, code, reason } => {
            Some((*gateway, Order::Kick { code: *code, reason: reason.clone() }))
        }
        Action::DropEvent { gateway } => Some((*gateway, Order::DropNextEvent)),
        Action::Connect {}
        | Action::Request { .. }
        | Action::AbandonRequest { .. }
        | Action::DropRequest { .. }
        | Action::Behave { .. }
        | Action::Subscribe { .. }
        | Action::Unsubscribe { .. }
        | Action::Configure { .. }
        | Action::AbandonConfigure { .. }
        | Action::Wake {}
        | Action::Resume {}
        | Action::Shutdown {}
        | Action::AbandonShutdown { .. }
        | Action::Partition { .. }
        | Action::Blip { .. } => None,
    }
}

fn socket_of(epoch: Epoch) -> u32 {
    u32::try_from(epoch.0).expect("a run has few epochs")
}

fn epoch_of(connection: ConnectionId) -> Epoch {
    Epoch(u64::from(connection.0))
}
