//! What a message costs on its way through the core.
//!
//! Every number stands beside one to compare it with, made in the same run: decoding beside what
//! `serde_json` needs for a `Value`, a delivery to many subscribers beside one to a single subscriber.
//! `cargo bench --bench core`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use onesocket::core::frame::decode;
use onesocket::core::{
    Command, Config, Connection, Effect, Epoch, Input, Instant, Options, Reply, RequestId, SubscriptionId,
    WireText,
};
use serde_json::Value;

const EPOCH: Epoch = Epoch(1);
const CHALLENGE: &str =
    r#"{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1795368000000}}"#;
const HELLO: &str = r#"{"type":"hello-ok","protocol":4,"server":{"version":"2026.9.6","connId":"c"},"snapshot":{"presence":[],"health":{},"stateVersion":{"presence":1,"health":1}}}"#;

fn decoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for bytes in [0, 1_000, 100_000] {
        let text = event(1, bytes);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(BenchmarkId::new("onesocket", bytes), |bench| {
            bench.iter(|| decode(black_box(&text)).is_ok());
        });
        group.bench_function(BenchmarkId::new("serde_json::Value", bytes), |bench| {
            bench.iter(|| serde_json::from_str::<Value>(black_box(&text)).is_ok());
        });
    }
    group.finish();
}

fn events(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("an event to subscribers");
    group.throughput(Throughput::Elements(1));
    for subscribers in [1, 8, 64] {
        let connection = ready(subscribers);
        let text = WireText::from(event(1, 300).as_str());
        group.bench_function(BenchmarkId::from_parameter(subscribers), |bench| {
            let message = || (connection.clone(), Input::Received { epoch: EPOCH, text: text.clone() });
            bench.iter_batched_ref(
                message,
                |(connection, input)| step(connection, input.clone()),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// A request out and its answer back, while others wait.
fn round_trip(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a request and its answer");
    group.throughput(Throughput::Elements(1));
    for waiting in [0, 8, 56] {
        let mut connection = ready(1);
        for id in 0..waiting {
            step(&mut connection, request(1_000 + id));
            step(&mut connection, Input::Written { epoch: EPOCH, frames: 1 });
        }
        group.bench_function(BenchmarkId::from_parameter(waiting), |bench| {
            bench.iter_batched_ref(|| connection.clone(), ask, BatchSize::SmallInput);
        });
    }
    group.finish();
}

fn ask(connection: &mut Connection) -> usize {
    let effects = step(connection, request(1));
    let answer = answer_to(&sent(&effects).expect("a ready connection sends"), "{}");
    step(connection, received(&answer)).len()
}

/// A connection after its hello, with subscribers who have their snapshot.
fn ready(subscribers: u64) -> Connection {
    let config = Config::new("ws://127.0.0.1").expect("a loopback url").token("token");
    let connection = Connection::new(Some(Arc::new(config)), Options::default(), 7);
    let mut connection = connection.expect("the options are valid");
    for id in 0..subscribers {
        step(&mut connection, Input::Command(Command::Subscribe { id: SubscriptionId(id) }));
    }
    step(&mut connection, Input::Timeout);
    step(&mut connection, Input::Opened { epoch: EPOCH });
    let effects = step(&mut connection, received(CHALLENGE));
    let connect = sent(&effects).expect("a challenge is answered");
    step(&mut connection, Input::Written { epoch: EPOCH, frames: 1 });
    let effects = step(&mut connection, received(&answer_to(&connect, HELLO)));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Deliver { .. })), "{effects:?}");
    connection
}

fn step(connection: &mut Connection, input: Input) -> Vec<Effect> {
    let mut effects = Vec::new();
    connection.step(Instant::ZERO, input, &mut effects);
    effects
}

fn request(id: u64) -> Input {
    let (id, method) = (RequestId(id), Arc::from("health"));
    let reply = Reply::First;
    Input::Command(Command::Request {
        id,
        method,
        params: None,
        timeout: None,
        waited: Duration::ZERO,
        reply,
        only_on: None,
        expected_profile_id: None,
    })
}

fn received(text: &str) -> Input {
    Input::Received { epoch: EPOCH, text: WireText::from(text) }
}

/// The id of the frame that was sent.
fn sent(effects: &[Effect]) -> Option<String> {
    effects.iter().find_map(|effect| match effect {
        Effect::Transmit { text, .. } => {
            let frame: Value = serde_json::from_str(&text.0).expect("what is sent is JSON");
            frame["id"].as_str().map(str::to_owned)
        }
        _ => None,
    })
}

fn answer_to(id: &str, payload: &str) -> String {
    format!(r#"{{"type":"res","id":"{id}","ok":true,"payload":{payload}}}"#)
}

/// An event with a payload of about so many bytes.
fn event(seq: u64, bytes: usize) -> String {
    let line = r#"{"role":"assistant","text":"a line of what an agent says"}"#;
    let lines = vec![line; bytes / line.len()].join(",");
    format!(
        r#"{{"type":"event","event":"agent","payload":{{"lines":[{lines}]}},"seq":{seq},"stateVersion":{{"presence":1,"health":1}}}}"#
    )
}

criterion_group!(benches, decoding, events, round_trip);
criterion_main!(benches);
