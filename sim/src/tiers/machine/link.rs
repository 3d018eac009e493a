//! The network of the `machine` tier: two first-in-first-out channels for each socket.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use onesocket::core::{ConnectionError, DialError, Epoch, Input, Instant, UpgradeRefusal, WireText};

use crate::base::rng::Rng;
use crate::pipe::{Dials, Direction};
use crate::plan::{GATEWAYS, Plan};
use crate::tiers::link_state::LinkState;
use onesocket_gateway::host::CloseAnswer;

/// What travels to a gateway.
#[derive(Debug)]
pub(super) enum ToGateway {
    Dial,
    Text(Arc<str>),
    Ping,
    Pong,
    /// A close frame, or the answer to one.
    Close,
    /// The end without a close frame.
    Eof,
}

/// What travels to the client.
#[derive(Debug)]
pub(super) enum ToClient {
    Opened,
    Refused,
    Unavailable(&'static str),
    Text(WireText),
    /// A message that is not UTF-8.
    Noise,
    Ping,
    /// The answer to a ping of the client.
    Pong,
    Close {
        code: u16,
        reason: String,
    },
    Reset,
}

/// What a parcel means to the client.
pub(super) enum Arrival {
    Input(Input),
    /// As an input, and a pong goes back.
    Ping(Input),
    /// The socket is gone; `acknowledge` says whether a close frame goes back.
    End {
        input: Input,
        acknowledge: bool,
    },
}

/// About what a frame without a payload takes, with the headers of all layers below it.
const FRAME_BYTES: usize = 64;

impl ToGateway {
    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => FRAME_BYTES + text.len(),
            Self::Dial | Self::Ping | Self::Pong | Self::Close | Self::Eof => FRAME_BYTES,
        }
    }
}

impl ToClient {
    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => FRAME_BYTES + text.0.len(),
            Self::Opened
            | Self::Refused
            | Self::Unavailable(_)
            | Self::Noise
            | Self::Ping
            | Self::Pong
            | Self::Close { .. }
            | Self::Reset => FRAME_BYTES,
        }
    }

    pub(super) fn input(self, epoch: Epoch) -> Arrival {
        let failed = |error| Arrival::End { input: Input::DialFailed { epoch, error }, acknowledge: false };
        match self {
            Self::Opened => Arrival::Input(Input::Opened { epoch }),
            Self::Refused => failed(DialError::Refused),
            Self::Unavailable(body) => {
                let mut refusal = UpgradeRefusal::new(503);
                refusal.reason = "Service Unavailable".into();
                refusal.body = body.into();
                failed(DialError::Upgrade(Box::new(refusal)))
            }
            Self::Text(text) => Arrival::Input(Input::Received { epoch, text }),
            Self::Noise => Arrival::Input(Input::Unreadable { epoch }),
            Self::Pong => Arrival::Input(Input::Activity { epoch }),
            Self::Ping => Arrival::Ping(Input::Activity { epoch }),
            Self::Close { code, reason } => {
                let error = ConnectionError::Closed { code, reason: reason.into() };
                Arrival::End { input: Input::Closed { epoch, error }, acknowledge: true }
            }
            Self::Reset => {
                let error = ConnectionError::Lost("the connection was reset".into());
                Arrival::End { input: Input::Closed { epoch, error }, acknowledge: false }
            }
        }
    }
}

/// All links and sockets.
pub(super) struct Network {
    link_states: Vec<LinkState>,
    /// When each direction of each link has carried what its buffer holds.
    lines_free: Vec<[Instant; 2]>,
    sockets: BTreeMap<Epoch, Socket>,
    latency: Rng,
    latency_us: (u64, u64),
}

struct Socket {
    gateway: u8,
    /// Nothing passes in this direction any more, and nobody is told.
    lost: [bool; 2],
    /// When anything last arrived at the client.
    heard: Instant,
    released: bool,
    /// A side that has sent a close frame does not answer one (RFC 6455, 5.5.1).
    client_closes: bool,
    gateway_closes: bool,
    to_gateway: Channel<ToGateway>,
    to_client: Channel<ToClient>,
}

struct Channel<T> {
    parcels: VecDeque<T>,
    last_arrival: Instant,
    /// Parcels that came to the end of a path that stands still.
    stopped: u32,
}

impl<T> Default for Channel<T> {
    fn default() -> Self {
        Self { parcels: VecDeque::new(), last_arrival: Instant::ZERO, stopped: 0 }
    }
}

impl<T> Channel<T> {
    /// Parcels arrive in the order they were sent in.
    fn send(&mut self, arrival: Instant, parcel: T) -> Instant {
        self.last_arrival = self.last_arrival.max(arrival);
        self.parcels.push_back(parcel);
        self.last_arrival
    }
}

impl Network {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            link_states: vec![LinkState::default(); usize::from(GATEWAYS)],
            lines_free: vec![[Instant::ZERO; 2]; usize::from(GATEWAYS)],
            sockets: BTreeMap::new(),
            latency: Rng::new(plan.seed, "latency"),
            latency_us: (plan.params.latency_min_us, plan.params.latency_max_us),
        }
    }

    pub(super) fn dial(&mut self, now: Instant, epoch: Epoch, gateway: u8) {
        let link_state = &self.link_states[usize::from(gateway)];
        // A dial needs both directions.
        let lost = Direction::BOTH.into_iter().any(|direction| link_state.loses(direction));
        let socket = Socket {
            gateway,
            lost: [lost; 2],
            heard: now,
            released: false,
            client_closes: false,
            gateway_closes: false,
            to_gateway: Channel::default(),
            to_client: Channel::default(),
        };
        self.sockets.insert(epoch, socket);
    }

    /// The client lets go; the first time, for how long it had heard nothing.
    pub(super) fn release(&mut self, now: Instant, epoch: Epoch) -> Option<Duration> {
        let socket = self.sockets.get_mut(&epoch)?;
        let first = !std::mem::replace(&mut socket.released, true);
        first.then(|| now.since(socket.heard))
    }

    /// Sockets that the client holds.
    pub(super) fn held(&self) -> u32 {
        let held = self.sockets.values().filter(|socket| !socket.released).count();
        u32::try_from(held).expect("a run has few sockets")
    }

    /// The path is like this from now on. What stood still and does so no longer is due now.
    pub(super) fn set_link_state(&mut self, gateway: u8, link_state: &LinkState) -> Vec<(Epoch, Direction)> {
        self.link_states[usize::from(gateway)].clone_from(link_state);
        for direction in Direction::BOTH.into_iter().filter(|direction| link_state.loses(*direction)) {
            self.lose(gateway, direction);
        }
        let mut due = Vec::new();
        for (epoch, socket) in self.sockets.iter_mut().filter(|(_, socket)| socket.gateway == gateway) {
            for direction in Direction::BOTH.into_iter().filter(|direction| !link_state.stalls(*direction)) {
                let stopped = match direction {
                    Direction::ToGateway => &mut socket.to_gateway.stopped,
                    Direction::ToClient => &mut socket.to_client.stopped,
                };
                due.extend(std::iter::repeat_n((*epoch, direction), std::mem::take(stopped) as usize));
            }
        }
        due
    }

    /// What exists in this direction is dead from now on.
    pub(super) fn lose(&mut self, gateway: u8, direction: Direction) {
        for socket in self.sockets.values_mut().filter(|socket| socket.gateway == gateway) {
            socket.lost[direction as usize] = true;
        }
    }

    /// The sockets to a gateway that the client holds.
    pub(super) fn sockets_of(&self, gateway: u8) -> Vec<Epoch> {
        let of = self.sockets.iter().filter(|(_, socket)| socket.gateway == gateway && !socket.released);
        of.map(|(epoch, _)| *epoch).collect()
    }

    /// Whether what arrives now has to wait for a path that stands still.
    pub(super) fn stops(&mut self, epoch: Epoch, direction: Direction) -> bool {
        let Some(socket) = self.sockets.get_mut(&epoch) else { return false };
        let stops = self.link_states[usize::from(socket.gateway)].stalls(direction);
        if stops {
            match direction {
                Direction::ToGateway => socket.to_gateway.stopped += 1,
                Direction::ToClient => socket.to_client.stopped += 1,
            }
        }
        stops
    }

    pub(super) fn gateway_of(&self, epoch: Epoch) -> Option<u8> {
        self.sockets.get(&epoch).map(|socket| socket.gateway)
    }

    pub(super) fn dials(&self, gateway: u8) -> Dials {
        let link_state = &self.link_states[usize::from(gateway)];
        // Only a byte stream tells a dial from its upgrade.
        if link_state.ignores_upgrades() { Dials::Ignored } else { link_state.dials() }
    }

    pub(super) fn close_answer(&self, gateway: u8) -> CloseAnswer {
        self.link_states[usize::from(gateway)].close_answer()
    }

    /// Sends a parcel; its arrival, unless it is lost or a second close frame.
    pub(super) fn send_to_gateway(
        &mut self,
        now: Instant,
        epoch: Epoch,
        parcel: ToGateway,
    ) -> Option<Instant> {
        let latency = self.draw_latency();
        let gateway = self.gateway_of(epoch)?;
        let wait = self.wait(now, gateway, Direction::ToGateway, parcel.bytes());
        let socket = self.sockets.get_mut(&epoch).filter(|socket| !socket.loses(Direction::ToGateway))?;
        let closes = matches!(parcel, ToGateway::Close);
        if closes && std::mem::replace(&mut socket.client_closes, true) {
            return None;
        }
        Some(socket.to_gateway.send(now + latency + wait, parcel))
    }

    /// As [`send_to_gateway`](Self::send_to_gateway), the other way.
    pub(super) fn send_to_client(&mut self, now: Instant, epoch: Epoch, parcel: ToClient) -> Option<Instant> {
        let latency = self.draw_latency();
        let gateway = self.gateway_of(epoch)?;
        let wait = self.wait(now, gateway, Direction::ToClient, parcel.bytes());
        let socket = self.sockets.get_mut(&epoch).filter(|socket| !socket.loses(Direction::ToClient))?;
        let closes = matches!(parcel, ToClient::Close { .. });
        if closes && std::mem::replace(&mut socket.gateway_closes, true) {
            return None;
        }
        Some(socket.to_client.send(now + latency + wait, parcel))
    }

    /// How much longer than usual so many bytes take. What is sent over a slow line waits for what all sockets sent
    /// before, as long as the buffer has room; this tier knows no sender that waits until it has.
    fn wait(&mut self, now: Instant, gateway: u8, direction: Direction, bytes: usize) -> Duration {
        let link_state = &self.link_states[usize::from(gateway)];
        let Some(buffer) = link_state.buffer() else { return link_state.delay() };
        let line_free = &mut self.lines_free[usize::from(gateway)][direction as usize];
        *line_free = ((*line_free).max(now) + buffer.time_for(bytes)).min(now + buffer.longest());
        line_free.since(now) + link_state.delay()
    }

    fn draw_latency(&mut self) -> Duration {
        Duration::from_micros(self.latency.between(self.latency_us.0, self.latency_us.1))
    }

    /// What arrives at the gateway, unless the socket died under way.
    pub(super) fn take_at_gateway(&mut self, epoch: Epoch) -> Option<(u8, ToGateway)> {
        let socket = self.sockets.get_mut(&epoch).filter(|socket| !socket.loses(Direction::ToGateway))?;
        socket.to_gateway.parcels.pop_front().map(|parcel| (socket.gateway, parcel))
    }

    /// As [`take_at_gateway`](Self::take_at_gateway), the other way.
    pub(super) fn take_at_client(&mut self, now: Instant, epoch: Epoch) -> Option<ToClient> {
        let socket = self.sockets.get_mut(&epoch).filter(|socket| !socket.loses(Direction::ToClient))?;
        socket.heard = now;
        socket.to_client.parcels.pop_front()
    }
}

impl Socket {
    fn loses(&self, direction: Direction) -> bool {
        self.lost[direction as usize]
    }
}
