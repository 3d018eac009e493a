//! Where the gateway is, worked out from the settings of an app and published (protocol 19.3).
//!
//! ```text
//!   settings, forwarded port ──▶ EndpointStore ──▶ ready | connecting | unavailable ──▶ status line
//!                                      └────── as a ConfigSource ──▶ follow ──▶ Client
//! ```
//!
//! The store starts nothing: no gateway, no tunnel. Whoever runs the tunnel says which port it has.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::watch;

use crate::config_source::{Changes, ConfigSource, Generations, SourceError};
use crate::core::{Config, ConfigError, Credentials, Endpoint, Headers, Secret};

/// The environment variable that holds the shared token.
pub const TOKEN_VARIABLE: &str = "OPENCLAW_GATEWAY_TOKEN";
/// The environment variable that holds the shared password.
pub const PASSWORD_VARIABLE: &str = "OPENCLAW_GATEWAY_PASSWORD";

/// The credentials to present: those of the environment before those of the settings, each by itself.
///
/// Values are trimmed, and blank ones count as absent (protocol 19.3). `environment` looks a variable up:
/// `|name| std::env::var(name).ok()` in an app, a table in a test.
pub fn credentials(
    environment: impl Fn(&str) -> Option<String>,
    token: Option<&str>,
    password: Option<&str>,
) -> Credentials {
    let choose = |variable: &str, setting: Option<&str>| {
        let of_environment = environment(variable).and_then(|value| Secret::trimmed(&value));
        of_environment.or_else(|| setting.and_then(Secret::trimmed))
    };
    Credentials {
        token: choose(TOKEN_VARIABLE, token),
        password: choose(PASSWORD_VARIABLE, password),
        ..Credentials::default()
    }
}

/// What an app knows about its gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointSettings {
    /// Where the gateway is.
    pub mode: EndpointMode,
    /// What to present to it; see [`credentials`].
    pub credentials: Credentials,
    /// What to send to a proxy in front of it, with the upgrade.
    pub headers: Headers,
}

/// Where a gateway can be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointMode {
    /// There is none.
    #[default]
    Unconfigured,
    /// On this machine, or on an address of it.
    Local {
        /// Its port.
        port: u16,
        /// Whether it speaks TLS.
        secure: bool,
        /// The address it is bound to, if it is not loopback.
        host: Option<String>,
    },
    /// Behind a tunnel of somebody else, who tells its local port once it is up.
    Forwarded {
        /// The forwarded port on loopback; `None` while there is no tunnel.
        port: Option<u16>,
    },
    /// At a url, which is dialed directly.
    Direct {
        /// The url. Blank counts as missing.
        url: String,
    },
    /// At an endpoint that the app has made, for what a url does not say: a pin, or plaintext to a private name.
    Given(Endpoint),
}

/// Whether there is a gateway to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointState {
    /// There is, and this is how.
    Ready(Arc<Config>),
    /// There will be; somebody is at work.
    Connecting {
        /// What is waited for, for humans.
        detail: &'static str,
    },
    /// There is none until the settings change.
    Unavailable {
        /// Why.
        reason: Unavailable,
    },
}

/// Why there is no gateway to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// No mode is set.
    #[error("no gateway is configured")]
    NotConfigured,
    /// A direct gateway has no url.
    #[error("the url of the remote gateway is missing")]
    UrlMissing,
    /// The settings lead to no usable config.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Publishes where the gateway is.
///
/// It publishes changes only: settings that lead to the same state tell nobody anything. As a
/// [`ConfigSource`] it has a config exactly while it is ready; otherwise the client has none, so a
/// gateway that the user moved away from is left at once.
pub struct EndpointStore {
    state: watch::Sender<EndpointState>,
    generations: Generations,
    complete: Box<dyn Fn(Config) -> Config + Send + Sync>,
}

impl EndpointStore {
    /// A store that begins with `settings`. `complete` adds what all configs of the app have in common:
    /// who the client is, its scopes, its capabilities.
    pub fn new(
        settings: &EndpointSettings,
        complete: impl Fn(Config) -> Config + Send + Sync + 'static,
    ) -> Self {
        let (state, _) = watch::channel(resolve(settings, &complete));
        Self { state, generations: Generations::new(), complete: Box::new(complete) }
    }

    /// The settings changed. Returns whether that changed the state.
    ///
    /// # Panics
    /// When `complete` does. The state is the one of before then.
    pub fn set(&self, settings: &EndpointSettings) -> bool {
        let next = resolve(settings, &self.complete);
        let changed = self.state.send_if_modified(|state| {
            let changed = *state != next;
            *state = next;
            changed
        });
        if changed {
            self.generations.announce();
        }
        changed
    }

    /// The state as of now.
    #[must_use]
    pub fn current(&self) -> EndpointState {
        self.state.borrow().clone()
    }

    /// The state as of now, and then each newest one.
    #[must_use]
    pub fn subscribe(&self) -> EndpointStates {
        let mut receiver = self.state.subscribe();
        receiver.mark_changed();
        EndpointStates(receiver)
    }
}

impl ConfigSource for EndpointStore {
    fn current(&self) -> impl Future<Output = Result<Option<Config>, SourceError>> + Send {
        let config = match EndpointStore::current(self) {
            EndpointState::Ready(config) => Some(Config::clone(&config)),
            EndpointState::Connecting { .. } | EndpointState::Unavailable { .. } => None,
        };
        std::future::ready(Ok(config))
    }

    fn changes(&self) -> Changes {
        self.generations.changes()
    }
}

impl fmt::Debug for EndpointStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointStore").field("state", &*self.state.borrow()).finish_non_exhaustive()
    }
}

/// The states of an [`EndpointStore`]. A slow reader sees the newest state and skips those before it.
#[derive(Clone, Debug)]
pub struct EndpointStates(watch::Receiver<EndpointState>);

impl EndpointStates {
    /// The present state at first, then the next change; `None` when the store is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<EndpointState> {
        self.0.changed().await.ok()?;
        Some(self.0.borrow_and_update().clone())
    }
}

fn resolve(settings: &EndpointSettings, complete: impl Fn(Config) -> Config) -> EndpointState {
    let endpoint = match &settings.mode {
        EndpointMode::Unconfigured => {
            return EndpointState::Unavailable { reason: Unavailable::NotConfigured };
        }
        EndpointMode::Local { port, secure, host } => {
            let host = host.as_deref().map(str::trim).filter(|host| !host.is_empty());
            Endpoint::at(host.unwrap_or("127.0.0.1"), *port, *secure)
        }
        EndpointMode::Forwarded { port: None } => {
            return EndpointState::Connecting { detail: "waiting for the forwarded port" };
        }
        EndpointMode::Forwarded { port: Some(port) } => Endpoint::at("127.0.0.1", *port, false),
        EndpointMode::Direct { url } if url.trim().is_empty() => {
            return EndpointState::Unavailable { reason: Unavailable::UrlMissing };
        }
        EndpointMode::Direct { url } => Endpoint::parse(url),
        EndpointMode::Given(endpoint) => Ok(endpoint.clone()),
    };
    let config = endpoint.and_then(|endpoint| Config::from(endpoint).headers(settings.headers.clone()));
    match config {
        Ok(config) => {
            let config = config.credentials(settings.credentials.clone());
            EndpointState::Ready(Arc::new(complete(config)))
        }
        Err(error) => EndpointState::Unavailable { reason: error.into() },
    }
}
