//! A running stand-in, and peers to try on it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use onesocket_gateway::host::Observer;
use onesocket_gateway::{ConnectionId, GatewayConfig, Message, ModelEvent};
use onesocket_sim::standin::{EventLog, StandIn, StandInConfig, Steering};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as WsMessage;

pub(crate) const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: gateway.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Longer than anything here may take, on the slowest machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// What the gateway did, and a way to wait for more.
#[derive(Clone)]
pub(crate) struct Log {
    notes: Arc<Mutex<Vec<ModelEvent>>>,
    received: Arc<Mutex<usize>>,
    changed: Arc<watch::Sender<usize>>,
}

impl Log {
    /// Waits until `seen` likes the notes.
    pub(crate) async fn until(&self, seen: impl Fn(&[ModelEvent]) -> bool) {
        let mut changed = self.changed.subscribe();
        let wait = async {
            while !seen(&self.notes.lock().unwrap()) {
                changed.changed().await.unwrap();
            }
        };
        timeout(LONG, wait).await.unwrap_or_else(|_| panic!("{:#?}", self.notes.lock().unwrap()));
    }

    pub(crate) fn count(&self, wanted: impl Fn(&ModelEvent) -> bool) -> usize {
        self.notes.lock().unwrap().iter().filter(|note| wanted(note)).count()
    }

    /// Bytes of messages the model was given.
    pub(crate) fn received_bytes(&self) -> usize {
        *self.received.lock().unwrap()
    }
}

impl Observer for Log {
    fn note(&mut self, _: Duration, note: &ModelEvent) {
        self.notes.lock().unwrap().push(note.clone());
        self.changed.send_modify(|count| *count += 1);
    }

    fn received(&mut self, _: Duration, _: ConnectionId, message: &Message) {
        *self.received.lock().unwrap() += message.len();
    }
}

/// A stand-in that serves until it is dropped.
pub(crate) struct Stand {
    pub(crate) address: SocketAddr,
    pub(crate) control: SocketAddr,
    pub(crate) steering: Steering,
    pub(crate) log: Log,
    pub(crate) event_log: Arc<Mutex<Vec<String>>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Stand {
    pub(crate) async fn new() -> Stand {
        Stand::with(GatewayConfig::default()).await
    }

    pub(crate) async fn with(config: GatewayConfig) -> Stand {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let log =
            Log { notes: Arc::default(), received: Arc::default(), changed: Arc::new(watch::channel(0).0) };
        let event_log: Arc<Mutex<Vec<String>>> = Arc::default();
        let lines = Arc::clone(&event_log);
        let journal_writer = EventLog::new(move |line| lines.lock().unwrap().push(line.to_owned()));
        let setup = StandInConfig { config, seed: 1, listen: any, control: Some(any) };
        let standin = StandIn::bind(setup, log.clone(), journal_writer).await.unwrap();
        Stand {
            address: standin.address(),
            control: standin.control_address().unwrap(),
            steering: standin.steering(),
            log,
            event_log,
            serving: tokio::spawn(standin.run()),
        }
    }

    pub(crate) async fn dial(&self) -> io::Result<TcpStream> {
        TcpStream::connect(self.address).await
    }

    /// What a plain HTTP request to the gateway's port is answered with.
    pub(crate) async fn get(&self, path: &str) -> String {
        exchange(self.address, format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap()
    }

    /// A control request: status and text.
    pub(crate) async fn post(&self, word: &str, body: &str) -> (u16, String) {
        let request = format!("POST /__sim/{word} HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let reply = exchange(self.control, request.as_bytes()).await.unwrap();
        let status = reply.split(' ').nth(1).unwrap().parse().unwrap();
        (status, reply.split_once("\r\n\r\n").unwrap().1.trim_end().to_owned())
    }

    /// A client that has received hello.
    pub(crate) async fn client(&self) -> Client {
        self.client_with("test-token").await
    }

    pub(crate) async fn client_with(&self, token: &str) -> Client {
        let mut client = self.stranger().await;
        let hello = client.connect(token).await;
        assert_eq!(hello["ok"], true, "{hello}");
        client
    }

    /// A websocket without a handshake.
    pub(crate) async fn stranger(&self) -> Client {
        let url = format!("ws://{}/", self.address);
        let stream = self.dial().await.unwrap();
        Client(tokio_tungstenite::client_async(url, stream).await.unwrap().0)
    }
}

/// Sends these bytes and reads all that comes back.
pub(crate) async fn exchange(address: SocketAddr, request: &[u8]) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    let mut reply = Vec::new();
    timeout(LONG, stream.read_to_end(&mut reply)).await.expect("an answer, or an end")?;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

/// A websocket client without any cleverness.
pub(crate) struct Client(pub(crate) WebSocketStream<TcpStream>);

impl Client {
    pub(crate) async fn send(&mut self, frame: &Value) {
        self.0.send(WsMessage::text(frame.to_string())).await.unwrap();
    }

    pub(crate) async fn connect(&mut self, token: &str) -> Value {
        let params = json!({
            "minProtocol": 4, "maxProtocol": 4, "scopes": ["operator.admin"], "auth": {"token": token},
            "client": {"id": "gateway-client", "version": "1", "platform": "test", "mode": "backend"},
        });
        self.request("connect", &params).await
    }

    /// Calls a method and returns the response; its id is the method's name.
    pub(crate) async fn request(&mut self, method: &str, params: &Value) -> Value {
        self.send(&json!({"type": "req", "id": method, "method": method, "params": params})).await;
        self.frame(|frame| frame["id"] == method).await
    }

    /// The next frame that is wanted.
    pub(crate) async fn frame(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            match self.next().await.expect("the connection is up") {
                WsMessage::Text(text) => {
                    let frame = serde_json::from_str(&text).unwrap();
                    if wanted(&frame) {
                        return frame;
                    }
                }
                WsMessage::Close(close) => panic!("closed: {close:?}"),
                _ => {}
            }
        }
    }

    /// How the gateway ends the connection: the code of its close frame, if there is one.
    pub(crate) async fn end(&mut self) -> Option<u16> {
        let mut code = None;
        while let Some(message) = self.next().await {
            if let WsMessage::Close(Some(frame)) = message {
                code = Some(frame.code.into());
            }
        }
        code
    }

    /// `None` is the end, however it comes.
    async fn next(&mut self) -> Option<WsMessage> {
        timeout(LONG, self.0.next()).await.expect("something happens")?.ok()
    }
}
