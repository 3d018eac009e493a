//! The examples do what they say, against the gateway model on real TCP.

use std::time::Duration;

use onesocket::core::Config;
use onesocket_gateway::host::Host;
use onesocket_gateway::{GatewayConfig, GatewayModel, Peer};
use tokio::net::TcpListener;
use tokio::time::timeout;

#[allow(dead_code, reason = "its main is for the command line")]
#[path = "../examples/embed.rs"]
mod embed;
#[allow(dead_code, reason = "its main is for the command line")]
#[path = "../examples/follow.rs"]
mod follow;
#[allow(dead_code, reason = "its main is for the command line")]
#[path = "../examples/shared.rs"]
mod shared;

const TOKEN: &str = "test-token";
const PATIENCE: Duration = Duration::from_secs(60);

/// The port of a gateway that runs as long as the test.
async fn gateway() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let host = Host::new(GatewayModel::new(GatewayConfig::default(), 7), ());
    tokio::spawn({
        let host = host.clone();
        async move { host.run_clock().await }
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(host.serve(stream, Peer::LOCAL));
        }
    });
    port
}

async fn config() -> Config {
    Config::new(&format!("ws://127.0.0.1:{}", gateway().await)).unwrap().token(TOKEN)
}

#[tokio::test]
async fn a_client_is_embedded() {
    timeout(PATIENCE, embed::run(config().await)).await.unwrap().unwrap();
}

#[tokio::test]
async fn one_socket_three_consumers_share_a_hub() {
    assert_eq!(timeout(PATIENCE, shared::run(config().await)).await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn one_reconnect_per_change_an_endpoint_is_followed() {
    let (from, to) = (gateway().await, gateway().await);
    let environment = |name: &str| (name == "OPENCLAW_GATEWAY_TOKEN").then(|| TOKEN.to_owned());
    let sockets = timeout(PATIENCE, follow::run(from, to, environment)).await.unwrap().unwrap();
    assert_eq!(sockets, 2);
}
