//! Making a client.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::Semaphore;

use crate::core::{Config, ConfigError, Connection, Options, Status};
use crate::driver::queue::command_queue;
use crate::driver::watch::WatchSender;
use crate::driver::{Driver, Published};
use crate::network::Network;
use crate::statistics::Counters;
use crate::token_store::TokenStore;

use super::idempotency::KeySeries;
use super::places::Places;
use super::{COMMANDS_AWAITED, Client, Shared};

/// Makes a client. Nothing is dialed until something is wanted of it.
#[derive(Clone, Default)]
#[must_use]
pub struct Builder {
    config: Option<Arc<Config>>,
    token_store: Option<Arc<dyn TokenStore>>,
    options: Options,
    seed: Option<u64>,
    fixed: bool,
}

impl Builder {
    /// The config to begin with. Without one, requests fail until [`Client::configure`].
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(Arc::new(config));
        self
    }

    /// Times and limits.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Keeps the device tokens that gateways issue, for configs that name a device.
    pub fn token_store(mut self, store: impl TokenStore) -> Self {
        self.token_store = Some(Arc::new(store));
        self
    }

    /// Fixes the randomness of the connection (jitter and the prefix of request ids), for a repeatable run. By
    /// default it differs with every client.
    ///
    /// [`Client::idempotency_key`] is unique all the same: with the keys of an earlier run, the gateway would answer
    /// with what that run led to and do nothing. A run that has to repeat its keys makes its own, with
    /// [`IdempotencyKey::new`](crate::IdempotencyKey::new).
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Lets nobody change the config afterwards, because others share the client for this very config.
    pub(crate) fn fixed(mut self) -> Self {
        self.fixed = true;
        self
    }

    /// A client and the driver that must be run for it. Must be called within a tokio runtime that
    /// has a timer.
    ///
    /// # Errors
    /// [`ConfigError::Option`] when an option is out of range.
    pub fn build<N: Network>(self, network: N) -> Result<(Client, Driver<N>), ConfigError> {
        let seed = self.seed.unwrap_or_else(fresh_seed);
        let fixed_config = self.fixed.then(|| self.config.clone());
        let mut core = Connection::new(self.config, self.options.clone(), seed)?;
        if self.token_store.is_some() {
            core = core.with_token_store();
        }
        let (commands, receiver) = command_queue();
        let (status_sender, status) = WatchSender::new(Status::Idle);
        let (stopped_sender, stopped) = WatchSender::new(None);
        let options = &self.options;
        let counters = Arc::new(Counters::new());
        let driver = Driver::new(
            core,
            options,
            network,
            self.token_store,
            receiver,
            Published {
                status: status_sender,
                stopped: Arc::new(stopped_sender),
                counters: Arc::clone(&counters),
            },
        );
        let shared = Shared {
            commands,
            status,
            stopped,
            counters,
            next_id: AtomicU64::new(1),
            request_places: Places::new(options.max_in_flight.saturating_add(options.max_queued)),
            subscription_places: Places::new(options.max_subscriptions).share(),
            awaited_permits: Arc::new(Semaphore::new(COMMANDS_AWAITED)),
            next_config_seq: AtomicU64::new(1),
            idempotency_keys: KeySeries::fresh(),
            fixed_config,
            options: self.options,
        };
        Ok((Client::of(Arc::new(shared)), driver))
    }

    /// A client whose driver runs on the current tokio runtime.
    ///
    /// # Errors
    /// [`ConfigError::Option`] when an option is out of range.
    pub fn spawn<N: Network>(self, network: N) -> Result<Client, ConfigError> {
        let (client, driver) = self.build(network)?;
        tokio::spawn(driver.run());
        Ok(client)
    }
}

/// A seed that differs with every call, from the standard library's own randomness.
fn fresh_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
