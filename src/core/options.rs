//! How a connection behaves ([`Options`]): its times, its limits and the waits between attempts.

use std::time::Duration;

use super::error::ConfigError;

/// How a connection behaves: every time and every limit there is.
///
/// Start from [`Options::default`] and change what you need; [`Options::validate`] is called by
/// whatever takes them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// From the start of a dial until the websocket upgrade is answered.
    pub dial_timeout: Duration,
    /// From the upgrade until `connect.challenge` (protocol 3.3) and the answer of the token store are both there.
    pub challenge_timeout: Duration,
    /// From sending `connect` until hello (protocol 3.3) is there to its last byte, however slowly it arrives.
    pub hello_timeout: Duration,
    /// How long anything may take to arrive after [`Command::Wake`](super::Command::Wake) while the connection is
    /// ready. Then it is given up, with [`ConnectionError::Silent`](super::ConnectionError::Silent).
    pub wake_timeout: Duration,
    /// How long one message of the gateway may take from its first byte to its last. A message whose bytes keep
    /// coming is life, but not for ever: then the connection is given up, with
    /// [`ConnectionError::SlowMessage`](super::ConnectionError::SlowMessage).
    pub max_message_duration: Duration,
    /// How long a peer may take to answer our close frame before the socket is dropped.
    pub close_grace: Duration,
    /// How long a config must stay as it is before it is dialed, when it has changed less than this before, too. The
    /// first change is dialed at once, and the last of those that follow it quickly. Between the dials of two that have
    /// changed lies `backoff.initial`, and quick changes are waited out no longer than that. Nothing at all is a time, too.
    pub config_settle: Duration,
    /// The default deadline of a request: queueing, writing and the reply together.
    pub request_timeout: Duration,
    /// The tick interval assumed when hello names none (protocol 3.9).
    pub default_tick_interval: Duration,
    /// Requests that may wait for a reply at once; more are queued.
    pub max_in_flight: usize,
    /// Requests that may be queued at once; more are refused. One handle is refused sooner, while as many places are
    /// left as half of what it has open: see `Client`.
    pub max_queued: usize,
    /// Bytes of methods and parameters that may be queued at once; more are refused.
    pub max_queued_bytes: usize,
    /// Frames handed to the transport but not yet written, at most; requests wait behind them.
    pub max_unwritten: usize,
    /// Events that may arrive before hello and be kept (protocol 10.5); more become a gap.
    pub max_early_events: usize,
    /// Bytes of frames that such events may keep; more become a gap as well.
    pub max_early_bytes: usize,
    /// The largest message accepted from the gateway, in bytes (protocol 1.8).
    pub max_message_bytes: usize,
    /// Bytes of the answers to the gateway's pings that may wait to be written. A gateway that pings faster than
    /// it reads is left, with [`ConnectionError::PingFlood`](super::ConnectionError::PingFlood).
    pub max_pong_bytes: usize,
    /// The longest head of an answer to the upgrade, in bytes; interim answers before it count, too. A longer one
    /// fails the dial with [`DialError::UpgradeTooLong`](super::DialError::UpgradeTooLong).
    pub max_upgrade_bytes: usize,
    /// Live subscriptions, at most.
    pub max_subscriptions: usize,
    /// Items that may wait in one subscription; then the oldest give way to a `Lagged` item.
    pub subscription_items: usize,
    /// Bytes of frames that may wait in one subscription, with the same consequence.
    pub subscription_bytes: usize,
    /// How often a gateway is asked whether it has approved this device by now, while the client is paused for that;
    /// each wait is up to the jitter of the backoff longer. `None` leaves it to [`Client::resume`](crate::Client::resume).
    /// From five seconds, because older gateways replace the request that a person is about to approve with every
    /// question, to an hour.
    pub pairing_poll: Option<Duration>,
    /// How long a connection is kept open on which the gateway has promised to tell how a pairing request is decided
    /// (`waitForResolution`). `None` closes it at once.
    pub pairing_hold: Option<Duration>,
    /// The waits between attempts.
    pub backoff: BackoffOptions,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dial_timeout: Duration::from_secs(10),
            challenge_timeout: Duration::from_secs(15),
            hello_timeout: Duration::from_secs(15),
            wake_timeout: Duration::from_secs(5),
            max_message_duration: Duration::from_secs(300),
            close_grace: Duration::from_millis(500),
            config_settle: Duration::from_millis(200),
            request_timeout: Duration::from_secs(30),
            default_tick_interval: Duration::from_secs(30),
            max_in_flight: 128,
            max_queued: 1_024,
            max_queued_bytes: 64 * 1024 * 1024,
            max_unwritten: 32,
            max_early_events: 64,
            max_early_bytes: 4 * 1024 * 1024,
            max_message_bytes: 26_214_400,
            max_pong_bytes: 1024 * 1024,
            max_upgrade_bytes: 16 * 1024,
            max_subscriptions: 256,
            subscription_items: 1_024,
            subscription_bytes: 64 * 1024 * 1024,
            pairing_poll: None,
            pairing_hold: Some(Duration::from_secs(600)),
            backoff: BackoffOptions::default(),
        }
    }
}

/// The shortest time that makes sense. Below the resolution of [`Instant`](super::Instant) a wait
/// would be over when it begins.
const SHORTEST: Duration = Duration::from_millis(1);

impl Options {
    /// Checks that every time and limit makes sense.
    ///
    /// # Errors
    /// [`ConfigError::Option`], naming the first option that does not.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let durations = [
            ("dial_timeout", self.dial_timeout),
            ("challenge_timeout", self.challenge_timeout),
            ("hello_timeout", self.hello_timeout),
            ("wake_timeout", self.wake_timeout),
            ("max_message_duration", self.max_message_duration),
            ("close_grace", self.close_grace),
            ("request_timeout", self.request_timeout),
            ("default_tick_interval", self.default_tick_interval),
            ("backoff.initial", self.backoff.initial),
            ("backoff.cap", self.backoff.cap),
        ];
        let counts = [
            ("max_in_flight", self.max_in_flight),
            ("max_queued", self.max_queued),
            ("max_queued_bytes", self.max_queued_bytes),
            ("max_unwritten", self.max_unwritten),
            ("max_message_bytes", self.max_message_bytes),
            ("max_pong_bytes", self.max_pong_bytes),
            ("max_upgrade_bytes", self.max_upgrade_bytes),
            ("max_subscriptions", self.max_subscriptions),
            ("subscription_bytes", self.subscription_bytes),
        ];
        if let Some((name, _)) = durations.iter().find(|(_, value)| *value < SHORTEST) {
            return Err(ConfigError::Option { name, why: "must be at least a millisecond" });
        }
        if let Some((name, _)) = counts.iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError::Option { name, why: "must be greater than zero" });
        }
        if self.subscription_items < 4 {
            // A snapshot, a lag notice, the newest event and the end must fit.
            return Err(ConfigError::Option { name: "subscription_items", why: "must be at least 4" });
        }
        let polls = Duration::from_secs(5)..=Duration::from_secs(3_600);
        if self.pairing_poll.is_some_and(|poll| !polls.contains(&poll)) {
            return Err(ConfigError::Option {
                name: "pairing_poll",
                why: "must be from five seconds to an hour",
            });
        }
        if self.pairing_hold.is_some_and(|hold| hold < SHORTEST) {
            return Err(ConfigError::Option { name: "pairing_hold", why: "must be at least a millisecond" });
        }
        self.backoff.validate()
    }
}

/// The waits between attempts.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct BackoffOptions {
    /// The shortest first wait.
    pub initial: Duration,
    /// What each wait is multiplied by to give the next.
    pub growth: f64,
    /// The longest wait without a floor from the gateway.
    pub cap: Duration,
    /// How far waits spread, as a fraction: 0.2 gives 1.0 to 1.2 s for the first.
    pub jitter: f64,
    /// How long a connection must have been ready before earlier failures are forgotten (B48).
    pub stable_after: Duration,
    /// The longest `retryAfterMs`, or `Retry-After` of an HTTP answer to the upgrade, that is believed.
    pub retry_after_max: Duration,
    /// For times without hope, as where a battery matters more than to be back at once: see [`Patience`]. `None` tries
    /// every [`cap`](Self::cap), for ever.
    pub patience: Option<Patience>,
}

/// A second cap. After so many attempts in a row without a stable connection the waits go on growing beyond the first
/// cap, up to this one. What makes the client forget earlier failures ends it: a stable connection, another config,
/// [`Client::wake`](crate::Client::wake) when the network is back, [`Client::resume`](crate::Client::resume).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// The attempts that the first cap is for; none counts as one.
    pub after_attempts: u32,
    /// The longest wait from then on, without a floor from the gateway.
    pub cap: Duration,
}

impl Default for BackoffOptions {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            growth: 2.0,
            cap: Duration::from_secs(30),
            jitter: 0.2,
            stable_after: Duration::from_secs(30),
            retry_after_max: Duration::from_secs(600),
            patience: None,
        }
    }
}

impl BackoffOptions {
    fn validate(&self) -> Result<(), ConfigError> {
        if !(1.0..=100.0).contains(&self.growth) {
            return Err(ConfigError::Option { name: "backoff.growth", why: "must be from 1 to 100" });
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(ConfigError::Option { name: "backoff.jitter", why: "must be from 0 to 1" });
        }
        if self.cap < self.initial {
            return Err(ConfigError::Option {
                name: "backoff.cap",
                why: "must not be below backoff.initial",
            });
        }
        if self.patience.is_some_and(|patience| patience.cap < self.cap) {
            return Err(ConfigError::Option {
                name: "backoff.patience.cap",
                why: "must not be below backoff.cap",
            });
        }
        Ok(())
    }
}
