//! One connection for each effective config, however and wherever it is acquired.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use onesocket::core::{
    Config, ConnectionError, Delivery, DialError, DriverEnd, Endpoint, Push, RequestErrorKind, Status,
};
use onesocket::hub::{Hub, HubError};
use onesocket::network::Network;
use onesocket::{ConfigureError, NotReady};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;
use tokio::io::DuplexStream;
use tokio::time::{Instant, sleep, timeout};

use crate::rig::{Count, Rig, config, ms, secs};

/// A hub, and gateways at these ports.
fn gateways(ports: &[u16]) -> (Rig, Hub<Rig>) {
    let rig = Rig::new(ports);
    let hub = Hub::new(rig.clone());
    (rig, hub)
}

/// A client whose socket outlives it, because the gateway answers nothing any more.
async fn drop_with_a_socket_that_stays(hub: &Hub<Rig>, rig: &Rig) {
    let client = hub.client(config(1)).unwrap();
    client.ready().await.unwrap();
    rig.site(1).link.hold();
    drop(client);
}

/// Once every handle is gone, nothing may be left: no entry, no socket on either side.
async fn assert_nothing_left(hub: &Hub<Rig>, rig: &Rig, port: u16) {
    sleep(secs(2)).await;
    assert_eq!((hub.len(), rig.count(port).live, rig.seen_by_gateway(port)), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn one_socket_two_acquisitions_in_one_poll_share_it() {
    let (rig, hub) = gateways(&[1]);
    // Nothing is awaited between the two: both happen in one poll of this task (B08).
    let (one, other) = (hub.client(config(1)).unwrap(), hub.client(config(1)).unwrap());
    let (first, second) = tokio::join!(one.ready(), other.ready());
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!(rig.count(1), Count { live: 1, peak: 1, ever: 1 });
    assert_eq!(hub.len(), 1);
    drop(one);
    sleep(secs(60)).await;
    assert_eq!(rig.seen_by_gateway(1), 1, "the other handle still holds it");
    drop(other);
    assert_nothing_left(&hub, &rig, 1).await;
}

/// Whoever spells a config otherwise shares the socket of those who asked before.
#[tokio::test(start_paused = true)]
async fn one_socket_spellings_of_one_config_share_it() {
    let (rig, hub) = gateways(&[1]);
    let spelled =
        |scopes: &[&str], caps: &[&str]| config(1).scopes(scopes.iter().copied()).caps(caps.iter().copied());
    let first = hub.client(spelled(&["operator.read", "operator.write"], &["a", "b"])).unwrap();
    first.ready().await.unwrap();
    let others = [
        spelled(&["operator.write", "operator.read"], &["b", "a"]),
        spelled(&["operator.read", "operator.write", "operator.read"], &["b", "a", "a", "b"]),
    ];
    for other in others {
        hub.client(other).unwrap().ready().await.unwrap();
        assert_eq!((rig.count(1).ever, hub.len()), (1, 1));
    }
    drop(hub.client(spelled(&["operator.read"], &["a", "b"])).unwrap());
    assert_eq!(hub.len(), 2, "fewer scopes are another config");
    hub.shutdown().await;
}

proptest! {
    /// Neither order nor repetition makes another config, and a name more or less does.
    #[test]
    fn one_socket_configs_are_equal_by_what_they_mean(
        names in vec("[a-c]{1,2}", 1..6),
        (given, spelled) in vec("[a-c]{1,2}", 1..6).prop_flat_map(|names| {
            let twice = [names.clone(), names.clone()].concat();
            (Just(names), Just(twice).prop_shuffle())
        }),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let hub = Hub::new(Rig::new(&[]));
        let is_one = |one: &Config, other: &Config| {
            let equal = one == other;
            assert_eq!(equal, hub.fingerprint(one) == hub.fingerprint(other));
            equal
        };
        let (scopes, caps) = (|names: &[String]| config(1).scopes(names), |names: &[String]| config(1).caps(names));
        prop_assert!(is_one(&scopes(&given), &scopes(&spelled)));
        prop_assert!(is_one(&caps(&given), &caps(&spelled)));
        prop_assert!(!is_one(&scopes(&given), &caps(&given)));
        let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
        prop_assert_eq!(is_one(&scopes(&given), &scopes(&names)), set(&given) == set(&names));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_socket_threads_without_a_runtime_share_it() {
    let (rig, hub) = gateways(&[1]);
    let barrier = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (hub, barrier) = (hub.clone(), Arc::clone(&barrier));
            std::thread::spawn(move || {
                barrier.wait();
                hub.client(config(1)).unwrap()
            })
        })
        .collect();
    let clients = tokio::task::spawn_blocking(|| {
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let clients = clients.await.unwrap();
    for client in &clients {
        timeout(secs(30), client.ready()).await.unwrap().unwrap();
    }
    assert_eq!((rig.count(1).peak, rig.count(1).ever, hub.len()), (1, 1, 1));
    assert_eq!(hub.shutdown().await.connections, 1);
    assert_eq!((rig.count(1).live, hub.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn one_socket_different_configs_have_one_each() {
    let (rig, hub) = gateways(&[1, 2]);
    let configs = [config(1), config(2), config(1).scopes(["operator.read"])];
    let clients = configs.map(|config| hub.client(config).unwrap());
    for client in &clients {
        client.ready().await.unwrap();
    }
    assert_eq!((hub.len(), rig.count(1).live, rig.count(2).live), (3, 2, 1));
    hub.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn one_socket_a_new_client_waits_for_the_old_socket_to_be_gone() {
    let (rig, hub) = gateways(&[1]);
    // The gateway does not answer our close frame, so the old socket stays for all of its grace.
    drop_with_a_socket_that_stays(&hub, &rig).await;
    let start = Instant::now();
    let second = hub.client(config(1)).unwrap();
    second.connect();
    sleep(ms(499)).await;
    assert_eq!(rig.count(1), Count { live: 1, peak: 1, ever: 1 });
    rig.site(1).link.release();
    timeout(secs(10), second.ready()).await.unwrap().unwrap();
    assert!(start.elapsed() < secs(1), "{:?}", start.elapsed());
    assert_eq!(rig.count(1), Count { live: 1, peak: 1, ever: 2 });
    drop(second);
    assert_nothing_left(&hub, &rig, 1).await;
}

/// A client that came and went while an older one was closing must not take the place with it (B13).
#[tokio::test(start_paused = true)]
async fn one_socket_a_client_that_ends_first_frees_nothing_of_an_older_one() {
    let (rig, hub) = gateways(&[1]);
    drop_with_a_socket_that_stays(&hub, &rig).await;
    sleep(ms(10)).await;
    for _ in 0..3 {
        let passing = hub.client(config(1)).unwrap();
        passing.connect();
        sleep(ms(10)).await;
        drop(passing);
        sleep(ms(10)).await;
    }
    let last = hub.client(config(1)).unwrap();
    last.connect();
    sleep(ms(10)).await;
    assert_eq!(rig.count(1), Count { live: 1, peak: 1, ever: 1 });
    rig.site(1).link.release();
    timeout(secs(10), last.ready()).await.unwrap().unwrap();
    assert_eq!(rig.count(1), Count { live: 1, peak: 1, ever: 2 });
    drop(last);
    assert_nothing_left(&hub, &rig, 1).await;
}

#[tokio::test(start_paused = true)]
async fn one_socket_dropping_and_acquiring_in_one_poll_never_overlaps() {
    let (rig, hub) = gateways(&[1]);
    let mut client = hub.client(config(1)).unwrap();
    for round in 0..50 {
        client.connect();
        // In other phases of the connection each time: dialing, handshaking, ready.
        sleep(ms(round % 25)).await;
        drop(client);
        client = hub.client(config(1)).unwrap();
    }
    timeout(secs(30), client.ready()).await.unwrap().unwrap();
    assert_eq!((rig.count(1).live, rig.count(1).peak, hub.len()), (1, 1, 1));
    drop(client);
    assert_nothing_left(&hub, &rig, 1).await;
}

#[tokio::test(start_paused = true)]
async fn isolated_consumers_subscriptions_and_requests_hold_the_connection() {
    let (rig, hub) = gateways(&[1]);
    let client = hub.client(config(1)).unwrap();
    let mut pushes = client.subscribe().unwrap();
    let request = client.request("test.echo", json!(1));
    drop(client);
    assert_eq!(request.await.unwrap().payload.get(), "1");
    assert!(matches!(pushes.next().await, Some(Push::Snapshot(_))));
    sleep(secs(60)).await;
    assert_eq!((hub.len(), rig.seen_by_gateway(1)), (1, 1));
    drop(pushes);
    assert_nothing_left(&hub, &rig, 1).await;
}

#[tokio::test(start_paused = true)]
async fn one_reconnect_per_change_nobody_changes_a_shared_config() {
    let (rig, hub) = gateways(&[1, 2]);
    let (one, other) = (hub.client(config(1)).unwrap(), hub.client(config(1)).unwrap());
    let epoch = one.ready().await.unwrap();
    assert_eq!(one.configure(Some(config(2))).await, Err(ConfigureError::Shared));
    assert_eq!(one.configure(None).await, Err(ConfigureError::Shared));
    assert_eq!(one.configure(Some(config(1))).await, Ok(()), "an equal config is a no-op");
    assert_eq!(other.ready().await, Ok(epoch));

    // The way to change: take another, drop this one.
    let moved = hub.client(config(2)).unwrap();
    drop((one, other));
    moved.ready().await.unwrap();
    sleep(secs(2)).await;
    assert_eq!((hub.len(), rig.count(1).live, rig.count(2)), (1, 0, Count { live: 1, peak: 1, ever: 1 }));
    hub.shutdown().await;
}

/// Back to the first config while its socket is still closing.
#[tokio::test(start_paused = true)]
async fn one_reconnect_per_change_there_and_back_while_closing() {
    let (rig, hub) = gateways(&[1, 2]);
    let mut client = hub.client(config(1)).unwrap();
    client.ready().await.unwrap();
    rig.site(1).link.hold();
    for port in [2, 1, 2, 1] {
        let next = hub.client(config(port)).unwrap();
        next.connect();
        client = next;
    }
    assert_eq!(rig.count(1).ever, 1);
    sleep(ms(100)).await;
    rig.site(1).link.release();
    timeout(secs(10), client.ready()).await.unwrap().unwrap();
    assert_eq!(rig.count(1), Count { live: 1, peak: 1, ever: 2 });
    sleep(secs(2)).await;
    assert_eq!((hub.len(), rig.count(2).live), (1, 0));
    hub.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn stop_is_final_one_shutdown_ends_it_for_all_and_the_next_caller_gets_a_new_one() {
    let (rig, hub) = gateways(&[1]);
    let (one, other) = (hub.client(config(1)).unwrap(), hub.client(config(1)).unwrap());
    one.ready().await.unwrap();
    let ending = tokio::spawn(async move { one.shutdown().await });
    tokio::task::yield_now().await;
    let fresh = hub.client(config(1)).unwrap();
    timeout(secs(10), fresh.ready()).await.unwrap().unwrap();
    assert!(ending.await.unwrap().had_socket);
    assert_eq!(other.ready().await, Err(NotReady::ShutDown));
    assert_eq!(other.configure(Some(config(1))).await, Ok(()));
    assert_eq!(rig.count(1), Count { live: 1, peak: 1, ever: 2 });
    // The handle of the dead client holds nothing.
    drop(fresh);
    assert_nothing_left(&hub, &rig, 1).await;
    drop(other);
}

#[tokio::test(start_paused = true)]
async fn stop_is_final_a_hub_shuts_everything_down_once() {
    let (rig, hub) = gateways(&[1, 2, 3]);
    let clients = [1, 2, 3].map(|port| hub.client(config(port)).unwrap());
    clients[0].ready().await.unwrap();
    clients[1].ready().await.unwrap();
    let _pushes = clients[1].subscribe().unwrap();
    // Their gateways answer no close frame, and one connection has lost its last handle already.
    rig.site(1).link.hold();
    rig.site(2).link.partition();
    let pending = tokio::spawn({
        let client = clients[1].clone();
        async move { client.request("test.echo", json!(1)).await }
    });
    tokio::task::yield_now().await;
    let [first, second, third] = clients;
    drop(first);
    let start = Instant::now();
    let (report, again) = tokio::join!(hub.shutdown(), hub.shutdown());
    assert!(start.elapsed() <= ms(501), "they close side by side: {:?}", start.elapsed());
    assert_eq!((report.connections, report.sockets), (3, 2));
    assert_eq!((report.failed_requests, report.closed_subscriptions), (1, 1));
    assert_eq!((again, hub.shutdown().await), (report, report));
    assert_eq!((hub.len(), rig.count(1).live, rig.count(2).live), (0, 0, 0));
    assert!(hub.is_empty());
    let failed = pending.await.unwrap().unwrap_err();
    assert_eq!((failed.kind, failed.delivery), (RequestErrorKind::ShutDown, Delivery::Unknown));
    assert_eq!(hub.client(config(3)).unwrap_err(), HubError::ShutDown);
    assert_eq!((second.status(), third.status()), (Status::Stopped, Status::Stopped));
    sleep(secs(3600)).await;
    assert_eq!(rig.count(3).ever, 0, "what was never wanted never dialed");
}

#[tokio::test(start_paused = true)]
async fn stop_is_final_a_shutdown_goes_on_without_its_caller() {
    let (rig, hub) = gateways(&[1]);
    let client = hub.client(config(1)).unwrap();
    client.ready().await.unwrap();
    // Polled once and dropped.
    let _ = timeout(ms(0), hub.shutdown()).await;
    sleep(secs(1)).await;
    assert_eq!(client.ready().await, Err(NotReady::ShutDown));
    assert_eq!((hub.len(), rig.count(1).live), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn stop_is_final_an_empty_hub_ends_at_once() {
    let hub = Hub::new(Rig::new(&[1]));
    drop(hub.client(config(1)).unwrap());
    let start = Instant::now();
    assert_eq!(hub.shutdown().await.sockets, 0);
    assert_eq!(start.elapsed(), ms(0));
}

/// A driver that vanishes with its runtime leaves no entry behind.
#[test]
fn no_wedge_a_runtime_that_ends_frees_its_entries() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let hub = first.block_on(async { Hub::new(Rig::new(&[1])) });
    let client = hub.client(config(1)).unwrap();
    drop(first);
    assert_eq!(hub.len(), 0);
    let report = runtime().block_on(async {
        assert_eq!(client.ready().await, Err(NotReady::Lost(Arc::new(DriverEnd::RuntimeGone))));
        hub.shutdown().await
    });
    assert_eq!(report.connections, 0);
}

#[tokio::test(start_paused = true)]
async fn right_credential_a_hub_shows_no_secret() {
    let hub = Hub::new(Rig::new(&[1]));
    let secret = Config::new("ws://127.0.0.1:1").unwrap().token("sesame").password("mellon");
    let client = hub.client(secret.clone()).unwrap();
    let shown = format!("{hub:?} {client:?} {:?}", hub.fingerprint(&secret));
    assert!(!shown.contains("sesame") && !shown.contains("mellon"), "{shown}");
    assert!(shown.contains(&hub.fingerprint(&secret).to_string()), "{shown}");
}

/// A network that knows what it waits for, and in how little time.
struct Knows;

impl Network for Knows {
    type Stream = DuplexStream;

    async fn connect(&self, _: &Endpoint) -> io::Result<DuplexStream> {
        std::future::pending().await
    }

    async fn connect_within(&self, _: &Endpoint, limit: Duration) -> io::Result<DuplexStream> {
        sleep(limit).await;
        Err(io::Error::other(DialError::Unreachable))
    }
}

/// What a network says when the time for a dial is up is said through a hub as well.
#[tokio::test(start_paused = true)]
async fn no_wedge_a_dial_that_takes_too_long_says_why() {
    let hub = Hub::new(Knows);
    let client = hub.client(config(1)).unwrap();
    let mut statuses = client.watch_status();
    client.connect();
    let failed = statuses.wait_for(|status| matches!(status, Status::Backoff { .. })).await;
    let Some(Status::Backoff { cause, .. }) = failed else { panic!("{failed:?}") };
    assert_eq!(*cause, ConnectionError::Dial(DialError::Unreachable));
}
