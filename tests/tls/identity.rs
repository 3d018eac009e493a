//! Certificates, their keys, and the authorities that sign them.

use std::sync::Arc;

use onesocket::core::{CertificatePin, CertificateProblem, DialError, PresentedCertificate, PublicKeyPin};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PublicKeyData};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

/// What a gateway presents, and the key that belongs to it.
#[derive(Clone)]
pub(crate) struct Identity {
    /// The certificate of the gateway and those of authorities above it.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: Arc<KeyPair>,
    self_signed: bool,
}

impl Identity {
    /// A certificate for `name` that nobody vouches for.
    pub(crate) fn new(name: &str) -> Self {
        Self::with_key(name, Arc::new(KeyPair::generate().unwrap()))
    }

    fn with_key(name: &str, key: Arc<KeyPair>) -> Self {
        Self::made_of(&params(name), key)
    }

    pub(crate) fn made_of(params: &CertificateParams, key: Arc<KeyPair>) -> Self {
        let certificate = params.self_signed(&*key).unwrap();
        Self { chain: vec![certificate.der().clone()], key, self_signed: true }
    }

    /// Another certificate with the same key.
    pub(crate) fn renewed(&self, name: &str) -> Self {
        let renewed = Self::with_key(name, Arc::clone(&self.key));
        assert_ne!(renewed.chain, self.chain);
        renewed
    }

    pub(crate) fn pin(&self) -> CertificatePin {
        CertificatePin::of_der(&self.chain[0])
    }

    pub(crate) fn key_pin(&self) -> PublicKeyPin {
        PublicKeyPin::of_spki_der(&self.key.subject_public_key_info())
    }

    /// The error of a client that did not take it.
    pub(crate) fn refused_for(&self, reason: CertificateProblem) -> DialError {
        let presented = PresentedCertificate::new(&self.chain[0], Some(self.key_pin()), self.self_signed);
        DialError::Certificate { presented: Arc::new(presented), reason }
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).unwrap()
    }

    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        self.server_with(rustls::ALL_VERSIONS)
    }

    pub(crate) fn server_with(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ServerConfig> {
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.private_key())
            .unwrap();
        Arc::new(server)
    }

    /// A trust in this certificate and no other.
    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.chain[0].clone()).unwrap();
        roots
    }
}

/// Somebody who vouches for certificates.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// What a gateway presents above its own certificate: none for a root.
    above: Vec<CertificateDer<'static>>,
}

impl Authority {
    pub(crate) fn root(name: &str) -> Self {
        let issuer = CertifiedIssuer::self_signed(authority(name), KeyPair::generate().unwrap()).unwrap();
        Self { issuer, above: Vec::new() }
    }

    /// An authority below this one.
    pub(crate) fn below(&self, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::signed_by(authority(name), key, &self.issuer).unwrap();
        let above = [&[issuer.der().clone()][..], &self.above].concat();
        Self { issuer, above }
    }

    pub(crate) fn issue(&self, params: &CertificateParams) -> Identity {
        let key = Arc::new(KeyPair::generate().unwrap());
        let certificate = params.signed_by(&*key, &self.issuer).unwrap();
        let chain = [&[certificate.der().clone()][..], &self.above].concat();
        Identity { chain, key, self_signed: false }
    }

    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        self.issuer.der()
    }

    pub(crate) fn pin(&self) -> CertificatePin {
        CertificatePin::of_der(self.certificate())
    }

    pub(crate) fn key_pin(&self) -> PublicKeyPin {
        PublicKeyPin::of_spki_der(&self.issuer.key().subject_public_key_info())
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate().clone()).unwrap();
        roots
    }
}

/// What goes into a certificate for `name`.
pub(crate) fn params(name: &str) -> CertificateParams {
    CertificateParams::new([name.to_owned()]).unwrap()
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}
