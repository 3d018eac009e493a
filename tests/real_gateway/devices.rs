//! A client that proves a device: it is issued a token and lives by it, loses it, and waits for approval.

use std::sync::Arc;

use onesocket::core::{
    Config, ConnectionError, DeviceIdentity, Epoch, GatewayError, Options, PauseReason, Push,
    RequestErrorKind, Secret, Status, StoreError, StoredToken, TokenKey,
};
use onesocket::token_store::{FileTokenStore, StoreFuture, TokenStore};
use onesocket::{Client, core::ClientInfo};
use serde_json::{Value, json};

use crate::consumer::{
    CountingNetwork, Witness, client_with, config_for, leave, quick, sockets_to, stays, within,
};
use crate::support::Gateway;

/// All checks on one gateway, each with a device of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the gateway: run tests/real_gateway/install"]
async fn a_device_lives_by_its_token() -> Result<(), Box<dyn std::error::Error>> {
    let gateway = Gateway::start(crate::support::Options::default()).await?;
    the_issued_token_is_kept_and_is_enough(&gateway).await?;
    a_wrong_shared_token_is_saved_once_by_the_device_token(&gateway).await?;
    a_rotated_token_is_forgotten_and_the_next_one_kept(&gateway).await?;
    a_removed_device_is_paired_again(&gateway).await?;
    a_better_token_of_another_process_is_not_cleared(&gateway).await?;
    a_device_token_opens_no_more_than_it_was_granted(&gateway).await?;
    a_changed_device_waits_for_its_approval(&gateway).await?;
    Ok(())
}

/// The same checks need a gateway that approves nothing by itself for one more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the gateway: run tests/real_gateway/install"]
async fn a_new_device_waits_where_nothing_is_approved_by_itself() -> Result<(), Box<dyn std::error::Error>> {
    let config = json!({"gateway": {"nodes": {"pairing": {"autoApproveLocal": false}}}});
    let gateway = Gateway::start(crate::support::Options { config, ..Default::default() }).await?;
    let device = Device::new(1, &gateway)?;
    let (client, network) = device.client(device.config().token(gateway.token()), quick());
    approved_while_paused(&gateway, &client, &network, 1, "not-paired").await;
    assert_eq!(device.stored().await?, None, "it was approved, and has not connected since");

    client.resume();
    assert_eq!(within("ready", client.ready()).await, Ok(Epoch(2)));
    assert_eq!(network.dials(), 2);
    leave(&client, gateway.port()).await;
    assert!(device.stored().await?.is_some(), "an approved device gets a token");
    Ok(())
}

async fn the_issued_token_is_kept_and_is_enough(gateway: &Gateway) -> Result<(), StoreError> {
    let device = Device::new(1, gateway)?;
    let issued = device.pair(gateway).await?;
    assert_eq!(issued.scopes, ["operator.admin"]);
    assert_ne!(issued.token.expose(), gateway.token());

    // Another run of the app, which knows no secret but the stored one.
    let (client, network) = device.client(device.config(), quick());
    let snapshot = Witness::of(&client).snapshot("the snapshot").await;
    assert_eq!((snapshot.epoch(), network.dials()), (Epoch(1), 1));
    assert_eq!(snapshot.hello.scopes, ["operator.admin"]);
    assert_eq!(snapshot.hello.device_token, Some(issued.token.clone()), "the token stays the same");
    leave(&client, gateway.port()).await;
    assert_eq!(device.stored().await?, Some(issued));

    // `gateway-client` as a backend needs no pairing, and so gets no token.
    let backend = Device::new(2, gateway)?;
    let config = backend.config().client(ClientInfo::default()).token(gateway.token());
    let (client, _) = backend.client(config, quick());
    assert_eq!(within("ready", client.ready()).await, Ok(Epoch(1)));
    leave(&client, gateway.port()).await;
    assert_eq!(backend.stored().await?, None);
    Ok(())
}

async fn a_wrong_shared_token_is_saved_once_by_the_device_token(gateway: &Gateway) -> Result<(), StoreError> {
    let device = Device::new(3, gateway)?;
    let issued = device.pair(gateway).await?;
    let wrong = || device.config().token("not-the-token-of-this-gateway");
    let (client, network) = device.client(wrong(), quick());
    let refusal = refused_for_now(&client).await;
    assert_eq!(refusal.detail_code.as_deref(), Some("AUTH_TOKEN_MISMATCH"));
    assert_eq!(within("ready", client.ready()).await, Ok(Epoch(2)), "the one retry gets through");
    assert_eq!((network.dials(), sockets_to(gateway.port()).len()), (2, 1));
    leave(&client, gateway.port()).await;
    assert_eq!(device.stored().await?, Some(issued));

    // The retry is one: with a token that is no good any more, it is the last attempt.
    let admin = Admin::at(gateway);
    admin.call("device.token.revoke", json!({"deviceId": device.id(), "role": "operator"})).await;
    let (client, network) = device.client(wrong(), quick());
    let refusal = refused_credentials(&client, &network, 2).await;
    assert_eq!(refusal.detail_code.as_deref(), Some("AUTH_DEVICE_TOKEN_MISMATCH"));
    stays("the client is paused", || is_paused(&client) && network.dials() == 2).await;
    client.resume();
    let refusal = refused_credentials(&client, &network, 3).await;
    assert_eq!(refusal.detail_code.as_deref(), Some("AUTH_TOKEN_MISMATCH"), "nothing is left to retry with");
    assert_eq!(device.stored().await?, None);
    stays("the client is paused", || is_paused(&client) && network.dials() == 3).await;
    within("the shutdown", client.shutdown()).await;
    admin.leave(gateway).await;
    Ok(())
}

async fn a_rotated_token_is_forgotten_and_the_next_one_kept(gateway: &Gateway) -> Result<(), StoreError> {
    let device = Device::new(4, gateway)?;
    let issued = device.pair(gateway).await?;
    let (client, network) = device.client(device.config(), quick());
    let mut witness = Witness::of(&client);
    witness.snapshot("the first snapshot").await;

    let admin = Admin::at(gateway);
    let rotated =
        admin.call("device.token.rotate", json!({"deviceId": device.id(), "role": "operator"})).await;
    assert_eq!(rotated["tokenDelivery"], "withheld-cross-device", "{rotated}");
    let refusal = refused_credentials(&client, &network, 2).await;
    assert_eq!(refusal.detail_code.as_deref(), Some("AUTH_DEVICE_TOKEN_MISMATCH"));
    witness.until("the pause", |push| matches!(push, Push::Status(Status::Paused(_))).then_some(())).await;
    assert_eq!(witness.closes(), [(4001, "device removed".to_owned())]);

    // Without any secret the gateway wants one; it does not ask for another pairing.
    client.resume();
    let refusal = refused_credentials(&client, &network, 3).await;
    assert_eq!(refusal.detail_code.as_deref(), Some("AUTH_TOKEN_MISSING"));
    assert_eq!(device.stored().await?, None, "the rotated token is forgotten");

    client.configure(Some(device.config().token(gateway.token()))).await.expect("the client takes configs");
    assert_eq!(within("ready", client.ready()).await, Ok(Epoch(4)));
    within("the shutdown", client.shutdown()).await;
    let next = device.stored().await?.expect("the new token is kept");
    assert_ne!(next.token, issued.token);
    admin.leave(gateway).await;
    Ok(())
}

async fn a_removed_device_is_paired_again(gateway: &Gateway) -> Result<(), StoreError> {
    let device = Device::new(5, gateway)?;
    let issued = device.pair(gateway).await?;
    // It came in with the shared token, and is closed all the same: its device is gone.
    let (client, network) = device.client(device.config().token(gateway.token()), quick());
    let mut witness = Witness::of(&client);
    witness.snapshot("the first snapshot").await;
    let admin = Admin::at(gateway);
    admin.call("device.pair.remove", json!({"deviceId": device.id()})).await;
    let second = witness.snapshot("the second snapshot").await;
    assert_eq!((second.epoch(), network.dials()), (Epoch(2), 2));
    assert_eq!(witness.closes(), [(4001, "device removed".to_owned())]);
    within("the shutdown", client.shutdown()).await;
    let next = device.stored().await?.expect("the new token is kept");
    assert_eq!(second.hello.device_token, Some(next.token.clone()));
    assert_ne!(next.token, issued.token);
    admin.leave(gateway).await;
    Ok(())
}

/// Clearing compares: what another process stored between the refusal and the clearing stays.
async fn a_better_token_of_another_process_is_not_cleared(gateway: &Gateway) -> Result<(), StoreError> {
    let device = Device::new(6, gateway)?;
    let issued = device.pair(gateway).await?;
    let overtaken = Overtaken { device: device.clone(), shared: gateway.token().to_owned() };
    let network = CountingNetwork::default();
    let client = Client::builder().config(device.config()).options(quick()).token_store(overtaken);
    let client = client.spawn(network.clone()).expect("the options are in range");
    assert_eq!(within("ready", client.ready()).await, Ok(Epoch(1)));

    let admin = Admin::at(gateway);
    admin.call("device.token.rotate", json!({"deviceId": device.id(), "role": "operator"})).await;
    let refusal = refused_credentials(&client, &network, 2).await;
    assert_eq!(refusal.detail_code.as_deref(), Some("AUTH_DEVICE_TOKEN_MISMATCH"));
    client.resume();
    assert_eq!(within("ready", client.ready()).await, Ok(Epoch(3)), "with the token of the other process");
    within("the shutdown", client.shutdown()).await;
    assert_ne!(device.stored().await?.expect("it was not cleared").token, issued.token);
    admin.leave(gateway).await;
    Ok(())
}

async fn a_device_token_opens_no_more_than_it_was_granted(gateway: &Gateway) -> Result<(), StoreError> {
    let device = Device::new(7, gateway)?;
    let reading = device.config().token(gateway.token()).scopes(["operator.read"]);
    let (client, _) = device.client(reading, quick());
    assert_eq!(within("ready", client.ready()).await, Ok(Epoch(1)));
    leave(&client, gateway.port()).await;
    let issued = device.stored().await?.expect("a token was issued");
    assert_eq!(issued.scopes, ["operator.read"]);

    let (client, network) = device.client(device.config().scopes(["operator.admin"]), quick());
    let refusal = refused_credentials(&client, &network, 1).await;
    assert_eq!(refusal.detail_code.as_deref(), Some("AUTH_SCOPE_MISMATCH"));
    assert_eq!(device.stored().await?, Some(issued.clone()), "the token is good for less");

    // Not asking for anything is asking for what was granted.
    client.configure(Some(device.config())).await.expect("the client takes configs");
    let snapshot = Witness::of(&client).snapshot("the snapshot").await;
    assert_eq!(snapshot.hello.scopes, ["operator.read"]);

    // The shared token widens the grant, and that replaces the token.
    let wider = device.config().token(gateway.token()).scopes(["operator.admin"]);
    client.configure(Some(wider)).await.expect("the client takes configs");
    assert_eq!(within("ready", client.ready()).await, Ok(Epoch(3)));
    leave(&client, gateway.port()).await;
    let next = device.stored().await?.expect("the new token is kept");
    assert_eq!(next.scopes, ["operator.admin"]);
    assert_ne!(next.token, issued.token);
    Ok(())
}

/// A device that says something else about itself than when it was approved has to be approved again,
/// even on the gateway's own machine.
async fn a_changed_device_waits_for_its_approval(gateway: &Gateway) -> Result<(), StoreError> {
    let device = Device::new(8, gateway)?;
    let issued = device.pair(gateway).await?;
    let moved = ClientInfo { platform: "another".to_owned(), ..command_line() };
    let config = device.config().client(moved).token(gateway.token());
    let (client, network) = device.client(config, quick());
    approved_while_paused(gateway, &client, &network, 1, "metadata-upgrade").await;
    assert_eq!(device.stored().await?, Some(issued.clone()));

    client.resume();
    assert_eq!(within("ready", client.ready()).await, Ok(Epoch(2)));
    assert_eq!(network.dials(), 2);
    leave(&client, gateway.port()).await;
    let next = device.stored().await?.expect("the new token is kept");
    assert_ne!(next.token, issued.token, "an approval replaces the token");
    Ok(())
}

/// Finds `client` paused over a pairing request, which the gateway reported to its operators, and approves it
/// as one of them.
async fn approved_while_paused(
    gateway: &Gateway,
    client: &Client,
    network: &CountingNetwork,
    dials: usize,
    reason: &str,
) {
    let admin = Admin::at(gateway);
    let mut witness = Witness::of(&admin.client);
    witness.snapshot("the operator's snapshot").await;
    let error = within("the refusal", client.request("health", ()).into_future()).await;
    let error = error.expect_err("the device is not approved");
    let RequestErrorKind::Paused(pause) = &error.kind else { panic!("{error}") };
    let PauseReason::Pairing { request_id: Some(request), error, .. } = &**pause else { panic!("{pause}") };
    assert_eq!(error.detail_code.as_deref(), Some("PAIRING_REQUIRED"));
    let details = error.details.as_ref().map(|details| details.decode::<Value>());
    assert_eq!(details.expect("details").expect("they are JSON")["reason"], reason);

    let is_it = |push: &Push| match push {
        Push::Event(event) if &*event.name == "device.pair.requested" => {
            Some(event.payload.decode::<Value>().expect("JSON")["requestId"].clone())
        }
        _ => None,
    };
    let announced = witness.until("the request, as announced", is_it).await;
    assert_eq!(announced, Value::from(request.as_str()));
    stays("the client is paused", || is_paused(client) && network.dials() == dials).await;
    let approved = admin.call("device.pair.approve", json!({"requestId": request})).await;
    assert_eq!(approved["requestId"], Value::from(request.as_str()));
    // An approval reaches the client through a person, not through the gateway.
    stays("the client is paused", || is_paused(client) && network.dials() == dials).await;
    admin.leave(gateway).await;
}

/// The identity that loopback trusts: it is approved at once, and gets a token.
fn command_line() -> ClientInfo {
    ClientInfo {
        id: "cli".to_owned(),
        mode: "cli".to_owned(),
        platform: "linux".to_owned(),
        ..ClientInfo::default()
    }
}

/// A device and the file that it keeps its token in.
#[derive(Clone)]
struct Device {
    identity: DeviceIdentity,
    folder: Arc<tempfile::TempDir>,
    url: String,
}

impl Device {
    fn new(seed: u8, gateway: &Gateway) -> Result<Self, StoreError> {
        let folder = tempfile::tempdir().map_err(|error| StoreError::new(error.to_string()))?;
        let identity = DeviceIdentity::from_seed([seed; 32]);
        Ok(Self { identity, folder: Arc::new(folder), url: gateway.url() })
    }

    fn id(&self) -> &str {
        self.identity.id()
    }

    /// With the device and no credentials.
    fn config(&self) -> Config {
        let config = Config::new(&self.url).expect("the gateway has a usable url");
        config.device(self.identity.clone()).client(command_line())
    }

    /// A store as a process that starts now would open it.
    fn store(&self) -> FileTokenStore {
        FileTokenStore::new(self.folder.path().join("tokens.json"))
    }

    async fn stored(&self) -> Result<Option<StoredToken>, StoreError> {
        let key = TokenKey::new(self.id(), "operator", self.config().endpoint());
        self.store().load(&key).await
    }

    fn client(&self, config: Config, options: Options) -> (Client, CountingNetwork) {
        let network = CountingNetwork::default();
        let client = Client::builder().config(config).options(options).token_store(self.store());
        (client.spawn(network.clone()).expect("the options are in range"), network)
    }

    /// Connects once with the shared token, and returns what is stored then.
    async fn pair(&self, gateway: &Gateway) -> Result<StoredToken, StoreError> {
        assert_eq!(self.stored().await?, None);
        let (client, network) = self.client(self.config().token(gateway.token()), quick());
        assert_eq!(within("ready", client.ready()).await, Ok(Epoch(1)));
        assert_eq!(network.dials(), 1);
        leave(&client, gateway.port()).await;
        Ok(self.stored().await?.expect("a token was issued and stored"))
    }
}

/// A file in which another process stores a newer token just before an older one is cleared.
struct Overtaken {
    device: Device,
    shared: String,
}

impl TokenStore for Overtaken {
    fn load<'a>(&'a self, key: &'a TokenKey) -> StoreFuture<'a, Option<StoredToken>> {
        Box::pin(async move { self.device.store().load(key).await })
    }

    fn save<'a>(&'a self, key: &'a TokenKey, token: &'a StoredToken) -> StoreFuture<'a, ()> {
        Box::pin(async move { self.device.store().save(key, token).await })
    }

    fn clear<'a>(&'a self, key: &'a TokenKey, token: &'a Secret) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let (other, _) = self.device.client(self.device.config().token(&self.shared), quick());
            within("the other process", other.ready()).await.expect("it has the shared token");
            within("the shutdown", other.shutdown()).await;
            self.device.store().clear(key, token).await
        })
    }
}

/// An operator on the gateway's machine.
struct Admin {
    client: Client,
}

impl Admin {
    fn at(gateway: &Gateway) -> Self {
        Self { client: client_with(config_for(gateway), quick()).0 }
    }

    async fn call(&self, method: &str, params: Value) -> Value {
        let answer = within(method, self.client.request(method, params).into_future()).await;
        answer.unwrap_or_else(|error| panic!("{error}")).payload.decode().expect("an answer is JSON")
    }

    /// The last one to leave, so that nothing is left behind it.
    async fn leave(self, gateway: &Gateway) {
        leave(&self.client, gateway.port()).await;
    }
}

fn is_paused(client: &Client) -> bool {
    matches!(client.status(), Status::Paused(_))
}

/// Waits until the client is paused over its credentials after that many dials.
async fn refused_credentials(client: &Client, network: &CountingNetwork, dials: usize) -> GatewayError {
    client.connect();
    let mut statuses = client.watch_status();
    let paused = within("the pause", async {
        loop {
            // A resumed client leaves its pause before it dials, so this is not an earlier one.
            if let (Status::Paused(reason), true) = (statuses.get(), network.dials() >= dials) {
                return reason;
            }
            statuses.changed().await.expect("the client lives");
        }
    });
    let reason = paused.await;
    assert_eq!(network.dials(), dials, "{reason}");
    let PauseReason::Credentials(error) = &*reason else { panic!("paused for another reason: {reason}") };
    error.clone()
}

/// Waits for the client to be between two dials, and says how the gateway refused the first.
async fn refused_for_now(client: &Client) -> GatewayError {
    client.connect();
    let mut statuses = client.watch_status();
    let waiting = within("the backoff", async {
        let status = statuses.wait_for(|status| matches!(status, Status::Backoff { .. })).await;
        status.expect("the client lives")
    });
    let Status::Backoff { cause, .. } = waiting.await else { unreachable!("it was waited for") };
    let ConnectionError::Refused(error) = &*cause else { panic!("not refused: {cause}") };
    error.clone()
}
