//! What a person who waits for a connection is told, and how long is waited.
//!
//! Reasons go to standard error, one line each: a reason when it is new, and again with a count when it has come 8,
//! 16, 32 … times. Whatever heals by itself is waited for; what a person must mend ends the wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use onesocket::Client;
use onesocket::core::{ConnectionError, Status};
use tokio::time::{Instant, timeout_at};

use super::{CliError, first_contact, output};

/// Reasons that are remembered in one outage. Those of a gateway that makes up ever new ones are all new.
const REASONS_MAX: usize = 32;
/// A reason is told again when it has come so often, and each time it has come twice as often.
const TOLD_AGAIN_AT: u32 = 8;

/// The reasons of one outage.
#[derive(Default)]
pub(super) struct Outage {
    /// How often each has come.
    reasons: BTreeMap<String, u32>,
    last: Option<String>,
}

impl Outage {
    /// Tells a reason, if it is new or has come very often.
    pub(super) fn tell(&mut self, reason: &str, outlook: &str) {
        if let Some(line) = self.line(reason, outlook) {
            output::tell(&line);
        }
    }

    fn line(&mut self, reason: &str, outlook: &str) -> Option<String> {
        if self.reasons.len() >= REASONS_MAX && !self.reasons.contains_key(reason) {
            self.reasons.clear();
        }
        let times = self.reasons.entry(reason.to_owned()).or_default();
        *times += 1;
        self.last = Some(reason.to_owned());
        match *times {
            1 => Some(format!("{reason}; {outlook}")),
            times if times >= TOLD_AGAIN_AT && times.is_power_of_two() => {
                Some(format!("{reason} ({times} times); {outlook}"))
            }
            _ => None,
        }
    }

    /// Whether the last reason of this outage is this one: a person has read it.
    pub(super) fn ends_with(&self, reason: &str) -> bool {
        self.last.as_deref() == Some(reason)
    }

    /// The connection is there. Tells so if its absence was told.
    pub(super) fn end(&mut self) {
        if !self.reasons.is_empty() {
            *self = Self::default();
            output::tell("connected");
        }
    }
}

/// A reason, and what to do about it.
pub(super) fn in_words(cause: &ConnectionError) -> String {
    format!("{cause}{}", first_contact::advice(cause))
}

/// The time that a command has, and what went wrong in it.
pub(super) struct Wait {
    given: Duration,
    deadline: Instant,
    outage: Outage,
    cause: Option<Arc<ConnectionError>>,
}

impl Wait {
    /// It begins now.
    pub(super) fn new(given: Duration) -> Self {
        Self { given, deadline: Instant::now() + given, outage: Outage::default(), cause: None }
    }

    /// The time that is left.
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Waits until the client is connected, whatever passing failure comes first.
    pub(super) async fn connected(&mut self, client: &Client) -> Result<(), CliError> {
        let mut statuses = client.watch_status();
        client.connect();
        let mut status = statuses.get();
        loop {
            match status {
                Status::Ready { .. } => return Ok(()),
                Status::Paused(reason) => return Err(CliError::Paused(reason)),
                Status::Backoff { cause, .. } if first_contact::outlasts_a_command(&cause) => {
                    return Err(CliError::NoTls(cause));
                }
                Status::Backoff { cause, .. } => self.failed(cause),
                Status::Stopped => return Err(CliError::ShutDown),
                Status::Lost(end) => return Err(CliError::Lost(end)),
                // Of these, only Idle can last: until the driver has read the order.
                _ => {}
            }
            let Ok(next) = timeout_at(self.deadline, statuses.changed()).await else {
                return Err(self.over());
            };
            status = next.ok_or(CliError::ShutDown)?;
        }
    }

    fn failed(&mut self, cause: Arc<ConnectionError>) {
        // A wait that is made shorter is another status with the same cause.
        if self.cause.as_ref().is_none_or(|last| !Arc::ptr_eq(last, &cause)) {
            self.outage.tell(&in_words(&cause), &self.outlook());
            self.cause = Some(cause);
        }
    }

    /// A call failed in a way that the next may not.
    pub(super) async fn again_after(&mut self, why: &CliError, pause: Duration) -> bool {
        if pause >= self.left() {
            return false;
        }
        self.outage.tell(&why.to_string(), &self.outlook());
        tokio::time::sleep(pause).await;
        true
    }

    fn outlook(&self) -> String {
        format!("trying again for up to {:?}", self.given)
    }

    /// The time is over.
    fn over(&self) -> CliError {
        match &self.cause {
            Some(cause) => CliError::NotConnected {
                was_told: self.outage.ends_with(&in_words(cause)),
                cause: Arc::clone(cause),
                after: self.given,
            },
            None => CliError::NoAnswer { after: self.given, may_be_done: false },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_when_it_is_new_and_when_it_has_come_very_often() {
        let mut outage = Outage::default();
        let told: Vec<_> = (1..=40).filter_map(|_| outage.line("refused", "trying again")).collect();
        assert_eq!(
            told,
            [
                "refused; trying again",
                "refused (8 times); trying again",
                "refused (16 times); trying again",
                "refused (32 times); trying again",
            ]
        );
        // Reasons that take turns are not new each time.
        let told: Vec<_> =
            ["a", "b", "a", "b", "refused"].iter().filter_map(|reason| outage.line(reason, "x")).collect();
        assert_eq!(told, ["a; x", "b; x"]);
        assert!(outage.ends_with("refused"));
    }

    #[test]
    fn reasons_that_never_end_are_forgotten() {
        let mut outage = Outage::default();
        for number in 0..1_000 {
            assert!(outage.line(&number.to_string(), "x").is_some());
            assert!(outage.reasons.len() <= REASONS_MAX);
        }
    }
}
