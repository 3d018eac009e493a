//! A client as many are written at first: it works as long as nothing goes wrong.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use onesocket::network::Network;
use onesocket_sim::judge::oracle::Invariant;
use onesocket_sim::plan::{Action, AppAction, GatewayAction, Plan};
use onesocket_sim::subject::{Call, NoItems, Setup, StatusTeller, Subject, Target};
use onesocket_sim::trace::{Outcome, StatusKind};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message;

/// Plans under which the client breaks an invariant, each by one of its habits. Where there are two, it depends on the
/// moment which of them shows first.
pub(crate) fn habits() -> Vec<(&'static [Invariant], &'static str, Plan)> {
    let plan = || Plan::new(7).with(|params| params.end_ms = 20_000).at(100, AppAction::Connect {});
    let same = || Action::App(AppAction::Configure { gateway: 0, token: Plan::FIRST_TOKEN.to_owned() });
    let never =
        Action::App(AppAction::Request { consumer: 0, method: "test.never".to_owned(), timeout_ms: 3_000 });
    let close = Action::Gateway {
        gateway: 0,
        order: GatewayAction::Close { code: 1012, reason: "service restart".to_owned() },
    };
    vec![
        (
            &[Invariant::OneSocket],
            "takes a new socket at every look at its settings",
            plan().at(5_000, same()),
        ),
        (
            &[Invariant::NoStorm],
            "dials again at once, and again",
            plan().at(5_000, GatewayAction::Restart { down_ms: 5_000, crash: true }.of(0)),
        ),
        (
            &[Invariant::SettlesOnce, Invariant::DeadIsDetected],
            "forgets who waits for an answer when the socket ends",
            plan().at(5_000, never).at(6_000, close),
        ),
        (
            &[Invariant::StopIsFinal],
            "says that it has stopped and goes on",
            plan().at(5_000, AppAction::Shutdown {}),
        ),
    ]
}

/// The client. Clones share it.
#[derive(Clone)]
pub(crate) struct NaiveClient {
    /// Where new settings go: each begins a connection of its own.
    settings: mpsc::UnboundedSender<Target>,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// The way to the newest socket.
    frames: Option<mpsc::UnboundedSender<String>>,
    waiting: HashMap<String, oneshot::Sender<Value>>,
}

impl Subject for NaiveClient {
    type Items = NoItems;

    fn start<N: Network>(setup: Setup, network: N) -> Self {
        let (settings, mut changes) = mpsc::unbounded_channel();
        let client = Self { settings, shared: Arc::default() };
        let (shared, network) = (Arc::clone(&client.shared), Arc::new(network));
        client.settings.send(setup.target).expect("the receiver is here");
        let status = setup.status;
        tokio::spawn(async move {
            while let Some(target) = changes.recv().await {
                // The old connection is not waited for, and not even closed.
                tokio::spawn(stay_connected(
                    Arc::clone(&network),
                    target,
                    Arc::clone(&shared),
                    status.clone(),
                ));
            }
        });
        client
    }

    fn request(&self, call: Call) -> impl Future<Output = Outcome> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        async move {
            let id = call.request.to_string();
            let (answer, answered) = oneshot::channel();
            let params: Value = serde_json::from_str(&call.params).expect("a probe is JSON");
            let frame = json!({"type": "req", "id": id, "method": call.method, "params": params}).to_string();
            loop {
                let frames = shared.lock().expect("nobody panics").frames.clone();
                match frames {
                    Some(frames) if frames.send(frame.clone()).is_ok() => break,
                    // There will be a socket some day.
                    _ => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
            shared.lock().expect("nobody panics").waiting.insert(id, answer);
            match answered.await {
                Ok(frame) if frame["ok"] == true => call.answered(&frame["payload"].to_string()),
                Ok(_) => rejected(),
                // The sender is gone, and so is the reason to go on; nobody thought of telling.
                Err(_) => std::future::pending().await,
            }
        }
    }

    fn configure(&self, target: Target) -> impl Future<Output = ()> + Send + 'static {
        let settings = self.settings.clone();
        async move {
            let _ = settings.send(target);
        }
    }

    fn shutdown(&self) -> impl Future<Output = ()> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        async move {
            // Ends the socket, which looks like an outage to the task that owns it.
            shared.lock().expect("nobody panics").frames = None;
        }
    }
}

fn rejected() -> Outcome {
    let (delivery, kind) = (onesocket::core::Delivery::Rejected, onesocket_sim::trace::FailureKind::Rejected);
    Outcome::Failed { delivery, kind }
}

/// Dials, and when that fails or the connection ends, dials again.
async fn stay_connected<N: Network>(
    network: Arc<N>,
    target: Target,
    shared: Arc<Mutex<Shared>>,
    status: StatusTeller,
) {
    loop {
        status.tell(StatusKind::Connecting);
        if let Ok(stream) = network.connect(&target.endpoint).await {
            let connected = tokio_tungstenite::client_async(target.endpoint.url(), stream).await;
            if let Ok((socket, _)) = connected {
                talk(socket, &target, &shared, &status).await;
            }
        }
        // Nothing that waits receives an answer from this socket.
        shared.lock().expect("nobody panics").waiting.clear();
        // Lets the clock go on: a bare loop would hang the simulation, which is a finding, too.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Says who it is, and then passes frames until the socket ends.
async fn talk<S>(
    mut socket: tokio_tungstenite::WebSocketStream<S>,
    target: &Target,
    shared: &Mutex<Shared>,
    status: &StatusTeller,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (frames, mut to_send) = mpsc::unbounded_channel::<String>();
    // Frames of callers must wait for hello.
    let mut before_hello = Some(frames);
    loop {
        tokio::select! {
            biased;
            frame = to_send.recv(), if before_hello.is_none() => match frame {
                Some(frame) => {
                    if socket.send(Message::text(frame)).await.is_err() {
                        return;
                    }
                }
                None => return,
            },
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    let frame: Value = serde_json::from_str(&text).unwrap_or_default();
                    if frame["event"] == "connect.challenge" {
                        if socket.send(Message::text(connect(&target.token))).await.is_err() {
                            return;
                        }
                    } else if frame["id"] == "connect" {
                        shared.lock().expect("nobody panics").frames = before_hello.take();
                        status.tell(StatusKind::Ready);
                    } else if let Some(id) = frame["id"].as_str()
                        && let Some(answer) = shared.lock().expect("nobody panics").waiting.remove(id)
                    {
                        let _ = answer.send(frame);
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
        }
    }
}

fn connect(token: &str) -> String {
    let client = json!({"id": "gateway-client", "mode": "backend", "version": "1.0.0", "platform": "linux"});
    let params = json!({
        "minProtocol": 4, "maxProtocol": 4, "client": client, "role": "operator",
        "scopes": ["operator.read", "operator.write"], "auth": {"token": token},
    });
    json!({"type": "req", "id": "connect", "method": "connect", "params": params}).to_string()
}
