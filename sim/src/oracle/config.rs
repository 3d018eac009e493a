//! `one_reconnect_per_change`: which config is dialed and presented, and that the old one is left.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use onesocket::core::Instant;

use super::suspension::Suspension;
use super::{Invariant, Oracle};
use crate::plan::Plan;
use crate::trace::{Record, Seen, What};

/// Only the config in force is dialed and presented, and the socket of an older one is let go
/// within the grace for its close.
pub(super) struct OneReconnectPerChange {
    close_bound: Duration,
    /// Every config so far, with the time it came into force.
    history: Vec<(Instant, u8, Arc<str>)>,
    accepted: BTreeMap<(u8, u32), Instant>,
    held: BTreeMap<u32, Instant>,
    suspension: Suspension,
}

impl OneReconnectPerChange {
    pub(super) fn new(plan: &Plan) -> Self {
        let close_bound = Duration::from_millis(plan.params.close_grace_ms);
        let first = (Instant::ZERO, 0, Arc::from(Plan::FIRST_TOKEN));
        Self {
            close_bound,
            history: vec![first],
            accepted: BTreeMap::new(),
            held: BTreeMap::new(),
            suspension: Suspension::default(),
        }
    }

    fn presented(&self, gateway: u8, connection: u32, token: Option<&Arc<str>>) -> Result<(), String> {
        let accepted = self.accepted.get(&(gateway, connection)).copied().unwrap_or_default();
        // A connect frame may be on its way while the config changes, so every config that was in
        // force since the socket was accepted will do.
        let configs = self.history.iter().rev();
        for (since, config_gateway, config_token) in configs {
            if *config_gateway == gateway && Some(config_token) == token {
                return Ok(());
            }
            if *since < accepted {
                break;
            }
        }
        Err(format!("connection {connection} of gateway {gateway} presents a token of no config in force"))
    }

    fn overdue(&self, now: Instant) -> Option<u32> {
        let (changed, _, _) = self.history.last()?;
        let old = self.held.iter().find(|(_, dialed)| **dialed < *changed)?;
        self.suspension.is_overdue(*changed + self.close_bound, now).then_some(*old.0)
    }
}

impl Oracle for OneReconnectPerChange {
    fn invariant(&self) -> Invariant {
        Invariant::OneReconnectPerChange
    }

    fn observe(&mut self, record: &Record) -> Result<(), String> {
        self.suspension.observe(record);
        if let Some(socket) = self.overdue(record.at) {
            return Err(format!("socket {socket} outlives the config it belongs to"));
        }
        match &record.what {
            What::Configured { gateway, token, changed: true } => {
                self.history.push((record.at, *gateway, Arc::clone(token)));
            }
            What::Dialed { socket, gateway } => {
                self.held.insert(*socket, record.at);
                let in_force = self.history.last().map(|(_, gateway, _)| *gateway);
                if in_force != Some(*gateway) {
                    return Err(format!(
                        "socket {socket} is dialed to gateway {gateway}, which is not in force"
                    ));
                }
            }
            What::Released { socket, .. } => {
                self.held.remove(socket);
            }
            What::Gateway { gateway, seen: Seen::Accepted { connection } } => {
                self.accepted.insert((*gateway, *connection), record.at);
            }
            What::Gateway { gateway, seen: Seen::Connect { connection, token } } => {
                return self.presented(*gateway, *connection, token.as_ref());
            }
            _ => {}
        }
        Ok(())
    }
}
