//! A gateway and a proxy on this machine, on real TCP.

use std::sync::{Arc, Mutex};

use onesocket_gateway::host::Host;
use onesocket_gateway::{GatewayConfig, GatewayModel, Peer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// The token of the gateway.
pub(crate) const TOKEN: &str = "test-token";

/// Serves the gateway model to peers of this kind, and says at which port.
pub(crate) async fn gateway(peer: Peer) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let host = Host::new(GatewayModel::new(GatewayConfig::default(), 7), ());
    tokio::spawn({
        let host = host.clone();
        async move { host.run_clock().await }
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(host.serve(stream, peer.clone()));
        }
    });
    port
}

/// A proxy that gives this answer and leads every name to the port here. The request lines that it saw come with it.
pub(crate) async fn tunnels(to: u16, answer: &'static str) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await?);
                }
                let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
                seen.lock().unwrap().push(line);
                let mut server = TcpStream::connect(("127.0.0.1", to)).await?;
                client.write_all(answer.as_bytes()).await?;
                copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    (port, asked)
}
