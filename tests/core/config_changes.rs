//! `one_reconnect_per_change`: a change of config connects once, and an equal config changes nothing.

use insta::assert_snapshot;
use onesocket::core::{ClientInfo, Config, DeviceIdentity, SignatureVersion};

use crate::history::check;
use crate::script::{config, connected, handshaking, invalid_request, script, subscribed};

fn unauthorized() -> String {
    invalid_request("unauthorized", r#"{"code":"AUTH_TOKEN_MISMATCH"}"#)
}

#[test]
fn one_reconnect_per_change_an_equal_config_is_a_noop() {
    let script = script()
        .configure("a")
        .connect()
        .configure("a")
        .at(10)
        .configure("a")
        .opened(1)
        .configure("a")
        .challenge(1)
        .configure("a")
        .greeted(1)
        .request(1)
        .configure("a")
        .at(100)
        .reply(1, 1, "{}");
    assert_snapshot!(check(script), @r#"
    0.000s configure a
    0.000s connect
    0.000s configure a
    0.000s due
      dial 1 to a, attempt 1
    0.010s configure a
    0.010s opened 1
      status: handshaking 1
    0.010s configure a
    0.010s challenge on 1
      transmit on 1: connect {"token":"token-a"}
    0.010s configure a
    0.010s hello on 1
      status: ready 1
    0.010s request #1
      transmit on 1: #1
    0.010s configure a
    0.100s answer to #1 on 1
      complete #1 over 1: {}
    end: next deadline 60.100s, 0 pending
    "#);
}

#[test]
fn one_reconnect_per_change_an_equal_config_does_not_cut_a_backoff_short() {
    let script =
        script().connect().at(10).refused(1).at(20).configure("a").at(30).configure("a").until(1_100);
    assert_snapshot!(check(script), @r"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
    0.010s dial 1 refused
      status: backoff after attempt 1 until 1.010s: dial failed: the connection was refused
    0.020s configure a
    0.030s configure a
    1.010s due
      dial 2 to a, attempt 2
    end: next deadline 11.010s, 0 pending
    ");
}

#[test]
fn one_reconnect_per_change_an_equal_config_does_not_end_a_pause() {
    let script = handshaking().refuse(1, &unauthorized()).at(10).configure("a");
    assert_snapshot!(check(script), @r#"
    0.000s refusal {"code":"INVALID_REQUEST","message":"unauthorized","details":{"code":"AUTH_TOKEN_MISMATCH"}} on 1
      hang up 1 now: 1008 "connect failed"
      status: paused: the gateway refused the credentials (INVALID_REQUEST: unauthorized): configure others, or resume once the gateway takes these
    0.010s configure a
    end: next deadline none, 0 pending
    "#);
}

/// Peer behaviour 5: a new token is a new config.
#[test]
fn one_reconnect_per_change_a_new_token_retires_the_old_socket() {
    let changed = Config::new("ws://a.local").unwrap().token("token-new");
    let script = connected()
        .at(100)
        .configure_with("a with a new token", changed)
        .at(120)
        .closed_cleanly(1)
        .at(130)
        .ready(2);
    assert_snapshot!(check(script), @r#"
    0.100s configure a with a new token
      hang up 1 gracefully: 1000 "configuration changed"
      status: closing
    0.120s closed 1 with 1000 ""
    0.120s due
      dial 2 to a, attempt 1
    0.130s handshake on 2
      status: ready 2
    end: next deadline 60.130s, 0 pending
    "#);
}

/// B22: of several changes in quick succession only the last is dialed.
#[test]
fn one_reconnect_per_change_a_b_c_quickly_never_dials_b() {
    let script = connected().at(100).configure("b").configure("c").at(120).closed_cleanly(1).until(200);
    assert_snapshot!(check(script), @r#"
    0.100s configure b
      hang up 1 gracefully: 1000 "configuration changed"
      status: closing
    0.100s configure c
    0.120s closed 1 with 1000 ""
    0.120s due
      dial 2 to c, attempt 1
    end: next deadline 10.120s, 0 pending
    "#);
}

/// B21: the change that comes while the old socket is closing wins as well.
#[test]
fn one_reconnect_per_change_b_then_c_while_the_old_socket_closes_never_dials_b() {
    let script = connected().at(100).configure("b").at(300).configure("c").at(400).closed_cleanly(1);
    assert_snapshot!(check(script.until(500)), @r#"
    0.100s configure b
      hang up 1 gracefully: 1000 "configuration changed"
      status: closing
    0.300s configure c
    0.400s closed 1 with 1000 ""
    0.400s due
      dial 2 to c, attempt 1
    end: next deadline 10.400s, 0 pending
    "#);
}

#[test]
fn one_reconnect_per_change_b_then_c_at_the_moment_of_the_close_never_dials_b() {
    let script = connected().at(100).configure("b").at(300).closed_cleanly(1).configure("c").until(400);
    assert_snapshot!(check(script), @r#"
    0.100s configure b
      hang up 1 gracefully: 1000 "configuration changed"
      status: closing
    0.300s closed 1 with 1000 ""
    0.300s configure c
    0.300s due
      dial 2 to c, attempt 1
    end: next deadline 10.300s, 0 pending
    "#);
}

#[test]
fn one_reconnect_per_change_while_dialing_drops_the_dial() {
    let script = script().connect().at(100).configure("b").configure("c").until(200);
    assert_snapshot!(check(script), @r#"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
    0.100s configure b
      hang up 1 now: 1000 "configuration changed"
    0.100s configure c
    0.100s due
      dial 2 to c, attempt 1
    end: next deadline 10.100s, 0 pending
    "#);
}

/// B26: away and back within one moment is still a change, and still one reconnect.
#[test]
fn one_reconnect_per_change_there_and_back_connects_once() {
    let script = connected().at(100).configure("b").configure("a").at(120).closed_cleanly(1).until(200);
    assert_snapshot!(check(script), @r#"
    0.100s configure b
      hang up 1 gracefully: 1000 "configuration changed"
      status: closing
    0.100s configure a
    0.120s closed 1 with 1000 ""
    0.120s due
      dial 2 to a, attempt 1
    end: next deadline 10.120s, 0 pending
    "#);
}

#[test]
fn one_reconnect_per_change_no_config_rests_until_there_is_one() {
    let script = subscribed()
        .at(100)
        .configure_none()
        .request(1)
        .at(120)
        .closed_cleanly(1)
        .at(130)
        .request(2)
        .at(60_000)
        .configure("b")
        .until(60_000);
    assert_snapshot!(check(script), @r#"
    0.100s configure nothing
      hang up 1 gracefully: 1000 "configuration changed"
      status, also to 1: closing
    0.100s request #1
      fail #1 (NotSent): no gateway is configured
    0.120s closed 1 with 1000 ""
      status, also to 1: not configured
    0.130s request #2
      fail #2 (NotSent): no gateway is configured
    60.000s configure b
    60.000s due
      dial 2 to b, attempt 1
      to 1: status connecting 2, attempt 1
    end: next deadline 70.000s, 0 pending
    "#);
}

#[test]
fn one_reconnect_per_change_without_connect_nothing_is_dialed() {
    assert_snapshot!(check(script().configure("b").configure_none().configure("c").until(60_000)), @r"
    0.000s configure b
    0.000s configure nothing
    0.000s configure c
    end: next deadline none, 0 pending
    ");
}

#[test]
fn one_reconnect_per_change_a_first_config_after_connect() {
    let script = script().without_config().connect().at(100).configure("b").until(100);
    assert_snapshot!(check(script), @r"
    0.000s connect
      status: not configured
    0.100s configure b
    0.100s due
      dial 1 to b, attempt 1
    end: next deadline 10.100s, 0 pending
    ");
}

/// B10: what the old gateway refused says nothing about the new one.
#[test]
fn one_reconnect_per_change_ends_a_pause() {
    let script = handshaking().refuse(1, &unauthorized()).at(10).configure("b").until(10);
    assert_snapshot!(check(script), @r#"
    0.000s refusal {"code":"INVALID_REQUEST","message":"unauthorized","details":{"code":"AUTH_TOKEN_MISMATCH"}} on 1
      hang up 1 now: 1008 "connect failed"
      status: paused: the gateway refused the credentials (INVALID_REQUEST: unauthorized): configure others, or resume once the gateway takes these
    0.010s configure b
    0.010s due
      dial 2 to b, attempt 1
    end: next deadline 10.010s, 0 pending
    "#);
}

/// A new config has done nothing wrong yet: it does not inherit the waits of the old one.
#[test]
fn one_reconnect_per_change_ends_the_backoff_and_resets_it() {
    let script = script()
        .connect()
        .refused(1)
        .at(1_001)
        .refused(2)
        .at(2_000)
        .configure("b")
        .at(2_001)
        .refused(3)
        .until(3_001);
    assert_snapshot!(check(script), @r"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
    0.000s dial 1 refused
      status: backoff after attempt 1 until 1.000s: dial failed: the connection was refused
    1.000s due
      dial 2 to a, attempt 2
    1.001s dial 2 refused
      status: backoff after attempt 2 until 3.001s: dial failed: the connection was refused
    2.000s configure b
    2.000s due
      dial 3 to b, attempt 1
    2.001s dial 3 refused
      status: backoff after attempt 1 until 3.001s: dial failed: the connection was refused
    3.001s due
      dial 4 to b, attempt 2
    end: next deadline 13.001s, 0 pending
    ");
}

/// B41: what is pending belongs to the old config and ends with it, at once.
#[test]
fn one_reconnect_per_change_fails_what_is_pending_at_once() {
    let script = connected()
        .max_in_flight(1)
        .requests(1..=2)
        .at(100)
        .configure("b")
        .request(3)
        .at(120)
        .closed_cleanly(1)
        .at(130)
        .ready(2);
    assert_snapshot!(check(script), @r#"
    0.000s request #1
      transmit on 1: #1
    0.000s request #2
    0.100s configure b
      fail #1 (Unknown): a new configuration replaced this connection
      fail #2 (NotSent): a new configuration replaced this connection
      hang up 1 gracefully: 1000 "configuration changed"
      status: closing
    0.100s request #3
    0.120s closed 1 with 1000 ""
    0.120s due
      dial 2 to b, attempt 1
    0.130s handshake on 2
      status: ready 2
      transmit on 2: #3
    end: next deadline 30.100s, 1 pending
    "#);
}

#[test]
fn configs_are_equal_by_value() {
    assert_eq!(config("a"), config("a"));
    assert_ne!(config("a"), config("b"));
    assert_eq!(
        Config::new("ws://a.local").unwrap().token(" t \n"),
        Config::new("ws://A.local:18789/").unwrap().token("t"),
    );
    assert_eq!(
        Config::new("ws://a.local").unwrap().token("  "),
        Config::new("ws://a.local").unwrap().password("")
    );
}

/// The first change is dialed at once, and the last of those that follow it quickly: not the ones between.
#[test]
fn no_storm_of_quick_changes_the_first_and_the_last_are_dialed() {
    let script = script().connect().at(100).configure("b").at(150).configure("c").at(1_050).configure("d");
    assert_snapshot!(check(script.at(1_150).configure("e").until(2_000)), @r#"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
    0.100s configure b
      hang up 1 now: 1000 "configuration changed"
    0.100s due
      dial 2 to b, attempt 1
    0.150s configure c
      hang up 2 now: 1000 "configuration changed"
      status: settling until 1.100s
    1.050s configure d
    1.100s due
      dial 3 to d, attempt 1
    1.150s configure e
      hang up 3 now: 1000 "configuration changed"
      status: settling until 2.100s
    end: next deadline 2.100s, 0 pending
    "#);
}

/// A change that comes when the one before has settled is dialed at once.
#[test]
fn one_reconnect_per_change_changes_that_are_apart_are_dialed_at_once() {
    let script = script().connect().at(100).configure("b").at(1_100).configure("c").until(1_200);
    assert_snapshot!(check(script), @r#"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
    0.100s configure b
      hang up 1 now: 1000 "configuration changed"
    0.100s due
      dial 2 to b, attempt 1
    1.100s configure c
      hang up 2 now: 1000 "configuration changed"
    1.100s due
      dial 3 to c, attempt 1
    end: next deadline 11.100s, 0 pending
    "#);
}

/// A wait for a config to settle is none that the network could end by being back.
#[test]
fn no_storm_wake_does_not_hurry_a_config_that_settles() {
    let script = script().connect().at(100).configure("b").at(150).configure("c").at(160).wake();
    assert_snapshot!(check(script.until(1_200)), @r#"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
    0.100s configure b
      hang up 1 now: 1000 "configuration changed"
    0.100s due
      dial 2 to b, attempt 1
    0.150s configure c
      hang up 2 now: 1000 "configuration changed"
      status: settling until 1.100s
    0.160s wake
    1.100s due
      dial 3 to c, attempt 1
    end: next deadline 11.100s, 0 pending
    "#);
}

/// Off and on again is a change, too.
#[test]
fn no_storm_a_config_that_comes_and_goes_settles() {
    let script = script().connect().at(100).configure_none().at(110).configure("a").at(120).configure_none();
    assert_snapshot!(check(script.at(130).configure("a").until(1_200)), @r#"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
    0.100s configure nothing
      hang up 1 now: 1000 "configuration changed"
      status: not configured
    0.110s configure a
      status: settling until 0.310s
    0.120s configure nothing
      status: not configured
    0.130s configure a
      status: settling until 0.330s
    0.330s due
      dial 2 to a, attempt 1
    end: next deadline 10.330s, 0 pending
    "#);
}

/// However long a source flaps, one of its configs is dialed in a second, and the last one once it stops.
#[test]
fn no_storm_a_source_that_flaps_is_dialed_once_in_a_second() {
    let mut script = script().connect();
    for turn in 0..1_000 {
        script = script.at(10 + 10 * turn).configure(if turn % 2 == 0 { "b" } else { "a" });
    }
    let told = check(script.at(10_010).configure("c").until(20_000));
    let dials: Vec<&str> = told.lines().filter(|line| line.trim_start().starts_with("dial ")).collect();
    assert!((11..=12).contains(&dials.len()), "{dials:?}");
    assert!(dials.last().is_some_and(|dial| dial.contains(" to c,")), "{dials:?}");
}

/// What a gateway cannot tell apart is one config, however it is spelled.
#[test]
fn configs_are_equal_by_what_they_mean() {
    let base = || Config::new("ws://a.local").unwrap();
    let device = || base().device(DeviceIdentity::from_seed([7; 32]));
    let named = |name: &str| ClientInfo { display_name: Some(name.to_owned()), ..ClientInfo::default() };
    let equal = [
        (base().scopes(["b", "a"]), base().scopes(["a", "b", "a"])),
        (base().caps(["b", "a"]), base().caps(["a", "b", "b"])),
        (base().caps(["a"; 0]), base()),
        (base().client(named("  ")), base()),
        (base().signature_version(SignatureVersion::V2), base()),
    ];
    for (one, other) in equal {
        assert_eq!(one, other);
    }
    let different = [
        (base().scopes(["a"]), base().scopes(["a", "b"])),
        // What is granted, and nothing at all.
        (base(), base().scopes(["a"; 0])),
        (base().scopes(["a"]), base().caps(["a"])),
        (base().client(named("x")), base()),
        (device().signature_version(SignatureVersion::V2), device()),
        (base().signature_version(SignatureVersion::V2), device()),
    ];
    for (one, other) in different {
        assert_ne!(one, other);
    }
}

/// What the token store says of a socket that closes is nobody's: it does not cut the close short.
#[test]
fn one_reconnect_per_change_a_failing_store_does_not_disturb_a_close() {
    let script = script().with_token_store().connect().at(100).opened(1).at(200).configure("b");
    let script = script.at(300).store_fails(1).at(400).closed(1, 1000, "");
    assert_snapshot!(check(script.until(400)), @r#"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
      load the token of ws://a.local:18789/ for 1
    0.100s opened 1
      status: handshaking 1
    0.200s configure b
      hang up 1 gracefully: 1000 "configuration changed"
      status: closing
    0.300s store fails 1
    0.400s closed 1 with 1000 ""
    0.400s due
      dial 2 to b, attempt 1
    end: next deadline 10.400s, 0 pending
    "#);
}
