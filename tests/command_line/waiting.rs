//! How long a command waits, what it says meanwhile, and how it ends.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout};

use super::*;

/// A command that runs, and what it has printed.
struct Running {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: Lines<BufReader<ChildStderr>>,
}

impl Running {
    fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onesocket"));
        command.args(arguments).env_clear().envs(environment.iter().copied()).kill_on_drop(true);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let stderr = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        Self { child, stdout, stderr }
    }

    async fn told(&mut self) -> String {
        let line = timeout(Duration::from_secs(30), self.stderr.next_line()).await.expect("in time");
        line.expect("it is text").expect("there is a line")
    }

    async fn printed(&mut self) -> String {
        let line = timeout(Duration::from_secs(30), self.stdout.next_line()).await.expect("in time");
        line.expect("it is text").expect("there is a line")
    }

    async fn code(&mut self) -> Option<i32> {
        timeout(Duration::from_secs(30), self.child.wait()).await.expect("it ends").expect("it ran").code()
    }

    #[cfg(unix)]
    fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.child.id().expect("it runs")).expect("an id is small");
        let id = rustix::process::Pid::from_raw(id).expect("an id is positive");
        rustix::process::kill_process(id, signal).expect("it can be reached");
    }
}

/// A port of this machine at which nothing listens.
async fn nobody() -> (u16, String) {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    (port, format!("ws://127.0.0.1:{port}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_waits_for_a_gateway_that_comes_back() {
    let (port, url) = nobody().await;
    let environment = [("OPENCLAW_GATEWAY_URL", &*url), ("OPENCLAW_GATEWAY_TOKEN", TOKEN)];
    let mut call = Running::start(&["call", "test.echo", "[1]", "--json", "--timeout", "30"], &environment);
    let line = call.told().await;
    assert!(line.contains("the connection was refused") && line.contains("is the gateway running"), "{line}");
    assert!(line.ends_with("trying again for up to 30s"), "{line}");
    let _gateway = Gateway::start_at(port).await;
    assert_eq!(call.printed().await, "[1]");
    assert_eq!(call.code().await, Some(0));
}

/// Refuses each `connect` in turn, then lets it in; drops the connection at the first call of a method, then answers.
async fn hesitant(refusals: Vec<Value>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://127.0.0.1:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        let mut refusals = refusals.into_iter();
        let mut called = std::collections::BTreeSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            let challenge =
                json!({"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}});
            socket.send(Message::text(challenge.to_string())).await.unwrap();
            while let Some(Ok(Message::Text(text))) = socket.next().await {
                let request: Value = serde_json::from_str(&text).unwrap();
                let method = request["method"].as_str().unwrap();
                let mut answer = json!({"type":"res", "id":request["id"], "ok":true, "payload":"done"});
                if method == "connect" {
                    match refusals.next() {
                        Some(error) => {
                            (answer["ok"], answer["error"]) = (json!(false), error);
                        }
                        None => answer["payload"] = serde_json::from_str(&plain_hello()).unwrap(),
                    }
                } else if called.insert(method.to_owned()) {
                    break;
                }
                // The client may have left.
                let _ = socket.send(Message::text(answer.to_string())).await;
            }
        }
    });
    url
}

fn plain_hello() -> String {
    odd_hello().replace(HALF, "x").replace(&deep(), "[]")
}

fn starting() -> Value {
    let details = json!({"reason":"startup-sidecars"});
    json!({"code":"UNAVAILABLE", "message":"starting; retry shortly", "retryable":true, "retryAfterMs":100, "details":details})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passing_refusal_is_waited_out_and_a_lasting_one_ends_at_once() {
    let url = hesitant(vec![starting(), starting(), starting()]).await;
    let output = run(&["--url", &url, "status", "--json", "--timeout", "30"], &[]).await;
    assert_eq!(answer(&output)["protocol"], json!(4));
    let said = std::str::from_utf8(&output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "the same reason is told once: {said}");
    assert!(said.contains("starting; retry shortly"), "{said}");

    let lasting = json!({"code":"INVALID_REQUEST", "message":"no", "details":{"code":"AUTH_TOKEN_MISMATCH"}});
    let url = hesitant(vec![starting(), lasting.clone()]).await;
    let output = run(&["--url", &url, "call", "health", "--timeout", "60"], &[]).await;
    let said = std::str::from_utf8(&output.stderr).unwrap();
    assert!(said.lines().last().unwrap().contains("refused the credentials"), "{said}");
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 2), "{said}");
    let url = hesitant(vec![lasting]).await;
    let output = run(&["--url", &url, "watch"], &[]).await;
    assert!(complaint(&output, 1).contains("refused the credentials"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_may_have_been_done_is_repeated_only_if_that_is_safe() {
    let url = hesitant(Vec::new()).await;
    let read = run(&["--url", &url, "call", "health", "--timeout", "30"], &[]).await;
    assert_eq!(answer(&read), json!("done"));
    let keyed = ["--url", &url, "call", "send", r#"{"idempotencyKey":"k"}"#, "--timeout", "30"];
    assert_eq!(answer(&run(&keyed, &[]).await), json!("done"));
    let written = run(&["--url", &url, "call", "config.set", "{}", "--timeout", "30"], &[]).await;
    assert!(complaint(&written, 1).contains("config.set failed (Unknown)"), "{written:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_tells_why_there_is_nothing_to_see() {
    let (port, url) = nobody().await;
    let mut watch = Running::start(&["watch", "--url", &url], &[("OPENCLAW_GATEWAY_TOKEN", TOKEN)]);
    let line = watch.told().await;
    assert!(line.contains("the connection was refused") && line.ends_with("trying again"), "{line}");
    let gateway = Gateway::start_at(port).await;
    assert_eq!(watch.told().await, "onesocket: connected");
    assert!(watch.printed().await.starts_with("snapshot  "));
    gateway.host.order(Order::Kick { code: 1012, reason: "a\u{1b}[31mb".to_owned() });
    let line = watch.told().await;
    assert!(line.contains("1012") && line.contains(r"a\u{1b}[31mb"), "{line}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn stop_is_final_a_signal_closes_the_socket() {
    for (signal, code) in [(rustix::process::Signal::INT, 130), (rustix::process::Signal::TERM, 143)] {
        let gateway = Gateway::start().await;
        let environment = [("OPENCLAW_GATEWAY_URL", &*gateway.url), ("OPENCLAW_GATEWAY_TOKEN", TOKEN)];
        let mut watch = Running::start(&["watch"], &environment);
        assert!(watch.printed().await.starts_with("snapshot  "));
        watch.signal(signal);
        assert_eq!(watch.code().await, Some(code));
        assert_eq!(watch.stderr.next_line().await.unwrap(), None, "nothing is said about it");

        let (_, url) = nobody().await;
        let mut call = Running::start(&["call", "health", "--url", &url], &[]);
        call.told().await;
        call.signal(signal);
        assert_eq!(call.code().await, Some(code));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_seen_enough_ends_the_command_quietly() {
    let gateway = Gateway::start().await;
    let environment = [("OPENCLAW_GATEWAY_URL", &*gateway.url), ("OPENCLAW_GATEWAY_TOKEN", TOKEN)];
    let Running { mut child, mut stdout, mut stderr } = Running::start(&["watch"], &environment);
    assert!(stdout.next_line().await.unwrap().unwrap().starts_with("snapshot  "));
    drop(stdout);
    let ends = child.wait();
    tokio::pin!(ends);
    let status = loop {
        gateway.host.order(Order::Emit { event: "health".to_owned(), payload: "{}".into() });
        if let Ok(status) = timeout(Duration::from_millis(20), &mut ends).await {
            break status.unwrap();
        }
    };
    assert_eq!((status.code(), stderr.next_line().await.unwrap()), (Some(0), None));
}
