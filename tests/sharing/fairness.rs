//! No caller can take all the room from the others, and what is dropped takes none.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use onesocket::RequestFuture;
use onesocket::core::{Delivery, Push, RequestErrorKind, Status};
use serde_json::json;
use tokio::time::sleep;

use crate::rig::{Rig, client, ms, secs};

/// Gives the request to the driver, or what it ended with at once.
fn polled(request: &mut RequestFuture) -> Option<<RequestFuture as Future>::Output> {
    match Pin::new(request).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

/// One that asks without end, while there is no connection and while there is one.
#[tokio::test(start_paused = true)]
async fn isolated_consumers_a_greedy_caller_leaves_room_for_others() {
    let rig = Rig::new(&[1]);
    let client = client(&rig);
    for is_connected in [false, true] {
        let greedy = client.clone();
        let mut requests = Vec::new();
        let error = loop {
            let mut request = greedy.request("test.echo", json!("mine")).timeout(secs(20)).into_future();
            match polled(&mut request) {
                None => requests.push(request),
                Some(outcome) => break outcome.expect_err("nothing was answered yet"),
            }
        };
        assert_eq!(error.kind, RequestErrorKind::HandleOverloaded { held: 769 });
        assert_eq!(error.delivery, Delivery::NotSent);
        assert!(error.is_retryable());
        assert_eq!(requests.len(), 769);

        let other = client.clone();
        other.request("test.echo", json!("other")).timeout(secs(20)).await.expect("there is room");
        for request in requests {
            request.await.expect("they are answered too");
        }
        assert_eq!(client.statistics().connects, 1, "{is_connected}");
    }
}

#[tokio::test(start_paused = true)]
async fn limits_what_is_made_and_dropped_in_one_moment_does_not_count() {
    let rig = Rig::new(&[1]);
    let client = client(&rig);
    for is_connected in [false, true] {
        for _ in 0..2_000 {
            drop(client.subscribe().expect("nobody subscribes"));
            let mut request = client.request("test.echo", json!("dropped")).into_future();
            assert!(polled(&mut request).is_none(), "nobody asks");
        }
        client.ready().await.expect("they asked for a connection");
        assert_eq!(client.statistics().subscriptions, 0);
        assert_eq!(client.statistics().pending, 0, "{is_connected}");
    }
}

/// The driver has them all, and is not asked before the next ones are made.
#[tokio::test(start_paused = true)]
async fn limits_what_is_dropped_is_free_at_once() {
    let rig = Rig::new(&[1]);
    let client = client(&rig);
    client.ready().await.unwrap();
    for _ in 0..3 {
        let subscriptions: Vec<_> = (0..256).map(|_| client.subscribe().expect("there is room")).collect();
        assert!(client.subscribe().is_err(), "these are all there may be");
        let mut requests: Vec<_> =
            (0..769).map(|n| client.request("test.echo", json!(n)).into_future()).collect();
        assert!(requests.iter_mut().all(|request| polled(request).is_none()), "there is room");
        sleep(ms(1)).await;
        drop((subscriptions, requests));
    }
    // The gateway works off what it has received.
    sleep(secs(1)).await;
    client.request("test.echo", json!("last")).await.expect("nothing is left of them");
    assert_eq!(client.statistics().subscriptions, 0);
}

/// The same whether the clock moves between a call and its first poll, or stands still.
#[tokio::test(start_paused = true)]
async fn settles_once_a_request_without_time_is_not_sent() {
    let rig = Rig::new(&[1]);
    let client = client(&rig);
    client.ready().await.unwrap();
    let before = client.statistics().frames_out;
    let error = client.request("test.echo", json!("now")).timeout(ms(0)).await.expect_err("no time");
    assert_eq!(
        (error.kind, error.delivery),
        (RequestErrorKind::TimedOut { after: ms(0) }, Delivery::NotSent)
    );
    assert_eq!(client.statistics().frames_out, before);
}

/// A snapshot alone looks like the present.
#[tokio::test(start_paused = true)]
async fn snapshot_first_a_newcomer_hears_that_the_connection_is_lost() {
    let rig = Rig::new(&[1]);
    let client = client(&rig);
    client.ready().await.unwrap();
    rig.site(1).link.reset_all();
    let lost = client.watch_status().wait_for(|status| matches!(status, Status::Backoff { .. })).await;
    let mut pushes = client.subscribe().expect("there is room");
    assert!(matches!(pushes.next().await, Some(Push::Snapshot(_))));
    assert_eq!(pushes.next().await, lost.map(Push::Status));
}
