//! What has arrived of a message that is not whole yet.
//!
//! The websocket layer gives whole messages only, and a large one on a slow line takes long. So the bytes below it are
//! counted, and the clock is read when some have come without a message. What is between a whole message and the bytes
//! read with it is not known and not counted: a message counts as begun with the next read, at the latest.
//!
//! Below TLS more bytes arrive than can be read, as a record is passed on when it is whole. Those are life, too. They are
//! taken for a part of a message when they come more than once: a single one may be a record of TLS's own.

use tokio::time::Instant as TokioInstant;

use crate::core::{Epoch, Input, Instant};

/// Opcode and length of a control frame from a server.
const CONTROL_FRAME_HEADER_BYTES: u64 = 2;
/// The largest control frame from a server (RFC 6455, 5.5). More than that is a part of a message.
const CONTROL_FRAME_BYTES_MAX: u64 = CONTROL_FRAME_HEADER_BYTES + 125;

/// The bytes since the latest whole message.
pub(super) struct Incoming {
    epoch: Epoch,
    /// When time began for the core.
    started: TokioInstant,
    /// What had been read at the latest look.
    read: u64,
    /// What had arrived then, be it readable or not.
    arrived: u64,
    /// When bytes arrived first, and last, since something could be read.
    unreadable: Option<(Instant, Instant)>,
    /// A whole message has come since the latest look, which is all that the core must hear.
    is_whole: bool,
    /// The bytes themselves, but for those of control frames.
    bytes: u64,
    /// Bytes of control frames since the latest look.
    control_bytes: u64,
    message_began: Option<Instant>,
    latest: Instant,
    /// What the core knows of `message_began` and `latest`.
    reported: (Option<Instant>, Instant),
}

impl Incoming {
    pub(super) fn new(epoch: Epoch, started: TokioInstant) -> Self {
        Self {
            epoch,
            started,
            read: 0,
            arrived: 0,
            unreadable: None,
            is_whole: false,
            bytes: 0,
            control_bytes: 0,
            message_began: None,
            latest: Instant::ZERO,
            reported: (None, Instant::ZERO),
        }
    }

    /// A message is whole, of which the core hears. `read` is what has been read by now.
    pub(super) fn whole(&mut self, read: u64) {
        self.read = read;
        self.unreadable = None;
        self.is_whole = true;
        self.bytes = 0;
        self.control_bytes = 0;
        self.message_began = None;
        self.reported.0 = None;
    }

    /// A control frame was read.
    pub(super) fn control(&mut self, payload_bytes: usize) {
        self.control_bytes += CONTROL_FRAME_HEADER_BYTES + payload_bytes as u64;
    }

    /// All that could be read was read: `read` bytes so far, of `arrived`. Returns what the core must hear of at once:
    /// that a message has begun, or that there is none under way after all.
    pub(super) fn look(&mut self, read: u64, arrived: u64) -> Option<Input> {
        let (new, is_new) = (read - self.read, arrived != self.arrived);
        self.read = read;
        self.arrived = arrived;
        let is_whole = std::mem::take(&mut self.is_whole);
        if new == 0 && self.control_bytes == 0 && (is_whole || !is_new) {
            return None;
        }
        self.bytes = (self.bytes + new).saturating_sub(std::mem::take(&mut self.control_bytes));
        if is_new {
            self.latest = Instant::from(self.started.elapsed());
        }
        self.unreadable = match self.unreadable {
            _ if new > 0 => None,
            Some((first, _)) => Some((first, self.latest)),
            None => is_new.then_some((self.latest, self.latest)),
        };
        let record_began = self.unreadable.filter(|(first, last)| first < last).map(|(first, _)| first);
        let began = (self.bytes > 0).then(|| self.message_began.unwrap_or(self.latest));
        self.message_began = began.or(record_began);
        let changed = self.message_began != self.reported.0;
        let is_news = changed && (self.bytes == 0 || self.bytes > CONTROL_FRAME_BYTES_MAX);
        if is_news { self.report() } else { None }
    }

    /// What the core must hear of before it calls the peer silent.
    pub(super) fn report(&mut self) -> Option<Input> {
        let known = std::mem::replace(&mut self.reported, (self.message_began, self.latest));
        let (message_began, latest) = self.reported;
        (known != self.reported).then_some(Input::Bytes { epoch: self.epoch, latest, message_began })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn began(input: &Option<Input>) -> Option<Option<Instant>> {
        match input {
            Some(Input::Bytes { message_began, .. }) => Some(*message_began),
            None => None,
            Some(other) => panic!("{other:?}"),
        }
    }

    async fn pass(ms: u64) {
        tokio::time::advance(Duration::from_millis(ms)).await;
    }

    fn incoming() -> Incoming {
        Incoming::new(Epoch(1), TokioInstant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_message_is_told_once_and_then_when_asked() {
        let mut incoming = incoming();
        pass(10).await;
        assert_eq!(began(&incoming.look(1_000, 1_000)), Some(Some(Instant::from_millis(10))));
        pass(10).await;
        assert_eq!(began(&incoming.look(2_000, 2_000)), None);
        let report = incoming.report();
        let expected = (Instant::from_millis(20), Some(Instant::from_millis(10)));
        assert!(
            matches!(report, Some(Input::Bytes { latest, message_began, .. }) if (latest, message_began) == expected),
            "{report:?}"
        );
        assert!(incoming.report().is_none(), "there is no news");
        incoming.whole(3_000);
        assert!(incoming.look(3_000, 3_000).is_none());
        assert!(incoming.report().is_none(), "the core has heard of the message itself");
    }

    #[tokio::test(start_paused = true)]
    async fn a_ping_in_two_parts_is_no_message() {
        let mut incoming = incoming();
        pass(5).await;
        assert!(incoming.look(3, 3).is_none(), "too little to tell");
        assert_eq!(began(&incoming.report()), Some(Some(Instant::from_millis(5))));
        incoming.control(4);
        assert_eq!(began(&incoming.look(6, 6)), Some(None), "it was none");
    }

    #[tokio::test(start_paused = true)]
    async fn a_ping_between_fragments_ends_nothing() {
        let mut incoming = incoming();
        pass(1).await;
        assert_eq!(began(&incoming.look(500, 500)), Some(Some(Instant::from_millis(1))));
        pass(1).await;
        incoming.control(0);
        assert!(incoming.look(502, 502).is_none());
        pass(1).await;
        assert!(incoming.look(900, 900).is_none());
        assert_eq!(began(&incoming.report()), Some(Some(Instant::from_millis(1))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tail_that_came_with_a_message_is_counted_with_the_next_bytes() {
        let mut incoming = incoming();
        incoming.whole(1_000);
        assert!(incoming.look(1_000, 1_000).is_none());
        pass(1).await;
        // The rest of a ping whose beginning came with the message.
        incoming.control(10);
        assert!(incoming.look(1_004, 1_004).is_none());
        assert!(
            incoming.report().is_some_and(|input| matches!(input, Input::Bytes { message_began: None, .. }))
        );
    }

    /// What TLS says to its peer comes once in a while; a record of data that is slow comes and comes.
    #[tokio::test(start_paused = true)]
    async fn bytes_that_cannot_be_read_yet_are_life() {
        let mut incoming = incoming();
        pass(1).await;
        assert!(incoming.look(0, 30).is_none());
        let latest = |input| match input {
            Some(Input::Bytes { latest, message_began, .. }) => Some((latest, message_began)),
            _ => None,
        };
        let at = Instant::from_millis;
        assert_eq!(latest(incoming.report()), Some((at(1), None)));
        pass(1).await;
        assert_eq!(began(&incoming.look(0, 40)), Some(Some(at(1))), "it takes its time");
        pass(1).await;
        assert!(incoming.look(0, 50).is_none());
        assert_eq!(latest(incoming.report()), Some((at(3), Some(at(1)))));
        pass(1).await;
        assert!(incoming.look(1_000, 2_000).is_none(), "the record is whole, and the message is not");
        assert_eq!(latest(incoming.report()), Some((at(4), Some(at(1)))));
        incoming.whole(1_500);
        assert!(incoming.look(1_500, 2_500).is_none());
    }
}
