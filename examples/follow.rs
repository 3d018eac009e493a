//! A client that goes where the settings say, while its consumers keep their handles.
//!
//! `OPENCLAW_GATEWAY_TOKEN=… cargo run --example follow [PORT] [PORT]`

use std::error::Error;
use std::sync::Arc;

use onesocket::Client;
use onesocket::config_source::follow;
use onesocket::core::config::DEFAULT_PORT;
use onesocket::core::{ClientInfo, Push};
use onesocket::endpoint_store::{EndpointMode, EndpointSettings, EndpointStore, credentials};
use onesocket::net::{TcpNetwork, TlsNetwork};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut ports = std::env::args().skip(1).map(|port| port.parse::<u16>());
    let from = ports.next().transpose()?.unwrap_or(DEFAULT_PORT);
    let to = ports.next().transpose()?.unwrap_or(from);
    run(from, to, |name| std::env::var(name).ok()).await.map(|_| ())
}

/// Follows the gateway from one local port to another. Returns the number of sockets that took.
pub(crate) async fn run(
    from: u16,
    to: u16,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<u64, Box<dyn Error>> {
    let at = |port| EndpointSettings {
        mode: EndpointMode::Local { port, secure: false, host: None },
        // The environment goes before the settings, of which there are none here.
        credentials: credentials(&environment, None, None),
        ..EndpointSettings::default()
    };
    let info = ClientInfo { display_name: Some("Follow".to_owned()), ..ClientInfo::default() };
    let store = Arc::new(EndpointStore::new(&at(from), move |config| config.client(info.clone())));

    let client = Client::builder().spawn(TlsNetwork::new(TcpNetwork))?;
    let following = follow(&client, Arc::clone(&store))?;
    tokio::spawn(following.run());

    let mut pushes = client.subscribe()?;
    next_snapshot(&mut pushes).await;
    println!("at the gateway on port {from}");
    if store.set(&at(to)) {
        next_snapshot(&mut pushes).await;
        println!("at the gateway on port {to}");
    }
    let sockets = client.statistics().dials;
    client.shutdown().await;
    Ok(sockets)
}

/// Whatever happens in between, a new connection begins with a snapshot.
async fn next_snapshot(pushes: &mut onesocket::Subscription) {
    while let Some(push) = pushes.next().await {
        match push {
            Push::Snapshot(_) => return,
            Push::Status(status) => println!("  {status:?}"),
            _ => {}
        }
    }
}
