//! `stop_is_final`: after a shutdown there is no dial, no frame and no timer.

use insta::assert_snapshot;

use crate::history::check;
use crate::script::{Script, connected, script, subscribed, subscribed_early};

#[test]
fn stop_is_final_shutdown_when_nothing_was_wanted() {
    assert_snapshot!(check(script().shut_down()), @r"
    0.000s shut down
      status: stopped
      stopped
    end: next deadline none, 0 pending
    ");
}

/// B16, B17: there is no socket between two attempts, and the retry must die all the same.
#[test]
fn stop_is_final_shutdown_in_backoff_leaves_no_deadline() {
    let script = connected().at(100).lost(1).at(200).shut_down().until(60_000);
    assert_snapshot!(check(script), @r"
    0.100s lost 1
      status: backoff after attempt 1 until 1.100s: the connection was lost: reset
    0.200s shut down
      status: stopped
      stopped
    end: next deadline none, 0 pending
    ");
}

#[test]
fn stop_is_final_shutdown_while_dialing_drops_the_dial_at_once() {
    let script = script().connect().request(1).at(100).shut_down().opened(1).until(60_000);
    assert_snapshot!(check(script), @r#"
    0.000s connect
    0.000s request #1
    0.000s due
      dial 1 to a, attempt 1
    0.100s shut down
      fail #1 (NotSent): the client was shut down
      hang up 1 now: 1000 "client shut down"
      status: stopped
      stopped
    0.100s opened 1
    end: next deadline none, 0 pending
    "#);
}

/// A02: the handshake's deadlines die with the handshake, and no `connect` goes out any more.
#[test]
fn stop_is_final_shutdown_while_waiting_for_the_challenge() {
    let script = script().connect().opened(1).at(100).shut_down().challenge(1).until(60_000);
    assert_snapshot!(check(script), @r#"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
    0.000s opened 1
      status: handshaking 1
    0.100s shut down
      hang up 1 gracefully: 1000 "client shut down"
      status: closing
    0.100s challenge on 1
    0.600s due
      hang up 1 now: 1000 "close timeout"
      status: stopped
      stopped
    end: next deadline none, 0 pending
    "#);
}

/// B20: a hello that was on its way when the shutdown came is not announced.
#[test]
fn stop_is_final_hello_after_shutdown_is_not_announced() {
    let script = subscribed_early().at(100).shut_down().greeted(1).event(1, "chat", 1).closed_cleanly(1);
    assert_snapshot!(check(script), @r#"
    0.100s shut down
      hang up 1 gracefully: 1000 "client shut down"
      status: closing
    0.100s hello on 1
    0.100s event chat 1 on 1
    0.100s closed 1 with 1000 ""
      status: stopped
      to 1: closed
      stopped
    end: next deadline none, 0 pending
    "#);
}

#[test]
fn stop_is_final_shutdown_when_ready_waits_for_the_close_answer() {
    let script = subscribed().request(1).at(100).shut_down().at(130).closed_cleanly(1);
    assert_snapshot!(check(script), @r#"
    0.000s request #1
      transmit on 1: #1
    0.100s shut down
      fail #1 (Unknown): the client was shut down
      hang up 1 gracefully: 1000 "client shut down"
      status, also to 1: closing
    0.130s closed 1 with 1000 ""
      status, also to 1: stopped
      to 1: closed
      stopped
    end: next deadline none, 0 pending
    "#);
}

/// A04: the peer may be gone; the grace bounds the wait.
#[test]
fn stop_is_final_shutdown_against_a_silent_peer_ends_after_the_grace() {
    let script = connected().at(100).shut_down().until(60_000);
    assert_snapshot!(check(script), @r#"
    0.100s shut down
      hang up 1 gracefully: 1000 "client shut down"
      status: closing
    0.600s due
      hang up 1 now: 1000 "close timeout"
      status: stopped
      stopped
    end: next deadline none, 0 pending
    "#);
}

#[test]
fn stop_is_final_shutdown_during_a_config_change_does_not_dial_the_new_config() {
    let script =
        connected().at(100).configure("b").at(200).shut_down().configure("c").at(300).closed_cleanly(1);
    assert_snapshot!(check(script), @r#"
    0.100s configure b
      hang up 1 gracefully: 1000 "configuration changed"
      status: closing
    0.200s shut down
    0.200s configure c
    0.300s closed 1 with 1000 ""
      status: stopped
      stopped
    end: next deadline none, 0 pending
    "#);
}

#[test]
fn stop_is_final_shutdown_when_paused() {
    let script =
        subscribed_early().refuse_with(1, "AUTH_TOKEN_MISMATCH").at(100).shut_down().resume().until(60_000);
    assert_snapshot!(check(script), @r#"
    0.000s refusal {"code":"INVALID_REQUEST","message":"no","details":{"code":"AUTH_TOKEN_MISMATCH"}} on 1
      hang up 1 now: 1008 "connect failed"
      status: paused: the gateway refused the credentials (INVALID_REQUEST: no): configure others, or resume once the gateway takes these
    0.100s shut down
      status: stopped
      to 1: closed
      stopped
    0.100s resume
    end: next deadline none, 0 pending
    "#);
}

/// A03: asking twice is asking once, before and after the end.
#[test]
fn stop_is_final_a_second_shutdown_does_nothing() {
    let script = connected().at(100).shut_down().shut_down().at(120).closed_cleanly(1).shut_down();
    assert_snapshot!(check(script), @r#"
    0.100s shut down
      hang up 1 gracefully: 1000 "client shut down"
      status: closing
    0.100s shut down
    0.120s closed 1 with 1000 ""
      status: stopped
      stopped
    0.120s shut down
    end: next deadline none, 0 pending
    "#);
}

/// Nothing that can be asked of a stopped core makes it dial or wait.
#[test]
fn stop_is_final_commands_after_the_end_are_answered_and_change_nothing() {
    let script = everything_after_the_end(script().connect().shut_down().at(100)).until(600_000);
    assert_snapshot!(check(script), @r"
    0.000s connect
    0.000s shut down
      status: stopped
      stopped
    0.100s connect
    0.100s wake
    0.100s resume
    0.100s configure b
    0.100s configure nothing
    0.100s request #1
      fail #1 (NotSent): the client was shut down
    0.100s cancel #1
    0.100s subscribe 1
      to 1: closed
    0.100s unsubscribe 1
    0.100s opened 1
    0.100s lost 1
    end: next deadline none, 0 pending
    ");
}

/// B41, second half: a request that races the shutdown fails with that reason, and is never sent.
#[test]
fn stop_is_final_requests_while_closing_fail_at_once() {
    let script = connected().at(100).shut_down().request(1).at(200).closed_cleanly(1);
    assert_snapshot!(check(script), @r#"
    0.100s shut down
      hang up 1 gracefully: 1000 "client shut down"
      status: closing
    0.100s request #1
      fail #1 (NotSent): the client was shut down
    0.200s closed 1 with 1000 ""
      status: stopped
      stopped
    end: next deadline none, 0 pending
    "#);
}

fn everything_after_the_end(script: Script) -> Script {
    script
        .connect()
        .wake()
        .resume()
        .configure("b")
        .configure_none()
        .request(1)
        .cancel(1)
        .subscribe(1)
        .unsubscribe(1)
        .opened(1)
        .lost(1)
}
