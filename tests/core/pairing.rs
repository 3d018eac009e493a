//! `no_storm` and `no_wedge`: a device that waits for approval asks again if it may, and listens where the gateway tells.

use std::sync::Arc;
use std::time::Duration;

use insta::assert_snapshot;
use onesocket::core::config::Patience;
use onesocket::core::{Config, DeviceIdentity, Options, PauseReason, Status};

use crate::bench::Bench;
use crate::history::check;
use crate::script::{CONNECT, Script, answer, invalid_request, refusal, script, unavailable};

const REQUIRED: &str = r#"{"code":"PAIRING_REQUIRED","requestId":"req-1"}"#;

/// A client that asks every ten seconds.
fn polling() -> Script {
    script().options(|options| options.pairing_poll = Some(Duration::from_secs(10)))
}

impl Script {
    fn not_paired(self, epoch: u64) -> Self {
        self.frame(epoch, "not paired", &refusal(CONNECT, &invalid_request("no", REQUIRED)))
    }

    /// The refusal of a gateway that tells over the same socket how the request is decided.
    fn held(self, epoch: u64, extra: &str) -> Self {
        let error = held_error("no").replace("true", &format!("true{extra}"));
        self.frame(epoch, "not paired, and told later", &refusal(CONNECT, &error))
    }

    fn decided(self, epoch: u64, request: &str, decision: &str) -> Self {
        let text = format!(
            r#"{{"type":"event","event":"device.pair.resolved","payload":{{"requestId":"{request}","decision":{decision}}}}}"#
        );
        self.frame(epoch, &format!("{request} is {decision}"), &text)
    }
}

/// The error of such a refusal.
fn held_error(message: &str) -> String {
    let details = format!(
        r#"{{"code":"PAIRING_REQUIRED","requestId":"req-1","deviceId":"{}","waitForResolution":true}}"#,
        DeviceIdentity::from_seed([7; 32]).id()
    );
    invalid_request(message, &details)
}

/// A device whose connection 1 waits for the gateway's answer.
fn device() -> Script {
    script().with_token_store().connect().subscribe(1).no_token(1).challenged(1)
}

/// The pause goes on while the client asks, and its status with it; an approval needs no click.
#[test]
fn no_wedge_a_paused_client_asks_until_it_is_approved() {
    let script = polling()
        .subscribe(1)
        .challenged(1)
        .not_paired(1)
        .given()
        .at(10_100)
        .challenged(2)
        .request(1)
        .at(10_200)
        .not_paired(2)
        .at(20_300)
        .refused(3)
        .at(30_400)
        .wake()
        .challenged(4)
        .greeted(4);
    assert_snapshot!(check(script), @r#"
    10.000s due
      dial 2 to a
    10.100s opened 2
    10.100s challenge on 2
      transmit on 2: connect {"token":"token-a"}
    10.100s request #1
      fail #1 (NotSent): the connection is paused: the gateway wants this device approved (INVALID_REQUEST: no): approve request req-1 (the client asks again by itself)
    10.200s not paired on 2
      hang up 2 now: 1008 "connect failed"
      status: paused: the gateway wants this device approved (INVALID_REQUEST: no): approve request req-1 (the client asks again by itself)
    20.200s due
      dial 3 to a
    20.300s dial 3 refused
      status: paused: the gateway wants this device approved (INVALID_REQUEST: no): approve request req-1 (the client asks again by itself)
    30.300s due
      dial 4 to a
    30.400s wake
    30.400s opened 4
    30.400s challenge on 4
      transmit on 4: connect {"token":"token-a"}
    30.400s hello on 4
      to 1: snapshot of 4 (presence 1 [], health 1 {})
      status, also to 1: ready 4
    end: next deadline 90.400s, 0 pending
    "#);
}

/// A gateway may ask for more time than the option gives, but not for ever; what is no answer does not end the pause.
#[test]
fn no_storm_questions_keep_the_wish_of_the_gateway() {
    let wish = |ms: u64| {
        let error =
            format!(r#"{{"code":"NOT_PAIRED","message":"no","retryAfterMs":{ms},"details":{REQUIRED}}}"#);
        let history = check(polling().connect().challenged(1).refuse(1, &error));
        history.lines().last().unwrap().to_owned()
    };
    assert_eq!(wish(1_000), "end: next deadline 10.000s, 0 pending");
    assert_eq!(wish(90_000), "end: next deadline 90.000s, 0 pending");
    assert_eq!(wish(99_999_999), "end: next deadline 600.000s, 0 pending");
    let script = polling().connect().challenged(1).not_paired(1).at(10_000).challenged(2);
    let history = check(script.refuse(2, &unavailable("busy", 45_000)).until(55_000));
    assert!(history.contains("status: paused: the gateway wants this device approved"), "{history}");
    assert!(
        history.ends_with("55.000s due\n  dial 3 to a\nend: next deadline 65.000s, 0 pending\n"),
        "{history}"
    );
}

/// Whatever else a question finds out counts as it would without one.
#[test]
fn no_storm_a_question_may_end_in_another_pause() {
    let end = |details: &str| {
        let script = polling().connect().challenged(1).not_paired(1).at(10_000).challenged(2);
        check(script.refuse(2, &invalid_request("no", details)).given().until(3_600_000))
    };
    for details in [
        r#"{"code":"PAIRING_REJECTED"}"#,
        r#"{"code":"PAIRING_EXPIRED"}"#,
        r#"{"code":"AUTH_TOKEN_MISMATCH"}"#,
        r#"{"code":"PROTOCOL_MISMATCH"}"#,
    ] {
        assert_eq!(end(details), "end: next deadline none, 0 pending\n", "{details}");
    }
}

/// Only a pairing is asked about: nothing else changes by itself while nobody acts.
#[test]
fn no_storm_other_pauses_are_not_asked_about() {
    for code in ["AUTH_TOKEN_MISMATCH", "PAIRING_REJECTED", "PAIRING_EXPIRED", "OPERATOR_ACCESS_DENIED"] {
        let history = check(polling().connect().challenged(1).refuse_with(1, code).until(3_600_000));
        assert!(history.ends_with("end: next deadline none, 0 pending\n"), "{history}");
    }
}

/// Many devices that wait do not ask in step.
#[test]
fn no_storm_questions_are_jittered() {
    let first = |seed| {
        let mut options = Options::default();
        options.pairing_poll = Some(Duration::from_secs(10));
        let config = Config::new("ws://127.0.0.1").expect("a valid url").token("t");
        let (mut bench, frame) = Bench::challenged(Arc::new(config), options, seed);
        let id = frame["id"].as_str().expect("an id is a string");
        bench.receive(&refusal(id, &invalid_request("no", REQUIRED)));
        let due = bench.core.next_deadline().expect("it asks again").at.since(bench.now);
        let Status::Paused(reason) = bench.core.status() else { panic!("{:?}", bench.core.status()) };
        assert!(matches!(&**reason, PauseReason::Pairing { .. }), "{reason}");
        due
    };
    let waits: Vec<Duration> = (0..20).map(first).collect();
    let (shortest, longest) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!(*shortest >= Duration::from_secs(10) && *longest <= Duration::from_secs(12), "{waits:?}");
    assert!(*longest - *shortest > Duration::from_secs(1), "{waits:?}");
}

/// Who resumes while the client asks is not made to wait, and shares the attempt that is under way.
#[test]
fn no_wedge_resume_takes_over_a_question() {
    let asking = || polling().connect().challenged(1).not_paired(1).at(10_000);
    let script = asking().given().resume().request(1).opened(2).resume().challenge(2).greeted(2);
    assert_snapshot!(check(script), @r#"
    10.000s resume
      status: connecting 2, attempt 1
    10.000s request #1
    10.000s opened 2
      status: handshaking 2
    10.000s resume
    10.000s challenge on 2
      transmit on 2: connect {"token":"token-a"}
    10.000s hello on 2
      status: ready 2
      transmit on 2: #1
    end: next deadline 40.000s, 1 pending
    "#);
    let open = asking().opened(2).given().resume().lost(2);
    assert_snapshot!(check(open), @r#"
    10.000s resume
      status: handshaking 2
    10.000s lost 2
      status: backoff after attempt 1 until 11.000s: the connection was lost: reset
    end: next deadline 11.000s, 0 pending
    "#);
}

#[test]
fn no_storm_a_question_ends_with_the_config_or_the_client() {
    let asking = || polling().connect().challenged(1).not_paired(1).at(10_000).opened(2).given();
    assert_snapshot!(check(asking().configure("b").closed_cleanly(2).until(10_000)), @r#"
    10.000s configure b
      hang up 2 gracefully: 1000 "configuration changed"
      status: closing
    10.000s closed 2 with 1000 ""
    10.000s due
      dial 3 to b, attempt 1
    end: next deadline 20.000s, 0 pending
    "#);
    assert_snapshot!(check(asking().shut_down().closed_cleanly(2)), @r#"
    10.000s shut down
      hang up 2 gracefully: 1000 "client shut down"
      status: closing
    10.000s closed 2 with 1000 ""
      status: stopped
      stopped
    end: next deadline none, 0 pending
    "#);
    let between = || polling().connect().challenged(1).not_paired(1).at(5_000).given();
    assert_snapshot!(check(between().shut_down().until(60_000)), @r#"
    5.000s shut down
      status: stopped
      stopped
    end: next deadline none, 0 pending
    "#);
    assert_snapshot!(check(between().configure("b").until(5_000)), @r#"
    5.000s configure b
    5.000s due
      dial 2 to b, attempt 1
    end: next deadline 15.000s, 0 pending
    "#);
}

/// Where the gateway promises to tell, the socket is kept and nothing is asked; an approval connects anew.
#[test]
fn no_wedge_a_held_connection_is_told_of_the_approval() {
    let script = device()
        .held(1, "")
        .given()
        .request(1)
        .at(60_000)
        .decided(1, "req-2", r#""approved""#)
        .decided(1, "req-1", r#""maybe""#)
        .decided(1, "req-1", "null")
        .decided(1, "req-1", r#""approved","deviceId":"another""#)
        .event(1, "tick", None)
        .at(90_000)
        .decided(1, "req-1", r#""approved""#)
        .until(90_000);
    assert_snapshot!(check(script), @r#"
    0.000s request #1
      fail #1 (NotSent): the connection is paused: the gateway wants this device approved (INVALID_REQUEST: no): approve request req-1 (the gateway tells when that is done)
    60.000s req-2 is "approved" on 1
    60.000s req-1 is "maybe" on 1
    60.000s req-1 is null on 1
    60.000s req-1 is "approved","deviceId":"another" on 1
    60.000s event tick on 1
    90.000s req-1 is "approved" on 1
      hang up 1 now: 1000 "pairing approved"
    90.000s due
      dial 2 to a, attempt 1
      load the token of ws://a.local:18789/ for 2
    end: next deadline 100.000s, 0 pending
    "#);
}

/// A gateway that approves and refuses all the time meets the first wait of the backoff nonetheless.
#[test]
fn no_storm_an_approval_does_not_dial_at_once_for_ever() {
    let script = device().held(1, "").given().at(10).decided(1, "req-1", r#""approved""#).until(2_000);
    assert_snapshot!(check(script), @r#"
    0.010s req-1 is "approved" on 1
      hang up 1 now: 1000 "pairing approved"
    1.000s due
      dial 2 to a, attempt 1
      load the token of ws://a.local:18789/ for 2
    end: next deadline 11.000s, 0 pending
    "#);
}

#[test]
fn no_storm_a_held_connection_may_be_told_no() {
    for (decision, reason) in
        [("rejected", "the gateway's owner declined"), ("expired", "nobody approved this device")]
    {
        let script = device().held(1, "").given().at(10).decided(1, "req-1", &format!("{decision:?}"));
        let history = check(script.until(3_600_000));
        assert!(history.contains(&format!(r#"hang up 1 now: 1000 "pairing {decision}""#)), "{history}");
        assert!(history.contains(&format!("paused: {reason}")), "{history}");
        assert!(history.ends_with("end: next deadline none, 0 pending\n"), "{history}");
    }
}

/// A promise that is not kept in time, or whose connection ends, is worth what the refusal was worth without it.
#[test]
fn no_wedge_a_held_connection_does_not_last_for_ever() {
    let undecided = device().held(1, "").given().until(3_600_000);
    assert_snapshot!(check(undecided), @r#"
    600.000s due
      hang up 1 now: 1000 "pairing undecided"
      status: paused: the gateway wants this device approved (INVALID_REQUEST: no): approve request req-1, then resume
    end: next deadline none, 0 pending
    "#);
    let lost = device().held(1, "").given().at(1_000).lost(1).until(3_600_000);
    assert!(check(lost).ends_with("end: next deadline none, 0 pending\n"));
    let advised = device().held(1, r#","recommendedNextStep":"wait_then_retry""#).given().at(1_000).lost(1);
    assert_snapshot!(check(advised), @r#"
    1.000s lost 1
      status: backoff after attempt 1 until 2.000s: the connection was lost: reset
    end: next deadline 2.000s, 0 pending
    "#);
    let closed = device().held(1, "").given().at(1_000).closed(1, 1008, "pairing rejected");
    assert!(check(closed).contains("paused: the gateway's owner declined"));
}

/// It may also answer on the same socket.
#[test]
fn no_wedge_a_held_connection_may_become_ready() {
    let script = device().held(1, "").given().at(1_000).greeted(1).at(1_010).request(1);
    assert_snapshot!(check(script), @r#"
    1.000s hello on 1
      to 1: snapshot of 1 (presence 1 [], health 1 {})
      status, also to 1: ready 1
    1.010s request #1
      transmit on 1: #1
    end: next deadline 31.010s, 1 pending
    "#);
    let refused = device().held(1, "").given().at(1_000).refuse_with(1, "AUTH_SCOPE_MISMATCH");
    assert!(check(refused).contains("paused: the gateway refused the credentials"));
    let malformed = device().held(1, "").given().at(1_000).frame(1, "no answer", &answer(CONNECT, "7"));
    assert!(check(malformed).contains("payload of hello is a number"));
}

/// What was presented is not told by a pause either, whatever the gateway repeats.
#[test]
fn right_credential_a_held_refusal_does_not_repeat_the_credential() {
    let history =
        check(device().held(1, r#","remediationHint":"token-a""#).given().subscribe(2).at(1).lost(1));
    assert!(!history.contains("token-a"), "{history}");
    let message = refusal(CONNECT, &held_error("you said token-a"));
    let history = check(device().given().frame(1, "not paired", &message));
    assert!(history.contains("paused: the gateway wants this device approved"), "{history}");
    assert!(!history.contains("token-a"), "{history}");
}

/// It ends when somebody acts, like any pause.
#[test]
fn no_wedge_a_held_connection_gives_way() {
    assert_snapshot!(check(device().held(1, "").given().at(5_000).resume().until(5_000)), @r#"
    5.000s resume
      hang up 1 now: 1000 "connecting anew"
    5.000s due
      dial 2 to a, attempt 1
      load the token of ws://a.local:18789/ for 2
    end: next deadline 15.000s, 0 pending
    "#);
    assert_snapshot!(check(device().held(1, "").given().at(5_000).configure("b").closed_cleanly(1).until(5_000)), @r#"
    5.000s configure b
      hang up 1 gracefully: 1000 "configuration changed"
      status: closing
    5.000s closed 1 with 1000 ""
    5.000s due
      dial 2 to b, attempt 1
    end: next deadline 15.000s, 0 pending
    "#);
    assert_snapshot!(check(device().held(1, "").given().at(5_000).shut_down().closed_cleanly(1)), @r#"
    5.000s shut down
      hang up 1 gracefully: 1000 "client shut down"
      status: closing
    5.000s closed 1 with 1000 ""
      status: stopped
      to 1: closed
      stopped
    end: next deadline none, 0 pending
    "#);
}

/// It is kept only for a request that is this device's, and that can be told apart.
#[test]
fn no_storm_a_connection_is_not_held_for_others() {
    let id = DeviceIdentity::from_seed([7; 32]).id().to_owned();
    let whole = format!(
        r#"{{"code":"PAIRING_REQUIRED","requestId":"req-1","deviceId":"{id}","waitForResolution":true}}"#
    );
    for details in [
        whole.replace("true", "false"),
        whole.replace("true", r#""true""#),
        whole.replace(&id, "another"),
        whole.replace("req-1", "$(rm)"),
        whole.replace(r#""requestId":"req-1","#, ""),
        whole.replace("PAIRING_REQUIRED", "PAIRING_REJECTED"),
    ] {
        let history = check(device().refuse(1, &invalid_request("no", &details)));
        assert!(history.contains(r#"hang up 1 now: 1008 "connect failed""#), "{details}: {history}");
    }
    let off = device().options(|options| options.pairing_hold = None).held(1, "");
    assert!(check(off).contains(r#"hang up 1 now: 1008 "connect failed""#));
}

#[test]
fn limits_of_pairing_and_patience_are_checked() {
    let why = |change: fn(&mut Options)| {
        let mut options = Options::default();
        change(&mut options);
        options.validate().map_err(|error| error.to_string())
    };
    assert_eq!(why(|options| options.pairing_poll = Some(Duration::from_secs(5))), Ok(()));
    assert_eq!(why(|options| options.pairing_poll = Some(Duration::from_secs(3_600))), Ok(()));
    let poll = Err("option pairing_poll must be from five seconds to an hour".to_owned());
    assert_eq!(why(|options| options.pairing_poll = Some(Duration::from_millis(4_999))), poll);
    assert_eq!(why(|options| options.pairing_poll = Some(Duration::from_secs(3_601))), poll);
    let hold = Err("option pairing_hold must be at least a millisecond".to_owned());
    assert_eq!(why(|options| options.pairing_hold = Some(Duration::ZERO)), hold);
    assert_eq!(why(|options| options.pairing_hold = None), Ok(()));
    let patience = |cap| Some(Patience { after_attempts: 5, cap: Duration::from_secs(cap) });
    let cap = Err("option backoff.patience.cap must not be below backoff.cap".to_owned());
    let mut options = Options::default();
    options.backoff.patience = patience(29);
    assert_eq!(options.validate().map_err(|error| error.to_string()), cap);
    options.backoff.patience = patience(30);
    assert_eq!(options.validate().map_err(|error| error.to_string()), Ok(()));
}

/// Long outages cost less and less, until something happens.
#[test]
fn no_storm_patience_grows_beyond_the_cap_and_ends_with_the_network() {
    let script = script()
        .options(|options| {
            options.backoff.cap = Duration::from_secs(4);
            options.backoff.patience = Some(Patience { after_attempts: 4, cap: Duration::from_secs(60) });
        })
        .connect()
        .attempts(1, [0, 1_000, 3_000, 7_000, 11_000, 19_000, 35_000, 67_000], Script::refused)
        .at(100_000)
        .wake()
        .at(100_100)
        .refused(9)
        .until(101_100);
    assert_snapshot!(check(script), @r#"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
    0.000s dial 1 refused
      status: backoff after attempt 1 until 1.000s: dial failed: the connection was refused
    1.000s due
      dial 2 to a, attempt 2
    1.000s dial 2 refused
      status: backoff after attempt 2 until 3.000s: dial failed: the connection was refused
    3.000s due
      dial 3 to a, attempt 3
    3.000s dial 3 refused
      status: backoff after attempt 3 until 7.000s: dial failed: the connection was refused
    7.000s due
      dial 4 to a, attempt 4
    7.000s dial 4 refused
      status: backoff after attempt 4 until 11.000s: dial failed: the connection was refused
    11.000s due
      dial 5 to a, attempt 5
    11.000s dial 5 refused
      status: backoff after attempt 5 until 19.000s: dial failed: the connection was refused
    19.000s due
      dial 6 to a, attempt 6
    19.000s dial 6 refused
      status: backoff after attempt 6 until 35.000s: dial failed: the connection was refused
    35.000s due
      dial 7 to a, attempt 7
    35.000s dial 7 refused
      status: backoff after attempt 7 until 67.000s: dial failed: the connection was refused
    67.000s due
      dial 8 to a, attempt 8
    67.000s dial 8 refused
      status: backoff after attempt 8 until 127.000s: dial failed: the connection was refused
    100.000s wake
    100.000s due
      dial 9 to a, attempt 1
    100.100s dial 9 refused
      status: backoff after attempt 1 until 101.100s: dial failed: the connection was refused
    101.100s due
      dial 10 to a, attempt 2
    end: next deadline 111.100s, 0 pending
    "#);
}
