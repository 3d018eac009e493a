//! Upgrades that are refused over HTTP.

use std::time::Duration;

use onesocket::Client;
use onesocket::core::{
    ConnectionError, DialError, Initiator, Options, PauseReason, Status, UpgradeRefusal, UpgradeRemedy,
};

use crate::rig::{Stubborn, config, dial_error, first_status, paused, refusal, refused, retried};

#[tokio::test(start_paused = true)]
async fn no_wedge_a_refused_upgrade_says_why_and_is_retried() {
    let network = Stubborn::new(refusal("503 Service Unavailable", "", "Gateway websocket admission closed"));
    let error = retried(&network).await;
    let DialError::Upgrade(refusal) = &error else { panic!("{error}") };
    let mut expected = UpgradeRefusal::new(503);
    expected.reason = "Service Unavailable".into();
    expected.body = "Gateway websocket admission closed".into();
    assert_eq!(**refusal, expected);
    let error = ConnectionError::Dial(error);
    assert_eq!(
        error.to_string(),
        "dial failed: the upgrade was answered with HTTP 503 Service Unavailable: Gateway websocket admission closed"
    );
    assert_eq!(error.initiator(), Initiator::Gateway);
    assert_eq!(error.close_code(), None, "there was no websocket to close");

    let client = Client::builder().config(config("ws://127.0.0.1:1")).seed(7).spawn(network.clone()).unwrap();
    client.connect();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let tries = network.requests.lock().unwrap().len();
    assert!((15..30).contains(&tries), "{tries} tries in ten minutes: no storm and no wedge");
}

/// Whatever the status is for, the text says what to do about it.
#[tokio::test(start_paused = true)]
async fn no_storm_an_upgrade_that_cannot_mend_itself_pauses_and_says_what_to_do() {
    let basic = "WWW-Authenticate: Basic realm=\"edge\"\r\n";
    for (status, headers, body, remedy, advice) in [
        ("200 OK", "", "<html>hi</html>", UpgradeRemedy::Endpoint, "opens no websocket"),
        (
            "301 Moved Permanently",
            "Location: https://gw2.example/ws\r\n",
            "",
            UpgradeRemedy::Redirect,
            "https://gw2.example/ws",
        ),
        ("302 Found", "Location: /login\r\n", "", UpgradeRemedy::Redirect, "/login"),
        (
            "307 Temporary Redirect",
            "Location: wss://b\r\n",
            "",
            UpgradeRemedy::Redirect,
            "configure that endpoint",
        ),
        ("308 Permanent Redirect", "", "", UpgradeRemedy::Redirect, "names no place"),
        ("400 Bad Request", "", "no", UpgradeRemedy::Endpoint, "configure another endpoint"),
        (
            "400 Bad Request",
            "",
            "<center>The plain HTTP request was sent to HTTPS port</center>",
            UpgradeRemedy::Tls,
            "use wss://",
        ),
        ("401 Unauthorized", basic, "", UpgradeRemedy::Credentials, "Basic realm=\"edge\""),
        ("403 Forbidden", "", "blocked", UpgradeRemedy::Credentials, "configure the headers"),
        ("404 Not Found", "", "", UpgradeRemedy::Endpoint, "no gateway at this path"),
        ("405 Method Not Allowed", "", "", UpgradeRemedy::Endpoint, "no gateway at this path"),
        (
            "407 Proxy Authentication Required",
            "Proxy-Authenticate: Basic\r\n",
            "",
            UpgradeRemedy::Credentials,
            "Proxy-Authorization",
        ),
        ("410 Gone", "", "", UpgradeRemedy::Endpoint, "no gateway at this path"),
        ("426 Upgrade Required", "", "", UpgradeRemedy::Endpoint, "drops the Upgrade header"),
    ] {
        let network = Stubborn::new(refusal(status, headers, body));
        let reason = paused(&network).await;
        let PauseReason::Upgrade(refusal) = &reason else { panic!("{status}: {reason}") };
        assert_eq!(refusal.remedy(), remedy, "{status}");
        let text = reason.to_string();
        assert!(text.contains(&status[..3]) && text.contains(advice), "{text}");
        assert!(!text.contains('\n'), "{text}");
        assert_eq!(network.requests.lock().unwrap().len(), 1, "{status}");
    }
}

/// An old or sloppy server refuses in ways of its own.
#[tokio::test(start_paused = true)]
async fn no_wedge_a_refusal_is_read_however_it_is_written() {
    for answer in [
        "HTTP/1.0 502 Bad Gateway\r\n\r\nwhy",
        "HTTP/1.1 502 Bad Gateway\nX: y\n\nwhy",
        "\r\n\r\nHTTP/1.1 502 Bad Gateway\r\n\r\nwhy",
        "HTTP/1.1 502\r\n\r\nwhy",
        "HTTP/1.1 502 B\x1b[1md G\u{e4}teway\r\n\r\nwhy",
        "HTTP/1.1 502 Bad Gateway\r\nno header\r\nBad Name: x\r\n\r\nwhy",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nwhy and more",
        "HTTP/1.1 502 Bad Gateway\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nw\r\n2;x\r\nhy\r\n0\r\n\r\n",
    ] {
        for piece in [usize::MAX, 1, 7] {
            let network = Stubborn::new(answer).in_pieces(piece, Duration::from_millis(1)).that_ends();
            let refusal = refused(&network).await;
            assert_eq!(
                (refusal.status, refusal.body.as_str()),
                (502, "why"),
                "{answer:?} in pieces of {piece}"
            );
        }
    }
}

/// Whatever answers there (a proxy, a portal) may have much to say, and may never finish saying it.
#[tokio::test(start_paused = true)]
async fn no_wedge_the_body_of_a_refusal_is_cut_and_not_waited_for() {
    let options = Options::default;
    let long =
        Stubborn::new(refusal("502 Bad Gateway", "", &"x".repeat(10_000))).in_pieces(1_000, Duration::ZERO);
    let (status, taken) = first_status(&long, config("ws://127.0.0.1:1"), options()).await;
    let Status::Backoff { cause, .. } = status else { panic!("{status:?}") };
    let DialError::Upgrade(refusal) = dial_error(&cause) else { panic!("{cause}") };
    assert_eq!(refusal.body.len(), 2_048, "the first 2 KiB, whatever segments they come in");
    assert!(taken < Duration::from_millis(100), "{taken:?}");

    let stalled = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 10000\r\n\r\nbegun";
    let stalled = Stubborn::new(stalled).in_pieces(50, Duration::from_millis(300));
    let (status, taken) = first_status(&stalled, config("ws://127.0.0.1:1"), options()).await;
    let Status::Backoff { cause, .. } = status else { panic!("{status:?}") };
    let DialError::Upgrade(refusal) = dial_error(&cause) else { panic!("{cause}") };
    assert_eq!(refusal.body.as_str(), "begun");
    assert!(taken < Duration::from_millis(1_500), "{taken:?}");
}

/// The time for a dial ends while the body of a refusal is awaited.
#[tokio::test(start_paused = true)]
async fn no_wedge_a_late_refusal_is_told_before_the_time_is_up() {
    let answer = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 9\r\n\r\nbegun";
    let mut network = Stubborn::new(answer).in_pieces(1, Duration::from_millis(100));
    network.pause = Options::default().dial_timeout.div_f64(answer.len() as f64);
    let (status, taken) = first_status(&network, config("ws://127.0.0.1:1"), Options::default()).await;
    let Status::Paused(reason) = status else { panic!("{status:?}") };
    let PauseReason::Upgrade(refusal) = &*reason else { panic!("{reason}") };
    assert_eq!(refusal.status, 401);
    assert!(taken < Options::default().dial_timeout, "{taken:?}");
}

/// The date is the server's own: what our clock says does not matter.
#[tokio::test(start_paused = true)]
async fn no_storm_retry_after_is_a_floor_as_the_gateways_own_hint_is() {
    let date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    for (status, headers, seconds) in [
        ("429 Too Many Requests", "Retry-After: 60\r\n".to_owned(), Some(60)),
        ("503 Service Unavailable", "retry-after:\t60 \r\n".to_owned(), Some(60)),
        (
            "503 Service Unavailable",
            format!("{date}Retry-After: Sun, 06 Nov 1994 08:51:07 GMT\r\n"),
            Some(90),
        ),
        (
            "503 Service Unavailable",
            format!("{date}Retry-After: Sunday, 06-Nov-94 08:51:07 GMT\r\n"),
            Some(90),
        ),
        ("503 Service Unavailable", format!("{date}Retry-After: Sun Nov  6 08:51:07 1994\r\n"), Some(90)),
        ("503 Service Unavailable", format!("{date}Retry-After: Sun, 06 Nov 1994 08:00:00 GMT\r\n"), Some(0)),
        ("503 Service Unavailable", "Retry-After: Sun, 06 Nov 1994 08:00:00 GMT\r\n".to_owned(), Some(0)),
        ("403 Forbidden", "Retry-After: 60\r\n".to_owned(), Some(60)),
        ("302 Found", "Retry-After: 60\r\nLocation: /\r\n".to_owned(), Some(60)),
        ("503 Service Unavailable", "Retry-After: 99999999999999999999999\r\n".to_owned(), Some(u64::MAX)),
        ("503 Service Unavailable", "Retry-After: -5\r\n".to_owned(), None),
        ("503 Service Unavailable", "Retry-After: soon\r\n".to_owned(), None),
        ("503 Service Unavailable", "Retry-After:\r\n".to_owned(), None),
    ] {
        let network = Stubborn::new(refusal(status, &headers, ""));
        let refusal = refused(&network).await;
        assert_eq!(refusal.retry_after, seconds.map(Duration::from_secs), "{headers:?}");
        let told = seconds.map(|seconds| format!("asked again after {seconds} s"));
        assert!(told.is_none_or(|told| refusal.to_string().contains(&told)), "{refusal}");

        let client =
            Client::builder().config(config("ws://127.0.0.1:1")).seed(7).spawn(network.clone()).unwrap();
        client.connect();
        tokio::time::sleep(Duration::from_secs(1_000)).await;
        client.shutdown().await;
        let dialed = network.dialed.lock().unwrap();
        let waited = (dialed[2] - dialed[1]).as_secs_f64();
        let backoff = Options::default().backoff;
        let floor = Duration::from_secs(seconds.unwrap_or(0)).min(backoff.retry_after_max).as_secs_f64();
        assert!(waited >= floor.max(1.0), "{headers:?}: {waited} s");
        assert!(
            waited <= (floor + 30.0).min(floor.max(1.0) * (1.0 + backoff.jitter)),
            "{headers:?}: {waited} s"
        );
    }
}
