//! Messages that take their time, and peers that are asked whether they live, over a byte stream.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use onesocket::Client;
use onesocket::core::{Config, ConnectionError, Delivery, Endpoint, Options, RequestErrorKind, Status};
use onesocket::network::Network;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Bytes, Message};

/// Half of the silence that a peer is granted.
const TICK: Duration = Duration::from_secs(2);
const SILENCE: Duration = Duration::from_secs(4);

/// Hands out the client's end of one stream, and then none: a second dial finds nobody.
struct OneStream(Mutex<Option<DuplexStream>>);

impl Network for OneStream {
    type Stream = DuplexStream;

    async fn connect(&self, _: &Endpoint) -> io::Result<DuplexStream> {
        self.0.lock().unwrap().take().ok_or(io::ErrorKind::ConnectionRefused.into())
    }
}

/// A client, and the gateway's end of its connection, which is ready.
async fn connected(options: Options) -> (Client, WebSocketStream<DuplexStream>) {
    let (near, far) = duplex(64 * 1024);
    let config = Config::new("ws://127.0.0.1:1").unwrap();
    let network = OneStream(Mutex::new(Some(near)));
    let client = Client::builder().config(config).options(options).seed(7).spawn(network).unwrap();
    client.connect();
    let mut gateway = tokio_tungstenite::accept_async(far).await.expect("the client asks for an upgrade");
    let challenge = json!({"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}});
    gateway.send(Message::text(challenge.to_string())).await.unwrap();
    let connect = request(&mut gateway).await;
    let tick_ms = u64::try_from(TICK.as_millis()).unwrap();
    let hello = json!({
        "type": "hello-ok",
        "protocol": 4,
        "server": { "version": "v", "connId": "c" },
        "features": { "methods": [], "events": [] },
        "snapshot": { "presence": [], "health": {}, "stateVersion": { "presence": 1, "health": 1 }, "uptimeMs": 1 },
        "auth": { "role": "operator", "scopes": [] },
        "policy": { "maxPayload": 26_214_400, "maxBufferedBytes": 52_428_800, "tickIntervalMs": tick_ms },
    });
    gateway.send(Message::text(answer(&connect, &hello))).await.unwrap();
    client.ready().await.expect("the gateway has said hello");
    (client, gateway)
}

/// The next request that arrives.
async fn request(gateway: &mut WebSocketStream<DuplexStream>) -> Value {
    loop {
        let message = gateway.next().await.expect("the client is there").expect("and speaks");
        if let Message::Text(text) = message {
            return serde_json::from_str(&text).expect("requests are JSON");
        }
    }
}

fn answer(request: &Value, payload: &Value) -> String {
    json!({ "type": "res", "id": request["id"], "ok": true, "payload": payload }).to_string()
}

/// A frame of a server, whole or a part of a message.
fn frame(is_first: bool, is_last: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![if is_last { 0x80 } else { 0 } | u8::from(is_first), 127];
    frame.extend(u64::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend(payload);
    frame
}

/// Writes evenly over this time.
async fn write_slowly(stream: &mut DuplexStream, bytes: &[u8], parts: usize, within: Duration) {
    for part in bytes.chunks(bytes.len().div_ceil(parts)) {
        sleep(within / u32::try_from(parts).unwrap()).await;
        stream.write_all(part).await.expect("the client reads on");
    }
}

fn large() -> Value {
    Value::from("x".repeat(1_200_000))
}

async fn backoff(client: &Client) -> Arc<ConnectionError> {
    match client.watch_status().wait_for(|status| matches!(status, Status::Backoff { .. })).await {
        Some(Status::Backoff { cause, .. }) => cause,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn dead_is_detected_an_answer_may_take_longer_than_silence() {
    let (client, mut gateway) = connected(Options::default()).await;
    let asking = tokio::spawn(client.request("large", ()).timeout(None).into_future());
    let text = answer(&request(&mut gateway).await, &large());
    let mut stream = gateway.into_inner();
    let start = Instant::now();
    write_slowly(&mut stream, &frame(true, true, text.as_bytes()), 60, 3 * SILENCE).await;
    let response = asking.await.unwrap().expect("it is whole");
    assert!(start.elapsed() >= 3 * SILENCE);
    assert_eq!(response.payload.get().len(), 1_200_002);
    assert_eq!((client.statistics().connects, client.statistics().dials), (1, 1));
}

/// RFC 6455 lets a message come in fragments, and pings between them.
#[tokio::test(start_paused = true)]
async fn dead_is_detected_fragments_with_pings_between_are_one_message() {
    let (client, mut gateway) = connected(Options::default()).await;
    let asking = tokio::spawn(client.request("large", ()).timeout(None).into_future());
    let text = answer(&request(&mut gateway).await, &large());
    let mut stream = gateway.into_inner();
    let parts: Vec<_> = text.as_bytes().chunks(200_000).collect();
    for (index, part) in parts.iter().enumerate() {
        let bytes = frame(index == 0, index + 1 == parts.len(), part);
        write_slowly(&mut stream, &bytes, 3, SILENCE).await;
        stream.write_all(&[0x89, 2, b'h', b'i']).await.unwrap();
    }
    let response = asking.await.unwrap().expect("it is whole");
    assert_eq!(response.payload.get().len(), 1_200_002);
    assert_eq!(client.statistics().dials, 1);
}

#[tokio::test(start_paused = true)]
async fn dead_is_detected_when_a_message_stops_half_way() {
    let (client, mut gateway) = connected(Options::default()).await;
    let asking = tokio::spawn(client.request("large", ()).timeout(None).into_future());
    let text = answer(&request(&mut gateway).await, &large());
    let mut stream = gateway.into_inner();
    let half = frame(true, true, text.as_bytes());
    write_slowly(&mut stream, &half[..600_000], 10, 2 * SILENCE).await;
    let stopped = Instant::now();
    let error = asking.await.unwrap().expect_err("the rest never comes");
    assert_eq!(error.delivery, Delivery::Unknown);
    let RequestErrorKind::Disconnected(cause) = error.kind else { panic!("{error}") };
    let ConnectionError::Silent { silent_for } = &*cause else { panic!("{cause}") };
    assert!((SILENCE..SILENCE + Duration::from_millis(10)).contains(silent_for), "{silent_for:?}");
    let took = stopped.elapsed();
    assert!((SILENCE..SILENCE + Duration::from_millis(10)).contains(&took), "{took:?}");
}

/// One byte at a time, and pings too: nobody waits for that for ever.
#[tokio::test(start_paused = true)]
async fn dead_is_detected_a_message_that_only_dribbles_is_given_up() {
    let mut options = Options::default();
    options.max_message_duration = Duration::from_secs(60);
    let (client, gateway) = connected(options).await;
    let mut stream = gateway.into_inner();
    let started = Instant::now();
    let dribble = tokio::spawn(async move {
        let bytes = frame(true, true, &[b' '; 1_000_000]);
        for byte in bytes {
            sleep(Duration::from_secs(1)).await;
            if stream.write_all(&[byte]).await.is_err() {
                return;
            }
        }
    });
    let cause = backoff(&client).await;
    assert_eq!(*cause, ConnectionError::SlowMessage { limit: Duration::from_secs(60) });
    let took = started.elapsed();
    assert!((60..=62).contains(&took.as_secs()), "{took:?}");
    dribble.await.expect("the stream is closed");
}

/// A large message of ours that the peer takes slowly is no sign of its life: the system takes bytes for a dead one.
#[tokio::test(start_paused = true)]
async fn dead_is_detected_while_we_write_and_nothing_comes_back() {
    let (client, gateway) = connected(Options::default()).await;
    let mut stream = gateway.into_inner();
    tokio::spawn(client.request("large", large()).timeout(None).into_future());
    let reading = tokio::spawn(async move {
        let mut buffer = [0; 1_000];
        while stream.read_exact(&mut buffer).await.is_ok() {
            sleep(Duration::from_millis(100)).await;
        }
    });
    let cause = backoff(&client).await;
    assert!(matches!(*cause, ConnectionError::Silent { .. }), "{cause}");
    reading.await.expect("the stream is closed");
}

#[tokio::test(start_paused = true)]
async fn dead_is_detected_soon_after_a_wake() {
    let mut options = Options::default();
    options.wake_timeout = Duration::from_millis(700);
    let (client, mut gateway) = connected(options).await;
    sleep(Duration::from_secs(1)).await;
    client.wake();
    client.wake();
    let ping = gateway.next().await.expect("the client is there").expect("and speaks");
    assert_eq!(ping, Message::Ping(Bytes::new()));
    gateway.flush().await.expect("the answer leaves");
    sleep(Duration::from_millis(1_500)).await;
    assert!(matches!(client.status(), Status::Ready { .. }), "the answer came in time");
    // Now the answer does not leave: the gateway is not polled.
    client.wake();
    let asked = Instant::now();
    let cause = backoff(&client).await;
    assert!(matches!(*cause, ConnectionError::Silent { .. }), "{cause}");
    assert_eq!(asked.elapsed().as_millis(), 700);
}

/// What was ignored is counted by the reason, and a malformed answer ends its request.
#[tokio::test(start_paused = true)]
async fn settles_once_what_has_no_effect_is_counted() {
    let (client, mut gateway) = connected(Options::default()).await;
    let asking = tokio::spawn(client.request("m", ()).into_future());
    let id = request(&mut gateway).await["id"].clone();
    let malformed = json!({ "type": "res", "id": id, "ok": false, "error": "boom" }).to_string();
    for text in [
        "not json",
        "[]",
        r#"{"type":"new"}"#,
        r#"{"type":"res","id":7,"ok":true}"#,
        r#"{"type":"event","event":""}"#,
        r#"{"type":"event","event":"connect.challenge","payload":{"nonce":"n"}}"#,
        r#"{"type":"res","id":"of-nobody","ok":true}"#,
        &malformed,
        &malformed,
    ] {
        gateway.send(Message::text(text)).await.unwrap();
    }
    gateway.send(Message::binary(vec![0xff])).await.unwrap();
    let error = asking.await.unwrap().expect_err("it was malformed");
    assert!(matches!(error.kind, RequestErrorKind::MalformedAnswer(_)), "{error}");
    assert_eq!(error.delivery, Delivery::Unknown);
    assert!(!error.is_retryable());
    gateway.send(Message::text(r#"{"type":"event","event":"last"}"#)).await.unwrap();
    let mut pushes = client.subscribe().unwrap();
    pushes.next().await;
    let ignored = client.statistics().ignored;
    assert_eq!((ignored.malformed, ignored.unknown_type, ignored.response_id), (2, 1, 1));
    assert_eq!((ignored.event_shape, ignored.challenge, ignored.unawaited), (1, 1, 1));
    assert_eq!((ignored.response_shape, ignored.not_text), (1, 1));
    assert_eq!(ignored.total(), 9);
}
