//! `isolated_consumers`: subscribers that read too slowly, each with a policy of its own, beside one that reads.

use std::time::Duration;

use onesocket::core::{LagPolicy, Options, Push};
use onesocket::{Client, SubscribeError, SubscribeOptions, Subscription};
use onesocket_gateway::{Misbehave, Order};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::rig::{Rig, client, ms, secs};

fn emit(rig: &Rig, n: u64) {
    let payload = json!({ "n": n }).to_string().into();
    rig.site(1).host.order(Order::Emit { event: "health".to_owned(), payload });
}

/// Everything that waits now.
async fn waiting(pushes: &mut Subscription) -> Vec<Push> {
    let mut items = Vec::new();
    while let Ok(Some(push)) = timeout(Duration::ZERO, pushes.next()).await {
        items.push(push);
    }
    items
}

/// The number in a health event of this test.
fn number(push: &Push) -> Option<u64> {
    let Push::Event(event) = push else { return None };
    let payload: serde_json::Value = event.payload.decode().expect("an event is JSON");
    payload["n"].as_u64()
}

fn numbers(pushes: &[Push]) -> Vec<u64> {
    pushes.iter().filter_map(number).collect()
}

#[tokio::test(start_paused = true)]
async fn isolated_consumers_three_policies_beside_a_reader_that_misses_nothing() {
    let rig = Rig::new(&[1]);
    let client = client(&rig);
    let few = |policy| SubscribeOptions::default().lag(policy).items(6);
    let mut drops = client.subscribe_with(few(LagPolicy::DropOldest)).unwrap();
    let mut anew = client.subscribe_with(few(LagPolicy::Resnapshot)).unwrap();
    let mut closes = client.subscribe_with(few(LagPolicy::Close)).unwrap();
    let mut reader = client.subscribe().unwrap();
    client.ready().await.unwrap();
    // The gateway looks after its health once after the start; then it is quiet.
    sleep(secs(2)).await;
    for slow in [&mut drops, &mut anew, &mut closes] {
        let begun = waiting(slow).await;
        let Some(Push::Snapshot(first)) = begun.first() else { panic!("{begun:?}") };
        assert_eq!(first.state_version.health, 1);
    }
    let mut read = waiting(&mut reader).await;
    for n in 1..=20 {
        emit(&rig, n);
        sleep(ms(20)).await;
        read.extend(waiting(&mut reader).await);
    }
    assert_eq!(numbers(&read), (1..=20).collect::<Vec<_>>(), "whoever reads has everything");
    assert!(!read.iter().any(|push| matches!(push, Push::Lagged { .. } | Push::Gap(_))), "{read:?}");

    let dropped = waiting(&mut drops).await;
    assert_eq!(dropped[0], Push::Lagged { missed: 15 });
    assert_eq!(numbers(&dropped), [16, 17, 18, 19, 20]);

    let anew_items = waiting(&mut anew).await;
    let [Push::Lagged { missed }, Push::Snapshot(snapshot), rest @ ..] = &anew_items[..] else {
        panic!("{anew_items:?}")
    };
    let rest = numbers(rest);
    assert_eq!(rest.last(), Some(&20));
    assert_eq!(*missed + rest.len() as u64, 20, "each event was lost or is there");
    // The state is as of the overflow, as whoever subscribes now gets it, and not that of hello.
    let Some(Push::Snapshot(now)) = client.subscribe().unwrap().next().await else { panic!("no snapshot") };
    assert_eq!((snapshot, now.state_version.health), (&now, 2));

    let closed = waiting(&mut closes).await;
    assert_eq!(closed, [Push::Lagged { missed: 7 }, Push::Closed]);
    assert_eq!(closes.next().await, None);

    // The two that go on have everything that comes from now on; the closed one has received its last item.
    emit(&rig, 21);
    sleep(ms(100)).await;
    for goes_on in [&mut drops, &mut anew, &mut reader] {
        assert_eq!(numbers(&waiting(goes_on).await), [21]);
    }
    assert_eq!(client.shutdown().await.closed_subscriptions, 3);
}

/// A gap while a subscriber lags is a part of what it missed, and the numbers go on from the new snapshot.
#[tokio::test(start_paused = true)]
async fn gap_before_event_a_subscriber_that_resnapshots_sees_no_unexplained_hole() {
    let rig = Rig::new(&[1]);
    let client = client(&rig);
    let options = SubscribeOptions::default().lag(LagPolicy::Resnapshot).items(5);
    let mut slow = client.subscribe_with(options).unwrap();
    client.ready().await.unwrap();
    sleep(ms(100)).await;
    for n in 1..=40 {
        if n % 7 == 0 {
            rig.site(1).host.order(Order::Misbehave(Misbehave::SkipSequence { by: 3 }));
        }
        emit(&rig, n);
        sleep(ms(20)).await;
        if n % 9 == 0 {
            assert_no_hole(&waiting(&mut slow).await);
        }
    }
    assert_no_hole(&waiting(&mut slow).await);
}

/// Between two numbers that do not follow each other there is a gap, or a notice of lag.
fn assert_no_hole(pushes: &[Push]) {
    let mut expected = None;
    for push in pushes {
        match push {
            Push::Event(event) => {
                let seq = event.seq.expect("events are numbered");
                assert!(
                    expected.is_none_or(|expected| expected == seq),
                    "{seq} comes unexplained: {pushes:?}"
                );
                expected = Some(seq + 1);
            }
            Push::Gap(gap) => expected = Some(gap.received),
            Push::Snapshot(_) | Push::Lagged { .. } => expected = None,
            Push::Status(_) | Push::Closed => {}
            other => panic!("{other:?} has no place here"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn isolated_consumers_limits_of_a_subscription_are_within_those_of_the_client() {
    let mut options = Options::default();
    (options.subscription_items, options.subscription_bytes) = (10, 1_000);
    let client = Client::builder().options(options).spawn(Rig::new(&[1])).unwrap();
    let with = SubscribeOptions::default;
    for options in [with(), with().items(4).bytes(1), with().items(10).bytes(1_000)] {
        assert!(client.subscribe_with(options).is_ok(), "{options:?}");
    }
    let refused = [
        (with().items(3), SubscribeError::Limit { name: "items", least: 4, most: 10 }),
        (with().items(11), SubscribeError::Limit { name: "items", least: 4, most: 10 }),
        (with().bytes(0), SubscribeError::Limit { name: "bytes", least: 1, most: 1_000 }),
        (with().bytes(1_001), SubscribeError::Limit { name: "bytes", least: 1, most: 1_000 }),
    ];
    for (options, expected) in refused {
        assert_eq!(client.subscribe_with(options).err(), Some(expected), "{options:?}");
    }
}

/// A reader that is stuck holds no more than its bytes, whatever is sent meanwhile, and the socket is read on.
#[tokio::test(start_paused = true)]
async fn isolated_consumers_bytes_bound_every_policy() {
    for policy in [LagPolicy::DropOldest, LagPolicy::Resnapshot, LagPolicy::Close] {
        let rig = Rig::new(&[1]);
        let client = client(&rig);
        let options = SubscribeOptions::default().lag(policy).bytes(100_000);
        let mut stuck = client.subscribe_with(options).unwrap();
        client.ready().await.unwrap();
        for n in 0..50 {
            let payload = json!({ "n": n, "pad": "x".repeat(30_000) }).to_string().into();
            rig.site(1).host.order(Order::Emit { event: "health".to_owned(), payload });
            sleep(ms(20)).await;
            assert!(stuck.waiting() < 10, "{policy:?}: {} items of 30 kB in 100 kB", stuck.waiting());
        }
        let answer = client.request("test.echo", json!("on")).timeout(secs(5)).await;
        answer.unwrap_or_else(|error| panic!("{policy:?}: {error}"));
        let items = waiting(&mut stuck).await;
        assert!(items.iter().any(|push| matches!(push, Push::Lagged { .. })), "{policy:?}");
        assert_eq!(items.last() == Some(&Push::Closed), policy == LagPolicy::Close);
    }
}
