//! One client in an app: ask something, and follow what the gateway pushes.
//!
//! `OPENCLAW_GATEWAY_TOKEN=… cargo run --example embed [URL]`

use std::error::Error;

use onesocket::core::config::DEFAULT_URL;
use onesocket::core::typed::Health;
use onesocket::core::{Config, LagPolicy, Push, TypedEvent};
use onesocket::net::{TcpNetwork, TlsNetwork};
use onesocket::{Client, SubscribeOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1);
    let token = std::env::var("OPENCLAW_GATEWAY_TOKEN").unwrap_or_default();
    run(Config::new(url.as_deref().unwrap_or(DEFAULT_URL))?.token(&token)).await
}

/// Prints the gateway's health and its first two pushes.
pub(crate) async fn run(config: Config) -> Result<(), Box<dyn Error>> {
    // Nothing is dialed yet. TcpNetwork alone would do for ws:// urls.
    let client = Client::builder().config(config).spawn(TlsNetwork::new(TcpNetwork))?;

    // Why a gateway is not ready is worth knowing: a person may have to approve this device.
    let epoch = client.ready().await?;
    println!("connected, epoch {epoch}");
    let health: Health = client.request("health", ()).await?.payload.decode()?;
    println!("{} agents, {} sessions", health.agents.len(), health.sessions.count);

    // The first item is a snapshot, here and again after every reconnect. What was derived from the
    // events before it is obsolete then.
    // A reader that cannot keep up would rather skip to the present state.
    let mut pushes = client.subscribe_with(SubscribeOptions::default().lag(LagPolicy::Resnapshot))?;
    for _ in 0..2 {
        match pushes.next().await {
            Some(Push::Snapshot(snapshot)) => println!("gateway {}", snapshot.hello.server_version),
            Some(Push::Event(event)) => match event.decode()? {
                TypedEvent::Presence(entries) => println!("{} rows of presence", entries.len()),
                TypedEvent::Health(health) => println!("health, {} sessions", health.sessions.count),
                _ => println!("event {}", event.name),
            },
            Some(Push::Gap(_) | Push::Lagged { .. }) => println!("something is missing: fetch it again"),
            Some(Push::Closed) | None => break,
            Some(other) => println!("{other:?}"),
        }
    }

    println!("{:?}", client.statistics());
    // Dropping the last handle closes the connection, too; this waits until nothing is left.
    client.shutdown().await;
    Ok(())
}
