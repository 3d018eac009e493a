//! What a client makes of a gateway that restarts or crashes, and what it says about it in the log.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use onesocket::Client;
use onesocket::core::{ConnectionError, Delivery, Epoch, Push, RequestErrorKind, Status};
use serde_json::json;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::consumer::{
    Census, Witness, client_with, config_for, held_for, in_flight, leave, mentions, quick, sockets_to, stays,
    within,
};
use crate::support::Gateway;

/// What is known at once is known within this time, also while a gateway boots on the same processors.
const AT_ONCE: Duration = Duration::from_secs(5);

/// The lines that this thread logs, from `debug` up: ours, and those of the websocket library.
///
/// At `trace` that library shows every frame it moves, and so our credentials; see the README.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn capture() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(LevelFilter::DEBUG)
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone());
        (log, subscriber.finish().set_default())
    }

    /// What was logged since the last call.
    fn take(&self) -> String {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        String::from_utf8(bytes).expect("a log is text")
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How many lines of a log are at `info` and above: what an operator reads.
fn outage_lines(log: &str) -> usize {
    log.lines().filter(|line| !line.trim_start().starts_with("DEBUG")).count()
}

/// One outage is logged in two lines, however many attempts it took; each attempt has a few for whoever
/// looks closer.
fn assert_few_lines(log: &str, dials: usize) {
    assert_eq!(outage_lines(log), 2, "{log}");
    assert!(log.lines().count() < 10 * (dials + 1), "{dials} dials:\n{log}");
}

/// Calls `health` every few milliseconds until a connection after `epoch` answers, and returns the
/// connections that answered, having made sure that no call ended in a way it must not.
async fn ask_all_the_time(client: Client, epoch: Epoch) -> BTreeSet<Epoch> {
    /// Well below what the client queues, however long the gateway takes to come back.
    const WAITING_AT_MOST: usize = 500;

    let mut calls = Vec::<tokio::task::JoinHandle<_>>::new();
    while !matches!(client.status(), Status::Ready { epoch: now } if now > epoch) {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if calls.iter().filter(|call| !call.is_finished()).count() >= WAITING_AT_MOST {
            continue;
        }
        let call = client.request("health", ()).timeout(None).into_future();
        calls.push(tokio::spawn(async move {
            let since = Instant::now();
            (call.await, since.elapsed())
        }));
    }
    let mut answered_by = BTreeSet::new();
    for call in calls {
        let (answer, elapsed) = call.await.expect("no call panics");
        match answer {
            Ok(answer) => drop(answered_by.insert(answer.epoch)),
            // The close overtook the question or its answer.
            Err(error) if error.close_code() == Some(1012) => {
                assert_eq!(error.delivery, Delivery::Unknown);
                assert!(elapsed < AT_ONCE, "{error}: only after {elapsed:?}");
            }
            Err(error) => {
                let code = error.gateway().map(|error| error.code.as_str());
                assert_eq!((code, error.delivery), (Some("UNAVAILABLE"), Delivery::Rejected), "{error}");
                assert!(elapsed < AT_ONCE, "{error}: only after {elapsed:?}");
            }
        }
    }
    answered_by
}

/// On one thread, because the log is captured by thread.
#[tokio::test]
#[ignore = "needs the gateway: run tests/real_gateway/install"]
async fn a_restart_and_a_crash_are_survived() -> Result<(), Box<dyn std::error::Error>> {
    let token = "a-token-that-no-log-may-show";
    let options = crate::support::Options { token: token.to_owned(), ..crate::support::Options::default() };
    let mut gateway = Gateway::start(options).await?;
    let port = gateway.port();

    let (log, _guard) = Log::capture();
    let (client, network) = client_with(config_for(&gateway), quick());
    let mut witness = Witness::of(&client);
    let first = witness.snapshot("the first snapshot").await;
    let before = log.take();
    assert_eq!(outage_lines(&before), 1, "{before}");

    // A graceful restart lets the gateway finish what it has begun, and refuse what comes after.
    let census = Census::of(port);
    let begun = in_flight(&client, "agent.wait", held_for(Duration::from_secs(1), "begun-before")).await;
    gateway.signal_restart()?;
    let consumer = tokio::spawn(ask_all_the_time(client.clone(), first.epoch()));
    let begun = within("the request in flight", begun).await;
    assert_eq!(begun.expect("it is finished before the restart").epoch, first.epoch());
    let second = witness.snapshot("the snapshot after the restart").await;
    let answered_by = within("the consumer", consumer).await?;
    assert_eq!(Vec::from_iter(answered_by), [first.epoch(), second.epoch()]);
    assert_ne!(first.hello.boot_id, second.hello.boot_id);
    assert!(first.epoch() < second.epoch());
    stays("one connection took over", || {
        client.status() == Status::Ready { epoch: second.epoch() } && sockets_to(port).len() == 1
    })
    .await;
    let tally = census.finish();
    assert_eq!(tally.most, 1, "{tally:?}");
    let text = "the first event after a restart";
    let event = client.request("system-event", json!({ "text": text })).into_future();
    let answer = within("system-event", event).await.expect("the new connection works");
    assert_eq!(answer.epoch, second.epoch());
    witness
        .until("the event", |push| match push {
            Push::Event(event) => mentions(&event.payload, text).then_some(()),
            _ => None,
        })
        .await;
    assert_eq!(witness.times_ready(), 2, "{:?}", witness.statuses);
    let restart = log.take();
    assert_few_lines(&restart, network.dials());

    // A crash.
    let dials = network.dials();
    let held = in_flight(&client, "agent.wait", held_for(Duration::from_secs(60), "never-answered")).await;
    let since = Instant::now();
    gateway.kill()?;
    let error = within("the request in flight", held).await.expect_err("the gateway crashed");
    assert!(since.elapsed() < AT_ONCE, "{error}: only after {:?}", since.elapsed());
    assert_eq!(error.delivery, Delivery::Unknown);
    let RequestErrorKind::Disconnected(cause) = &error.kind else { panic!("{error}") };
    assert!(matches!(&**cause, ConnectionError::Lost(_)), "{cause:?}");
    let meanwhile = (0..3).map(|_| client.request("health", ()).timeout(None).into_future());
    let meanwhile = tokio::spawn(futures_util::future::join_all(meanwhile));
    gateway.start_again().await?;
    let third = witness.snapshot("the snapshot after the crash").await;
    assert_ne!(second.hello.boot_id, third.hello.boot_id);
    for answer in within("the requests made meanwhile", meanwhile).await? {
        assert_eq!(answer.expect("the next connection serves it").epoch, third.epoch());
    }
    stays("one connection took over", || {
        client.status() == Status::Ready { epoch: third.epoch() } && sockets_to(port).len() == 1
    })
    .await;
    let crash = log.take();
    assert_few_lines(&crash, network.dials() - dials);

    leave(&client, port).await;
    let all = before + &restart + &crash + &log.take();
    assert!(!all.contains(token), "{all}");
    Ok(())
}
