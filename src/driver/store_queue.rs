//! The operations of the driver on the token store, one after the other.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::core::{Epoch, Input, Secret, StoreError, StoredToken, TokenKey};
use crate::token_store::TokenStore;

/// An operation on the store.
pub(super) enum StoreOp {
    Load { epoch: Epoch, key: TokenKey },
    Save { key: TokenKey, token: StoredToken },
    Adopt { key: TokenKey, token: StoredToken },
    Clear { key: TokenKey, token: Secret },
}

type Running = Pin<Box<dyn Future<Output = Input> + Send>>;

/// The operations that wait, and the one that runs. It is as long as the core makes it: one load for each attempt and a few writes
/// for each hello or refusal.
pub(super) struct StoreQueue {
    store: Option<Arc<dyn TokenStore>>,
    queue: VecDeque<StoreOp>,
    running: Option<Running>,
}

impl StoreQueue {
    pub(super) fn new(store: Option<Arc<dyn TokenStore>>) -> Self {
        Self { store, queue: VecDeque::new(), running: None }
    }

    pub(super) fn add(&mut self, op: StoreOp) {
        // Nobody waits for the answer to an earlier load any more.
        if let StoreOp::Load { .. } = op {
            self.queue.retain(|queued| !matches!(queued, StoreOp::Load { .. }));
        }
        self.queue.push_back(op);
    }

    /// The answer of the store to the next operation.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        loop {
            if let Some(running) = &mut self.running {
                let answer = std::task::ready!(running.as_mut().poll(cx));
                self.running = None;
                return Poll::Ready(answer);
            }
            let (Some(op), Some(store)) = (self.queue.pop_front(), &self.store) else {
                return Poll::Pending;
            };
            self.running = Some(Box::pin(run(Arc::clone(store), op)));
        }
    }
}

async fn run(store: Arc<dyn TokenStore>, op: StoreOp) -> Input {
    match op {
        StoreOp::Load { epoch, key } => Input::TokenLoaded { epoch, result: store.load(&key).await },
        StoreOp::Save { key, token } => written("stored", store.save(&key, &token).await),
        StoreOp::Adopt { key, token } => written("stored", adopt(&*store, &key, &token).await),
        StoreOp::Clear { key, token } => written("cleared", store.clear(&key, &token).await),
    }
}

/// See [`Effect::AdoptToken`](crate::core::Effect::AdoptToken).
async fn adopt(store: &dyn TokenStore, key: &TokenKey, token: &StoredToken) -> Result<(), StoreError> {
    match store.load(key).await? {
        Some(stored) if stored.token == token.token => Ok(()),
        Some(_) | None => store.save(key, token).await,
    }
}

/// A token that could not be written costs a pairing later, which a person should know about.
fn written(what: &str, result: Result<(), StoreError>) -> Input {
    if let Err(error) = result {
        tracing::warn!(%error, "a device token could not be {what}");
    }
    Input::TokenStored
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token_store::{MemoryTokenStore, StoreFuture};

    struct Unreadable(MemoryTokenStore);

    impl TokenStore for Unreadable {
        fn load<'a>(&'a self, _: &'a TokenKey) -> StoreFuture<'a, Option<StoredToken>> {
            Box::pin(async { Err(StoreError("disk".to_owned())) })
        }

        fn save<'a>(&'a self, key: &'a TokenKey, token: &'a StoredToken) -> StoreFuture<'a, ()> {
            self.0.save(key, token)
        }

        fn clear<'a>(&'a self, key: &'a TokenKey, token: &'a Secret) -> StoreFuture<'a, ()> {
            self.0.clear(key, token)
        }
    }

    fn key() -> TokenKey {
        TokenKey { device_id: "d".to_owned(), role: "node".to_owned(), gateway: "g:1".to_owned() }
    }

    fn token(text: &str, scope: &str) -> StoredToken {
        StoredToken { token: Secret::trimmed(text).expect("not blank"), scopes: vec![scope.to_owned()] }
    }

    #[tokio::test]
    async fn right_credential_an_adopted_token_never_narrows_and_replaces_another() {
        let store = MemoryTokenStore::default();
        adopt(&store, &key(), &token("a", "wide")).await.expect("there was none");
        adopt(&store, &key(), &token("a", "narrow")).await.expect("it is there already");
        assert_eq!(store.load(&key()).await, Ok(Some(token("a", "wide"))));
        adopt(&store, &key(), &token("b", "narrow")).await.expect("it is another one");
        assert_eq!(store.load(&key()).await, Ok(Some(token("b", "narrow"))));
    }

    #[tokio::test]
    async fn right_credential_nothing_is_adopted_blindly() {
        let store = Unreadable(MemoryTokenStore::default());
        adopt(&store, &key(), &token("a", "narrow")).await.expect_err("what is stored is not known");
        assert_eq!(store.0.load(&key()).await, Ok(None));
    }
}
