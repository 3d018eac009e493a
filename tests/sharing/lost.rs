//! A client that is lost without a shutdown says what ended it, to everybody and at once.

use std::future::{Future, IntoFuture, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::Stream;
use onesocket::config_source::{Changes, ConfigSource, FollowEnd, Generations, SourceError, follow};
use onesocket::core::{
    ClientInfo, Config, Delivery, DeviceIdentity, DriverEnd, DriverPart, Endpoint, Push, Secret, Status,
    StoredToken, TokenKey,
};
use onesocket::hub::HubError;
use onesocket::network::Network;
use onesocket::token_store::{MemoryTokenStore, StoreFuture, TokenStore};
use onesocket::{Client, Hub, RequestFuture, Subscription};
use onesocket_gateway::{Order, RestartMode};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::runtime::Runtime;

use crate::asked::{Asked, LastWord, ends, is_closed, is_gone, is_refused, poll_once, rest};
use crate::rig::{Counted, Rig, config, secs};

const TRIES: usize = 200;
const DROPPED: LastWord = LastWord::Lost(DriverEnd::Dropped);
const RUNTIME_GONE: LastWord = LastWord::Lost(DriverEnd::RuntimeGone);

#[tokio::test(start_paused = true)]
async fn settles_once_a_driver_that_never_runs_refuses_what_waits_for_it() {
    let rig = Rig::new(&[1]);
    let (client, driver) = Client::builder().config(config(1)).build(rig.clone()).unwrap();
    let asked = Asked::of(&client).await;
    let future = driver.run();
    drop(future);
    asked.assert_refused(&DROPPED).await;
    is_gone(&client, &DROPPED).await;
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
    is_refused(sent, Delivery::Unknown, &DROPPED).await;
    let rest = rest(pushes).await;
    assert_eq!(rest[rest.len() - 2..], [Push::Status(DROPPED.status()), Push::Closed]);
    is_gone(&client, &DROPPED).await;
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
    is_refused(queued, Delivery::NotSent, &DROPPED).await;
    is_closed(pushes).await;
    assert_eq!(ends(ready).await.unwrap(), Err(DROPPED.not_ready()));
    is_gone(&client, &DROPPED).await;
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
            let last = if attempt % 2 == 0 { LastWord::ShutDown } else { DROPPED };
            match &last {
                LastWord::ShutDown => drop(ends(client.shutdown()).await),
                LastWord::Lost(_) => driver.abort(),
            }
            let (subscriptions, requests) = ends(asking).await.unwrap();
            for pushes in subscriptions {
                is_closed(pushes).await;
            }
            for request in requests {
                is_refused(request, Delivery::NotSent, &last).await;
            }
        }
    });
}

/// The ways in which a runtime ends.
const ENDINGS: [fn(Runtime); 3] =
    [drop, Runtime::shutdown_background, |runtime| runtime.shutdown_timeout(secs(60))];

fn runtimes() -> [Runtime; 2] {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    [threads, one_thread()]
}

fn one_thread() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// What a client that is ready has under way.
struct UnderWay {
    client: Client,
    pushes: Subscription,
    sent: RequestFuture,
}

impl UnderWay {
    async fn at(client: Client) -> Self {
        let mut pushes = client.subscribe().unwrap();
        ends(client.ready()).await.unwrap();
        let is_ready = |push: &Push| matches!(push, Push::Status(Status::Ready { .. }));
        while !is_ready(&ends(pushes.next()).await.expect("it goes on")) {}
        let mut sent = client.request("test.never", ()).timeout(None).into_future();
        poll_once(&mut sent).await;
        // An answer to a later one shows that this one was sent.
        ends(client.request("test.echo", ())).await.unwrap();
        Self { client, pushes, sent }
    }

    async fn assert_lost(self, last: &LastWord) {
        let Self { client, pushes, sent } = self;
        let mut statuses = client.watch_status();
        assert_eq!(ends(statuses.wait_for(Status::is_final)).await, Some(last.status()));
        is_refused(sent, Delivery::Unknown, last).await;
        let rest = rest(pushes).await;
        assert_eq!(rest[rest.len() - 2..], [Push::Status(last.status()), Push::Closed]);
        is_gone(&client, last).await;
    }
}

/// Used from another runtime, before and after the end of its own.
#[test]
fn settles_once_a_runtime_that_ends_leaves_a_last_word() {
    for end in ENDINGS {
        for runtime in runtimes() {
            let under_way = runtime.block_on(async {
                let rig = Rig::new(&[1]);
                UnderWay::at(crate::rig::client(&rig)).await
            });
            end(runtime);
            one_thread().block_on(under_way.assert_lost(&RUNTIME_GONE));
        }
    }
}

/// Nothing of it was sent, whether or not the driver has seen it.
#[test]
fn settles_once_a_runtime_that_ends_before_there_is_a_connection_has_sent_nothing() {
    for end in ENDINGS {
        for runtime in runtimes() {
            let (client, asked) = runtime.block_on(async {
                let client = Client::builder().config(config(1)).spawn(Nowhere).unwrap();
                let asked = Asked::of_the_present_config(&client).await;
                (client, asked)
            });
            let other = one_thread();
            // Its task is one of the runtime that ends.
            asked.ready.abort();
            let ready = other.spawn({
                let client = client.clone();
                async move { client.ready().await }
            });
            end(runtime);
            other.block_on(async {
                Asked { ready, ..asked }.assert_refused(&RUNTIME_GONE).await;
                is_gone(&client, &RUNTIME_GONE).await;
            });
        }
    }
}

#[test]
fn settles_once_a_client_made_in_a_runtime_that_is_gone_says_so() {
    let runtime = one_thread();
    let handle = runtime.handle().clone();
    drop(runtime);
    let client = {
        let _inside = handle.enter();
        Client::builder().config(config(1)).spawn(Nowhere).unwrap()
    };
    one_thread().block_on(is_gone(&client, &RUNTIME_GONE));
}

/// Where code of the app can panic. The later ones do so after they have waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    Connect,
    ConnectLater,
    Read,
    Write,
    Flush,
    DropStream,
    ReadAndDropStream,
    Load,
    LoadLater,
    DropLoad,
    Save,
    SaveLater,
    Clear,
    ClearLater,
    Source,
    SourceLater,
    Changes,
}

/// A bug at one point, once it is armed. It shows once.
#[derive(Clone)]
struct Bug {
    at: Point,
    armed: Arc<AtomicBool>,
}

impl Bug {
    fn armed(at: Point) -> Self {
        let bug = Self::sleeping(at);
        bug.arm();
        bug
    }

    fn sleeping(at: Point) -> Self {
        Self { at, armed: Arc::default() }
    }

    fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    fn shows_at(&self, point: Point) {
        if self.at == point && self.armed.swap(false, Ordering::SeqCst) {
            panic!("a bug\nat {point:?}");
        }
    }

    fn last_word(&self, part: DriverPart) -> LastWord {
        LastWord::Lost(DriverEnd::Panicked { part, message: format!("a bug\\nat {:?}", self.at) })
    }
}

/// A network with a bug.
struct Buggy {
    rig: Rig,
    bug: Bug,
}

impl Network for Buggy {
    type Stream = BuggyStream;

    async fn connect(&self, endpoint: &Endpoint) -> io::Result<BuggyStream> {
        self.bug.shows_at(Point::Connect);
        let stream = self.rig.connect(endpoint).await?;
        self.bug.shows_at(Point::ConnectLater);
        Ok(BuggyStream { stream, bug: self.bug.clone() })
    }
}

struct BuggyStream {
    stream: Counted,
    bug: Bug,
}

impl AsyncRead for BuggyStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.bug.shows_at(Point::Read);
        if self.bug.at == Point::ReadAndDropStream && self.bug.armed.load(Ordering::SeqCst) {
            panic!("a bug\nat ReadAndDropStream");
        }
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for BuggyStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.bug.shows_at(Point::Write);
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.bug.shows_at(Point::Flush);
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for BuggyStream {
    fn drop(&mut self) {
        self.bug.shows_at(Point::DropStream);
        self.bug.shows_at(Point::ReadAndDropStream);
    }
}

#[tokio::test(start_paused = true)]
async fn settles_once_a_network_that_panics_in_a_dial_leaves_a_last_word() {
    for at in [Point::Connect, Point::ConnectLater] {
        let bug = Bug::armed(at);
        let last = bug.last_word(DriverPart::Network);
        let client = Client::builder().config(config(1)).spawn(Buggy { rig: Rig::new(&[1]), bug }).unwrap();
        let asked = Asked::of_the_present_config(&client).await;
        asked.assert_refused(&last).await;
        is_gone(&client, &last).await;
    }
}

#[tokio::test(start_paused = true)]
async fn settles_once_a_stream_that_panics_leaves_a_last_word() {
    let points = [Point::Read, Point::Write, Point::Flush, Point::DropStream, Point::ReadAndDropStream];
    for at in points {
        let (rig, bug) = (Rig::new(&[1]), Bug::sleeping(at));
        let last = bug.last_word(DriverPart::Network);
        let network = Buggy { rig: rig.clone(), bug: bug.clone() };
        let client = Client::builder().config(config(1)).spawn(network).unwrap();
        let under_way = UnderWay::at(client.clone()).await;
        bug.arm();
        // Something to write; or the end of the socket.
        let mut other = client.request("test.never", ()).timeout(None).into_future();
        poll_once(&mut other).await;
        if at == Point::DropStream {
            rig.site(1).host.order(Order::Restart { mode: RestartMode::Crash, down: secs(1) });
        }
        let error = ends(other).await.expect_err("nobody answers");
        assert_eq!(error.delivery, Delivery::Unknown, "{at:?}: {error}");
        under_way.assert_lost(&last).await;
        assert_eq!(rig.count(1).live, 0, "{at:?}");
    }
}

/// A shutdown ends as one, also when the socket cannot be dropped in peace.
#[tokio::test(start_paused = true)]
async fn stop_is_final_a_stream_that_panics_when_it_is_dropped_holds_up_no_shutdown() {
    let (rig, bug) = (Rig::new(&[1]), Bug::sleeping(Point::DropStream));
    let network = Buggy { rig: rig.clone(), bug: bug.clone() };
    let client = Client::builder().config(config(1)).spawn(network).unwrap();
    ends(client.ready()).await.unwrap();
    bug.arm();
    assert!(ends(client.shutdown()).await.had_socket);
    assert_eq!((client.status().is_final(), rig.count(1).live), (true, 0));
}

/// A store with a bug.
struct BuggyStore {
    store: MemoryTokenStore,
    bug: Bug,
}

/// Lets the others have a turn, as a store that works elsewhere does.
async fn later(bug: &Bug, point: Point) {
    tokio::time::sleep(secs(1)).await;
    bug.shows_at(point);
}

struct ShowsWhenDropped<'b>(&'b Bug);

impl Drop for ShowsWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.shows_at(Point::DropLoad);
    }
}

impl TokenStore for BuggyStore {
    fn load<'a>(&'a self, key: &'a TokenKey) -> StoreFuture<'a, Option<StoredToken>> {
        self.bug.shows_at(Point::Load);
        let shows = ShowsWhenDropped(&self.bug);
        Box::pin(async move {
            let _shows = shows;
            later(&self.bug, Point::LoadLater).await;
            self.store.load(key).await
        })
    }

    fn save<'a>(&'a self, key: &'a TokenKey, token: &'a StoredToken) -> StoreFuture<'a, ()> {
        self.bug.shows_at(Point::Save);
        Box::pin(async move {
            later(&self.bug, Point::SaveLater).await;
            self.store.save(key, token).await
        })
    }

    fn clear<'a>(&'a self, key: &'a TokenKey, token: &'a Secret) -> StoreFuture<'a, ()> {
        self.bug.shows_at(Point::Clear);
        Box::pin(async move {
            later(&self.bug, Point::ClearLater).await;
            self.store.clear(key, token).await
        })
    }
}

fn device() -> DeviceIdentity {
    DeviceIdentity::from_seed([7; 32])
}

#[tokio::test(start_paused = true)]
async fn settles_once_a_token_store_that_panics_leaves_a_last_word() {
    for at in [Point::Load, Point::LoadLater, Point::DropLoad] {
        let (rig, bug) = (Rig::new(&[1]), Bug::armed(at));
        let last = bug.last_word(DriverPart::TokenStore);
        let store = BuggyStore { store: MemoryTokenStore::default(), bug };
        let client =
            Client::builder().config(config(1).device(device())).token_store(store).spawn(rig.clone());
        let client = client.unwrap();
        Asked::of_the_present_config(&client).await.assert_refused(&last).await;
        is_gone(&client, &last).await;
        assert_eq!(rig.count(1).live, 0, "{at:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn settles_once_a_token_store_that_panics_when_it_keeps_a_token_leaves_a_last_word() {
    for at in [Point::Save, Point::SaveLater] {
        // The gateway pairs no backend that has the shared token.
        let app =
            ClientInfo { id: "openclaw-macos".to_owned(), mode: "ui".to_owned(), ..ClientInfo::default() };
        let config = config(1).client(app).device(device());
        let (rig, bug) = (Rig::new(&[1]), Bug::armed(at));
        let last = bug.last_word(DriverPart::TokenStore);
        let store = BuggyStore { store: MemoryTokenStore::default(), bug };
        let client = Client::builder().config(config).token_store(store).spawn(rig.clone());
        let client = client.unwrap();
        client.connect();
        let mut statuses = client.watch_status();
        assert_eq!(ends(statuses.wait_for(Status::is_final)).await, Some(last.status()), "{at:?}");
        is_gone(&client, &last).await;
    }
}

/// The gateway refuses the stored token, which is then to be cleared.
#[tokio::test(start_paused = true)]
async fn settles_once_a_token_store_that_panics_when_it_clears_a_token_leaves_a_last_word() {
    for at in [Point::Clear, Point::ClearLater] {
        let (rig, bug) = (Rig::new(&[1]), Bug::armed(at));
        let last = bug.last_word(DriverPart::TokenStore);
        let config = Config::new("ws://127.0.0.1:1").unwrap().device(device());
        let store = MemoryTokenStore::default();
        let wrong = StoredToken { token: Secret::trimmed("wrong").unwrap(), scopes: Vec::new() };
        let key = TokenKey::new(device().id(), "operator", config.endpoint());
        store.save(&key, &wrong).await.unwrap();
        let client =
            Client::builder().config(config).token_store(BuggyStore { store, bug }).spawn(rig.clone());
        let client = client.unwrap();
        client.connect();
        let mut statuses = client.watch_status();
        assert_eq!(ends(statuses.wait_for(Status::is_final)).await, Some(last.status()), "{at:?}");
        is_gone(&client, &last).await;
    }
}

/// Whoever runs the driver sees the panic, after everybody has been told.
#[tokio::test(start_paused = true)]
async fn settles_once_the_task_of_a_driver_that_panics_fails() {
    let bug = Bug::armed(Point::Connect);
    let last = bug.last_word(DriverPart::Network);
    let (client, driver) =
        Client::builder().config(config(1)).build(Buggy { rig: Rig::new(&[1]), bug }).unwrap();
    client.connect();
    let error = ends(tokio::spawn(driver.run())).await.expect_err("it panics");
    assert!(error.is_panic(), "{error}");
    is_gone(&client, &last).await;
}

/// A waker with a bug.
struct BuggyWaker;

impl Wake for BuggyWaker {
    fn wake(self: Arc<Self>) {
        panic!("a bug of the waker");
    }
}

#[tokio::test(start_paused = true)]
async fn isolated_consumers_a_waker_that_panics_keeps_nobody_from_the_last_word() {
    let (client, driver) = Client::builder().config(config(1)).build(Nowhere).unwrap();
    let driver = tokio::spawn(driver.run());
    let waker = Waker::from(Arc::new(BuggyWaker));
    let mut cx = Context::from_waker(&waker);
    let mut first = client.subscribe().unwrap();
    let mut request = client.request("test.echo", ()).timeout(None).into_future();
    assert!(Pin::new(&mut first).poll_next(&mut cx).is_pending());
    assert!(Pin::new(&mut request).poll(&mut cx).is_pending());
    let asked = Asked::of_the_present_config(&client).await;
    driver.abort();
    asked.assert_refused(&DROPPED).await;
    is_closed(first).await;
    is_gone(&client, &DROPPED).await;
}

#[tokio::test(start_paused = true)]
async fn one_socket_a_hub_replaces_a_client_that_was_lost() {
    for at in [Point::Connect, Point::ConnectLater, Point::Read, Point::Write, Point::DropStream] {
        let (rig, bug) = (Rig::new(&[1]), Bug::sleeping(at));
        let last = bug.last_word(DriverPart::Network);
        let hub = Hub::new(Buggy { rig: rig.clone(), bug: bug.clone() });
        let old = hub.client(config(1)).unwrap();
        bug.arm();
        old.connect();
        if at == Point::DropStream {
            ends(old.ready()).await.unwrap();
            rig.site(1).host.order(Order::Restart { mode: RestartMode::Crash, down: secs(1) });
        }
        let mut statuses = old.watch_status();
        assert_eq!(ends(statuses.wait_for(Status::is_final)).await, Some(last.status()), "{at:?}");
        let new = hub.client(config(1)).unwrap();
        ends(new.ready()).await.expect("another client");
        is_lost_in_hub(&old, &last).await;
        assert_eq!((rig.count(1).live, rig.count(1).peak, hub.len()), (1, 1, 1), "{at:?}");
        ends(hub.shutdown()).await;
    }
}

/// Its config cannot be changed anyway.
async fn is_lost_in_hub(client: &Client, last: &LastWord) {
    assert_eq!(client.status(), last.status());
    assert_eq!(ends(client.ready()).await, Err(last.not_ready()));
    assert!(ends(client.configure(Some(config(1)))).await.is_err());
    is_refused(client.request("test.echo", ()).into_future(), Delivery::NotSent, last).await;
}

/// As with a hub in a static, and tests that have a runtime each.
#[test]
fn one_socket_a_hub_moves_to_the_runtime_of_its_caller_when_its_own_is_gone() {
    let first = one_thread();
    let (hub, old, rig) = first.block_on(async {
        let rig = Rig::new(&[1]);
        let network = Moving(Arc::new(Mutex::new(rig.clone())));
        let hub = Hub::new(network.clone());
        let client = hub.client(config(1)).unwrap();
        ends(client.ready()).await.unwrap();
        (hub, client, network)
    });
    drop(first);
    assert_eq!((hub.len(), hub.client(config(1)).unwrap_err()), (0, HubError::RuntimeGone));
    for runtime in runtimes() {
        runtime.block_on(async {
            *rig.0.lock().unwrap() = Rig::new(&[1]);
            let new = hub.client(config(1)).unwrap();
            ends(new.ready()).await.expect("another client");
            assert_eq!(hub.len(), 1);
            is_lost_in_hub(&old, &RUNTIME_GONE).await;
        });
    }
    let runtime = one_thread();
    let report = runtime.block_on(async { ends(hub.shutdown()).await });
    assert_eq!(report.connections, 0, "nothing is left of it");
}

/// A network whose gateways live in the runtime of the moment.
#[derive(Clone)]
struct Moving(Arc<Mutex<Rig>>);

impl Network for Moving {
    type Stream = Counted;

    async fn connect(&self, endpoint: &Endpoint) -> io::Result<Counted> {
        let rig = self.0.lock().unwrap().clone();
        rig.connect(endpoint).await
    }
}

/// A source of the config of port 1, with a bug.
struct BuggySource {
    generations: Arc<Generations>,
    bug: Bug,
}

impl ConfigSource for BuggySource {
    fn current(&self) -> impl Future<Output = Result<Option<Config>, SourceError>> + Send {
        self.bug.shows_at(Point::Source);
        async {
            tokio::task::yield_now().await;
            self.bug.shows_at(Point::SourceLater);
            Ok(Some(config(1)))
        }
    }

    fn changes(&self) -> Changes {
        self.bug.shows_at(Point::Changes);
        self.generations.changes()
    }
}

#[tokio::test(start_paused = true)]
async fn no_wedge_a_source_that_panics_costs_one_answer() {
    for at in [Point::Source, Point::SourceLater] {
        let rig = Rig::new(&[1, 2]);
        let client = Client::builder().config(config(2)).spawn(rig.clone()).unwrap();
        let generations = Arc::new(Generations::new());
        let bug = Bug::armed(at);
        let follow = follow(&client, BuggySource { generations: Arc::clone(&generations), bug }).unwrap();
        let mut progress = follow.progress();
        let follow = tokio::spawn(follow.run());
        let followed = ends(progress.wait_for(|followed| followed.answers == 1)).await.unwrap().clone();
        let message = format!("a bug\\nat {at:?}");
        assert_eq!(followed.error, Some(SourceError::Panicked(message.into())));
        ends(client.ready()).await.expect("the config of before is in force");
        assert_eq!((rig.count(1).ever, rig.count(2).ever), (0, 1));

        generations.announce();
        let followed = ends(progress.wait_for(|followed| followed.answers == 2)).await.unwrap().clone();
        assert_eq!(followed.error, None);
        ends(client.ready()).await.unwrap();
        assert_eq!((rig.count(1).ever, rig.count(2).live), (1, 0));
        ends(client.shutdown()).await;
        assert_eq!(ends(follow).await.unwrap(), FollowEnd::Client);
        assert_eq!(progress.borrow().end, Some(FollowEnd::Client));
    }
}

#[tokio::test(start_paused = true)]
async fn no_wedge_a_source_that_panics_before_it_announces_anything_is_gone() {
    let rig = Rig::new(&[1, 2]);
    let client = Client::builder().config(config(2)).spawn(rig).unwrap();
    let bug = Bug::armed(Point::Changes);
    let follow = follow(&client, BuggySource { generations: Arc::default(), bug }).unwrap();
    let progress = follow.progress();
    assert_eq!(ends(follow.run()).await, FollowEnd::Source);
    let followed = progress.borrow().clone();
    assert_eq!(followed.error, Some(SourceError::Panicked("a bug\\nat Changes".into())));
    assert_eq!((followed.answers, followed.end), (0, Some(FollowEnd::Source)));
    ends(client.ready()).await.expect("the config of before is in force");
}

/// A network without anybody in it.
struct Nowhere;

impl Network for Nowhere {
    type Stream = DuplexStream;

    async fn connect(&self, _: &Endpoint) -> io::Result<DuplexStream> {
        std::future::pending().await
    }
}
