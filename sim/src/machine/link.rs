//! The network of the `machine` tier: two first-in-first-out channels for each socket.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use onesocket::core::{ConnectionError, DialError, Epoch, Input, Instant, WireText};

use crate::plan::{GATEWAYS, Plan};
use crate::random::Stream;

/// What travels to a gateway.
#[derive(Debug)]
pub(super) enum ToGateway {
    Dial,
    Text(Arc<str>),
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

impl ToClient {
    pub(super) fn input(self, epoch: Epoch) -> Arrival {
        let failed = |error| Arrival::End { input: Input::DialFailed { epoch, error }, acknowledge: false };
        match self {
            Self::Opened => Arrival::Input(Input::Opened { epoch }),
            Self::Refused => failed(DialError::Refused),
            Self::Unavailable(body) => failed(DialError::Upgrade { status: 503, body: body.to_owned() }),
            Self::Text(text) => Arrival::Input(Input::Received { epoch, text }),
            Self::Noise => Arrival::Input(Input::Activity { epoch }),
            Self::Ping => Arrival::Ping(Input::Activity { epoch }),
            Self::Close { code, reason } => {
                let error = ConnectionError::Closed { code, reason };
                Arrival::End { input: Input::Closed { epoch, error }, acknowledge: true }
            }
            Self::Reset => {
                let error = ConnectionError::Lost("the connection was reset".to_owned());
                Arrival::End { input: Input::Closed { epoch, error }, acknowledge: false }
            }
        }
    }
}

/// All links and sockets.
pub(super) struct Network {
    links: Vec<Link>,
    sockets: BTreeMap<Epoch, Socket>,
    latency: Stream,
    latency_us: (u64, u64),
}

#[derive(Clone, Copy, Default)]
struct Link {
    /// Partitions that are going on.
    partitions: u32,
    held_until: Instant,
}

struct Socket {
    gateway: u8,
    /// A partition struck it: nothing passes any more, and nobody is told.
    dead: bool,
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
}

impl<T> Default for Channel<T> {
    fn default() -> Self {
        Self { parcels: VecDeque::new(), last_arrival: Instant::ZERO }
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
            links: vec![Link::default(); usize::from(GATEWAYS)],
            sockets: BTreeMap::new(),
            latency: Stream::new(plan.seed, "latency"),
            latency_us: (plan.params.latency_min_us, plan.params.latency_max_us),
        }
    }

    pub(super) fn dial(&mut self, epoch: Epoch, gateway: u8) {
        let dead = self.links[usize::from(gateway)].partitions > 0;
        let socket = Socket {
            gateway,
            dead,
            released: false,
            client_closes: false,
            gateway_closes: false,
            to_gateway: Channel::default(),
            to_client: Channel::default(),
        };
        self.sockets.insert(epoch, socket);
    }

    /// The client lets go; true the first time.
    pub(super) fn release(&mut self, epoch: Epoch) -> bool {
        self.sockets.get_mut(&epoch).is_some_and(|socket| !std::mem::replace(&mut socket.released, true))
    }

    /// Sockets that the client holds.
    pub(super) fn held(&self) -> u32 {
        let held = self.sockets.values().filter(|socket| !socket.released).count();
        u32::try_from(held).expect("a run has few sockets")
    }

    pub(super) fn partition(&mut self, gateway: u8) {
        self.links[usize::from(gateway)].partitions += 1;
        for socket in self.sockets.values_mut().filter(|socket| socket.gateway == gateway) {
            socket.dead = true;
        }
    }

    pub(super) fn heal(&mut self, gateway: u8) {
        self.links[usize::from(gateway)].partitions -= 1;
    }

    pub(super) fn hold(&mut self, gateway: u8, until: Instant) {
        let link = &mut self.links[usize::from(gateway)];
        link.held_until = link.held_until.max(until);
    }

    /// When something that would arrive now arrives instead, if the link holds it back.
    pub(super) fn held_until(&self, epoch: Epoch, now: Instant) -> Option<Instant> {
        let socket = self.sockets.get(&epoch)?;
        let held_until = self.links[usize::from(socket.gateway)].held_until;
        (held_until > now).then_some(held_until)
    }

    /// Sends a parcel; its arrival, unless it is lost or a second close frame.
    pub(super) fn send_to_gateway(
        &mut self,
        now: Instant,
        epoch: Epoch,
        parcel: ToGateway,
    ) -> Option<Instant> {
        let arrival = now + self.draw_latency();
        let socket = self.sockets.get_mut(&epoch).filter(|socket| !socket.dead)?;
        let closes = matches!(parcel, ToGateway::Close);
        if closes && std::mem::replace(&mut socket.client_closes, true) {
            return None;
        }
        Some(socket.to_gateway.send(arrival, parcel))
    }

    /// As [`send_to_gateway`](Self::send_to_gateway), the other way.
    pub(super) fn send_to_client(&mut self, now: Instant, epoch: Epoch, parcel: ToClient) -> Option<Instant> {
        let arrival = now + self.draw_latency();
        let socket = self.sockets.get_mut(&epoch).filter(|socket| !socket.dead)?;
        let closes = matches!(parcel, ToClient::Close { .. });
        if closes && std::mem::replace(&mut socket.gateway_closes, true) {
            return None;
        }
        Some(socket.to_client.send(arrival, parcel))
    }

    fn draw_latency(&mut self) -> Duration {
        Duration::from_micros(self.latency.between(self.latency_us.0, self.latency_us.1))
    }

    /// What arrives at the gateway, unless the socket died under way.
    pub(super) fn take_at_gateway(&mut self, epoch: Epoch) -> Option<(u8, ToGateway)> {
        let socket = self.sockets.get_mut(&epoch).filter(|socket| !socket.dead)?;
        socket.to_gateway.parcels.pop_front().map(|parcel| (socket.gateway, parcel))
    }

    /// As [`take_at_gateway`](Self::take_at_gateway), the other way.
    pub(super) fn take_at_client(&mut self, epoch: Epoch) -> Option<ToClient> {
        let socket = self.sockets.get_mut(&epoch).filter(|socket| !socket.dead)?;
        socket.to_client.parcels.pop_front()
    }
}
