//! The driver's errands to the token store, one after the other.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::core::{Epoch, Input, Secret, StoreError, StoredToken, TokenKey};
use crate::token_store::TokenStore;

/// Something to be done at the store.
pub(super) enum Errand {
    Load { epoch: Epoch, key: TokenKey },
    Save { key: TokenKey, token: StoredToken },
    Clear { key: TokenKey, token: Secret },
}

type Running = Pin<Box<dyn Future<Output = Input> + Send>>;

/// The queue of errands. It is as long as the core makes it: one load for each attempt and one write
/// for each hello or refusal.
pub(super) struct TokenWork {
    store: Option<Arc<dyn TokenStore>>,
    queue: VecDeque<Errand>,
    running: Option<Running>,
}

impl TokenWork {
    pub(super) fn new(store: Option<Arc<dyn TokenStore>>) -> Self {
        Self { store, queue: VecDeque::new(), running: None }
    }

    pub(super) fn add(&mut self, errand: Errand) {
        // A load that nobody waits for any more is not worth an errand.
        if let Errand::Load { .. } = errand {
            self.queue.retain(|queued| !matches!(queued, Errand::Load { .. }));
        }
        self.queue.push_back(errand);
    }

    /// The answer to the next errand.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        loop {
            if let Some(running) = &mut self.running {
                let answer = std::task::ready!(running.as_mut().poll(cx));
                self.running = None;
                return Poll::Ready(answer);
            }
            let (Some(errand), Some(store)) = (self.queue.pop_front(), &self.store) else {
                return Poll::Pending;
            };
            self.running = Some(Box::pin(run(Arc::clone(store), errand)));
        }
    }
}

async fn run(store: Arc<dyn TokenStore>, errand: Errand) -> Input {
    match errand {
        Errand::Load { epoch, key } => Input::TokenLoaded { epoch, result: store.load(&key).await },
        Errand::Save { key, token } => written("stored", store.save(&key, &token).await),
        Errand::Clear { key, token } => written("cleared", store.clear(&key, &token).await),
    }
}

/// A token that could not be written costs a pairing later, which a person should know about.
fn written(what: &str, result: Result<(), StoreError>) -> Input {
    if let Err(error) = result {
        tracing::warn!(%error, "a device token could not be {what}");
    }
    Input::TokenStored
}
