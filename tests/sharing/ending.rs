//! Whatever is asked of a client while it ends, or afterwards, gets a last word, however it ends.

use std::future::{Future, IntoFuture, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use onesocket::core::{Delivery, DeviceIdentity, Endpoint, Push, RequestErrorKind, Secret, Status};
use onesocket::core::{StoredToken, TokenKey};
use onesocket::network::Network;
use onesocket::token_store::{StoreFuture, TokenStore};
use onesocket::{Client, ConfigureError, Hub, NotReady, RequestFuture, Subscription};
use onesocket_gateway::Order;
use serde_json::json;
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::rig::{Rig, config, secs};

/// Far beyond every bound of the client: what has not ended by then waits for ever.
const FOR_EVER: Duration = Duration::from_secs(120);
const TRIES: usize = 200;

/// One of everything that one can wait for, asked for by polling it once.
struct Asked {
    pushes: Subscription,
    request: RequestFuture,
    configured: JoinHandle<Result<(), ConfigureError>>,
    ready: JoinHandle<Result<onesocket::core::Epoch, NotReady>>,
}

impl Asked {
    async fn of(client: &Client) -> Self {
        let other = client.clone();
        let configured = tokio::spawn(async move { other.configure(Some(config(2))).await });
        Self { configured, ..Self::of_the_present_config(client).await }
    }

    /// Without another config, which would put an end to the dial to this one.
    async fn of_the_present_config(client: &Client) -> Self {
        let pushes = client.subscribe().unwrap();
        let mut request = client.request("test.echo", json!(1)).timeout(None).into_future();
        poll_once(&mut request).await;
        let configured = tokio::spawn(async { Err(ConfigureError::ShutDown) });
        let ready = tokio::spawn({
            let client = client.clone();
            async move { client.ready().await }
        });
        Self { pushes, request, configured, ready }
    }

    /// The last words of a client that never took any of it.
    async fn assert_refused(self) {
        let Self { pushes, request, configured, ready } = self;
        is_closed(pushes).await;
        is_lost(request, Delivery::NotSent).await;
        assert_eq!(ends(configured).await.unwrap(), Err(ConfigureError::ShutDown));
        assert_eq!(ends(ready).await.unwrap(), Err(NotReady::ShutDown));
    }
}

async fn poll_once(future: &mut (impl Future + Unpin)) {
    let is_pending = poll_fn(|cx| Poll::Ready(pin!(&mut *future).poll(cx).is_pending())).await;
    assert!(is_pending, "it ends at once");
}

async fn ends<F: IntoFuture>(future: F) -> F::Output {
    timeout(FOR_EVER, future).await.expect("it ends")
}

async fn is_closed(mut pushes: Subscription) {
    let mut last = None;
    while let Some(push) = ends(pushes.next()).await {
        last = Some(push);
    }
    assert_eq!(last, Some(Push::Closed));
}

async fn is_lost(request: RequestFuture, delivery: Delivery) {
    let error = ends(request).await.expect_err("nobody answers");
    assert_eq!((&error.kind, error.delivery), (&RequestErrorKind::ShutDown, delivery), "{error}");
}

/// A client that is gone says so, and refuses everything.
async fn is_gone(client: &Client) {
    assert_eq!(client.status(), Status::Stopped);
    assert_eq!(ends(client.ready()).await, Err(NotReady::ShutDown));
    assert_eq!(ends(client.configure(None)).await, Err(ConfigureError::ShutDown));
    is_closed(client.subscribe().unwrap()).await;
    is_lost(client.request("test.echo", ()).into_future(), Delivery::NotSent).await;
    let mut statuses = client.watch_status();
    assert_eq!(ends(statuses.changed()).await, None);
    ends(client.shutdown()).await;
}

/// Begins a shutdown and asks for everything before the driver has heard of it.
async fn ask_while_it_shuts_down(client: &Client) -> Asked {
    let mut shutdown = Box::pin(client.shutdown());
    poll_once(&mut shutdown).await;
    let asked = Asked::of(client).await;
    drop(shutdown);
    asked
}

fn client(rig: &Rig) -> Client {
    Client::builder().config(config(1)).seed(7).spawn(rig.clone()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn stop_is_final_what_is_asked_behind_a_shutdown_from_idle_is_refused() {
    let rig = Rig::new(&[1]);
    let client = client(&rig);
    ask_while_it_shuts_down(&client).await.assert_refused().await;
    is_gone(&client).await;
    assert_eq!(rig.count(1).ever, 0);
}

#[tokio::test(start_paused = true)]
async fn stop_is_final_what_is_asked_behind_a_shutdown_in_a_backoff_is_refused() {
    let rig = Rig::new(&[1]);
    rig.site(1).host.order(Order::Stop);
    let client = client(&rig);
    client.connect();
    let mut statuses = client.watch_status();
    ends(statuses.wait_for(|status| matches!(status, Status::Backoff { .. }))).await;
    ask_while_it_shuts_down(&client).await.assert_refused().await;
    is_gone(&client).await;
}

#[tokio::test(start_paused = true)]
async fn stop_is_final_what_is_asked_behind_a_shutdown_of_a_live_socket_ends() {
    let rig = Rig::new(&[1]);
    let client = client(&rig);
    client.ready().await.unwrap();
    let Asked { pushes, request, configured, ready } = ask_while_it_shuts_down(&client).await;
    is_closed(pushes).await;
    is_lost(request, Delivery::NotSent).await;
    assert_eq!(ends(ready).await.unwrap(), Err(NotReady::ShutDown));
    // The driver takes it, or is gone before.
    let _ = ends(configured).await.unwrap();
    is_gone(&client).await;
}

#[tokio::test(start_paused = true)]
async fn stop_is_final_what_is_asked_of_a_hub_client_behind_its_shutdown_is_refused() {
    let rig = Rig::new(&[1]);
    let hub = Hub::new(rig.clone());
    let client = hub.client(config(1)).unwrap();
    let mut shutdown = Box::pin(client.shutdown());
    poll_once(&mut shutdown).await;
    let pushes = client.subscribe().unwrap();
    let mut request = client.request("test.echo", ()).into_future();
    poll_once(&mut request).await;
    is_closed(pushes).await;
    is_lost(request, Delivery::NotSent).await;
    ends(shutdown).await;
    is_gone_from_hub(&hub, &client).await;
}

/// The hub gives out a client that works instead.
async fn is_gone_from_hub(hub: &Hub<Rig>, client: &Client) {
    assert_eq!(client.status(), Status::Stopped);
    let next = hub.client(config(1)).unwrap();
    ends(next.ready()).await.expect("a new client");
    ends(hub.shutdown()).await;
}

#[tokio::test(start_paused = true)]
async fn settles_once_a_driver_that_never_runs_refuses_what_waits_for_it() {
    let rig = Rig::new(&[1]);
    let (client, driver) = Client::builder().config(config(1)).build(rig.clone()).unwrap();
    let asked = Asked::of(&client).await;
    let future = driver.run();
    drop(future);
    asked.assert_refused().await;
    is_gone(&client).await;
}

/// What was sent is unknown; what waited for a connection was not sent.
#[tokio::test(start_paused = true)]
async fn settles_once_a_driver_that_is_dropped_says_what_was_sent() {
    let rig = Rig::new(&[1]);
    let (client, driver) = Client::builder().config(config(1)).build(rig.clone()).unwrap();
    let driver = tokio::spawn(driver.run());
    let pushes = client.subscribe().unwrap();
    client.ready().await.unwrap();
    let mut sent = client.request("test.never", ()).timeout(None).into_future();
    poll_once(&mut sent).await;
    tokio::time::sleep(secs(1)).await;
    driver.abort();
    is_lost(sent, Delivery::Unknown).await;
    is_closed(pushes).await;
    is_gone(&client).await;
}

#[tokio::test(start_paused = true)]
async fn settles_once_a_driver_that_is_dropped_in_a_backoff_has_sent_nothing() {
    let rig = Rig::new(&[1]);
    rig.site(1).host.order(Order::Stop);
    let (client, driver) = Client::builder().config(config(1)).build(rig.clone()).unwrap();
    let driver = tokio::spawn(driver.run());
    let pushes = client.subscribe().unwrap();
    let mut queued = client.request("test.echo", ()).timeout(None).into_future();
    poll_once(&mut queued).await;
    let mut statuses = client.watch_status();
    ends(statuses.wait_for(|status| matches!(status, Status::Backoff { .. }))).await;
    let ready = tokio::spawn({
        let client = client.clone();
        async move { client.ready().await }
    });
    tokio::task::yield_now().await;
    driver.abort();
    is_lost(queued, Delivery::NotSent).await;
    is_closed(pushes).await;
    assert_eq!(ends(ready).await.unwrap(), Err(NotReady::ShutDown));
    is_gone(&client).await;
}

/// Whoever pushes an order while the queue closes is answered as well.
#[test]
fn settles_once_orders_that_race_with_the_end_are_answered() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        for attempt in 0..TRIES {
            let (client, driver) = Client::builder().config(config(1)).build(Nowhere).unwrap();
            let driver = tokio::spawn(driver.run());
            let asking = tokio::spawn({
                let client = client.clone();
                async move {
                    let mut subscriptions = Vec::new();
                    let mut requests = Vec::new();
                    for _ in 0..8 {
                        subscriptions.push(client.subscribe().unwrap());
                        let mut request = client.request("test.echo", ()).timeout(None).into_future();
                        // It may have been refused by now; then it is asked no more.
                        let polled = poll_fn(|cx| Poll::Ready(pin!(&mut request).poll(cx))).await;
                        match polled {
                            Poll::Pending => requests.push(request),
                            Poll::Ready(answer) => {
                                assert_eq!(answer.unwrap_err().delivery, Delivery::NotSent);
                            }
                        }
                    }
                    (subscriptions, requests)
                }
            });
            if attempt % 2 == 0 {
                ends(client.shutdown()).await;
            } else {
                driver.abort();
            }
            let (subscriptions, requests) = ends(asking).await.unwrap();
            for pushes in subscriptions {
                is_closed(pushes).await;
            }
            for request in requests {
                is_lost(request, Delivery::NotSent).await;
            }
        }
    });
}

#[tokio::test(start_paused = true)]
async fn settles_once_a_network_that_panics_leaves_a_last_word() {
    let client = Client::builder().config(config(1)).spawn(Panics).unwrap();
    let asked = Asked::of_the_present_config(&client).await;
    asked.assert_refused().await;
    is_gone(&client).await;
}

#[tokio::test(start_paused = true)]
async fn settles_once_a_token_store_that_panics_leaves_a_last_word() {
    let rig = Rig::new(&[1]);
    let config = config(1).device(DeviceIdentity::from_seed([7; 32]));
    let client = Client::builder().config(config).token_store(Panics).spawn(rig.clone()).unwrap();
    let asked = Asked::of_the_present_config(&client).await;
    asked.assert_refused().await;
    is_gone(&client).await;
}

/// A network without anybody in it.
struct Nowhere;

impl Network for Nowhere {
    type Stream = DuplexStream;

    async fn connect(&self, _: &Endpoint) -> io::Result<DuplexStream> {
        std::future::pending().await
    }
}

/// A network, and a store, with a bug.
struct Panics;

impl Network for Panics {
    type Stream = DuplexStream;

    async fn connect(&self, endpoint: &Endpoint) -> io::Result<DuplexStream> {
        panic!("a bug of the network to {endpoint}");
    }
}

impl TokenStore for Panics {
    fn load<'a>(&'a self, key: &'a TokenKey) -> StoreFuture<'a, Option<StoredToken>> {
        panic!("a bug of the store at {key:?}");
    }

    fn save<'a>(&'a self, key: &'a TokenKey, _: &'a StoredToken) -> StoreFuture<'a, ()> {
        panic!("a bug of the store at {key:?}");
    }

    fn clear<'a>(&'a self, key: &'a TokenKey, _: &'a Secret) -> StoreFuture<'a, ()> {
        panic!("a bug of the store at {key:?}");
    }
}
