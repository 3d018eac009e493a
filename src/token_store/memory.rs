//! A store that lasts as long as the process.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::{StoreFuture, TokenStore};
use crate::core::{Secret, StoredToken, TokenKey};

/// Keeps tokens in memory: for tests, and for apps that pair anew with every run.
#[derive(Debug, Default)]
pub struct MemoryTokenStore {
    tokens: Mutex<BTreeMap<TokenKey, StoredToken>>,
}

impl MemoryTokenStore {
    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<TokenKey, StoredToken>) -> T) -> T {
        act(&mut self.tokens.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl TokenStore for MemoryTokenStore {
    fn load<'a>(&'a self, key: &'a TokenKey) -> StoreFuture<'a, Option<StoredToken>> {
        Box::pin(async { Ok(self.with(|tokens| tokens.get(key).cloned())) })
    }

    fn save<'a>(&'a self, key: &'a TokenKey, token: &'a StoredToken) -> StoreFuture<'a, ()> {
        Box::pin(async {
            self.with(|tokens| tokens.insert(key.clone(), token.clone()));
            Ok(())
        })
    }

    fn clear<'a>(&'a self, key: &'a TokenKey, token: &'a Secret) -> StoreFuture<'a, ()> {
        Box::pin(async {
            self.with(|tokens| {
                if tokens.get(key).is_some_and(|stored| stored.token == *token) {
                    tokens.remove(key);
                }
            });
            Ok(())
        })
    }
}
