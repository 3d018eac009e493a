//! Handshakes that come to nothing, the certificate of the gateway apart.

use std::sync::Arc;
use std::time::Duration;

use onesocket::core::{ConnectionError, DialError, Options, PauseReason, PeerProtocol, Status, TlsFailure};
use onesocket::net::TlsNetwork;
use rustls::client::ResolvesClientCert;
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::time::{Instant, sleep, timeout};

use crate::identity::{Authority, Identity, params};
use crate::site::{Behaviour, NAME, Site, attempt, client, config, config_of, first_failure, secs};

#[tokio::test(start_paused = true)]
async fn no_wedge_a_handshake_that_never_ends_is_given_up() {
    let identity = Identity::new(NAME);
    let site = Site::behaving(Behaviour::Silence);
    let client = client(TlsNetwork::new(site.clone()), config().pin(identity.pin()).unwrap());
    let start = Instant::now();
    let late = ConnectionError::Dial(DialError::Tls(TlsFailure::TimedOut));
    assert_eq!(first_failure(&client).await, late);
    let waited = Options::default().dial_timeout - start.elapsed();
    assert!(waited < secs(1), "{waited:?}");
    assert_eq!(site.link.open_streams(), 0);
    site.presents(&identity);
    timeout(secs(60), client.ready()).await.unwrap().unwrap();
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn stop_is_final_a_shutdown_ends_a_handshake() {
    let identity = Identity::new(NAME);
    let site = Site::behaving(Behaviour::Silence);
    let client = client(TlsNetwork::new(site.clone()), config().pin(identity.pin()).unwrap());
    client.connect();
    sleep(secs(3)).await;
    assert_eq!(site.link.open_streams(), 1);
    let start = Instant::now();
    client.shutdown().await;
    assert_eq!((start.elapsed(), site.link.open_streams()), (Duration::ZERO, 0));
}

/// It may be the gateway without TLS, or a captive portal that goes away.
#[tokio::test(start_paused = true)]
async fn a_port_without_tls_is_named_and_tried_again() {
    let identity = Identity::new(NAME);
    for said in [
        "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
        "{\"type\":\"event\",\"event\":\"connect.challenge\"}",
        "<html>",
        "\r\nlogin: ",
    ] {
        let site = Site::behaving(Behaviour::Says(said.as_bytes().to_vec()));
        let client = client(TlsNetwork::new(site.clone()), config().pin(identity.pin()).unwrap());
        assert_eq!(first_failure(&client).await, ConnectionError::Dial(DialError::NotTls), "{said}");
        site.presents(&identity);
        timeout(secs(60), client.ready()).await.unwrap().unwrap();
        client.shutdown().await;
    }
    let said = DialError::NotTls.to_string();
    assert!(said.contains("does not speak TLS") && said.contains("ws://"), "{said}");
}

/// Where something else is known to be, no time mends it.
#[tokio::test(start_paused = true)]
async fn a_port_of_another_protocol_pauses() {
    for (said, protocol) in [
        ("SSH-2.0-OpenSSH_9.9\r\n", PeerProtocol::Ssh),
        ("220 mail.example ESMTP\r\n", PeerProtocol::SmtpOrFtp),
        ("-ERR unknown command\r\n", PeerProtocol::Redis),
        ("\0\0\x06\x04\0\0\0\0\0\0\x05\0\0\x40\0", PeerProtocol::Http2),
    ] {
        let site = Site::behaving(Behaviour::Says(said.as_bytes().to_vec()));
        let config = config().pin(Identity::new(NAME).pin()).unwrap();
        let client = client(TlsNetwork::new(site.clone()), config);
        let mut statuses = client.watch_status();
        client.connect();
        let paused = statuses.wait_for(|status| matches!(status, Status::Paused(_)));
        let paused = timeout(secs(30), paused).await.unwrap().unwrap();
        let expected = PauseReason::Endpoint(DialError::OtherProtocol(protocol));
        assert_eq!(paused, Status::Paused(Arc::new(expected)));
        client.shutdown().await;
    }
}

/// A connection that ends within the handshake is one that was cut, wherever that was.
#[tokio::test(start_paused = true)]
async fn a_handshake_that_is_cut_is_tried_again() {
    let identity = Identity::new(NAME);
    // Nothing at all, half the head of a record, and a record that ends too early.
    for said in [&b""[..], &[22, 3], &[22, 3, 3, 0, 90, 2, 0, 0]] {
        let site = Site::behaving(Behaviour::Says(said.to_vec()));
        let client = client(TlsNetwork::new(site.clone()), config().pin(identity.pin()).unwrap());
        assert_eq!(first_failure(&client).await, ConnectionError::Dial(DialError::Reset), "{said:?}");
        site.presents(&identity);
        timeout(secs(60), client.ready()).await.unwrap().unwrap();
        client.shutdown().await;
    }
}

/// The alerts of RFC 8446 that say something about the client's request.
#[tokio::test(start_paused = true)]
async fn the_gateways_alerts_are_understood() {
    let alert = |code: u8, name: &str| TlsFailure::Alert { code, name: name.into() };
    for (code, failure) in [
        (40, TlsFailure::NothingInCommon),
        (42, TlsFailure::ClientCertificate),
        (48, TlsFailure::ClientCertificate),
        (70, TlsFailure::Version),
        (71, TlsFailure::NothingInCommon),
        (80, alert(80, "InternalError")),
        (90, alert(90, "UserCanceled")),
        (112, TlsFailure::UnknownName),
        (116, TlsFailure::ClientCertificate),
        (120, TlsFailure::NoHttp),
    ] {
        let site = Site::behaving(Behaviour::Says(vec![21, 3, 3, 0, 2, 2, code]));
        let refused = attempt(TlsNetwork::new(site), config().pin(Identity::new(NAME).pin()).unwrap()).await;
        assert_eq!(refused, Err(DialError::Tls(failure)), "alert {code}");
    }
}

#[tokio::test(start_paused = true)]
async fn tls_1_2_and_1_3_are_spoken() {
    let identity = Identity::new(NAME);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let site = Site::behaving(Behaviour::Tls(identity.server_with(&[version])));
        assert_eq!(attempt(TlsNetwork::new(site), config().pin(identity.pin()).unwrap()).await, Ok(()));
    }
    // A hello of a server that knows no more than TLS 1.1.
    let mut hello = vec![22, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 47, 0]);
    let site = Site::behaving(Behaviour::Says(hello));
    let refused = attempt(TlsNetwork::new(site), config().pin(identity.pin()).unwrap()).await;
    assert_eq!(refused, Err(DialError::Tls(TlsFailure::Version)));
}

/// A websocket begins with HTTP/1.1, so a gateway that speaks HTTP/2 as well must not choose that.
#[tokio::test(start_paused = true)]
async fn http_1_1_is_asked_for() {
    let identity = Identity::new(NAME);
    let serving = |protocols: &[&[u8]]| {
        let mut server = ServerConfig::clone(&identity.server());
        server.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Site::behaving(Behaviour::Tls(Arc::new(server)))
    };
    let config = config().pin(identity.pin()).unwrap();
    let site = serving(&[b"h2", b"http/1.1"]);
    assert_eq!(attempt(TlsNetwork::new(site.clone()), config.clone()).await, Ok(()));
    assert_eq!(site.agreed(), [(Some(NAME.to_owned()), Some(b"http/1.1".to_vec()))]);
    let refused = attempt(TlsNetwork::new(serving(&[b"h2"])), config).await;
    assert_eq!(refused, Err(DialError::Tls(TlsFailure::NoHttp)));
}

/// In TLS 1.3 the gateway says that it wants a certificate when the client takes the handshake for done; in TLS 1.2 it
/// asks for one and then ends the handshake.
#[tokio::test(start_paused = true)]
async fn a_certificate_of_the_client_is_shown_to_those_who_want_one() {
    let root = Authority::root("clients");
    let identity = Identity::new(NAME);
    let (welcome, stranger) = (root.issue(&params("client")), Identity::new("client"));
    let config = config().pin(identity.pin()).unwrap();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let server = demanding(&identity, &root, version);
        let network = TlsNetwork::new(Site::behaving(Behaviour::Tls(server)));
        let wanted = Err(DialError::Tls(TlsFailure::ClientCertificate));
        assert_eq!(attempt(network.clone(), config.clone()).await, wanted);
        let shown = network.clone().client_certificate(certificate(&welcome));
        assert_eq!(attempt(shown, config.clone()).await, Ok(()));
        let shown = network.client_certificate(certificate(&stranger));
        let refused = attempt(shown, config.clone()).await;
        assert_eq!(refused, wanted);
    }
}

fn demanding(
    identity: &Identity,
    clients: &Authority,
    version: &'static SupportedProtocolVersion,
) -> Arc<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(clients.roots().into(), Arc::clone(&provider));
    let server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(identity.chain.clone(), identity.private_key())
        .unwrap();
    Arc::new(server)
}

fn certificate(identity: &Identity) -> Arc<dyn ResolvesClientCert> {
    let key = ring::sign::any_supported_type(&identity.private_key()).unwrap();
    Arc::new(SingleCertAndKey::from(CertifiedKey::new(identity.chain.clone(), key)))
}

/// No certificate can be for such a name, so no wait helps.
#[tokio::test(start_paused = true)]
async fn a_name_that_no_certificate_can_be_for_pauses() {
    let site = Site::new(&Identity::new(NAME));
    let client = client(TlsNetwork::new(site.clone()), config_of("wss://gateway-.test:7443"));
    let mut statuses = client.watch_status();
    client.connect();
    let paused = statuses.wait_for(|status| matches!(status, Status::Paused(_)));
    let paused = timeout(secs(30), paused).await.unwrap().unwrap();
    assert!(format!("{paused:?}").contains("no certificate can be for"), "{paused:?}");
    assert_eq!(site.link.dials_begun(), 0);
    client.shutdown().await;
}
