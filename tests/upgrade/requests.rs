//! What the request for an upgrade says.

use std::time::Duration;

use onesocket::Client;
use onesocket::core::{ConfigError, Headers, Options, Status};

use crate::rig::{Stubborn, config, first, first_status, refusal};

/// What a url becomes in the request, for networks that reach any host.
#[tokio::test(start_paused = true)]
async fn one_socket_the_request_names_target_and_host_as_http_wants_them() {
    for (url, target, host) in [
        ("ws://127.0.0.1:1", "/", "127.0.0.1:1"),
        ("ws://127.0.0.1:1?token=1", "/?token=1", "127.0.0.1:1"),
        ("ws://127.0.0.1:1?a=/b?c", "/?a=/b?c", "127.0.0.1:1"),
        ("ws://127.0.0.1:1/?", "/?", "127.0.0.1:1"),
        ("ws://127.0.0.1:1//x", "//x", "127.0.0.1:1"),
        ("ws://127.0.0.1:1/a/../b", "/a/../b", "127.0.0.1:1"),
        ("ws://127.0.0.1:1/a%2Fb%20c?d=%C3%A4", "/a%2Fb%20c?d=%C3%A4", "127.0.0.1:1"),
        ("ws://127.0.0.1:1/ä?ö=€", "/%C3%A4?%C3%B6=%E2%82%AC", "127.0.0.1:1"),
        ("ws://127.0.0.1:1/x#y", "/x", "127.0.0.1:1"),
        ("ws://127.0.0.1:1/x?y#z?w", "/x?y", "127.0.0.1:1"),
        ("ws://127.0.0.1:1#y", "/", "127.0.0.1:1"),
        ("ws://127.0.0.1", "/", "127.0.0.1:18789"),
        ("ws://127.0.0.1:80", "/", "127.0.0.1"),
        ("ws://127.0.0.1:443", "/", "127.0.0.1:443"),
        ("wss://gw.example", "/", "gw.example"),
        ("wss://gw.example:443/ws", "/ws", "gw.example"),
        ("wss://gw.example:80", "/", "gw.example:80"),
        ("wss://gw.example:18789", "/", "gw.example:18789"),
        ("https://GW.example", "/", "gw.example"),
        ("ws://[::1]:80", "/", "[::1]"),
        ("ws://[::1]:1", "/", "[::1]:1"),
        ("wss://[2001:db8::1]", "/", "[2001:db8::1]"),
    ] {
        let network = Stubborn::new(refusal("503 No", "", ""));
        first_status(&network, config(url), Options::default()).await;
        let requests = network.requests.lock().unwrap();
        let expected = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\n");
        assert!(requests[0].starts_with(&expected), "{url}: {}", requests[0]);
    }
    assert_eq!(config("ws://127.0.0.1:1?a"), config("ws://127.0.0.1:1/?a"), "they ask for the same");
    assert_eq!(config("ws://127.0.0.1:1/ä"), config("ws://127.0.0.1:1/%C3%A4"), "they ask for the same");
}

/// A native client sends no origin, or it would be taken for a browser (protocol 18.4); and a request that
/// proxies may log carries no secret that was not meant for them.
#[tokio::test(start_paused = true)]
async fn right_credential_the_upgrade_names_no_origin_and_no_secret() {
    let network = Stubborn::new(refusal("503 No", "", ""));
    first(&network).await;
    let requests = network.requests.lock().unwrap();
    let request = requests.first().expect("there was one");
    assert!(request.starts_with("GET /path?query=1 HTTP/1.1\r\n"), "{request}");
    let lower = request.to_ascii_lowercase();
    for unwanted in ["\r\norigin:", "\r\nauthorization:", "\r\ncookie:", "secret", "sec-websocket-protocol"] {
        assert!(!lower.contains(unwanted), "{request}");
    }
}

#[tokio::test(start_paused = true)]
async fn right_credential_headers_of_the_app_go_with_the_upgrade_and_nowhere_else() {
    let basic = "Basic b3BlbjpzZXNhbWU=";
    let echo = format!("you sent {basic} and b3BlbjpzZXNhbWU= for s3cret-query");
    let headers = format!("Location: https://login.example/?from=s3cret-query\r\nX: {basic}\r\n");
    let network = Stubborn::new(refusal("401 Unauthorized", &headers, &echo));
    let config = config("ws://127.0.0.1:1/ws?key=s3cret-query")
        .header("Authorization", basic)
        .and_then(|config| config.header("X-Team", "blue"))
        .and_then(|config| config.header("x-team", "Grün"))
        .expect("they may be sent within this machine");
    assert!(!format!("{config:?}").contains("b3Bl"), "{config:?}");
    let (status, _) = first_status(&network, config, Options::default()).await;
    let shown = format!("{status:?}");
    assert!(!shown.contains("b3Bl") && !shown.contains("s3cret-query"), "{shown}");
    assert!(shown.contains("you sent [redacted] and [redacted] for [redacted]"), "{shown}");
    let requests = network.requests.lock().unwrap();
    let tail = format!("\r\nAuthorization: {basic}\r\nX-Team: blue\r\nx-team: Grün\r\n\r\n");
    assert!(requests[0].ends_with(&tail), "{}", requests[0]);
}

#[test]
fn right_credential_headers_do_not_cross_a_network_in_the_clear() {
    for url in ["ws://127.0.0.1:1", "ws://localhost:1", "ws://[::1]:1", "wss://gw.example"] {
        assert!(config(url).header("X-A", "1").is_ok(), "{url}");
    }
    for url in ["ws://192.168.1.2:1", "ws://gateway.local", "ws://10.0.0.1", "ws://box.ts.net"] {
        assert_eq!(config(url).header("X-A", "1"), Err(ConfigError::HeadersInTheClear), "{url}");
        assert!(config(url).headers(Headers::new()).is_ok(), "{url}: there is nothing to send");
    }
    let error = config("wss://gw.example").header("Host", "other").expect_err("it is ours");
    assert!(error.to_string().contains("\"Host\""), "{error}");
}

/// A change of the headers is a change of the config.
#[tokio::test(start_paused = true)]
async fn one_reconnect_per_change_new_headers_are_tried_at_once() {
    let network = Stubborn::new(refusal("403 Forbidden", "", ""));
    let before = config("ws://127.0.0.1:1").header("X-Key", "old").expect("it may be sent");
    let client = Client::builder().config(before).seed(7).spawn(network.clone()).unwrap();
    let mut statuses = client.watch_status();
    client.connect();
    statuses.wait_for(|status| matches!(status, Status::Paused(_))).await.expect("it runs");
    let same = config("ws://127.0.0.1:1").header("x-key", "old").expect("it may be sent");
    client.configure(Some(same)).await.expect("it runs");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(network.requests.lock().unwrap().len(), 1, "the same headers change nothing");
    let after = config("ws://127.0.0.1:1").header("X-Key", "new").expect("it may be sent");
    client.configure(Some(after)).await.expect("it runs");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let requests = network.requests.lock().unwrap();
    assert!(requests.len() == 2 && requests[1].contains("X-Key: new\r\n"), "{requests:?}");
}
