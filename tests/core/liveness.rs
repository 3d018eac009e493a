//! `no_wedge` and `dead_is_detected`: no stage waits for ever, and no living peer is given up.

use std::time::Duration;

use insta::assert_snapshot;

use crate::history::check;
use crate::script::{HELLO, Script, connected, handshaking, script, subscribed_early};

/// B57: TCP is up and nobody answers the upgrade.
#[test]
fn no_wedge_a_dial_that_never_ends_is_retried() {
    assert_snapshot!(check(script().connect().until(11_000)), @r#"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
    10.000s due
      hang up 1 now: 1000 "dial timeout"
      status: backoff after attempt 1 until 11.000s: the gateway did not finish the Dial stage in time
    11.000s due
      dial 2 to a, attempt 2
    end: next deadline 21.000s, 0 pending
    "#);
}

#[test]
fn no_wedge_a_challenge_that_never_comes_is_retried() {
    assert_snapshot!(check(script().connect().at(100).opened(1).until(16_100)), @r#"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
    0.100s opened 1
      status: handshaking 1
    15.100s due
      hang up 1 now: 1008 "connect challenge timeout"
      status: backoff after attempt 1 until 16.100s: the gateway did not finish the Challenge stage in time
    16.100s due
      dial 2 to a, attempt 2
    end: next deadline 26.100s, 0 pending
    "#);
}

/// A store that is late is named, and not the gateway, whose challenge was there in time.
#[test]
fn no_wedge_a_token_store_that_does_not_answer_is_named() {
    let script = script().with_token_store().connect().at(100).opened(1).at(200).challenge(1);
    assert_snapshot!(check(script.at(15_300).no_token(1).until(16_100)), @r#"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
      load the token of ws://a.local:18789/ for 1
    0.100s opened 1
      status: handshaking 1
    0.200s challenge on 1
    15.100s due
      hang up 1 now: 1000 "no credentials"
      status: backoff after attempt 1 until 16.100s: the token store did not answer in time
    15.300s no token 1
    16.100s due
      dial 2 to a, attempt 2
      load the token of ws://a.local:18789/ for 2
    end: next deadline 26.100s, 0 pending
    "#);
}

/// While both are missing it is the gateway's turn: the store may be as slow as a gateway.
#[test]
fn no_wedge_a_challenge_that_never_comes_is_named_also_with_a_slow_token_store() {
    let script = script().with_token_store().connect().at(100).opened(1);
    assert_snapshot!(check(script.until(15_100)), @r#"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
      load the token of ws://a.local:18789/ for 1
    0.100s opened 1
      status: handshaking 1
    15.100s due
      hang up 1 now: 1008 "connect challenge timeout"
      status: backoff after attempt 1 until 16.100s: the gateway did not finish the Challenge stage in time
    end: next deadline 16.100s, 0 pending
    "#);
}

#[test]
fn no_wedge_a_token_store_that_is_slow_delays_the_handshake() {
    let script = script().with_token_store().connect().opened(1).challenge(1).at(14_999).no_token(1);
    assert_snapshot!(check(script.until(29_998)), @r#"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
      load the token of ws://a.local:18789/ for 1
    0.000s opened 1
      status: handshaking 1
    0.000s challenge on 1
    14.999s no token 1
      transmit on 1: connect {"token":"token-a"}
    end: next deadline 29.999s, 0 pending
    "#);
}

/// Peer behaviour 28; the events in between do not lengthen the wait.
#[test]
fn no_wedge_a_hello_that_never_comes_is_retried() {
    let script = script()
        .connect()
        .opened(1)
        .at(1_000)
        .challenge(1)
        .at(14_000)
        .event(1, "health", 1)
        .challenge(1)
        .at(16_500)
        .greeted(1)
        .until(17_000);
    assert_snapshot!(check(script), @r#"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
    0.000s opened 1
      status: handshaking 1
    1.000s challenge on 1
      transmit on 1: connect {"token":"token-a"}
    14.000s event health 1 on 1
    14.000s challenge on 1
      ignored: a challenge after connect
    16.000s due
      hang up 1 now: 4000 "connect timeout"
      status: backoff after attempt 1 until 17.000s: the gateway did not finish the Hello stage in time
    16.500s hello on 1
    17.000s due
      dial 2 to a, attempt 2
    end: next deadline 27.000s, 0 pending
    "#);
}

/// B65: a slow challenge is waited for, and nothing is sent before it.
#[test]
fn no_wedge_a_late_challenge_is_in_time() {
    let script = script()
        .connect()
        .opened(1)
        .at(1_000)
        .event(1, "other", None)
        .greeted(1)
        .at(14_999)
        .challenge(1)
        .at(29_998)
        .greeted(1);
    assert_snapshot!(check(script), @r#"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
    0.000s opened 1
      status: handshaking 1
    1.000s event other on 1
    1.000s hello on 1
      ignored: nobody waits for this answer
    14.999s challenge on 1
      transmit on 1: connect {"token":"token-a"}
    29.998s hello on 1
      status: ready 1
    end: next deadline 89.998s, 0 pending
    "#);
}

#[test]
fn no_wedge_a_challenge_without_a_nonce_ends_the_attempt() {
    for payload in ["{}", r#"{"nonce":""}"#, r#"{"nonce":"  "}"#, r#"{"nonce":7}"#, "null"] {
        let text = format!(r#"{{"type":"event","event":"connect.challenge","payload":{payload}}}"#);
        let history = check(script().connect().opened(1).frame(1, "a challenge", &text));
        assert!(history.contains(r#"hang up 1 now: 1008 "connect challenge missing nonce""#), "{history}");
        assert!(history.ends_with("end: next deadline 1.000s, 0 pending\n"), "{history}");
    }
}

/// Only a device signs the challenge's time; to others an odd one is nothing at all.
#[test]
fn no_wedge_a_challenge_with_an_odd_time_will_do_without_a_device() {
    for ts in ["", r#","ts":"soon""#, r#","ts":-1"#, r#","ts":1.5"#, r#","ts":null"#, r#","ts":[]"#] {
        let text = format!(r#"{{"type":"event","event":"connect.challenge","payload":{{"nonce":"n"{ts}}}}}"#);
        let history = check(script().connect().opened(1).frame(1, "challenge", &text));
        assert!(history.contains(r#"transmit on 1: connect {"token":"token-a"}"#), "{ts}: {history}");
    }
}

/// An answer to `connect` that is not a hello is a failed attempt like any other; `members` has each part of one.
#[test]
fn no_wedge_an_unusable_hello_is_retried() {
    let hellos = [
        ("{}".to_owned(), "protocol"),
        ("null".to_owned(), "payload"),
        ("[]".to_owned(), "payload"),
        (HELLO.replace("hello-ok", "hello-no"), "type"),
        (HELLO.replace(r#""snapshot""#, r#""snap""#), "snapshot"),
    ];
    for (hello, member) in hellos {
        let history = check(subscribed_early().hello(1, &hello));
        assert!(
            history.contains(&format!("the gateway broke the handshake: {member} of hello is")),
            "{history}"
        );
        assert!(!history.contains("to 1: snapshot"), "{history}");
        assert!(history.ends_with("end: next deadline 1.000s, 0 pending\n"), "{history}");
    }
}

/// What a newer gateway adds, and what an older one leaves out, must not fail the handshake.
#[test]
fn no_wedge_a_hello_may_have_more_and_less() {
    let hellos = [
        HELLO.replace(r#""type""#, r#""new":{"a":[1]},"type""#),
        HELLO.replace(r#""policy""#, r#""police""#),
        HELLO.replace(r#""auth""#, r#""oath""#),
        HELLO.replace(r#""server""#, r#""servant""#),
        HELLO.replace("30000", "3e4"),
        HELLO.replace("30000", "-1"),
        HELLO.replace("30000", "null"),
        HELLO.replace("30000", "\"30s\""),
        HELLO.replace("hello-ok", r"hello\u002dok"),
    ];
    for hello in hellos {
        let history = check(handshaking().hello(1, &hello));
        assert!(history.contains("status: ready 1"), "{hello}\n{history}");
        assert!(history.ends_with("end: next deadline 60.000s, 0 pending\n"), "{hello}\n{history}");
    }
}

/// Protocol 9: the gateway's own handshake timer and unreadable frames end in a clean close.
#[test]
fn no_wedge_a_clean_close_before_hello_is_retried() {
    let script = handshaking().at(100).closed_cleanly(1).until(1_100);
    assert_snapshot!(check(script), @r#"
    0.100s closed 1 with 1000 ""
      status: backoff after attempt 1 until 1.100s: the gateway closed the connection: 1000 ""
    1.100s due
      dial 2 to a, attempt 2
    end: next deadline 11.100s, 0 pending
    "#);
}

/// Garbage is neither an answer nor a reason to hang up (protocol 2.5).
#[test]
fn no_wedge_garbage_during_the_handshake_is_ignored() {
    let script = script()
        .connect()
        .opened(1)
        .frame(1, "garbage", "\u{0}not json")
        .challenge(1)
        .frame(1, "garbage", "[]")
        .frame(1, "a foreign answer", r#"{"type":"res","id":"1","ok":true,"payload":{}}"#)
        .frame(1, "a foreign refusal", r#"{"type":"res","id":7,"ok":false}"#)
        .at(100)
        .greeted(1);
    assert_snapshot!(check(script), @r#"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
    0.000s opened 1
      status: handshaking 1
    0.000s garbage on 1
      ignored: the message is not a JSON object
    0.000s challenge on 1
      transmit on 1: connect {"token":"token-a"}
    0.000s garbage on 1
      ignored: the message is not a JSON object
    0.000s a foreign answer on 1
      ignored: nobody waits for this answer
    0.000s a foreign refusal on 1
      ignored: the response's id is not a non-empty string
    0.100s hello on 1
      status: ready 1
    end: next deadline 60.100s, 0 pending
    "#);
}

/// B60, B61: however a connection ended, also by our own close, a wanted one comes back.
#[test]
fn no_wedge_every_end_of_a_connection_leads_to_the_next() {
    for (code, reason) in [
        (1000, ""),
        (1001, "bye"),
        (1002, "protocol error"),
        (1005, ""),
        (1006, ""),
        (1008, "slow consumer"),
        (1009, ""),
        (1011, "internal"),
        (1012, "service restart"),
        (1013, "gateway starting"),
        (4000, "tick timeout"),
        (4001, "gateway auth changed"),
        (4999, "new"),
    ] {
        let script = connected().at(100).closed(1, code, reason).at(1_200).ready(2);
        let history = check(script);
        assert!(history.contains("status: ready 2"), "{code}\n{history}");
    }
}

/// B63: exactly two tick intervals after the last sign of life, and then a new attempt (B61).
#[test]
fn dead_is_detected_after_exactly_twice_the_tick_interval() {
    let script = connected().at(10_000).event(1, "tick", 1).until(71_000);
    assert_snapshot!(check(script), @r#"
    10.000s event tick 1 on 1
    70.000s due
      hang up 1 now: 4000 "tick timeout"
      status: backoff after attempt 1 until 71.000s: nothing arrived for 60s
    71.000s due
      dial 2 to a, attempt 2
    end: next deadline 81.000s, 0 pending
    "#);
}

/// B64: whatever arrives shows that the peer lives, be it a ping or nonsense.
#[test]
fn dead_is_detected_by_silence_only_any_traffic_keeps_alive() {
    let script = connected()
        .at(59_000)
        .activity(1)
        .at(118_000)
        .frame(1, "garbage", "nonsense")
        .at(177_000)
        .event(1, "chat", None)
        .at(236_000)
        .frame(1, "a foreign answer", r#"{"type":"res","id":"1","ok":true}"#)
        .until(295_999);
    assert_snapshot!(check(script), @r"
    59.000s activity on 1
    118.000s garbage on 1
      ignored: the message is not a JSON object
    177.000s event chat on 1
    236.000s a foreign answer on 1
      ignored: nobody waits for this answer
    end: next deadline 296.000s, 0 pending
    ");
}

/// A large message on a slow line: its bytes are life, for as long as a message may take.
#[test]
fn dead_is_detected_bytes_of_a_message_under_way_are_life() {
    let script = connected()
        .at(1_000)
        .bytes(1, 1_000, 1_000)
        .at(60_999)
        .bytes(1, 60_000, 1_000)
        .at(119_000)
        .bytes(1, 119_000, 1_000)
        .at(178_000)
        .event(1, "chat", 1)
        .at(237_000)
        .bytes(1, 236_000, 235_000)
        .until(296_000);
    assert_snapshot!(check(script), @r#"
    1.000s bytes on 1 at 1.000s of a message since 1.000s
    60.999s bytes on 1 at 60.000s of a message since 1.000s
    119.000s bytes on 1 at 119.000s of a message since 1.000s
    178.000s event chat 1 on 1
    237.000s bytes on 1 at 236.000s of a message since 235.000s
    296.000s due
      hang up 1 now: 4000 "tick timeout"
      status: backoff after attempt 1 until 297.000s: nothing arrived for 60s
    end: next deadline 297.000s, 0 pending
    "#);
}

/// B63 again: a peer whose bytes stop is as dead as one that sends none.
#[test]
fn dead_is_detected_when_the_bytes_of_a_message_stop() {
    for began in [Some(20_000), None] {
        let history = check(connected().at(30_000).bytes(1, 25_000, began).until(85_000));
        assert!(history.contains("85.000s due\n  hang up 1 now: 4000 \"tick timeout\""), "{history}");
        assert!(history.contains("nothing arrived for 60s"), "{history}");
    }
}

/// One byte a minute would keep a connection, and everybody who waits for it, for ever.
#[test]
fn dead_is_detected_a_message_without_end_has_one() {
    let dribble = |script, at| Script::at(script, at).bytes(1, at, 10_000);
    let script = (10_000..310_000).step_by(50_000).fold(connected().request_for(1, None), dribble);
    let history = check(script.activity(1).until(310_000));
    assert!(history.contains("310.000s due\n  hang up 1 now: 4000 \"message timeout\""), "{history}");
    let why = "the gateway did not complete a message within 300s; if the line is that slow, raise max_message_duration";
    assert!(history.contains(&format!("fail #1 (Unknown): {why}")), "{history}");
}

/// Each message has its own time, also a long row of slow ones.
#[test]
fn dead_is_detected_every_message_has_its_own_time() {
    let script = connected().options(|options| options.max_message_duration = Duration::from_secs(50));
    let script = [10_000, 50_000, 90_000]
        .into_iter()
        .fold(script, |script, at| script.at(at).bytes(1, at, at).at(at + 39_999).event(1, "large", None));
    let history = check(script.until(189_998));
    assert!(!history.contains("hang up"), "{history}");
    // One that is known late, like one of a few bytes, may be over when it becomes known.
    let script = connected().at(59_000).bytes(1, 58_000, 1_000).options(|options| {
        options.max_message_duration = Duration::from_secs(50);
    });
    let history = check(script.until(59_000));
    assert!(history.contains("59.000s due\n  hang up 1 now: 4000 \"message timeout\""), "{history}");
}

/// A hello may be large, and must be there within its time all the same: until then nothing is lost by trying anew.
#[test]
fn no_wedge_bytes_do_not_lengthen_a_handshake() {
    let script = handshaking().at(14_000).bytes(1, 14_000, 1_000).until(15_000);
    let history = check(script);
    assert!(history.contains("15.000s due\n  hang up 1 now: 4000 \"connect timeout\""), "{history}");
    // And they are no part of what comes after it.
    let script = handshaking().at(14_000).bytes(1, 14_000, 1_000).greeted(1);
    assert!(check(script).ends_with("end: next deadline 74.000s, 0 pending\n"));
}

/// What we write says nothing about the peer: a half-open connection takes writes for a long time.
#[test]
fn dead_is_detected_although_writes_succeed() {
    let script = connected()
        .at(30_000)
        .request_for(1, None)
        .written(1, 2)
        .at(59_000)
        .request_for(2, None)
        .written(1, 1)
        .until(60_000);
    assert_snapshot!(check(script), @r#"
    30.000s request #1
      transmit on 1: #1
    30.000s written 2 on 1
    59.000s request #2
      transmit on 1: #2
    59.000s written 1 on 1
    60.000s due
      hang up 1 now: 4000 "tick timeout"
      status: backoff after attempt 1 until 61.000s: nothing arrived for 60s
      fail #1 (Unknown): nothing arrived for 60s
      fail #2 (Unknown): nothing arrived for 60s
    end: next deadline 61.000s, 0 pending
    "#);
}

/// B53: the new connection starts with a clean slate.
#[test]
fn dead_is_detected_on_each_connection_by_its_own_silence() {
    let script = connected().at(61_500).ready(2).until(121_499);
    assert_snapshot!(check(script), @r#"
    60.000s due
      hang up 1 now: 4000 "tick timeout"
      status: backoff after attempt 1 until 61.000s: nothing arrived for 60s
    61.000s due
      dial 2 to a, attempt 2
    61.500s handshake on 2
      status: ready 2
    end: next deadline 121.500s, 0 pending
    "#);
}

/// Peer behaviour 130: no tick interval is too absurd to work with.
#[test]
fn dead_is_detected_with_absurd_tick_intervals_clamped() {
    let mut ends = String::new();
    for interval in ["0", "1", "999", "30000", "600000", "600001", "18446744073709551615", "1e300"] {
        let hello = HELLO.replace("30000", interval);
        let history = check(handshaking().hello(1, &hello));
        ends.push_str(&format!("{interval} ms: {}\n", history.lines().last().unwrap()));
    }
    assert_snapshot!(ends, @r"
    0 ms: end: next deadline 2.000s, 0 pending
    1 ms: end: next deadline 2.000s, 0 pending
    999 ms: end: next deadline 2.000s, 0 pending
    30000 ms: end: next deadline 60.000s, 0 pending
    600000 ms: end: next deadline 1200.000s, 0 pending
    600001 ms: end: next deadline 1200.000s, 0 pending
    18446744073709551615 ms: end: next deadline 1200.000s, 0 pending
    1e300 ms: end: next deadline 1200.000s, 0 pending
    ");
}
