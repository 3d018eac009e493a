//! Words, over HTTP and by plan.

use std::io::ErrorKind;
use std::time::Duration;

use onesocket_gateway::{GatewayConfig, ModelEvent};
use onesocket_sim::plan::Plan;
use onesocket_sim::standin::command::{Command, WordError};
use onesocket_sim::standin::{EventLog, play};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::rig::{LONG, Stand, UPGRADE, exchange};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[tokio::test]
async fn a_client_is_served() {
    let stand = Stand::new().await;
    let mut client = stand.client().await;
    let echo = client.request("test.echo", &json!({"n": 1})).await;
    assert_eq!(echo["payload"], json!({"n": 1}));
    let health = stand.get("/healthz").await;
    assert!(health.ends_with("\r\n\r\n{\"ok\":true,\"status\":\"live\"}"), "{health}");
    let ready = stand.get("/readyz").await;
    assert!(
        ready.starts_with("HTTP/1.1 200 ") && ready.contains(r#"{"ready":true,"failing":[],"#),
        "{ready}"
    );
    let (status, text) = stand.post("status", "").await;
    let text: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &text["admission"], &text["established"]), (200, &json!("open"), &json!(1)));
}

/// 503 while the gateway drains, ECONNREFUSED while it is down, and then a new boot on the same port.
#[tokio::test]
async fn a_restart_closes_the_port() {
    let mut config = GatewayConfig::default();
    config.timing.drain = ms(300);
    let stand = Stand::with(config).await;
    let mut client = stand.client().await;
    assert_eq!(stand.post("restart", "400").await, (200, "ok".to_owned()));
    let drained = exchange(stand.address, UPGRADE.as_bytes()).await.unwrap();
    assert!(drained.starts_with("HTTP/1.1 503 "), "{drained}");
    assert!(drained.ends_with("Gateway websocket admission closed"), "{drained}");
    let ready = stand.get("/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503 ") && ready.contains("gateway-draining"), "{ready}");
    let shutdown = client.frame(|frame| frame["event"] == "shutdown").await;
    assert_eq!(shutdown["payload"]["reason"], "gateway restarting");
    assert_eq!(client.end().await, Some(1012));

    stand.log.until(|notes| notes.contains(&ModelEvent::Stopped { boot: 1, crashed: false })).await;
    // The note is written a moment before the port is closed.
    let refused = timeout(LONG, async {
        loop {
            match stand.dial().await {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => break,
                Ok(_) | Err(_) => tokio::task::yield_now().await,
            }
        }
    });
    refused.await.expect("the port is closed");
    assert_eq!(stand.post("status", "").await.0, 200, "the control port stays");
    stand.log.until(|notes| notes.contains(&ModelEvent::Booted { boot: 2 })).await;
    let again = timeout(LONG, async {
        while stand.dial().await.is_err() {
            tokio::task::yield_now().await;
        }
    });
    again.await.expect("the port is open again");
    stand.client().await;
}

#[tokio::test]
async fn a_stopped_gateway_can_be_started() {
    let stand = Stand::new().await;
    assert_eq!(stand.post("stop", "").await.0, 200);
    stand.log.until(|notes| notes.contains(&ModelEvent::Stopped { boot: 1, crashed: false })).await;
    assert_eq!(stand.post("start", "").await.0, 200);
    stand.log.until(|notes| notes.contains(&ModelEvent::Booted { boot: 2 })).await;
    timeout(LONG, async { while stand.dial().await.is_err() {} }).await.expect("it listens");
    stand.client().await;
}

#[tokio::test]
async fn a_crash_says_nothing() {
    let stand = Stand::new().await;
    let mut client = stand.client().await;
    stand.post("crash", "1").await;
    assert_eq!(client.end().await, None);
}

#[tokio::test]
async fn a_new_token_ends_what_used_the_old_one() {
    let mut config = GatewayConfig::default();
    config.timing.auth_change_delay = ms(20);
    let stand = Stand::with(config).await;
    let mut client = stand.client().await;
    assert_eq!(stand.post("token", "another").await.0, 200);
    assert_eq!(client.end().await, Some(4001));
    let refused = stand.stranger().await.connect("test-token").await;
    assert_eq!(refused["error"]["details"]["code"], "AUTH_TOKEN_MISMATCH");
    stand.client_with("another").await;
    let event_log = stand.event_log.lock().unwrap().join("\n");
    assert!(event_log.contains("control: a new token") && !event_log.contains("another"), "{event_log}");
}

#[tokio::test]
async fn connections_are_kicked_and_dropped() {
    let stand = Stand::new().await;
    for (word, body, code) in
        [("kick", "", Some(1001)), ("kick", "4009 out with you", Some(4009)), ("drop", "", None)]
    {
        let mut client = stand.client().await;
        assert_eq!(stand.post(word, body).await.0, 200);
        assert_eq!(client.end().await, code, "{word} {body}");
    }
}

#[tokio::test]
async fn events_are_emitted_and_lost() {
    let mut config = GatewayConfig::default();
    // No other event comes in between.
    (config.timing.boot_refresh_delay, config.timing.health_refresh_delay) = (LONG, LONG);
    let stand = Stand::with(config).await;
    let mut client = stand.client().await;
    stand.post("drop-next-event", "").await;
    stand.post("emit", "update.available {\"n\":1}").await;
    stand.post("order", r#"{"emit":{"event":"update.available","payload":"{\"n\":2}"}}"#).await;
    let event = client.frame(|frame| frame["event"] == "update.available").await;
    assert_eq!(event["payload"], json!({"n": 2}));
    assert_eq!(event["seq"], json!(2), "the first number is missing");
}

#[tokio::test]
async fn a_stalled_gateway_answers_late() {
    let stand = Stand::new().await;
    let mut client = stand.client().await;
    stand.post("stall", "86400000").await;
    let reply = async { client.request("test.echo", &json!(1)).await };
    let released = async {
        let health = tokio::spawn(exchange(stand.address, b"GET /health HTTP/1.1\r\n\r\n"));
        // Loopback takes microseconds; what is not answered by now is not being answered.
        tokio::time::sleep(ms(100)).await;
        assert!(!health.is_finished());
        let status: Value = serde_json::from_str(&stand.post("status", "").await.1).unwrap();
        assert_eq!(status["stalled"], json!(true));
        stand.post("stall", "0").await;
        assert!(health.await.unwrap().unwrap().starts_with("HTTP/1.1 200 "));
    };
    let (reply, ()) = tokio::join!(reply, released);
    assert_eq!(reply["payload"], json!(1));
    let since = Instant::now();
    stand.post("stall", "150").await;
    client.request("test.echo", &json!(2)).await;
    assert!(since.elapsed() >= ms(150));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_in_one_line() {
    let stand = Stand::new().await;
    for (word, body, status, part) in [
        ("nope", "", 404, "there is no \"nope\""),
        ("restart", "soon", 400, "restart [MS]: MS is a whole number"),
        ("restart", "999999999999", 400, "which is a day"),
        ("stop", "now", 400, "it takes nothing"),
        ("token", "", 400, "TOKEN is missing"),
        ("kick", "1006", 400, "CODE is a close code"),
        ("kick", "70000", 400, "CODE is a close code"),
        ("emit", "", 400, "EVENT is missing"),
        ("emit", "tick {", 400, "the payload is no JSON"),
        ("order", "{\"restart\":1}", 400, "this is no order"),
        ("quit", "", 403, "only the prompt"),
    ] {
        let (code, text) = stand.post(word, body).await;
        assert_eq!((code, text.contains(part), text.lines().count()), (status, true, 1), "{word}: {text}");
    }
    let browser = b"POST /__sim/stop HTTP/1.1\r\nOrigin: http://evil.test\r\n\r\n";
    for (request, status) in [
        (&browser[..], "403"),
        (b"GET /__sim/stop HTTP/1.1\r\n\r\n", "405"),
        (b"GET /__sim/status HTTP/1.1\r\n\r\n", "200"),
        (b"GET / HTTP/1.1\r\n\r\n", "404"),
        (b"nonsense\r\n\r\n", "400"),
        (b"POST /__sim/stop HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "400"),
        (b"POST /__sim/stop HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", "413"),
        (b"POST /__sim/stop HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "411"),
        (b"POST /__sim/stop HTTP/1.1\r\nContent-Length: 1\r\n\r\n\xff", "400"),
    ] {
        let reply = exchange(stand.control, request).await.unwrap();
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{reply}");
    }
    assert_eq!(stand.steering.status().boot, 1);
}

#[test]
fn words_are_read_as_they_are_written() {
    let restart = Command::parse("  restart   250 ").unwrap();
    let same = Command::parse(r#"order {"restart":{"mode":"graceful","down":250}}"#).unwrap();
    assert_eq!(restart, same);
    assert_eq!(Command::parse("stall"), Ok(Command::Stall(Duration::from_secs(10))));
    assert_eq!(Command::parse("help"), Ok(Command::Help));
    assert!(matches!(Command::parse(""), Err(WordError::Unknown(_))));
    let long = "x".repeat(1_000_000);
    assert!(Command::parse(&long).unwrap_err().to_string().len() < 200);
}

/// The steps for gateway 0 are carried out, and only those.
#[tokio::test]
async fn a_plan_is_played() {
    let text = r#"
        version = 1
        seed = 1
        [params]
        [[steps]]
        at_ms = 1
        do = "connect"
        [[steps]]
        at_ms = 1
        do = "emit"
        gateway = 0
        event = "update.available"
        [[steps]]
        at_ms = 2
        do = "restart"
        gateway = 1
        down_ms = 5
        crash = true
        [[steps]]
        at_ms = 30
        do = "close"
        gateway = 0
        code = 4005
        reason = "as planned"
        [[steps]]
        at_ms = 40
        do = "restart"
        gateway = 0
        down_ms = 10
        crash = true
    "#;
    let plan = Plan::parse(text).unwrap();
    let stand = Stand::new().await;
    let mut client = stand.client().await;
    let silent = EventLog::silent();
    let ((), code) = tokio::join!(play(&plan, &stand.steering, &silent), client.end());
    assert_eq!(code, Some(4005));
    stand.log.until(|notes| notes.contains(&ModelEvent::Booted { boot: 2 })).await;
    let emitted = |note: &ModelEvent| matches!(note, ModelEvent::EventSent { event, .. } if event == "update.available");
    assert_eq!(stand.log.count(emitted), 1);
    assert_eq!(stand.log.count(|note| matches!(note, ModelEvent::Booted { .. })), 1);
}
