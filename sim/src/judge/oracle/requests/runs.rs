//! Work that is done once however often it is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use onesocket::core::Instant;

use crate::trace::probe::run_key;
use crate::trace::{Event, GatewayEvent, Record};

/// How long a gateway remembers what became of a piece of work (protocol 12.5).
const REMEMBERED: Duration = Duration::from_secs(300);

/// A gateway begins no work that nobody asked for, and within a boot none twice.
#[derive(Default)]
pub(super) struct Runs {
    asked: BTreeSet<String>,
    begun: BTreeMap<(u8, Arc<str>), Instant>,
}

impl Runs {
    pub(super) fn observe(&mut self, record: &Record) -> Result<(), String> {
        match &record.event {
            Event::RequestMade { key: Some(key), .. } => {
                self.asked.insert(run_key(*key));
            }
            Event::Gateway { gateway, event: GatewayEvent::RunStarted { run } } => {
                if !self.asked.contains(&**run) {
                    return Err(format!("gateway {gateway} begins the run {run}, which nobody asked for"));
                }
                let before = self.begun.insert((*gateway, Arc::clone(run)), record.at);
                if before.is_some_and(|before| record.at < before + REMEMBERED) {
                    return Err(format!("gateway {gateway} begins the run {run} again"));
                }
            }
            Event::Gateway { gateway, event: GatewayEvent::Down } => {
                self.begun.retain(|(of, _), _| of != gateway);
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::first_broken;
    use super::super::SettlesOnce;
    use super::*;

    fn asked(request: u32, key: u32) -> Event {
        let (timeout_ms, bound_to) = (Some(60_000), None);
        Event::RequestMade { consumer: 0, request, timeout_ms, bound_to, key: Some(key), to_the_end: false }
    }

    fn begins(gateway: u8, key: u32) -> Event {
        Event::Gateway { gateway, event: GatewayEvent::RunStarted { run: run_key(key).into() } }
    }

    fn broken(history: &[Event]) -> Option<usize> {
        let history = (0..).map(|number| number * 100).zip(history.iter().cloned());
        first_broken(&mut SettlesOnce::default(), history)
    }

    #[test]
    fn work_begins_once_in_a_boot_and_only_when_it_was_asked_for() {
        assert_eq!(broken(&[asked(1, 1), begins(0, 1), asked(2, 1), begins(1, 1)]), None);
        assert_eq!(broken(&[asked(1, 1), begins(0, 1), asked(2, 1), begins(0, 1)]), Some(3));
        let down = Event::Gateway { gateway: 0, event: GatewayEvent::Down };
        assert_eq!(broken(&[asked(1, 1), begins(0, 1), down, asked(2, 1), begins(0, 1)]), None);
        assert_eq!(broken(&[asked(1, 1), begins(0, 2)]), Some(1));
    }
}
