//! One client, many consumers, one socket: what holds while the gateway simply works.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use onesocket::core::{Delivery, Epoch, Options, Push, RequestErrorKind, Status};
use onesocket::{ConfigureError, NotReady};
use serde_json::{Value, json};

use crate::consumer::{
    Census, Witness, client_with, config_for, held_for, in_flight, leave, mentions, quick, sockets_to, stays,
    within,
};
use crate::support::Gateway;

/// All checks that leave the gateway as it was, on one gateway. Each has a client of its own and leaves
/// no socket behind, so that the next can count again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the gateway: run tests/real_gateway/install"]
async fn consumers_share_one_socket() -> Result<(), Box<dyn std::error::Error>> {
    let gateway = Gateway::start(crate::support::Options::default()).await?;
    nothing_is_dialed_before_it_is_wanted_and_the_snapshot_comes_first(&gateway).await;
    thirty_two_requests_of_four_consumers_share_one_socket(&gateway).await;
    an_equal_config_changes_nothing(&gateway).await;
    a_two_phase_request_is_accepted_and_then_ends(&gateway).await;
    a_request_that_is_too_large_never_leaves(&gateway).await;
    a_shutdown_leaves_nothing_and_is_final(&gateway).await;
    Ok(())
}

async fn nothing_is_dialed_before_it_is_wanted_and_the_snapshot_comes_first(gateway: &Gateway) {
    let port = gateway.port();
    let (client, network) = client_with(config_for(gateway), Options::default());
    stays("nobody wants a connection", || {
        client.status() == Status::Idle && network.dials() == 0 && sockets_to(port).is_empty()
    })
    .await;

    let mut first = Witness::of(&client);
    let Some(Push::Snapshot(snapshot)) = within("the first item", first.next()).await else {
        panic!("the first item is not a snapshot");
    };
    let hello = &snapshot.hello;
    assert_eq!((hello.epoch, hello.protocol), (Epoch(1), 4));
    let pinned: Value = serde_json::from_str(include_str!("package.json")).expect("package.json is JSON");
    assert_eq!(pinned["dependencies"]["openclaw"], *hello.server_version);
    assert!(hello.boot_id.as_deref().is_some_and(|id| !id.is_empty()), "{hello:?}");
    assert!(!hello.connection_id.is_empty());
    assert_eq!(hello.scopes, ["operator.admin"]);
    assert_eq!(hello.policy.tick_interval, Duration::from_secs(30));
    assert_eq!(hello.policy.max_payload, 26_214_400);
    assert_eq!(within("ready", client.ready()).await, Ok(Epoch(1)));
    assert_eq!(client.status(), Status::Ready { epoch: Epoch(1) });

    let health = within("health", client.request("health", ()).into_future()).await.expect("health answers");
    assert_eq!(health.epoch, Epoch(1));
    assert_eq!(health.payload.decode::<Value>().expect("it is JSON")["ok"], true);

    // Our own request comes back as an event, and is part of what later subscribers start from.
    let text = "the first contact of a test";
    let event = client.request("system-event", json!({ "text": text })).into_future();
    within("system-event", event).await.expect("an admin may report a system event");
    let presence = first
        .until("the presence event", |push| match push {
            Push::Event(event) if &*event.name == "presence" => Some(event.clone()),
            _ => None,
        })
        .await;
    assert!(mentions(&presence.payload, text), "{}", presence.payload.get());
    let later = Witness::of(&client).snapshot("the second subscriber's snapshot").await;
    assert_eq!(later.epoch(), Epoch(1));
    assert!(mentions(&later.presence, text), "{}", later.presence.get());
    let version = presence.state_version.expect("a presence event names its version");
    assert!(later.state_version.presence >= version.presence);
    assert!(!mentions(&snapshot.presence, text), "the first snapshot was changed afterwards");

    assert_eq!(network.dials(), 1);
    leave(&client, port).await;
}

async fn thirty_two_requests_of_four_consumers_share_one_socket(gateway: &Gateway) {
    const CONSUMERS: usize = 4;
    const REQUESTS_EACH: usize = 8;
    const HELD: Duration = Duration::from_millis(700);

    let port = gateway.port();
    let (client, network) = client_with(config_for(gateway), Options::default());
    let census = Census::of(port);
    let since = Instant::now();
    // Nobody has connected yet: all of them wait for the same attempt.
    let consumers = (0..CONSUMERS).map(|consumer| {
        let client = client.clone();
        tokio::spawn(async move {
            let requests = (0..REQUESTS_EACH).map(|number| {
                let run = format!("run-{consumer}-{number}");
                let request = client.request("agent.wait", held_for(HELD, &run));
                async move { (run, request.await) }
            });
            join_all(requests).await
        })
    });
    let answers = within("all answers", join_all(consumers)).await;
    let elapsed = since.elapsed();
    let tally = census.finish();

    let mut answered = 0;
    for (run, answer) in answers.into_iter().flat_map(|consumer| consumer.expect("no consumer panics")) {
        let answer = answer.unwrap_or_else(|error| panic!("{run}: {error}"));
        let payload: Value = answer.payload.decode().expect("it is JSON");
        assert_eq!((answer.epoch, payload), (Epoch(1), json!({ "runId": run, "status": "timeout" })));
        answered += 1;
    }
    assert_eq!(answered, CONSUMERS * REQUESTS_EACH);
    assert!(elapsed > HELD && elapsed < 16 * HELD, "{elapsed:?}: the requests were not in flight together");
    assert_eq!((tally.most, tally.sockets.len()), (1, 1), "{tally:?}");
    assert!(tally.looks > 20, "{tally:?}");
    assert_eq!(sockets_to(port), Vec::from_iter(tally.sockets));
    assert_eq!(network.dials(), 1);
    leave(&client, port).await;
}

async fn an_equal_config_changes_nothing(gateway: &Gateway) {
    let port = gateway.port();
    let (client, network) = client_with(config_for(gateway), quick());
    let mut witness = Witness::of(&client);
    witness.snapshot("the first snapshot").await;
    let socket = sockets_to(port);
    assert_eq!(socket.len(), 1);

    let census = Census::of(port);
    let request = tokio::spawn({
        let held = held_for(Duration::from_millis(300), "through-a-hundred-configs");
        client.request("agent.wait", held).into_future()
    });
    for _ in 0..100 {
        client.configure(Some(config_for(gateway))).await.expect("the client takes configs");
        assert_eq!(client.status(), Status::Ready { epoch: Epoch(1) });
    }
    within("the request", request).await.expect("it was not aborted").expect("it was not disturbed");
    let tally = census.finish();
    assert_eq!((tally.most, Vec::from_iter(tally.sockets)), (1, socket));
    assert_eq!(network.dials(), 1);
    leave(&client, port).await;
    witness.end().await;
    assert_eq!(witness.times_ready(), 1);
}

async fn a_two_phase_request_is_accepted_and_then_ends(gateway: &Gateway) {
    let port = gateway.port();
    let (client, _) = client_with(config_for(gateway), Options::default());
    let run = |key: &str| {
        json!({
            "message": "hello", "sessionKey": "main", "idempotencyKey": key, "timeout": 5, "deliver": false,
        })
    };

    let (request, accepted) = client.request("agent", run("the-final-answer")).final_reply();
    let (accepted, outcome) = within("both answers", async { tokio::join!(accepted, request) }).await;
    let accepted: Value = accepted.expect("the run was accepted").decode().expect("it is JSON");
    assert_eq!((&accepted["status"], &accepted["runId"]), (&json!("accepted"), &json!("the-final-answer")));
    // There is no model to run it with, which is what the second answer says.
    let error = outcome.expect_err("no model is configured");
    assert_eq!(error.delivery, Delivery::Rejected);
    assert_eq!(error.gateway().map(|error| error.code.as_str()), Some("UNAVAILABLE"), "{error}");

    // Without asking for the final answer, the acknowledgement is the answer and the other is inert.
    let first = client.request("agent", run("the-first-answer"));
    let first = within("the acknowledgement", first.into_future()).await.expect("the run is accepted");
    assert_eq!(first.payload.decode::<Value>().expect("it is JSON")["status"], "accepted");
    let health = within("health", client.request("health", ()).into_future()).await;
    assert_eq!(health.expect("the connection is well").epoch, Epoch(1));
    leave(&client, port).await;
}

async fn a_request_that_is_too_large_never_leaves(gateway: &Gateway) {
    let port = gateway.port();
    let (client, network) = client_with(config_for(gateway), Options::default());
    let snapshot = Witness::of(&client).snapshot("the first snapshot").await;
    let limit = snapshot.hello.policy.max_payload;
    let socket = sockets_to(port);
    let health = async |filler: usize| {
        let request = client.request("health", json!({ "filler": "x".repeat(filler) }));
        within("the large request", request.into_future()).await
    };

    let error = health(limit).await.expect_err("the frame around it makes it too large");
    let RequestErrorKind::TooLarge { bytes, limit: stated } = error.kind else { panic!("{error}") };
    assert_eq!((stated, error.delivery), (limit, Delivery::NotSent));
    let frame = bytes - limit;

    // One byte decides, and the gateway agrees: it reads the largest request and answers it.
    let error = health(limit - frame + 1).await.expect_err("one byte is too much");
    assert_eq!(error.kind, RequestErrorKind::TooLarge { bytes: limit + 1, limit });
    let largest = health(limit - frame).await;
    let answered = match &largest {
        Ok(response) => response.epoch == Epoch(1),
        Err(error) => error.delivery == Delivery::Rejected,
    };
    assert!(answered, "{largest:?}");

    assert_eq!(client.status(), Status::Ready { epoch: Epoch(1) });
    assert_eq!((sockets_to(port), network.dials()), (socket, 1));
    leave(&client, port).await;
}

async fn a_shutdown_leaves_nothing_and_is_final(gateway: &Gateway) {
    let port = gateway.port();
    let (client, network) = client_with(config_for(gateway), quick());
    let mut witness = Witness::of(&client);
    witness.snapshot("the first snapshot").await;
    let pending = in_flight(&client, "agent.wait", held_for(Duration::from_secs(60), "never")).await;
    let report = within("the shutdown", client.shutdown()).await;
    assert_eq!(sockets_to(port), [], "a socket outlived the shutdown");
    assert_eq!((report.had_socket, report.failed_requests, report.closed_subscriptions), (true, 1, 1));
    assert_eq!(client.status(), Status::Stopped);

    // The request was with the gateway, the later one never gets there.
    let error = within("the pending request", pending).await.expect_err("it was given up");
    assert_eq!((error.kind, error.delivery), (RequestErrorKind::ShutDown, Delivery::Unknown));
    let late = client.clone().request("health", ()).into_future();
    let error = within("a late request", late).await.expect_err("the client was shut down");
    assert_eq!((error.kind, error.delivery), (RequestErrorKind::ShutDown, Delivery::NotSent));
    witness.end().await;
    assert_eq!(witness.statuses.last(), Some(&Status::Stopped));
    let late = client.subscribe().expect("there is room").next().await;
    assert_eq!(late, Some(Push::Closed));

    assert_eq!(within("the second shutdown", client.shutdown()).await, report);
    let config = client.configure(Some(config_for(gateway)));
    assert_eq!(within("a late config", config).await, Err(ConfigureError::ShutDown));
    client.connect();
    client.wake();
    client.resume();
    assert_eq!(within("ready", client.ready()).await, Err(NotReady::ShutDown));
    stays("the client is shut down", || {
        client.status() == Status::Stopped && network.dials() == 1 && sockets_to(port).is_empty()
    })
    .await;
}
