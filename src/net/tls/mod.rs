//! TLS for `wss://`, on top of any network.
//!
//! A gateway that is not trusted is one that the user may know all the same. The error holds what to ask them:
//!
//! ```
//! use onesocket::core::{ConnectionError, DialError, Pin, Status};
//!
//! /// What the gateway would be known by from now on. The user compares it with what the gateway's owner reads out.
//! fn question(status: &Status) -> Option<Pin> {
//!     let Status::Backoff { cause, .. } = status else { return None };
//!     let ConnectionError::Dial(DialError::Certificate { presented, .. }) = &**cause else { return None };
//!     Some(presented.public_key.map_or(Pin::from(presented.certificate), Pin::from))
//! }
//! ```
//!
//! If they agree, configure the same url with that [pin](crate::core::Config::pin), and keep it with the url.

mod client_certificate;
mod failure;
mod stream;
mod trust;
#[cfg(all(unix, not(target_vendor = "apple"), not(target_os = "android")))]
mod trust_files;
mod verifier;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::core::{DialError, Endpoint, PinPolicy, TlsFailure};
use crate::network::{Network, connect_until};

pub use stream::MaybeTls;
pub use verifier::public_key_pin;

use client_certificate::ClientCertificate;
use failure::{handshake_error, tls_failure};
use stream::Below;
use trust::Trust;
use verifier::GatewayVerifier;

/// Another network with TLS on top for `wss://` endpoints. Others pass through untouched.
///
/// A gateway is trusted if the operating system trusts its certificate; for an endpoint with
/// [pins](Endpoint::pinned), their [policy](crate::core::PinPolicy) says what counts (protocol 18.2). It is decided
/// before the first byte of HTTP is sent, so no credential reaches a gateway that is not trusted.
///
/// What the system trusts is read anew for every dial that needs it: a store that cannot be read now is read again
/// at the next dial, and one that changed is seen then. On Linux and other Unix systems it is what `SSL_CERT_FILE` and
/// `SSL_CERT_DIR` name, or the usual places; elsewhere the system itself is asked. No session is resumed, since a
/// resumed one presents no certificate. TLS 1.2 and 1.3 are spoken, with ring's cryptography, whatever else the process
/// has installed.
#[derive(Clone, Debug)]
pub struct TlsNetwork<N> {
    network: N,
    provider: Arc<CryptoProvider>,
    trust: Trust,
    client_certificate: Option<Arc<dyn ResolvesClientCert>>,
}

impl<N> TlsNetwork<N> {
    /// TLS with the trust of the operating system.
    #[must_use]
    pub fn new(network: N) -> Self {
        let provider = Arc::new(ring::default_provider());
        Self { network, provider, trust: Trust::system(), client_certificate: None }
    }

    /// TLS with these authorities in place of those that the operating system trusts, like a private one.
    ///
    /// # Errors
    /// [`DialError::TrustStore`] when there are none.
    pub fn with_roots(network: N, roots: RootCertStore) -> Result<Self, DialError> {
        let network = Self::new(network);
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&network.provider));
        let verifier = verifier.build().map_err(|error| DialError::TrustStore(error.to_string().into()))?;
        Ok(Self { trust: Trust::Given(verifier), ..network })
    }

    /// TLS with a trust of its own: `verifier` decides in place of the operating system whether a certificate is
    /// trusted. Pins count beside it as they do beside the system's.
    #[must_use]
    pub fn with_verifier(network: N, verifier: Arc<dyn ServerCertVerifier>) -> Self {
        Self { trust: Trust::Given(verifier), ..Self::new(network) }
    }

    /// Shows gateways that ask for one a certificate of the client.
    #[must_use]
    pub fn client_certificate(self, certificate: Arc<dyn ResolvesClientCert>) -> Self {
        Self { client_certificate: Some(certificate), ..self }
    }

    /// What decides on the certificate of the gateway at `endpoint`.
    async fn verifier(&self, endpoint: &Endpoint) -> Result<GatewayVerifier, DialError> {
        let pins = endpoint.pins().cloned();
        let trust = match pins.as_ref().map(|pins| pins.policy()) {
            Some(PinPolicy::Alone) => None,
            // A pin that matches does without.
            Some(PinPolicy::OrSystem) => Some(self.trust.read(&self.provider).await),
            Some(PinPolicy::AndSystem) | None => Some(Ok(self.trust.read(&self.provider).await?)),
        };
        Ok(GatewayVerifier::new(pins, trust, Arc::clone(&self.provider)))
    }

    fn config(
        &self,
        verifier: Arc<GatewayVerifier>,
        client_certificate: Arc<ClientCertificate>,
    ) -> Result<ClientConfig, DialError> {
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| DialError::Tls(tls_failure(&error)))?;
        let config = config.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = config.with_client_cert_resolver(client_certificate);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

impl<N: Network> TlsNetwork<N> {
    async fn dial(&self, endpoint: &Endpoint, deadline: Option<Instant>) -> io::Result<MaybeTls<N::Stream>> {
        if !endpoint.is_secure() {
            return connect_until(&self.network, endpoint, deadline).await.map(MaybeTls::plain);
        }
        let name = server_name(endpoint).map_err(io::Error::other)?;
        let late = || DialError::TrustStore("it took too long".into());
        let verifier = within(deadline, late, self.verifier(endpoint)).await?.map_err(io::Error::other)?;
        let verifier = Arc::new(verifier);
        let ours = Arc::new(ClientCertificate::new(self.client_certificate.clone()));
        let config = self.config(Arc::clone(&verifier), Arc::clone(&ours)).map_err(io::Error::other)?;
        let stream = connect_until(&self.network, &endpoint.below_tls(), deadline).await?;
        let late = || DialError::Tls(TlsFailure::TimedOut);
        let handshake = TlsConnector::from(Arc::new(config)).connect(name, Below::new(stream));
        let stream = within(deadline, late, handshake.into_fallible()).await?;
        let stream =
            stream.map_err(|(error, stream)| handshake_error(error, &verifier, &ours, stream.first()))?;
        Ok(MaybeTls::tls(stream))
    }
}

impl<N: Network> Network for TlsNetwork<N> {
    type Stream = MaybeTls<N::Stream>;

    async fn connect(&self, endpoint: &Endpoint) -> io::Result<Self::Stream> {
        self.dial(endpoint, None).await
    }

    async fn connect_within(&self, endpoint: &Endpoint, limit: Duration) -> io::Result<Self::Stream> {
        self.dial(endpoint, Instant::now().checked_add(limit)).await
    }

    fn bytes_arrived(stream: &Self::Stream) -> Option<u64> {
        stream.bytes_arrived(N::bytes_arrived)
    }
}

/// What comes of `work`, or what it means that the time is up.
async fn within<T>(
    deadline: Option<Instant>,
    late: impl FnOnce() -> DialError,
    work: impl Future<Output = T>,
) -> io::Result<T> {
    match deadline {
        Some(deadline) => timeout_at(deadline, work).await.map_err(|_| io::Error::other(late())),
        None => Ok(work.await),
    }
}

/// The name or address that the certificate must be for.
fn server_name(endpoint: &Endpoint) -> Result<ServerName<'static>, DialError> {
    let host = endpoint.host();
    ServerName::try_from(host.to_owned())
        .map_err(|_| DialError::Unsupported(format!("no certificate can be for the name {host:?}").into()))
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;
    use tokio::sync::Semaphore;

    use super::*;

    /// Nobody gets as far as this.
    struct Nowhere;

    impl Network for Nowhere {
        type Stream = DuplexStream;

        async fn connect(&self, _: &Endpoint) -> io::Result<DuplexStream> {
            Err(io::Error::other("it was dialed without trust"))
        }
    }

    /// A file on another machine may keep its readers for ever.
    #[tokio::test(start_paused = true)]
    async fn no_wedge_trust_that_cannot_be_read_in_time_is_told() {
        let mut network = TlsNetwork::new(Nowhere);
        network.trust = Trust::System { readers: Arc::new(Semaphore::new(0)) };
        let endpoint = Endpoint::parse("wss://gateway.test").expect("a valid url");
        let begun = Instant::now();
        let limit = Duration::from_secs(3);
        let error = network.connect_within(&endpoint, limit).await.expect_err("nobody answers");
        assert_eq!(begun.elapsed(), limit);
        let expected = DialError::TrustStore("it took too long".into());
        assert_eq!(error.get_ref().and_then(|error| error.downcast_ref()), Some(&expected));
    }
}
