//! Rules that hold for every history of a core, whatever comes in.
//!
//! A [`Judge`] plays driver, gateway, network and consumers at once, without any sense: it feeds one
//! act after the other, each made from three numbers, and compares what comes out with what it knows.
//! Property tests and the fuzzer share it; neither knows anything of the core's insides.

mod acts;
mod effects;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use onesocket::core::{Command, Connection, Input, Instant, Options, Status};

use self::acts::config;

/// The kinds of acts; an act's kind is taken modulo this.
pub(crate) const KINDS: u8 = 40;

const SECRET: &str = "tell-nobody";

/// Runs a whole history.
pub(crate) fn judge(seed: u64, acts: impl IntoIterator<Item = (u8, u8, u16)>) {
    played(seed, acts).finish();
}

/// The parts of a history a random one reached, for a test that the acts can reach them.
pub(crate) fn reached(seed: u64, acts: impl IntoIterator<Item = (u8, u8, u16)>) -> BTreeSet<&'static str> {
    let judge = played(seed, acts);
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
    words.into_iter().filter(|word| judge.log.contains(word)).collect()
}

fn played(seed: u64, acts: impl IntoIterator<Item = (u8, u8, u16)>) -> Judge {
    let mut judge = Judge::new(seed);
    for (kind, a, b) in acts {
        judge.act(kind, a, b);
    }
    judge
}

/// A core under judgement.
struct Judge {
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
    /// The numbers of its challenges that have one.
    challenges: BTreeSet<u64>,
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
    /// The highest number it had, or that a gap reported as missing.
    known: Option<u64>,
    closed: bool,
}

impl Judge {
    fn new(seed: u64) -> Self {
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

    /// Ends the history: whatever came before, a shutdown leaves nothing.
    fn finish(mut self) {
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
        self.law(*self.core.status() == self.status, "the status is the last one reported");
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
}
