//! TLS within a tunnel, and a tunnel within TLS, on real TCP.

use std::sync::Arc;

use onesocket::Client;
use onesocket::core::{Config, ConnectionError, DialError, Proxy, ProxyProblem, Status};
use onesocket::net::{ProxyNetwork, TcpNetwork, TlsNetwork};
use onesocket::network::Network;
use onesocket_gateway::host::Host;
use onesocket_gateway::{GatewayConfig, GatewayModel, Peer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::identity::Identity;

/// A gateway behind TLS, at this port.
async fn gateway(identity: &Identity) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let host = Host::new(GatewayModel::new(GatewayConfig::default(), 7), ());
    let acceptor = TlsAcceptor::from(identity.server());
    tokio::spawn({
        let host = host.clone();
        async move { host.run_clock().await }
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (host, acceptor) = (host.clone(), acceptor.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    host.serve(stream, Peer::REMOTE).await;
                }
            });
        }
    });
    port
}

/// A proxy, behind TLS or not, that leads every name to the gateway.
async fn proxy(gateway: u16, tls: Option<Arc<ServerConfig>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                match tls {
                    Some(tls) => tunnel(TlsAcceptor::from(tls).accept(stream).await?, gateway).await,
                    None => tunnel(stream, gateway).await,
                }
            });
        }
    });
    port
}

async fn tunnel<S: AsyncRead + AsyncWrite + Unpin>(mut client: S, gateway: u16) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    assert!(
        head.starts_with(b"CONNECT gateway.test:7443 HTTP/1.1\r\n"),
        "{}",
        String::from_utf8_lossy(&head)
    );
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut TcpStream::connect(("127.0.0.1", gateway)).await?).await.map(drop)
}

fn config(proxy: &str) -> Config {
    let config = Config::new("wss://gateway.test:7443").unwrap().token("test-token");
    config.proxy(Proxy::parse(proxy).unwrap()).unwrap()
}

async fn becomes_ready(config: Config, network: impl Network) {
    let client = Client::builder().config(config).spawn(network).unwrap();
    client.ready().await.unwrap();
    client.shutdown().await;
}

#[tokio::test]
async fn tls_runs_within_the_tunnel() {
    let identity = Identity::new("gateway.test");
    let port = proxy(gateway(&identity).await, None).await;
    let config = config(&format!("http://127.0.0.1:{port}")).pin(identity.pin()).unwrap();
    becomes_ready(config, TlsNetwork::new(ProxyNetwork::new(TcpNetwork))).await;
}

/// The pin is for the gateway: the proxy's certificate is judged by the trust of the network below.
#[tokio::test]
async fn a_tunnel_runs_within_tls() {
    let (identity, of_proxy) = (Identity::new("gateway.test"), Identity::new("localhost"));
    let port = proxy(gateway(&identity).await, Some(of_proxy.server())).await;
    let config = config(&format!("https://localhost:{port}")).pin(identity.pin()).unwrap();
    let below = TlsNetwork::with_roots(TcpNetwork, of_proxy.roots()).unwrap();
    becomes_ready(config.clone(), TlsNetwork::new(ProxyNetwork::new(below))).await;

    let below = TlsNetwork::with_roots(TcpNetwork, identity.roots()).unwrap();
    let client = Client::builder().config(config).spawn(TlsNetwork::new(ProxyNetwork::new(below))).unwrap();
    let mut statuses = client.watch_status();
    client.connect();
    let failed = statuses.wait_for(|status| matches!(status, Status::Backoff { .. })).await;
    let Some(Status::Backoff { cause, .. }) = failed else { panic!("{failed:?}") };
    let ConnectionError::Dial(DialError::Proxy { problem: ProxyProblem::Unreachable(error), .. }) = &*cause
    else {
        panic!("{cause}")
    };
    assert!(matches!(**error, DialError::Certificate { .. }), "{error}");
    client.shutdown().await;
}
