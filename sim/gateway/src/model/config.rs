//! What a gateway is configured to be. The defaults are those of the recorded gateway (2026.9.1).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::order::HandshakeFault;

/// Serialises a [`Duration`] as whole milliseconds.
pub mod duration_ms {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes whole milliseconds.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    /// Reads whole milliseconds.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// What a gateway is configured to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewayConfig {
    /// Unix time in milliseconds at time zero of the simulation.
    pub epoch_ms: u64,
    /// How clients authenticate.
    pub auth: Auth,
    /// How devices are paired.
    pub pairing: Pairing,
    /// Delay and lockout after failed authentication.
    pub rate_limit: RateLimit,
    /// The limits of protocol 1.4, 1.7, 8.5 and 11.6.
    pub limits: Limits,
    /// Intervals and delays of the gateway itself.
    pub timing: Timing,
    /// How long answers take.
    pub latency: Latencies,
    /// What the runs of `agent` and `chat.send` do.
    pub runs: Runs,
    /// Names in `features.methods`; `None` lists the [default](GatewayConfig::default_methods). The model's methods work
    /// whether they are listed or not (protocol 3.9).
    pub methods: Option<Vec<String>>,
    /// Further methods, answered with fixed payloads.
    pub fixed_methods: BTreeMap<String, FixedMethod>,
    /// `Origin` values that are allowed besides loopback origins from loopback peers; `*` allows all.
    pub allowed_origins: Vec<String>,
    /// Whether refusals of connects are told by the close alone, as through some proxies; a real gateway answers first.
    pub refusals_by_close: bool,
    /// The release whose handshake it has.
    pub release: Release,
    /// A fault of every handshake for which no order says otherwise.
    pub handshake_fault: Option<HandshakeFault>,
    /// Values to use instead of random ones.
    pub scripted: Scripted,
}

/// Releases that differ in what they say in a handshake. All else is that of the older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Release {
    /// 2026.9.1.
    #[serde(rename = "2026.9.1")]
    R2026_9_1,
    /// 2026.9.6: the challenge names capabilities, and hello says what admitted the client.
    #[default]
    #[serde(rename = "2026.9.6")]
    R2026_9_6,
}

/// Values to use, in order, before random ones: signed proofs in recordings fit only the recorded values.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Scripted {
    /// Nonces of challenges.
    pub nonces: VecDeque<String>,
    /// Device tokens.
    pub device_tokens: VecDeque<String>,
}

impl GatewayConfig {
    /// The names in `features.methods` unless configured otherwise: a short excerpt of the 388 the recorded gateway
    /// advertises, and the model's own.
    pub fn default_methods() -> &'static [&'static str] {
        DEFAULT_METHODS
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        GatewayConfig {
            epoch_ms: 1_795_329_000_000,
            auth: Auth::default(),
            pairing: Pairing::default(),
            rate_limit: RateLimit::default(),
            limits: Limits::default(),
            timing: Timing::default(),
            latency: Latencies::default(),
            runs: Runs::default(),
            methods: None,
            fixed_methods: BTreeMap::new(),
            allowed_origins: Vec::new(),
            refusals_by_close: false,
            release: Release::default(),
            handshake_fault: None,
            scripted: Scripted::default(),
        }
    }
}

/// `gateway.auth.mode` and its secret (protocol 6.1). Trusted proxies and Tailscale identities are not modelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// Nobody needs a credential.
    None,
    /// A shared token.
    Token(String),
    /// A shared password.
    Password(String),
}

impl Default for Auth {
    fn default() -> Self {
        Auth::Token("test-token".to_owned())
    }
}

/// How devices are paired (protocol 7.5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pairing {
    /// Whether a local client with valid shared auth is paired without asking anybody.
    pub auto_approve_local: bool,
    /// Whether device signatures are verified. Searches that open very many sockets may save the time.
    pub verify_signatures: bool,
    /// `details.recommendedNextStep` of a pairing refusal.
    pub recommended_next_step: Option<String>,
    /// `details.pauseReconnect` of a pairing refusal.
    pub pause_reconnect: Option<bool>,
    /// The setup codes that are out: with each of them one device is paired in both roles, once.
    pub bootstrap_tokens: Vec<String>,
}

impl Default for Pairing {
    fn default() -> Self {
        Pairing {
            auto_approve_local: true,
            verify_signatures: true,
            recommended_next_step: None,
            pause_reconnect: None,
            bootstrap_tokens: Vec::new(),
        }
    }
}

/// `gateway.auth.rateLimit` (protocol 8.1 to 8.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RateLimit {
    /// Failures within the window that lock a client out.
    pub max_attempts: u32,
    /// The sliding window.
    #[serde(with = "duration_ms")]
    pub window: Duration,
    /// How long a lockout lasts.
    #[serde(with = "duration_ms")]
    pub lockout: Duration,
    /// Whether loopback peers are never locked out; their failures are answered late instead.
    pub exempt_loopback: bool,
    /// The delay of the first failed answer to a loopback peer; it doubles each time.
    #[serde(with = "duration_ms")]
    pub delay_initial: Duration,
    /// The longest such delay.
    #[serde(with = "duration_ms")]
    pub delay_max: Duration,
}

impl Default for RateLimit {
    fn default() -> Self {
        RateLimit {
            max_attempts: 10,
            window: Duration::from_secs(60),
            lockout: Duration::from_secs(300),
            exempt_loopback: true,
            delay_initial: Duration::from_millis(250),
            delay_max: Duration::from_secs(5),
        }
    }
}

/// Sizes and counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// The largest message before hello.
    pub preauth_bytes: usize,
    /// The largest message after hello; `policy.maxPayload`.
    pub payload_bytes: usize,
    /// The fullest outgoing buffer; `policy.maxBufferedBytes`.
    pub buffered_bytes: u64,
    /// Sockets that may be open without hello.
    pub preauth_connections: usize,
    /// Messages kept while a connect is being decided.
    pub preauth_queue: usize,
    /// Requests waiting to start, over all connections.
    pub request_starts: usize,
    /// Requests started in one turn of the event loop.
    pub starts_per_turn: usize,
    /// Rows in the presence list.
    pub presence_rows: usize,
    /// Outcomes remembered by idempotency key.
    pub idempotency_entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            preauth_bytes: 65_536,
            payload_bytes: 26_214_400,
            buffered_bytes: 52_428_800,
            preauth_connections: 32,
            preauth_queue: 16,
            request_starts: 256,
            starts_per_turn: 64,
            presence_rows: 200,
            idempotency_entries: 1000,
        }
    }
}

/// Intervals and delays of the gateway itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timing {
    /// How long a peer may take for the head of its HTTP request. A gateway (2026.9.6) answers 408 after 60 s, or at the
    /// latest after 90, because Node.js looks every 30 s.
    #[serde(with = "duration_ms")]
    pub head_timeout: Duration,
    /// From open until the socket must have said hello (protocol 3.1).
    #[serde(with = "duration_ms")]
    pub handshake_timeout: Duration,
    /// Of the global tick (protocol 14.1); zero sends none.
    #[serde(with = "duration_ms")]
    pub tick_interval: Duration,
    /// `policy.tickIntervalMs`, when it is to differ from the interval really kept.
    pub advertised_tick_interval_ms: Option<u64>,
    /// How much earlier than one interval after boot the first tick comes.
    #[serde(with = "duration_ms")]
    pub tick_phase: Duration,
    /// Of WebSocket pings after hello (protocol 1.9); zero sends none.
    #[serde(with = "duration_ms")]
    pub ping_interval: Duration,
    /// Of the public health refresh (protocol 10.4).
    #[serde(with = "duration_ms")]
    pub health_interval: Duration,
    /// From a boot to its own health refresh; until the first one the cached health is empty.
    #[serde(with = "duration_ms")]
    pub boot_refresh_delay: Duration,
    /// From a hello to the health refresh it triggers.
    #[serde(with = "duration_ms")]
    pub health_refresh_delay: Duration,
    /// From the order to stop or restart to the shutdown event, while active work drains.
    #[serde(with = "duration_ms")]
    pub drain: Duration,
    /// From the shutdown event to the close frames.
    #[serde(with = "duration_ms")]
    pub shutdown_close_delay: Duration,
    /// From the close frames until sockets that are still there are dropped.
    #[serde(with = "duration_ms")]
    pub close_grace: Duration,
    /// From the gateway's own close frame until the socket is dropped if the handshake has not finished.
    #[serde(with = "duration_ms")]
    pub close_timeout: Duration,
    /// How long nothing listens after a restart that a client asked for.
    #[serde(with = "duration_ms")]
    pub restart_down: Duration,
    /// From a change of the secret until the sockets using it are closed.
    #[serde(with = "duration_ms")]
    pub auth_change_delay: Duration,
    /// How long after each boot connects are refused because the gateway is starting (protocol 17).
    #[serde(with = "duration_ms")]
    pub startup: Duration,
    /// One turn of the event loop, for the start capacity of protocol 8.5.
    #[serde(with = "duration_ms")]
    pub turn: Duration,
    /// How long an outcome is remembered by its idempotency key (protocol 12.5).
    #[serde(with = "duration_ms")]
    pub idempotency_window: Duration,
    /// How long the presence row of a connection that is gone stays.
    #[serde(with = "duration_ms")]
    pub presence_ttl: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            head_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_millis(15_000),
            tick_interval: Duration::from_millis(30_000),
            advertised_tick_interval_ms: None,
            tick_phase: Duration::ZERO,
            ping_interval: Duration::from_secs(25),
            health_interval: Duration::from_secs(60),
            boot_refresh_delay: Duration::from_millis(200),
            health_refresh_delay: Duration::from_millis(6),
            drain: Duration::from_millis(60),
            shutdown_close_delay: Duration::from_millis(70),
            close_grace: Duration::from_millis(1000),
            close_timeout: Duration::from_secs(30),
            restart_down: Duration::from_millis(700),
            auth_change_delay: Duration::from_millis(600),
            startup: Duration::ZERO,
            turn: Duration::from_millis(1),
            idempotency_window: Duration::from_secs(300),
            presence_ttl: Duration::from_secs(300),
        }
    }
}

/// How long one kind of answer takes: a fixed part and a seeded part, which can reorder answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Latency {
    /// Always added.
    #[serde(with = "duration_ms")]
    pub fixed: Duration,
    /// A uniform share of this is added on top.
    #[serde(with = "duration_ms")]
    pub jitter: Duration,
}

impl Latency {
    /// No delay at all: the answer is an effect of the same step.
    pub const ZERO: Latency = Latency { fixed: Duration::ZERO, jitter: Duration::ZERO };

    /// A fixed delay in milliseconds.
    pub const fn fixed_ms(ms: u64) -> Latency {
        Latency { fixed: Duration::from_millis(ms), jitter: Duration::ZERO }
    }
}

/// How long answers take.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Latencies {
    /// From a valid connect to its answer.
    pub connect: Latency,
    /// From a request to its (first) answer.
    pub request: Latency,
    /// Exceptions by method.
    pub by_method: BTreeMap<String, Latency>,
}

/// What the runs of `agent` and `chat.send` do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Runs {
    /// From `accepted` or `started` to the end of the run.
    pub duration: Latency,
    /// The error runs end with; `None` lets them succeed.
    pub error: Option<String>,
    /// Whether runs broadcast `task`, `agent` and `chat` events.
    pub events: bool,
}

impl Default for Runs {
    fn default() -> Self {
        Runs { duration: Latency::fixed_ms(500), error: None, events: true }
    }
}

/// A method with a fixed answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedMethod {
    /// The scope it requires, such as `operator.read`.
    #[serde(default)]
    pub scope: Option<String>,
    /// The payload of its answer, as JSON text.
    pub payload: String,
}

const DEFAULT_METHODS: &[&str] = &[
    "health",
    "logs.tail",
    "channels.status",
    "status",
    "usage.status",
    "usage.cost",
    "config.get",
    "config.set",
    "config.apply",
    "config.patch",
    "config.schema",
    "exec.approvals.get",
    "exec.approvals.set",
    "models.list",
    "tools.catalog",
    "agents.list",
    "skills.status",
    "update.run",
    "voicewake.get",
    "voicewake.set",
    "sessions.list",
    "sessions.subscribe",
    "sessions.unsubscribe",
    "sessions.preview",
    "last-heartbeat",
    "set-heartbeats",
    "wake",
    "node.list",
    "cron.list",
    "cron.status",
    "gateway.restart.request",
    "device.pair.list",
    "device.pair.approve",
    "system-presence",
    "system-event",
    "send",
    "agent",
    "agent.wait",
    "chat.history",
    "chat.abort",
    "chat.send",
    "test.echo",
    "test.never",
];
