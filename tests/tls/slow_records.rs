//! A line so slow that one record of TLS takes longer than the silence that a gateway is granted.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use onesocket::Client;
use onesocket::core::Endpoint;
use onesocket::net::TlsNetwork;
use onesocket::network::Network;
use onesocket_gateway::{Misbehave, Order};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, copy, duplex, split};
use tokio::time::{Instant, sleep};

use crate::identity::Identity;
use crate::site::{NAME, Site, config, secs};

/// What comes to the client in a tenth of a second, once the line is slow.
const BYTES: usize = 20;

/// A site at the end of a line that becomes slow.
#[derive(Clone)]
struct SlowLine {
    site: Site,
    is_slow: Arc<AtomicBool>,
}

impl Network for SlowLine {
    type Stream = DuplexStream;

    async fn connect(&self, endpoint: &Endpoint) -> io::Result<DuplexStream> {
        let (mut from_gateway, mut to_gateway) = split(self.site.connect(endpoint).await?);
        let (client, line) = duplex(1_024);
        let (mut from_client, mut to_client) = split(line);
        tokio::spawn(async move { copy(&mut from_client, &mut to_gateway).await });
        let is_slow = Arc::clone(&self.is_slow);
        tokio::spawn(async move {
            let mut buffer = [0; 1_024];
            loop {
                let slow = is_slow.load(Ordering::Relaxed);
                let most = if slow { BYTES } else { buffer.len() };
                match from_gateway.read(&mut buffer[..most]).await {
                    Ok(bytes) if bytes > 0 => to_client.write_all(&buffer[..bytes]).await?,
                    Ok(_) => return Ok(()),
                    Err(error) => return Err(error),
                }
                if slow {
                    sleep(Duration::from_millis(100)).await;
                }
            }
        });
        Ok(client)
    }
}

#[tokio::test(start_paused = true)]
async fn dead_is_detected_a_record_may_take_longer_than_silence() {
    let identity = Identity::new(NAME);
    let line = SlowLine { site: Site::new(&identity), is_slow: Arc::default() };
    let config = config().pin(identity.pin()).unwrap();
    let client = Client::builder().config(config).seed(7).spawn(TlsNetwork::new(line.clone())).unwrap();
    client.ready().await.expect("the gateway is well");
    // The gateway would miss the answers to its pings, which wait behind the message.
    line.site.host.order(Order::Misbehave(Misbehave::StarvePings { lasting: secs(3_600) }));
    line.is_slow.store(true, Ordering::Relaxed);
    let start = Instant::now();
    let answer = client.request("test.echo", json!({ "text": "x".repeat(30_000) })).timeout(None).await;
    answer.expect("it is whole in the end");
    assert!(start.elapsed() > secs(140), "two records of 16 KiB, each more than the silence of 60 s");
    assert_eq!(client.statistics().dials, 1);
    client.shutdown().await;
}
