//! Certificates without pins: which are trusted, and what is said of the others.

use std::sync::Arc;

use onesocket::core::{CertificateProblem, DialError, UnixTime};
use onesocket::net::TlsNetwork;
use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use crate::identity::{Authority, Identity, params};
use crate::site::{Behaviour, NAME, Site, attempt, client, config, config_of, first_failure, secs};

#[tokio::test(start_paused = true)]
async fn a_trusted_gateway_is_talked_to() {
    let root = Authority::root("root");
    let site = Site::new(&root.below("between").issue(&params(NAME)));
    let network = TlsNetwork::with_roots(site.clone(), root.roots()).unwrap();
    for _ in 0..3 {
        assert_eq!(attempt(network.clone(), config()).await, Ok(()));
    }
    assert_eq!(site.accepted(), 3);
    // Whoever decides by themselves is asked in the system's place.
    let verifier = WebPkiServerVerifier::builder_with_provider(
        Arc::new(root.roots()),
        Arc::new(ring::default_provider()),
    );
    let network = TlsNetwork::with_verifier(site, verifier.build().unwrap());
    assert_eq!(attempt(network, config()).await, Ok(()));
    assert!(TlsNetwork::with_roots((), RootCertStore::empty()).is_err());
}

/// Each reason has its own value, goes with the certificate, is tried again, and leaves the gateway without a byte.
#[tokio::test(start_paused = true)]
async fn right_credential_nothing_is_sent_to_an_untrusted_certificate() {
    let (root, elsewhere) = (Authority::root("root"), Authority::root("elsewhere"));
    let dated = |from: i32, to: i32| {
        let mut params = params(NAME);
        (params.not_before, params.not_after) =
            (rcgen::date_time_ymd(from, 1, 1), rcgen::date_time_ymd(to, 1, 1));
        root.issue(&params)
    };
    let mut for_clients = params(NAME);
    for_clients.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let (mut like_openssl, key) = (params(NAME), Arc::new(KeyPair::generate().unwrap()));
    like_openssl.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let mut named = params("somebody.else");
    named.subject_alt_names.push(rcgen::SanType::IpAddress([10, 0, 0, 1].into()));
    let not_for_name =
        CertificateProblem::NotForName { names: vec!["somebody.else".into(), "10.0.0.1".into()] };
    for (identity, expected) in [
        (elsewhere.issue(&params(NAME)), CertificateProblem::UnknownIssuer),
        (Identity::new(NAME), CertificateProblem::UnknownIssuer),
        // An authority that was made anew under its old name.
        (Authority::root("root").issue(&params(NAME)), CertificateProblem::UnknownIssuer),
        (dated(2019, 2020), CertificateProblem::Expired { not_after: Some(UnixTime(1_577_836_800)) }),
        (dated(2100, 2101), CertificateProblem::NotYetValid { not_before: Some(UnixTime(4_102_444_800)) }),
        (root.issue(&named), not_for_name),
        (root.issue(&for_clients), CertificateProblem::NotForServers),
        (Identity::made_of(&like_openssl, key), CertificateProblem::NotForServers),
    ] {
        let site = Site::new(&identity);
        let client = client(TlsNetwork::with_roots(site.clone(), root.roots()).unwrap(), config());
        let failure = first_failure(&client).await;
        let onesocket::core::ConnectionError::Dial(error) = failure else { panic!("{failure}") };
        assert_eq!(error, identity.refused_for(expected));
        tokio::time::sleep(secs(60)).await;
        assert!(site.refusals().len() > 3, "{error}");
        site.assert_untouched();
        client.shutdown().await;
    }
}

/// The gateway's log says what was wrong, too.
#[tokio::test(start_paused = true)]
async fn the_gateway_is_told_why_its_certificate_was_not_taken() {
    let (root, identity) = (Authority::root("root"), Identity::new(NAME));
    let site = Site::new(&identity);
    let network = TlsNetwork::with_roots(site.clone(), root.roots()).unwrap();
    attempt(network.clone(), config()).await.unwrap_err();
    let pinned = config().pin(Identity::new(NAME).pin()).unwrap();
    attempt(network, pinned).await.unwrap_err();
    tokio::time::sleep(secs(1)).await;
    assert_eq!(
        site.refusals(),
        ["received fatal alert: UnknownCA", "received fatal alert: CertificateUnknown"]
    );
}

/// Names in a certificate are whatever somebody wrote there.
#[tokio::test(start_paused = true)]
async fn the_names_of_a_certificate_are_shown_safely() {
    let root = Authority::root("root");
    let mut many = params("a.test");
    let odd = format!("x\u{1b}[31m\n{}", "y".repeat(1_000));
    many.subject_alt_names.push(rcgen::SanType::DnsName(odd.try_into().unwrap()));
    for number in 0..100 {
        many.subject_alt_names.push(rcgen::SanType::DnsName(format!("{number}.test").try_into().unwrap()));
    }
    let network = TlsNetwork::with_roots(Site::new(&root.issue(&many)), root.roots()).unwrap();
    let error = attempt(network, config()).await.unwrap_err();
    let said = error.to_string();
    assert!(said.contains("a.test, x\\u{1b}[31m\\ny") && !said.chars().any(char::is_control), "{said}");
    assert!(said.len() < 1_000, "{said}");
}

#[tokio::test(start_paused = true)]
async fn names_and_addresses_are_asked_for_and_checked() {
    let root = Authority::root("root");
    for (url, name, sni) in [
        ("wss://gateway.test:7443", "gateway.test", Some("gateway.test")),
        ("wss://Gateway.TEST:7443", "gateway.test", Some("gateway.test")),
        ("wss://gateway.test.:7443", "gateway.test", Some("gateway.test")),
        ("wss://a.gateway.test:7443", "*.gateway.test", Some("a.gateway.test")),
        ("wss://127.0.0.1:7443", "127.0.0.1", None),
        ("wss://[::1]:7443", "::1", None),
        ("wss://[0:0:0:0:0:0:0:1]:7443", "::1", None),
    ] {
        let site = Site::new(&root.issue(&params(name)));
        let network = TlsNetwork::with_roots(site.clone(), root.roots()).unwrap();
        assert_eq!(attempt(network, config_of(url)).await, Ok(()), "{url}");
        // A gateway without a protocol of its own takes any.
        assert_eq!(site.agreed(), [(sni.map(str::to_owned), None)], "{url}");
    }
    let site = Site::new(&root.issue(&params("127.0.0.2")));
    let network = TlsNetwork::with_roots(site, root.roots()).unwrap();
    let error = attempt(network, config_of("wss://127.0.0.1:7443")).await.unwrap_err();
    let DialError::Certificate { reason, .. } = error else { panic!("{error}") };
    assert_eq!(reason, CertificateProblem::NotForName { names: vec!["127.0.0.2".into()] });
}

/// Presents one certificate and signs with the key of another.
#[derive(Debug)]
struct Thief(Arc<CertifiedKey>);

impl ResolvesServerCert for Thief {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// A certificate is public, and its pin too: only the key makes the gateway.
#[tokio::test(start_paused = true)]
async fn right_credential_a_stolen_certificate_is_worth_nothing() {
    let root = Authority::root("root");
    let identity = root.issue(&params(NAME));
    let key = Identity::made_of(&params(NAME), Arc::new(KeyPair::generate().unwrap())).private_key();
    let key = ring::sign::any_supported_type(&key).unwrap();
    let thief = Thief(Arc::new(CertifiedKey::new(identity.chain.clone(), key)));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Thief(Arc::clone(&thief.0))));
        let site = Site::behaving(Behaviour::Tls(Arc::new(server)));
        let network = TlsNetwork::with_roots(site.clone(), root.roots()).unwrap();
        let stolen = Err(identity.refused_for(CertificateProblem::BadSignature));
        for config in
            [config(), config().pin(identity.pin()).unwrap(), config().pin(identity.key_pin()).unwrap()]
        {
            assert_eq!(attempt(network.clone(), config).await, stolen);
        }
        site.assert_untouched();
    }
}
