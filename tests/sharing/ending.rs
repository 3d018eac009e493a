//! Whatever is asked of a client while it is shut down, or afterwards, gets a last word.

use std::future::IntoFuture;

use onesocket::core::{Delivery, Status};
use onesocket::{Client, Hub, NotReady};
use onesocket_gateway::Order;

use crate::asked::LastWord::ShutDown;
use crate::asked::{Asked, ends, is_closed, is_gone, is_refused, poll_once};
use crate::rig::{Rig, config};

/// Begins a shutdown and asks for everything before the driver has heard of it.
async fn ask_while_it_shuts_down(client: &Client) -> Asked {
    let mut shutdown = Box::pin(client.shutdown());
    poll_once(&mut shutdown).await;
    let asked = Asked::of(client).await;
    drop(shutdown);
    asked
}

fn client(rig: &Rig) -> Client {
    Client::builder().config(config(1)).seed(7).spawn(rig.clone()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn stop_is_final_what_is_asked_behind_a_shutdown_from_idle_is_refused() {
    let rig = Rig::new(&[1]);
    let client = client(&rig);
    ask_while_it_shuts_down(&client).await.assert_refused(&ShutDown).await;
    is_gone(&client, &ShutDown).await;
    assert_eq!(rig.count(1).ever, 0);
}

#[tokio::test(start_paused = true)]
async fn stop_is_final_what_is_asked_behind_a_shutdown_in_a_backoff_is_refused() {
    let rig = Rig::new(&[1]);
    rig.site(1).host.order(Order::Stop);
    let client = client(&rig);
    client.connect();
    let mut statuses = client.watch_status();
    ends(statuses.wait_for(|status| matches!(status, Status::Backoff { .. }))).await;
    ask_while_it_shuts_down(&client).await.assert_refused(&ShutDown).await;
    is_gone(&client, &ShutDown).await;
}

#[tokio::test(start_paused = true)]
async fn stop_is_final_what_is_asked_behind_a_shutdown_of_a_live_socket_ends() {
    let rig = Rig::new(&[1]);
    let client = client(&rig);
    client.ready().await.unwrap();
    let Asked { pushes, request, configured, ready } = ask_while_it_shuts_down(&client).await;
    is_closed(pushes).await;
    is_refused(request, Delivery::NotSent, &ShutDown).await;
    assert_eq!(ends(ready).await.unwrap(), Err(NotReady::ShutDown));
    // The driver takes it, or is gone before.
    let _ = ends(configured.unwrap()).await.unwrap();
    is_gone(&client, &ShutDown).await;
}

#[tokio::test(start_paused = true)]
async fn stop_is_final_what_is_asked_of_a_hub_client_behind_its_shutdown_is_refused() {
    let rig = Rig::new(&[1]);
    let hub = Hub::new(rig.clone());
    let client = hub.client(config(1)).unwrap();
    let mut shutdown = Box::pin(client.shutdown());
    poll_once(&mut shutdown).await;
    let pushes = client.subscribe().unwrap();
    let mut request = client.request("test.echo", ()).into_future();
    poll_once(&mut request).await;
    is_closed(pushes).await;
    is_refused(request, Delivery::NotSent, &ShutDown).await;
    ends(shutdown).await;
    is_gone_from_hub(&hub, &client).await;
}

/// The hub gives out a client that works instead.
async fn is_gone_from_hub(hub: &Hub<Rig>, client: &Client) {
    assert_eq!(client.status(), Status::Stopped);
    let next = hub.client(config(1)).unwrap();
    ends(next.ready()).await.expect("a new client");
    ends(hub.shutdown()).await;
}
