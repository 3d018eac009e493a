//! The certificate of the client, for gateways that ask for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;

/// What is shown in one handshake to a gateway that asks, if there is anything. It remembers whether the gateway did:
/// TLS 1.2 has no word of its own for a certificate that is missing.
#[derive(Debug)]
pub(super) struct ClientCertificate {
    certificate: Option<Arc<dyn ResolvesClientCert>>,
    asked: AtomicBool,
}

impl ClientCertificate {
    pub(super) fn new(certificate: Option<Arc<dyn ResolvesClientCert>>) -> Self {
        Self { certificate, asked: AtomicBool::new(false) }
    }

    pub(super) fn was_asked_for(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

impl ResolvesClientCert for ClientCertificate {
    fn resolve(&self, issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.certificate.as_ref()?.resolve(issuers, schemes)
    }

    fn has_certs(&self) -> bool {
        self.certificate.as_ref().is_some_and(|certificate| certificate.has_certs())
    }
}
