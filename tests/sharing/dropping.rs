//! Every future may be dropped at any await: the client works on, nothing leaks, nobody else notices.
//!
//! [`polled`] polls a future a number of times and drops it. It wakes itself every millisecond of virtual
//! time, so that the drops fall into every stage of a connection: before the driver has received the
//! command, while it dials, shakes hands, sends, waits and closes. [`at_every_poll`] goes on with one poll
//! more until the future completes by itself.

use std::future::{Future, IntoFuture, poll_fn};
use std::task::Poll;
use std::time::Duration;

use onesocket::core::{LagPolicy, Options, Push, Status};
use onesocket::{Client, SubscribeOptions, Subscription};
use onesocket_gateway::Order;
use serde_json::json;
use tokio::time::timeout;

use crate::rig::{Rig, config, ms, secs};

/// Between two polls of a future that is to be dropped.
const BETWEEN_POLLS: Duration = Duration::from_millis(1);
/// More polls than any future here needs.
const POLLS_MAX: usize = 1_000;

/// Polls `future` at most `polls` times; `None` if that was not enough, and then it is dropped.
async fn polled<F: IntoFuture>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = Box::pin(future.into_future());
    for poll in 0..polls {
        if poll > 0 {
            tokio::time::sleep(BETWEEN_POLLS).await;
        }
        let result = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
        if let Poll::Ready(output) = result {
            return Some(output);
        }
    }
    None
}

/// Tries with one poll more until `attempt` says that the future completed by itself, which must take more than
/// `polls_min` polls: otherwise the drops did not reach every stage. `attempt` also gets a name for its case.
async fn at_every_poll(polls_min: usize, mut attempt: impl AsyncFnMut(usize, &str) -> bool) {
    for polls in 0..POLLS_MAX {
        if attempt(polls, &format!("dropped after {polls} polls")).await {
            assert!(polls > polls_min, "the future completes after {polls} polls already");
            return;
        }
    }
    panic!("the future does not complete within {POLLS_MAX} polls");
}

/// Little room, so that one leaked permit is noticed at once.
fn narrow() -> Options {
    let mut options = Options::default();
    options.max_in_flight = 1;
    options.max_queued = 2;
    options.max_subscriptions = 2;
    options
}

fn client(rig: &Rig) -> Client {
    Client::builder().config(config(1)).options(narrow()).seed(7).spawn(rig.clone()).unwrap()
}

async fn echoes(client: &Client, text: &str) {
    let answer = client.request("test.echo", json!({ "text": text })).timeout(secs(20)).await;
    let answer = answer.unwrap_or_else(|error| panic!("{text}: {error}"));
    assert!(answer.payload.get().contains(text), "{}", answer.payload.get());
}

async fn next(pushes: &mut Subscription) -> Push {
    timeout(secs(30), pushes.next()).await.expect("an item comes").expect("the subscription goes on")
}

/// All that a client can do still works, with all the room it had.
async fn assert_whole(client: &Client, rig: &Rig, case: &str) {
    client.ready().await.unwrap_or_else(|error| panic!("{case}: {error}"));
    // As many as there is room for.
    let request = |n: u64| client.request("test.echo", json!(n)).timeout(secs(20)).into_future();
    let answers = tokio::join!(request(1), request(2), request(3));
    for answer in [answers.0, answers.1, answers.2] {
        answer.unwrap_or_else(|error| panic!("{case}: {error}"));
    }
    let mut one = client.subscribe().unwrap_or_else(|error| panic!("{case}: {error}"));
    assert!(matches!(next(&mut one).await, Push::Snapshot(_)), "{case}");
    assert_eq!(client.statistics().pending, 0, "{case}");
    assert!(rig.count(1).peak <= 1, "{case}: {:?}", rig.count(1));
}

async fn assert_gone(client: Client, rig: &Rig, case: &str) {
    client.shutdown().await;
    drop(client);
    tokio::time::sleep(secs(2)).await;
    assert_eq!((rig.count(1).live, rig.count(2).live), (0, 0), "{case}");
    assert_eq!((rig.seen_by_gateway(1), rig.seen_by_gateway(2)), (0, 0), "{case}");
}

#[tokio::test(start_paused = true)]
async fn shared_attempt_a_request_that_makes_the_connection_is_dropped_at_every_poll() {
    at_every_poll(20, async |polls, case| {
        let rig = Rig::new(&[1, 2]);
        let client = client(&rig);
        let answer = polled(client.request("test.echo", json!("dropped")), polls).await;
        let (is_done, is_wanted) = (answer.is_some(), polls > 0);
        if let Some(answer) = answer {
            answer.expect("the request is answered");
        }
        tokio::time::sleep(secs(1)).await;
        // The attempt that was begun for it goes on without it; no poll, no attempt.
        assert_eq!(rig.count(1).ever, usize::from(is_wanted), "{case}");
        assert_eq!(matches!(client.status(), Status::Ready { .. }), is_wanted, "{case}");
        assert_whole(&client, &rig, case).await;
        assert_eq!(rig.count(1).ever, 1, "{case}");
        assert_gone(client, &rig, case).await;
        is_done
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn isolated_consumers_a_request_beside_another_is_dropped_at_every_poll() {
    let rig = Rig::new(&[1, 2]);
    let client = client(&rig);
    client.ready().await.unwrap();
    at_every_poll(3, async |polls, case| {
        // The other one waits in the queue behind it, as only one may be in flight.
        let dropped = polled(client.request("test.echo", json!("dropped")), polls);
        let (answer, ()) = tokio::join!(dropped, echoes(&client, "beside"));
        assert_whole(&client, &rig, case).await;
        answer.is_some()
    })
    .await;
    assert_eq!(rig.count(1).ever, 1);
    assert_gone(client, &rig, "at the end").await;
}

/// A subscription is dropped while it connects, and a wait for its next item at every poll: no item is lost.
#[tokio::test(start_paused = true)]
async fn isolated_consumers_a_subscription_and_its_waits_are_dropped_at_every_poll() {
    at_every_poll(20, async |polls, case| {
        let rig = Rig::new(&[1, 2]);
        let client = client(&rig);
        let mut dropped = client.subscribe().unwrap();
        let mut patient = client.subscribe().unwrap();
        let item = polled(dropped.next(), polls).await;
        drop(dropped);
        assert!(matches!(next(&mut patient).await, Push::Snapshot(_)), "{case}");
        drop(patient);
        assert_whole(&client, &rig, case).await;
        assert_eq!(rig.count(1).ever, 1, "{case}");
        assert_gone(client, &rig, case).await;
        assert!(matches!(item, None | Some(Some(Push::Snapshot(_)))), "{case}");
        item.is_some()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn isolated_consumers_waits_for_items_are_dropped_and_no_item_with_them() {
    let rig = Rig::new(&[1, 2]);
    let client = client(&rig);
    let (mut hasty, mut patient) = (client.subscribe().unwrap(), client.subscribe().unwrap());
    client.ready().await.unwrap();
    let order =
        |n: u64| Order::Emit { event: "health".to_owned(), payload: json!({ "n": n }).to_string().into() };
    let (mut seen, mut expected) = (Vec::new(), Vec::new());
    let is_last =
        |push: &Push| matches!(push, Push::Event(event) if event.payload.get().contains("\"n\":20"));
    let emitting = async {
        for n in 1..=20 {
            rig.site(1).host.order(order(n));
            tokio::time::sleep(ms(3)).await;
        }
    };
    let hasty = async {
        let mut polls = 0;
        while !seen.last().is_some_and(is_last) {
            polls = (polls + 1) % 7;
            seen.extend(polled(hasty.next(), polls).await.flatten());
            tokio::time::sleep(BETWEEN_POLLS).await;
        }
    };
    let patient = async {
        while !expected.last().is_some_and(is_last) {
            expected.push(next(&mut patient).await);
        }
    };
    timeout(secs(60), async { tokio::join!(emitting, hasty, patient) }).await.expect("all items come");
    assert_eq!(seen, expected);
}

/// Also while others wait for a request that the change fails, and again and again on one client.
#[tokio::test(start_paused = true)]
async fn one_reconnect_per_change_a_configure_is_dropped_at_every_poll() {
    let rig = Rig::new(&[1, 2]);
    let client = client(&rig);
    client.ready().await.unwrap();
    at_every_poll(1, async |polls, case| {
        client.configure(Some(config(1))).await.unwrap();
        client.ready().await.unwrap_or_else(|error| panic!("{case}: {error}"));
        let sockets = (rig.count(1).ever, rig.count(2).ever);
        let applied = polled(client.configure(Some(config(2))), polls).await;
        tokio::time::sleep(secs(2)).await;
        // A change that was polled once is made, and is made once.
        let changed = usize::from(polls > 0);
        assert_eq!((rig.count(1).ever, rig.count(2).ever), (sockets.0, sockets.1 + changed), "{case}");
        assert_eq!((rig.count(1).live, rig.count(2).live), (1 - changed, changed), "{case}");
        assert_whole(&client, &rig, case).await;
        applied.is_some_and(|applied| {
            applied.unwrap_or_else(|error| panic!("{case}: {error}"));
            true
        })
    })
    .await;
    // A hundred more, which would use up whatever a dropped change holds.
    for _ in 0..100 {
        let _ = polled(client.configure(Some(config(1))), 1).await;
    }
    timeout(secs(10), client.configure(Some(config(2)))).await.expect("there is room").unwrap();
    assert_whole(&client, &rig, "after a hundred changes").await;
    assert_gone(client, &rig, "at the end").await;
}

#[tokio::test(start_paused = true)]
async fn shared_attempt_a_wait_for_the_connection_is_dropped_at_every_poll() {
    at_every_poll(20, async |polls, case| {
        let rig = Rig::new(&[1, 2]);
        let client = client(&rig);
        let mut statuses = client.watch_status();
        let other = tokio::spawn({
            let client = client.clone();
            async move { client.ready().await }
        });
        let ready = polled(client.ready(), polls).await;
        let seen = polled(statuses.changed(), polls).await;
        assert!(seen.is_none_or(|status| status.is_some()), "{case}");
        other.await.unwrap().unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_whole(&client, &rig, case).await;
        assert_eq!(rig.count(1).ever, 1, "{case}");
        assert_gone(client, &rig, case).await;
        ready.is_some_and(|ready| {
            ready.unwrap_or_else(|error| panic!("{case}: {error}"));
            true
        })
    })
    .await;
}

/// The stage that a shutdown begins in varies as well as the poll at which it is dropped.
#[tokio::test(start_paused = true)]
async fn stop_is_final_a_shutdown_is_dropped_at_every_poll_from_every_stage() {
    for begins_at in [0, 1, 5, 10, 15, 20, 25, 40, 200] {
        at_every_poll(0, async |polls, case| {
            let case = &format!("begun after {begins_at} ms, {case}");
            let rig = Rig::new(&[1, 2]);
            let client = client(&rig);
            let mut pushes = client.subscribe().unwrap();
            let pending = tokio::spawn({
                let client = client.clone();
                async move { client.request("test.never", ()).timeout(None).await }
            });
            tokio::time::sleep(ms(begins_at)).await;
            let report = polled(client.shutdown(), polls).await;
            if polls == 0 {
                pending.abort();
                assert_whole(&client, &rig, case).await;
                return false;
            }
            // It goes on without its caller, within the time it has.
            tokio::time::sleep(secs(1)).await;
            assert_eq!(client.status(), Status::Stopped, "{case}");
            assert_eq!(rig.count(1).live, 0, "{case}");
            pending.await.unwrap().expect_err("a shutdown fails what is pending");
            let last = loop {
                let push = next(&mut pushes).await;
                if push == Push::Closed {
                    break pushes.next().await;
                }
            };
            assert_eq!(last, None, "{case}");
            assert_eq!(client.statistics().pending, 0, "{case}");
            // Whoever asks later gets the report that the first caller would have had.
            let again = timeout(Duration::ZERO, client.shutdown()).await.expect("it is over");
            assert_eq!(again.closed_subscriptions, 1, "{case}");
            tokio::time::sleep(secs(1)).await;
            assert_eq!(rig.seen_by_gateway(1), 0, "{case}");
            assert!(report.as_ref().is_none_or(|report| *report == again), "{case}");
            report.is_some()
        })
        .await;
    }
}

/// A subscriber that is closed for its lag holds its place until it is dropped, and not longer.
#[tokio::test(start_paused = true)]
async fn isolated_consumers_a_subscriber_closed_for_its_lag_leaves_nothing() {
    let rig = Rig::new(&[1, 2]);
    let client = client(&rig);
    let options = SubscribeOptions::default().lag(LagPolicy::Close).items(4);
    for _ in 0..5 {
        let slow = client.subscribe_with(options).unwrap();
        client.ready().await.unwrap();
        for n in 0..10 {
            let payload = json!({ "n": n }).to_string().into();
            rig.site(1).host.order(Order::Emit { event: "health".to_owned(), payload });
        }
        tokio::time::sleep(secs(1)).await;
        assert_eq!(slow.waiting(), 2, "the notice and the end");
    }
    assert_whole(&client, &rig, "after five of them").await;
    assert_eq!(client.shutdown().await.closed_subscriptions, 0);
}
