//! The trust of a system that keeps it in files: those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name, or the usual ones.

use std::env;
use std::fs;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls_native_certs::{Error, ErrorKind, load_native_certs};

use super::trust::ReadTrust;
use crate::core::DialError;
use crate::net::os_error::shortage;

const CERT_FILE: &str = "SSL_CERT_FILE";
const CERT_DIR: &str = "SSL_CERT_DIR";

pub(super) fn of_system(provider: Arc<CryptoProvider>) -> Result<ReadTrust, DialError> {
    check_kind()?;
    let found = load_native_certs();
    let unread = unread(&found.errors);
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(unread.unwrap_or_else(none_found));
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let verifier = verifier.map_err(|error| DialError::TrustStore(error.to_string().into()))?;
    Ok(ReadTrust { verifier, unread })
}

/// A pipe or a device may block its reader for ever. What is in a directory is checked by whoever reads it.
fn check_kind() -> Result<(), DialError> {
    let Some(file) = env::var_os(CERT_FILE) else { return Ok(()) };
    // Whatever keeps it from being looked at keeps it from being read.
    match fs::metadata(&file) {
        Ok(metadata) if !metadata.is_file() => {
            Err(DialError::TrustStore(format!("{CERT_FILE} names {file:?}, which is no regular file").into()))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The first thing that went wrong: with no descriptors left, every file goes wrong alike.
fn unread(errors: &[Error]) -> Option<DialError> {
    let first = errors.first()?;
    if let ErrorKind::Io { inner, .. } = &first.kind
        && let Some(shortage) = shortage(inner)
    {
        return Some(DialError::System(shortage));
    }
    let more = match errors.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more like it"),
    };
    Some(DialError::TrustStore(format!("{first}{more}, in {}", places()).into()))
}

fn none_found() -> DialError {
    let text = format!("there are none in {}: install them, or name them in {CERT_FILE}", places());
    DialError::TrustStore(text.into())
}

/// Where certificates are looked for.
fn places() -> String {
    let named = |name| Some(format!("{name} ({:?})", env::var_os(name)?));
    let named: Vec<String> = [CERT_FILE, CERT_DIR].into_iter().filter_map(named).collect();
    if named.is_empty() { "the usual places".to_owned() } else { named.join(" and ") }
}
