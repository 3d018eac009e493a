//! Typed events and state, against what a real gateway was recorded to send.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use onesocket::core::typed::{AgentStream, ChatErrorKind, ChatUpdate, Health, PresenceReason, TypedEvent};
use onesocket::core::{
    Command, Config, Connection, Effect, Epoch, Event, Input, Instant, Options, Payload, Push, StateVersion,
    SubscriptionId, WireText,
};
use serde_json::Value;

const EPOCH: Epoch = Epoch(1);

/// All text that connection `name` of a recording received, in order.
fn received(recording: &Path, name: Option<&str>) -> Vec<String> {
    let text = fs::read_to_string(recording).expect("a recording can be read");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a recording is JSON"));
    lines
        .filter(|line| line["dir"] == "recv" && name.is_none_or(|name| line["conn"] == name))
        .filter_map(|line| Some(line["text"].as_str()?.to_owned()))
        .collect()
}

fn recording(name: &str) -> std::path::PathBuf {
    transcripts().join(format!("{name}.jsonl"))
}

fn transcripts() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sim/gateway/tests/transcripts")
}

/// The event in a recorded frame, if it is one.
fn event(text: &str) -> Option<Event> {
    let frame: Value = serde_json::from_str(text).ok().filter(|frame: &Value| frame["type"] == "event")?;
    Some(of(frame["event"].as_str()?, &frame["payload"].to_string()))
}

fn of(name: &str, payload: &str) -> Event {
    Event {
        epoch: EPOCH,
        name: name.into(),
        payload: Payload::from_text(payload),
        seq: None,
        state_version: None,
        recipient_profile_id: None,
    }
}

fn decoded(name: &str, payload: &str) -> TypedEvent {
    of(name, payload).decode().unwrap_or_else(|error| panic!("{error}"))
}

fn refused(name: &str, payload: &str) -> String {
    of(name, payload).decode().expect_err("it is malformed").to_string()
}

fn events_of(name: &str) -> Vec<TypedEvent> {
    let events = received(&recording(name), None).into_iter().filter_map(|text| event(&text));
    events.map(|event| event.decode().unwrap_or_else(|error| panic!("{error}"))).collect()
}

/// Every event that was ever recorded, and each kind often enough to mean something.
#[test]
fn every_recorded_event_is_decoded() {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in fs::read_dir(transcripts()).expect("there are recordings") {
        let path = entry.expect("the folder can be read").path();
        for event in received(&path, None).iter().filter_map(|text| event(text)) {
            let typed = event.decode().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let kind = match typed {
                TypedEvent::Presence(entries) => {
                    assert!(entries.iter().any(|entry| entry.reason == Some(PresenceReason::Gateway)));
                    "presence"
                }
                TypedEvent::Health(health) => {
                    assert!(health.ok.is_some() && health.ts.is_some() && !health.agents.is_empty());
                    "health"
                }
                TypedEvent::Agent(_) => "agent",
                TypedEvent::Chat(_) => "chat",
                TypedEvent::Tick(tick) => {
                    assert!(tick.ts > 1_700_000_000_000);
                    "tick"
                }
                TypedEvent::Shutdown(_) => "shutdown",
                TypedEvent::Unknown => "unknown",
                other => panic!("{other:?} has no place in this test"),
            };
            *counts.entry(kind).or_default() += 1;
        }
    }
    let least = [("agent", 2), ("chat", 3), ("health", 50), ("presence", 20), ("shutdown", 2), ("tick", 3)];
    for (kind, least) in least {
        assert!(counts.get(kind).is_some_and(|count| *count >= least), "{kind}: {counts:?}");
    }
}

#[test]
fn a_recorded_run_tells_its_steps() {
    let events = events_of("agent-two-phase");
    let streams: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            TypedEvent::Agent(step) => Some((step.run_id.as_str(), step.stream.clone(), step.phase())),
            _ => None,
        })
        .collect();
    let phase = |phase: &str| Some(phase.to_owned());
    assert_eq!(
        streams,
        [
            ("chat-1", AgentStream::RunStatus, phase("preparing_workspace")),
            ("chat-1", AgentStream::Lifecycle, phase("error")),
        ]
    );
    let updates: Vec<_> = events
        .into_iter()
        .filter_map(|event| match event {
            TypedEvent::Chat(chat) => {
                assert_eq!((chat.run_id.as_str(), chat.session_key.as_str()), ("chat-1", "agent:main:main"));
                Some(chat.update)
            }
            _ => None,
        })
        .collect();
    assert_eq!(updates[0], ChatUpdate::Status { phase: "preparing_workspace".to_owned() });
    for update in &updates[1..] {
        assert!(update.is_end());
        let ChatUpdate::Error { error_message: Some(text), kind: None, message: None } = update else {
            panic!("{update:?}")
        };
        assert!(text.contains("is unavailable"), "{text}");
    }
    assert_eq!(updates.len(), 3, "a failed answer was reported twice");
}

#[test]
fn a_recorded_shutdown_says_when_the_gateway_is_back() {
    let notices = |name| -> Vec<_> {
        let notice = |event| match event {
            TypedEvent::Shutdown(notice) => Some((notice.reason, notice.restart_expected)),
            _ => None,
        };
        events_of(name).into_iter().filter_map(notice).collect()
    };
    let back = Some(Duration::from_millis(1_500));
    assert_eq!(notices("restart-sigusr1"), [("gateway restarting".into(), back)]);
    assert_eq!(notices("restart-sigterm"), [("gateway stopping".into(), None)]);
}

/// A core that receives what the recorded connection received, up to and with its hello.
struct Replay {
    core: Connection,
    connect: Value,
    effects: Vec<Effect>,
}

impl Replay {
    fn new() -> Self {
        let config = Config::new("ws://127.0.0.1").expect("a loopback url");
        let core = Connection::new(Some(Arc::new(config)), Options::default(), 1).expect("valid options");
        let mut replay = Self { core, connect: Value::Null, effects: Vec::new() };
        replay.step(Input::Command(Command::Subscribe { id: SubscriptionId(1) }));
        replay.step(Input::Timeout);
        replay.step(Input::Opened { epoch: EPOCH });
        replay
    }

    fn step(&mut self, input: Input) {
        self.core.step(Instant::ZERO, input, &mut self.effects);
        if let Some(Effect::Transmit { text, .. }) = self.effects.last() {
            self.connect = serde_json::from_str::<Value>(&text.0).expect("a frame is JSON")["id"].clone();
        }
    }

    /// Receives a recorded frame; the answer to `connect` answers ours.
    fn receive(&mut self, text: &str) {
        let mut frame: Value = serde_json::from_str(text).expect("a recorded frame is JSON");
        if frame["payload"]["type"] == "hello-ok" {
            frame["id"] = self.connect.clone();
        }
        let text = WireText::from(frame.to_string().as_str());
        self.step(Input::Received { epoch: EPOCH, text });
    }
}

/// Presence and health are kept current by the versions of the events, and both have types.
#[test]
fn a_recorded_snapshot_follows_its_events() {
    let mut replay = Replay::new();
    let frames = received(&recording("presence-on-join"), Some("B"));
    for text in &frames {
        replay.receive(text);
    }
    let snapshot = replay.core.snapshot().expect("there was a hello");
    let entries = snapshot.typed_presence().expect("a recorded list");
    let last = frames.iter().filter_map(|text| event(text)).rfind(|event| &*event.name == "presence");
    let Some(TypedEvent::Presence(expected)) = last.map(|event| event.decode().expect("a recorded event"))
    else {
        panic!("the recording has presence events")
    };
    assert_eq!(entries, expected);
    let health = snapshot.typed_health().expect("a recorded summary");
    assert_eq!(health.default_agent_id.as_deref(), Some("main"));
    assert_eq!(health.heartbeat, Some(Duration::from_secs(1_800)));
    assert!(snapshot.state_version.health > 1 && snapshot.state_version != StateVersion::default());
    let pushed =
        replay.effects.iter().any(|effect| matches!(effect, Effect::Deliver { push: Push::Event(_), .. }));
    assert!(pushed, "the subscriber had the events too");
}

/// Just after a start, the gateway knows nothing of its health (protocol 10.1).
#[test]
fn an_empty_health_is_a_health() {
    assert_eq!(decoded("health", "{}"), TypedEvent::Health(Box::default()));
    let nulls = r#"{"channels":null,"agents":null,"sessions":null,"eventLoop":null,"durationMs":null}"#;
    assert_eq!(decoded("health", nulls), TypedEvent::Health(Box::default()));
    let answer: Health = Payload::from_text(r#"{"sessions":{"count":3}}"#).decode().expect("an answer");
    assert_eq!(answer.sessions.count, 3);
}

/// What a newer gateway says is kept, not refused.
#[test]
fn what_is_not_known_is_kept() {
    assert_eq!(decoded("something.new", "[1]"), TypedEvent::Unknown);
    let TypedEvent::Presence(entries) =
        decoded("presence", r#"{"presence":[{"ts":1,"reason":"launch","mode":"watch","new":{}}],"more":1}"#)
    else {
        panic!("not a presence event")
    };
    assert_eq!(entries[0].reason, Some(PresenceReason::Other("launch".to_owned())));
    assert_eq!(entries[0].mode.as_deref(), Some("watch"));

    let agent = r#"{"runId":"r","seq":1,"stream":"dream","ts":1,"data":{"x":[1]},"new":null}"#;
    let TypedEvent::Agent(step) = decoded("agent", agent) else { panic!("not an agent event") };
    assert_eq!((step.stream.clone(), step.phase()), (AgentStream::Other("dream".to_owned()), None));
    assert_eq!(step.data.get(), r#"{"x":[1]}"#);

    let chat = |more: &str| {
        let text = format!(r#"{{"runId":"r","sessionKey":"s","seq":1,{more}}}"#);
        let TypedEvent::Chat(chat) = decoded("chat", &text) else { panic!("not a chat event") };
        chat.update
    };
    let other = chat(r#""state":"thinking","message":1"#);
    assert_eq!(other, ChatUpdate::Other { state: "thinking".to_owned() });
    assert!(!other.is_end());
    let failed = chat(r#""state":"error","errorKind":"boredom""#);
    let kind = Some(ChatErrorKind::Other("boredom".to_owned()));
    assert_eq!(failed, ChatUpdate::Error { message: None, error_message: None, kind });
    let delta = chat(r#""state":"delta","deltaText":"he","replace":true,"message":{"role":"assistant"}"#);
    let message = Some(Payload::from_text(r#"{"role":"assistant"}"#));
    assert_eq!(delta, ChatUpdate::Delta { text: "he".to_owned(), replace: true, message });
    let message = Some(Payload::from_text("[]"));
    assert_eq!(
        chat(r#""state":"final","message":[],"stopReason":"end_turn""#),
        ChatUpdate::Final { message, stop_reason: Some("end_turn".to_owned()) }
    );
    // A time that makes no sense must not hide that the gateway goes away.
    let TypedEvent::Shutdown(notice) = decoded("shutdown", r#"{"reason":"r","restartExpectedMs":-1}"#) else {
        panic!("not a shutdown event")
    };
    assert_eq!(notice.restart_expected, None);
}

/// Errors say what and where, and repeat nothing of the payload.
#[test]
fn what_has_another_shape_is_a_typed_error_without_content() {
    let cases = [
        ("tick", r#"{"ts":"my secret"}"#, "the payload of tick cannot be decoded: a value has another type"),
        ("tick", "{}", "the payload of tick cannot be decoded: ts is missing"),
        ("tick", "null", "the payload of tick cannot be decoded: a value has another type"),
        ("presence", r#"{"presence":{"my":"secret"}}"#, "a value has another type"),
        ("presence", r#"{"presence":[{"host":"my secret"}]}"#, "ts is missing"),
        ("chat", r#"{"runId":"my secret","sessionKey":"s","seq":1,"state":"delta"}"#, "deltaText is missing"),
        ("chat", r#"{"runId":"r","sessionKey":"s","seq":1,"state":"status"}"#, "phase is missing"),
        ("shutdown", r#"{"reason":"#, "it is no JSON"),
    ];
    for (name, payload, expected) in cases {
        let shown = refused(name, payload);
        assert!(shown.contains(expected), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
    }
    let error = of("tick", "{}").decode().unwrap_err();
    assert_eq!(error, of("tick", "{}").decode().unwrap_err(), "errors can be compared");
    assert_eq!(&*error.what, "tick");
}

/// What JavaScript writes is read, and one odd part costs that part.
#[test]
fn one_odd_part_costs_that_part() {
    let TypedEvent::Presence(rows) = decoded(
        "presence",
        r#"{"presence":[7,{"ts":1.5,"host":"a\ud83d","ip":4,"tags":["x",1,null],"user":"me","roles":null},{"host":"b"},null,
            {"ts":2e3,"host":"c","lastInputSeconds":0.25,"user":{"id":"u","email":7},"deviceId":[[]],"scopes":{}}]}"#,
    ) else {
        panic!("not a presence event")
    };
    assert_eq!((rows.len(), rows.skipped()), (2, 3));
    let (first, second) = (&rows[0], &rows[1]);
    assert_eq!((first.ts, first.host.as_deref(), first.ip.as_deref()), (1, Some("a\u{fffd}"), None));
    assert_eq!((&first.tags[..], &first.user, &first.roles[..]), (&["x".to_owned()][..], &None, &[][..]));
    assert_eq!((second.ts, second.last_input_seconds), (2_000, Some(0)));
    let user = second.user.as_ref().expect("an odd address is no reason to forget who it is");
    assert_eq!((user.id.as_str(), &user.email), ("u", &None));

    let TypedEvent::Health(health) = decoded(
        "health",
        r#"{"ok":"yes","ts":-1,"durationMs":"5","eventLoop":[],"channels":7,"channelOrder":["a",{}],
            "channelLabels":{"a":"A","b":7},"defaultAgentId":"m","heartbeatSeconds":1e400,
            "agents":[{"agentId":"a","name":1,"isDefault":"no","sessions":{"count":2.0,"recent":[{},{"key":"k","age":1}]}},{"name":"?"}]}"#,
    ) else {
        panic!("not a health event")
    };
    assert_eq!((health.ok, health.ts, health.duration, health.heartbeat), (None, None, None, None));
    assert_eq!(health.channel_order, ["a"]);
    assert_eq!(health.channel_labels.get("a").map(String::as_str), Some("A"));
    assert_eq!((health.channel_labels.len(), health.default_agent_id.as_deref()), (1, Some("m")));
    assert_eq!((health.agents.len(), health.agents.skipped()), (1, 1));
    let agent = &health.agents[0];
    assert_eq!((agent.name.as_deref(), agent.is_default, agent.sessions.count), (None, false, 2));
    assert_eq!((agent.sessions.recent.len(), agent.sessions.recent.skipped()), (1, 1));

    let TypedEvent::Chat(chat) = decoded(
        "chat",
        r#"{"runId":"r\ud83d","sessionKey":"s","seq":1.0,"state":"delta","deltaText":"\ude00","replace":1,"agentId":7,"state":"delta"}"#,
    ) else {
        panic!("not a chat event")
    };
    assert_eq!((chat.run_id.as_str(), chat.seq, chat.agent_id), ("r\u{fffd}", 1, None));
    assert_eq!(chat.update, ChatUpdate::Delta { text: "\u{fffd}".to_owned(), replace: false, message: None });
}

/// A value of an app's own type, as deep as JavaScript nests what people write.
#[test]
fn nesting_is_no_reason_to_lose_a_payload() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let agent =
        format!(r#"{{"runId":"r","seq":1,"stream":"tool","ts":1,"data":{{"phase":"end","x":{deep}}}}}"#);
    let TypedEvent::Agent(step) = decoded("agent", &agent) else { panic!("not an agent event") };
    assert_eq!(step.phase().as_deref(), Some("end"));
    assert!(step.data.decode::<Value>().is_ok());
    let rows = format!(r#"{{"presence":[{{"ts":1,"new":{deep}}}]}}"#);
    let TypedEvent::Presence(rows) = decoded("presence", &rows) else { panic!("not a presence event") };
    assert_eq!(rows.len(), 1);
    let bottomless = Payload::from_text(format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)));
    assert!(bottomless.decode::<Value>().is_err(), "an error, and no overflow of a stack");
    assert_eq!(bottomless.get().len(), 200_000);
}
