//! Where device tokens are kept between connections and between runs of the app.

#[cfg(feature = "net")]
mod file;
mod memory;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::core::{Secret, StoreError, StoredToken, TokenKey};

#[cfg(feature = "net")]
pub use file::FileTokenStore;
pub use memory::MemoryTokenStore;

/// The answer of a store, some time later.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Keeps device tokens.
///
/// A connection asks for one thing after the other and never drops an operation half done, unless the
/// client itself ends. A slow store delays the handshake, and nothing else; one that takes longer than
/// `challenge_timeout` of the options ends the attempt with [`Stage::TokenStore`](crate::core::Stage::TokenStore), also
/// when it is an earlier write that takes so long. A shutdown waits for the writes that were begun, for `close_grace` at
/// most, and drops what is not done by then.
///
/// A store keeps keys apart that differ in anything. A gateway that is known by several pins has one key for each of
/// them ([`TokenKey::by_pin`]), and the connection asks for one after the other.
///
/// **What a store must promise.** Its futures do not block the thread that polls them, and can be dropped at any await.
/// What may block for ever, as file systems may, runs on threads that nothing waits for: a blocking task of the runtime
/// would keep that, and the process, from ending. Errors and panics hold no token: they are logged. A store that
/// panics ends its clients with [`Status::Lost`](crate::core::Status::Lost).
pub trait TokenStore: Send + Sync + 'static {
    /// The token stored under `key`, if there is one. An error is not "nothing": with an unreadable
    /// store a connection does not pretend to be a new device.
    fn load<'a>(&'a self, key: &'a TokenKey) -> StoreFuture<'a, Option<StoredToken>>;

    /// Stores `token` under `key`; when this returns, [`load`](Self::load) finds it.
    fn save<'a>(&'a self, key: &'a TokenKey, token: &'a StoredToken) -> StoreFuture<'a, ()>;

    /// Forgets what is stored under `key` if it is `token`: another process may have stored a better
    /// one meanwhile.
    fn clear<'a>(&'a self, key: &'a TokenKey, token: &'a Secret) -> StoreFuture<'a, ()>;
}

/// One store may serve several connections.
impl<T: TokenStore + ?Sized> TokenStore for Arc<T> {
    fn load<'a>(&'a self, key: &'a TokenKey) -> StoreFuture<'a, Option<StoredToken>> {
        T::load(self, key)
    }

    fn save<'a>(&'a self, key: &'a TokenKey, token: &'a StoredToken) -> StoreFuture<'a, ()> {
        T::save(self, key, token)
    }

    fn clear<'a>(&'a self, key: &'a TokenKey, token: &'a Secret) -> StoreFuture<'a, ()> {
        T::clear(self, key, token)
    }
}
