//! What every tier gives back, and how a run records itself.

use std::sync::{Arc, LazyLock};

use onesocket::core::{ClientInfo, Config, DeviceIdentity, Endpoint, Instant};

use serde::{Deserialize, Serialize};

use crate::logs::{self, Line};
use crate::milestones::Milestones;
use crate::oracle::{Invariant, Judge, Violation};
use crate::pace::{self, Pace};
use crate::plan::Plan;
use crate::random::Stream;
use crate::trace::{Record, Trace, What};
use onesocket_gateway::config::{Auth, Latency};
use onesocket_gateway::{GatewayConfig, GatewayModel};

/// The three ways to run a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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
    /// What was logged, as far as it was kept.
    pub logs: Vec<Line>,
}

/// The lines of a run: its records, and between them what was logged.
pub fn timeline(finished: &Finished) -> impl Iterator<Item = String> + '_ {
    let mut logs = finished.logs.iter().peekable();
    let mut records = finished.records.iter().enumerate().peekable();
    std::iter::from_fn(move || {
        let before = records.peek().map_or(usize::MAX, |(index, _)| *index);
        if let Some(line) = logs.next_if(|line| line.after <= before) {
            return Some(line.to_string());
        }
        records.next().map(|(_, record)| record.to_string())
    })
}

/// Takes down what happens and has it judged as it happens.
pub struct Recorder {
    trace: Trace,
    judge: Judge,
    milestones: Milestones,
    pace: Pace,
}

impl Recorder {
    /// A recorder for a run of `plan`.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self {
            trace: Trace::default(),
            judge: Judge::new(plan),
            milestones: Milestones::new(plan),
            pace: Pace::default(),
        }
    }

    /// Takes down one record; true if a step of the plan waits for it.
    pub fn record(&mut self, at: Instant, what: What) -> bool {
        logs::recorded(self.trace.records().len() + 1);
        let record = self.trace.push(at, what);
        self.judge.observe(record);
        self.milestones.observe(record)
    }

    /// Counts something that happens, whether it is recorded or not.
    pub fn stir(&mut self, at: Instant) {
        if !self.pace.count(at) {
            self.judge.accuse(Invariant::NoSpin, at, pace::too_much);
        }
    }

    /// A step of the plan, by its index, whose milestone was reached, and when that was.
    pub fn take_reached(&mut self) -> Option<(usize, Instant)> {
        self.milestones.take_reached()
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
            logs: Vec::new(),
        }
    }
}

/// The port of gateway 0; the others follow.
const FIRST_PORT: u16 = 18_789;

/// The port of a gateway.
#[must_use]
pub fn gateway_port(gateway: u8) -> u16 {
    FIRST_PORT + u16::from(gateway)
}

/// The gateway that an endpoint names.
///
/// # Panics
/// If it names none: only simulated gateways are ever configured.
#[must_use]
pub fn gateway_of(endpoint: &Endpoint) -> u8 {
    let gateway = endpoint.port().checked_sub(FIRST_PORT).and_then(|index| u8::try_from(index).ok());
    gateway.expect("only simulated gateways are configured")
}

/// What a config names: a gateway, a token, and whether that is a bootstrap token.
pub type Named = (u8, Arc<str>, bool);

/// The client's config for a gateway.
#[must_use]
pub fn client_config(plan: &Plan, (gateway, token, bootstrap): &Named) -> Config {
    // Loopback is where gateways are, and where the retry with a stored device token is allowed.
    let url = format!("ws://localhost:{}", gateway_port(*gateway));
    let config = Config::new(&url).expect("the url of a simulated gateway is valid");
    let config =
        if *bootstrap { config.bootstrap_token(token).scopes(SETUP_SCOPES) } else { config.token(token) };
    if !plan.params.device {
        return config;
    }
    // Gateways issue no tokens to `gateway-client`; a command line is given one.
    let client = ClientInfo { id: "cli".to_owned(), mode: "cli".to_owned(), ..ClientInfo::default() };
    config.client(client).device(DEVICE.clone())
}

/// What a client asks for that is set up with a code: more than these and it would have to be paired after all.
const SETUP_SCOPES: [&str; 2] = ["operator.read", "operator.write"];

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
    config.pairing.auto_approve_local = !plan.params.pairing_by_order;
    config.pairing.bootstrap_tokens = Plan::BOOTSTRAP_TOKENS.map(str::to_owned).to_vec();
    config.pairing.verify_signatures = plan.params.verify_proofs;
    GatewayModel::new(config, Stream::new(plan.seed, "gateway").any().wrapping_add(u64::from(index)))
}

/// The device of every run that has one. Making it takes longer than most steps of a run.
static DEVICE: LazyLock<DeviceIdentity> = LazyLock::new(|| DeviceIdentity::from_seed([7; 32]));

/// The seed of the client of a run of `plan`.
#[must_use]
pub fn client_seed(plan: &Plan) -> u64 {
    Stream::new(plan.seed, "client").any()
}
