//! What a change of config does, and what happens when the gateway changes its mind about the token.

use onesocket::NotReady;
use onesocket::core::{ConnectionError, Delivery, Epoch, PauseReason, Push, RequestErrorKind, Status};

use crate::consumer::{
    Census, Witness, client_with, config_for, config_with_token, leave, quick, sockets_to, stays, within,
};
use crate::support::Gateway;

/// All checks on one pair of gateways, the cheap ones first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the gateway: run tests/real_gateway/install"]
async fn one_change_means_one_connection() -> Result<(), Box<dyn std::error::Error>> {
    let start = |token: &str| {
        let token = token.to_owned();
        Gateway::start(crate::support::Options { token, ..crate::support::Options::default() })
    };
    let (mut here, there) = tokio::try_join!(start("the-token-here"), start("the-token-there"))?;
    a_wrong_token_pauses_until_another_is_configured(&here).await;
    tokio::task::block_in_place(|| {
        // On one thread, where ten changes in a row are surely ten changes at once.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(another_endpoint_moves_the_one_socket(&here, &there));
        Ok::<_, std::io::Error>(())
    })?;
    a_rotated_token_closes_the_socket_and_the_new_one_opens_it(&mut here).await?;
    a_pause_ends_when_the_gateway_takes_the_token(&mut here).await?;
    Ok(())
}

/// The reason for a pause over the token, as the gateway gave it.
fn refused_token(status: &Status) -> Option<String> {
    let Status::Paused(reason) = status else { return None };
    let PauseReason::Credentials(error) = &**reason else { panic!("paused for another reason: {reason}") };
    error.detail_code.clone().map(String::from)
}

async fn a_wrong_token_pauses_until_another_is_configured(gateway: &Gateway) {
    let port = gateway.port();
    let wrong = "not-the-token-of-this-gateway";
    let (client, network) = client_with(config_with_token(gateway, wrong), quick());
    let queued = client.request("health", ()).into_future();
    let error = within("the refusal", queued).await.expect_err("the token is wrong");
    assert_eq!(error.delivery, Delivery::NotSent);
    let RequestErrorKind::Paused(reason) = &error.kind else { panic!("{error}") };
    assert!(matches!(&**reason, PauseReason::Credentials(_)), "{reason}");
    assert!(!format!("{error} {error:?}").contains(wrong), "{error:?}");
    assert_eq!(refused_token(&client.status()).as_deref(), Some("AUTH_TOKEN_MISMATCH"));

    // No timer and no consumer brings the token to the gateway again.
    let late = within("a late request", client.request("health", ()).into_future()).await;
    assert_eq!(late.expect_err("the client is paused"), error);
    assert!(matches!(within("ready", client.ready()).await, Err(NotReady::Paused(_))));
    let mut subscription = Witness::of(&client);
    client.wake();
    client.configure(Some(config_with_token(gateway, wrong))).await.expect("the client takes configs");
    stays("the client is paused", || {
        refused_token(&client.status()).is_some() && network.dials() == 1 && sockets_to(port).is_empty()
    })
    .await;

    client.configure(Some(config_for(gateway))).await.expect("the client takes configs");
    assert_eq!(within("ready", client.ready()).await, Ok(Epoch(2)));
    let snapshot = subscription.snapshot("the first snapshot").await;
    assert_eq!(snapshot.epoch(), Epoch(2));
    assert_eq!((network.dials(), sockets_to(port).len()), (2, 1));
    leave(&client, port).await;
}

async fn another_endpoint_moves_the_one_socket(here: &Gateway, there: &Gateway) {
    let (client, network) = client_with(config_for(here), quick());
    let mut witness = Witness::of(&client);
    let first = witness.snapshot("the first gateway's snapshot").await;
    assert_eq!((sockets_to(here.port()).len(), sockets_to(there.port()).len()), (1, 0));

    client.configure(Some(config_for(there))).await.expect("the client takes configs");
    let second = witness.snapshot("the second gateway's snapshot").await;
    assert_ne!(first.hello.boot_id, second.hello.boot_id);
    assert_eq!((sockets_to(here.port()).len(), sockets_to(there.port()).len()), (0, 1));
    assert_eq!((second.epoch(), network.dials()), (Epoch(2), 2));

    // Of many changes at once only the last one dials.
    let changes = (0..10).map(|change| {
        let gateway = if change % 2 == 0 { there } else { here };
        client.configure(Some(config_for(gateway)))
    });
    within("ten changes", futures_util::future::join_all(changes)).await;
    let third = witness.snapshot("the first gateway's second snapshot").await;
    assert_eq!(third.hello.boot_id, first.hello.boot_id);
    assert_eq!((sockets_to(here.port()).len(), sockets_to(there.port()).len()), (1, 0));
    assert_eq!((third.epoch(), network.dials()), (Epoch(3), 3));
    leave(&client, here.port()).await;
}

async fn a_rotated_token_closes_the_socket_and_the_new_one_opens_it(
    gateway: &mut Gateway,
) -> std::io::Result<()> {
    let port = gateway.port();
    let (client, network) = client_with(config_for(gateway), quick());
    let mut witness = Witness::of(&client);
    witness.snapshot("the first snapshot").await;

    let census = Census::of(port);
    gateway.set_token("the-token-after-the-rotation")?;
    let refusal = witness
        .until("the pause", |push| match push {
            Push::Status(status) => refused_token(status),
            _ => None,
        })
        .await;
    assert_eq!(refusal, "AUTH_TOKEN_MISMATCH");
    let ends: Vec<_> = witness
        .statuses
        .iter()
        .filter_map(|status| if let Status::Backoff { cause, .. } = status { Some(&**cause) } else { None })
        .collect();
    let changed = ConnectionError::Closed { code: 4001, reason: "gateway auth changed".into() };
    assert_eq!(ends, [&changed]);
    stays("the client is paused", || {
        refused_token(&client.status()).is_some() && network.dials() == 2 && sockets_to(port).is_empty()
    })
    .await;

    client.configure(Some(config_for(gateway))).await.expect("the client takes configs");
    let snapshot = witness.snapshot("the snapshot after the rotation").await;
    assert_eq!((snapshot.epoch(), network.dials(), sockets_to(port).len()), (Epoch(3), 3, 1));
    assert_eq!(census.finish().most, 1);
    leave(&client, port).await;
    Ok(())
}

async fn a_pause_ends_when_the_gateway_takes_the_token(gateway: &mut Gateway) -> std::io::Result<()> {
    let port = gateway.port();
    let coming = "the-token-after-the-pause";
    let (client, network) = client_with(config_with_token(gateway, coming), quick());
    assert!(matches!(within("the pause", client.ready()).await, Err(NotReady::Paused(_))));
    gateway.set_token(coming)?;
    within("the new token", async { while !matches!(gateway.accepts_token(coming).await, Ok(true)) {} })
        .await;
    assert_eq!(network.dials(), 1);

    client.resume();
    assert_eq!(within("ready", client.ready()).await, Ok(Epoch(2)));
    assert_eq!((network.dials(), sockets_to(port).len()), (2, 1));
    leave(&client, port).await;
    Ok(())
}
