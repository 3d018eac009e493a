//! Whatever a peer sends, the gateway goes on serving the others, and keeps only so much of it.

use std::time::Duration;

use futures_util::SinkExt;
use onesocket_gateway::{GatewayConfig, ModelEvent, TerminateCause};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message as WsMessage;

use crate::rig::{LONG, Stand, UPGRADE, exchange};

/// Sends bytes, closes the stream's writing half and reads until the gateway has had enough.
async fn shout(address: std::net::SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The gateway may stop listening in the middle, which is its right.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = timeout(LONG, stream.read_to_end(&mut answer)).await.expect("it ends");
    assert!(answer.len() < 100_000);
}

#[tokio::test]
async fn garbage_harms_nobody() {
    let stand = Stand::new().await;
    let mut client = stand.client().await;
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    for round in 0..150 {
        let mut bytes = vec![0; (random.next_u64() % 3_000) as usize];
        random.fill_bytes(&mut bytes);
        // A third each: from the first byte on, after an upgrade, and in place of a control request.
        match round % 3 {
            0 => shout(stand.address, &bytes).await,
            1 => {
                // Most of a random text frame, so that some of it is read as one.
                let mut frame = UPGRADE.as_bytes().to_vec();
                frame.extend([0x81, 0xfe, (bytes.len() >> 8) as u8, bytes.len() as u8]);
                frame.extend(bytes);
                shout(stand.address, &frame).await;
            }
            _ => shout(stand.control, &bytes).await,
        }
    }
    assert_eq!(client.request("test.echo", &json!(1)).await["payload"], 1);
    stand.client().await;
}

/// Requests that stop at any byte, held open together, and one that never gets past its headers.
#[tokio::test]
async fn half_requests_are_held_open_without_harm() {
    let stand = Stand::new().await;
    let mut held = Vec::new();
    for length in 0..UPGRADE.len() {
        let mut stream = stand.dial().await.unwrap();
        stream.write_all(&UPGRADE.as_bytes()[..length]).await.unwrap();
        held.push(stream);
    }
    for _ in 0..8 {
        let mut stream = TcpStream::connect(stand.control).await.unwrap();
        stream.write_all(b"POST /__sim/stop HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf").await.unwrap();
        held.push(stream);
    }
    stand.client().await;
    assert_eq!(stand.post("status", "").await.0, 200);
    drop(held);
    stand.client().await;
}

#[tokio::test]
async fn endless_headers_are_cut_off() {
    let stand = Stand::new().await;
    let line = format!("X-Long: {}\r\n", "x".repeat(1_000));
    for address in [stand.address, stand.control] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let mut sent = 0_usize;
        // What is sent after the end is read for a second and thrown away.
        let cut = timeout(LONG, async {
            while stream.write_all(line.as_bytes()).await.is_ok() {
                sent += line.len();
            }
        });
        cut.await.expect("it is cut off");
        assert!(sent > 16_000);
    }
    stand.client().await;
}

/// A frame's header may claim anything, and its payload need not come.
#[tokio::test]
async fn frames_too_large_are_refused() {
    let stand = Stand::new().await;
    for (length, claimed) in [(0_usize, u64::MAX >> 1), (0, 1 << 40), (3_000_000, 30_000_000)] {
        let mut stream = stand.dial().await.unwrap();
        stream.write_all(UPGRADE.as_bytes()).await.unwrap();
        let mut frame = vec![0x82, 0xff];
        frame.extend(claimed.to_be_bytes());
        frame.extend([0; 4]);
        frame.resize(frame.len() + length, b'x');
        let _ = stream.write_all(&frame).await;
        let mut answer = Vec::new();
        timeout(LONG, stream.read_to_end(&mut answer)).await.expect("it ends").unwrap();
        assert_eq!(answer[answer.len() - 4..], [0x88, 2, 0x03, 0xf1], "a close frame with 1009");
    }
    // Fragments are one message, however small each is.
    let mut stream = stand.dial().await.unwrap();
    stream.write_all(UPGRADE.as_bytes()).await.unwrap();
    let mut fragment = vec![0x00, 0xfe, 0xff, 0xff, 0, 0, 0, 0];
    fragment.resize(fragment.len() + 0xffff, b'x');
    let mut first = fragment.clone();
    first[0] = 0x02;
    let _ = stream.write_all(&first).await;
    timeout(LONG, async { while stream.write_all(&fragment).await.is_ok() {} }).await.expect("it ends");
    assert_eq!(stand.log.received_bytes(), 0, "no such message is shown to the model");
    stand.client().await;
}

#[tokio::test]
async fn the_limits_after_hello_are_the_model_s() {
    let stand = Stand::new().await;
    let mut client = stand.client().await;
    let large = json!("x".repeat(10_000_000));
    assert_eq!(client.request("test.echo", &large).await["payload"], large);
    client.0.send(WsMessage::text(" ".repeat(26_214_401))).await.unwrap();
    assert_eq!(client.end().await, Some(1009));
}

/// A peer that asks and asks, and reads nothing, is dropped when its answers fill the buffer.
#[tokio::test]
async fn a_peer_that_never_reads_is_dropped() {
    let mut config = GatewayConfig::default();
    config.limits.buffered_bytes = 1_000_000;
    let stand = Stand::with(config).await;
    let mut client = stand.client().await;
    let request = json!({"type": "req", "id": "e", "method": "test.echo", "params": "x".repeat(100_000)});
    let request = WsMessage::text(request.to_string());
    let flood = async { while client.0.send(request.clone()).await.is_ok() {} };
    timeout(LONG, flood).await.expect("it is dropped");
    let slow = |note: &ModelEvent| {
        matches!(note, ModelEvent::Terminated { cause: TerminateCause::SlowConsumer, .. })
    };
    assert_eq!(stand.log.count(slow), 1);
    // The buffers of both ends of the socket hold some megabytes, whatever the gateway does.
    let received = stand.log.received_bytes();
    assert!(received < 30_000_000, "{received} bytes were taken");
}

/// Far more connections than there is room for: the rest are turned away, and those who leave make room.
#[tokio::test]
async fn many_connections_are_too_many_and_then_not() {
    let stand = Stand::new().await;
    let mut held = Vec::new();
    for _ in 0..40 {
        let mut stream = stand.dial().await.unwrap();
        stream.write_all(UPGRADE.as_bytes()).await.unwrap();
        held.push(stream);
    }
    stand
        .log
        .until(|notes| notes.iter().filter(|note| matches!(note, ModelEvent::Accepted { .. })).count() == 32)
        .await;
    let refused = exchange(stand.address, UPGRADE.as_bytes()).await.unwrap();
    assert!(refused.ends_with("Too many unauthenticated sockets"), "{refused}");
    for _ in 0..700 {
        // Some are reset before they are there.
        held.extend(stand.dial().await);
    }
    let turned_away = timeout(LONG, async {
        while !stand.event_log.lock().unwrap().iter().any(|line| line.contains("there are 512 already")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    turned_away.await.expect("there is a limit");
    drop(held);
    stand
        .log
        .until(|notes| {
            notes.iter().filter(|note| matches!(note, ModelEvent::Disconnected { .. })).count() == 32
        })
        .await;
    stand.client().await;
}

/// Places are free again when the time for a request is over.
#[tokio::test]
async fn clients_that_send_nothing_do_not_keep_others_out_for_long() {
    let mut config = GatewayConfig::default();
    config.timing.head_timeout = Duration::from_secs(1);
    let stand = Stand::with(config).await;
    let mut held = Vec::new();
    for _ in 0..600 {
        held.extend(stand.dial().await);
    }
    let served = timeout(LONG, async {
        while !is_upgraded(&stand).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    served.await.expect("a client that asks is served, while all others still hold their connections");
    assert!(held.len() > 512);
}

/// Whether a request is answered with an upgrade, and not with the end of the connection.
async fn is_upgraded(stand: &Stand) -> bool {
    let Ok(mut stream) = stand.dial().await else { return false };
    let mut answer = [0; 12];
    stream.write_all(UPGRADE.as_bytes()).await.is_ok()
        && stream.read_exact(&mut answer).await.is_ok()
        && answer == *b"HTTP/1.1 101"
}
