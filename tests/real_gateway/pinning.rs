//! A gateway behind TLS with the certificate that it made for itself.

use std::fs;
use std::sync::Arc;

use onesocket::Client;
use onesocket::core::{
    CertificateProblem, Config, ConnectionError, DialError, PeerProtocol, Pin, Pins, PresentedCertificate,
    Status,
};
use onesocket::net::{TcpNetwork, TlsNetwork};
use serde_json::json;
use tokio::time::timeout;

use crate::support::{Gateway, Options, Readiness};

/// What a user is asked at first contact, that the answer holds, and that it ends with the certificate: this gateway makes
/// an authority's certificate without any name, which no system trusts.
#[tokio::test]
#[ignore = "needs the gateway: run tests/real_gateway/install"]
async fn a_gateway_with_a_certificate_of_its_own_is_pinned() -> Result<(), Box<dyn std::error::Error>> {
    let tls = json!({"gateway": {"tls": {"enabled": true, "autoGenerate": true}}});
    let options = Options { until: Readiness::Encrypted, config: tls, ..Options::default() };
    let mut gateway = Gateway::start(options).await?;
    let network = TlsNetwork::new(TcpNetwork);
    let client = Client::builder().config(config(&gateway)?).spawn(network.clone())?;
    let (first, reason) = untrusted(&client).await;
    assert_eq!(reason, CertificateProblem::NotForServers);
    assert!(first.is_self_issued, "{first}");
    let key = first.public_key.expect("it can be read");
    client.configure(Some(config(&gateway)?.pin(key)?)).await?;
    within(&gateway, client.ready()).await?;

    let certificate =
        Client::builder().config(config(&gateway)?.pin(first.certificate)?).spawn(network.clone())?;
    within(&gateway, certificate.ready()).await?;
    certificate.shutdown().await;

    // As plaintext, it says nothing at all.
    let plain = Client::builder().config(Config::new(&gateway.url())?).spawn(network)?;
    let silent = failure(&plain).await;
    let told = [DialError::Unanswered, DialError::OtherProtocol(PeerProtocol::Tls)];
    assert!(matches!(&silent, ConnectionError::Dial(error) if told.contains(error)), "{silent}");
    plain.shutdown().await;

    gateway.stop().await?;
    fs::remove_dir_all(gateway.home().join(".openclaw/gateway/tls"))?;
    gateway.start_again().await?;
    let (second, reason) = untrusted(&client).await;
    assert_eq!(reason, CertificateProblem::PinMismatch);
    assert!(second.public_key != first.public_key && second.certificate != first.certificate);
    let both = [Pin::from(key), Pin::from(second.certificate)];
    client.configure(Some(config(&gateway)?.pin(Pins::new(both)?)?)).await?;
    within(&gateway, client.ready()).await?;
    client.shutdown().await;
    Ok(())
}

fn config(gateway: &Gateway) -> Result<Config, onesocket::core::ConfigError> {
    Ok(Config::new(&gateway.url().replace("ws://", "wss://"))?.token(gateway.token()))
}

/// The certificate that the client does not take, and why.
async fn untrusted(client: &Client) -> (Arc<PresentedCertificate>, CertificateProblem) {
    let mut statuses = client.watch_status();
    client.connect();
    let presented = statuses.wait_for(|status| of_certificate(status).is_some());
    let presented = timeout(Options::default().deadline, presented).await.expect("it is dialed");
    of_certificate(&presented.expect("it runs")).expect("it was waited for")
}

fn of_certificate(status: &Status) -> Option<(Arc<PresentedCertificate>, CertificateProblem)> {
    let Status::Backoff { cause, .. } = status else { return None };
    let ConnectionError::Dial(DialError::Certificate { presented, reason }) = &**cause else { return None };
    Some((Arc::clone(presented), reason.clone()))
}

/// Why the first attempt failed.
async fn failure(client: &Client) -> ConnectionError {
    let mut statuses = client.watch_status();
    client.connect();
    let failed = statuses.wait_for(|status| matches!(status, Status::Backoff { .. } | Status::Paused(_)));
    match timeout(Options::default().deadline, failed).await.expect("it is dialed").expect("it runs") {
        Status::Backoff { cause, .. } => ConnectionError::clone(&cause),
        other => panic!("it is tried again: {other:?}"),
    }
}

/// What comes of it while the gateway boots.
async fn within<T>(gateway: &Gateway, work: impl Future<Output = T>) -> T {
    let work = timeout(Options::default().deadline, work).await;
    work.unwrap_or_else(|_| panic!("it takes too long; the gateway's log:\n{}", gateway.log()))
}
