//! What is known about one socket. It is made anew for every epoch, so nothing leaks from one
//! connection into the next (B53).

use std::sync::Arc;

use super::config::Options;
use super::error::PauseReason;
use super::event::{Event, Gap};
use super::handshake::Challenge;
use super::id::Epoch;
use super::peer_text::PeerText;
use super::selection::Stored;
use super::sequence::Sequence;
use super::snapshot::Policy;
use super::time::Instant;

/// The state of one dial attempt and its socket.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Session {
    pub(super) epoch: Epoch,
    /// When anything at all last arrived, be it a byte.
    pub(super) last_inbound: Instant,
    /// When the message began that is not complete yet, once its bytes take more than a moment.
    pub(super) message_began: Option<Instant>,
    /// When it was asked whether the peer lives, while nothing has arrived since.
    pub(super) probed: Option<Instant>,
    /// Frames given to the transport and not written yet.
    pub(super) unwritten: usize,
    pub(super) sequence: Sequence,
    /// What the store says about this device's token.
    pub(super) stored: Stored,
    /// The pause that this attempt asks the gateway about. It holds until hello.
    pub(super) polls_for: Option<Arc<PauseReason>>,
    /// Whether the stored token is what was presented.
    pub(super) presented_stored: bool,
    /// Whether a bootstrap token is what was presented.
    pub(super) presented_bootstrap: bool,
    early: Vec<Early>,
    /// The bytes of the frames that `early` keeps alive.
    early_bytes: usize,
}

/// How far a session has come, with what only that stage needs.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum SessionStage {
    Dialing {
        deadline: Instant,
    },
    AwaitingChallenge {
        deadline: Instant,
    },
    /// The challenge is there, and the token store has not answered yet.
    AwaitingToken {
        deadline: Instant,
        challenge: Box<Challenge>,
    },
    /// `offered` are the capabilities of the challenge that was answered.
    AwaitingHello {
        deadline: Instant,
        offered: Vec<PeerText>,
    },
    /// `connect` was refused, and the gateway tells on this socket how the pairing request is decided.
    AwaitingApproval {
        deadline: Instant,
        request: PeerText,
        /// The pause that holds meanwhile.
        reason: Arc<PauseReason>,
    },
    /// `policy` is what hello promised.
    Ready {
        since: Instant,
        policy: Policy,
    },
}

impl SessionStage {
    /// What the challenge offered, while its answer is awaited.
    pub(super) fn offered(&self) -> &[PeerText] {
        match self {
            Self::AwaitingHello { offered, .. } => offered,
            Self::Dialing { .. }
            | Self::AwaitingChallenge { .. }
            | Self::AwaitingToken { .. }
            | Self::AwaitingApproval { .. }
            | Self::Ready { .. } => &[],
        }
    }
}

/// What arrived before hello and must follow the snapshot (protocol 10.5).
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Early {
    Gap(Gap),
    Event(Arc<Event>),
}

impl Session {
    /// `asks_store` if the token store has been asked for a token.
    pub(super) fn new(epoch: Epoch, now: Instant, asks_store: bool) -> Self {
        Self {
            epoch,
            last_inbound: now,
            message_began: None,
            probed: None,
            unwritten: 0,
            sequence: Sequence::default(),
            stored: if asks_store { Stored::Awaited } else { Stored::Unused },
            polls_for: None,
            presented_stored: false,
            presented_bootstrap: false,
            early: Vec::new(),
            early_bytes: 0,
        }
    }

    /// The gap that `seq` reveals on this connection.
    pub(super) fn admit(&mut self, seq: Option<u64>) -> Option<Gap> {
        let missing = self.sequence.admit(seq)?;
        Some(Gap { epoch: self.epoch, expected: missing.expected, received: missing.received })
    }

    /// Keeps an item until hello. Beyond the limits the oldest items give way to one gap that covers them
    /// all, so that their loss is told. An event without a number leaves no trace: no gap can name it,
    /// and the snapshot that comes first is newer than it.
    pub(super) fn keep_early(&mut self, item: Early, limits: EarlyLimits) {
        self.early_bytes += item.bytes();
        self.early.push(item);
        while self.early.len() > limits.events.max(1) || self.early_bytes > limits.bytes {
            // Two become one; a last one that is too large becomes nothing but its number.
            let dropped = self.early.drain(..self.early.len().min(2));
            let mut numbers = Vec::with_capacity(2);
            for item in dropped {
                self.early_bytes -= item.bytes();
                numbers.extend(item.numbers());
            }
            let expected = numbers.iter().map(|(first, _)| *first).min();
            let received = numbers.iter().map(|(_, next)| *next).max();
            if let (Some(expected), Some(received)) = (expected, received) {
                self.early.insert(0, Early::Gap(Gap { epoch: self.epoch, expected, received }));
            }
        }
    }

    pub(super) fn take_early(&mut self) -> Vec<Early> {
        self.early_bytes = 0;
        std::mem::take(&mut self.early)
    }

    /// Something arrived then, whatever it is.
    pub(super) fn heard(&mut self, at: Instant) {
        self.last_inbound = self.last_inbound.max(at);
        self.probed = self.probed.filter(|probed| at < *probed);
    }

    /// A message is complete.
    pub(super) fn message_arrived(&mut self, now: Instant) {
        self.heard(now);
        self.message_began = None;
    }

    /// When the peer counts as dead: twice the tick interval after the last sign of life, or when a probe has not been
    /// answered in time.
    pub(super) fn silent_at(&self, policy: &Policy, options: &Options) -> Instant {
        let silent_at = self.last_inbound + policy.tick_interval.saturating_mul(2);
        self.probed.map_or(silent_at, |probed| silent_at.min(probed + options.wake_timeout))
    }

    /// When the message that is under way has taken too long.
    pub(super) fn message_due(&self, options: &Options) -> Option<Instant> {
        self.message_began.map(|began| began + options.max_message_duration)
    }
}

/// How much may wait for hello.
#[derive(Clone, Copy, Debug)]
pub(super) struct EarlyLimits {
    pub(super) events: usize,
    pub(super) bytes: usize,
}

impl Early {
    /// The bytes of the frame that this item keeps alive.
    fn bytes(&self) -> usize {
        match self {
            Self::Gap(_) => 0,
            Self::Event(event) => event.payload.frame_len(),
        }
    }

    /// The first number this item stands for, and the first one behind it.
    fn numbers(&self) -> Option<(u64, u64)> {
        match self {
            Self::Gap(gap) => Some((gap.expected, gap.received)),
            Self::Event(event) => event.seq.map(|seq| (seq, seq.saturating_add(1))),
        }
    }
}
