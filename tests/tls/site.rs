//! A gateway behind TLS at the end of a simulated link.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use onesocket::Client;
use onesocket::core::{Config, ConnectionError, DialError, Endpoint, Status};
use onesocket::net::TlsNetwork;
use onesocket::network::Network;
use onesocket_gateway::host::Host;
use onesocket_gateway::{GatewayConfig, GatewayModel, Peer};
use onesocket_sim::pipe::{Link, PipeStream, Profile};
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::identity::Identity;

pub(crate) const TOKEN: &str = "test-token";
pub(crate) const NAME: &str = "gateway.test";
const URL: &str = "wss://gateway.test:7443";

/// What the port does with a connection.
#[derive(Clone)]
pub(crate) enum Behaviour {
    Tls(Arc<ServerConfig>),
    /// Reads for ever, and says nothing.
    Silence,
    /// Says this when it has read something, and closes.
    Says(Vec<u8>),
}

/// What was agreed on in a handshake: the name that the client asked for, and the protocol.
pub(crate) type Agreed = (Option<String>, Option<Vec<u8>>);

#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) link: Arc<Link>,
    pub(crate) host: Host,
    behaviour: Arc<Mutex<Behaviour>>,
    /// What came of the gateway's side of each TLS handshake.
    handshakes: Arc<Mutex<Vec<Result<Agreed, String>>>>,
}

impl Site {
    pub(crate) fn new(identity: &Identity) -> Self {
        Self::behaving(Behaviour::Tls(identity.server()))
    }

    pub(crate) fn behaving(behaviour: Behaviour) -> Self {
        let host = Host::new(GatewayModel::new(GatewayConfig::default(), 7), ());
        tokio::spawn({
            let host = host.clone();
            async move { host.run_clock().await }
        });
        let link = Link::new(Profile::with_latency_us(1_000, 5_000), 7);
        Self { link, host, behaviour: Arc::new(Mutex::new(behaviour)), handshakes: Arc::default() }
    }

    pub(crate) fn presents(&self, identity: &Identity) {
        self.behaves(Behaviour::Tls(identity.server()));
    }

    pub(crate) fn behaves(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// The handshakes that the client ended, as the gateway saw it.
    pub(crate) fn refusals(&self) -> Vec<String> {
        self.handshakes.lock().unwrap().iter().filter_map(|outcome| outcome.clone().err()).collect()
    }

    pub(crate) fn agreed(&self) -> Vec<Agreed> {
        self.handshakes.lock().unwrap().iter().filter_map(|outcome| outcome.clone().ok()).collect()
    }

    pub(crate) fn accepted(&self) -> usize {
        self.agreed().len()
    }

    /// That nothing has come through TLS.
    pub(crate) fn assert_untouched(&self) {
        assert_eq!((self.accepted(), self.host.inspect(GatewayModel::open_sockets)), (0, 0));
    }

    async fn serve(self, mut gateway: PipeStream) {
        let behaviour = self.behaviour.lock().unwrap().clone();
        let server = match behaviour {
            Behaviour::Tls(server) => server,
            Behaviour::Silence => {
                let mut sink = [0; 1_024];
                while gateway.read(&mut sink).await.is_ok_and(|bytes| bytes > 0) {}
                return;
            }
            Behaviour::Says(bytes) => {
                let mut hello = [0; 4_096];
                assert!(gateway.read(&mut hello).await.is_ok_and(|bytes| bytes > 0));
                let said = gateway.write_all(&bytes).await;
                said.and(gateway.shutdown().await).expect("the client listens");
                return;
            }
        };
        match TlsAcceptor::from(server).accept(gateway).into_fallible().await {
            Ok(stream) => {
                let (_, tls) = stream.get_ref();
                let name = tls.server_name().map(str::to_owned);
                let agreed = (name, tls.alpn_protocol().map(<[u8]>::to_vec));
                self.handshakes.lock().unwrap().push(Ok(agreed));
                self.host.serve(stream, Peer::LOCAL).await;
            }
            Err((error, mut stream)) => {
                self.handshakes.lock().unwrap().push(Err(error.to_string()));
                // What was said last still arrives, if the client is there.
                let _ = stream.shutdown().await;
            }
        }
    }
}

impl Network for Site {
    type Stream = PipeStream;

    async fn connect(&self, endpoint: &Endpoint) -> io::Result<PipeStream> {
        assert!(!endpoint.is_secure() && endpoint.pins().is_none(), "below TLS there is none");
        assert_eq!(endpoint.port(), 7443);
        self.link.dial().await?;
        let (client, gateway) = PipeStream::pair(&self.link);
        tokio::spawn(self.clone().serve(gateway));
        Ok(client)
    }
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) fn config() -> Config {
    config_of(URL)
}

pub(crate) fn config_of(url: &str) -> Config {
    Config::new(url).unwrap().token(TOKEN)
}

pub(crate) fn client(network: TlsNetwork<Site>, config: Config) -> Client {
    Client::builder().config(config).seed(7).spawn(network).unwrap()
}

/// Why the first attempt failed; the client goes on trying.
pub(crate) async fn first_failure(client: &Client) -> ConnectionError {
    let mut statuses = client.watch_status();
    client.connect();
    let failed = statuses.wait_for(|status| matches!(status, Status::Backoff { .. }));
    let failed = timeout(secs(30), failed).await.expect("it fails").unwrap();
    let Status::Backoff { cause, .. } = &failed else { unreachable!("it was waited for") };
    ConnectionError::clone(cause)
}

/// What comes of one attempt: a connection, or the reason why there is none.
pub(crate) async fn attempt(network: TlsNetwork<Site>, config: Config) -> Result<(), DialError> {
    let client = client(network, config);
    let mut statuses = client.watch_status();
    client.connect();
    let decided = statuses.wait_for(|status| matches!(status, Status::Ready { .. } | Status::Backoff { .. }));
    let decided = timeout(secs(60), decided).await.expect("it is decided").unwrap();
    client.shutdown().await;
    match &decided {
        Status::Backoff { cause, .. } => match &**cause {
            ConnectionError::Dial(error) => Err(error.clone()),
            other => panic!("it was dialed: {other}"),
        },
        _ => Ok(()),
    }
}
