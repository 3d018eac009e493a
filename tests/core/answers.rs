//! `settles_once`: what a failed answer says belongs to its own request, and time limits are exact.

use std::sync::Arc;
use std::time::Duration;

use onesocket::core::{
    Command, Connection, Delivery, Effect, Epoch, GatewayError, Input, Instant, Reply, RequestError,
    RequestErrorKind, RequestId, WireText,
};
use serde_json::{Value, json};

use crate::script::{HELLO, answer, challenge, config, options};

const EPOCH: Epoch = Epoch(1);

/// A core that is ready, and the wire id of each request it is given.
struct Bench {
    core: Connection,
    now: Instant,
}

impl Bench {
    fn ready() -> Self {
        let core = Connection::new(Some(config("a")), options(), 1).expect("valid options");
        let mut bench = Self { core, now: Instant::ZERO };
        bench.step(Input::Command(Command::Connect));
        bench.step(Input::Timeout);
        bench.step(Input::Opened { epoch: EPOCH });
        let connect = bench.hear(&challenge());
        let id = wire_id(&connect);
        bench.hear(&answer(&id, HELLO));
        bench
    }

    fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.core.step(self.now, input, &mut effects);
        effects
    }

    fn hear(&mut self, text: &str) -> Vec<Effect> {
        self.step(Input::Received { epoch: EPOCH, text: WireText::from(text) })
    }

    fn request(&mut self, id: u64, timeout: Option<Duration>) -> String {
        let effects = self.step(Input::Command(Command::Request {
            id: RequestId(id),
            method: Arc::from("m"),
            params: None,
            timeout,
            waited: Duration::ZERO,
            reply: Reply::First,
            only_on: None,
        }));
        wire_id(&effects)
    }

    /// The gateway says no, with a payload beside the error (protocol 5.7).
    fn refuse(&mut self, wire_id: &str, error: &Value, payload: &Value) -> (RequestId, RequestError) {
        let frame = json!({"type":"res","id":wire_id,"ok":false,"error":error,"payload":payload});
        match &self.hear(&frame.to_string())[..] {
            [Effect::Complete { id, outcome: Err(error) }] => (*id, error.clone()),
            other => panic!("{other:?}"),
        }
    }
}

fn wire_id(effects: &[Effect]) -> String {
    let text = effects.iter().find_map(|effect| match effect {
        Effect::Transmit { text, .. } => Some(&text.0),
        _ => None,
    });
    let frame: Value = serde_json::from_str(text.expect("something was sent")).expect("a frame is JSON");
    frame["id"].as_str().expect("an id is a string").to_owned()
}

fn gateway(error: &RequestError) -> &GatewayError {
    error.gateway().unwrap_or_else(|| panic!("not an answer: {error}"))
}

#[test]
fn settles_once_failures_in_reverse_order_keep_their_own_payloads() {
    let mut bench = Bench::ready();
    let (first, second) = (bench.request(1, None), bench.request(2, None));
    let error = json!({"code":"UNAVAILABLE","message":"no"});
    let (id, second) = bench.refuse(&second, &error, &json!({"runId":"secret-two"}));
    assert_eq!(id, RequestId(2));
    let (id, first) = bench.refuse(&first, &error, &json!({"runId":"secret-one"}));
    assert_eq!(id, RequestId(1));
    for (failure, expected) in [(&first, "secret-one"), (&second, "secret-two")] {
        assert_eq!(failure.delivery, Delivery::Rejected);
        let payload = gateway(failure).payload.as_ref().expect("it came along");
        assert_eq!(payload.part("runId").expect("it is there").get(), format!("\"{expected}\""));
        // It is for the caller, not for logs.
        assert!(!format!("{failure} {failure:?}").contains("secret"), "{failure:?}");
    }
    assert_eq!(bench.core.pending(), 0);
}

/// What is missing can be asked for only if the details survive (protocol 5.5).
#[test]
fn settles_once_the_details_of_a_missing_scope_are_kept() {
    let mut bench = Bench::ready();
    let id = bench.request(1, None);
    let details =
        json!({"code":"MISSING_SCOPE","missingScope":"operator.admin","requiredScopes":["operator.admin"]});
    let error = json!({"code":"FORBIDDEN","message":"missing scope: operator.admin","details":details});
    let (_, failure) = bench.refuse(&id, &error, &Value::Null);
    let refusal = gateway(&failure);
    assert_eq!((refusal.code.as_str(), refusal.detail_code.as_deref()), ("FORBIDDEN", Some("MISSING_SCOPE")));
    let kept: Value = refusal.details.as_ref().expect("details").decode().expect("JSON");
    assert_eq!(kept, details);
    assert!(!failure.is_retryable());
}

/// The longest time there is does not wrap around into the shortest.
#[test]
fn settles_once_an_absurd_deadline_is_a_late_one() {
    let mut bench = Bench::ready();
    bench.request(1, Some(Duration::MAX));
    bench.request(2, Some(Duration::from_millis(50)));
    bench.now = Instant::from_millis(50);
    let effects = bench.step(Input::Timeout);
    let failed: Vec<_> = effects
        .iter()
        .map(|effect| match effect {
            Effect::Complete { id, outcome: Err(error) } => (*id, error.kind.clone()),
            other => panic!("{other:?}"),
        })
        .collect();
    let after = Duration::from_millis(50);
    assert_eq!(failed, [(RequestId(2), RequestErrorKind::TimedOut { after })]);
    assert_eq!(bench.core.pending(), 1);
}
