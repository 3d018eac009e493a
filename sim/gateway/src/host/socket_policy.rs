//! How a gateway treats sockets, apart from what its model decides.

use std::time::Duration;

/// How a gateway treats sockets, apart from what its model decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketPolicy {
    /// Upgrade requests are read and never answered.
    pub ignores_upgrades: bool,
    /// How a close frame of a client is answered.
    pub close_answer: CloseAnswer,
}

/// How a gateway answers a client's close frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CloseAnswer {
    /// At once.
    #[default]
    Prompt,
    /// After this long.
    Late(Duration),
    /// Never.
    Never,
}
