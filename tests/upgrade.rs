//! How the upgrade to a websocket is asked for, and what is made of an answer that is none.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use onesocket::Client;
use onesocket::core::{Config, ConnectionError, DialError, Endpoint, Initiator, Status};
use onesocket::network::Network;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

/// A server that answers every request with the same bytes and then does nothing more.
#[derive(Clone)]
struct Stubborn {
    answer: Arc<[u8]>,
    /// Every request that came, as text.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Stubborn {
    fn new(answer: impl Into<Vec<u8>>) -> Self {
        Self { answer: answer.into().into(), requests: Arc::default() }
    }
}

impl Network for Stubborn {
    type Stream = DuplexStream;

    async fn connect(&self, _: &Endpoint) -> io::Result<DuplexStream> {
        let (client, mut server) = duplex(64 * 1024);
        let this = self.clone();
        tokio::spawn(async move {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(server.read_u8().await?);
            }
            this.requests.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
            server.write_all(&this.answer).await?;
            // The connection stays open: whoever waits for more waits for ever.
            let mut rest = Vec::new();
            server.read_to_end(&mut rest).await
        });
        Ok(client)
    }
}

/// Why the first attempt failed, and how long that took.
async fn first_failure(network: Stubborn) -> (ConnectionError, Duration) {
    let config = Config::new("ws://127.0.0.1:1/path?query=1").unwrap().token("secret-token");
    let client = Client::builder().config(config).seed(7).spawn(network).unwrap();
    let begun = tokio::time::Instant::now();
    let mut statuses = client.watch_status();
    client.connect();
    let failed = statuses.wait_for(|status| matches!(status, Status::Backoff { .. })).await;
    let Some(Status::Backoff { cause, .. }) = failed else { panic!("{failed:?}") };
    let taken = begun.elapsed();
    client.shutdown().await;
    (ConnectionError::clone(&cause), taken)
}

fn refusal(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} No\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

#[tokio::test(start_paused = true)]
async fn no_wedge_a_refused_upgrade_says_why_and_is_retried() {
    let network = Stubborn::new(refusal(503, "Gateway websocket admission closed"));
    let (error, _) = first_failure(network.clone()).await;
    let body = "Gateway websocket admission closed".into();
    assert_eq!(error, ConnectionError::Dial(DialError::Upgrade { status: 503, body }));
    assert_eq!(error.initiator(), Initiator::Gateway);
    assert_eq!(error.close_code(), None, "there was no websocket to close");

    let client = Client::builder().config(Config::new("ws://127.0.0.1:1").unwrap()).seed(7);
    let client = client.spawn(network.clone()).unwrap();
    client.connect();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let tries = network.requests.lock().unwrap().len();
    assert!((15..30).contains(&tries), "{tries} tries in ten minutes: no storm and no wedge");
}

/// Whatever answers there (a proxy, a portal) may have much to say, and may never finish saying it.
#[tokio::test(start_paused = true)]
async fn no_wedge_the_body_of_a_refusal_is_cut_and_not_waited_for() {
    let (error, taken) = first_failure(Stubborn::new(refusal(403, &"x".repeat(10_000)))).await;
    let ConnectionError::Dial(DialError::Upgrade { status: 403, body }) = error else { panic!("{error}") };
    assert!(body.len() <= 2_048, "{} bytes are kept", body.len());
    assert!(taken < Duration::from_millis(1_500), "{taken:?}");

    let stalled = "HTTP/1.1 502 No\r\nContent-Length: 10000\r\n\r\nbegin";
    let (error, taken) = first_failure(Stubborn::new(stalled)).await;
    let ConnectionError::Dial(DialError::Upgrade { status: 502, .. }) = error else { panic!("{error}") };
    assert!(taken < Duration::from_millis(1_500), "{taken:?}");
}

#[tokio::test(start_paused = true)]
async fn no_wedge_an_answer_that_is_not_an_upgrade_is_a_failed_dial() {
    for answer in [
        "",
        "SSH-2.0-OpenSSH_9.9\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
    ] {
        let (error, _) = first_failure(Stubborn::new(answer)).await;
        let is_dial = matches!(error, ConnectionError::Dial(_));
        let is_timeout = matches!(error, ConnectionError::Timeout { .. }) && answer.is_empty();
        assert!(is_dial || is_timeout, "{answer:?}: {error}");
    }
}

/// A native client sends no origin, or it would be taken for a browser (protocol 18.4); and a request that
/// proxies may log carries no secret.
#[tokio::test(start_paused = true)]
async fn right_credential_the_upgrade_names_no_origin_and_no_secret() {
    let network = Stubborn::new(refusal(503, ""));
    first_failure(network.clone()).await;
    let requests = network.requests.lock().unwrap();
    let request = requests.first().expect("there was one");
    assert!(request.starts_with("GET /path?query=1 HTTP/1.1\r\n"), "{request}");
    let lower = request.to_ascii_lowercase();
    assert!(lower.contains("\r\nhost: 127.0.0.1:1\r\n"), "{request}");
    for unwanted in ["\r\norigin:", "\r\nauthorization:", "\r\ncookie:", "secret", "sec-websocket-protocol"] {
        assert!(!lower.contains(unwanted), "{request}");
    }
}
