//! One connection for each effective config, however many consumers ask for it, and wherever.
//!
//! ```text
//!   settings page ─┐                    ┌─ Fingerprint a ── Client ── Driver ─┐
//!   chat ──────────┼── hub.client(c) ──▶│                                     ├─ Slot a: one socket
//!   menu bar ──────┘                    │  (closing) ──────────── Driver ─────┘
//!                                       └─ Fingerprint b ── …
//! ```
//!
//! The hub holds no client itself: it only remembers which ones others hold. When the last handle is
//! gone the connection closes, and then its entry goes. Whoever asks in between gets a new client at
//! once, whose first dial waits until the old socket is gone.
//!
//! The config of a client that a hub gave out never changes: [`Client::configure`] refuses, because
//! others share the client for the config it has. Whoever wants another config takes another client
//! and drops the first. An app whose one gateway moves about shares a client of its own instead,
//! and lets it [follow](crate::config_source::follow) a source.

mod fingerprint;
mod slot;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use tokio::runtime::Handle;

use crate::client::{Client, WeakClient};
use crate::core::{Config, ConfigError, Options};
use crate::driver::last_word::is_gone;
use crate::driver::watch::{WatchReader, WatchSender};
use crate::driver::{Driver, ShutdownReport};
use crate::network::Network;
use crate::token_store::TokenStore;

pub use fingerprint::Fingerprint;
use fingerprint::Salt;
use slot::{Slot, SlotNetwork};

/// Gives out clients, one for each effective config. Clones are the same hub.
///
/// Keep one for the whole process: two hubs know nothing of each other. Dropping it ends nothing.
pub struct Hub<N: Network> {
    shared: Arc<Shared<N>>,
}

struct Shared<N> {
    network: Arc<N>,
    builder: HubBuilder,
    salt: Salt,
    registry: Mutex<Registry>,
    /// Something left the registry.
    left: WatchSender<()>,
    leaving: WatchReader<()>,
}

struct Registry {
    /// Where the drivers run.
    runtime: Handle,
    entries: BTreeMap<Fingerprint, Entry>,
    /// What the shutdown has ended so far, once there is one.
    shutdown: Option<HubReport>,
}

/// Everything there is for one config. It stays while any driver runs for it.
struct Entry {
    /// The client to give out; earlier ones may still be closing.
    client: WeakClient,
    slot: Slot,
    drivers: usize,
}

/// Why a hub gives out no client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HubError {
    /// The hub was shut down.
    #[error("the hub was shut down")]
    ShutDown,
    /// The runtime of the hub is gone, and it is called outside of another one: call it within a runtime.
    #[error("the runtime of the hub is gone, and there is no other here: ask the hub within a runtime")]
    RuntimeGone,
}

/// What the shutdown of a hub ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubReport {
    /// Connections that were held or still closing.
    pub connections: usize,
    /// How many of them had a socket that was dialing, open or closing.
    pub sockets: usize,
    /// Requests that were failed by it.
    pub failed_requests: usize,
    /// Subscriptions that were ended by it.
    pub closed_subscriptions: usize,
}

/// Makes a hub. What is set here is the same for all its connections, so that no consumer's wishes
/// depend on who came first.
#[derive(Clone, Default)]
#[must_use]
pub struct HubBuilder {
    options: Options,
    token_store: Option<Arc<dyn TokenStore>>,
}

impl HubBuilder {
    /// Times and limits.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Where device tokens are kept.
    pub fn token_store(mut self, store: impl TokenStore) -> Self {
        self.token_store = Some(Arc::new(store));
        self
    }

    /// A hub whose connections run over `network`, on the current runtime, as long as there is that.
    ///
    /// # Errors
    /// [`ConfigError::Option`] when an option is out of range.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn build<N: Network>(self, network: N) -> Result<Hub<N>, ConfigError> {
        self.options.validate()?;
        let (left, leaving) = WatchSender::new(());
        let shared = Shared {
            network: Arc::new(network),
            builder: self,
            salt: Salt::fresh(),
            registry: Mutex::new(Registry {
                runtime: Handle::current(),
                entries: BTreeMap::new(),
                shutdown: None,
            }),
            left,
            leaving,
        };
        Ok(Hub { shared: Arc::new(shared) })
    }
}

impl std::fmt::Debug for HubBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<N: Network> Hub<N> {
    /// A hub with default options, without a token store.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn new(network: N) -> Self {
        HubBuilder::default().build(network).expect("the default options are valid")
    }

    /// The client for `config`: the one that others hold for an equal config, or a new one. May be
    /// called from any thread, inside a runtime or not; the connection lives on the hub's runtime.
    ///
    /// It dials when something is wanted of it. It closes when its last handle is dropped, and a
    /// [`shutdown`](Client::shutdown) through any of its handles ends it for all of them; the next
    /// caller then gets a new one. If an old socket is still closing, the first dial waits for its end,
    /// which the dial timeout covers. So does a client that was [lost](crate::core::Status::Lost): its handles have said
    /// so, and the next caller gets a new one. A hub whose runtime is gone moves to that of its next caller.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn client(&self, config: Config) -> Result<Client, HubError> {
        let key = self.fingerprint(&config);
        let mut registry = self.shared.lock();
        if registry.shutdown.is_some() {
            return Err(HubError::ShutDown);
        }
        let entry = registry.entries.get(&key);
        let held = entry.and_then(|entry| entry.client.upgrade());
        if let Some(client) = &held
            && !client.is_shutting_down()
        {
            return Ok(client.clone());
        }
        let slot = entry.map_or_else(Slot::new, |entry| entry.slot.clone());
        let runtime = registry.live_runtime()?;
        let (client, driver) = self.make(config, slot.clone(), &runtime);
        registry.enter(key, client.downgrade(), slot);
        // Whatever else runs now may ask the hub something.
        drop(registry);
        drop(held);
        let stay = Stay { shared: Arc::clone(&self.shared), key, report: None };
        runtime.spawn(stay.through(driver, client.downgrade()));
        Ok(client)
    }

    /// What stands for `config` in this hub, as a name for logs.
    #[must_use]
    pub fn fingerprint(&self, config: &Config) -> Fingerprint {
        self.shared.salt.fingerprint(config)
    }

    /// Configs for which a connection is held, or still closing.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.lock().entries.len()
    }

    /// Whether nothing is held and nothing is closing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shuts all connections down, gives out no more, and returns when nothing is left of any of them.
    ///
    /// They close side by side, so it takes at most `close_grace` of the options. Idempotent; all
    /// callers get the same report. Cancel safe: once polled, the shutdown goes on without its caller.
    pub async fn shutdown(&self) -> HubReport {
        let clients: Vec<Client> = {
            let mut registry = self.shared.lock();
            registry.shutdown.get_or_insert_default();
            registry.entries.values().filter_map(|entry| entry.client.upgrade()).collect()
        };
        for client in clients {
            client.begin_shutdown();
        }
        let finished = self.shared.leaving.find(|()| self.shared.lock().finished()).await;
        finished.expect("the hub holds the notice")
    }

    fn make(&self, config: Config, slot: Slot, runtime: &Handle) -> (Client, Driver<SlotNetwork<N>>) {
        // The driver's timer belongs to the hub's runtime, wherever this is called.
        let _runtime = runtime.enter();
        let network = SlotNetwork { network: Arc::clone(&self.shared.network), slot };
        let HubBuilder { options, token_store } = self.shared.builder.clone();
        let mut builder = Client::builder().config(config).options(options).fixed();
        if let Some(store) = token_store {
            builder = builder.token_store(store);
        }
        builder.build(network).expect("the options were validated")
    }
}

impl<N: Network> Clone for Hub<N> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<N: Network> std::fmt::Debug for Hub<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.shared.lock().entries.keys()).finish()
    }
}

impl<N> Shared<N> {
    fn lock(&self) -> MutexGuard<'_, Registry> {
        // No foreign code runs under this lock, so a poisoned registry is still whole.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// The runtime of the hub. When that is gone, everything that ran there is, and that of the caller takes its place.
    fn live_runtime(&mut self) -> Result<Handle, HubError> {
        if is_gone(&self.runtime) {
            let here = Handle::try_current().ok().filter(|here| !is_gone(here));
            self.runtime = here.ok_or(HubError::RuntimeGone)?;
        }
        Ok(self.runtime.clone())
    }

    fn enter(&mut self, key: Fingerprint, client: WeakClient, slot: Slot) {
        let drivers = self.entries.get(&key).map_or(0, |entry| entry.drivers);
        // The client before it, if any, has no handle any more or is shutting down.
        self.entries.insert(key, Entry { client, slot, drivers: drivers + 1 });
    }

    /// A driver is gone. The slot goes with the last one: an earlier socket may outlive a later one.
    fn leave(&mut self, key: Fingerprint, report: ShutdownReport) {
        let entry = self.entries.get_mut(&key).expect("an entry stays while a driver runs for it");
        entry.drivers -= 1;
        if entry.drivers == 0 {
            self.entries.remove(&key);
        }
        if let Some(total) = &mut self.shutdown {
            total.connections += 1;
            total.sockets += usize::from(report.had_socket);
            total.failed_requests += report.failed_requests;
            total.closed_subscriptions += report.closed_subscriptions;
        }
    }

    fn finished(&self) -> Option<HubReport> {
        if self.entries.is_empty() { self.shutdown } else { None }
    }
}

/// A driver's place in the registry. It is given up however the driver ends: with a shutdown, with a
/// panic, or together with its runtime.
struct Stay<N> {
    shared: Arc<Shared<N>>,
    key: Fingerprint,
    report: Option<ShutdownReport>,
}

impl<N: Network> Stay<N> {
    async fn through(mut self, driver: Driver<SlotNetwork<N>>, client: WeakClient) {
        driver.run().await;
        self.report = client.stopped().await;
    }
}

impl<N> Drop for Stay<N> {
    fn drop(&mut self) {
        self.shared.lock().leave(self.key, self.report.unwrap_or_default());
        self.shared.left.send(());
    }
}
