//! Whether a gateway's certificate is taken: by the trust of the system, by pins, or by both.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::trust::ReadTrust;
use crate::core::{
    CertificatePin, CertificateProblem, DialError, PinPolicy, Pins, PresentedCertificate, PublicKeyPin,
};

/// The pin of the public key of a certificate in DER. `None` if it is no certificate that TLS can use.
#[must_use]
pub fn public_key_pin(certificate_der: &[u8]) -> Option<PublicKeyPin> {
    let der = CertificateDer::from_slice(certificate_der);
    let certificate = EndEntityCert::try_from(&der).ok()?;
    Some(PublicKeyPin::of_spki_der(&certificate.subject_public_key_info()))
}

/// Decides on the certificate of one gateway, in one handshake, and remembers it.
#[derive(Debug)]
pub(super) struct GatewayVerifier {
    pins: Option<Pins>,
    /// The trust of the system, where it counts.
    trust: Option<Result<ReadTrust, DialError>>,
    provider: Arc<CryptoProvider>,
    presented: Mutex<Option<Arc<PresentedCertificate>>>,
}

impl GatewayVerifier {
    pub(super) fn new(
        pins: Option<Pins>,
        trust: Option<Result<ReadTrust, DialError>>,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        Self { pins, trust, provider, presented: Mutex::default() }
    }

    /// The error of a handshake that ended because of the certificate. `None` if there was none.
    pub(super) fn untrusted(&self, reason: CertificateProblem) -> Option<DialError> {
        let presented = self.presented.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let unread = self.unread().filter(|_| reason == CertificateProblem::UnknownIssuer);
        Some(unread.unwrap_or(DialError::Certificate { presented, reason }))
    }

    /// As long as not everything was read, nobody is known to be unknown.
    fn unread(&self) -> Option<DialError> {
        match self.trust.as_ref()? {
            Ok(trust) => trust.unread.clone(),
            Err(error) => Some(error.clone()),
        }
    }

    fn is_pinned(&self, certificate: &CertificateDer<'_>) -> bool {
        self.pins.as_ref().is_some_and(|pins| {
            pins.matches(CertificatePin::of_der(certificate), public_key_pin(certificate))
        })
    }

    /// Whether one of the authorities that the gateway presents is pinned. What is presented may have nothing to do with
    /// the certificate, so it counts only if that comes from it.
    fn has_pinned_authority(&self, chain: &Chain<'_, '_>) -> bool {
        let pinned = chain.intermediates.iter().filter(|authority| self.is_pinned(authority));
        pinned.into_iter().any(|authority| self.comes_from(chain, authority).is_ok())
    }

    fn comes_from(&self, chain: &Chain<'_, '_>, authority: &CertificateDer<'_>) -> Result<(), webpki::Error> {
        let anchors = [anchor_from_trusted_cert(authority)?];
        let algorithms = self.provider.signature_verification_algorithms.all;
        let certificate = EndEntityCert::try_from(chain.leaf)?;
        certificate
            .verify_for_usage(
                algorithms,
                &anchors,
                chain.intermediates,
                chain.now,
                KeyUsage::server_auth(),
                None,
                None,
            )
            .map(drop)
    }

    fn verify_by_trust(&self, chain: &Chain<'_, '_>) -> Result<(), rustls::Error> {
        match &self.trust {
            Some(Ok(trust)) => trust
                .verifier
                .verify_server_cert(
                    chain.leaf,
                    chain.intermediates,
                    chain.name,
                    chain.ocsp_response,
                    chain.now,
                )
                .map(drop)
                .map_err(of_chain),
            // There is nobody whose word counts.
            Some(Err(_)) | None => Err(CertificateError::UnknownIssuer.into()),
        }
    }
}

/// What is to be decided on.
struct Chain<'c, 'd> {
    leaf: &'c CertificateDer<'d>,
    intermediates: &'c [CertificateDer<'d>],
    name: &'c ServerName<'d>,
    ocsp_response: &'c [u8],
    now: UnixTime,
}

impl ServerCertVerifier for GatewayVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.presented.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(presented(leaf)));
        let chain = Chain { leaf, intermediates, name, ocsp_response, now };
        match self.pins.as_ref().map(Pins::policy) {
            None => self.verify_by_trust(&chain)?,
            Some(PinPolicy::Alone) if self.is_pinned(leaf) => {}
            Some(PinPolicy::Alone) => return Err(mismatch()),
            Some(PinPolicy::OrSystem) if self.is_pinned(leaf) => {}
            Some(PinPolicy::OrSystem) => self.verify_by_trust(&chain)?,
            Some(PinPolicy::AndSystem) => {
                self.verify_by_trust(&chain)?;
                if !self.is_pinned(leaf) && !self.has_pinned_authority(&chain) {
                    return Err(mismatch());
                }
            }
        }
        Ok(ServerCertVerified::assertion())
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

fn presented(leaf: &CertificateDer<'_>) -> PresentedCertificate {
    let is_self_issued =
        EndEntityCert::try_from(leaf).is_ok_and(|certificate| certificate.issuer() == certificate.subject());
    PresentedCertificate::new(leaf, public_key_pin(leaf), is_self_issued)
}

/// A wrong signature within the chain is no authority's: one of the same name is trusted, but has another key. A wrong
/// signature of the handshake comes later.
fn of_chain(error: rustls::Error) -> rustls::Error {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::BadSignature) => {
            CertificateError::UnknownIssuer.into()
        }
        other => other,
    }
}

/// The gateway is told that its certificate was not taken.
fn mismatch() -> rustls::Error {
    CertificateError::Other(OtherError(Arc::new(CertificateProblem::PinMismatch))).into()
}
