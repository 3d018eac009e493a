//! What becomes of the client's process.

use serde::{Deserialize, Serialize};

/// What becomes of the client's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ProcessFault {
    /// Fault: the process of the client does not run while the world goes on, as on a laptop that sleeps. Then
    /// everything that waited for it comes at once. What the app would have done meanwhile, it does then.
    Suspend {
        /// For how long.
        for_ms: u64,
    },
}

impl ProcessFault {
    /// The names in plans.
    pub(super) const NAMES: [&str; 1] = ["suspend"];
}
