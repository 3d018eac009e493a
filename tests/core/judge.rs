//! Rules that hold for every history of a core, whatever comes in.
//!
//! A [`Judge`] plays driver, gateway, network and consumers at once, without any sense: it feeds one
//! act after the other, each made from three numbers, and compares what comes out with what it knows.
//! Property tests and the fuzzer share it; neither knows anything of the core's insides.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use onesocket::core::{
    Close, Command, Config, Connection, ConnectionError, Delivery, DialError, Effect, Epoch, Input, Instant,
    Options, Push, Reply, RequestErrorKind, RequestId, Status, SubscriptionId, WireText,
};
use serde_json::Value;

/// The kinds of acts; an act's kind is taken modulo this.
pub(crate) const KINDS: u8 = 40;

const SECRET: &str = "tell-nobody";

/// A core under judgement.
pub(crate) struct Judge {
    core: Connection,
    options: Options,
    now: Instant,
    log: String,
    socket: Option<Socket>,
    last_epoch: u64,
    /// When the last dial was, and whether only the backoff decides about the next one.
    last_dial: Option<Instant>,
    backoff_decides: bool,
    open: BTreeMap<u64, Open>,
    /// The wire ids of everything that was ever transmitted, also of what has ended since.
    ids: Vec<String>,
    subscribers: BTreeMap<u64, Subscriber>,
    next_request: u64,
    next_subscriber: u64,
    status: Status,
    stopping: bool,
    stopped: bool,
}

/// The socket that is alive.
struct Socket {
    epoch: u64,
    opened: bool,
    connect: Option<String>,
    greeted: bool,
    closing: bool,
    unwritten: usize,
}

/// A request that has not ended.
struct Open {
    id: Option<String>,
    sent_on: Option<u64>,
    is_final: bool,
    /// The only connection it may go over.
    only_on: Option<u64>,
}

#[derive(Default)]
struct Subscriber {
    /// The connection its latest snapshot is of.
    snapshot_of: Option<u64>,
    /// Whether it has had every event of that connection.
    from_the_start: bool,
    /// The highest number it had, or was told to be missing.
    known: Option<u64>,
    closed: bool,
}

impl Judge {
    pub(crate) fn new(seed: u64) -> Self {
        let mut options = Options::default();
        // Low limits, so that short histories reach them.
        options.max_in_flight = 3;
        options.max_queued = 3;
        options.max_queued_bytes = 200;
        options.max_unwritten = 3;
        options.max_early_events = 3;
        options.max_early_bytes = 200;
        let core = Connection::new(Some(config(0)), options.clone(), seed).expect("the options are valid");
        Self {
            core,
            options,
            now: Instant::ZERO,
            log: String::new(),
            socket: None,
            last_epoch: 0,
            last_dial: None,
            backoff_decides: false,
            open: BTreeMap::new(),
            ids: Vec::new(),
            subscribers: BTreeMap::new(),
            next_request: 1,
            next_subscriber: 1,
            status: Status::Idle,
            stopping: false,
            stopped: false,
        }
    }

    /// One act. Any numbers are valid.
    pub(crate) fn act(&mut self, kind: u8, a: u8, b: u16) {
        match kind % KINDS {
            0 => self.command(Command::Connect),
            1 => self.command(Command::Wake),
            2 => self.command(Command::Resume),
            3 => self.configure(a),
            4..=6 => self.request(a, b),
            7 => self.cancel(a),
            8 | 9 => self.subscribe(),
            10 => self.unsubscribe(a),
            11 => self.wait(Duration::from_millis(u64::from(b))),
            12 => self.wait(Duration::from_millis(u64::from(b) * 100)),
            13..=17 => self.sleep(),
            18 => self.feed(Input::Timeout),
            19..=21 => self.feed(Input::Opened { epoch: self.epoch(a) }),
            22 => {
                let error = match a % 8 {
                    0 => DialError::Unsupported("no".to_owned()),
                    1 => DialError::TimedOut,
                    _ => DialError::Refused,
                };
                self.feed(Input::DialFailed { epoch: self.epoch(a), error });
            }
            23 => {
                let error = ConnectionError::Closed { code: b, reason: SECRET[..4].to_owned() };
                self.feed(Input::Closed { epoch: self.epoch(a), error });
            }
            24 => {
                let error = ConnectionError::Lost("reset".to_owned());
                self.feed(Input::Closed { epoch: self.epoch(a), error });
            }
            25 => self.feed(Input::Activity { epoch: self.epoch(a) }),
            26 => self.feed(Input::Written { epoch: self.epoch(a), frames: usize::from(b % 5) }),
            27 | 28 => self.frame(a, &challenge(b)),
            29 | 30 => self.hello(a, b),
            31 => self.refuse(a, b),
            32..=34 => self.frame(a, &event(b)),
            35 | 36 => self.reply(a, b),
            37 => self.frame(a, garbage(b)),
            38 => self.log_in(a, b),
            39 if a == 0 => self.command(Command::ShutDown),
            _ => {}
        }
    }

    /// Ends the history: whatever came before, a shutdown leaves nothing.
    pub(crate) fn finish(mut self) {
        self.command(Command::ShutDown);
        for _ in 0..3 {
            self.sleep();
        }
        self.law(self.stopped, "a shutdown ends within its grace, whatever the peer does");
        self.law(self.open.is_empty(), "a shutdown ends every request");
        self.law(self.subscribers.values().all(|subscriber| subscriber.closed), "and every subscription");
        self.command(Command::Connect);
        self.configure(1);
        self.request(0, 0);
        self.subscribe();
        self.command(Command::Resume);
        self.law(self.core.next_deadline().is_none(), "and leaves no deadline");
    }

    /// What happened so far, for whoever must understand a failure.
    pub(crate) fn log(&self) -> &str {
        &self.log
    }

    fn law(&self, holds: bool, law: &str) {
        assert!(holds, "{law}\nafter\n{}", self.log);
    }

    fn command(&mut self, command: Command) {
        if let Command::Resume = command {
            self.backoff_decides = false;
        }
        self.stopping |= matches!(command, Command::ShutDown);
        self.feed(Input::Command(command));
    }

    fn configure(&mut self, a: u8) {
        self.backoff_decides = false;
        self.command(Command::Configure((a % 4 != 3).then(|| config(a % 4))));
    }

    fn request(&mut self, a: u8, b: u16) {
        let number = self.next_request;
        self.next_request += 1;
        let is_final = a % 2 == 1;
        // The present connection, or one that is over or yet to come.
        let only_on = (b % 5 == 1).then(|| (self.last_epoch + u64::from(a % 3)).saturating_sub(1));
        self.open.insert(number, Open { id: None, sent_on: None, is_final, only_on });
        let padding = "x".repeat(if a > 200 { 250 } else { usize::from(a % 40) });
        self.command(Command::Request {
            id: RequestId(number),
            method: Arc::from("echo"),
            params: Some(Arc::from(format!(r#"{{"n":{number},"pad":"{SECRET}{padding}"}}"#))),
            timeout: (!b.is_multiple_of(3)).then(|| Duration::from_millis(u64::from(b))),
            waited: Duration::ZERO,
            reply: if is_final { Reply::Final } else { Reply::First },
            only_on: only_on.map(Epoch),
        });
    }

    fn cancel(&mut self, a: u8) {
        // Also requests that ended, and one that never was.
        let number = u64::from(a) % (self.next_request + 1);
        self.open.remove(&number);
        self.command(Command::Cancel { id: RequestId(number) });
    }

    fn subscribe(&mut self) {
        let number = self.next_subscriber;
        self.next_subscriber += 1;
        self.subscribers.insert(number, Subscriber::default());
        self.command(Command::Subscribe { id: SubscriptionId(number) });
    }

    fn unsubscribe(&mut self, a: u8) {
        let number = u64::from(a) % (self.next_subscriber + 1);
        self.subscribers.remove(&number);
        self.command(Command::Unsubscribe { id: SubscriptionId(number) });
    }

    /// Lets time pass, perhaps past a deadline: drivers can be slow.
    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// Lets time pass until the core wants to be woken, and wakes it.
    fn sleep(&mut self) {
        let Some(at) = self.core.next_deadline() else { return };
        self.now = self.now.max(at);
        self.feed(Input::Timeout);
        let next = self.core.next_deadline();
        self.law(next.is_none_or(|next| next > self.now), "what was due has been done");
    }

    /// Mostly the epoch of the last dial, else one before or after it.
    fn epoch(&self, a: u8) -> Epoch {
        Epoch(match a % 16 {
            0 => self.last_epoch.saturating_sub(1),
            1 => self.last_epoch + 1,
            _ => self.last_epoch,
        })
    }

    fn frame(&mut self, a: u8, text: &str) {
        let text = WireText::from(text);
        self.feed(Input::Received { epoch: self.epoch(a), text });
    }

    fn connect_id(&self) -> String {
        self.socket.as_ref().and_then(|socket| socket.connect.clone()).unwrap_or("none".to_owned())
    }

    fn hello(&mut self, a: u8, b: u16) {
        let tick = [30_000_u64, 0, 1_000, u64::MAX][usize::from(b % 4)];
        let id = self.connect_id();
        let version = b / 4 % 8;
        let hello = format!(
            r#"{{"type":"hello-ok","protocol":{},"server":{{"version":"v","connId":"c"}},"snapshot":{{"presence":[],"health":{{}},"stateVersion":{{"presence":{version},"health":{version}}}}},"policy":{{"tickIntervalMs":{tick},"maxPayload":{}}}}}"#,
            if b > 60_000 { 5 } else { 4 },
            if b % 32 == 31 { 100 } else { 26_214_400 },
        );
        self.frame(a, &format!(r#"{{"type":"res","id":"{id}","ok":true,"payload":{hello}}}"#));
    }

    fn refuse(&mut self, a: u8, b: u16) {
        let (code, details) = match b % 6 {
            0 => ("INVALID_REQUEST", r#"{"code":"AUTH_TOKEN_MISMATCH"}"#),
            1 => ("NOT_PAIRED", r#"{"code":"PAIRING_REQUIRED","requestId":"r"}"#),
            2 | 3 => ("UNAVAILABLE", r#"{"reason":"startup-sidecars"}"#),
            _ => ("UNAVAILABLE", "{}"),
        };
        let id = self.connect_id();
        let after = if b > 60_000 { u64::MAX } else { u64::from(b) };
        self.frame(
            a,
            &format!(
                r#"{{"type":"res","id":"{id}","ok":false,"error":{{"code":"{code}","message":"m","retryable":true,"retryAfterMs":{after},"details":{details}}}}}"#
            ),
        );
    }

    /// Answers any request there ever was.
    fn reply(&mut self, a: u8, b: u16) {
        let id = self.ids.get(usize::from(b) % (self.ids.len() + 1)).map_or("7-7", String::as_str);
        let body = match b / 256 % 4 {
            0 => r#""ok":false,"error":{"code":"X","message":"m"}"#,
            1 => r#""ok":true,"payload":{"status":"accepted"}"#,
            _ => r#""ok":true,"payload":{"status":"ok"}"#,
        };
        self.frame(a, &format!(r#"{{"type":"res","id":"{id}",{body}}}"#));
    }

    /// The whole way to ready, which numbers alone find rarely, with up to seven events before hello.
    fn log_in(&mut self, a: u8, b: u16) {
        self.command(Command::Connect);
        if self.socket.is_none() {
            self.sleep();
        }
        self.feed(Input::Opened { epoch: Epoch(self.last_epoch) });
        self.frame(9, &challenge(9));
        for early in 0..u16::from(a % 8) {
            // A few bits of `b` for each number, so that repeats, holes and steps back all happen.
            self.frame(9, &event(4 * (4 + (b >> (2 * early)) % 16)));
        }
        self.hello(9, 0);
    }

    /// Feeds one input to the core and to a clone of it, and judges what comes out.
    fn feed(&mut self, input: Input) {
        let start = self.log.len();
        let _ = writeln!(self.log, "{} {input:?}", self.now);
        let gone = self.foresee(&input);
        let mut twin = self.core.clone();
        let (mut effects, mut twins) = (Vec::new(), Vec::new());
        self.core.step(self.now, input.clone(), &mut effects);
        twin.step(self.now, input, &mut twins);
        self.law(effects == twins && self.core == twin, "a clone acts like its original");
        for effect in &effects {
            let _ = writeln!(self.log, "    {effect:?}");
        }
        self.law(!self.log[start..].contains(SECRET), "no secret is shown");
        if gone {
            self.socket = None;
        }
        for effect in &effects {
            self.judge(effect);
        }
        self.law(*self.core.status() == self.status, "the status is the last one told");
        self.law(self.core.pending() == self.open.len(), "the core knows the requests that are open");
        let sent = self.open.values().filter(|open| open.sent_on.is_some()).count();
        self.law(sent <= self.options.max_in_flight, "no more requests in flight than allowed");
        self.law(self.open.len() - sent <= self.options.max_queued, "nor queued");
        let ready = self.socket.as_ref().filter(|socket| socket.greeted && !socket.closing);
        let ready = ready.map(|socket| socket.epoch);
        let mut bound = self.open.values().filter(|open| open.sent_on.is_none() && open.only_on.is_some());
        let in_time = bound.all(|open| open.only_on == ready);
        self.law(in_time, "what is bound to a connection waits for that one only, while it is ready");
        if self.stopped {
            self.law(self.core.next_deadline().is_none(), "a stopped core has no deadline");
        }
    }

    /// Takes note of an input before the core does; true if it is the end of the socket.
    fn foresee(&mut self, input: &Input) -> bool {
        let Some(socket) = &mut self.socket else { return false };
        match input {
            Input::Opened { epoch } => socket.opened |= epoch.0 == socket.epoch,
            Input::Written { epoch, frames } if epoch.0 == socket.epoch => {
                socket.unwritten = socket.unwritten.saturating_sub(*frames);
            }
            Input::Closed { epoch, .. } | Input::DialFailed { epoch, .. } => return epoch.0 == socket.epoch,
            _ => {}
        }
        false
    }

    fn judge(&mut self, effect: &Effect) {
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
                        let expected = match error.kind {
                            RequestErrorKind::Rejected(_) => Delivery::Rejected,
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
                    && seq > known + 1
                {
                    broken = Some("a hole is told before the event that reveals it");
                }
                subscriber.known = subscriber.known.max(event.seq);
            }
            Push::Gap(gap) => {
                if subscriber.snapshot_of != Some(gap.epoch.0) || gap.expected >= gap.received {
                    broken = Some("a gap belongs to the connection and is not empty");
                }
                let known = subscriber.known.filter(|_| subscriber.from_the_start);
                if known.is_some_and(|known| gap.expected != known + 1) {
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

fn config(number: u8) -> Arc<Config> {
    let config =
        Config::new(&format!("ws://127.0.0.1:{}", 1_000 + u16::from(number))).expect("a loopback url");
    Arc::new(config.token(&format!("{SECRET}-{number}")))
}

fn challenge(b: u16) -> String {
    let nonce = if b.is_multiple_of(16) { "" } else { "n" };
    format!(r#"{{"type":"event","event":"connect.challenge","payload":{{"nonce":"{nonce}","ts":1}}}}"#)
}

fn event(b: u16) -> String {
    let name = ["chat", "presence", "health", "connect.challenge"][usize::from(b % 4)];
    let seq = if b % 32 < 4 { String::new() } else { format!(r#","seq":{}"#, b / 4 % 16) };
    let version = b / 64 % 8;
    format!(
        r#"{{"type":"event","event":"{name}","payload":{{"presence":["{SECRET}"]}}{seq},"stateVersion":{{"presence":{version},"health":{version}}}}}"#
    )
}

fn garbage(b: u16) -> &'static str {
    let texts = [
        "",
        "{",
        "[]",
        "null",
        "\u{0}",
        r#"{"type":"res"}"#,
        r#"{"type":"res","id":7,"ok":true}"#,
        r#"{"type":"event"}"#,
        r#"{"type":"event","event":"e","seq":-1}"#,
        r#"{"type":"event","event":"e","payload":{"a":[[[[]]]]}}"#,
        r#"{"type":"req","id":"1","method":"m"}"#,
        r#"["event",null,null,null,null,"e"]"#,
    ];
    texts[usize::from(b) % texts.len()]
}

/// Runs a whole history.
pub(crate) fn judge(seed: u64, acts: impl IntoIterator<Item = (u8, u8, u16)>) {
    let mut judge = Judge::new(seed);
    for (kind, a, b) in acts {
        judge.act(kind, a, b);
    }
    judge.finish();
}

/// The parts of a history a random one reached, for a test that the acts can reach them.
pub(crate) fn reached(seed: u64, acts: impl IntoIterator<Item = (u8, u8, u16)>) -> BTreeSet<&'static str> {
    let mut judge = Judge::new(seed);
    for (kind, a, b) in acts {
        judge.act(kind, a, b);
    }
    let words = [
        "Ready {",
        "Paused(",
        "Backoff {",
        "Gap(",
        "Accepted {",
        "Rejected",
        "Superseded",
        "Closing",
        "NotConfigured",
        "Overloaded",
        "TooLarge",
        "TimedOut",
        "Silent",
        "Timeout { stage: Dial }",
        "Timeout { stage: Challenge }",
        "Timeout { stage: Hello }",
    ];
    words.into_iter().filter(|word| judge.log().contains(word)).collect()
}
