//! The `onesocket` command line, run as people run it, against the gateway model on real TCP.

use std::collections::BTreeMap;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use onesocket::Client;
use onesocket::core::Config;
use onesocket::net::TcpNetwork;
use onesocket_gateway::host::{Host, Observer};
use onesocket_gateway::{GatewayConfig, GatewayModel, ModelEvent, Order, Peer};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

#[path = "command_line/texts.rs"]
mod texts;
#[path = "command_line/waiting.rs"]
mod waiting;

const TOKEN: &str = "test-token";

/// Reports each connection that is ready for events.
#[derive(Clone, Default)]
struct Greetings(Arc<Notify>);

impl Observer for Greetings {
    fn note(&mut self, _: Duration, note: &ModelEvent) {
        if let ModelEvent::HelloSent { .. } = note {
            self.0.notify_one();
        }
    }
}

/// A gateway on this machine.
struct Gateway {
    url: String,
    port: u16,
    host: Host,
    greetings: Greetings,
}

impl Gateway {
    async fn start() -> Self {
        Self::start_at(0).await
    }

    /// At any port if it is 0.
    async fn start_at(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let greetings = Greetings::default();
        let host = Host::new(GatewayModel::new(GatewayConfig::default(), 7), greetings.clone());
        tokio::spawn({
            let host = host.clone();
            async move { host.run_clock().await }
        });
        tokio::spawn({
            let host = host.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(host.serve(stream, Peer::LOCAL));
                }
            }
        });
        Self { url: format!("ws://127.0.0.1:{port}"), port, host, greetings }
    }

    /// Runs the tool against this gateway, with the right token.
    async fn run(&self, arguments: &[&str]) -> Output {
        run(arguments, &[("OPENCLAW_GATEWAY_URL", &self.url), ("OPENCLAW_GATEWAY_TOKEN", TOKEN)]).await
    }
}

/// Runs the tool with nothing but these variables in its environment.
async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onesocket"));
    command.args(arguments).env_clear().envs(environment.iter().copied()).kill_on_drop(true);
    timeout(Duration::from_secs(60), command.output()).await.expect("it ends").expect("it starts")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

/// What it printed, as JSON; it must have succeeded.
fn answer(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_str(stdout(output)).unwrap()
}

/// The one line of an error with this exit status.
fn complaint(output: &Output, status: i32) -> &str {
    assert_eq!((output.status.code(), stdout(output)), (Some(status), ""), "{output:?}");
    let line = std::str::from_utf8(&output.stderr).unwrap().trim_end();
    assert!(line.starts_with("onesocket: ") && line.lines().count() == 1, "{line}");
    assert!(!line.contains(TOKEN), "{line}");
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_is_called() {
    let gateway = Gateway::start().await;
    let output = gateway.run(&["call", "test.echo", r#"{"n":[1,2]}"#, "--json"]).await;
    assert_eq!(answer(&output), json!({"n": [1, 2]}));
    assert_eq!(stdout(&output), "{\"n\":[1,2]}\n");
    let output = gateway.run(&["call", "test.echo", r#"{"n":1}"#]).await;
    assert_eq!((answer(&output), stdout(&output)), (json!({"n": 1}), "{\n  \"n\": 1\n}\n"));
    let output = gateway.run(&["call", "no.such.method"]).await;
    assert!(complaint(&output, 1).contains("no.such.method failed (Rejected)"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_who_is_there() {
    let gateway = Gateway::start().await;
    let status = answer(&gateway.run(&["status", "--json"]).await);
    assert_eq!(status["url"], json!(format!("{}/", gateway.url)));
    assert_eq!((&status["role"], &status["protocol"]), (&json!("operator"), &json!(4)));
    assert!(status["connectionId"].as_str().is_some_and(|id| !id.is_empty()), "{status}");
    let output = gateway.run(&["status"]).await;
    assert_eq!((output.status.code(), stdout(&output).lines().count()), (Some(0), 3), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_prints_the_snapshot_first_and_then_what_happens() {
    let gateway = Gateway::start().await;
    let emitting = tokio::spawn({
        let (host, greetings) = (gateway.host.clone(), gateway.greetings.clone());
        async move {
            loop {
                greetings.0.notified().await;
                for _ in 0..4 {
                    let payload = json!({"text": "y".repeat(1_000)}).to_string().into();
                    host.order(Order::Emit { event: "health".to_owned(), payload });
                }
            }
        }
    });
    let output = gateway.run(&["watch", "--count", "4", "--json"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let items: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((items.len(), &items[0]["type"]), (4, &json!("snapshot")));
    assert!(items.iter().any(|item| item["type"] == "event" && item["event"] == "health"), "{items:?}");

    let output = gateway.run(&["watch", "--count", "4"]).await;
    assert_eq!((output.status.code(), stdout(&output).lines().count()), (Some(0), 4), "{output:?}");
    assert!(stdout(&output).lines().all(|line| line.chars().count() < 300), "{output:?}");
    emitting.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn right_credential_the_token_comes_from_a_file_or_the_environment_only() {
    let gateway = Gateway::start().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    std::fs::write(path, format!("  {TOKEN}\n")).unwrap();
    let call = ["call", "test.echo", "1", "--url", &gateway.url];
    let with_file = [&call[..], &["--token-file", path]].concat();
    assert_eq!(answer(&run(&with_file, &[]).await), json!(1));
    let wrong = ("OPENCLAW_GATEWAY_TOKEN", "wrong-secret");
    assert_eq!(answer(&run(&with_file, &[wrong]).await), json!(1), "the file goes first");

    let refused = run(&call, &[wrong]).await;
    let line = complaint(&refused, 1);
    assert!(line.contains("refused the credentials") && !line.contains("wrong-secret"), "{line}");
    let watching = run(&["watch", "--url", &gateway.url], &[wrong]).await;
    assert_eq!(watching.status.code(), Some(1), "{watching:?}");

    assert_eq!(run(&[&call[..], &["--token", TOKEN]].concat(), &[]).await.status.code(), Some(2));
    std::fs::write(path, " \n").unwrap();
    assert!(complaint(&run(&with_file, &[]).await, 2).contains("is empty"));
    let missing = [&call[..], &["--token-file", "/no/such/file"]].concat();
    assert!(complaint(&run(&missing, &[]).await, 2).contains("/no/such/file"));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_and_an_absent_gateway_differ() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("ws://127.0.0.1:{}", free.local_addr().unwrap().port());
    drop(free);
    let absent = run(&["status", "--url", &nobody, "--timeout", "1"], &[]).await;
    assert!(complaint(&absent, 1).contains("the connection was refused"), "{absent:?}");

    let wrong: [&[&str]; 7] = [
        &["status", "--tls-fingerprint", "abc", "--url", "wss://127.0.0.1"],
        &["status", "--tls-fingerprint", &"00".repeat(32)],
        &["status", "--url", "ftp://x"],
        &["status", "--url", "ws://gateway.example"],
        &["call", "health", "{"],
        &["call", "health", "--url", "ws://a:b@127.0.0.1"],
        &["sockets", "--url", "nonsense"],
    ];
    for arguments in wrong {
        complaint(&run(arguments, &[("OPENCLAW_GATEWAY_URL", &nobody)]).await, 2);
    }
    for arguments in
        [&[][..], &["call"], &["nonsense"], &["sockets", "--port", "0"], &["status", "--timeout", "0"]]
    {
        assert_eq!(run(arguments, &[]).await.status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(run(&["--help"], &[]).await.status.code(), Some(0));
}

/// A gateway that takes connections and says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn no_wedge_a_silent_gateway_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://127.0.0.1:{}", silent.local_addr().unwrap().port());
    let output = run(&["call", "health", "--timeout", "1", "--url", &url], &[]).await;
    assert!(complaint(&output, 1).contains("within 1s"), "{output:?}");
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
#[tokio::test(flavor = "multi_thread")]
async fn one_socket_the_sockets_of_a_process_are_counted() {
    let gateway = Gateway::start().await;
    let count = async || answer(&gateway.run(&["sockets", "--json"]).await);
    assert_eq!(count().await["sockets"], json!(0));
    let config = Config::new(&gateway.url).unwrap().token(TOKEN);
    let client = Client::builder().config(config.clone()).spawn(TcpNetwork).unwrap();
    client.ready().await.unwrap();
    let one = count().await;
    assert_eq!((&one["port"], &one["sockets"]), (&json!(gateway.port), &json!(1)));
    assert_eq!(one["processes"][0]["pid"], json!(std::process::id()));
    assert_eq!(one["processes"][0]["states"], json!({"established": 1}));

    // A leak is seen at a glance.
    let leak = Client::builder().config(config).spawn(TcpNetwork).unwrap();
    leak.ready().await.unwrap();
    assert_eq!(count().await["processes"][0]["sockets"], json!(2));
    let output = gateway.run(&["sockets", "--port", &gateway.port.to_string()]).await;
    assert!(stdout(&output).starts_with(&format!("2 sockets to port {}\n", gateway.port)), "{output:?}");
    assert!(stdout(&output).contains(&format!("(pid {}): 2 established", std::process::id())), "{output:?}");
    client.shutdown().await;
    leak.shutdown().await;
}

/// Heads of requests, each answered with a refusal.
async fn refusing() -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let (heard, requests) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.expect("the request has an end"));
            }
            let answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer).await.expect("the client reads");
            heard.send(String::from_utf8(request).expect("a request is text")).expect("the test reads");
        }
    });
    (url, requests)
}

#[tokio::test(flavor = "multi_thread")]
async fn right_credential_headers_come_from_arguments_a_file_and_the_environment() {
    let (url, mut requests) = refusing().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    std::fs::write(path, "\u{feff}# for the proxy\r\n\r\nAuthorization: Basic sesame-1\r\nX-B: file\r\n")
        .unwrap();
    let arguments = ["status", "--url", &url, "--header", "X-A: argument", "--header-file", path];
    let variable = ("OPENCLAW_GATEWAY_HEADERS", "x-a: environment\nX-B: environment\nX-C: environment\n");
    let output = run(&arguments, &[variable]).await;
    let line = complaint(&output, 1);
    assert!(line.contains("HTTP 403 Forbidden") && line.contains("configure the headers"), "{line}");
    let request = requests.recv().await.expect("it was sent");
    let tail = "\r\nAuthorization: Basic sesame-1\r\nX-A: argument\r\nX-B: file\r\nX-C: environment\r\n\r\n";
    assert!(request.ends_with(tail), "{request}");

    std::fs::write(path, "Basic sesame-1").unwrap();
    let line = complaint(&run(&arguments, &[]).await, 2).to_owned();
    assert!(line.contains(path) && !line.contains("sesame"), "{line}");
    let missing = ["status", "--url", &url, "--header-file", "/no/such/file"];
    assert!(complaint(&run(&missing, &[]).await, 2).contains("/no/such/file"));
    for header in ["no colon", "Host: x", "X-A:", ": x", "X A: x"] {
        complaint(&run(&["status", "--url", &url, "--header", header], &[]).await, 2);
    }
    let clear = ["status", "--url", "ws://192.168.1.1:1", "--header", "X-A: 1"];
    assert!(complaint(&run(&clear, &[]).await, 2).contains("wss://"));
}

/// A gateway that writes what JavaScript can write: halves of pairs of surrogates, and 300 levels of nesting.
async fn odd_gateway() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://127.0.0.1:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                let challenge =
                    r#"{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}}"#;
                socket.send(Message::text(challenge)).await.unwrap();
                while let Some(Ok(message)) = socket.next().await {
                    let Message::Text(text) = message else { continue };
                    let request: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&text).unwrap();
                    let payload = if request["method"].get() == r#""connect""# {
                        odd_hello()
                    } else {
                        format!("{{\n \"text\" : \"{HALF}\", \"deep\" : {} }}", deep())
                    };
                    let answer =
                        format!(r#"{{"type":"res","id":{},"ok":true,"payload":{payload}}}"#, request["id"]);
                    socket.send(Message::text(answer)).await.unwrap();
                    let event = format!(
                        r#"{{"type":"event","event":"chat","seq":1,"payload":{{"t":"{HALF}","deep":{}}}}}"#,
                        deep()
                    );
                    socket.send(Message::text(event)).await.unwrap();
                }
            });
        }
    });
    url
}

const HALF: &str = r"\ud83d";

fn deep() -> String {
    format!("{}{}", "[".repeat(300), "]".repeat(300))
}

fn odd_hello() -> String {
    format!(
        r#"{{"type":"hello-ok","protocol":4,"server":{{"version":"2026{HALF}","connId":"c"}},
        "features":{{"methods":["{HALF}"],"events":[]}},
        "snapshot":{{"presence":[{{"ts":1,"host":"{HALF}"}}],"health":{{"deep":{}}},"stateVersion":{{"presence":1,"health":1}},"uptimeMs":1}},
        "auth":{{"role":"operator","scopes":[]}},
        "policy":{{"maxPayload":26214400,"maxBufferedBytes":52428800,"tickIntervalMs":30000}}}}"#,
        deep()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_gateway_writes_is_printed() {
    let url = odd_gateway().await;
    let called = run(&["--url", &url, "--json", "call", "anything"], &[]).await;
    let expected = format!("{{\"text\":\"\\ufffd\",\"deep\":{}}}\n", deep());
    assert_eq!((stdout(&called), called.status.code()), (&*expected, Some(0)));
    let params = format!(r#"{{"p":"{HALF}","deep":{}}}"#, deep());
    let called = run(&["--url", &url, "call", "anything", &params], &[]).await;
    assert!(stdout(&called).starts_with("{\n  \"text\": \"\\ufffd\",\n"), "{called:?}");

    let watched = run(&["--url", &url, "--json", "watch", "--count", "3"], &[]).await;
    let lines: Vec<_> = stdout(&watched).lines().collect();
    assert_eq!((lines.len(), watched.status.code()), (3, Some(0)), "{watched:?}");
    assert!(lines[0].contains(r#""presence":[{"ts":1,"host":"\ufffd"}]"#), "{}", lines[0]);
    let event = format!(
        r#"{{"type":"event","epoch":1,"event":"chat","seq":1,"payload":{{"t":"\ufffd","deep":{}}}}}"#,
        deep()
    );
    assert_eq!(lines[2], event);
}
