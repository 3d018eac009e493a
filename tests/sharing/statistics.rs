//! The numbers of a client are those of what happened.

use std::time::Duration;

use onesocket::core::{Options, Push};
use onesocket::{Client, Statistics};
use onesocket_gateway::{Misbehave, Order, RestartMode};
use onesocket_sim::pipe::Profile;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::rig::{Rig, client, config, ms, secs};

#[tokio::test(start_paused = true)]
async fn connections_frames_and_round_trips_are_counted() {
    let rig = Rig::new(&[1]);
    rig.site(1).link.set_profile(Profile::with_latency_us(10_000, 10_000));
    let client = client(&rig);
    assert_eq!(client.statistics(), Statistics::default());
    client.ready().await.unwrap();
    let hello = client.statistics();
    assert_eq!((hello.dials, hello.connects, hello.reconnects()), (1, 1, 0));
    // A challenge and a hello came in, and connect went out.
    assert_eq!((hello.frames_in, hello.frames_out, hello.last_round_trip), (2, 1, None));
    assert!(hello.bytes_in > 500 && hello.bytes_out > 200, "{hello:?}");

    let text = "x".repeat(100_000);
    client.request("test.echo", json!(text)).await.unwrap();
    let after = client.statistics();
    assert_eq!((after.frames_in - hello.frames_in, after.frames_out - hello.frames_out), (1, 1));
    assert!((100_000..101_000).contains(&(after.bytes_in - hello.bytes_in)), "{after:?}");
    assert!((100_000..101_000).contains(&(after.bytes_out - hello.bytes_out)), "{after:?}");
    let round_trip = after.last_round_trip.unwrap();
    assert!((ms(20)..ms(25)).contains(&round_trip), "{round_trip:?}");
    assert_eq!(after.pending, 0);

    rig.site(1).host.order(Order::Restart { mode: RestartMode::Crash, down: secs(5) });
    sleep(secs(60)).await;
    let back = client.statistics();
    assert_eq!((back.connects, back.reconnects()), (2, 1));
    assert!(back.dials > 2, "some dials were refused: {back:?}");
    client.shutdown().await;
    assert_eq!(client.statistics().connects, 2, "they can be read afterwards");
}

#[tokio::test(start_paused = true)]
async fn pending_requests_are_counted_until_they_end() {
    let rig = Rig::new(&[1]);
    let client = client(&rig);
    client.ready().await.unwrap();
    rig.site(1).link.hold();
    let requests: Vec<_> = (0..5)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { client.request("test.echo", json!(n)).await })
        })
        .collect();
    sleep(ms(10)).await;
    assert_eq!(client.statistics().pending, 5);
    requests[0].abort();
    sleep(ms(10)).await;
    assert_eq!(client.statistics().pending, 4);
    client.shutdown().await;
    assert_eq!(client.statistics().pending, 0);
}

#[tokio::test(start_paused = true)]
async fn subscriptions_are_counted_until_they_end() {
    let rig = Rig::new(&[1]);
    let client = client(&rig);
    let mut subscriptions: Vec<_> = (0..3).map(|_| client.subscribe()).collect();
    client.ready().await.unwrap();
    assert_eq!(client.statistics().subscriptions, 3);
    subscriptions.pop();
    client.request("test.echo", json!(1)).await.unwrap();
    assert_eq!(client.statistics().subscriptions, 2);
    client.shutdown().await;
    assert_eq!(client.statistics().subscriptions, 0);
}

/// A request from before the connection is there waits in the queue, which is not part of the way.
#[tokio::test(start_paused = true)]
async fn a_round_trip_is_measured_without_the_queue() {
    let rig = Rig::new(&[1]);
    let client = client(&rig);
    client.request("test.echo", json!(1)).await.unwrap();
    assert_eq!(client.statistics().last_round_trip, None);
    client.request("no.such.method", json!(1)).await.unwrap_err();
    let round_trip = client.statistics().last_round_trip.expect("no is an answer, too");
    assert!(round_trip < ms(20), "{round_trip:?}");
    // What is not answered is not measured.
    rig.site(1).link.partition();
    client.request("test.echo", json!(2)).timeout(secs(1)).await.unwrap_err();
    assert_eq!(client.statistics().last_round_trip, Some(round_trip));
}

#[tokio::test(start_paused = true)]
async fn gaps_count_once_and_lag_counts_when_it_is_read() {
    let rig = Rig::new(&[1]);
    let options = {
        let mut options = Options::default();
        options.subscription_items = 4;
        options
    };
    let client = Client::builder().config(config(1)).options(options).spawn(rig.clone()).unwrap();
    let mut slow = client.subscribe().unwrap();
    let _other = client.subscribe().unwrap();
    client.ready().await.unwrap();
    let emit = || {
        let order = Order::Emit { event: "health".to_owned(), payload: json!({"x": 1}).to_string().into() };
        rig.site(1).host.order(order);
    };
    emit();
    rig.site(1).host.order(Order::Misbehave(Misbehave::SkipSequence { by: 3 }));
    for _ in 0..10 {
        emit();
    }
    sleep(secs(1)).await;
    assert_eq!((client.statistics().gaps, client.statistics().lagged_items), (1, 0));
    let mut missed = 0;
    while let Ok(Some(push)) = timeout(Duration::ZERO, slow.next()).await {
        if let Push::Lagged { missed: more } = push {
            missed += more;
        }
    }
    assert!(missed > 0);
    assert_eq!(client.statistics().lagged_items, missed);
}

#[cfg(feature = "metrics")]
mod exported {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use metrics::{
        Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
        SharedString, Unit,
    };

    use super::*;

    /// A recorder that sums everything up.
    #[derive(Clone, Default)]
    struct Sums(Arc<Mutex<BTreeMap<String, f64>>>);

    struct Sum(Sums, String);

    impl Sum {
        fn add(&self, more: f64) {
            *self.0.0.lock().unwrap().entry(self.1.clone()).or_default() += more;
        }
    }

    impl CounterFn for Sum {
        fn increment(&self, value: u64) {
            self.add(value as f64);
        }

        fn absolute(&self, _: u64) {
            unreachable!("totals are summed over clients");
        }
    }

    impl GaugeFn for Sum {
        fn increment(&self, value: f64) {
            self.add(value);
        }

        fn decrement(&self, value: f64) {
            self.add(-value);
        }

        fn set(&self, _: f64) {
            unreachable!("the gauge is shared by all clients");
        }
    }

    impl HistogramFn for Sum {
        fn record(&self, _: f64) {
            self.add(1.0);
        }
    }

    impl Sums {
        fn sum(&self, key: &Key) -> Arc<Sum> {
            Arc::new(Sum(self.clone(), key.name().to_owned()))
        }
    }

    impl Recorder for Sums {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.sum(key))
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.sum(key))
        }

        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::from_arc(self.sum(key))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn metrics_are_the_sum_of_all_clients() {
        let rig = Rig::new(&[1]);
        let sums = Sums::default();
        let clients = metrics::with_local_recorder(&sums, || [client(&rig), client(&rig)]);
        let _subscription = clients[0].subscribe();
        for client in &clients {
            client.ready().await.unwrap();
            client.request("test.echo", json!(1)).await.unwrap();
        }
        let [one, other] = clients.map(|client| client.statistics());
        let sums = sums.0.lock().unwrap().clone();
        let expected = [
            ("onesocket_dials_total", 2),
            ("onesocket_connects_total", 2),
            ("onesocket_frames_in_total", one.frames_in + other.frames_in),
            ("onesocket_bytes_in_total", one.bytes_in + other.bytes_in),
            ("onesocket_frames_out_total", one.frames_out + other.frames_out),
            ("onesocket_bytes_out_total", one.bytes_out + other.bytes_out),
            ("onesocket_round_trip_seconds", 2),
            ("onesocket_pending", 0),
            ("onesocket_subscriptions", 1),
        ];
        for (name, value) in expected {
            assert_eq!(sums.get(name), Some(&(value as f64)), "{name}");
        }
    }
}
