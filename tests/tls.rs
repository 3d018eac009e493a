//! `wss://` over the simulated network: whom a client trusts, and what it says before it does.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use onesocket::core::{
    CertificatePin, Config, ConfigError, ConnectionError, DialError, Endpoint, Options, Push, Stage, Status,
};
use onesocket::net::TlsNetwork;
use onesocket::network::Network;
use onesocket::{Client, Hub};
use onesocket_gateway::host::Host;
use onesocket_gateway::{GatewayConfig, GatewayModel, Peer};
use onesocket_sim::pipe::{Link, PipeStream, Profile};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::ring};
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;

const TOKEN: &str = "test-token";
const URL: &str = "wss://gateway.test:7443";

/// A certificate for `gateway.test` that nobody vouches for, and its key.
struct Identity {
    certificate: CertificateDer<'static>,
    server: Arc<ServerConfig>,
}

impl Identity {
    fn new(name: &str) -> Self {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
        let certificate = cert.der().clone();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        Self { certificate, server: Arc::new(server) }
    }

    fn pin(&self) -> CertificatePin {
        CertificatePin::of_der(&self.certificate)
    }

    /// The trust of a private authority: this certificate and no other.
    fn trusted(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_root_certificates(roots).with_no_client_auth())
    }
}

/// What came of the gateway's side of each TLS handshake.
#[derive(Clone, Debug, Default)]
struct Handshakes(Arc<Mutex<Vec<Result<(), String>>>>);

/// A gateway behind TLS at the end of a simulated link.
#[derive(Clone)]
struct Site {
    link: Arc<Link>,
    host: Host,
    server: Arc<Mutex<Option<Arc<ServerConfig>>>>,
    handshakes: Handshakes,
}

impl Site {
    fn new(identity: &Identity) -> Self {
        let host = Host::new(GatewayModel::new(GatewayConfig::default(), 7), ());
        tokio::spawn({
            let host = host.clone();
            async move { host.run_clock().await }
        });
        let link = Link::new(Profile::with_latency_us(1_000, 5_000), 7);
        let server = Arc::new(Mutex::new(Some(Arc::clone(&identity.server))));
        Self { link, host, server, handshakes: Handshakes::default() }
    }

    fn refused(&self) -> usize {
        self.handshakes.0.lock().unwrap().iter().filter(|outcome| outcome.is_err()).count()
    }

    fn accepted(&self) -> usize {
        self.handshakes.0.lock().unwrap().iter().filter(|outcome| outcome.is_ok()).count()
    }
}

impl Network for Site {
    type Stream = PipeStream;

    async fn connect(&self, endpoint: &Endpoint) -> io::Result<PipeStream> {
        assert!(!endpoint.is_secure(), "below TLS there is none");
        assert_eq!((endpoint.host(), endpoint.port()), ("gateway.test", 7443));
        self.link.dial().await?;
        let (client, mut gateway) = PipeStream::pair(&self.link);
        let Site { host, server, handshakes, .. } = self.clone();
        let server = server.lock().unwrap().clone();
        tokio::spawn(async move {
            let Some(server) = server else {
                // Reads for ever, and says nothing.
                let mut sink = [0; 1_024];
                while gateway.read(&mut sink).await.is_ok_and(|bytes| bytes > 0) {}
                return;
            };
            let accepted = TlsAcceptor::from(server).accept(gateway).await;
            let outcome = accepted.as_ref().map(|_| ()).map_err(ToString::to_string);
            handshakes.0.lock().unwrap().push(outcome);
            if let Ok(stream) = accepted {
                host.serve(stream, Peer::LOCAL).await;
            }
        });
        Ok(client)
    }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn config() -> Config {
    Config::new(URL).unwrap().token(TOKEN)
}

fn client(network: TlsNetwork<Site>, config: Config) -> Client {
    Client::builder().config(config).seed(7).spawn(network).unwrap()
}

/// Why the first attempt failed; the client goes on trying.
async fn first_failure(client: &Client) -> ConnectionError {
    let mut statuses = client.watch_status();
    client.connect();
    let failed = statuses.wait_for(|status| matches!(status, Status::Backoff { .. }));
    let failed = timeout(secs(30), failed).await.expect("it fails").unwrap();
    let Status::Backoff { cause, .. } = &failed else { unreachable!("it was waited for") };
    ConnectionError::clone(cause)
}

#[tokio::test(start_paused = true)]
async fn a_pinned_gateway_is_talked_to_however_little_else_vouches_for_it() {
    // Neither the authority nor the name of the certificate is any good.
    let identity = Identity::new("somebody.else");
    let site = Site::new(&identity);
    let config = config().pin(identity.pin()).unwrap();
    let client = client(TlsNetwork::new(site.clone()), config);
    client.ready().await.unwrap();
    let big = json!("x".repeat(300_000));
    let answer = client.request("test.echo", &big).await.unwrap();
    assert_eq!(answer.payload.decode::<serde_json::Value>().unwrap(), big);
    assert_eq!((site.accepted(), site.link.open_streams()), (1, 1));
    client.shutdown().await;
    sleep(secs(1)).await;
    assert_eq!((site.link.open_streams(), site.link.gateway_streams()), (0, 0));
}

/// The gateway offers to resume its sessions, and a resumed one would present no certificate.
#[tokio::test(start_paused = true)]
async fn right_credential_the_pin_is_checked_each_time() {
    let identity = Identity::new("gateway.test");
    let site = Site::new(&identity);
    let network = TlsNetwork::new(site.clone());
    for _ in 0..2 {
        let pinned = client(network.clone(), config().pin(identity.pin()).unwrap());
        pinned.ready().await.unwrap();
        pinned.shutdown().await;
    }
    let other = Identity::new("gateway.test");
    *site.server.lock().unwrap() = Some(Arc::clone(&other.server));
    let swapped = client(network, config().pin(identity.pin()).unwrap());
    let mismatch = DialError::PinMismatch { presented: other.pin() };
    assert_eq!(first_failure(&swapped).await, ConnectionError::Dial(mismatch));
    swapped.shutdown().await;
}

/// Protocol 18.2: with another certificate no byte of HTTP leaves, and it is tried again.
#[tokio::test(start_paused = true)]
async fn right_credential_nothing_is_sent_to_another_certificate() {
    let (identity, other) = (Identity::new("gateway.test"), Identity::new("gateway.test"));
    let site = Site::new(&other);
    // Not even if an authority vouches for it: only the pin counts.
    let network = TlsNetwork::with_config(site.clone(), other.trusted());
    let client = client(network, config().pin(identity.pin()).unwrap());
    let mut pushes = client.subscribe().unwrap();
    let mismatch = DialError::PinMismatch { presented: other.pin() };
    assert_eq!(first_failure(&client).await, ConnectionError::Dial(mismatch.clone()));
    assert!(mismatch.to_string().contains(&other.pin().to_string()), "{mismatch}");
    sleep(secs(600)).await;
    assert_eq!((site.accepted(), site.host.inspect(GatewayModel::open_sockets)), (0, 0));
    let tries = site.refused();
    assert!((15..40).contains(&tries), "{tries} tries in ten minutes");

    // The right certificate is back, and so is the connection.
    *site.server.lock().unwrap() = Some(Arc::clone(&identity.server));
    timeout(secs(60), client.ready()).await.unwrap().unwrap();
    assert!(matches!(pushes.next().await, Some(Push::Snapshot(_))));
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn right_credential_nothing_is_sent_to_an_untrusted_certificate() {
    let (identity, other) = (Identity::new("gateway.test"), Identity::new("gateway.test"));
    let wrong_name = Identity::new("somebody.else");
    for (network, presented) in [
        (TlsNetwork::with_config(Site::new(&identity), other.trusted()), "unknown authority"),
        (TlsNetwork::with_config(Site::new(&wrong_name), wrong_name.trusted()), "another name"),
        (TlsNetwork::new(Site::new(&identity)), "the system knows nothing of it"),
    ] {
        let client = client(network, config());
        let failure = first_failure(&client).await;
        // A machine without any authorities cannot even look.
        let untrusted =
            matches!(&failure, ConnectionError::Dial(DialError::Certificate(_) | DialError::Tls(_)));
        assert!(untrusted, "{presented}: {failure}");
        client.shutdown().await;
    }
    let site = Site::new(&identity);
    let client = client(TlsNetwork::with_config(site.clone(), other.trusted()), config());
    assert!(matches!(first_failure(&client).await, ConnectionError::Dial(DialError::Certificate(_))));
    sleep(secs(60)).await;
    assert_eq!((site.accepted(), site.host.inspect(GatewayModel::open_sockets)), (0, 0));
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_trusted_gateway_is_talked_to() {
    let identity = Identity::new("gateway.test");
    let site = Site::new(&identity);
    let network = TlsNetwork::with_config(site.clone(), identity.trusted());
    for _ in 0..3 {
        let client = client(network.clone(), config());
        client.ready().await.unwrap();
        client.shutdown().await;
    }
    assert_eq!(site.accepted(), 3);
}

#[tokio::test(start_paused = true)]
async fn no_wedge_a_handshake_that_never_ends_is_given_up() {
    let identity = Identity::new("gateway.test");
    let site = Site::new(&identity);
    *site.server.lock().unwrap() = None;
    let client = client(TlsNetwork::new(site.clone()), config().pin(identity.pin()).unwrap());
    let start = Instant::now();
    assert_eq!(first_failure(&client).await, ConnectionError::Timeout { stage: Stage::Dial });
    assert_eq!(start.elapsed().as_secs(), Options::default().dial_timeout.as_secs());
    assert_eq!(site.link.open_streams(), 0);
    *site.server.lock().unwrap() = Some(Arc::clone(&identity.server));
    timeout(secs(60), client.ready()).await.unwrap().unwrap();
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn stop_is_final_a_shutdown_ends_a_handshake() {
    let identity = Identity::new("gateway.test");
    let site = Site::new(&identity);
    *site.server.lock().unwrap() = None;
    let client = client(TlsNetwork::new(site.clone()), config().pin(identity.pin()).unwrap());
    client.connect();
    sleep(secs(3)).await;
    assert_eq!(site.link.open_streams(), 1);
    let start = Instant::now();
    client.shutdown().await;
    assert_eq!((start.elapsed(), site.link.open_streams()), (Duration::ZERO, 0));
}

#[tokio::test(start_paused = true)]
async fn one_socket_configs_with_different_pins_share_nothing() {
    let (identity, other) = (Identity::new("gateway.test"), Identity::new("gateway.test"));
    let site = Site::new(&identity);
    let hub = Hub::new(TlsNetwork::new(site.clone()));
    let right = hub.client(config().pin(identity.pin()).unwrap()).unwrap();
    let wrong = hub.client(config().pin(other.pin()).unwrap()).unwrap();
    right.ready().await.unwrap();
    first_failure(&wrong).await;
    assert_eq!((hub.len(), site.accepted()), (2, 1));
    hub.shutdown().await;
}

#[test]
fn a_pin_needs_tls() {
    let pin = CertificatePin::of_der(b"certificate");
    let plain = Config::new("ws://127.0.0.1:1").unwrap();
    assert_eq!(plain.pin(pin).unwrap_err(), ConfigError::PinWithoutTls);
    assert_eq!(Endpoint::parse("wss://x").unwrap().pinned(pin).unwrap().pin(), Some(pin));
}
