//! Every member of what a gateway says in the handshake, missing or something else: it is named, or has a default.

use std::sync::Arc;
use std::time::Duration;

use insta::assert_snapshot;
use onesocket::core::{
    AuthMethod, BadMember, Config, ConnectionError, DeviceIdentity, Hello, Initiator, Input, Options,
    PauseReason, Status, WireText,
};
use serde_json::{Value, json};

use crate::bench::{Bench, EPOCH};
use crate::history::check;
use crate::script::{handshaking, refusal, script};

/// A hello with every member that this client reads.
fn hello() -> Value {
    json!({
        "type": "hello-ok",
        "protocol": 4,
        "server": {"version": "2026.9.6", "connId": "c", "bootId": "b"},
        "features": {"methods": [], "events": [], "capabilities": ["profile-binding-v1"]},
        "snapshot": {"presence": [{"ts": 1}], "health": {"ok": true}, "stateVersion": {"presence": 3, "health": 5}},
        "auth": {
            "method": "token", "role": "operator", "scopes": ["operator.read"], "deviceToken": "d",
            "deviceTokens": [{"deviceToken": "n", "role": "node", "scopes": []}],
        },
        "policy": {"maxPayload": 1_000_000, "tickIntervalMs": 30_000},
    })
}

/// What any member may be instead of what it is; `None` leaves it out.
fn others() -> Vec<Option<Value>> {
    let values =
        json!([null, true, -1, 0, 0.5, 5, 1e300, u64::MAX, "", "x", [], [null, 7, "x"], {}, {"x": 1}]);
    let values = values.as_array().expect("a list").clone();
    std::iter::once(None).chain(values.into_iter().map(Some)).collect()
}

/// The members of `value`, by their path, those of its objects included.
fn paths(value: &Value, path: &str, into: &mut Vec<String>) {
    for (name, member) in value.as_object().into_iter().flatten() {
        let path = format!("{path}/{name}");
        paths(member, &path, into);
        into.push(path);
    }
}

/// `value` with something else at this path.
fn with(value: &Value, path: &str, other: Option<&Value>) -> Value {
    let mut value = value.clone();
    let (parent, name) = path.rsplit_once('/').expect("a path begins with a slash");
    let parent =
        value.pointer_mut(parent).and_then(Value::as_object_mut).expect("the path leads to an object");
    match other {
        Some(other) => parent.insert(name.to_owned(), other.clone()),
        None => parent.remove(name),
    };
    value
}

fn told(other: Option<&Value>) -> String {
    other.map_or("missing".to_owned(), Value::to_string)
}

fn bench() -> Bench {
    let config = Config::new("ws://127.0.0.1").expect("a valid url").token("t");
    Bench::challenged(Arc::new(config), Options::default(), 1).0
}

/// The hello that comes of this one.
fn read(hello: &Value) -> Hello {
    let mut bench = bench();
    bench.greet(&hello.to_string());
    let snapshot = bench.core.snapshot().unwrap_or_else(|| panic!("{:?}", bench.core.status()));
    Hello::clone(&snapshot.hello)
}

/// Nothing that a gateway may write in hello is retried without a word: it is taken, or its name is told, or the client
/// waits for somebody to update one of the two.
#[test]
fn no_wedge_every_member_of_hello_is_named_or_has_a_default() {
    let mut members = Vec::new();
    paths(&hello(), "", &mut members);
    assert!(members.len() > 20, "{members:?}");
    let mut table = String::new();
    for path in members {
        let (mut named, mut paused) = (Vec::new(), Vec::new());
        for other in others() {
            let mut bench = bench();
            bench.greet(&with(&hello(), &path, other.as_ref()).to_string());
            match bench.core.status() {
                Status::Ready { .. } => {}
                Status::Backoff { cause, .. } => {
                    let ConnectionError::BadMember(BadMember { of: "hello", member, .. }) = **cause else {
                        panic!("{path} {}: {cause}", told(other.as_ref()))
                    };
                    assert_eq!(path.rsplit('/').next(), Some(member));
                    assert_eq!(cause.initiator(), Initiator::Gateway);
                    named.push(told(other.as_ref()));
                }
                Status::Paused(_) => paused.push(told(other.as_ref())),
                status => panic!("{path} {}: {status:?}", told(other.as_ref())),
            }
        }
        for (outcome, values) in [("is named", named), ("pauses", paused)] {
            if !values.is_empty() {
                table.push_str(&format!("{path} {outcome} if {}\n", values.join(", ")));
            }
        }
    }
    assert_snapshot!(table, @r#"
    /protocol is named if missing, null, true, -1, 0.5, 1e+300, 18446744073709551615, "", "x", [], [null,7,"x"], {}, {"x":1}
    /protocol pauses if 0, 5
    /snapshot is named if missing, null, true, -1, 0, 0.5, 5, 1e+300, 18446744073709551615, "", "x", [], [null,7,"x"]
    /type is named if true, -1, 0, 0.5, 5, 1e+300, 18446744073709551615, "", "x", [], [null,7,"x"], {}, {"x":1}
    "#);
}

#[test]
fn no_wedge_a_bad_member_is_told_in_a_sentence() {
    let tell = |path: &str, other: Option<Value>| {
        let mut bench = bench();
        bench.greet(&with(&hello(), path, other.as_ref()).to_string());
        let Status::Backoff { cause, .. } = bench.core.status() else { panic!("{:?}", bench.core.status()) };
        format!("{cause}\n")
    };
    let sentences = [
        tell("/protocol", None),
        tell("/protocol", Some(json!("4"))),
        tell("/snapshot", Some(Value::Null)),
        tell("/type", Some(json!("hello-no"))),
    ];
    assert_snapshot!(sentences.concat(), @r#"
    the gateway broke the handshake: protocol of hello is missing and must be a version
    the gateway broke the handshake: protocol of hello is a string and must be a version
    the gateway broke the handshake: snapshot of hello is null and must be an object
    the gateway broke the handshake: type of hello is a string and must be hello-ok
    "#);
}

/// The version is the one thing that a wait cannot change; a number is the same number however it is written.
#[test]
fn no_wedge_another_protocol_version_pauses() {
    let ends = |version: &str| {
        let mut bench = bench();
        bench.greet(&hello().to_string().replace(r#""protocol":4"#, &format!(r#""protocol":{version}"#)));
        match bench.core.status() {
            Status::Ready { .. } => None,
            Status::Paused(reason) => {
                let PauseReason::ProtocolVersion { offered: 4, answered } = **reason else {
                    panic!("{reason}")
                };
                assert_eq!(bench.core.next_deadline(), None);
                Some(answered)
            }
            status => panic!("{version}: {status:?}"),
        }
    };
    for version in ["4", "4.0", "4e0", "0.4e1", "4.00"] {
        assert_eq!(ends(version), None, "{version}");
    }
    for (version, answered) in
        [("5", 5), ("3", 3), ("0", 0), ("5.0", 5), ("9007199254740991", 9_007_199_254_740_991)]
    {
        assert_eq!(ends(version), Some(answered), "{version}");
    }
}

#[test]
fn no_wedge_what_hello_leaves_out_has_a_default() {
    let read_without = |path: &str| read(&with(&hello(), path, None));
    let whole = read(&hello());
    assert_eq!(whole.capabilities, ["profile-binding-v1"]);
    assert_eq!(whole.auth_method, Some(AuthMethod::Token));
    assert_eq!((&*whole.server_version, &*whole.connection_id), ("2026.9.6", "c"));
    assert_eq!((whole.policy.tick_interval, whole.policy.max_payload), (Duration::from_secs(30), 1_000_000));

    let without = read_without("/server");
    assert_eq!((&*without.server_version, &*without.connection_id, without.boot_id), ("", "", None));
    let without = read_without("/auth");
    assert_eq!((without.auth_method, without.role, without.scopes.len()), (None, None, 0));
    assert_eq!((without.device_token, without.device_tokens.len()), (None, 0));
    assert!(read_without("/features").capabilities.is_empty());
    let policy = read_without("/policy").policy;
    assert_eq!(
        (policy.tick_interval, policy.max_payload),
        (Options::default().default_tick_interval, 26_214_400)
    );
}

/// One odd entry costs itself.
#[test]
fn no_wedge_a_list_is_read_without_its_odd_entries() {
    let odd = json!(["operator.read", null, 7, {"a": 1}, "", "operator.write"]);
    let scopes = read(&with(&hello(), "/auth/scopes", Some(&odd))).scopes;
    assert_eq!(scopes, ["operator.read", "", "operator.write"]);
    assert_eq!(read(&with(&hello(), "/auth/scopes", Some(&Value::Null))).scopes.len(), 0);
    let many = Value::from(vec!["x"; 100_000]);
    assert_eq!(read(&with(&hello(), "/features/capabilities", Some(&many))).capabilities.len(), 256);
    let tokens = json!([null, 7, {"role": "node"}, {"deviceToken": "n", "role": " node ", "scopes": null}]);
    let tokens = read(&with(&hello(), "/auth/deviceTokens", Some(&tokens))).device_tokens;
    assert_eq!(tokens.len(), 1);
    assert_eq!((&*tokens[0].role, tokens[0].token.expose(), tokens[0].scopes.len()), ("node", "n", 0));
}

/// Only numbers that can be limits are limits.
#[test]
fn limits_of_the_gateway_are_taken_where_they_make_sense() {
    let payload = |value: Value| read(&with(&hello(), "/policy/maxPayload", Some(&value))).policy.max_payload;
    assert_eq!(payload(json!(1)), 1);
    assert_eq!(payload(json!(2.5e6)), 2_500_000);
    assert_eq!(payload(json!(1e300)), usize::MAX);
    for odd in [json!(0), json!(-5), json!(0.5), json!("1000"), json!([1000]), Value::Null] {
        assert_eq!(payload(odd.clone()), 26_214_400, "{odd}");
    }
}

/// Events replace a state whose version is not told.
#[test]
fn snapshot_first_a_state_without_a_version_is_older_than_any_event() {
    for other in [None, Some(json!({})), Some(Value::Null), Some(json!({"presence": -1, "health": "5"}))] {
        let mut bench = bench();
        bench.greet(&with(&hello(), "/snapshot/stateVersion", other.as_ref()).to_string());
        let event = r#"{"type":"event","event":"health","payload":{"new":1},"stateVersion":{"presence":0,"health":0}}"#;
        bench.receive(event);
        assert_eq!(bench.core.snapshot().expect("it is ready").health.get(), r#"{"new":1}"#, "{other:?}");
    }
}

#[test]
fn hello_says_what_admitted_the_connection() {
    let method = |name: &str| read(&with(&hello(), "/auth/method", Some(&json!(name)))).auth_method;
    for (name, expected) in [
        ("none", AuthMethod::None),
        ("token", AuthMethod::Token),
        ("password", AuthMethod::Password),
        ("device-token", AuthMethod::DeviceToken),
        ("bootstrap-token", AuthMethod::BootstrapToken),
        ("tailscale", AuthMethod::Tailscale),
        ("trusted-proxy", AuthMethod::TrustedProxy),
        ("passkey", AuthMethod::Other("passkey".into())),
    ] {
        assert_eq!(method(name), Some(expected));
    }
}

/// The challenge of a gateway that offers these capabilities.
fn offering(capabilities: &Value) -> String {
    let payload = json!({"nonce": "n", "ts": 1, "capabilities": capabilities});
    json!({"type": "event", "event": "connect.challenge", "payload": payload}).to_string()
}

/// A capability that needs one of the gateway is announced only to a gateway that has it, and to each anew.
#[test]
fn caps_that_need_a_capability_are_sent_where_it_is_offered() {
    let caps = |capabilities: Value| {
        let config = Config::new("ws://127.0.0.1").expect("a valid url").token("t");
        let config = config.caps(["tool-events", "model-catalog-snapshot", "ui-commands"]);
        let frame = Bench::challenged_with(Arc::new(config), &offering(&capabilities)).1;
        frame["params"]["caps"].clone()
    };
    let all = json!(["tool-events", "model-catalog-snapshot", "ui-commands"]);
    assert_eq!(caps(json!(["model-catalog-snapshot"])), all);
    assert_eq!(caps(json!(["other", 7, "model-catalog-snapshot"])), all);
    for odd in [json!([]), json!(["other"]), Value::Null, json!("model-catalog-snapshot"), json!({})] {
        assert_eq!(caps(odd.clone()), json!(["tool-events", "ui-commands"]), "{odd}");
    }
}

#[test]
fn hello_says_what_the_challenge_offered() {
    let config = Config::new("ws://127.0.0.1").expect("a valid url").token("t");
    let mut bench =
        Bench::challenged_with(Arc::new(config), &offering(&json!(["model-catalog-snapshot", 7]))).0;
    bench.greet(&hello().to_string());
    let snapshot = bench.core.snapshot().expect("it is ready");
    assert_eq!(snapshot.hello.challenge_capabilities, ["model-catalog-snapshot"]);
}

/// What JavaScript can write is no reason to refuse the gateway either.
#[test]
fn no_wedge_half_a_character_in_the_handshake_is_read() {
    let config = Config::new("ws://127.0.0.1").expect("a valid url").token("t");
    let challenge = offering(&json!(["x$", "model-catalog-snapshot"])).replace('$', r"\ud83d");
    let mut bench = Bench::challenged_with(Arc::new(config), &challenge).0;
    let hello = with(&hello(), "/server/version", Some(&json!("$"))).to_string().replace('$', r"\ud83d");
    bench.greet(&hello);
    let hello = &bench.core.snapshot().expect("it is ready").hello;
    assert_eq!(hello.server_version, "\u{fffd}");
    assert_eq!(hello.challenge_capabilities, ["x\u{fffd}", "model-catalog-snapshot"]);
}

/// A challenge that cannot be answered is named as well.
#[test]
fn no_wedge_every_member_of_the_challenge_is_named_or_does_not_matter() {
    let challenge = json!({"nonce": "n", "ts": 1, "capabilities": []});
    let mut table = String::new();
    for (path, device) in
        [("/nonce", false), ("/nonce", true), ("/ts", false), ("/ts", true), ("/capabilities", true)]
    {
        let mut named = Vec::new();
        for other in others() {
            let payload = with(&challenge, path, other.as_ref());
            let frame =
                json!({"type": "event", "event": "connect.challenge", "payload": payload}).to_string();
            let config = Config::new("ws://127.0.0.1").expect("a valid url").token("t");
            let config = if device { config.device(DeviceIdentity::from_seed([7; 32])) } else { config };
            let mut bench = Bench::opened(Arc::new(config), Options::default(), 1);
            bench.step(Input::Received { epoch: EPOCH, text: WireText::from(frame.as_str()) });
            let Status::Backoff { cause, .. } = bench.core.status() else { continue };
            let ConnectionError::BadMember(BadMember { of: "connect.challenge", member, .. }) = **cause
            else {
                panic!("{path} {}: {cause}", told(other.as_ref()))
            };
            assert_eq!(path.strip_prefix('/'), Some(member));
            named.push(told(other.as_ref()));
        }
        let with = if device { "with" } else { "without" };
        let named = if named.is_empty() { "never".to_owned() } else { named.join(", ") };
        table.push_str(&format!("{path} {with} a device is named if: {named}\n"));
    }
    assert_snapshot!(table, @r#"
    /nonce without a device is named if: missing, null, true, -1, 0, 0.5, 5, 1e+300, 18446744073709551615, "", [], [null,7,"x"], {}, {"x":1}
    /nonce with a device is named if: missing, null, true, -1, 0, 0.5, 5, 1e+300, 18446744073709551615, "", [], [null,7,"x"], {}, {"x":1}
    /ts without a device is named if: never
    /ts with a device is named if: missing, null, true, -1, 0.5, 1e+300, 18446744073709551615, "", "x", [], [null,7,"x"], {}, {"x":1}
    /capabilities with a device is named if: never
    "#);
}

/// A refusal is a refusal, whatever its members are: they have defaults, and none of them turns it into something else.
#[test]
fn no_wedge_every_member_of_a_refusal_has_a_default() {
    let error = json!({
        "code": "INVALID_REQUEST", "message": "m", "retryable": false, "retryAfterMs": 1,
        "details": {"code": "SOME_FUTURE_CODE", "reason": "r", "recommendedNextStep": "some_step",
            "pauseReconnect": false, "canRetryWithDeviceToken": false, "requestId": "r-1"},
    });
    let mut members = Vec::new();
    paths(&error, "", &mut members);
    let mut outcomes = std::collections::BTreeMap::<String, usize>::new();
    for path in members {
        for other in others() {
            let history = check(handshaking().refuse(1, &with(&error, &path, other.as_ref()).to_string()));
            assert!(history.contains(r#"hang up 1 now: 1008 "connect failed""#), "{path}: {history}");
            let due = history.lines().last().unwrap().to_owned();
            *outcomes.entry(due).or_default() += 1;
        }
    }
    // Each is waited out, as long as a number asks for and no longer than is believed.
    assert_snapshot!(format!("{outcomes:#?}"), @r#"
    {
        "end: next deadline 1.000s, 0 pending": 164,
        "end: next deadline none, 0 pending": 1,
    }
    "#);
    let odd = check(script().connect().challenged(1).frame(1, "no error", &refusal("$connect", "null")));
    assert!(odd.contains("UNAVAILABLE: request failed"), "{odd}");
}
