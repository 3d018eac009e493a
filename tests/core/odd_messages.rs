//! `settles_once`, `gap_before_event`, `no_wedge`: whatever a gateway sends costs that message and no other.

use insta::assert_snapshot;

use crate::history::check;
use crate::script::{HELLO, connected, handshaking, subscribed, subscribed_early};

/// Nobody waits for ever for an answer that has come.
#[test]
fn settles_once_a_malformed_answer_ends_its_request() {
    for rest in [
        "",
        r#","ok":1"#,
        r#","ok":null,"payload":{}"#,
        r#","ok":"true""#,
        r#","ok":false,"error":"boom""#,
        r#","ok":false,"error":["boom"]"#,
        r#","ok":false,"error":7"#,
        r#","ok":true,"error":"boom","payload":{}"#,
        r#","payload":{"ok":true}"#,
    ] {
        let answer = format!(r#"{{"type":"res","id":"$1"{rest}}}"#);
        let history = check(connected().request(1).frame(1, "answer", &answer).frame(1, "again", &answer));
        let failures = history.matches("fail #1 (Unknown): the answer was malformed").count();
        assert_eq!(failures, 1, "{rest}: {history}");
        assert!(history.contains("ignored: the response has no boolean ok"), "the second: {history}");
        assert!(history.ends_with(", 0 pending\n"), "{rest}: {history}");
    }
}

#[test]
fn settles_once_what_is_no_answer_ends_no_request() {
    let script = connected()
        .request(1)
        .at(10)
        .frame(1, "garbage", "not json")
        .frame(1, "a request", r#"{"type":"req","id":"$1","method":"m"}"#)
        .frame(1, "no type", r#"{"id":"$1","ok":true}"#)
        .frame(1, "another malformed answer", r#"{"type":"res","id":"x$1","ok":1}"#)
        .noise(1)
        .frame(1, "nothing but ok", r#"{"type":"res","id":"$1","ok":true}"#);
    assert_snapshot!(check(script), @r"
    0.000s request #1
      transmit on 1: #1
    0.010s garbage on 1
      ignored: the message is not a JSON object
    0.010s a request on 1
      ignored: the frame's type is neither res nor event
    0.010s no type on 1
      ignored: the frame's type is neither res nor event
    0.010s another malformed answer on 1
      ignored: the response has no boolean ok, or a malformed error
    0.010s noise on 1
      ignored: no text
    0.010s nothing but ok on 1
      complete #1 over 1: null
    end: next deadline 60.010s, 0 pending
    ");
}

/// A failure without an error object is a failure like any other (protocol 5.8).
#[test]
fn settles_once_an_error_that_says_nothing_is_an_error() {
    for rest in [r#""ok":false"#, r#""ok":false,"error":null"#, r#""ok":false,"error":{}"#] {
        let answer = format!(r#"{{"type":"res","id":"$1",{rest}}}"#);
        let history = check(connected().request(1).frame(1, "answer", &answer));
        assert!(history.contains("fail #1 (Rejected): UNAVAILABLE: request failed"), "{rest}: {history}");
    }
}

#[test]
fn settles_once_the_place_of_a_malformed_answer_is_free() {
    let script = connected()
        .max_in_flight(1)
        .requests(1..=2)
        .frame(1, "a malformed answer to #1", r#"{"type":"res","id":"$1","ok":"yes"}"#)
        .request_final(3)
        .reply(1, 2, "{}")
        .reply(1, 3, r#"{"status":"accepted"}"#)
        .frame(1, "a malformed answer to #3", r#"{"type":"res","id":"$3","ok":"yes"}"#);
    assert_snapshot!(check(script), @r#"
    0.000s request #1
      transmit on 1: #1
    0.000s request #2
    0.000s a malformed answer to #1 on 1
      fail #1 (Unknown): the answer was malformed: the response has no boolean ok, or a malformed error
      transmit on 1: #2
    0.000s request #3 to its final answer
    0.000s answer to #2 on 1
      complete #2 over 1: {}
      transmit on 1: #3
    0.000s answer to #3 on 1
      accepted #3: {"status":"accepted"}
    0.000s a malformed answer to #3 on 1
      fail #3 (Unknown): the answer was malformed: the response has no boolean ok, or a malformed error
    end: next deadline 60.000s, 0 pending
    "#);
}

#[test]
fn no_wedge_a_malformed_answer_to_connect_is_retried_at_once() {
    for rest in ["", r#","ok":"yes""#, r#","ok":false,"error":"boom""#] {
        let answer = format!(r#"{{"type":"res","id":"$connect"{rest}}}"#);
        let history = check(handshaking().at(10).frame(1, "answer", &answer));
        assert!(history.contains("the answer to connect is malformed"), "{rest}: {history}");
        assert!(history.ends_with("end: next deadline 1.010s, 0 pending\n"), "{rest}: {history}");
    }
}

/// JavaScript writes half of a pair of surrogates as an escape, wherever a text may be.
#[test]
fn no_wedge_half_a_character_is_no_reason_to_refuse_anything() {
    let half = r"\ud83d";
    let hello = HELLO
        .replace("2026.9.1", &format!("2026{half}"))
        .replace(r#""features""#, &format!(r#""{half}":1,"features""#));
    let script = subscribed_early()
        .hello(1, &hello)
        .request(1)
        .request(2)
        .request(3)
        .frame(1, "event", &format!(r#"{{"type":"event","event":"cha{half}t","seq":1,"payload":{{"t":"{half}"}},"{half}":"{half}"}}"#))
        .reply(1, 1, &format!(r#"{{"t":"{half}"}}"#))
        .reject(1, 2, &format!(r#"{{"code":"E{half}","message":"m{half}","details":{{"code":"D{half}"}}}}"#))
        .frame(1, "an answer to nobody", &format!(r#"{{"type":"res","id":"{half}","ok":true}}"#))
        .frame(1, "an answer", &format!(r#"{{"{half}":{{"{half}":[]}},"type":"res","id":"$3","ok":true,"payload":"a"}}"#));
    assert_snapshot!(check(script), @r#"
    0.000s hello on 1
      to 1: snapshot of 1 (presence 1 [], health 1 {})
      status, also to 1: ready 1
    0.000s request #1
      transmit on 1: #1
    0.000s request #2
      transmit on 1: #2
    0.000s request #3
      transmit on 1: #3
    0.000s event on 1
      to 1: event cha�t 1 of 1
    0.000s answer to #1 on 1
      complete #1 over 1: {"t":"\ud83d"}
    0.000s error for #2 on 1
      fail #2 (Rejected): E�: m�
    0.000s an answer to nobody on 1
      ignored: nobody waits for this answer
    0.000s an answer on 1
      complete #3 over 1: "a"
    end: next deadline 60.000s, 0 pending
    "#);
}

#[test]
fn snapshot_first_a_presence_list_may_hold_half_a_character() {
    let text = r#"{"type":"event","event":"presence","seq":1,"payload":{"\ude00":1,"presence":["\ud83d"]},"stateVersion":{"presence":2.0,"health":1e0}}"#;
    let script = subscribed().frame(1, "presence", text).subscribe(2);
    assert_snapshot!(check(script), @r#"
    0.000s presence on 1
      to 1: event presence 1 of 1
    0.000s subscribe 2
      to 2: snapshot of 1 (presence 2 ["\ufffd"], health 1 {})
    end: next deadline 60.000s, 0 pending
    "#);
}

/// Protocol 11.1: a gateway numbers what it delivers, whatever it is.
#[test]
fn gap_before_event_every_number_counts_whoever_receives_the_event() {
    let challenge = r#"{"type":"event","event":"connect.challenge","seq":2,"payload":{"nonce":"n"}}"#;
    let nameless = r#"{"type":"event","event":"","seq":4,"payload":{}}"#;
    let script = subscribed()
        .event(1, "tick", 1)
        .frame(1, "challenge 2", challenge)
        .event(1, "tick", 3)
        .frame(1, "nameless 4", nameless)
        .event(1, "tick", 5);
    let history = check(script);
    assert!(!history.contains("gap"), "{history}");
    assert_eq!(history.matches("to 1: event tick").count(), 3, "{history}");
}

#[test]
fn gap_before_event_a_number_that_nobody_receives_reveals_a_gap() {
    let challenge = r#"{"type":"event","event":"connect.challenge","seq":4,"payload":{"nonce":"n"}}"#;
    let nameless = r#"{"type":"event","seq":8}"#;
    let script = subscribed()
        .events(1, [0, 1])
        .frame(1, "challenge 4", challenge)
        .events(1, [5])
        .frame(1, "nameless 8", nameless)
        .events(1, [9, 8, 9]);
    assert_snapshot!(check(script), @r"
    0.000s event e 0 on 1
      to 1: event e 0 of 1
    0.000s event e 1 on 1
      to 1: event e 1 of 1
    0.000s challenge 4 on 1
      to 1: gap of 1: expected 2, received 4
      ignored: a challenge after connect
    0.000s event e 5 on 1
      to 1: event e 5 of 1
    0.000s nameless 8 on 1
      to 1: gap of 1: expected 6, received 8
      ignored: the event has no name, or a seq that is not a safe integer
    0.000s event e 9 on 1
      to 1: event e 9 of 1
    0.000s event e 8 on 1
      to 1: event e 8 of 1
    0.000s event e 9 on 1
      to 1: event e 9 of 1
    end: next deadline 60.000s, 0 pending
    ");
}

#[test]
fn gap_before_event_numbers_before_hello_count_too() {
    let challenge = r#"{"type":"event","event":"connect.challenge","seq":2,"payload":{"nonce":"n"}}"#;
    let script = crate::script::script()
        .subscribe(1)
        .opened(1)
        .event(1, "early", 1)
        .frame(1, "challenge 2", challenge)
        .frame(1, "nameless 3", r#"{"type":"event","seq":3}"#)
        .event(1, "early", 4)
        .frame(1, "nameless 7", r#"{"type":"event","seq":7}"#)
        .given()
        .greeted(1)
        .event(1, "late", 8);
    assert_snapshot!(check(script), @r"
    0.000s hello on 1
      to 1: snapshot of 1 (presence 1 [], health 1 {})
      status, also to 1: ready 1
      to 1: event early 1 of 1
      to 1: event early 4 of 1
      to 1: gap of 1: expected 5, received 7
    0.000s event late 8 on 1
      to 1: event late 8 of 1
    end: next deadline 60.000s, 0 pending
    ");
}

/// A number that is none is the same as a malformed event: it moves nothing.
#[test]
fn gap_before_event_a_number_may_be_written_in_many_ways() {
    let event = |seq: &str| format!(r#"{{"type":"event","event":"e","seq":{seq}}}"#);
    let script = ["0", "1.0", "2e0", "0.3e1", "null", "4"]
        .into_iter()
        .fold(subscribed(), |script, seq| script.frame(1, seq, &event(seq)));
    let history = check(script);
    assert!(!history.contains("gap") && !history.contains("ignored"), "{history}");
    assert_eq!(history.matches("to 1: event e").count(), 6, "{history}");
}

/// The gateway may find out only afterwards that it should not have done it.
#[test]
fn settles_once_a_refusal_after_the_deed_is_not_a_refusal_to_do_it() {
    let mismatch = |execution: &str| {
        format!(
            r#"{{"code":"INVALID_REQUEST","message":"m","retryable":true,"details":{{"reason":"EXPECTED_PROFILE_MISMATCH","execution":{execution}}}}}"#
        )
    };
    for (execution, delivery) in [
        (r#""may_have_executed""#, "Unknown"),
        (r#""may\u005fhave_executed""#, "Unknown"),
        (r#""not_started""#, "Rejected"),
        ("null", "Rejected"),
        (r#"["may_have_executed"]"#, "Rejected"),
    ] {
        let history = check(connected().request(1).reject(1, 1, &mismatch(execution)));
        assert!(history.contains(&format!("fail #1 ({delivery}): INVALID_REQUEST: m")), "{history}");
    }
}
