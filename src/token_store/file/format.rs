//! What is in the file.

use std::collections::BTreeMap;
use std::path::Path;

use secrecy::zeroize::{Zeroize, Zeroizing};
use serde::{Deserialize, Serialize};

use crate::core::{Secret, StoreError, StoredToken, TokenKey};

/// The format of the file; another one is refused, never overwritten.
const VERSION: u32 = 1;

/// What editors of another system put in front of a text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

#[derive(Serialize, Deserialize)]
pub(super) struct TokenFile {
    version: u32,
    /// By device, role and gateway.
    tokens: BTreeMap<String, Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    token: String,
    scopes: Vec<String>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.token.zeroize();
    }
}

impl Default for TokenFile {
    fn default() -> Self {
        Self { version: VERSION, tokens: BTreeMap::new() }
    }
}

impl TokenFile {
    /// Reads what is in the file at `path`. The parser's words may quote the file, which holds secrets; only where it
    /// stopped is told.
    pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Self, StoreError> {
        /// As much as every version has.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        let damaged = |error: serde_json::Error| StoreError::Damaged {
            path: path.to_owned(),
            line: error.line().max(1),
        };
        let Versioned { version: found } = serde_json::from_slice(bytes).map_err(damaged)?;
        if found != VERSION {
            return Err(StoreError::Version { path: path.to_owned(), found, known: VERSION });
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }

    pub(super) fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(serde_json::to_string_pretty(self).expect("tokens are plain text"))
    }

    /// A token that an earlier version stored is found as well, where it can only be this gateway's.
    pub(super) fn token(&self, key: &TokenKey) -> Option<StoredToken> {
        let entry = self.tokens.get(&name(key)).or_else(|| self.tokens.get(&earlier_name(key)?))?;
        Some(StoredToken { token: Secret::trimmed(&entry.token)?, scopes: entry.scopes.clone() })
    }

    pub(super) fn put(&mut self, key: &TokenKey, token: &StoredToken) {
        let entry = Entry { token: token.token.expose().to_owned(), scopes: token.scopes.clone() };
        self.remove(key);
        self.tokens.insert(name(key), entry);
    }

    pub(super) fn remove(&mut self, key: &TokenKey) {
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
