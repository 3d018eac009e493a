//! The status of a connection, as something to wait on.

use crate::core::Status;
use crate::driver::watch::{WatchCursor, WatchReader};

/// Tells when the status of a connection changes.
///
/// Waiters wake in the order in which they began to wait, so that a repeatable run stays one. It does not
/// keep the client alive.
#[derive(Clone)]
pub struct StatusWatch {
    cursor: WatchCursor<Status>,
}

impl StatusWatch {
    pub(super) fn new(status: &WatchReader<Status>) -> Self {
        Self { cursor: status.cursor() }
    }

    /// The status now, which counts as seen.
    pub fn get(&mut self) -> Status {
        self.cursor.get()
    }

    /// Waits for a status that this watch has not seen, and gives it. Quick changes are seen as one: the
    /// last. `None` once the client has ended and its last status was seen.
    ///
    /// Cancel safe: a status counts as seen only when it is returned.
    pub async fn changed(&mut self) -> Option<Status> {
        self.cursor.changed().await
    }

    /// The first status from now on, the present one included, that is as wanted; `None` once the client
    /// has ended without one. Quick changes may be missed.
    ///
    /// Cancel safe: what was looked at in vain counts as seen, and nothing else is lost.
    pub async fn wait_for(&mut self, is_wanted: impl Fn(&Status) -> bool) -> Option<Status> {
        let mut status = self.get();
        loop {
            if is_wanted(&status) {
                return Some(status);
            }
            status = self.changed().await?;
        }
    }
}

impl std::fmt::Debug for StatusWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StatusWatch").finish_non_exhaustive()
    }
}
