//! Whom the operating system trusts, read when it is asked for.

use std::sync::Arc;
use std::thread;

use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use tokio::sync::{Semaphore, oneshot};

use crate::core::{DialError, Shortage};

#[cfg(all(unix, not(target_vendor = "apple"), not(target_os = "android")))]
use super::trust_files::of_system;

/// Threads of one network that may read the system's trust at once. More wait their turn.
const READERS: usize = 4;

/// Who decides whether a certificate is trusted, pins apart.
#[derive(Clone, Debug)]
pub(super) enum Trust {
    /// The operating system.
    System {
        /// A place for each thread that reads.
        readers: Arc<Semaphore>,
    },
    /// What the network was given.
    Given(Arc<dyn ServerCertVerifier>),
}

/// A trust that could be read.
#[derive(Clone, Debug)]
pub(super) struct ReadTrust {
    pub(super) verifier: Arc<dyn ServerCertVerifier>,
    /// Why not all of it could be read: an authority that seems to be unknown may be there.
    pub(super) unread: Option<DialError>,
}

impl Trust {
    pub(super) fn system() -> Self {
        Self::System { readers: Arc::new(Semaphore::new(READERS)) }
    }

    /// Nothing is kept, so a failure lasts no longer than its cause.
    pub(super) async fn read(&self, provider: &Arc<CryptoProvider>) -> Result<ReadTrust, DialError> {
        match self {
            Self::Given(verifier) => Ok(ReadTrust { verifier: Arc::clone(verifier), unread: None }),
            Self::System { readers } => read_aside(readers, Arc::clone(provider)).await,
        }
    }
}

/// Reads on a thread that nobody waits for: not a dial, not a shutdown, not the end of the runtime or of the process.
/// It takes some milliseconds, and as long as it likes if the files are on another machine.
async fn read_aside(readers: &Arc<Semaphore>, provider: Arc<CryptoProvider>) -> Result<ReadTrust, DialError> {
    let place = Arc::clone(readers).acquire_owned().await.expect("it is never closed");
    let (tell, told) = oneshot::channel();
    let spawned = thread::Builder::new().name("gateway trust".to_owned()).spawn(move || {
        let read = of_system(provider);
        drop(place);
        // The dial may be over.
        let _ = tell.send(read);
    });
    spawned.map_err(|_| DialError::System(Shortage::Threads))?;
    told.await.unwrap_or_else(|_| Err(DialError::TrustStore("the thread for it panicked".into())))
}

/// The system itself, which is asked about each certificate.
#[cfg(not(all(unix, not(target_vendor = "apple"), not(target_os = "android"))))]
fn of_system(provider: Arc<CryptoProvider>) -> Result<ReadTrust, DialError> {
    let verifier = rustls_platform_verifier::Verifier::new(provider);
    let verifier = verifier.map_err(|error| DialError::TrustStore(error.to_string().into()))?;
    Ok(ReadTrust { verifier: Arc::new(verifier), unread: None })
}
