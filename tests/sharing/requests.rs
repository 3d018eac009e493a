//! Requests that are repeated, bound to a connection, or made because another one failed.

use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use onesocket::core::{Delivery, Payload, RequestErrorKind};
use onesocket::{Client, IdempotencyKey};
use onesocket_gateway::{Order, RestartMode};
use onesocket_sim::pipe::Profile;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::rig::{Rig, client, config, ms, secs};

fn member(payload: &Payload, name: &str) -> String {
    let value: Value = payload.decode().expect("an answer is JSON");
    value[name].as_str().unwrap_or_else(|| panic!("{name} in {value}")).to_owned()
}

/// The answer was lost, so nobody knows whether the work was begun. The same key finds the same run again,
/// over the next connection.
#[tokio::test(start_paused = true)]
async fn settles_once_a_repetition_with_the_same_key_finds_the_same_work() {
    let rig = Rig::new(&[1]);
    let client = client(&rig);
    rig.site(1).link.set_profile(Profile::with_latency_us(10_000, 10_000));
    let first = client.ready().await.unwrap();
    let key = client.idempotency_key();
    let send = || {
        let params = json!({ "message": "hello", "sessionKey": "agent:main:main" });
        client.request("agent", params).idempotency_key(&key).timeout(secs(20))
    };
    let lost = tokio::spawn(send().into_future());
    // It has arrived, and its answer is under way.
    sleep(ms(15)).await;
    rig.site(1).link.reset_all();
    let error = lost.await.unwrap().expect_err("its connection is lost");
    assert_eq!(error.delivery, Delivery::Unknown, "{error}");
    assert!(!error.is_retryable(), "without a key it may be done twice");

    let answer = send().await.expect("the run is known");
    assert!(answer.epoch > first);
    assert_eq!(member(&answer.payload, "runId"), key.as_str());
    sleep(secs(60)).await;
    let outcome = send().await.expect("the outcome is kept");
    assert_eq!(member(&outcome.payload, "runId"), key.as_str());
    assert_ne!(member(&outcome.payload, "status"), "accepted", "the run has ended meanwhile");
    assert_ne!(client.idempotency_key(), key, "the next piece of work has a key of its own");
}

/// With the key of an earlier run, the gateway would answer with what came of that, and do nothing.
#[tokio::test(start_paused = true)]
async fn right_credential_a_seed_repeats_no_idempotency_key() {
    let rig = Rig::new(&[1]);
    let [one, other] = [client(&rig), client(&rig)];
    let keys =
        [one.idempotency_key(), one.idempotency_key(), other.idempotency_key(), other.idempotency_key()];
    let different: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(different.len(), keys.len(), "{keys:?}");
}

#[tokio::test(start_paused = true)]
async fn settles_once_a_key_needs_parameters_to_be_in() {
    let rig = Rig::new(&[1]);
    let client = client(&rig);
    let key = IdempotencyKey::new("mine");
    for params in [json!([1]), json!("text"), json!({"idempotencyKey": "another"})] {
        let error =
            client.request("agent", &params).idempotency_key(&key).await.expect_err("it has no place");
        assert!(matches!(error.kind, RequestErrorKind::Params(_)), "{error}");
        assert_eq!(error.delivery, Delivery::NotSent);
    }
    assert_eq!(rig.count(1).ever, 0, "nobody connects for it");
    let answer = client.request("test.echo", ()).idempotency_key(&key).await.unwrap();
    assert!(answer.payload.get().contains(r#""idempotencyKey":"mine""#), "{}", answer.payload.get());
}

/// Keys are unique in a process, also between clients, unless somebody fixes their seeds.
#[tokio::test(start_paused = true)]
async fn settles_once_clients_share_no_keys() {
    let rig = Rig::new(&[1]);
    let spawn = || Client::builder().config(config(1)).spawn(rig.clone()).unwrap();
    let (one, other) = (spawn(), spawn());
    assert_ne!(one.idempotency_key(), other.idempotency_key());
    assert_ne!(one.idempotency_key(), one.idempotency_key());
}

/// A request that is derived from a snapshot is refused by any other connection than that of the snapshot.
#[tokio::test(start_paused = true)]
async fn settles_once_a_bound_request_never_moves_to_the_next_connection() {
    let rig = Rig::new(&[1]);
    let client = client(&rig);
    let first = client.ready().await.unwrap();
    let answer = client.request("test.echo", json!(1)).only_on(first).await.unwrap();
    assert_eq!(answer.epoch, first);

    rig.site(1).host.order(Order::Restart { mode: RestartMode::Crash, down: secs(3) });
    sleep(ms(100)).await;
    let dials = client.statistics().dials;
    let error = client.request("test.echo", json!(2)).only_on(first).await.unwrap_err();
    assert_eq!(error.delivery, Delivery::NotSent);
    assert_eq!(error.kind, RequestErrorKind::OtherConnection { bound_to: first });
    assert_eq!(client.statistics().dials, dials, "nobody dials for it");

    let second = client.ready().await.unwrap();
    let sent = client.statistics().frames_out;
    client.request("test.echo", json!(3)).only_on(first).await.unwrap_err();
    assert_eq!(client.statistics().frames_out, sent, "the gateway sees nothing of it");
    client.request("test.echo", json!(4)).only_on(second).await.unwrap();
}

/// Whoever acts at once on a failure is served by the next connection, once; the failure of the first does
/// not take it along.
#[tokio::test(start_paused = true)]
async fn settles_once_a_request_from_inside_a_failure_is_served_by_the_next_connection() {
    let rig = Rig::new(&[1]);
    let client = client(&rig);
    let first = client.ready().await.unwrap();
    let tasks: Vec<_> = (0..10)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move {
                let error = client.request("test.never", ()).timeout(None).await.expect_err("it is lost");
                assert_eq!(error.delivery, Delivery::Unknown);
                client.request("test.echo", json!(n)).timeout(secs(60)).await
            })
        })
        .collect();
    sleep(ms(50)).await;
    rig.site(1).host.order(Order::Restart { mode: RestartMode::Crash, down: secs(3) });
    for task in tasks {
        let answer = task.await.unwrap().expect("the next connection answers");
        assert!(answer.epoch > first);
    }
    assert_eq!(client.statistics().connects, 2);
    assert_eq!(client.statistics().pending, 0);
}

/// The same when it is a change of config that fails the first request.
#[tokio::test(start_paused = true)]
async fn one_reconnect_per_change_a_request_from_inside_a_superseded_one_goes_to_the_new_gateway() {
    let rig = Rig::new(&[1, 2]);
    let client = client(&rig);
    client.ready().await.unwrap();
    let task = tokio::spawn({
        let client = client.clone();
        async move {
            client.request("test.never", ()).timeout(None).await.expect_err("it is superseded");
            client.request("test.echo", json!(1)).await
        }
    });
    sleep(ms(50)).await;
    client.configure(Some(config(2))).await.unwrap();
    task.await.unwrap().expect("the new gateway answers");
    assert_eq!((rig.count(1).ever, rig.count(2).ever), (1, 1));
}

/// The time of a request runs from its first poll, also where the driver has its turn late, as after a sleep of the
/// whole process.
#[tokio::test(start_paused = true)]
async fn settles_once_time_that_the_driver_does_not_get_counts() {
    let rig = Rig::new(&[1]);
    let client = client(&rig);
    client.ready().await.unwrap();
    let mut request = client.request("test.echo", json!(1)).timeout(ms(100)).into_future();
    assert!(poll_fn(|cx| Poll::Ready(Pin::new(&mut request).poll(cx))).await.is_pending());
    // The clock moves before any other task has its turn.
    tokio::time::advance(ms(150)).await;
    let before = tokio::time::Instant::now();
    let error = request.await.expect_err("its time is over");
    assert_eq!(
        (error.kind, error.delivery),
        (RequestErrorKind::TimedOut { after: ms(100) }, Delivery::NotSent)
    );
    assert!(before.elapsed() < ms(5));
    client.request("test.echo", json!(2)).timeout(ms(100)).await.unwrap();
}
