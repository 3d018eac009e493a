//! `right_credential`: what is presented is what was configured, and nobody else sees it.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use insta::assert_snapshot;
use onesocket::core::{Command, Config, Connection, Epoch, Input, Instant, Options, RequestId, WireText};

use crate::bench::Bench;
use crate::history::check;
use crate::script::{HELLO, challenge, script};

const TOKEN: &str = "tell-nobody-this-token";
const PASSWORD: &str = "tell-nobody-this-password";

/// Protocol 6.3: trimmed, blank is absent, no `auth` when there is nothing to present.
#[test]
fn right_credential_presents_what_is_configured() {
    let at = || Config::new("ws://b.local").unwrap();
    let mut presented = String::new();
    for (label, config) in [
        ("nothing", at()),
        ("blank", at().token(" \t").password("")),
        ("token", at().token(" t1\n")),
        ("password", at().password("p1")),
        ("both", at().token("t1").password("p1")),
        ("quotes", at().token("a\"\\\u{7}b")),
    ] {
        let history =
            check(script().without_config().connect().configure_with(label, config).at(1).challenged(1));
        let line = history.lines().find(|line| line.contains("transmit")).unwrap();
        presented.push_str(&format!("{label}: {}\n", line.trim()));
    }
    assert_snapshot!(presented, @r#"
    nothing: transmit on 1: connect null
    blank: transmit on 1: connect null
    token: transmit on 1: connect {"token":"t1"}
    password: transmit on 1: connect {"password":"p1"}
    both: transmit on 1: connect {"password":"p1","token":"t1"}
    quotes: transmit on 1: connect {"token":"a\"\\\u0007b"}
    "#);
}

/// B66: after a change only the new token is presented, also when the change comes in the middle of
/// a handshake.
#[test]
fn right_credential_changes_with_the_config() {
    let script = script()
        .connect()
        .challenged(1)
        .at(10)
        .configure("b")
        .at(20)
        .closed_cleanly(1)
        .at(30)
        .challenged(2)
        .at(40)
        .lost(2)
        .at(2_000)
        .challenged(3);
    assert_snapshot!(check(script), @r#"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
    0.000s opened 1
      status: handshaking 1
    0.000s challenge on 1
      transmit on 1: connect {"token":"token-a"}
    0.010s configure b
      hang up 1 gracefully: 1000 "configuration changed"
      status: closing
    0.020s closed 1 with 1000 ""
    0.020s due
      dial 2 to b, attempt 1
    0.030s opened 2
      status: handshaking 2
    0.030s challenge on 2
      transmit on 2: connect {"token":"token-b"}
    0.040s lost 2
      status: backoff after attempt 1 until 1.040s: the connection was lost: reset
    1.040s due
      dial 3 to b, attempt 2
    2.000s opened 3
      status: handshaking 3
    2.000s challenge on 3
      transmit on 3: connect {"token":"token-b"}
    end: next deadline 17.000s, 0 pending
    "#);
}

/// `connect` goes out once for each socket, however often the gateway challenges, and a challenge is
/// no event for consumers.
#[test]
fn right_credential_is_presented_once_per_connection() {
    let script = script().subscribe(1).challenge(1).challenged(1).challenge(1).at(10).greeted(1).challenge(1);
    assert_snapshot!(check(script), @r#"
    0.000s subscribe 1
    0.000s due
      dial 1 to a, attempt 1
    0.000s challenge on 1
      ignored: a challenge after connect
    0.000s opened 1
      status: handshaking 1
    0.000s challenge on 1
      transmit on 1: connect {"token":"token-a"}
    0.000s challenge on 1
      ignored: a challenge after connect
    0.010s hello on 1
      to 1: snapshot of 1 (presence 1 [], health 1 {})
      status, also to 1: ready 1
    0.010s challenge on 1
      ignored: a challenge after connect
    end: next deadline 60.010s, 0 pending
    "#);
}

/// The whole of `connect`, as it goes out.
#[test]
fn right_credential_the_connect_request() {
    let config = Config::new("ws://127.0.0.1").unwrap().token("t").caps(["tool-events"]).client(
        onesocket::core::ClientInfo {
            id: "openclaw-tui".to_owned(),
            mode: "ui".to_owned(),
            version: "1.2.3".to_owned(),
            platform: "linux".to_owned(),
            device_family: None,
            display_name: Some("me".to_owned()),
            instance_id: Some("i".to_owned()),
        },
    );
    let (_, frame) = Bench::challenged(Arc::new(config), Options::default(), 1);
    assert_eq!(frame["type"], "req");
    assert_eq!(frame["method"], "connect");
    assert_snapshot!(frame["params"].to_string(), @r#"
    {"auth":{"token":"t"},"caps":["tool-events"],"client":{"displayName":"me","id":"openclaw-tui","instanceId":"i","mode":"ui","platform":"linux","version":"1.2.3"},"maxProtocol":4,"minProtocol":4,"role":"operator","scopes":["operator.admin"]}
    "#);
}

/// No secret reaches a log: not by way of any type that a driver or a consumer could print.
#[test]
fn right_credential_no_secret_in_debug() {
    let config = Config::new("ws://127.0.0.1").unwrap().token(TOKEN).password(PASSWORD);
    let config = Arc::new(config);
    keeps_quiet(&config);
    keeps_quiet(&Command::Configure(Some(Arc::clone(&config))));
    keeps_quiet(&Input::Command(Command::Configure(Some(Arc::clone(&config)))));
    let mut core = Connection::new(Some(config), Options::default(), 1).unwrap();
    keeps_quiet(&core);

    let mut effects = Vec::new();
    let mut feed = |input: Input| {
        keeps_quiet(&input);
        core.step(Instant::ZERO, input, &mut effects);
        keeps_quiet(&core);
        keeps_quiet(core.status());
        for effect in effects.drain(..) {
            keeps_quiet(&effect);
        }
    };
    let epoch = Epoch(1);
    feed(Input::Command(Command::Connect));
    feed(Input::Timeout);
    feed(Input::Opened { epoch });
    // A gateway that repeats the secret in whatever it says is not quoted either.
    let echo = |text: &str| WireText::from(text);
    feed(Input::Received { epoch, text: echo(&challenge()) });
    feed(Input::Received {
        epoch,
        text: echo(&format!(r#"{{"type":"event","event":"e","payload":{{"token":"{TOKEN}"}}}}"#)),
    });
    feed(Input::Received { epoch, text: echo(TOKEN) });
}

/// Parameters may hold secrets too, like those of a method that stores a key.
#[test]
fn right_credential_no_parameters_in_debug() {
    let mut core = Connection::new(None, Options::default(), 1).unwrap();
    let request = Command::Request {
        id: RequestId(1),
        method: Arc::from("config.set"),
        params: Some(Arc::from(format!(r#"{{"key":"{TOKEN}"}}"#))),
        timeout: None,
        waited: Duration::ZERO,
        reply: onesocket::core::Reply::First,
        only_on: None,
        expected_profile_id: None,
    };
    keeps_quiet(&request);
    keeps_quiet(&Input::Command(request.clone()));
    let mut effects = Vec::new();
    let config = Config::new("ws://127.0.0.1").unwrap();
    core.step(Instant::ZERO, Input::Command(Command::Configure(Some(Arc::new(config)))), &mut effects);
    core.step(Instant::ZERO, Input::Command(request), &mut effects);
    assert_eq!(core.pending(), 1);
    keeps_quiet(&core);
}

/// Hello may bring a device token; it is for whoever asks for it by name.
#[test]
fn right_credential_no_device_token_in_debug() {
    let config = Config::new("ws://127.0.0.1").unwrap().token("t");
    let (mut bench, _) = Bench::challenged(Arc::new(config), Options::default(), 1);
    let subscribe = Command::Subscribe { id: onesocket::core::SubscriptionId(1) };
    let mut effects = bench.step(Input::Command(subscribe));
    effects.extend(bench.greet(&HELLO.replace(r#""role""#, &format!(r#""deviceToken":"{TOKEN}","role""#))));
    let snapshot = bench.core.snapshot().expect("hello was accepted");
    assert!(snapshot.hello.raw.get().contains(TOKEN), "whoever asks for all of hello gets it");
    keeps_quiet(&bench.core);
    keeps_quiet(&effects);
}

fn keeps_quiet(value: &impl Debug) {
    for shown in [format!("{value:?}"), format!("{value:#?}")] {
        assert!(!shown.contains(TOKEN) && !shown.contains(PASSWORD), "a secret is shown by {shown}");
    }
}
