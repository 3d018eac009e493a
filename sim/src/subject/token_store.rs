//! The client's token store in a run: slow and unreliable, as the plan says.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use onesocket::core::{Instant, Secret, StoreError, StoredToken, TokenKey};
use onesocket::token_store::{StoreFuture, TokenStore};

use crate::base::rng::Rng;
use crate::plan::Plan;

/// What is stored, and the draws that say how slow and how unreliable it is.
pub(crate) struct Tokens {
    stored: BTreeMap<TokenKey, StoredToken>,
    draw: Rng,
    slowest_ms: u64,
    fails_percent: u64,
    busy_until: Instant,
}

impl Tokens {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            stored: BTreeMap::new(),
            draw: Rng::new(plan.seed, "token store"),
            slowest_ms: plan.params.store_ms,
            fails_percent: plan.params.store_fails_percent,
            busy_until: Instant::ZERO,
        }
    }

    /// When an errand that is given now is done: after those before it.
    pub(crate) fn finishes(&mut self, now: Instant) -> Instant {
        self.busy_until = self.busy_until.max(now) + self.delay();
        self.busy_until
    }

    fn delay(&mut self) -> Duration {
        Duration::from_millis(self.draw.between(0, self.slowest_ms))
    }

    pub(crate) fn load(&mut self, key: &TokenKey) -> Result<Option<StoredToken>, StoreError> {
        self.fail()?;
        Ok(self.stored.get(key).cloned())
    }

    pub(crate) fn save(&mut self, key: &TokenKey, token: &StoredToken) -> Result<(), StoreError> {
        self.fail()?;
        self.stored.insert(key.clone(), token.clone());
        Ok(())
    }

    pub(crate) fn clear(&mut self, key: &TokenKey, token: &Secret) -> Result<(), StoreError> {
        self.fail()?;
        if self.stored.get(key).is_some_and(|stored| stored.token == *token) {
            self.stored.remove(key);
        }
        Ok(())
    }

    fn fail(&mut self) -> Result<(), StoreError> {
        if self.draw.chance(self.fails_percent) { Err(StoreError::new("the plan says so")) } else { Ok(()) }
    }
}

/// The token store of a run on an async tier.
pub struct SimTokenStore(Mutex<Tokens>);

impl SimTokenStore {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self(Mutex::new(Tokens::new(plan)))
    }

    async fn work<T>(
        &self,
        work: impl FnOnce(&mut Tokens) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let delay = self.with(Tokens::delay);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.with(work)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Tokens) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl TokenStore for SimTokenStore {
    fn load<'a>(&'a self, key: &'a TokenKey) -> StoreFuture<'a, Option<StoredToken>> {
        Box::pin(self.work(|tokens| tokens.load(key)))
    }

    fn save<'a>(&'a self, key: &'a TokenKey, token: &'a StoredToken) -> StoreFuture<'a, ()> {
        Box::pin(self.work(|tokens| tokens.save(key, token)))
    }

    fn clear<'a>(&'a self, key: &'a TokenKey, token: &'a Secret) -> StoreFuture<'a, ()> {
        Box::pin(self.work(|tokens| tokens.clear(key, token)))
    }
}
