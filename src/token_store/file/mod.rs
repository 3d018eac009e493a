//! A store in one file.

mod format;
mod place;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{Mutex, oneshot};

use super::{StoreFuture, TokenStore};
use crate::core::{Secret, StoreError, StoredToken, TokenKey};

use format::TokenFile;
use place::Place;

/// How long others may hold the lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// Keeps tokens in a JSON file that only its owner can read.
///
/// **Whole.** The file is replaced as a whole, so a crash leaves the old or the new one. The new one is written to
/// `<file>.tmp` beside it. A process that is killed while it writes may leave that behind; whoever writes next removes it.
///
/// **Shared.** Any number of stores, in any number of processes, may keep their tokens in one file: whoever writes holds
/// a lock on `<file>.lock` beside it, reads what the others have written, and changes its own part. The lock is one of
/// the operating system (`flock`), which ends with its holder. The lock file is empty, and stays.
///
/// **In its place.** A symbolic link stays: what it leads to is the file, and the others are beside that. A folder that is
/// missing is made, for its owner only, when there is something to write.
///
/// **Careful.** A file that cannot be read or understood stays as it is, and every operation fails until somebody has
/// looked at it (a store that starts anew would make this a new device). What is no plain file, such as a pipe or a folder,
/// is not opened.
///
/// Files are read and written by threads of their own, one at a time for each store. A file system that hangs holds up
/// neither the runtime, nor the shutdown of a client, nor the end of the process. The paused clock of a test does not
/// wait for them.
#[derive(Clone, Debug)]
pub struct FileTokenStore {
    path: Arc<Path>,
    lock_timeout: Duration,
    /// One operation at a time, so that one that hangs holds up one thread.
    busy: Arc<Mutex<()>>,
}

impl FileTokenStore {
    /// A store at `path`. Neither the file nor its folder need exist.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: Arc::from(path.into()), lock_timeout: LOCK_TIMEOUT, busy: Arc::default() }
    }

    /// How long others may hold the lock of the file before an operation that writes fails with
    /// [`StoreError::Locked`]: 5 seconds by default. Without any time, the lock is tried once.
    #[must_use]
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// Does file work where it may block for as long as it likes. Once begun it is done to its end, also if nobody
    /// waits for it any more.
    async fn work<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Path) -> Result<T, StoreError> + Send + 'static,
    {
        let turn = Arc::clone(&self.busy).lock_owned().await;
        let path = Arc::clone(&self.path);
        let (done, answer) = oneshot::channel();
        // A blocking task of the runtime would not do: a runtime does not end before all of them have.
        let thread = thread::Builder::new().name("token-store".to_owned()).spawn(move || {
            let result = work(&path);
            drop(turn);
            // Whoever asked may have gone.
            let _ = done.send(result);
        });
        thread.map_err(place::failed(&self.path, "given a thread"))?;
        answer.await.unwrap_or_else(|_| Err(StoreError::new("its thread has panicked")))
    }
}

impl TokenStore for FileTokenStore {
    fn load<'a>(&'a self, key: &'a TokenKey) -> StoreFuture<'a, Option<StoredToken>> {
        let key = key.clone();
        // The file is always whole: whoever only reads needs no lock.
        Box::pin(self.work(move |path| Ok(read(&Place::of(path)?)?.token(&key))))
    }

    fn save<'a>(&'a self, key: &'a TokenKey, token: &'a StoredToken) -> StoreFuture<'a, ()> {
        let (key, token, lock_timeout) = (key.clone(), token.clone(), self.lock_timeout);
        Box::pin(self.work(move |path| {
            let place = Place::of(path)?;
            let lock = place.lock(lock_timeout)?;
            let mut file = read(&place)?;
            file.put(&key, &token);
            lock.replace(&file.text())
        }))
    }

    fn clear<'a>(&'a self, key: &'a TokenKey, token: &'a Secret) -> StoreFuture<'a, ()> {
        let (key, token, lock_timeout) = (key.clone(), token.clone(), self.lock_timeout);
        Box::pin(self.work(move |path| {
            let place = Place::of(path)?;
            let is_it = |file: &TokenFile| file.token(&key).is_some_and(|stored| stored.token == token);
            // Where there is nothing to clear, nothing need be writable.
            if !is_it(&read(&place)?) {
                return Ok(());
            }
            let lock = place.lock(lock_timeout)?;
            let mut file = read(&place)?;
            if !is_it(&file) {
                return Ok(());
            }
            file.remove(&key);
            lock.replace(&file.text())
        }))
    }
}

/// No file is an empty one; anything else that is wrong is an error.
fn read(place: &Place) -> Result<TokenFile, StoreError> {
    match place.read()? {
        Some(bytes) => TokenFile::parse(&bytes, place.file()),
        None => Ok(TokenFile::default()),
    }
}
