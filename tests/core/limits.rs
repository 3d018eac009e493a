//! Every queue has a limit, and going over it is an answer, not an accident.

use std::time::Duration;

use insta::assert_snapshot;
use onesocket::core::{ConfigError, Connection, Options};

use crate::history::check;
use crate::script::{HELLO, connected, script};

#[test]
fn limits_max_queued_refuses_more() {
    let script = script().options(|options| options.max_queued = 2).requests(1..=3).cancel(1).requests(4..=5);
    assert_snapshot!(check(script), @r"
    0.000s request #1
    0.000s request #2
    0.000s request #3
      fail #3 (NotSent): too much is queued already: the limit is 2
    0.000s cancel #1
    0.000s request #4
    0.000s request #5
      fail #5 (NotSent): too much is queued already: the limit is 2
    0.000s due
      dial 1 to a, attempt 1
    end: next deadline 10.000s, 2 pending
    ");
}

#[test]
fn limits_max_in_flight_queues_more() {
    let script = script()
        .max_in_flight(2)
        .options(|options| options.max_queued = 1)
        .connect()
        .ready(1)
        .requests(1..=4)
        .at(10)
        .reply(1, 1, "{}")
        .request(5)
        .reply(1, 2, "{}");
    assert_snapshot!(check(script), @r"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
    0.000s handshake on 1
      status: ready 1
    0.000s request #1
      transmit on 1: #1
    0.000s request #2
      transmit on 1: #2
    0.000s request #3
    0.000s request #4
      fail #4 (NotSent): too much is queued already: the limit is 1
    0.010s answer to #1 on 1
      complete #1 over 1: {}
      transmit on 1: #3
    0.010s request #5
    0.010s answer to #2 on 1
      complete #2 over 1: {}
      transmit on 1: #5
    end: next deadline 30.000s, 2 pending
    ");
}

/// The transport says when a frame has left; until then no more than the window is given to it. The
/// frame of `connect` counts like any other.
#[test]
fn limits_max_unwritten_is_a_window() {
    let script = connected()
        .options(|options| options.max_unwritten = 2)
        .requests(1..=3)
        .at(10)
        .written(1, 1)
        .written(1, 2)
        .request(4)
        .at(20)
        .written(1, 99)
        .requests(5..=7);
    assert_snapshot!(check(script), @r"
    0.000s request #1
      transmit on 1: #1
    0.000s request #2
    0.000s request #3
    0.010s written 1 on 1
      transmit on 1: #2
    0.010s written 2 on 1
      transmit on 1: #3
    0.010s request #4
      transmit on 1: #4
    0.020s written 99 on 1
    0.020s request #5
      transmit on 1: #5
    0.020s request #6
      transmit on 1: #6
    0.020s request #7
    end: next deadline 30.000s, 7 pending
    ");
}

/// A request that timed out while its frame is still unwritten leaves its place in the window taken:
/// the transport still has the frame.
#[test]
fn limits_max_unwritten_outlives_a_request() {
    let script = connected()
        .options(|options| options.max_unwritten = 2)
        .request_for(1, Some(100))
        .at(200)
        .request(2)
        .at(300)
        .written(1, 1);
    assert_snapshot!(check(script), @r"
    0.000s request #1
      transmit on 1: #1
    0.100s due
      fail #1 (Unknown): no answer within 100ms
    0.200s request #2
    0.300s written 1 on 1
      transmit on 1: #2
    end: next deadline 30.200s, 1 pending
    ");
}

#[test]
fn limits_max_queued_bytes_refuses_more() {
    let script = script()
        .options(|options| options.max_queued_bytes = 100)
        .request_sized(1, 50)
        .request_sized(2, 50)
        .cancel(1)
        .request_sized(3, 50);
    assert_snapshot!(check(script), @r"
    0.000s request #1 with 50 bytes more
    0.000s request #2 with 50 bytes more
      fail #2 (NotSent): too much is queued already: the limit is 100
    0.000s cancel #1
    0.000s request #3 with 50 bytes more
    0.000s due
      dial 1 to a, attempt 1
    end: next deadline 10.000s, 1 pending
    ");
}

/// What can never be queued is not worth a retry, so it is not called an overload.
#[test]
fn limits_max_queued_bytes_a_request_larger_than_the_whole_queue_is_too_large() {
    let script = script().options(|options| options.max_queued_bytes = 100).request_sized(1, 100);
    assert_snapshot!(check(script), @r"
    0.000s request #1 with 100 bytes more
      fail #1 (NotSent): the request has 120 bytes and the limit is 100
    end: next deadline none, 0 pending
    ");
}

/// Protocol 1.7: the gateway would close the whole connection; so it is not sent at all.
#[test]
fn limits_a_request_larger_than_the_gateway_takes_is_not_sent() {
    let hello = HELLO.replace("26214400", "200");
    let script = script()
        .request_sized(1, 200)
        .request(2)
        .challenged(1)
        .hello(1, &hello)
        .request_sized(3, 200)
        .request(4);
    assert_snapshot!(check(script), @r#"
    0.000s request #1 with 200 bytes more
    0.000s request #2
    0.000s due
      dial 1 to a, attempt 1
    0.000s opened 1
      status: handshaking 1
    0.000s challenge on 1
      transmit on 1: connect {"token":"token-a"}
    0.000s hello on 1
      status: ready 1
      fail #1 (NotSent): the request has 274 bytes and the limit is 200
      transmit on 1: #2
    0.000s request #3 with 200 bytes more
      fail #3 (NotSent): the request has 274 bytes and the limit is 200
    0.000s request #4
      transmit on 1: #4
    end: next deadline 30.000s, 2 pending
    "#);
}

#[test]
fn limits_every_default_is_valid() {
    assert_eq!(Options::default().validate(), Ok(()));
}

#[test]
fn limits_options_that_make_no_sense_are_named() {
    type Change = fn(&mut Options);
    let changes: [Change; 25] = [
        |options| options.dial_timeout = Duration::ZERO,
        |options| options.challenge_timeout = Duration::ZERO,
        |options| options.hello_timeout = Duration::ZERO,
        |options| options.close_grace = Duration::ZERO,
        |options| options.request_timeout = Duration::ZERO,
        |options| options.default_tick_interval = Duration::ZERO,
        |options| options.dial_timeout = Duration::from_nanos(999),
        |options| options.close_grace = Duration::from_nanos(1),
        |options| options.max_in_flight = 0,
        |options| options.max_queued = 0,
        |options| options.max_queued_bytes = 0,
        |options| options.max_unwritten = 0,
        |options| options.max_message_bytes = 0,
        |options| options.max_pong_bytes = 0,
        |options| options.max_subscriptions = 0,
        |options| options.subscription_items = 3,
        |options| options.subscription_bytes = 0,
        |options| options.backoff.initial = Duration::ZERO,
        |options| options.backoff.initial = Duration::from_nanos(1),
        |options| options.backoff.cap = Duration::from_millis(999),
        |options| options.backoff.growth = 0.99,
        |options| options.backoff.growth = f64::NAN,
        |options| options.backoff.growth = f64::INFINITY,
        |options| options.backoff.jitter = -0.1,
        |options| options.backoff.jitter = f64::NAN,
    ];
    let mut errors = String::new();
    for change in changes {
        let mut options = Options::default();
        change(&mut options);
        let error = options.validate().expect_err("the option makes no sense");
        errors.push_str(&format!("{error}\n"));
        // A core is not made from what is not valid.
        assert_eq!(Connection::new(None, options, 0).map(|_| ()), Err(error));
    }
    assert_snapshot!(errors, @r"
    option dial_timeout must be at least a millisecond
    option challenge_timeout must be at least a millisecond
    option hello_timeout must be at least a millisecond
    option close_grace must be at least a millisecond
    option request_timeout must be at least a millisecond
    option default_tick_interval must be at least a millisecond
    option dial_timeout must be at least a millisecond
    option close_grace must be at least a millisecond
    option max_in_flight must be greater than zero
    option max_queued must be greater than zero
    option max_queued_bytes must be greater than zero
    option max_unwritten must be greater than zero
    option max_message_bytes must be greater than zero
    option max_pong_bytes must be greater than zero
    option max_subscriptions must be greater than zero
    option subscription_items must be at least 4
    option subscription_bytes must be greater than zero
    option backoff.initial must be at least a millisecond
    option backoff.initial must be at least a millisecond
    option backoff.cap must not be below backoff.initial
    option backoff.growth must be from 1 to 100
    option backoff.growth must be from 1 to 100
    option backoff.growth must be from 1 to 100
    option backoff.jitter must be from 0 to 1
    option backoff.jitter must be from 0 to 1
    ");
}

/// The longest and the shortest times that are valid work, also together.
#[test]
fn limits_extreme_options_work() {
    let longest = |options: &mut Options| {
        for time in [
            &mut options.dial_timeout,
            &mut options.challenge_timeout,
            &mut options.hello_timeout,
            &mut options.close_grace,
            &mut options.default_tick_interval,
            &mut options.backoff.initial,
            &mut options.backoff.cap,
            &mut options.backoff.stable_after,
            &mut options.backoff.retry_after_max,
        ] {
            *time = Duration::MAX;
        }
        options.backoff.growth = 100.0;
        options.backoff.jitter = 1.0;
    };
    assert_snapshot!(check(script().options(longest).connect().at(10).refused(1)), @r"
    0.000s connect
    0.000s due
      dial 1 to a, attempt 1
    0.010s dial 1 refused
      status: backoff after attempt 1 until 18446744073709.551s: dial failed: the connection was refused
    end: next deadline 18446744073709.551s, 0 pending
    ");

    let shortest = |options: &mut Options| {
        for time in [
            &mut options.dial_timeout,
            &mut options.challenge_timeout,
            &mut options.hello_timeout,
            &mut options.close_grace,
            &mut options.backoff.initial,
            &mut options.backoff.cap,
        ] {
            *time = Duration::from_millis(1);
        }
        options.backoff.jitter = 1.0;
    };
    let script = script().options(shortest).connect().until(20);
    assert!(check(script).contains("dial 5 to a"));
}

#[test]
fn limits_a_config_error_says_what_to_do() {
    let error = Options::default();
    let mut options = error;
    options.subscription_items = 0;
    assert!(matches!(options.validate(), Err(ConfigError::Option { name: "subscription_items", .. })));
}
