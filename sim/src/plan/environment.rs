//! Where the runs of a plan take place: ports, configs of the client, gateways, and the seeds of each.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use onesocket::core::{ClientInfo, Config, DeviceIdentity, Endpoint};
use onesocket_gateway::config::{Auth, Latency};
use onesocket_gateway::{GatewayConfig, GatewayModel};

use super::Plan;
use crate::base::rng::Rng;

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

/// What the config of a run's client names: the gateway, and what is presented to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigRef {
    /// The gateway.
    pub gateway: u8,
    /// What is presented to it.
    pub token: Arc<str>,
    /// What that is.
    pub kind: TokenKind,
}

impl ConfigRef {
    /// A config with the shared token of a gateway, or another such token.
    #[must_use]
    pub fn shared(gateway: u8, token: &str) -> Self {
        Self { gateway, token: Arc::from(token), kind: TokenKind::Shared }
    }

    /// A config with a setup code of a gateway.
    #[must_use]
    pub fn bootstrap(gateway: u8, token: &str) -> Self {
        Self { gateway, token: Arc::from(token), kind: TokenKind::Bootstrap }
    }

    /// The config that every run begins with.
    #[must_use]
    pub fn first() -> Self {
        Self::shared(0, Plan::FIRST_TOKEN)
    }
}

/// Which token a config has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenKind {
    /// The token that all clients of a gateway share.
    Shared,
    /// A setup code, which is good for one device.
    Bootstrap,
}

/// The client's config for a gateway.
#[must_use]
pub fn client_config(plan: &Plan, config_ref: &ConfigRef) -> Config {
    // Loopback is where gateways are, and where the retry with a stored device token is allowed.
    let url = format!("ws://localhost:{}", gateway_port(config_ref.gateway));
    let config = Config::new(&url).expect("the url of a simulated gateway is valid");
    let token = &config_ref.token;
    let config = match config_ref.kind {
        TokenKind::Shared => config.token(token),
        TokenKind::Bootstrap => config.bootstrap_token(token).scopes(SETUP_SCOPES),
    };
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
    config.timing.tick_interval = Duration::from_millis(plan.params.tick_ms);
    config.latency.request =
        Latency { fixed: Duration::ZERO, jitter: Duration::from_millis(plan.params.answer_ms) };
    config.pairing.auto_approve_local = !plan.params.pairing_by_order;
    config.pairing.bootstrap_tokens = Plan::BOOTSTRAP_TOKENS.map(str::to_owned).to_vec();
    config.refusals_by_close = plan.params.refusals_by_close;
    config.pairing.verify_signatures = plan.params.verify_proofs;
    GatewayModel::new(config, Rng::new(plan.seed, "gateway").any().wrapping_add(u64::from(index)))
}

/// The device of every run that has one. Making it takes longer than most steps of a run.
static DEVICE: LazyLock<DeviceIdentity> = LazyLock::new(|| DeviceIdentity::from_seed([7; 32]));

/// The seed of the client of a run of `plan`.
#[must_use]
pub fn client_seed(plan: &Plan) -> u64 {
    Rng::new(plan.seed, "client").any()
}
