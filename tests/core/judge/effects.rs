//! The laws that each effect obeys.

use std::collections::BTreeSet;
use std::time::Duration;

use onesocket::core::{Close, Delivery, Effect, Epoch, Input, Push, RequestErrorKind, Status, WireText};
use serde_json::Value;

use super::{Judge, Socket};

impl Judge {
    /// Takes note of an input before the core does; true if it is the end of the socket.
    pub(super) fn foresee(&mut self, input: &Input) -> bool {
        let Some(socket) = &mut self.socket else { return false };
        match input {
            Input::Opened { epoch } => socket.opened |= epoch.0 == socket.epoch,
            Input::Written { epoch, frames } if epoch.0 == socket.epoch => {
                socket.unwritten = socket.unwritten.saturating_sub(*frames);
            }
            Input::Received { epoch, text } if epoch.0 == socket.epoch => {
                let event: Option<Value> = serde_json::from_str(&text.0).ok();
                let number = event.filter(|event| event["event"] == "connect.challenge");
                socket.challenges.extend(number.and_then(|event| event["seq"].as_u64()));
            }
            Input::Closed { epoch, .. } | Input::DialFailed { epoch, .. } => return epoch.0 == socket.epoch,
            _ => {}
        }
        false
    }

    pub(super) fn judge(&mut self, effect: &Effect) {
        self.law(
            !self.stopped
                || matches!(effect, Effect::Complete { .. } | Effect::Deliver { push: Push::Closed, .. }),
            "a stopped core only answers",
        );
        match effect {
            Effect::Dial { epoch, .. } => self.judge_dial(epoch.0),
            Effect::Transmit { epoch, text } => self.judge_transmit(epoch.0, text),
            Effect::HangUp { epoch, close } => {
                let alive =
                    self.socket.as_ref().is_some_and(|socket| socket.epoch == epoch.0 && !socket.closing);
                let overdue = matches!(close, Close::Now { .. })
                    && self.socket.as_ref().is_some_and(|socket| socket.epoch == epoch.0);
                self.law(
                    alive || overdue,
                    "only the socket that is alive is hung up, and gracefully only once",
                );
                match (close, &mut self.socket) {
                    (Close::Graceful { .. }, Some(socket)) => socket.closing = true,
                    _ => self.socket = None,
                }
            }
            Effect::Ping { epoch } => {
                let ready =
                    self.socket.as_ref().is_some_and(|socket| socket.epoch == epoch.0 && socket.greeted);
                self.law(ready, "only a connection that is ready is asked whether it lives");
            }
            Effect::Ignored(_) => {
                self.law(self.socket.is_some(), "what is ignored came over a socket that is alive");
            }
            // These histories have no token store.
            Effect::LoadToken { .. }
            | Effect::SaveToken { .. }
            | Effect::AdoptToken { .. }
            | Effect::ClearToken { .. } => {
                self.law(false, "without a token store nothing is asked of one");
            }
            Effect::Accepted { id, .. } => {
                let waits = self.open.get(&id.0).is_some_and(|open| open.is_final && open.sent_on.is_some());
                self.law(waits, "only a sent request that waits for more is accepted");
            }
            Effect::Complete { id, outcome } => {
                let open = self.open.remove(&id.0);
                self.law(open.is_some(), "a request ends once, and not after its cancellation");
                let sent_on = open.and_then(|open| open.sent_on);
                match outcome {
                    Ok(response) => {
                        self.law(
                            sent_on == Some(response.epoch.0),
                            "an answer comes over its own connection",
                        );
                    }
                    Err(error) => {
                        let expected = match &error.kind {
                            RequestErrorKind::Rejected(error) if !error.may_have_executed() => {
                                Delivery::Rejected
                            }
                            _ if sent_on.is_some() => Delivery::Unknown,
                            _ => Delivery::NotSent,
                        };
                        self.law(error.delivery == expected, "the delivery is what happened");
                    }
                }
            }
            Effect::Deliver { to, push } => self.judge_push(to.0, push),
            Effect::Status(status) => {
                self.law(*status != self.status, "a status is a change");
                if let (Status::Ready { epoch }, Some(socket)) = (status, &mut self.socket) {
                    socket.greeted |= epoch.0 == socket.epoch;
                }
                self.status = status.clone();
            }
            Effect::Stopped => {
                self.law(self.stopping && self.socket.is_none(), "the end comes when asked for, last of all");
                self.stopped = true;
            }
        }
    }

    fn judge_dial(&mut self, epoch: u64) {
        self.law(self.socket.is_none(), "no dial while a socket is alive");
        self.law(epoch == self.last_epoch + 1, "epochs grow by one");
        self.law(!self.stopping, "no dial after a shutdown was asked for");
        if let Some(last) = self.last_dial.filter(|_| self.backoff_decides) {
            let distance = self.now.since(last);
            self.law(distance >= Duration::from_millis(100), "dials keep their distance");
        }
        self.last_dial = Some(self.now);
        self.backoff_decides = true;
        self.last_epoch = epoch;
        self.socket = Some(Socket {
            epoch,
            opened: false,
            challenges: BTreeSet::new(),
            connect: None,
            greeted: false,
            closing: false,
            unwritten: 0,
        });
    }

    fn judge_transmit(&mut self, epoch: u64, text: &WireText) {
        let frame: Value = serde_json::from_str(&text.0).expect("a frame is JSON");
        let id = frame["id"].as_str().expect("an id is a string").to_owned();
        let number = frame["params"]["n"].as_u64();
        let window = self.options.max_unwritten;
        let Some(socket) = self.socket.as_mut().filter(|socket| socket.epoch == epoch) else {
            return self.law(false, "a frame goes to the socket that is alive");
        };
        let open_socket = socket.opened && !socket.closing;
        socket.unwritten += 1;
        let in_window = socket.unwritten <= window.max(1);
        let fresh = !self.ids.contains(&id);
        let handshaken = match number {
            None => socket.connect.replace(id.clone()).is_none() && frame["method"] == "connect",
            Some(_) => socket.connect.is_some() && socket.greeted,
        };
        self.law(open_socket && handshaken, "connect first and once, requests after hello");
        self.law(in_window, "the transport holds no more than its window");
        self.law(fresh, "a wire id is used once");
        self.ids.push(id.clone());
        if let Some(number) = number {
            let unsent = self.open.get_mut(&number).is_some_and(|open| {
                open.id = Some(id);
                open.sent_on.replace(epoch).is_none() && open.only_on.is_none_or(|bound_to| bound_to == epoch)
            });
            self.law(unsent, "an open request is sent once, and an ended one never");
        }
    }

    fn judge_push(&mut self, to: u64, push: &Push) {
        let live = self.socket.as_ref().map(|socket| socket.epoch);
        // They count, and nobody receives them.
        let challenges = self.socket.as_ref().map(|socket| socket.challenges.clone()).unwrap_or_default();
        let Some(subscriber) = self.subscribers.get_mut(&to) else {
            return self.law(false, "only subscribers get pushes");
        };
        let mut broken = subscriber.closed.then_some("nothing follows the end");
        match push {
            Push::Snapshot(snapshot) => {
                let epoch = snapshot.epoch().0;
                if subscriber.snapshot_of.is_some_and(|known| known >= epoch) {
                    broken = Some("a new snapshot is of a new connection");
                }
                // A subscriber that comes later has not had the events before it.
                subscriber.from_the_start = self.status != (Status::Ready { epoch: Epoch(epoch) });
                subscriber.snapshot_of = Some(epoch);
                subscriber.known = None;
            }
            Push::Event(event) => {
                let in_order = subscriber.snapshot_of == Some(event.epoch.0) && live == Some(event.epoch.0);
                if !in_order {
                    broken = Some("an event follows the snapshot of its connection");
                }
                if let (Some(seq), Some(known), true) =
                    (event.seq, subscriber.known, subscriber.from_the_start)
                    && seq > known.max(challenges.last().copied().unwrap_or_default()) + 1
                {
                    broken = Some("a gap is reported before the event that reveals it");
                }
                subscriber.known = subscriber.known.max(event.seq);
            }
            Push::Gap(gap) => {
                if subscriber.snapshot_of != Some(gap.epoch.0) || gap.expected >= gap.received {
                    broken = Some("a gap belongs to the connection and is not empty");
                }
                let known = subscriber.known.filter(|_| subscriber.from_the_start);
                let follows = |known| gap.expected == known + 1 || challenges.contains(&(gap.expected - 1));
                if known.is_some_and(|known| !follows(known)) {
                    broken = Some("a gap begins behind what is known");
                }
                subscriber.known = subscriber.known.max(Some(gap.received - 1));
            }
            Push::Status(_) if subscriber.snapshot_of.is_none() => {
                broken = Some("a snapshot is the first item");
            }
            Push::Closed => subscriber.closed = true,
            _ => {}
        }
        if let Some(law) = broken {
            self.law(false, law);
        }
    }
}
