//! `no_spin`: when a connection wants to run again, and why.

use std::sync::Arc;
use std::time::Duration;

use onesocket::core::{
    Command, Config, Connection, ConnectionError, Deadline, DeadlineReason, Effect, Epoch, Input, Instant,
    Options, Reply, RequestId, Stage, WireText,
};

use crate::script::{HELLO, answer};

const EPOCH: Epoch = Epoch(1);
const CHALLENGE: &str = r#"{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1700}}"#;

/// A core that is fed at its deadlines and in between.
struct Bench {
    core: Connection,
    now: Instant,
    effects: Vec<Effect>,
}

impl Bench {
    fn new(config: Config) -> Self {
        let core = Connection::new(Some(Arc::new(config)), Options::default(), 1).expect("valid options");
        let mut bench = Self { core, now: Instant::ZERO, effects: Vec::new() };
        bench.step(Input::Command(Command::Connect));
        bench
    }

    fn step(&mut self, input: Input) {
        self.core.step(self.now, input, &mut self.effects);
    }

    fn receive(&mut self, text: &str) {
        self.step(Input::Received { epoch: EPOCH, text: WireText::from(text) });
    }

    fn hello(&mut self) {
        let sent = self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Transmit { text, .. } => Some(text.0.to_string()),
            _ => None,
        });
        let frame: serde_json::Value =
            serde_json::from_str(&sent.expect("a connect was sent")).expect("a frame is JSON");
        let hello = answer(frame["id"].as_str().expect("an id is text"), HELLO);
        self.receive(&hello);
    }

    /// The next deadline, as the time until it and its reason.
    fn next(&self) -> Option<(Duration, DeadlineReason)> {
        self.core.next_deadline().map(|Deadline { at, reason }| (at.since(self.now), reason))
    }
}

fn config() -> Config {
    Config::new("ws://127.0.0.1").expect("a valid url").token("t")
}

#[test]
fn no_spin_each_deadline_says_what_it_is_for() {
    let options = Options::default();
    let mut bench = Bench::new(config());
    assert_eq!(bench.next(), Some((Duration::ZERO, DeadlineReason::Dial)));
    bench.step(Input::Timeout);
    assert_eq!(bench.next(), Some((options.dial_timeout, DeadlineReason::Stage(Stage::Dial))));
    bench.step(Input::Opened { epoch: EPOCH });
    assert_eq!(bench.next(), Some((options.challenge_timeout, DeadlineReason::Stage(Stage::Challenge))));
    bench.receive(CHALLENGE);
    assert_eq!(bench.next(), Some((options.hello_timeout, DeadlineReason::Stage(Stage::Hello))));
    bench.hello();
    let (silence, reason) = bench.next().expect("a ready connection is watched");
    assert_eq!(reason, DeadlineReason::Silence);
    let (id, timeout) = (RequestId(7), Duration::from_secs(1));
    assert!(timeout < silence, "the request runs out of time first");
    bench.step(Input::Command(Command::Request {
        id,
        method: Arc::from("health"),
        params: None,
        timeout: Some(timeout),
        waited: Duration::ZERO,
        reply: Reply::First,
        only_on: None,
        expected_profile_id: None,
    }));
    assert_eq!(bench.next(), Some((timeout, DeadlineReason::Request(id))));
    assert_eq!(
        bench.core.next_deadline().expect("the request's").to_string(),
        "Request(RequestId(7)) at 1.000s"
    );
    bench.step(Input::Command(Command::ShutDown));
    assert_eq!(bench.next(), Some((options.close_grace, DeadlineReason::Close)));
    let error = ConnectionError::Closed { code: 1000, reason: "".into() };
    bench.step(Input::Closed { epoch: EPOCH, error });
    assert_eq!(bench.next(), None);
}
