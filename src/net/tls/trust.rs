//! Whom the operating system trusts, read when it is asked for.

use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;

use crate::core::DialError;

/// Who decides whether a certificate is trusted, pins apart.
#[derive(Clone, Debug)]
pub(super) enum Trust {
    /// The operating system.
    System,
    /// What the network was given.
    Given(Arc<dyn ServerCertVerifier>),
}

/// A trust that could be read.
#[derive(Clone, Debug)]
pub(super) struct ReadTrust {
    pub(super) verifier: Arc<dyn ServerCertVerifier>,
    /// What could not be read of it: an authority that seems to be unknown may be there.
    pub(super) unread: Option<String>,
}

impl Trust {
    /// Nothing is kept, so a failure lasts no longer than its cause. It takes some milliseconds of a thread for blocking
    /// work.
    pub(super) async fn read(&self, provider: &Arc<CryptoProvider>) -> Result<ReadTrust, DialError> {
        match self {
            Self::Given(verifier) => Ok(ReadTrust { verifier: Arc::clone(verifier), unread: None }),
            Self::System => {
                let provider = Arc::clone(provider);
                let read = tokio::task::spawn_blocking(move || of_system(provider)).await;
                read.unwrap_or_else(|error| Err(DialError::TrustStore(error.to_string().into())))
            }
        }
    }
}

/// Certificates in files: those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name, or the usual ones.
#[cfg(all(unix, not(target_vendor = "apple"), not(target_os = "android")))]
fn of_system(provider: Arc<CryptoProvider>) -> Result<ReadTrust, DialError> {
    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;

    check_kind()?;
    let found = rustls_native_certs::load_native_certs();
    let unread = unread(&found.errors);
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(DialError::TrustStore(unread.unwrap_or_else(none_found).into()));
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let verifier = verifier.map_err(|error| DialError::TrustStore(error.to_string().into()))?;
    Ok(ReadTrust { verifier, unread })
}

/// A pipe or a device may block its reader for ever, and the end of the program with it. What is in a directory is
/// checked by whoever reads it.
#[cfg(all(unix, not(target_vendor = "apple"), not(target_os = "android")))]
fn check_kind() -> Result<(), DialError> {
    let Some(file) = std::env::var_os(CERT_FILE) else { return Ok(()) };
    // Whatever keeps it from being looked at keeps it from being read.
    match std::fs::metadata(&file) {
        Ok(metadata) if !metadata.is_file() => {
            Err(DialError::TrustStore(format!("{CERT_FILE} names {file:?}, which is no regular file").into()))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(all(unix, not(target_vendor = "apple"), not(target_os = "android")))]
const CERT_FILE: &str = "SSL_CERT_FILE";
#[cfg(all(unix, not(target_vendor = "apple"), not(target_os = "android")))]
const CERT_DIR: &str = "SSL_CERT_DIR";

/// The first thing that went wrong: with no descriptors left, every file goes wrong alike.
#[cfg(all(unix, not(target_vendor = "apple"), not(target_os = "android")))]
fn unread(errors: &[rustls_native_certs::Error]) -> Option<String> {
    let first = errors.first()?;
    let more = match errors.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more like it"),
    };
    Some(format!("{first}{more}, in {}", places()))
}

#[cfg(all(unix, not(target_vendor = "apple"), not(target_os = "android")))]
fn none_found() -> String {
    format!("there are none in {}: install them, or name them in {CERT_FILE}", places())
}

/// Where certificates are looked for.
#[cfg(all(unix, not(target_vendor = "apple"), not(target_os = "android")))]
fn places() -> String {
    let named = |name| Some(format!("{name} ({:?})", std::env::var_os(name)?));
    let named: Vec<String> = [CERT_FILE, CERT_DIR].into_iter().filter_map(named).collect();
    if named.is_empty() { "the usual places".to_owned() } else { named.join(" and ") }
}

/// The system itself, which is asked about each certificate.
#[cfg(not(all(unix, not(target_vendor = "apple"), not(target_os = "android"))))]
fn of_system(provider: Arc<CryptoProvider>) -> Result<ReadTrust, DialError> {
    let verifier = rustls_platform_verifier::Verifier::new(provider);
    let verifier = verifier.map_err(|error| DialError::TrustStore(error.to_string().into()))?;
    Ok(ReadTrust { verifier: Arc::new(verifier), unread: None })
}
