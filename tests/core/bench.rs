//! A core that a test feeds input by input, where a history in words would say too little.

use std::sync::Arc;
use std::time::Duration;

use onesocket::core::{
    Command, Config, Connection, Effect, Epoch, Input, Instant, Options, Reply, RequestId, WireText,
};
use serde_json::Value;

use crate::script::{HELLO, answer, challenge, refusal};

/// The first connection, which is the only one of a [`Bench`].
pub(crate) const EPOCH: Epoch = Epoch(1);

/// A core, and the driver's part played by hand.
pub(crate) struct Bench {
    pub(crate) core: Connection,
    pub(crate) now: Instant,
    /// The wire id of the `connect` that was sent.
    connect: String,
}

impl Bench {
    /// Dials and opens the first connection.
    pub(crate) fn opened(config: Arc<Config>, options: Options, seed: u64) -> Self {
        let core = Connection::new(Some(config), options, seed).expect("valid options");
        let mut bench = Self { core, now: Instant::ZERO, connect: String::new() };
        bench.step(Input::Command(Command::Connect));
        bench.step(Input::Timeout);
        bench.step(Input::Opened { epoch: EPOCH });
        bench
    }

    /// Dials, opens and challenges the first connection; gives back the frame that was sent, too.
    pub(crate) fn challenged(config: Arc<Config>, options: Options, seed: u64) -> (Self, Value) {
        Self::opened(config, options, seed).challenge(&challenge())
    }

    /// The same with a challenge of the test's own.
    pub(crate) fn challenged_with(config: Arc<Config>, challenge: &str) -> (Self, Value) {
        Self::opened(config, Options::default(), 1).challenge(challenge)
    }

    fn challenge(mut self, challenge: &str) -> (Self, Value) {
        let effects = self.receive(challenge);
        self.connect = wire_id(&effects);
        (self, sent(&effects).expect("connect was sent"))
    }

    /// Goes on to ready.
    pub(crate) fn ready(config: Arc<Config>, options: Options, seed: u64) -> Self {
        let (mut bench, _) = Self::challenged(config, options, seed);
        bench.greet(HELLO);
        bench
    }

    pub(crate) fn greet(&mut self, hello: &str) -> Vec<Effect> {
        self.receive(&answer(&self.connect.clone(), hello))
    }

    /// The gateway says no to `connect`.
    pub(crate) fn refuse(&mut self, error: &str) -> Vec<Effect> {
        self.receive(&refusal(&self.connect.clone(), error))
    }

    pub(crate) fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.core.step(self.now, input, &mut effects);
        effects
    }

    pub(crate) fn receive(&mut self, text: &str) -> Vec<Effect> {
        self.step(Input::Received { epoch: EPOCH, text: WireText::from(text) })
    }

    /// Sends a request, and gives back its wire id.
    pub(crate) fn request(&mut self, id: u64, timeout: Option<Duration>) -> String {
        let effects = self.step(Input::Command(Command::Request {
            id: RequestId(id),
            method: Arc::from("m"),
            params: None,
            timeout,
            waited: Duration::ZERO,
            reply: Reply::First,
            only_on: None,
            expected_profile_id: None,
        }));
        wire_id(&effects)
    }
}

/// The first frame that these effects send.
fn sent(effects: &[Effect]) -> Option<Value> {
    effects.iter().find_map(|effect| match effect {
        Effect::Transmit { text, .. } => Some(serde_json::from_str(&text.0).expect("a frame is JSON")),
        _ => None,
    })
}

fn wire_id(effects: &[Effect]) -> String {
    let frame = sent(effects).expect("something was sent");
    frame["id"].as_str().expect("an id is a string").to_owned()
}
