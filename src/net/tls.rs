//! TLS for `wss://`, on top of any network.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::core::{CertificatePin, DialError, Endpoint};
use crate::network::Network;

/// Another network with TLS on top for `wss://` endpoints. Others pass through untouched.
///
/// A gateway is trusted if the operating system trusts its certificate, or, for an endpoint with a
/// [pin](Endpoint::pinned), if it presents exactly that one; then no authority, name or date counts
/// (protocol 18.2). Either is decided before the first byte of HTTP is sent, so no credential reaches
/// a gateway that is not trusted. The cryptography is ring's, whatever else the process has
/// installed.
#[derive(Clone, Debug)]
pub struct TlsNetwork<N> {
    network: N,
    provider: Arc<CryptoProvider>,
    /// For endpoints without a pin. Made when it is first needed: reading the trust of the system takes
    /// a while, and a machine without any can still pin.
    unpinned: OnceLock<Result<Arc<ClientConfig>, DialError>>,
}

impl<N> TlsNetwork<N> {
    /// TLS with the trust of the operating system.
    #[must_use]
    pub fn new(network: N) -> Self {
        Self { network, provider: Arc::new(ring::default_provider()), unpinned: OnceLock::new() }
    }

    /// TLS with a trust of its own, like a private authority. Endpoints with a pin do not use it.
    #[must_use]
    pub fn with_config(network: N, config: Arc<ClientConfig>) -> Self {
        Self { unpinned: OnceLock::from(Ok(config)), ..Self::new(network) }
    }

    fn config(&self, endpoint: &Endpoint) -> Result<Arc<ClientConfig>, DialError> {
        match endpoint.pin() {
            Some(pin) => self.pinned(pin),
            None => self.unpinned.get_or_init(|| self.system()).clone(),
        }
    }

    fn system(&self) -> Result<Arc<ClientConfig>, DialError> {
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .and_then(BuilderVerifierExt::with_platform_verifier);
        Ok(Arc::new(config.map_err(|error| rustls_error(&error))?.with_no_client_auth()))
    }

    fn pinned(&self, pin: CertificatePin) -> Result<Arc<ClientConfig>, DialError> {
        let verifier = PinVerifier { pin, provider: Arc::clone(&self.provider) };
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| rustls_error(&error))?;
        let mut config =
            config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth();
        // A resumed session presents no certificate, and the pin is to be checked each time.
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

impl<N: Network> Network for TlsNetwork<N> {
    type Stream = MaybeTls<N::Stream>;

    async fn connect(&self, endpoint: &Endpoint) -> io::Result<Self::Stream> {
        if !endpoint.is_secure() {
            return self.network.connect(endpoint).await.map(MaybeTls::Plain);
        }
        let name = ServerName::try_from(endpoint.host().to_owned());
        let name =
            name.map_err(|error| io::Error::other(DialError::Certificate(error.to_string().into())))?;
        let connector = TlsConnector::from(self.config(endpoint).map_err(io::Error::other)?);
        let stream = self.network.connect(&endpoint.below_tls()).await?;
        let stream = connector.connect(name, stream).await.map_err(handshake_error)?;
        Ok(MaybeTls::Tls(Box::new(stream)))
    }
}

/// Trusts one certificate.
#[derive(Debug)]
struct PinVerifier {
    pin: CertificatePin,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let presented = CertificatePin::of_der(leaf);
        if presented == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        let mismatch = OtherError(Arc::new(DialError::PinMismatch { presented }));
        Err(CertificateError::Other(mismatch).into())
    }

    // The signature shows that the peer has the certificate's key, without which a pin is worth nothing.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What a failed handshake means; failures of the stream below stay what they are.
fn handshake_error(error: io::Error) -> io::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(cause) => io::Error::other(rustls_error(cause)),
        None => error,
    }
}

fn rustls_error(error: &rustls::Error) -> DialError {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => {
            other.downcast_ref().cloned().unwrap_or_else(|| DialError::Certificate(other.to_string().into()))
        }
        rustls::Error::InvalidCertificate(why) => DialError::Certificate(why.to_string().into()),
        other => DialError::Tls(other.to_string().into()),
    }
}

/// A stream with TLS, or without where the endpoint wants none.
#[derive(Debug)]
pub enum MaybeTls<S> {
    /// As it is.
    Plain(S),
    /// Encrypted.
    Tls(Box<TlsStream<S>>),
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for MaybeTls<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for MaybeTls<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, data),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
