//! What stays the same during a run.

use std::time::Duration;

use onesocket::core::config::Options;
use serde::{Deserialize, Serialize};

use super::PlanError;

/// What stays the same during a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// The shortest time a message takes from one end to the other, in microseconds.
    pub latency_min_us: u64,
    /// The longest such time.
    pub latency_max_us: u64,
    /// The gateway's tick interval.
    pub tick_ms: u64,
    /// How long the gateway takes to answer a request, at most.
    pub answer_ms: u64,
    /// The client's first wait after a failure.
    pub backoff_ms: u64,
    /// The client's longest wait without a floor.
    pub backoff_cap_ms: u64,
    /// How long a connection must last before earlier failures are forgotten.
    pub stable_ms: u64,
    /// The client's limit for each stage of an attempt (dial, challenge and hello), and for a sign of life when it is
    /// asked for one.
    pub stage_ms: u64,
    /// How long the client waits for the answer to its close frame.
    pub close_grace_ms: u64,
    /// Whether the client proves to be a device and keeps the tokens it is given.
    pub device: bool,
    /// Whether gateways verify the signatures of those proofs. The arithmetic is the same every time, and takes a
    /// gateway longer than all else that it does in a handshake; everything else about a proof is always checked.
    pub verify_proofs: bool,
    /// How long the client's token store takes for anything, at most.
    pub store_ms: u64,
    /// How many of a hundred reads and writes of the token store fail.
    pub store_fails_percent: u64,
    /// How many items wait for a subscriber, at most.
    pub subscription_items: u64,
    /// Whether devices are paired only when the plan says so.
    pub pairing_by_order: bool,
    /// How often the client asks again by itself while it is paused for pairing, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairing_poll_ms: Option<u64>,
    /// Whether gateways tell a refusal of a connect by the close alone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub refusals_by_close: bool,
    /// The longest wait that the client grants a gateway that asks for one.
    pub retry_after_max_ms: u64,
    /// After this time no fault and no step that follows a milestone begins. A plan that has steps of the latter
    /// kind must say it, because nobody can tell when they come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calm_ms: Option<u64>,
    /// When the run ends.
    pub end_ms: u64,
    /// The client's limits.
    #[serde(skip_serializing_if = "Limits::are_usual")]
    pub limits: Limits,
}

/// What the client keeps at most, of each kind; see [`Options`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Requests that wait for an answer.
    pub in_flight: usize,
    /// Requests that wait to be sent.
    pub queued: usize,
    /// Bytes of their methods and parameters.
    pub queued_bytes: usize,
    /// Frames that wait to be written.
    pub unwritten: usize,
    /// Events that came before hello.
    pub early_events: usize,
    /// Bytes of their frames.
    pub early_bytes: usize,
    /// Bytes of what waits for a subscriber.
    pub subscription_bytes: usize,
}

impl Limits {
    fn are_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Limits {
    fn default() -> Self {
        let usual = Options::default();
        Self {
            in_flight: usual.max_in_flight,
            queued: usual.max_queued,
            queued_bytes: usual.max_queued_bytes,
            unwritten: usual.max_unwritten,
            early_events: usual.max_early_events,
            early_bytes: usual.max_early_bytes,
            subscription_bytes: usual.subscription_bytes,
        }
    }
}

impl Default for Params {
    fn default() -> Self {
        Self {
            latency_min_us: 200,
            latency_max_us: 2_000,
            tick_ms: 5_000,
            answer_ms: 20,
            backoff_ms: 1_000,
            backoff_cap_ms: 8_000,
            stable_ms: 10_000,
            stage_ms: 3_000,
            close_grace_ms: 500,
            device: false,
            verify_proofs: true,
            store_ms: 0,
            store_fails_percent: 0,
            subscription_items: 1_024,
            pairing_by_order: false,
            pairing_poll_ms: None,
            refusals_by_close: false,
            retry_after_max_ms: 8_000,
            calm_ms: None,
            end_ms: 60_000,
            limits: Limits::default(),
        }
    }
}

impl Params {
    /// The client's options in this run.
    #[must_use]
    pub fn options(&self) -> Options {
        let mut options = Options::default();
        let stage = Duration::from_millis(self.stage_ms);
        options.dial_timeout = stage;
        options.challenge_timeout = stage;
        options.hello_timeout = stage;
        options.wake_timeout = stage;
        options.close_grace = Duration::from_millis(self.close_grace_ms);
        options.subscription_items = usize::try_from(self.subscription_items).unwrap_or(usize::MAX);
        let limits = &self.limits;
        options.max_in_flight = limits.in_flight;
        options.max_queued = limits.queued;
        options.max_queued_bytes = limits.queued_bytes;
        options.max_unwritten = limits.unwritten;
        options.max_early_events = limits.early_events;
        options.max_early_bytes = limits.early_bytes;
        options.subscription_bytes = limits.subscription_bytes;
        options.pairing_poll = self.pairing_poll_ms.map(Duration::from_millis);
        options.backoff.initial = Duration::from_millis(self.backoff_ms);
        options.backoff.cap = Duration::from_millis(self.backoff_cap_ms);
        options.backoff.retry_after_max = Duration::from_millis(self.retry_after_max_ms);
        options.backoff.stable_after = Duration::from_millis(self.stable_ms);
        options
    }

    /// How long after the last fault a wanted connection may take to be ready: the silence that a
    /// dead peer is granted, then the longest wait, then one whole attempt that began too early and
    /// one that succeeds.
    #[must_use]
    pub fn convergence(&self) -> Duration {
        let attempt = 3 * self.stage_ms + self.close_grace_ms;
        let travel = self.latency_max_us.div_ceil(1_000) * 8;
        // A wait that a gateway asked for is lengthened by a part of itself, up to the cap.
        let waits = 2 * self.backoff_cap_ms + self.retry_after_max_ms;
        Duration::from_millis(2 * self.tick_ms + waits + 2 * attempt + travel + 1_000)
    }
}

impl Params {
    pub(super) fn check(&self) -> Result<(), PlanError> {
        let error = |name, why| Err(PlanError::Param { name, why });
        if self.latency_min_us > self.latency_max_us {
            return error("latency_min_us", "must not be above latency_max_us");
        }
        if self.tick_ms < 1_000 {
            return error("tick_ms", "must be at least 1000, the shortest interval a client believes");
        }
        if self.end_ms == 0 || self.end_ms > 86_400_000 {
            return error("end_ms", "must be from 1 to 86400000, which is a day");
        }
        if self.calm_ms.is_some_and(|calm_ms| calm_ms > self.end_ms) {
            return error("calm_ms", "must not be after the end of the run");
        }
        if self.subscription_items < 4 {
            return error("subscription_items", "must be at least 4, the fewest that a client keeps");
        }
        if self.options().validate().is_err() {
            return error(
                "backoff_ms",
                "the times and limits of the client must be above zero, and the cap above the first wait",
            );
        }
        Ok(())
    }

    /// Checks the limit of one subscription.
    pub(super) fn check_items(&self, items: u64) -> Result<(), String> {
        let most = self.subscription_items;
        if (4..=most).contains(&items) {
            return Ok(());
        }
        Err(format!("items must be from 4 to the parameter subscription_items, which is {most}"))
    }
}
