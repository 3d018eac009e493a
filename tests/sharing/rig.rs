//! Gateways by port, on a paused clock, and a count of the sockets to each of them.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use onesocket::Client;
use onesocket::core::{Config, Endpoint};
use onesocket::network::Network;
use onesocket_gateway::host::Host;
use onesocket_gateway::{Admission, GatewayConfig, GatewayModel, Peer};
use onesocket_sim::pipe::{Link, PipeStream, Profile};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(crate) const TOKEN: &str = "test-token";

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A config for the gateway at `port`.
pub(crate) fn config(port: u16) -> Config {
    Config::new(&format!("ws://127.0.0.1:{port}")).unwrap().token(TOKEN)
}

/// A client of the gateway at port 1.
pub(crate) fn client(rig: &Rig) -> Client {
    Client::builder().config(config(1)).seed(7).spawn(rig.clone()).unwrap()
}

/// All gateways there are. Clones are the same network.
#[derive(Clone)]
pub(crate) struct Rig {
    sites: Arc<BTreeMap<u16, Site>>,
    counts: Arc<Mutex<BTreeMap<u16, Count>>>,
}

/// One gateway at the end of one link.
pub(crate) struct Site {
    pub(crate) link: Arc<Link>,
    pub(crate) host: Host,
}

/// Sockets to one gateway, dialing ones included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) live: usize,
    pub(crate) peak: usize,
    pub(crate) ever: usize,
}

impl Rig {
    /// Gateways at these ports, one to five milliseconds away.
    pub(crate) fn new(ports: &[u16]) -> Self {
        let site = |port: &u16| {
            let host = Host::new(GatewayModel::new(GatewayConfig::default(), u64::from(*port)), ());
            tokio::spawn({
                let host = host.clone();
                async move { host.run_clock().await }
            });
            let link = Link::new(Profile::with_latency_us(1_000, 5_000), u64::from(*port));
            (*port, Site { link, host })
        };
        Self { sites: Arc::new(ports.iter().map(site).collect()), counts: Arc::default() }
    }

    pub(crate) fn site(&self, port: u16) -> &Site {
        &self.sites[&port]
    }

    pub(crate) fn count(&self, port: u16) -> Count {
        self.counts.lock().unwrap().get(&port).copied().unwrap_or_default()
    }

    /// Sockets that the gateway at `port` knows of.
    pub(crate) fn seen_by_gateway(&self, port: u16) -> usize {
        self.site(port).host.inspect(GatewayModel::live_connections)
    }
}

impl Network for Rig {
    type Stream = Counted;

    async fn connect(&self, endpoint: &Endpoint) -> io::Result<Counted> {
        let counting = Counting::begin(self.clone(), endpoint.port());
        let Site { link, host } = self.site(endpoint.port());
        link.dial().await?;
        if host.admission() == Admission::Refused {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (client, gateway) = PipeStream::pair(link);
        tokio::spawn(host.serve(gateway, Peer::LOCAL));
        Ok(Counted { stream: client, _counting: counting })
    }
}

struct Counting {
    rig: Rig,
    port: u16,
}

impl Counting {
    fn begin(rig: Rig, port: u16) -> Self {
        {
            let mut counts = rig.counts.lock().unwrap();
            let count = counts.entry(port).or_default();
            count.live += 1;
            count.ever += 1;
            count.peak = count.peak.max(count.live);
        }
        Self { rig, port }
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.rig.counts.lock().unwrap().get_mut(&self.port).unwrap().live -= 1;
    }
}

/// A stream that is counted as long as it lives.
pub(crate) struct Counted {
    stream: PipeStream,
    _counting: Counting,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
