//! `pauses_have_causes`: why a client stops to reconnect.

use onesocket::core::Instant;
use onesocket_gateway::Deviation;

use super::Oracle;
use super::suspension::LATE;
use crate::trace::{Event, GatewayEvent, Record, StatusKind};

/// The close that says that a client did something that it must not repeat (RFC 6455, 7.4.1).
const POLICY_VIOLATION: u16 = 1008;

/// A client pauses only after a gateway refused it in a way that waiting does not mend, or greeted it in a protocol version
/// that it does not speak, and not for a refusal from before the
/// app mended it: the config changed, or the app said that the reason is gone.
#[derive(Default)]
pub(super) struct PausesHaveCauses {
    status: Option<StatusKind>,
    /// The latest refusal that calls for a pause.
    refused: Option<Instant>,
    /// When the app last did something about one.
    mended: Option<Instant>,
    /// The gateway of the latest dial: what another one says is no reason.
    dialed: Option<u8>,
}

impl PausesHaveCauses {
    fn status(&mut self, status: StatusKind, at: Instant) -> Result<(), String> {
        let before = self.status.replace(status);
        if status != StatusKind::Paused || before == Some(StatusKind::Paused) {
            return Ok(());
        }
        // A watcher may tell of a pause a moment after it ended.
        let is_late = self.mended.is_some_and(|mended| at <= mended + LATE);
        match self.refused {
            Some(refused) if is_late || self.mended.is_none_or(|mended| mended <= refused) => Ok(()),
            Some(_) => Err("the client pauses for what the app has mended since".to_owned()),
            None => Err("the client pauses, and no gateway gave it a reason".to_owned()),
        }
    }
}

/// Whether a person has to act before the same would not be refused again. Codes that nobody knows may say so.
fn calls_for_a_pause(code: &str) -> bool {
    let is_passing = matches!(code, "" | "startup-sidecars" | "gateway-restarting" | "UNAVAILABLE");
    // A proof is made anew for each attempt.
    !is_passing && !code.starts_with("DEVICE_AUTH_")
}

impl Oracle for PausesHaveCauses {
    fn observe(&mut self, record: &Record) -> Result<(), String> {
        match &record.event {
            Event::Dialed { gateway, .. } => self.dialed = Some(*gateway),
            Event::Status(status) => return self.status(*status, record.at),
            Event::Configured { changed: true, .. } | Event::Unconfigured { changed: true } => {
                self.mended = Some(record.at);
            }
            // Where there is no pause it ends none, and the refusal of an attempt that goes on still counts.
            Event::Resumed if self.status == Some(StatusKind::Paused) => self.mended = Some(record.at),
            Event::Gateway { gateway, event } if self.dialed == Some(*gateway) => match event {
                GatewayEvent::Refused { code, .. } if calls_for_a_pause(code) => {
                    self.refused = Some(record.at);
                }
                GatewayEvent::Closed { code: POLICY_VIOLATION, .. }
                | GatewayEvent::Misbehaved { deviation: Deviation::VersionBent, .. } => {
                    self.refused = Some(record.at);
                }
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::first_broken;
    use super::*;

    const DIALED: Event = Event::Dialed { socket: 1, gateway: 0 };
    const PAUSED: Event = Event::Status(StatusKind::Paused);

    fn refused(gateway: u8, code: &'static str) -> Event {
        let refused = GatewayEvent::Refused { connection: 1, code: code.into(), retry_after: None };
        Event::Gateway { gateway, event: refused }
    }

    fn closed(code: u16) -> Event {
        Event::Gateway { gateway: 0, event: GatewayEvent::Closed { connection: 1, code } }
    }

    fn misbehaved(deviation: Deviation) -> Event {
        Event::Gateway { gateway: 0, event: GatewayEvent::Misbehaved { connection: Some(1), deviation } }
    }

    fn broken(history: &[(u64, Event)]) -> Option<usize> {
        first_broken(&mut PausesHaveCauses::default(), history.iter().cloned())
    }

    #[test]
    fn a_pause_follows_a_refusal_that_lasts() {
        let after = |cause| broken(&[(0, DIALED), (5, cause), (9, PAUSED)]);
        assert_eq!(after(refused(0, "AUTH_TOKEN_MISMATCH")), None);
        assert_eq!(after(refused(0, "PAIRING_REQUIRED")), None);
        assert_eq!(after(closed(1008)), None);
        assert_eq!(after(misbehaved(Deviation::VersionBent)), None);
        for cause in [
            refused(1, "AUTH_TOKEN_MISMATCH"),
            refused(0, "UNAVAILABLE"),
            refused(0, "startup-sidecars"),
            refused(0, "DEVICE_AUTH_SIGNATURE_EXPIRED"),
            closed(1013),
            misbehaved(Deviation::HelloSpoiled),
            Event::Woken,
        ] {
            assert_eq!(after(cause.clone()), Some(2), "{cause:?}");
        }
    }

    #[test]
    fn a_resume_without_a_pause_mends_nothing() {
        let refused = refused(0, "AUTH_TOKEN_MISMATCH");
        assert_eq!(broken(&[(0, DIALED), (5, refused), (40, Event::Resumed), (90, PAUSED)]), None);
    }

    #[test]
    fn what_was_mended_is_no_reason_any_more() {
        for mends in [Event::Resumed, Event::Unconfigured { changed: true }] {
            let refused = refused(0, "AUTH_TOKEN_MISMATCH");
            let ready = Event::Status(StatusKind::Connecting);
            let before = [(0, DIALED), (5, refused), (9, PAUSED), (500, mends), (501, ready), (510, DIALED)];
            assert_eq!(broken(&[&before[..], &[(900, PAUSED)]].concat()), Some(6));
            assert_eq!(broken(&[&before[..5], &[(510, PAUSED)]].concat()), None);
        }
    }
}
