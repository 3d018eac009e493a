//! `one_socket` and `shared_attempt`: how many sockets there are, and why they end.

use std::collections::{BTreeMap, BTreeSet};

use onesocket::core::Instant;

use super::Oracle;
use super::suspension::TICK;
use crate::plan::environment::TokenKind;
use crate::plan::{Fault, Plan};
use crate::trace::{Deviation, Event, GatewayEvent, Record, StatusKind};

/// No dial while any other socket is dialing, open or closing. The invariant allows a closing one
/// beside a live one; onesocket waits for it, so nothing less is asked here.
#[derive(Default)]
pub(super) struct OneSocket {
    held: BTreeSet<u32>,
}

impl Oracle for OneSocket {
    fn observe(&mut self, record: &Record) -> Result<(), String> {
        match &record.event {
            Event::Dialed { socket, .. } => {
                if let Some(other) = self.held.first() {
                    return Err(format!("socket {socket} is dialed while socket {other} is held"));
                }
                self.held.insert(*socket);
            }
            Event::Released { socket, .. } if !self.held.remove(socket) => {
                return Err(format!("socket {socket} is released twice"));
            }
            _ => {}
        }
        Ok(())
    }
}

/// A socket ends for a reason that has nothing to do with callers: the gateway or the network
/// ended or troubled it, the config changed, the client was shut down, or a deadline of the
/// connection passed. Without one, some caller ended it for all the others, or something stale did.
pub(super) struct SharedAttempt {
    stage_ms: u64,
    dialed: BTreeMap<u32, Dialed>,
    troubled: BTreeMap<u8, Instant>,
    lasting: BTreeMap<u8, u32>,
    /// Gateways that are going down or are down.
    down: BTreeSet<u8>,
    changed: Option<Instant>,
    /// Whether the config has nothing to present but a bootstrap token or what came of it.
    needs_store: bool,
    /// Whether the token store may fail.
    store_fails: bool,
    /// The token was refused, and what comes next may be the retry with a stored one.
    token_refused: bool,
}

struct Dialed {
    gateway: u8,
    at: Instant,
    /// Whether it became a connection.
    ready: bool,
}

impl SharedAttempt {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            stage_ms: plan.params.stage_ms,
            dialed: BTreeMap::new(),
            troubled: BTreeMap::new(),
            lasting: BTreeMap::new(),
            down: BTreeSet::new(),
            changed: None,
            needs_store: false,
            store_fails: plan.params.store_fails_percent > 0,
            token_refused: false,
        }
    }

    fn released(&mut self, socket: u32, now: Instant) -> Result<(), String> {
        let Some(Dialed { gateway, at, ready }) = self.dialed.remove(&socket) else { return Ok(()) };
        let excused = self.down.contains(&gateway)
            || self.lasting.get(&gateway).is_some_and(|count| *count > 0)
            // A gateway takes dials a tick after it says that it is up.
            || self.troubled.get(&gateway).is_some_and(|trouble| *trouble + TICK >= at)
            || self.changed.is_some_and(|changed| changed >= at)
            // The retry with a stored token is nothing without the token, and who was set up with a code has no other.
            || (self.store_fails && (self.token_refused || self.needs_store))
            // An attempt may run out of time in any of its stages without a fault, if it is slow.
            || !ready && now.since(at).as_millis() >= u128::from(self.stage_ms);
        if excused { Ok(()) } else { Err(format!("socket {socket} ends although nothing was wrong with it")) }
    }
}

/// Whether a fault of the path can end a socket, or make it seem dead. The answer to a close frame comes too late for
/// that.
fn troubles(fault: Fault) -> bool {
    let late = matches!(fault, Fault::IgnoreCloses | Fault::LateCloses);
    fault.is_of_link() && !late || fault == Fault::RefuseUpgrades
}

/// Whether a deviation makes a client give a socket up, or lets it seem dead.
fn spoils(deviation: Deviation) -> bool {
    match deviation {
        Deviation::ChallengeWithheld
        | Deviation::ChallengeDelayed
        | Deviation::HelloWithheld
        | Deviation::HelloDelayed
        | Deviation::HelloSpoiled
        | Deviation::VersionBent
        | Deviation::ConnectRejected
        | Deviation::TickStarved => true,
        Deviation::ResponseWithheld
        | Deviation::ResponseRepeated
        | Deviation::ResponseInvented
        | Deviation::SequenceBent
        | Deviation::FrameInvented
        | Deviation::CapacityRefused
        | Deviation::PingStarved
        | Deviation::EndedEarly => false,
    }
}

impl Oracle for SharedAttempt {
    fn observe(&mut self, record: &Record) -> Result<(), String> {
        match &record.event {
            Event::Dialed { socket, gateway } => {
                self.dialed.insert(*socket, Dialed { gateway: *gateway, at: record.at, ready: false });
            }
            Event::Released { socket, .. } => return self.released(*socket, record.at),
            Event::Gateway { event: GatewayEvent::Hello { .. }, .. } => self.token_refused = false,
            Event::Configured { changed: true, config } => {
                self.changed = Some(record.at);
                self.token_refused = false;
                self.needs_store = config.kind == TokenKind::Bootstrap;
            }
            Event::Unconfigured { changed: true } | Event::ShutdownCalled => {
                self.changed = Some(record.at);
                self.token_refused = false;
            }
            Event::Gateway { gateway, event: GatewayEvent::Refused { code, .. } } => {
                self.token_refused |= code == "AUTH_TOKEN_MISMATCH";
                self.troubled.insert(*gateway, record.at);
            }
            Event::Status(StatusKind::Ready) => {
                self.dialed.values_mut().for_each(|dialed| dialed.ready = true);
            }
            Event::Fault { fault, gateway } if troubles(*fault) && fault.lasts() => {
                *self.lasting.entry(*gateway).or_default() += 1;
            }
            Event::Fault { fault, gateway } if troubles(*fault) => {
                self.troubled.insert(*gateway, record.at);
            }
            Event::Healed { fault, gateway } if troubles(*fault) => {
                *self.lasting.entry(*gateway).or_default() -= 1;
                self.troubled.insert(*gateway, record.at);
            }
            Event::Fault { fault: Fault::Restart | Fault::Crash | Fault::Stop, gateway }
            | Event::Gateway { gateway, event: GatewayEvent::Down } => {
                self.down.insert(*gateway);
            }
            Event::Gateway { gateway, event: GatewayEvent::Booted } => {
                self.down.remove(gateway);
                self.troubled.insert(*gateway, record.at);
            }
            // A gateway that loses all it says is silent, and may be taken for dead.
            Event::Gateway {
                gateway,
                event:
                    GatewayEvent::Closed { .. } | GatewayEvent::Dropped { .. } | GatewayEvent::EventLost { .. },
            } => {
                self.troubled.insert(*gateway, record.at);
            }
            Event::Gateway { gateway, event: GatewayEvent::Misbehaved { deviation, .. } }
                if spoils(*deviation) =>
            {
                self.troubled.insert(*gateway, record.at);
            }
            _ => {}
        }
        Ok(())
    }
}
