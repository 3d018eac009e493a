//! Three parts of an app that know nothing of each other, and one socket.
//!
//! `OPENCLAW_GATEWAY_TOKEN=… cargo run --example shared [URL]`

use std::error::Error;

use onesocket::Hub;
use onesocket::core::config::DEFAULT_URL;
use onesocket::core::{Config, Push};
use onesocket::net::{TcpNetwork, TlsNetwork};

/// What the parts of the app share: nothing but this.
type Gateways = Hub<TlsNetwork<TcpNetwork>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1);
    let token = std::env::var("OPENCLAW_GATEWAY_TOKEN").unwrap_or_default();
    run(Config::new(url.as_deref().unwrap_or(DEFAULT_URL))?.token(&token)).await.map(|_| ())
}

/// Runs all three side by side, and returns how many sockets that took.
pub(crate) async fn run(config: Config) -> Result<u64, Box<dyn Error>> {
    let hub = Gateways::new(TlsNetwork::new(TcpNetwork));
    // Another handle to the same connection, for a look at its numbers.
    let client = hub.client(config.clone())?;
    tokio::try_join!(
        menu_bar(&hub, config.clone()),
        dashboard(&hub, config.clone()),
        presence(&hub, config.clone()),
    )?;
    let sockets = client.statistics().dials;
    println!("{sockets} socket for three");
    println!("{:?}", hub.shutdown().await);
    Ok(sockets)
}

async fn menu_bar(hub: &Gateways, config: Config) -> Result<(), Box<dyn Error>> {
    let client = hub.client(config)?;
    println!("menu bar: connected, epoch {}", client.ready().await?);
    Ok(())
}

async fn dashboard(hub: &Gateways, config: Config) -> Result<(), Box<dyn Error>> {
    let client = hub.client(config)?;
    let health = client.request("health", ()).await?;
    println!("dashboard: health came over epoch {}", health.epoch);
    Ok(())
}

async fn presence(hub: &Gateways, config: Config) -> Result<(), Box<dyn Error>> {
    // The subscription alone keeps the connection alive.
    let mut pushes = hub.client(config)?.subscribe()?;
    if let Some(Push::Snapshot(snapshot)) = pushes.next().await {
        println!("presence: the snapshot is of epoch {}", snapshot.epoch());
    }
    Ok(())
}
