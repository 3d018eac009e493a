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

    /// Forgets everything, also what runs.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.running = None;
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
        StoreOp::Load { epoch, key } => {
            Input::TokenLoaded { epoch, result: load(&*store, &key.by_pin()).await }
        }
        StoreOp::Save { key, token } => written("stored", save(&*store, &key, &token).await),
        StoreOp::Adopt { key, token } => written("stored", adopt(&*store, &key, &token).await),
        StoreOp::Clear { key, token } => written("cleared", clear(&*store, &key, &token).await),
    }
}

/// The token of a gateway that is known by several pins is under any of them. It is copied to the others, so that it
/// is found when there are no more than those: the token that the gateway issues again may be this one, which is
/// not stored again.
async fn load(store: &dyn TokenStore, keys: &[TokenKey]) -> Result<Option<StoredToken>, StoreError> {
    let mut without = Vec::new();
    let mut found = None;
    for key in keys {
        match store.load(key).await? {
            None => without.push(key),
            Some(token) => found = found.or(Some(token)),
        }
    }
    if let Some(token) = &found {
        for key in without {
            if let Err(error) = store.save(key, token).await {
                tracing::warn!(%error, "a device token could not be stored under another pin of its gateway");
            }
        }
    }
    Ok(found)
}

async fn save(store: &dyn TokenStore, key: &TokenKey, token: &StoredToken) -> Result<(), StoreError> {
    for key in key.by_pin() {
        store.save(&key, token).await?;
    }
    Ok(())
}

async fn clear(store: &dyn TokenStore, key: &TokenKey, token: &Secret) -> Result<(), StoreError> {
    for key in key.by_pin() {
        store.clear(&key, token).await?;
    }
    Ok(())
}

/// See [`Effect::AdoptToken`](crate::core::Effect::AdoptToken).
async fn adopt(store: &dyn TokenStore, key: &TokenKey, token: &StoredToken) -> Result<(), StoreError> {
    match load(store, &key.by_pin()).await? {
        Some(stored) if stored.token == token.token => Ok(()),
        Some(_) | None => save(store, key, token).await,
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
            Box::pin(async { Err(StoreError::new("disk")) })
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

    fn pinned(pins: &str) -> TokenKey {
        TokenKey { gateway: format!("wss://g:1/#{pins}"), ..key() }
    }

    async fn loaded(store: &MemoryTokenStore, pins: &str) -> Option<StoredToken> {
        load(store, &pinned(pins).by_pin()).await.expect("it can be read")
    }

    /// From the old pin over both to the new one: the gateway issues no other token meanwhile.
    #[tokio::test]
    async fn right_credential_a_token_survives_the_renewal_of_a_pin() {
        let store = MemoryTokenStore::default();
        save(&store, &pinned("old"), &token("a", "s")).await.expect("it can be written");
        assert_eq!(loaded(&store, "new").await, None, "it may be another gateway");
        assert_eq!(loaded(&store, "new,old").await, Some(token("a", "s")));
        assert_eq!(loaded(&store, "new").await, Some(token("a", "s")));
        assert_eq!(loaded(&store, "other").await, None);
    }

    /// What is stored under two pins may differ. What the gateway refuses gives way to the other.
    #[tokio::test]
    async fn right_credential_a_refused_token_is_forgotten_under_every_pin() {
        let store = MemoryTokenStore::default();
        save(&store, &pinned("one"), &token("stale", "s")).await.expect("it can be written");
        save(&store, &pinned("two"), &token("good", "s")).await.expect("it can be written");
        let both = pinned("one,two");
        for stored in ["stale", "good"] {
            assert_eq!(loaded(&store, "one,two").await, Some(token(stored, "s")));
            clear(&store, &both, &token(stored, "s").token).await.expect("it can be written");
        }
        for pins in ["one", "two", "one,two"] {
            assert_eq!(loaded(&store, pins).await, None, "{pins}");
        }
        save(&store, &both, &token("new", "s")).await.expect("it can be written");
        for pins in ["one", "two", "one,two"] {
            assert_eq!(loaded(&store, pins).await, Some(token("new", "s")), "{pins}");
        }
    }

    #[tokio::test]
    async fn right_credential_nothing_is_adopted_blindly() {
        let store = Unreadable(MemoryTokenStore::default());
        adopt(&store, &key(), &token("a", "narrow")).await.expect_err("what is stored is not known");
        assert_eq!(store.0.load(&key()).await, Ok(None));
    }
}
