//! The signals that end a command: the socket is closed first.

use std::io;

use super::CliError;

/// A signal that asks the program to end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// What `kill` sends.
    Terminate,
}

impl Signal {
    /// What shells give for a program that such a signal has ended.
    pub(super) fn exit_status(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// Does the work unless a signal comes first.
pub(super) async fn unless_interrupted(
    work: impl Future<Output = Result<(), CliError>>,
) -> Result<(), CliError> {
    tokio::select! {
        biased;
        signal = signal() => Err(match signal {
            Ok(signal) => CliError::Interrupted(signal),
            Err(why) => CliError::system("signals cannot be waited for")(why),
        }),
        outcome = work => outcome,
    }
}

#[cfg(unix)]
async fn signal() -> io::Result<Signal> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => Ok(Signal::Interrupt),
        _ = terminate.recv() => Ok(Signal::Terminate),
    }
}

#[cfg(not(unix))]
async fn signal() -> io::Result<Signal> {
    tokio::signal::ctrl_c().await.map(|()| Signal::Interrupt)
}
