//! What a client says to a gateway, and what comes back in a form that can be compared.
//!
//! A frame becomes a set of lines, one for each leaf: its path, and its value where the value is part of the protocol.
//! Times, ids and texts that are the gateway's own become their type.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::device_script::devices;
use crate::support::http_get;

/// What was sent, as lines.
pub(crate) type Lines = BTreeSet<String>;

/// Longer than a gateway takes for anything in the script.
const LONG: Duration = Duration::from_secs(20);

/// Events whose payloads are compared. Others depend on when the gateway booted; only their names are.
const COMPARED_EVENTS: &[&str] = &[
    "connect.challenge",
    "presence",
    "shutdown",
    "tick",
    "health",
    "device.pair.requested",
    "device.pair.resolved",
];

/// Values that are part of the protocol, by the last part of their path.
const KEPT: &[&str] = &[
    "type",
    "event",
    "id",
    "ok",
    "code",
    "message",
    "reason",
    "retryable",
    "retryAfterMs",
    "protocol",
    "role",
    "scopes",
    "maxPayload",
    "maxBufferedBytes",
    "tickIntervalMs",
    "authReason",
    "canRetryWithDeviceToken",
    "status",
    "recommendedNextStep",
    "clientMinProtocol",
    "clientMaxProtocol",
    "expectedProtocol",
    "minimumProbeProtocol",
    "missingScope",
    "requiredScopes",
    "restartExpectedMs",
    "close",
    "before hello",
    "method",
    "new boot",
    "requestedRole",
    "requestedScopes",
    "approvedRoles",
    "approvedScopes",
    "approvedVia",
    "roles",
    "clientId",
    "clientMode",
    "silent",
    "isRepair",
    "decision",
    "tokenDelivery",
    "connected",
    "same token",
    "same request",
    "order",
    "ready",
    "failing",
];

/// Plays the whole session against the gateway at `url`, which `restart` restarts.
pub(crate) async fn play(url: &str, token: &str, restart: impl AsyncFnOnce()) -> Lines {
    let mut transcript = Transcript::default();
    let mut client = Peer::dial(url).await;
    let hello = client.connect(&backend(token)).await;
    transcript.take("hello", &hello);
    calls(&mut client, &mut transcript).await;
    odd_frames(&mut client, &mut transcript).await;
    two_phases(&mut client, &mut transcript).await;
    presence(url, token, &mut client, &mut transcript).await;
    scopeless(url, token, &mut transcript).await;
    devices(url, token, &mut transcript).await;
    probes(url, &mut transcript).await;
    refusals(url, token, &mut transcript).await;

    let (end, ()) = tokio::join!(client.until_closed(), restart());
    transcript.take("restart", &end);
    let mut again = Peer::dial(url).await;
    let second = again.connect(&backend(token)).await;
    let boot = |hello: &Value| hello["payload"]["server"]["bootId"].clone();
    transcript.take("restart", &json!({"new boot": boot(&hello) != boot(&second)}));
    transcript.events(client.events);
    transcript.events(again.events);
    transcript.lines
}

/// Methods whose answers do not depend on what a gateway has installed.
async fn calls(client: &mut Peer, transcript: &mut Transcript) {
    for (method, params) in [
        ("health", json!({})),
        ("system-presence", json!({})),
        ("last-heartbeat", json!({})),
        ("set-heartbeats", json!({})),
        ("no.such.method", json!({})),
        ("connect", json!({})),
        ("agent", json!({})),
        ("agent", json!({"message": "", "idempotencyKey": "k"})),
        ("agent.wait", json!({"runId": "no-such-run", "timeoutMs": 1})),
        ("agent.wait", json!({"timeoutMs": "1"})),
        ("chat.send", json!({})),
        ("chat.history", json!({})),
        ("sessions.list", json!({"limit": "x"})),
        ("system-event", json!({})),
    ] {
        let answer = client.request(method, &params).await;
        let with = if params == json!({}) { String::new() } else { format!(" {params}") };
        transcript.take(&format!("call {method}{with}"), &answer);
    }
}

/// What is answered although it is not a request (protocol 2.3). Nonsense that is not answered is followed by a request
/// that is.
async fn odd_frames(client: &mut Peer, transcript: &mut Transcript) {
    for text in [
        r#"{"type":"event","event":"x"}"#,
        r#"{"type":"res","id":"r","ok":true}"#,
        r#"{"type":"cancel","id":"c"}"#,
        r#"{"type":"req","id":7,"method":"health"}"#,
        r#"{"type":"req","id":"","method":"health"}"#,
        r#"{"type":"req","id":"m","method":""}"#,
        r#"{"type":"req","id":"f","method":"health","extra":1}"#,
        "[]",
        "1",
    ] {
        client.text(text).await;
        let answer = client.next_response().await;
        transcript.take(&format!("frame {text}"), &answer);
    }
    client.text("{").await;
    client.binary(&[0xff, 0xfe]).await;
    client.binary(br#"{"type":"req","id":"b","method":"no.such.method"}"#).await;
    let answer = client.next_response().await;
    transcript.take("frame in binary", &answer);
    for _ in 0..2 {
        client.text(r#"{"type":"req","id":"twin","method":"no.such.method"}"#).await;
    }
    let twins = [client.next_response().await, client.next_response().await];
    transcript.take("frames with one id", &json!(twins));
}

/// `agent` is accepted, and fails later, because there is no language model.
async fn two_phases(client: &mut Peer, transcript: &mut Transcript) {
    let params = json!({"message": "hello", "sessionKey": "main", "idempotencyKey": "run-1", "timeout": 5, "deliver": false});
    let accepted = client.request("agent", &params).await;
    transcript.take("agent accepted", &accepted);
    let last = client.response("agent").await;
    transcript.take("agent final", &last);
    let again = client.request("agent", &params).await;
    transcript.take("agent repeated", &again);
}

/// A `system-event` is seen by others, and a scopeless client sees nothing of it.
async fn presence(url: &str, token: &str, client: &mut Peer, transcript: &mut Transcript) {
    let mut other = Peer::dial(url).await;
    other.connect(&backend(token)).await;
    let text =
        json!({"text": "side by side", "host": "h", "mode": "ui", "reason": "test", "instanceId": "i"});
    let answer = client.request("system-event", &text).await;
    transcript.take("system-event", &answer);
    other.until_event("presence").await;
    transcript.take("a numbered event", &json!({"ok": other.numbers_are_consecutive()}));
    transcript.events(std::mem::take(&mut other.events));
}

/// A client without a device keeps its connection and loses its scopes (protocol 6.6).
async fn scopeless(url: &str, token: &str, transcript: &mut Transcript) {
    let mut client = Peer::dial(url).await;
    let mut params = backend(token);
    params["client"]["id"] = json!("test");
    params["client"]["mode"] = json!("test");
    let hello = client.connect(&params).await;
    transcript.take("scopeless hello", &json!({"scopes": hello["payload"]["auth"]["scopes"]}));
    let presence = &hello["payload"]["snapshot"]["presence"];
    transcript.take("scopeless hello", &json!({"ok": presence == &json!([])}));
    for method in ["health", "config.get", "system-presence"] {
        let answer = client.request(method, &json!({})).await;
        transcript.take(&format!("scopeless {method}"), &answer);
    }
}

/// What monitors receive over plain HTTP (protocol 1.3).
async fn probes(url: &str, transcript: &mut Transcript) {
    let port = url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("the url has a port");
    for path in ["/health", "/healthz", "/ready", "/readyz", "/startup", "/startupz"] {
        let reply = http_get(port, path).await.expect("the gateway answers");
        let body: Value = serde_json::from_str(&reply.body).expect("a probe is answered with JSON");
        transcript.take(&format!("probe {path}"), &json!({"code": reply.status, "body": body}));
    }
}

/// Connections that are refused, each in its own way (protocol 2.4, 4, 6).
async fn refusals(url: &str, token: &str, transcript: &mut Transcript) {
    let connect =
        |params: Value| json!({"type": "req", "id": "c", "method": "connect", "params": params}).to_string();
    let changed = |pointer: &str, value: Value| {
        let mut params = backend(token);
        *params.pointer_mut(pointer).expect("it is there") = value;
        connect(params)
    };
    let mut anonymous = backend(token);
    anonymous.as_object_mut().expect("params").remove("auth");
    let firsts = [
        ("no JSON", "{".to_owned()),
        ("no frame", "[]".to_owned()),
        ("an event", r#"{"type":"event","event":"x"}"#.to_owned()),
        ("another method", r#"{"type":"req","id":"h","method":"health"}"#.to_owned()),
        ("too large", format!("\"{}\"", "x".repeat(65_536))),
        ("no params", connect(json!({}))),
        ("an unknown field", changed("/caps", json!([1]))),
        ("an unknown client", changed("/client/id", json!("nobody"))),
        ("an unknown mode", changed("/client/mode", json!("operator"))),
        ("a later protocol", changed("/maxProtocol", json!(3))),
        ("an unknown role", changed("/role", json!("boss"))),
        ("a node without a device", changed("/role", json!("node"))),
        ("an operator's interface without a device", changed("/client/id", json!("openclaw-tui"))),
        ("no credentials", connect(anonymous)),
        ("a password", changed("/auth", json!({"password": "x"}))),
        ("a wrong token", changed("/auth", json!({"token": "wrong"}))),
    ];
    for (name, first) in firsts {
        let mut peer = Peer::dial(url).await;
        peer.until_event("connect.challenge").await;
        peer.text(&first).await;
        let end = peer.until_closed().await;
        transcript.take(&format!("refused: {name}"), &end);
    }
}

/// Params of a client that runs on the gateway's own machine and has its token.
pub(crate) fn backend(token: &str) -> Value {
    json!({
        "minProtocol": 3, "maxProtocol": 4, "role": "operator", "scopes": ["operator.admin"], "caps": [],
        "client": {"id": "gateway-client", "version": "1.0.0", "platform": "linux", "mode": "backend"},
        "auth": {"token": token},
    })
}

/// One connection.
pub(crate) struct Peer {
    socket: WebSocketStream<TcpStream>,
    pub(crate) events: Vec<Value>,
}

impl Peer {
    pub(crate) async fn dial(url: &str) -> Peer {
        let address = url.strip_prefix("ws://").expect("a plain url");
        let stream = TcpStream::connect(address).await.expect("the gateway listens");
        let (socket, _) = client_async(url, stream).await.expect("the upgrade succeeds");
        Peer { socket, events: Vec::new() }
    }

    async fn text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.expect("the connection is up");
    }

    async fn binary(&mut self, bytes: &[u8]) {
        self.socket.send(Message::binary(bytes.to_vec())).await.expect("the connection is up");
    }

    pub(crate) async fn connect(&mut self, params: &Value) -> Value {
        self.until_event("connect.challenge").await;
        self.request("connect", params).await
    }

    /// Calls a method and returns the next response with its id.
    pub(crate) async fn request(&mut self, method: &str, params: &Value) -> Value {
        self.text(&json!({"type": "req", "id": method, "method": method, "params": params}).to_string())
            .await;
        self.response(method).await
    }

    async fn response(&mut self, id: &str) -> Value {
        loop {
            let response = self.next_response().await;
            if response["id"] == id {
                return response;
            }
        }
    }

    async fn next_response(&mut self) -> Value {
        loop {
            match self.next().await {
                Some(Message::Text(text)) => {
                    let frame: Value = serde_json::from_str(&text).expect("a gateway sends JSON");
                    if frame["type"] == "event" {
                        self.events.push(frame);
                    } else {
                        return frame;
                    }
                }
                Some(Message::Close(close)) => panic!("closed: {close:?}"),
                Some(_) => {}
                None => panic!("the connection is gone"),
            }
        }
    }

    pub(crate) async fn until_event(&mut self, name: &str) {
        while !self.events.iter().any(|event| event["event"] == name) {
            match self.next().await.expect("the connection is up") {
                Message::Text(text) => {
                    self.events.push(serde_json::from_str(&text).expect("a gateway sends JSON"));
                }
                Message::Close(close) => panic!("closed: {close:?}"),
                _ => {}
            }
        }
    }

    /// What still arrives, and how it ends; a client that is let in after all is not closed.
    pub(crate) async fn until_closed(&mut self) -> Value {
        let mut said = Vec::new();
        loop {
            match self.next().await {
                Some(Message::Text(text)) => {
                    let frame: Value = serde_json::from_str(&text).expect("a gateway sends JSON");
                    match (frame["type"] == "event", frame["ok"] == true) {
                        (true, _) => self.events.push(frame),
                        (false, true) => return json!({"said": frame["ok"], "close": "none"}),
                        (false, false) => said.push(frame),
                    }
                }
                Some(Message::Close(Some(close))) => {
                    let code = u16::from(close.code);
                    return json!({"said": said, "close": code, "reason": close.reason.as_str()});
                }
                Some(_) => {}
                None => return json!({"said": said, "close": "lost"}),
            }
        }
    }

    /// Whether the numbers of the events so far count from 1 without a gap (protocol 11.1).
    fn numbers_are_consecutive(&self) -> bool {
        let numbers = self.events.iter().filter_map(|event| event["seq"].as_u64());
        numbers.zip(1..).all(|(number, expected)| number == expected)
    }

    async fn next(&mut self) -> Option<Message> {
        timeout(LONG, self.socket.next()).await.expect("something happens")?.ok()
    }
}

#[derive(Default)]
pub(crate) struct Transcript {
    lines: Lines,
}

impl Transcript {
    pub(crate) fn take(&mut self, step: &str, said: &Value) {
        flatten(step, "", said, &mut self.lines);
    }

    pub(crate) fn events(&mut self, events: Vec<Value>) {
        let mut by_name: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for event in events {
            by_name.entry(event["event"].as_str().expect("a name").to_owned()).or_default().push(event);
        }
        for (name, events) in by_name {
            if COMPARED_EVENTS.contains(&name.as_str()) {
                events.iter().for_each(|event| self.take(&format!("event {name}"), event));
            } else {
                self.lines.insert(format!("event {name}"));
            }
        }
    }
}

/// Adds one line for each leaf of `value`. The elements of an array share their lines.
fn flatten(path: &str, name: &str, value: &Value, lines: &mut Lines) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                flatten(&format!("{path}/{name}"), name, value, lines);
            }
        }
        Value::Array(elements) if !elements.is_empty() => {
            // What a gateway offers is not compared name by name.
            let few = if matches!(name, "methods" | "events" | "capabilities") { 1 } else { elements.len() };
            for element in &elements[..few] {
                flatten(&format!("{path}[]"), name, element, lines);
            }
        }
        leaf => {
            let kept =
                KEPT.contains(&name) && !path.contains("/snapshot/") && !path.contains("/payload/presence");
            let shown = if kept { leaf.to_string() } else { kind(leaf).to_owned() };
            lines.insert(format!("{path} = {shown}"));
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an empty list",
        Value::Object(_) => "an empty object",
    }
}
