//! A store in one file.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::{StoreFuture, TokenStore};
use crate::core::{Secret, StoreError, StoredToken, TokenKey};

/// The format of the file; another one is refused, never overwritten.
const VERSION: u32 = 1;

/// Keeps tokens in a JSON file that only its owner can read.
///
/// The file is replaced as a whole, so a crash leaves the old or the new one. A file that cannot be
/// read or understood stays as it is, and every operation fails until somebody has looked at it
/// (a store that starts anew would make this a new device). One process writes at a time; several
/// processes with one file see each other's tokens, and the last writer wins.
#[derive(Clone, Debug)]
pub struct FileTokenStore {
    path: Arc<Path>,
    /// Reading, changing and writing are one step.
    busy: Arc<Mutex<()>>,
}

impl FileTokenStore {
    /// A store at `path`, whose folder must exist. The file need not.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: Arc::from(path.into()), busy: Arc::default() }
    }

    /// Does file work where it may block.
    async fn work<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Path) -> Result<T, StoreError> + Send + 'static,
    {
        let turn = Arc::clone(&self.busy).lock_owned().await;
        let path = Arc::clone(&self.path);
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&path)
        });
        done.await.unwrap_or_else(|error| Err(StoreError(error.to_string())))
    }
}

impl TokenStore for FileTokenStore {
    fn load<'a>(&'a self, key: &'a TokenKey) -> StoreFuture<'a, Option<StoredToken>> {
        let key = key.clone();
        Box::pin(self.work(move |path| Ok(read(path)?.token(&key))))
    }

    fn save<'a>(&'a self, key: &'a TokenKey, token: &'a StoredToken) -> StoreFuture<'a, ()> {
        let (key, token) = (key.clone(), token.clone());
        Box::pin(self.work(move |path| {
            let mut file = read(path)?;
            file.put(&key, &token);
            write(path, &file)
        }))
    }

    fn clear<'a>(&'a self, key: &'a TokenKey, token: &'a Secret) -> StoreFuture<'a, ()> {
        let (key, token) = (key.clone(), token.clone());
        Box::pin(self.work(move |path| {
            let mut file = read(path)?;
            if file.token(&key).is_none_or(|stored| stored.token != token) {
                return Ok(());
            }
            file.remove(&key);
            write(path, &file)
        }))
    }
}

#[derive(Serialize, Deserialize)]
struct TokenFile {
    version: u32,
    /// By device, role and gateway.
    tokens: BTreeMap<String, Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    token: String,
    scopes: Vec<String>,
}

impl TokenFile {
    /// A token that an earlier version stored is found as well, where it can only be this gateway's.
    fn token(&self, key: &TokenKey) -> Option<StoredToken> {
        let entry = self.tokens.get(&name(key)).or_else(|| self.tokens.get(&earlier_name(key)?))?;
        Some(StoredToken { token: Secret::trimmed(&entry.token)?, scopes: entry.scopes.clone() })
    }

    fn put(&mut self, key: &TokenKey, token: &StoredToken) {
        let entry = Entry { token: token.token.expose().to_owned(), scopes: token.scopes.clone() };
        self.remove(key);
        self.tokens.insert(name(key), entry);
    }

    fn remove(&mut self, key: &TokenKey) {
        self.tokens.remove(&name(key));
        if let Some(earlier) = earlier_name(key) {
            self.tokens.remove(&earlier);
        }
    }
}

fn earlier_name(key: &TokenKey) -> Option<String> {
    key.by_host_and_port().map(|earlier| name(&earlier))
}

fn name(key: &TokenKey) -> String {
    format!("{}|{}|{}", key.device_id, key.role, key.gateway)
}

fn failed(what: &str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let text = format!("{} cannot be {what}", path.display());
    move |why| StoreError(format!("{text}: {why}"))
}

/// No file is an empty one; anything else that is wrong is an error.
fn read(path: &Path) -> Result<TokenFile, StoreError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(TokenFile { version: VERSION, tokens: BTreeMap::new() });
        }
        Err(error) => return Err(failed("read", path)(error)),
    };
    // The parser's words may quote the file, which holds secrets; only where it stopped is told.
    let file: TokenFile = serde_json::from_str(&text)
        .map_err(|error| StoreError(format!("{} is damaged at line {}", path.display(), error.line())))?;
    if file.version == VERSION {
        Ok(file)
    } else {
        Err(StoreError(format!("{} has version {}, not {VERSION}", path.display(), file.version)))
    }
}

/// Writes a new file beside the old one and puts it in its place.
fn write(path: &Path, file: &TokenFile) -> Result<(), StoreError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let text = serde_json::to_string_pretty(file).expect("tokens are plain text");
    // Such a file is readable by its owner only, from the moment it exists.
    let mut new = tempfile::NamedTempFile::new_in(folder).map_err(failed("written", path))?;
    new.write_all(text.as_bytes()).map_err(failed("written", path))?;
    new.as_file().sync_all().map_err(failed("written", path))?;
    new.persist(path).map_err(|error| failed("replaced", path)(error.error))?;
    Ok(())
}
