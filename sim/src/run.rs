//! What every tier gives back, and how a run records itself.

use onesocket::core::{Config, Instant};

use crate::gateway::config::{Auth, Latency};
use crate::gateway::{GatewayConfig, GatewayModel};
use crate::oracle::{Judge, Violation};
use crate::plan::Plan;
use crate::random::Stream;
use crate::trace::{Record, Trace, What};

/// The three ways to run a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Core and gateway model joined by an event queue: no runtime, time jumps.
    Machine,
    /// The real driver over in-memory byte streams on one paused runtime.
    Stream,
    /// The real driver on turmoil's hosts and links.
    Turmoil,
}

impl Tier {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Machine, Self::Stream, Self::Turmoil];

    /// The name used on the command line and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Stream => "stream",
            Self::Turmoil => "turmoil",
        }
    }

    /// The tier of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.name() == name)
    }

    /// Runs `plan` on this tier.
    #[must_use]
    pub fn run(self, plan: &Plan) -> Finished {
        match self {
            Self::Machine => crate::machine::run(plan),
            Self::Stream => crate::stream::run(plan),
            Self::Turmoil => crate::turmoil_tier::run(plan),
        }
    }
}

/// A run that is over.
#[derive(Clone, Debug)]
pub struct Finished {
    /// What happened.
    pub records: Vec<Record>,
    /// The digest of what happened.
    pub digest: u64,
    /// How much simulated time passed.
    pub simulated: Instant,
    /// The first broken invariant.
    pub violation: Option<Violation>,
}

/// Takes down what happens and has it judged as it happens.
pub struct Recorder {
    trace: Trace,
    judge: Judge,
}

impl Recorder {
    /// A recorder for a run of `plan`.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self { trace: Trace::default(), judge: Judge::new(plan) }
    }

    /// Takes down one record.
    pub fn record(&mut self, at: Instant, what: What) {
        let record = self.trace.push(at, what);
        self.judge.observe(record);
    }

    /// Whether an invariant is broken already.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.judge.violation().is_some()
    }

    /// Closes the book.
    #[must_use]
    pub fn finish(self) -> Finished {
        Finished {
            digest: self.trace.digest(),
            simulated: self.trace.now(),
            violation: self.judge.violation().cloned(),
            records: self.trace.into_records(),
        }
    }
}

/// The host name of a gateway. It ends in `.local` so that plaintext to it is allowed.
#[must_use]
pub fn gateway_host(gateway: u8) -> String {
    format!("gateway-{gateway}.local")
}

/// The gateway with this host name.
#[must_use]
pub fn gateway_of(host: &str) -> Option<u8> {
    host.strip_prefix("gateway-")?.strip_suffix(".local")?.parse().ok()
}

/// The port that every simulated gateway listens on.
pub const GATEWAY_PORT: u16 = 18_789;

/// The client's config for a gateway.
#[must_use]
pub fn client_config(gateway: u8, token: &str) -> Config {
    let url = format!("ws://{}:{GATEWAY_PORT}", gateway_host(gateway));
    Config::new(&url).expect("the url of a simulated gateway is valid").token(token)
}

/// The gateways of a run of `plan`.
#[must_use]
pub fn gateway(plan: &Plan, index: u8) -> GatewayModel {
    let mut config =
        GatewayConfig { auth: Auth::Token(Plan::FIRST_TOKEN.to_owned()), ..GatewayConfig::default() };
    config.timing.tick_interval = std::time::Duration::from_millis(plan.params.tick_ms);
    config.latency.request = Latency {
        fixed: std::time::Duration::ZERO,
        jitter: std::time::Duration::from_millis(plan.params.answer_ms),
    };
    GatewayModel::new(config, Stream::new(plan.seed, "gateway").any().wrapping_add(u64::from(index)))
}

/// The seed of the client of a run of `plan`.
#[must_use]
pub fn client_seed(plan: &Plan) -> u64 {
    Stream::new(plan.seed, "client").any()
}
