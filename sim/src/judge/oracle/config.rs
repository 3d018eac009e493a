//! `one_reconnect_per_change`: which config is dialed and presented, and that the old one is left.

use std::collections::BTreeMap;
use std::time::Duration;

use onesocket::core::Instant;

use super::Oracle;
use super::suspension::Suspension;
use crate::plan::Plan;
use crate::plan::environment::{ConfigRef, TokenKind};
use crate::trace::{Event, GatewayEvent, Record};

/// Only the config in force is dialed and presented, and the socket of an older one is let go
/// within the grace for its close.
pub(super) struct OneReconnectPerChange {
    close_bound: Duration,
    /// Every config so far, with the time it came into force; `None` where there was none.
    history: Vec<(Instant, Option<ConfigRef>)>,
    accepted: BTreeMap<(u8, u32), Instant>,
    held: BTreeMap<u32, Instant>,
    suspension: Suspension,
}

impl OneReconnectPerChange {
    pub(super) fn new(plan: &Plan) -> Self {
        let close_bound = Duration::from_millis(plan.params.close_grace_ms);
        let first = (Instant::ZERO, Some(ConfigRef::first()));
        Self {
            close_bound,
            history: vec![first],
            accepted: BTreeMap::new(),
            held: BTreeMap::new(),
            suspension: Suspension::default(),
        }
    }

    /// A config with a bootstrap token is presented with that, or with the device token that came of it.
    fn presented(&self, gateway: u8, event: &GatewayEvent) -> Result<(), String> {
        let GatewayEvent::Connect { connection, token, device_token, bootstrap_token } = event else {
            return Ok(());
        };
        let presents = |config: &ConfigRef| {
            let is_it = match (config.kind, bootstrap_token) {
                (TokenKind::Shared, _) => token.as_ref() == Some(&config.token),
                (TokenKind::Bootstrap, Some(bootstrap_token)) => *bootstrap_token == config.token,
                (TokenKind::Bootstrap, None) => token.is_none() && device_token.is_some(),
            };
            config.gateway == gateway && is_it
        };
        let accepted = self.accepted.get(&(gateway, *connection)).copied().unwrap_or_default();
        // A connect frame may be on its way while the config changes, so every config that was in
        // force since the socket was accepted will do.
        let configs = self.history.iter().rev();
        for (since, config) in configs {
            if config.as_ref().is_some_and(presents) {
                return Ok(());
            }
            if *since < accepted {
                break;
            }
        }
        Err(format!("connection {connection} of gateway {gateway} presents a token of no config in force"))
    }

    fn overdue(&self, now: Instant) -> Option<u32> {
        let (changed, _) = self.history.last()?;
        // Sockets are numbered as they are dialed: the first is the oldest.
        let (oldest, _) = self.held.first_key_value().filter(|(_, dialed)| **dialed < *changed)?;
        self.suspension.is_overdue(*changed + self.close_bound, now).then_some(*oldest)
    }
}

impl Oracle for OneReconnectPerChange {
    fn observe(&mut self, record: &Record) -> Result<(), String> {
        self.suspension.observe(record);
        if let Some(socket) = self.overdue(record.at) {
            return Err(format!("socket {socket} outlives the config it belongs to"));
        }
        match &record.event {
            Event::Configured { config, changed: true } => {
                self.history.push((record.at, Some(config.clone())));
            }
            Event::Unconfigured { changed: true } => self.history.push((record.at, None)),
            Event::Dialed { socket, gateway } => {
                self.held.insert(*socket, record.at);
                let in_force =
                    self.history.last().and_then(|(_, config)| config.as_ref()).map(|config| config.gateway);
                if in_force != Some(*gateway) {
                    return Err(format!(
                        "socket {socket} is dialed to gateway {gateway}, which is not in force"
                    ));
                }
            }
            Event::Released { socket, .. } => {
                self.held.remove(socket);
            }
            Event::Gateway { gateway, event: GatewayEvent::Accepted { connection } } => {
                self.accepted.insert((*gateway, *connection), record.at);
            }
            Event::Gateway { gateway, event: event @ GatewayEvent::Connect { .. } } => {
                return self.presented(*gateway, event);
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::first_broken;
    use super::*;

    fn broken(history: Vec<(u64, Event)>) -> Option<usize> {
        first_broken(&mut OneReconnectPerChange::new(&Plan::new(1)), history)
    }

    #[test]
    fn nothing_is_dialed_or_kept_while_there_is_no_config() {
        let taken_away = || (1_000, Event::Unconfigured { changed: true });
        let dialed = |at_ms| (at_ms, Event::Dialed { socket: 1, gateway: 0 });
        let released = |at_ms| (at_ms, Event::Released { socket: 1, silent: Duration::ZERO });
        let applied = Event::Configured { config: ConfigRef::first(), changed: true };
        let later = (5_000, Event::Woken);
        assert_eq!(broken(vec![taken_away(), dialed(1_001)]), Some(1));
        assert_eq!(broken(vec![taken_away(), (1_000, applied), dialed(1_001)]), None);
        assert_eq!(broken(vec![dialed(500), taken_away(), released(1_400), later.clone()]), None);
        assert_eq!(broken(vec![dialed(500), taken_away(), later]), Some(2));
    }
}
