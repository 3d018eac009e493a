//! A token store that hangs is named, and holds up no shutdown.

use onesocket::Client;
use onesocket::core::{
    ClientInfo, Config, ConnectionError, DeviceIdentity, Options, Secret, Stage, Status, StoredToken,
    TokenKey,
};
use onesocket::token_store::{MemoryTokenStore, StoreFuture, TokenStore};
use onesocket_gateway::{Order, RestartMode};
use tokio::time::Instant;

use crate::asked::ends;
use crate::rig::{Rig, config, secs};

/// What never returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hangs {
    Load,
    Save,
    Clear,
}

#[derive(Default)]
struct HangingStore {
    store: MemoryTokenStore,
    hangs: Option<Hangs>,
}

impl HangingStore {
    async fn passes(&self, operation: Hangs) {
        if self.hangs == Some(operation) {
            std::future::pending::<()>().await;
        }
    }
}

impl TokenStore for HangingStore {
    fn load<'a>(&'a self, key: &'a TokenKey) -> StoreFuture<'a, Option<StoredToken>> {
        Box::pin(async move {
            self.passes(Hangs::Load).await;
            self.store.load(key).await
        })
    }

    fn save<'a>(&'a self, key: &'a TokenKey, token: &'a StoredToken) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            self.passes(Hangs::Save).await;
            self.store.save(key, token).await
        })
    }

    fn clear<'a>(&'a self, key: &'a TokenKey, token: &'a Secret) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            self.passes(Hangs::Clear).await;
            self.store.clear(key, token).await
        })
    }
}

/// A device that the gateway gives a token of its own.
fn paired(config: Config) -> Config {
    let app = ClientInfo { id: "openclaw-macos".to_owned(), mode: "ui".to_owned(), ..ClientInfo::default() };
    config.client(app).device(DeviceIdentity::from_seed([7; 32]))
}

async fn names_the_store(client: &Client) {
    let mut statuses = client.watch_status();
    let is_timeout = |status: &Status| match status {
        Status::Backoff { cause, .. } => matches!(**cause, ConnectionError::Timeout { .. }),
        _ => false,
    };
    let status = ends(statuses.wait_for(is_timeout)).await;
    let Some(Status::Backoff { cause, .. }) = status else { panic!("{status:?}") };
    assert_eq!(*cause, ConnectionError::Timeout { stage: Stage::TokenStore });
    assert!(cause.to_string().contains("token store"), "{cause}");
}

async fn is_shut_down_in_time(client: &Client) {
    let begun = Instant::now();
    ends(client.shutdown()).await;
    assert!(begun.elapsed() <= Options::default().close_grace, "{:?}", begun.elapsed());
    assert_eq!(client.status(), Status::Stopped);
}

#[tokio::test(start_paused = true)]
async fn right_credential_a_store_that_never_loads_is_named() {
    let rig = Rig::new(&[1]);
    let store = HangingStore { hangs: Some(Hangs::Load), ..HangingStore::default() };
    let client = Client::builder().config(paired(config(1))).token_store(store).spawn(rig).unwrap();
    client.connect();
    names_the_store(&client).await;
    is_shut_down_in_time(&client).await;
}

/// The connection goes on; the next one has to wait for what is stored.
#[tokio::test(start_paused = true)]
async fn right_credential_a_store_that_never_saves_is_named_by_the_next_attempt() {
    let rig = Rig::new(&[1]);
    let store = HangingStore { hangs: Some(Hangs::Save), ..HangingStore::default() };
    let client = Client::builder().config(paired(config(1))).token_store(store).spawn(rig.clone()).unwrap();
    ends(client.ready()).await.unwrap();
    rig.site(1).host.order(Order::Restart { mode: RestartMode::Crash, down: secs(1) });
    names_the_store(&client).await;
    is_shut_down_in_time(&client).await;
}

#[tokio::test(start_paused = true)]
async fn stop_is_final_a_store_that_never_saves_holds_up_no_shutdown() {
    let rig = Rig::new(&[1]);
    let store = HangingStore { hangs: Some(Hangs::Save), ..HangingStore::default() };
    let client = Client::builder().config(paired(config(1))).token_store(store).spawn(rig.clone()).unwrap();
    ends(client.ready()).await.unwrap();
    is_shut_down_in_time(&client).await;
    assert_eq!(rig.count(1).live, 0);
}

#[tokio::test(start_paused = true)]
async fn stop_is_final_a_store_that_never_clears_holds_up_no_shutdown() {
    let rig = Rig::new(&[1]);
    let config = paired(Config::new("ws://127.0.0.1:1").unwrap());
    let store = HangingStore { hangs: Some(Hangs::Clear), ..HangingStore::default() };
    let key = TokenKey::new(DeviceIdentity::from_seed([7; 32]).id(), "operator", config.endpoint());
    let wrong = StoredToken { token: Secret::trimmed("wrong").unwrap(), scopes: Vec::new() };
    store.store.save(&key, &wrong).await.unwrap();
    let client = Client::builder().config(config).token_store(store).spawn(rig).unwrap();
    client.connect();
    let mut statuses = client.watch_status();
    ends(statuses.wait_for(|status| matches!(status, Status::Paused(_)))).await;
    client.resume();
    names_the_store(&client).await;
    is_shut_down_in_time(&client).await;
}
