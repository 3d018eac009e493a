//! `settles_once`: what a failed answer says belongs to its own request, and time limits are exact.

use std::time::Duration;

use onesocket::core::{
    Delivery, Effect, GatewayError, Input, Instant, RequestError, RequestErrorKind, RequestId,
};
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::script::{config, options};

/// A core that is ready.
fn ready() -> Bench {
    Bench::ready(config("a"), options(), 1)
}

/// The gateway says no, with a payload beside the error (protocol 5.7).
fn refuse(bench: &mut Bench, wire_id: &str, error: &Value, payload: &Value) -> (RequestId, RequestError) {
    let frame = json!({"type":"res","id":wire_id,"ok":false,"error":error,"payload":payload});
    match &bench.receive(&frame.to_string())[..] {
        [Effect::Complete { id, outcome: Err(error) }] => (*id, error.clone()),
        other => panic!("{other:?}"),
    }
}

fn gateway(error: &RequestError) -> &GatewayError {
    error.gateway().unwrap_or_else(|| panic!("not an answer: {error}"))
}

#[test]
fn settles_once_failures_in_reverse_order_keep_their_own_payloads() {
    let mut bench = ready();
    let (first, second) = (bench.request(1, None), bench.request(2, None));
    let error = json!({"code":"UNAVAILABLE","message":"no"});
    let (id, second) = refuse(&mut bench, &second, &error, &json!({"runId":"secret-two"}));
    assert_eq!(id, RequestId(2));
    let (id, first) = refuse(&mut bench, &first, &error, &json!({"runId":"secret-one"}));
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
    let mut bench = ready();
    let id = bench.request(1, None);
    let details =
        json!({"code":"MISSING_SCOPE","missingScope":"operator.admin","requiredScopes":["operator.admin"]});
    let error = json!({"code":"FORBIDDEN","message":"missing scope: operator.admin","details":details});
    let (_, failure) = refuse(&mut bench, &id, &error, &Value::Null);
    let refusal = gateway(&failure);
    assert_eq!((refusal.code.as_str(), refusal.detail_code.as_deref()), ("FORBIDDEN", Some("MISSING_SCOPE")));
    let kept: Value = refusal.details.as_ref().expect("details").decode().expect("JSON");
    assert_eq!(kept, details);
    assert!(!failure.is_retryable());
}

/// The longest time there is does not wrap around into the shortest.
#[test]
fn settles_once_an_absurd_deadline_is_a_late_one() {
    let mut bench = ready();
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
