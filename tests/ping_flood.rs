//! A gateway that pings faster than it reads: what it makes the client keep is bounded, and it is let go.

use std::io;
use std::sync::{Arc, Mutex};

use onesocket::Client;
use onesocket::core::{Config, ConnectionError, Endpoint, Initiator, Options, Status};
use onesocket::network::Network;
use onesocket_gateway::host::Host;
use onesocket_gateway::{GatewayConfig, GatewayModel, Peer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, copy_bidirectional, duplex};
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const TOKEN: &str = "test-token";
/// What the network holds in each direction.
const NETWORK_BYTES: usize = 4 * 1024;
const MAX_PONG_BYTES: usize = 64 * 1024;
/// A ping with the largest payload it may have, from a server.
const PING_BYTES: usize = 127;
/// The answer to it carries a mask, too.
const PONG_BYTES: usize = 131;

/// Connects to a gateway that floods, and from the second dial on to an honest one.
#[derive(Clone)]
struct FloodsFirst {
    after_hello: bool,
    honest: Host,
    /// Begins the flood after hello.
    begin: Arc<Notify>,
    dials: Arc<Mutex<usize>>,
    /// Pings that the client has read in the flood.
    read: Arc<Mutex<usize>>,
}

impl FloodsFirst {
    fn new(after_hello: bool) -> Self {
        let honest = Host::new(GatewayModel::new(GatewayConfig::default(), 7), ());
        tokio::spawn({
            let host = honest.clone();
            async move { host.run_clock().await }
        });
        Self { after_hello, honest, begin: Arc::default(), dials: Arc::default(), read: Arc::default() }
    }
}

impl Network for FloodsFirst {
    type Stream = DuplexStream;

    async fn connect(&self, _: &Endpoint) -> io::Result<DuplexStream> {
        let (client, mut server) = duplex(NETWORK_BYTES);
        let dial = {
            let mut dials = self.dials.lock().unwrap();
            *dials += 1;
            *dials
        };
        if dial > 1 {
            tokio::spawn(self.honest.serve(server, Peer::LOCAL));
            return Ok(client);
        }
        let this = self.clone();
        tokio::spawn(async move {
            if this.after_hello {
                relay(&mut server, this.honest, this.begin).await;
            } else {
                upgrade(&mut server).await;
            }
            flood(server, this.read).await;
        });
        Ok(client)
    }
}

/// Pings until nobody reads any more, and reads nothing.
async fn flood(mut stream: DuplexStream, read: Arc<Mutex<usize>>) {
    let mut ping = vec![0x89, 125];
    ping.resize(PING_BYTES, b'x');
    while stream.write_all(&ping).await.is_ok() {
        *read.lock().unwrap() += 1;
    }
}

/// Answers the upgrade as a gateway does.
async fn upgrade(server: &mut DuplexStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(server.read_u8().await.expect("the client asks for an upgrade"));
    }
    let request = String::from_utf8(request).expect("a request is text");
    let key =
        request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).expect("it has a key");
    let accept = derive_accept_key(key.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    server.write_all(answer.as_bytes()).await.expect("the client reads the answer");
}

/// An honest gateway until the flood begins.
async fn relay(server: &mut DuplexStream, honest: Host, begin: Arc<Notify>) {
    let (gateway, mut relay) = duplex(NETWORK_BYTES);
    tokio::spawn(honest.serve(gateway, Peer::LOCAL));
    tokio::select! {
        ended = copy_bidirectional(server, &mut relay) => panic!("the connection ended: {ended:?}"),
        () = begin.notified() => {}
    }
}

async fn is_let_go(after_hello: bool) {
    let network = FloodsFirst::new(after_hello);
    let config = Config::new("ws://127.0.0.1:1").unwrap().token(TOKEN);
    let mut options = Options::default();
    options.max_pong_bytes = MAX_PONG_BYTES;
    let client = Client::builder().config(config).options(options).seed(7).spawn(network.clone()).unwrap();
    let mut statuses = client.watch_status();
    client.connect();
    if after_hello {
        client.request("health", ()).await.expect("the gateway is still honest");
        network.begin.notify_one();
    }
    let failed = statuses.wait_for(|status| matches!(status, Status::Backoff { .. })).await;
    let Some(Status::Backoff { cause, .. }) = failed else { panic!("{failed:?}") };
    assert_eq!(*cause, ConnectionError::PingFlood { limit: MAX_PONG_BYTES });
    assert_eq!(cause.initiator(), Initiator::Local);

    // What was read beyond the limit is what the network holds.
    let read = *network.read.lock().unwrap();
    let most = (MAX_PONG_BYTES + 2 * NETWORK_BYTES) / PONG_BYTES + 32 * 1024 / PING_BYTES;
    assert!((MAX_PONG_BYTES / PONG_BYTES..most).contains(&read), "{read} pings, at most {most}");

    client.ready().await.expect("the next gateway is honest");
    client.request("health", ()).await.expect("and answers");
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn isolated_consumers_a_flood_of_pings_before_hello_is_left() {
    is_let_go(false).await;
}

#[tokio::test(start_paused = true)]
async fn isolated_consumers_a_flood_of_pings_after_hello_is_left() {
    is_let_go(true).await;
}

/// One that reads the answers may ping as often as it likes.
#[tokio::test(start_paused = true)]
async fn dead_is_detected_a_gateway_that_pings_often_and_reads_is_kept() {
    let (client, mut server) = duplex(NETWORK_BYTES);
    let client = Arc::new(Mutex::new(Some(client)));
    let mut options = Options::default();
    options.max_pong_bytes = PONG_BYTES;
    let client = Client::builder()
        .config(Config::new("ws://127.0.0.1:1").unwrap().token(TOKEN))
        .options(options)
        .spawn(Once(client))
        .unwrap();
    client.connect();
    upgrade(&mut server).await;
    let mut ping = vec![0x89, 125];
    ping.resize(PING_BYTES, b'x');
    let mut pong = [0; PONG_BYTES];
    for _ in 0..1_000 {
        server.write_all(&ping).await.unwrap();
        server.read_exact(&mut pong).await.unwrap();
        assert_eq!(pong[..2], [0x8a, 0x80 | 125]);
    }
    assert!(matches!(client.status(), Status::Handshaking { .. }), "{:?}", client.status());
}

/// A network with one stream.
struct Once(Arc<Mutex<Option<DuplexStream>>>);

impl Network for Once {
    type Stream = DuplexStream;

    async fn connect(&self, _: &Endpoint) -> io::Result<DuplexStream> {
        self.0.lock().unwrap().take().ok_or_else(|| io::ErrorKind::ConnectionRefused.into())
    }
}
