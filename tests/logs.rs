//! What a production app finds in its log: little, and never a secret.

use std::io;

use futures_util::{FutureExt, SinkExt, StreamExt};
use onesocket::Client;
use onesocket::core::{Config, Endpoint};
use onesocket::network::Network;
use onesocket_sim::plan::{Plan, Tier};
use onesocket_sim::scenario::Scenario;
use serde_json::{Value, json};
use tokio::io::{DuplexStream, duplex};
use tokio_tungstenite::tungstenite::Message;
use tracing_test::traced_test;

/// The token of the simulated gateway.
const TOKEN: &str = Plan::FIRST_TOKEN;

fn run(name: &str) {
    let path = format!("{}/scenarios/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the scenario is stored");
    let scenario = Scenario::parse(&text).expect("the scenario is valid");
    assert_eq!(Tier::Stream.run(&scenario.plan).violation, None);
}

fn lines_of<'l>(lines: &[&'l str], level: &str) -> Vec<&'l str> {
    let mine = lines.iter().filter(|line| line.contains("onesocket::"));
    mine.filter(|line| line.contains(&format!(" {level} "))).copied().collect()
}

#[traced_test]
#[test]
fn a_reconnect_logs_two_lines_and_never_the_token() {
    run("restart-storm");
    logs_assert(|lines| {
        if let Some(line) = lines.iter().find(|line| line.contains(TOKEN)) {
            return Err(format!("the token is in the log: {line}"));
        }
        // Three restarts: a line when the connection ends and one when it is back, after the first.
        let (info, all) =
            (lines_of(lines, "INFO"), lines.iter().filter(|l| l.contains("onesocket::")).count());
        let loud = lines_of(lines, "WARN").len() + lines_of(lines, "ERROR").len();
        match (info.len(), loud, all) {
            (1..=7, 0, ..=40) => Ok(()),
            (info, loud, all) => {
                Err(format!("{info} info, {loud} louder, {all} in all:\n{}", lines.join("\n")))
            }
        }
    });
}

#[traced_test]
#[test]
fn a_pause_is_one_warning_for_the_person_who_must_act() {
    run("token-change-in-flight");
    logs_assert(|lines| {
        let warnings = lines_of(lines, "WARN");
        match warnings.as_slice() {
            [warning] if warning.contains("reconnecting is paused") && !warning.contains(TOKEN) => Ok(()),
            _ => Err(format!("expected one warning about the pause:\n{}", lines.join("\n"))),
        }
    });
}

/// A gateway that answers every `connect` in the same way and then closes, in its own words.
#[derive(Clone)]
struct Talkative {
    answer: Value,
    reason: &'static str,
}

impl Network for Talkative {
    type Stream = DuplexStream;

    async fn connect(&self, _: &Endpoint) -> io::Result<DuplexStream> {
        let (client, server) = duplex(1024 * 1024);
        let Self { mut answer, reason } = self.clone();
        tokio::spawn(async move {
            let mut websocket = tokio_tungstenite::accept_async(server).await.unwrap();
            let challenge =
                json!({"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}});
            websocket.send(Message::text(challenge.to_string())).await.unwrap();
            let connect = websocket.next().await.unwrap().unwrap();
            let connect: Value = serde_json::from_str(connect.to_text().unwrap()).unwrap();
            answer["id"] = connect["id"].clone();
            websocket.send(Message::text(answer.to_string())).await.unwrap();
            let frame = tokio_tungstenite::tungstenite::protocol::CloseFrame {
                code: 4000.into(),
                reason: reason.into(),
            };
            // The client may have left already.
            let _ = websocket.close(Some(frame)).await;
        });
        Ok(client)
    }
}

/// What such a gateway puts into the log before the client has tried three times.
async fn three_attempts(answer: Value, reason: &'static str) {
    let config = Config::new("ws://127.0.0.1:1").unwrap().token("tell-nobody-this-token");
    let client = Client::builder().config(config).seed(7).spawn(Talkative { answer, reason }).unwrap();
    let mut statuses = client.watch_status();
    let mut pushes = client.subscribe().unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    // An app that logs what it sees.
    tracing::info!(target: "onesocket::app", status = ?statuses.get(), push = ?pushes.next().now_or_never(), "seen");
    client.shutdown().await;
}

fn is_harmless(lines: &[&str]) -> Result<(), String> {
    let mine: Vec<_> = lines.iter().filter(|line| line.contains("onesocket::")).collect();
    for line in lines {
        if line.len() > 4_000 || line.contains("tell-nobody-this-token") || line.contains('\u{202e}') {
            return Err(format!("{} bytes: {:.4000}", line.len(), line));
        }
    }
    // A line that is not the log's own was forged.
    let forged = lines.iter().find(|line| line.contains("forged") && !line.contains("\\n"));
    match forged {
        None if mine.len() > 3 => Ok(()),
        None => Err(format!("there is no log: {mine:?}")),
        Some(line) => Err(format!("forged: {line}")),
    }
}

fn hello(said: &str) -> Value {
    let server = json!({"version":said, "connId":format!("{said}{}", "c".repeat(1_000_000)), "bootId":said});
    let snapshot = json!({"presence":[], "health":{}, "stateVersion":{"presence":1, "health":1}});
    let auth = json!({"role":"operator", "scopes":[said]});
    let payload = json!({"type":"hello-ok","protocol":4,"server":server,"snapshot":snapshot,"auth":auth});
    json!({"type":"res", "ok":true, "payload":payload})
}

const SAID: &str = "tell-nobody-this-token\n2026-01-01T00:00:00Z  WARN onesocket::forged \u{1b}[31m\u{202e}";

#[traced_test]
#[tokio::test(start_paused = true)]
async fn right_credential_a_talkative_hello_is_told_in_short_lines() {
    three_attempts(hello(SAID), "tell-nobody-this-token\n WARN onesocket::forged \u{202e}").await;
    logs_assert(is_harmless);
    assert!(logs_contain("[redacted]"));
}

#[traced_test]
#[tokio::test(start_paused = true)]
async fn right_credential_a_talkative_refusal_is_told_in_short_lines() {
    for code in ["AUTH_TOKEN_MISMATCH", "SOMETHING_ELSE"] {
        let message = format!("{SAID}\n{}", "line\n".repeat(100_000));
        let error = json!({"code":SAID, "message":message, "details":{"code":code, "requestId":SAID}});
        three_attempts(json!({"type":"res", "ok":false, "error":error}), "").await;
    }
    logs_assert(is_harmless);
    assert!(logs_contain("[redacted]") && logs_contain("bytes)"));
}
