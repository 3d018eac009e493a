//! A server that answers every request with the same bytes, and what a client makes of it.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use onesocket::Client;
use onesocket::core::{
    Config, ConnectionError, DialError, Endpoint, Options, PauseReason, Status, UpgradeRefusal,
};
use onesocket::network::Network;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Stands for the right `Sec-WebSocket-Accept` in an answer.
pub(crate) const ACCEPT: &str = "{accept}";

/// A server that answers every request with the same bytes, and then does nothing more, or ends the connection.
#[derive(Clone)]
pub(crate) struct Stubborn {
    pub(crate) answer: Arc<[u8]>,
    /// How many bytes of the answer are written at once, in turns.
    pub(crate) pieces: Vec<usize>,
    /// The time before each piece but the first.
    pub(crate) pause: Duration,
    pub(crate) ends: bool,
    /// Every request that came, as text.
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
    pub(crate) dialed: Arc<Mutex<Vec<Instant>>>,
    /// What came behind the request.
    pub(crate) heard: Arc<Mutex<Vec<u8>>>,
}

impl Stubborn {
    pub(crate) fn new(answer: impl Into<Vec<u8>>) -> Self {
        Self {
            answer: answer.into().into(),
            pieces: vec![usize::MAX],
            pause: Duration::ZERO,
            ends: false,
            requests: Arc::default(),
            dialed: Arc::default(),
            heard: Arc::default(),
        }
    }

    pub(crate) fn in_pieces(self, piece: usize, pause: Duration) -> Self {
        self.in_segments(vec![piece], pause)
    }

    pub(crate) fn in_segments(self, pieces: Vec<usize>, pause: Duration) -> Self {
        Self { pieces, pause, ..self }
    }

    pub(crate) fn that_ends(self) -> Self {
        Self { ends: true, ..self }
    }

    async fn serve(self, mut server: DuplexStream) -> io::Result<()> {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(server.read_u8().await?);
        }
        let request = String::from_utf8(request).expect("a request is text");
        let answer = answer_to(&request, &self.answer);
        self.requests.lock().unwrap().push(request);
        let mut rest = &*answer;
        for (number, length) in self.pieces.iter().cycle().enumerate() {
            if number > 0 {
                tokio::time::sleep(self.pause).await;
            }
            let (piece, after) = rest.split_at(rest.len().min(*length));
            server.write_all(piece).await?;
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        if self.ends {
            return Ok(());
        }
        // Whoever waits for more waits for ever.
        loop {
            let byte = server.read_u8().await?;
            self.heard.lock().unwrap().push(byte);
        }
    }
}

/// The answer with the accept key that belongs to the request.
pub(crate) fn answer_to(request: &str, answer: &[u8]) -> Vec<u8> {
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap_or_default();
    let accept = derive_accept_key(key.as_bytes());
    match answer.windows(ACCEPT.len()).position(|window| window == ACCEPT.as_bytes()) {
        Some(at) => [&answer[..at], accept.as_bytes(), &answer[at + ACCEPT.len()..]].concat(),
        None => answer.to_vec(),
    }
}

impl Network for Stubborn {
    type Stream = DuplexStream;

    async fn connect(&self, _: &Endpoint) -> io::Result<DuplexStream> {
        let (client, server) = duplex(64 * 1024);
        self.dialed.lock().unwrap().push(Instant::now());
        tokio::spawn(self.clone().serve(server));
        Ok(client)
    }
}

pub(crate) fn config(url: &str) -> Config {
    Config::new(url).expect("the url is valid").token("secret-token")
}

/// What the first attempt led to, and how long that took.
pub(crate) async fn first_status<N: Network + Clone>(
    network: &N,
    config: Config,
    options: Options,
) -> (Status, Duration) {
    let client = Client::builder().config(config).options(options).seed(7).spawn(network.clone()).unwrap();
    let begun = Instant::now();
    let mut statuses = client.watch_status();
    client.connect();
    let decided = |status: &Status| {
        matches!(status, Status::Backoff { .. } | Status::Paused(_) | Status::Handshaking { .. })
    };
    let status = statuses.wait_for(decided).await.expect("the client runs");
    let taken = begun.elapsed();
    client.shutdown().await;
    (status, taken)
}

pub(crate) async fn first(network: &Stubborn) -> Status {
    first_status(network, config("ws://127.0.0.1:1/path?query=1"), Options::default()).await.0
}

/// Why the first dial failed and is tried again.
pub(crate) async fn retried(network: &Stubborn) -> DialError {
    match first(network).await {
        Status::Backoff { cause, .. } => dial_error(&cause),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn dial_error(error: &ConnectionError) -> DialError {
    match error {
        ConnectionError::Dial(error) => error.clone(),
        other => panic!("{other}"),
    }
}

/// Why the first dial failed and is not tried again.
pub(crate) async fn paused(network: &Stubborn) -> PauseReason {
    match first(network).await {
        Status::Paused(reason) => PauseReason::clone(&reason),
        other => panic!("{other:?}"),
    }
}

/// The refusal of the first attempt, however it goes on.
pub(crate) async fn refused(network: &Stubborn) -> UpgradeRefusal {
    match first(network).await {
        Status::Backoff { cause, .. } => match dial_error(&cause) {
            DialError::Upgrade(refusal) => *refusal,
            other => panic!("{other}"),
        },
        Status::Paused(reason) => match &*reason {
            PauseReason::Upgrade(refusal) => UpgradeRefusal::clone(refusal),
            other => panic!("{other}"),
        },
        other => panic!("{other:?}"),
    }
}

pub(crate) fn refusal(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

pub(crate) fn acceptance(headers: &str) -> String {
    format!("HTTP/1.1 101 Switching Protocols\r\n{headers}Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n")
}

pub(crate) const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
