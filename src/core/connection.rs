//! The connection: one state machine that owns the socket, the reconnect policy and the credentials.
//!
//! ```text
//!           wanted              due             opened               challenge            hello
//!   Idle ──────────▶ Waiting ────────▶ Dialing ────────▶ Challenged? ──────────▶ Greeted? ──────▶ Ready
//!                    ▲  ▲ ▲               │                  │                      │              │
//!                    │  │ └── backoff ────┴──────────────────┴──────────────────────┴──────────────┤
//!                    │  │                                     failed, refused, closed, lost, silent│
//!             resume │  │ socket gone                                                              │
//!                    │  └──────────── Closing ◀── new config ──────────────────────────────────────┤
//!                  Paused ◀── a refusal that only a person can mend ───────────────────────────────┤
//!                  Stopped ◀─ (Closing) ◀── shutdown ──────────────────────────────────────────────┘
//! ```
//!
//! From `Dialing` to `Ready` the phase is [`Phase::Live`]: it owns the session, whose stage is
//! [`SessionStage::AwaitingChallenge`] at `Challenged?` and [`SessionStage::AwaitingHello`] at `Greeted?`. A
//! shutdown that has to wait for the token store is [`Phase::Flushing`] before it is `Stopped`.
//!
//! A dial happens in one place only: when a wait is over. That a new config waits too, as a rule with no time to
//! wait, is what lets the latest of several quick changes win without dialing the others (see `settling`).
//!
//! Here are the state, its inputs, its subscribers and its ends on purpose. What follows an end that nobody
//! wanted is in `reconnect`, requests are in `requests`, deadlines in `due`, what the gateway says in
//! `inbound` and `credentials`.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::backoff::Backoff;
use super::config::{Config, Options};
use super::effect::{Close, Command, Effect, Input, Push, Status, WireText};
use super::error::{ConfigError, ConnectionError, PauseReason, RequestErrorKind};
use super::id::{Epoch, RequestId, SubscriptionId};
use super::in_flight::{InFlight, Pending};
use super::selection::DeviceTokenRetry;
use super::session::{Session, SessionStage};
use super::settling::ConfigChanges;
use super::snapshot::Snapshot;
use super::time::Instant;

/// One connection to one gateway, and everything that is wanted of it.
///
/// Feed it with [`step`](Self::step); call it again with [`Input::Timeout`] when
/// [`next_deadline`](Self::next_deadline) has come. Time must not go backwards.
#[derive(Clone, Debug, PartialEq)]
pub struct Connection {
    pub(super) options: Options,
    pub(super) config: Option<Arc<Config>>,
    pub(super) phase: Phase,
    pub(super) snapshot: Option<Arc<Snapshot>>,
    pub(super) requests: InFlight,
    /// Each subscriber, and whether it has had a snapshot: nothing else may reach it before that.
    pub(super) subscriptions: BTreeMap<SubscriptionId, bool>,
    pub(super) config_changes: ConfigChanges,
    pub(super) backoff: Backoff,
    pub(super) startup_retries: u32,
    pub(super) rng: Xoshiro256PlusPlus,
    /// What all request ids of this connection begin with: it tells them from those of any other in the process.
    pub(super) id_prefix: String,
    pub(super) next_epoch: u64,
    pub(super) last_dial: Option<Instant>,
    pub(super) wanted: bool,
    pub(super) has_token_store: bool,
    pub(super) device_token_retry: DeviceTokenRetry,
    /// Writes that the token store has not finished.
    pub(super) store_writes: u32,
    status: Status,
    pub(super) now: Instant,
}

/// See the diagram of this module.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Phase {
    Idle,
    /// `until` is when to dial; `not_before` is what even an impatient caller must respect.
    Waiting {
        until: Instant,
        not_before: Instant,
    },
    /// There is a socket, or a dial that leads to one.
    Live {
        session: Session,
        stage: SessionStage,
    },
    /// The socket of `epoch` is being closed on purpose; what it still receives concerns nobody.
    Closing {
        epoch: Epoch,
        deadline: Instant,
        then: AfterClose,
    },
    /// `poll_at` is when to ask the gateway whether the pause is over.
    Paused {
        reason: Arc<PauseReason>,
        poll_at: Option<Instant>,
    },
    /// Shutting down without a socket, while the token store still writes.
    Flushing {
        deadline: Instant,
    },
    Stopped,
}

impl Phase {
    /// The session and its stage, for code that runs only while there is one.
    pub(super) fn live_mut(&mut self) -> (&mut Session, &mut SessionStage) {
        match self {
            Self::Live { session, stage } => (session, stage),
            Self::Idle
            | Self::Waiting { .. }
            | Self::Closing { .. }
            | Self::Paused { .. }
            | Self::Flushing { .. }
            | Self::Stopped => panic!("the session is over: {self:?}"),
        }
    }
}

/// What follows once the old socket is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterClose {
    Reconnect,
    Stop,
}

impl Connection {
    /// A connection that does nothing until something is wanted of it.
    ///
    /// `seed` feeds the jitter and the prefix of request ids; give each connection of a process
    /// its own.
    ///
    /// # Errors
    /// [`ConfigError::Option`] if an option is out of range.
    pub fn new(config: Option<Arc<Config>>, options: Options, seed: u64) -> Result<Self, ConfigError> {
        options.validate()?;
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let id_prefix = format!("{:08x}-", rand_core::Rng::next_u32(&mut rng));
        Ok(Self {
            backoff: Backoff::new(options.backoff.clone()),
            options,
            config,
            phase: Phase::Idle,
            snapshot: None,
            requests: InFlight::default(),
            subscriptions: BTreeMap::new(),
            config_changes: ConfigChanges::default(),
            startup_retries: 0,
            rng,
            id_prefix,
            next_epoch: 1,
            last_dial: None,
            wanted: false,
            has_token_store: false,
            device_token_retry: DeviceTokenRetry::default(),
            store_writes: 0,
            status: Status::Idle,
            now: Instant::ZERO,
        })
    }

    /// Device tokens are kept from now on: the caller has a store that answers
    /// [`Effect::LoadToken`], [`Effect::SaveToken`], [`Effect::AdoptToken`] and [`Effect::ClearToken`].
    #[must_use]
    pub fn with_token_store(mut self) -> Self {
        self.has_token_store = true;
        self
    }

    /// Takes one input and appends what follows from it to `effects`, in order.
    ///
    /// # Panics
    /// If `now` is before an earlier `now`, or an id is used twice: mistakes of the caller.
    pub fn step(&mut self, now: Instant, input: Input, effects: &mut Vec<Effect>) {
        assert!(now >= self.now, "time went backwards from {} to {now}", self.now);
        self.now = now;
        // The one place where the past is kept away from the present (B03, B04).
        if input.epoch().is_some_and(|epoch| Some(epoch) != self.live_epoch()) {
            return;
        }
        match input {
            Input::Command(command) => self.command(command, effects),
            Input::Opened { .. } => self.opened(effects),
            Input::DialFailed { error, .. } => self.ended(ConnectionError::Dial(error), effects),
            Input::Received { text, .. } => self.received(&text.0, effects),
            Input::Unreadable { .. } => self.unreadable(effects),
            Input::Activity { .. } => self.alive(),
            Input::Bytes { latest, message_began, .. } => self.bytes_arrived(latest, message_began),
            Input::Written { frames, .. } => self.written(frames, effects),
            Input::Closed { error, .. } => self.ended(error, effects),
            Input::TokenLoaded { result, .. } => self.token_loaded(result, effects),
            Input::TokenStored => self.token_stored(effects),
            Input::Timeout => self.run_due(effects),
        }
    }

    /// Where the connection stands.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// The latest snapshot of the present config, if there ever was one.
    #[must_use]
    pub fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshot.as_ref()
    }

    /// Requests that have not ended.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.requests.sent() + self.requests.queued()
    }

    /// Whether a request has not ended and was not handed to any transport: the gateway cannot have seen it.
    #[must_use]
    pub fn is_queued(&self, id: RequestId) -> bool {
        self.requests.is_queued(id)
    }

    /// Whether a subscriber has had its first snapshot: before that, it must not be given anything but the end.
    #[must_use]
    pub fn has_snapshot(&self, id: SubscriptionId) -> bool {
        self.subscriptions.get(&id).copied().unwrap_or_default()
    }

    /// Subscriptions that have not ended.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    pub(super) fn live_epoch(&self) -> Option<Epoch> {
        match &self.phase {
            Phase::Live { session, .. } => Some(session.epoch),
            Phase::Closing { epoch, .. } => Some(*epoch),
            Phase::Idle
            | Phase::Waiting { .. }
            | Phase::Paused { .. }
            | Phase::Flushing { .. }
            | Phase::Stopped => None,
        }
    }

    fn command(&mut self, command: Command, effects: &mut Vec<Effect>) {
        match command {
            Command::Connect => self.want(effects),
            Command::Request { id, method, params, timeout, waited, reply, only_on, expected_profile_id } => {
                let params = params.map(WireText);
                let pending = Pending { method, params, timeout, reply, only_on, expected_profile_id };
                self.request(id, waited, pending, effects);
            }
            Command::Cancel { id } => {
                self.requests.take(id);
                self.send_queued(effects);
            }
            Command::Subscribe { id } => self.subscribe(id, effects),
            Command::Unsubscribe { id } => {
                self.subscriptions.remove(&id);
            }
            Command::Configure(config) => self.configure(config, effects),
            Command::Wake => self.wake(effects),
            Command::Resume => self.resume(effects),
            Command::ShutDown => self.shut_down(effects),
        }
    }

    pub(super) fn want(&mut self, effects: &mut Vec<Effect>) {
        self.wanted = true;
        if self.phase == Phase::Idle {
            self.settle(effects);
        }
    }

    fn subscribe(&mut self, id: SubscriptionId, effects: &mut Vec<Effect>) {
        if self.phase == Phase::Stopped {
            effects.push(Effect::Deliver { to: id, push: Push::Closed });
            return;
        }
        let replaced = self.subscriptions.insert(id, self.snapshot.is_some());
        assert!(replaced.is_none(), "subscription id {} is used twice", id.0);
        if let Some(snapshot) = &self.snapshot {
            effects.push(Effect::Deliver { to: id, push: Push::Snapshot(Arc::clone(snapshot)) });
            // A snapshot looks like the present. What is not so any more is said at once, not with the next change.
            if self.status != (Status::Ready { epoch: snapshot.epoch() }) {
                effects.push(Effect::Deliver { to: id, push: Push::Status(self.status.clone()) });
            }
        }
        self.want(effects);
    }

    /// A different config retires the socket and everything that belongs to it; an equal one
    /// changes nothing, however often it comes.
    fn configure(&mut self, config: Option<Arc<Config>>, effects: &mut Vec<Effect>) {
        if config == self.config || self.phase == Phase::Stopped {
            return;
        }
        self.config = config;
        self.config_changes.changed(self.now, self.options.config_settle);
        self.snapshot = None;
        self.backoff.reset();
        self.startup_retries = 0;
        self.device_token_retry = DeviceTokenRetry::default();
        self.fail_all(&RequestErrorKind::Disconnected(Arc::new(ConnectionError::Superseded)), effects);
        match &self.phase {
            Phase::Closing { .. } | Phase::Flushing { .. } | Phase::Stopped => {}
            Phase::Idle | Phase::Waiting { .. } | Phase::Paused { .. } => self.settle(effects),
            Phase::Live { .. } => self.retire(AfterClose::Reconnect, "configuration changed", effects),
        }
    }

    fn shut_down(&mut self, effects: &mut Vec<Effect>) {
        self.fail_all(&RequestErrorKind::ShutDown, effects);
        match &mut self.phase {
            Phase::Flushing { .. } | Phase::Stopped => {}
            Phase::Closing { then, .. } => *then = AfterClose::Stop,
            Phase::Idle | Phase::Waiting { .. } | Phase::Paused { .. } => {
                self.stop(self.close_deadline(), effects);
            }
            Phase::Live { .. } => self.retire(AfterClose::Stop, "client shut down", effects),
        }
    }

    /// Ends the live socket on purpose. A socket that is open gets a close frame and a bounded
    /// time to answer it; a dial is dropped at once.
    fn retire(&mut self, then: AfterClose, reason: &'static str, effects: &mut Vec<Effect>) {
        let deadline = self.close_deadline();
        let (session, stage) = self.phase.live_mut();
        let epoch = session.epoch;
        if let SessionStage::Dialing { .. } = stage {
            effects.push(Effect::HangUp { epoch, close: Close::Now { code: 1000, reason } });
            self.after_close(then, deadline, effects);
            return;
        }
        effects.push(Effect::HangUp { epoch, close: Close::Graceful { code: 1000, reason } });
        self.phase = Phase::Closing { epoch, deadline, then };
        self.set_status(Status::Closing, effects);
    }

    /// With the socket gone. `deadline` is when a shutdown stops waiting for the token store.
    pub(super) fn after_close(&mut self, then: AfterClose, deadline: Instant, effects: &mut Vec<Effect>) {
        match then {
            AfterClose::Reconnect => self.settle(effects),
            AfterClose::Stop => self.stop(deadline, effects),
        }
    }

    /// What the store is still writing is waited for, within the grace of a close.
    fn stop(&mut self, deadline: Instant, effects: &mut Vec<Effect>) {
        if self.store_writes == 0 {
            return self.stopped(effects);
        }
        self.phase = Phase::Flushing { deadline };
        self.set_status(Status::Closing, effects);
    }

    pub(super) fn stopped(&mut self, effects: &mut Vec<Effect>) {
        self.phase = Phase::Stopped;
        self.set_status(Status::Stopped, effects);
        for (to, _) in std::mem::take(&mut self.subscriptions) {
            effects.push(Effect::Deliver { to, push: Push::Closed });
        }
        effects.push(Effect::Stopped);
    }

    fn opened(&mut self, effects: &mut Vec<Effect>) {
        // A socket opens once; a transport that says so again changes nothing.
        let Phase::Live { session, stage: stage @ SessionStage::Dialing { .. } } = &mut self.phase else {
            return;
        };
        session.heard(self.now);
        let is_poll = session.polls_for.is_some();
        *stage = SessionStage::AwaitingChallenge { deadline: self.now + self.options.challenge_timeout };
        let epoch = session.epoch;
        if !is_poll {
            self.set_status(Status::Handshaking { epoch }, effects);
        }
    }

    // Nobody watches over a socket that closes.
    fn alive(&mut self) {
        if let Phase::Live { session, .. } = &mut self.phase {
            session.heard(self.now);
        }
    }

    fn bytes_arrived(&mut self, latest: Instant, message_began: Option<Instant>) {
        if let Phase::Live { session, .. } = &mut self.phase {
            session.heard(latest.min(self.now));
            session.message_began = message_began;
        }
    }

    pub(super) fn ready(&mut self, snapshot: Snapshot, effects: &mut Vec<Effect>) {
        let epoch = snapshot.epoch();
        self.startup_retries = 0;
        let (session, stage) = self.phase.live_mut();
        session.polls_for = None;
        *stage = SessionStage::Ready { since: self.now, policy: snapshot.hello.policy };
        let snapshot = Arc::new(snapshot);
        self.snapshot = Some(Arc::clone(&snapshot));
        self.deliver(&Push::Snapshot(snapshot), effects);
        self.set_status(Status::Ready { epoch }, effects);
    }

    /// Gives `push` to every subscriber that may have it.
    pub(super) fn deliver(&mut self, push: &Push, effects: &mut Vec<Effect>) {
        let is_snapshot = matches!(push, Push::Snapshot(_));
        for (to, has_snapshot) in &mut self.subscriptions {
            *has_snapshot |= is_snapshot;
            if *has_snapshot {
                effects.push(Effect::Deliver { to: *to, push: push.clone() });
            }
        }
    }

    pub(super) fn set_status(&mut self, status: Status, effects: &mut Vec<Effect>) {
        if self.status != status {
            self.status = status.clone();
            effects.push(Effect::Status(status.clone()));
            self.deliver(&Push::Status(status), effects);
        }
    }

    fn close_deadline(&self) -> Instant {
        self.now + self.options.close_grace
    }
}

impl Input {
    fn epoch(&self) -> Option<Epoch> {
        match self {
            Self::Command(_) | Self::TokenStored | Self::Timeout => None,
            Self::Opened { epoch }
            | Self::DialFailed { epoch, .. }
            | Self::Received { epoch, .. }
            | Self::Unreadable { epoch }
            | Self::Activity { epoch }
            | Self::Bytes { epoch, .. }
            | Self::Written { epoch, .. }
            | Self::TokenLoaded { epoch, .. }
            | Self::Closed { epoch, .. } => Some(*epoch),
        }
    }
}
