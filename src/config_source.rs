//! Configs that come from elsewhere: settings, a lookup, an endpoint that moves.
//!
//! A config is either pushed, with [`Client::configure`], or pulled: [`follow`] asks a
//! [`ConfigSource`] whenever that announces a change. Both at once is fine, too. Of two configs the one
//! that somebody set out to find later wins, whichever is ready first, so the late answer of a slow
//! lookup never overwrites a newer config (B24).

use std::any::Any;
use std::fmt;
use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{Either, FutureExt, select};
use thiserror::Error;
use tokio::sync::watch;

use crate::client::{Client, ConfigureError, WeakClient};
use crate::core::{Config, OneLine};
use crate::driver::last_word::panic_message;
use crate::driver::watch::{WatchReader, WatchSender};

/// Something that knows which gateway to connect to.
pub trait ConfigSource: Send + Sync + 'static {
    /// The config as of now; `None` means that there is no gateway to connect to.
    ///
    /// Must be cancel safe: the future is dropped when a newer generation is announced, and when the
    /// client is gone. A source that changes faster than it can be asked is never heard.
    ///
    /// # Errors
    /// When it cannot be found out. The client then keeps the config it has, and the source is asked
    /// again when it announces the next generation.
    fn current(&self) -> impl Future<Output = Result<Option<Config>, SourceError>> + Send;

    /// The announcements of this source, from now on.
    fn changes(&self) -> Changes;
}

impl<S: ConfigSource> ConfigSource for Arc<S> {
    fn current(&self) -> impl Future<Output = Result<Option<Config>, SourceError>> + Send {
        S::current(self)
    }

    fn changes(&self) -> Changes {
        S::changes(self)
    }
}

/// Why a source cannot tell its config. Whoever makes one keeps secrets out of it: it is logged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The source says so, and why.
    #[error("the config cannot be found out: {}", OneLine::whole(.0))]
    Unknown(Arc<str>),
    /// The source has panicked, which is a bug of it; this is the start of the panic's message.
    #[error("the config source panicked ({0}): that is a bug there")]
    Panicked(Arc<str>),
}

impl SourceError {
    /// With a reason for humans.
    #[must_use]
    pub fn new(why: impl fmt::Display) -> Self {
        Self::Unknown(why.to_string().into())
    }

    fn panicked(payload: &(dyn Any + Send)) -> Self {
        Self::Panicked(panic_message(payload).into())
    }
}

/// Where a source announces that its config may have changed.
///
/// It counts changes instead of comparing values: off and on again within one moment are two changes,
/// though nothing looks different afterwards (B26). Whether there is anything to do is decided by
/// whoever applies the config, and an equal one is a no-op there.
pub struct Generations {
    generation: WatchSender<u64>,
    reader: WatchReader<u64>,
}

impl Generations {
    /// Nothing has changed so far.
    #[must_use]
    pub fn new() -> Self {
        let (generation, reader) = WatchSender::new(0);
        Self { generation, reader }
    }

    /// The config may have changed. Call it after the change, so that whoever asks now hears of it.
    pub fn announce(&self) {
        self.generation.modify(|generation| *generation += 1);
    }

    /// The announcements from now on.
    #[must_use]
    pub fn changes(&self) -> Changes {
        let seen = self.reader.get();
        Changes { reader: self.reader.clone(), seen }
    }
}

impl Default for Generations {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Generations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Generations").field(&self.reader.get()).finish()
    }
}

/// The announcements of a source.
pub struct Changes {
    reader: WatchReader<u64>,
    seen: u64,
}

impl Changes {
    /// The generation that was last returned, or that was the present one when this was made.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Waits for a newer generation, and skips to the newest; `None` when the source is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<u64> {
        let seen = self.seen;
        let next = self.reader.find(|now| (*now > seen).then_some(*now)).await?;
        self.seen = next;
        Some(next)
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("seen", &self.seen).finish_non_exhaustive()
    }
}

/// Lets `client` have the config of `source`, now and whenever it changes. Nothing happens before
/// [`Follow::run`].
///
/// # Errors
/// [`ConfigureError::Shared`] for a client of a hub, whose config never changes.
pub fn follow<S: ConfigSource>(client: &Client, source: S) -> Result<Follow<S>, ConfigureError> {
    if client.is_fixed() {
        return Err(ConfigureError::Shared);
    }
    let (progress, _) = watch::channel(Followed::default());
    Ok(Follow { client: client.downgrade(), source, progress })
}

/// Carries configs from a source to a client. It does not keep the client alive.
#[must_use = "nothing is followed before it runs"]
pub struct Follow<S> {
    client: WeakClient,
    source: S,
    progress: watch::Sender<Followed>,
}

/// How far the client is behind its source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Followed {
    /// Answers of the source so far.
    pub answers: u64,
    /// The generation of the latest answer.
    pub generation: u64,
    /// Why the latest answer was none; the config before it is still in force.
    pub error: Option<SourceError>,
    /// Why nothing is followed any more, once that is so.
    pub end: Option<FollowEnd>,
}

/// Why there is nothing left to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FollowEnd {
    /// The client was shut down or lost, or its last handle is gone.
    Client,
    /// The source is gone, or panicked before it announced anything; its last config stays in force.
    Source,
}

impl<S: ConfigSource> Follow<S> {
    /// What has come of it, as something to wait on.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Followed> {
        self.progress.subscribe()
    }

    /// Follows until there is nothing left to follow. Run it as a task of its own. A source that panics is taken for
    /// one that cannot tell its config: the client keeps the one it has, and the source is asked again when it
    /// announces the next generation.
    ///
    /// Cancel safe: dropping it leaves the client with the config it has.
    pub async fn run(self) -> FollowEnd {
        let stopped = pin!(self.client.stopped());
        let applying = pin!(self.apply_all());
        let end = match select(stopped, applying).await {
            Either::Left(_) => FollowEnd::Client,
            Either::Right((end, _)) => end,
        };
        self.progress.send_modify(|followed| followed.end = Some(end));
        end
    }

    async fn apply_all(&self) -> FollowEnd {
        let mut changes = match catch_unwind(AssertUnwindSafe(|| self.source.changes())) {
            Ok(changes) => changes,
            Err(payload) => {
                let error = SourceError::panicked(&*payload);
                tracing::warn!(%error, "no config is followed");
                self.progress.send_modify(|followed| followed.error = Some(error));
                return FollowEnd::Source;
            }
        };
        loop {
            // Taken before the question: of two configs the one that was asked for later wins.
            let Some(seq) = self.client.upgrade().map(|client| client.next_config_seq()) else {
                return FollowEnd::Client;
            };
            let generation = changes.seen();
            let answer = match select(pin!(newer(&mut changes)), pin!(self.ask())).await {
                Either::Left(_) => continue,
                Either::Right((answer, _)) => answer,
            };
            let error = match answer {
                Ok(config) => {
                    let Some(client) = self.client.upgrade() else { return FollowEnd::Client };
                    if client.configure_as(seq, config).await.is_err() {
                        return FollowEnd::Client;
                    }
                    None
                }
                Err(error) => {
                    tracing::warn!(%error, "keeping the config of before");
                    Some(error)
                }
            };
            self.progress.send_modify(|followed| {
                *followed = Followed { answers: followed.answers + 1, generation, error, end: None };
            });
            if changes.next().await.is_none() {
                return FollowEnd::Source;
            }
        }
    }

    async fn ask(&self) -> Result<Option<Config>, SourceError> {
        let asked = AssertUnwindSafe(async { self.source.current().await });
        asked.catch_unwind().await.unwrap_or_else(|payload| Err(SourceError::panicked(&*payload)))
    }
}

/// Waits for a newer generation. A source that is gone still answers what it was asked.
async fn newer(changes: &mut Changes) {
    if changes.next().await.is_none() {
        pending::<()>().await;
    }
}

impl<S> fmt::Debug for Follow<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow").field("progress", &*self.progress.borrow()).finish_non_exhaustive()
    }
}
