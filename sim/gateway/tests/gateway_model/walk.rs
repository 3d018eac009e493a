//! Random walks: whatever happens, in whatever order, some things must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use onesocket_gateway::config::{GatewayConfig, Latencies, Latency};
use onesocket_gateway::{
    Admission, ConnectionId, Deviation, Effect, GatewayModel, HandshakeFault, Input, Message, Misbehave,
    ModelEvent, Order, Peer, Rejection, RestartMode,
};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde_json::json;

use crate::rig::{TOKEN, backend};
use crate::validator::Inspector;

/// What the walk knows about the sockets, from effects alone.
#[derive(Default)]
struct World {
    open: BTreeSet<ConnectionId>,
    closing: BTreeSet<ConnectionId>,
    seqs: BTreeMap<ConnectionId, u64>,
    /// Whether an order made sequence numbers meaningless.
    bent: bool,
    /// Sockets whose hello an order spoiled.
    spoiled: BTreeSet<ConnectionId>,
    established: BTreeSet<ConnectionId>,
}

impl World {
    fn judge(&mut self, effect: &Effect) {
        match effect {
            Effect::Send { connection, .. }
            | Effect::SendBinary { connection, .. }
            | Effect::Ping { connection } => {
                assert!(self.open.contains(connection), "{connection:?} is not there");
                assert!(!self.closing.contains(connection), "{connection:?} is closing");
            }
            Effect::Close { connection, reason, .. } => {
                assert!(self.open.contains(connection) && reason.len() <= 120);
                assert!(self.closing.insert(*connection), "{connection:?} is closed twice");
            }
            Effect::Terminate { connection } => {
                assert!(self.open.remove(connection), "{connection:?} is dropped twice");
                self.closing.remove(connection);
            }
            Effect::ModelEvent(note) => self.judge_note(note),
        }
    }

    fn judge_note(&mut self, note: &ModelEvent) {
        match note {
            ModelEvent::EventSent { connection, seq, .. }
            | ModelEvent::EventDropped { connection, seq, .. } => {
                let last = self.seqs.insert(*connection, *seq).unwrap_or_default();
                assert!(self.bent || *seq == last + 1, "{connection:?}: {seq} after {last}");
            }
            ModelEvent::Misbehaved {
                deviation: Deviation::SequenceBent | Deviation::FrameInvented, ..
            } => {
                self.bent = true;
            }
            ModelEvent::Misbehaved {
                connection: Some(connection),
                deviation: Deviation::HelloSpoiled | Deviation::VersionBent,
            } => {
                self.spoiled.insert(*connection);
            }
            ModelEvent::HelloSent { connection, .. } => {
                assert!(self.established.insert(*connection), "{connection:?} is welcomed twice");
            }
            ModelEvent::ResponseSent { connection, .. } => {
                assert!(self.established.contains(connection) || self.spoiled.contains(connection));
            }
            _ => {}
        }
    }
}

fn below(random: &mut Xoshiro256PlusPlus, bound: usize) -> usize {
    (random.next_u64() % bound as u64) as usize
}

fn message(random: &mut Xoshiro256PlusPlus) -> Message {
    let mut params = backend();
    params["auth"] = json!({"token": if below(random, 4) == 0 { "wrong" } else { TOKEN }});
    params["client"]["mode"] = json!(["backend", "ui", "cli"][below(random, 3)]);
    let methods =
        ["health", "test.echo", "test.never", "agent", "chat.send", "system-event", "agent.wait", "nope"];
    let method = methods[below(random, methods.len())];
    let any = json!({"idempotencyKey": format!("k{}", below(random, 5)), "message": "m", "text": "t",
        "sessionKey": "main", "runId": "k1", "timeoutMs": 40});
    let any = if method == "agent.wait" { json!({"runId": "k1", "timeoutMs": 40}) } else { any };
    let text = match below(random, 12) {
        0..=4 => json!({"type": "req", "id": "c", "method": "connect", "params": params}).to_string(),
        5..=9 => json!({"type": "req", "id": "r", "method": method, "params": any}).to_string(),
        10 => "{broken".to_owned(),
        _ => r#"{"type":"event"}"#.to_owned(),
    };
    match below(random, 5) {
        0 => Message::Binary(text.into_bytes().into()),
        _ => Message::Text(text.into()),
    }
}

fn fault(random: &mut Xoshiro256PlusPlus) -> HandshakeFault {
    let by = Duration::from_millis(random.next_u64() % 3000);
    let faults = [
        HandshakeFault::NoChallenge,
        HandshakeFault::LateChallenge { by },
        HandshakeFault::ChallengeWithoutNonce,
        HandshakeFault::NoHello,
        HandshakeFault::LateHello { by },
        HandshakeFault::KickAfterHello { after: by, code: 1001, reason: "x".repeat(200) },
        HandshakeFault::TerminateAfterHello { after: by },
        HandshakeFault::TerminateBeforeHello,
        HandshakeFault::Reject(rejection()),
        HandshakeFault::Startup,
        HandshakeFault::Draining,
        HandshakeFault::Payload { payload: "null".into() },
        HandshakeFault::WrongId { id: "w".to_owned() },
    ];
    faults[below(random, faults.len())].clone()
}

fn rejection() -> Rejection {
    Rejection { code: "NEW".to_owned(), message: "as ordered".to_owned(), ..Rejection::default() }
}

fn order(random: &mut Xoshiro256PlusPlus) -> Order {
    let lasting = Duration::from_millis(random.next_u64() % 5000);
    let orders = [
        Order::Restart { mode: RestartMode::Graceful, down: lasting },
        Order::Restart { mode: RestartMode::Crash, down: lasting },
        Order::Stop,
        Order::Start,
        Order::ChangeToken { token: "other".to_owned() },
        Order::ChangeToken { token: TOKEN.to_owned() },
        Order::ChangePassword { password: TOKEN.to_owned() },
        Order::Kick { code: 1001, reason: "ü".repeat(100) },
        Order::Terminate,
        Order::Emit { event: "chat".to_owned(), payload: "{}".into() },
        Order::DropNextEvent,
        Order::ApprovePairing,
        Order::RejectPairing,
        Order::RotateDeviceTokens,
        Order::RevokeDevices,
        Order::Misbehave(Misbehave::Handshake { count: 1, fault: fault(random) }),
        Order::Misbehave(Misbehave::StarveTicks { lasting }),
        Order::Misbehave(Misbehave::StarvePings { lasting }),
        Order::Misbehave(Misbehave::DropEvents { count: 2 }),
        Order::Misbehave(Misbehave::RepeatLastEvent),
        Order::Misbehave(Misbehave::OlderEvent { by: 3 }),
        Order::Misbehave(Misbehave::SkipSequence { by: 3 }),
        Order::Misbehave(Misbehave::Text { text: "x".into() }),
        Order::Misbehave(Misbehave::Binary { data: vec![1] }),
        Order::Misbehave(Misbehave::Giant { bytes: 10 }),
        Order::Misbehave(Misbehave::UnknownEvent),
        Order::Misbehave(Misbehave::ExtraFields { count: 1 }),
        Order::Misbehave(Misbehave::NumericId),
        Order::Misbehave(Misbehave::ForeignResponse { id: "f".to_owned() }),
        Order::Misbehave(Misbehave::RepeatLastResponse),
        Order::Misbehave(Misbehave::WithholdResponses { count: 1 }),
        Order::Misbehave(Misbehave::DelayResponses { count: 1, by: lasting }),
        Order::Misbehave(Misbehave::RefuseCapacity { count: 1 }),
        Order::Misbehave(Misbehave::SkewClock { by_ms: -5_000 }),
        Order::Misbehave(Misbehave::FailRequests { count: 1, error: rejection() }),
        Order::Misbehave(Misbehave::RefuseUpgrades { lasting }),
        Order::Misbehave(Misbehave::Behave),
    ];
    orders[below(random, orders.len())].clone()
}

fn walk(seed: u64, steps: usize) -> Vec<Effect> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let jitter = Latency { fixed: Duration::ZERO, jitter: Duration::from_millis(30) };
    let latency = Latencies { connect: jitter, request: jitter, ..Latencies::default() };
    let mut model = GatewayModel::new(GatewayConfig { latency, ..GatewayConfig::default() }, seed);
    let (mut world, mut log, mut now, mut next) = (World::default(), Vec::new(), Duration::ZERO, 0);
    let mut inspector = Inspector::default();
    inspector.ordered_events.insert("chat".to_owned());
    for _ in 0..steps {
        let sockets: Vec<ConnectionId> = world.open.iter().copied().collect();
        let socket = sockets.get(below(&mut random, sockets.len().max(1))).copied();
        let input = match (below(&mut random, 20), socket) {
            (0..=2, _) if model.admission() == Admission::Open => {
                next += 1;
                world.open.insert(ConnectionId(next));
                let peer = if below(&mut random, 4) == 0 { Peer::REMOTE } else { Peer::LOCAL };
                Input::Accepted { connection: ConnectionId(next), peer }
            }
            (3..=9, Some(connection)) => Input::Received { connection, message: message(&mut random) },
            (10, Some(connection)) => Input::Pong { connection },
            (11, Some(connection)) => Input::Buffered { connection, bytes: random.next_u64() % 105_000_000 },
            (12, Some(connection)) => {
                world.open.remove(&connection);
                world.closing.remove(&connection);
                Input::Disconnected { connection }
            }
            (13, _) => Input::Order(order(&mut random)),
            (14, _) => {
                Input::Order(Order::Misbehave(Misbehave::Handshake { count: 1, fault: fault(&mut random) }))
            }
            _ => {
                now += Duration::from_millis(random.next_u64() % 2000);
                if let Some(due) = model.next_deadline() {
                    now = now.min(due);
                }
                Input::Timeout
            }
        };
        let timeout = matches!(input, Input::Timeout);
        let mut effects = Vec::new();
        model.step(now, input, &mut effects);
        inspector.inspect(&effects);
        effects.iter().for_each(|effect| world.judge(effect));
        assert_eq!(model.open_sockets(), world.open.len());
        assert_eq!(model.live_connections(), world.open.len() - world.closing.len());
        assert!(!timeout || model.next_deadline().is_none_or(|due| due > now), "a deadline does not pass");
        log.append(&mut effects);
    }
    log
}

#[test]
fn no_walk_breaks_the_model() {
    for seed in 0..200 {
        walk(seed, 1000);
    }
}

#[test]
fn a_walk_can_be_walked_again() {
    for seed in 0..5 {
        assert!(walk(seed, 500) == walk(seed, 500), "seed {seed}");
    }
}
