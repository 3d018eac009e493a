//! Sockets, connections, and the events that travel over them.

use std::collections::BTreeMap;

use super::take_track;

/// What is known of the sockets and connections of a run.
#[derive(Default)]
pub(super) struct Network {
    dials: Vec<Dial>,
    connections: BTreeMap<(u8, u32), Connection>,
    socket_tracks: Vec<bool>,
    connection_tracks: Vec<bool>,
    /// The latest hello, and whether it was drawn already.
    hello: Option<Hello>,
    /// Which connection an epoch of the client is.
    epochs: BTreeMap<u64, (u8, u32)>,
    sent: BTreeMap<(u8, u32, u64), usize>,
}

struct Dial {
    socket: u32,
    gateway: u8,
    row: usize,
    span: usize,
    track: usize,
    is_released: bool,
    is_accepted: bool,
}

struct Connection {
    span: usize,
    track: usize,
}

struct Hello {
    gateway: u8,
    connection: u32,
    row: usize,
    has_arrived: bool,
}

impl Network {
    /// Notes a dial, and gives back the track of its socket.
    pub(super) fn dialed(&mut self, socket: u32, gateway: u8, row: usize, span: usize) -> usize {
        let track = take_track(&mut self.socket_tracks);
        let dial = Dial { socket, gateway, row, span, track, is_released: false, is_accepted: false };
        self.dials.push(dial);
        track
    }

    /// Notes that the client let go of a socket, and gives back its span.
    pub(super) fn released(&mut self, socket: u32) -> Option<usize> {
        let dial = self.dials.iter_mut().rev().find(|dial| dial.socket == socket && !dial.is_released)?;
        dial.is_released = true;
        self.socket_tracks[dial.track] = false;
        Some(dial.span)
    }

    /// Notes a connection, and gives back its track and the row of its dial. That is the oldest one that the client
    /// still holds, else the latest that it gave up: that one was late.
    pub(super) fn accepted(&mut self, gateway: u8, connection: u32, span: usize) -> (usize, Option<usize>) {
        let track = take_track(&mut self.connection_tracks);
        self.connections.insert((gateway, connection), Connection { span, track });
        let open = |dial: &Dial| dial.gateway == gateway && !dial.is_accepted;
        let held = self.dials.iter().position(|dial| open(dial) && !dial.is_released);
        let index = held.or_else(|| self.dials.iter().rposition(open));
        let row = index.map(|index| {
            self.dials[index].is_accepted = true;
            self.dials[index].row
        });
        (track, row)
    }

    /// Notes that a gateway is rid of a connection, and gives back its span.
    pub(super) fn gone(&mut self, gateway: u8, connection: u32) -> Option<usize> {
        let gone = self.connections.remove(&(gateway, connection))?;
        self.connection_tracks[gone.track] = false;
        Some(gone.span)
    }

    pub(super) fn hello(&mut self, gateway: u8, connection: u32, row: usize) {
        self.hello = Some(Hello { gateway, connection, row, has_arrived: false });
    }

    /// The client is ready: when and where was the hello sent that it has not had before?
    pub(super) fn hello_arrived(&mut self) -> Option<(usize, u8)> {
        let hello = self.hello.as_mut().filter(|hello| !hello.has_arrived)?;
        hello.has_arrived = true;
        Some((hello.row, hello.gateway))
    }

    /// The first item of an epoch comes over the connection that said hello last.
    pub(super) fn epoch_began(&mut self, epoch: u64) {
        if let Some(hello) = &self.hello {
            self.epochs.entry(epoch).or_insert((hello.gateway, hello.connection));
        }
    }

    pub(super) fn event_sent(&mut self, gateway: u8, connection: u32, seq: u64, row: usize) {
        self.sent.insert((gateway, connection, seq), row);
    }

    /// When and where an event was sent.
    pub(super) fn event(&mut self, epoch: u64, seq: u64) -> Option<(usize, u8)> {
        self.epoch_began(epoch);
        let (gateway, connection) = *self.epochs.get(&epoch)?;
        self.sent.get(&(gateway, connection, seq)).map(|row| (*row, gateway))
    }
}
