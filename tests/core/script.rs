//! A script of timed inputs, and the history that follows from it.
//!
//! [`check`] is the one function that runs a core here. It plays the part of a driver: it feeds the
//! inputs, and wakes the core at every deadline in between. At one moment commands go first, then what
//! is due, then the transport. What it returns is for people: a line for every input, and under it a
//! line for every effect.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use onesocket::core::{
    Close, Command, Config, Connection, ConnectionError, DialError, Effect, Epoch, Input, Instant, Options,
    Push, Reply, RequestId, Status, SubscriptionId, WireText,
};
use serde_json::Value;

/// Stands in a scripted frame for the id of the latest `connect`.
pub(crate) const CONNECT: &str = "$connect";

/// The hello of a gateway, but for what tests vary.
pub(crate) const HELLO: &str = r#"{"type":"hello-ok","protocol":4,
    "server":{"version":"2026.9.1","connId":"c"},"features":{"methods":[],"events":[]},
    "snapshot":{"presence":[],"health":{},"stateVersion":{"presence":1,"health":1},"uptimeMs":1},
    "auth":{"role":"operator","scopes":["operator.admin"]},
    "policy":{"maxPayload":26214400,"maxBufferedBytes":52428800,"tickIntervalMs":30000}}"#;

/// The refusal of a gateway that is still starting (protocol 17).
pub(crate) const STARTING: &str = r#"{"code":"UNAVAILABLE","message":"gateway starting","retryable":true,"retryAfterMs":500,"details":{"reason":"startup-sidecars"}}"#;

/// What is to happen to a core, and when.
pub(crate) struct Script {
    options: Options,
    config: Option<Arc<Config>>,
    now: u64,
    end: u64,
    steps: Vec<Step>,
}

struct Step {
    at: u64,
    label: String,
    action: Action,
}

enum Action {
    Input(Input),
    /// A frame in which `$connect` and `$7` stand for the ids of `connect` and of request 7.
    Frame {
        epoch: u64,
        text: String,
    },
    /// A whole handshake, of which only the end is shown.
    Ready {
        epoch: u64,
    },
    /// The history begins here.
    Given,
}

/// The config called `name`: a host and a token of that name.
pub(crate) fn config(name: &str) -> Arc<Config> {
    let config = Config::new(&format!("ws://{name}.local")).expect("a local name may be plaintext");
    Arc::new(config.token(&format!("token-{name}")))
}

/// Options whose waits are plain numbers: the jitter has its own tests.
pub(crate) fn options() -> Options {
    let mut options = Options::default();
    options.backoff.jitter = 0.0;
    options
}

/// A script that begins with the config called `a` and nothing wanted.
pub(crate) fn script() -> Script {
    Script { options: options(), config: Some(config("a")), now: 0, end: 0, steps: Vec::new() }
}

impl Script {
    pub(crate) fn options(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.options);
        self
    }

    pub(crate) fn without_config(mut self) -> Self {
        self.config = None;
        self
    }

    /// Moves the clock, in milliseconds from the start, for the steps that follow.
    pub(crate) fn at(mut self, ms: u64) -> Self {
        assert!(ms >= self.now, "a script runs forward");
        self.now = ms;
        self
    }

    /// Lets everything happen that is due until then.
    pub(crate) fn until(mut self, ms: u64) -> Self {
        self.end = ms;
        self
    }

    fn step(mut self, label: impl Into<String>, action: Action) -> Self {
        self.steps.push(Step { at: self.now, label: label.into(), action });
        self
    }

    fn command(self, label: impl Into<String>, command: Command) -> Self {
        self.step(label, Action::Input(Input::Command(command)))
    }

    pub(crate) fn connect(self) -> Self {
        self.command("connect", Command::Connect)
    }

    pub(crate) fn wake(self) -> Self {
        self.command("wake", Command::Wake)
    }

    pub(crate) fn resume(self) -> Self {
        self.command("resume", Command::Resume)
    }

    pub(crate) fn shut_down(self) -> Self {
        self.command("shut down", Command::ShutDown)
    }

    pub(crate) fn configure(self, name: &str) -> Self {
        self.command(format!("configure {name}"), Command::Configure(Some(config(name))))
    }

    pub(crate) fn configure_with(self, label: &str, config: Config) -> Self {
        self.command(format!("configure {label}"), Command::Configure(Some(Arc::new(config))))
    }

    pub(crate) fn configure_none(self) -> Self {
        self.command("configure nothing", Command::Configure(None))
    }

    pub(crate) fn subscribe(self, id: u64) -> Self {
        self.command(format!("subscribe {id}"), Command::Subscribe { id: SubscriptionId(id) })
    }

    pub(crate) fn unsubscribe(self, id: u64) -> Self {
        self.command(format!("unsubscribe {id}"), Command::Unsubscribe { id: SubscriptionId(id) })
    }

    /// A request with the default deadline of half a minute.
    pub(crate) fn request(self, id: u64) -> Self {
        self.request_with(id, Some(30_000), Reply::First, "")
    }

    /// A request that is meant for one connection only.
    pub(crate) fn request_only_on(self, epoch: u64, id: u64) -> Self {
        let label = format!("request #{id} on {epoch} only");
        self.command(label, request(id, Some(30_000), Reply::First, "", Some(Epoch(epoch))))
    }

    /// A request that its caller made a while ago.
    pub(crate) fn request_after(self, waited_ms: u64, id: u64, timeout_ms: u64) -> Self {
        let mut command = request(id, Some(timeout_ms), Reply::First, "", None);
        if let Command::Request { waited, .. } = &mut command {
            *waited = Duration::from_millis(waited_ms);
        }
        self.command(format!("request #{id}, made {waited_ms} ms ago for {timeout_ms} ms"), command)
    }

    pub(crate) fn request_for(self, id: u64, timeout_ms: Option<u64>) -> Self {
        self.request_with(id, timeout_ms, Reply::First, "")
    }

    /// A request that waits for the final of two answers.
    pub(crate) fn request_final(self, id: u64) -> Self {
        self.request_with(id, None, Reply::Final, "")
    }

    /// A request whose parameters are `padding` bytes longer than they need to be.
    pub(crate) fn request_sized(self, id: u64, padding: usize) -> Self {
        self.request_with(id, None, Reply::First, &"x".repeat(padding))
    }

    fn request_with(self, id: u64, timeout_ms: Option<u64>, reply: Reply, padding: &str) -> Self {
        let mut label = format!("request #{id}");
        if reply == Reply::Final {
            label.push_str(" to its final answer");
        }
        if !padding.is_empty() {
            let _ = write!(label, " with {} bytes more", padding.len());
        }
        self.command(label, request(id, timeout_ms, reply, padding, None))
    }

    pub(crate) fn cancel(self, id: u64) -> Self {
        self.command(format!("cancel #{id}"), Command::Cancel { id: RequestId(id) })
    }

    pub(crate) fn opened(self, epoch: u64) -> Self {
        self.step(format!("opened {epoch}"), Action::Input(Input::Opened { epoch: Epoch(epoch) }))
    }

    pub(crate) fn refused(self, epoch: u64) -> Self {
        let input = Input::DialFailed { epoch: Epoch(epoch), error: DialError::Refused };
        self.step(format!("dial {epoch} refused"), Action::Input(input))
    }

    pub(crate) fn unsupported(self, epoch: u64) -> Self {
        let error = DialError::Unsupported("no TLS here".to_owned());
        let input = Input::DialFailed { epoch: Epoch(epoch), error };
        self.step(format!("dial {epoch} unsupported"), Action::Input(input))
    }

    pub(crate) fn lost(self, epoch: u64) -> Self {
        let input = Input::Closed { epoch: Epoch(epoch), error: ConnectionError::Lost("reset".to_owned()) };
        self.step(format!("lost {epoch}"), Action::Input(input))
    }

    pub(crate) fn closed(self, epoch: u64, code: u16, reason: &str) -> Self {
        let error = ConnectionError::Closed { code, reason: reason.to_owned() };
        let input = Input::Closed { epoch: Epoch(epoch), error };
        self.step(format!("closed {epoch} with {code} {reason:?}"), Action::Input(input))
    }

    pub(crate) fn activity(self, epoch: u64) -> Self {
        self.step(format!("activity on {epoch}"), Action::Input(Input::Activity { epoch: Epoch(epoch) }))
    }

    pub(crate) fn written(self, epoch: u64, frames: usize) -> Self {
        let input = Input::Written { epoch: Epoch(epoch), frames };
        self.step(format!("written {frames} on {epoch}"), Action::Input(input))
    }

    /// Any text that arrives, described by `label`.
    pub(crate) fn frame(self, epoch: u64, label: &str, text: &str) -> Self {
        let label = format!("{label} on {epoch}");
        self.step(label, Action::Frame { epoch, text: text.to_owned() })
    }

    pub(crate) fn challenge(self, epoch: u64) -> Self {
        self.frame(epoch, "challenge", &challenge())
    }

    pub(crate) fn hello(self, epoch: u64, hello: &str) -> Self {
        self.frame(epoch, "hello", &answer(CONNECT, hello))
    }

    /// Opened, challenged and greeted, all at once.
    pub(crate) fn ready(self, epoch: u64) -> Self {
        self.step(format!("handshake on {epoch}"), Action::Ready { epoch })
    }

    /// All before this, and what is due by now, is taken for granted: the history does not show it.
    pub(crate) fn given(self) -> Self {
        self.step("", Action::Given)
    }

    /// The gateway refuses `connect` for this reason.
    pub(crate) fn refuse(self, epoch: u64, error: &str) -> Self {
        self.frame(epoch, &format!("refusal {error}"), &refusal(CONNECT, error))
    }

    /// The gateway answers request `id`.
    pub(crate) fn reply(self, epoch: u64, id: u64, payload: &str) -> Self {
        self.frame(epoch, &format!("answer to #{id}"), &answer(&format!("${id}"), payload))
    }

    /// The gateway says no to request `id`.
    pub(crate) fn reject(self, epoch: u64, id: u64, error: &str) -> Self {
        self.frame(epoch, &format!("error for #{id}"), &refusal(&format!("${id}"), error))
    }

    pub(crate) fn event(self, epoch: u64, name: &str, seq: impl Into<Option<u64>>) -> Self {
        let seq = seq.into().map_or(String::new(), |seq| format!(r#","seq":{seq}"#));
        let text = format!(r#"{{"type":"event","event":"{name}","payload":{{}}{seq}}}"#);
        self.frame(epoch, &format!("event {name}{seq}").replace(r#","seq":"#, " "), &text)
    }
}

fn request(id: u64, timeout_ms: Option<u64>, reply: Reply, padding: &str, only_on: Option<Epoch>) -> Command {
    Command::Request {
        id: RequestId(id),
        method: Arc::from("echo"),
        params: Some(Arc::from(format!(r#"{{"n":{id},"pad":"{padding}"}}"#))),
        timeout: timeout_ms.map(Duration::from_millis),
        waited: Duration::ZERO,
        reply,
        only_on,
    }
}

pub(crate) fn challenge() -> String {
    r#"{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}}"#.to_owned()
}

pub(crate) fn answer(id: &str, payload: &str) -> String {
    format!(r#"{{"type":"res","id":"{id}","ok":true,"payload":{payload}}}"#)
}

pub(crate) fn refusal(id: &str, error: &str) -> String {
    format!(r#"{{"type":"res","id":"{id}","ok":false,"error":{error}}}"#)
}

/// Runs `script` and tells what happened.
///
/// Every step is also taken by a clone of the core, which must do the same and become the same.
pub(crate) fn check(script: Script) -> String {
    let core = Connection::new(script.config, script.options, 7).expect("the options are valid");
    let mut player = Player { core, history: String::new(), ids: BTreeMap::new() };
    for step in script.steps {
        let now = Instant::from_millis(step.at);
        // A transport can only speak of a dial that has happened, so what is due goes first.
        let from_transport = !matches!(step.action, Action::Input(Input::Command(_)));
        player.run_due(now, from_transport);
        player.act(now, &step.label, step.action);
    }
    player.run_due(Instant::from_millis(script.end), true);
    player.end();
    player.history
}

struct Player {
    core: Connection,
    history: String,
    /// The wire ids, by their name in scripts.
    ids: BTreeMap<String, String>,
}

impl Player {
    fn line(&mut self, line: &str) {
        self.history.push_str(line);
        self.history.push('\n');
    }

    /// Wakes the core at each deadline before `now`, and also at `now` if that is `included`.
    fn run_due(&mut self, now: Instant, included: bool) {
        let mut wakes = 0;
        while let Some(at) = self.core.next_deadline().filter(|at| *at < now || (included && *at == now)) {
            let shown = self.step(at, Input::Timeout);
            if !shown.is_empty() {
                self.line(&format!("{at} due"));
                self.show(&shown);
            }
            wakes += 1;
            assert!(wakes < 10_000, "the core spins");
        }
    }

    fn act(&mut self, now: Instant, label: &str, action: Action) {
        self.line(&format!("{now} {label}"));
        let effects = match action {
            Action::Given => return self.history.clear(),
            Action::Input(input) => self.step(now, input),
            Action::Frame { epoch, text } => self.receive(now, epoch, &text),
            Action::Ready { epoch } => {
                self.step(now, Input::Opened { epoch: Epoch(epoch) });
                self.receive(now, epoch, &challenge());
                self.receive(now, epoch, &answer(CONNECT, HELLO))
            }
        };
        self.show(&effects);
    }

    fn receive(&mut self, now: Instant, epoch: u64, text: &str) -> Vec<Effect> {
        let mut text = text.to_owned();
        // The longest names first, so that `$1` does not take the beginning of `$12`.
        for (name, id) in self.ids.iter().rev() {
            text = text.replace(name, id);
        }
        self.step(now, Input::Received { epoch: Epoch(epoch), text: WireText::from(text.as_str()) })
    }

    fn step(&mut self, now: Instant, input: Input) -> Vec<Effect> {
        let mut twin = self.core.clone();
        let (mut effects, mut twins) = (Vec::new(), Vec::new());
        self.core.step(now, input.clone(), &mut effects);
        twin.step(now, input, &mut twins);
        assert!(self.core == twin && effects == twins, "a clone acts like its original");
        for effect in &effects {
            if let Effect::Transmit { text, .. } = effect {
                self.learn(&text.0);
            }
        }
        effects
    }

    /// Scripts name requests by the number in their parameters; this is where the id is learned.
    fn learn(&mut self, text: &str) {
        let frame: Value = serde_json::from_str(text).expect("a frame is JSON");
        let name = match frame["params"]["n"].as_u64() {
            Some(number) => format!("${number}"),
            None => CONNECT.to_owned(),
        };
        self.ids.insert(name, frame["id"].as_str().expect("an id is a string").to_owned());
    }

    fn show(&mut self, effects: &[Effect]) {
        for effect in effects {
            self.line(&format!("  {}", tell(effect)));
        }
    }

    fn end(&mut self) {
        let deadline = self.core.next_deadline().map_or("none".to_owned(), |at| at.to_string());
        self.line(&format!("end: next deadline {deadline}, {} pending", self.core.pending()));
    }
}

/// An effect in a few words.
pub(crate) fn tell(effect: &Effect) -> String {
    match effect {
        Effect::Dial { epoch, endpoint } => {
            format!("dial {epoch} to {}", endpoint.host().trim_end_matches(".local"))
        }
        Effect::Transmit { epoch, text } => format!("transmit on {epoch}: {}", tell_request(&text.0)),
        Effect::HangUp { epoch, close: Close::Now { code, reason } } => {
            format!("hang up {epoch} now: {code} {reason:?}")
        }
        Effect::HangUp { epoch, close: Close::Graceful { code, reason } } => {
            format!("hang up {epoch} gracefully: {code} {reason:?}")
        }
        Effect::LoadToken { epoch, key } => format!("load the token of {} for {epoch}", key.gateway),
        Effect::SaveToken { key, token } => {
            format!("save {} of {} with {:?}", token.token.expose(), key.role, token.scopes)
        }
        Effect::AdoptToken { key, token } => {
            format!("adopt {} of {} with {:?}", token.token.expose(), key.role, token.scopes)
        }
        Effect::ClearToken { token, .. } => format!("clear {}", token.expose()),
        Effect::Accepted { id, payload } => format!("accepted #{}: {}", id.0, payload.get()),
        Effect::Complete { id, outcome: Ok(response) } => {
            format!("complete #{} over {}: {}", id.0, response.epoch, response.payload.get())
        }
        Effect::Complete { id, outcome: Err(error) } => {
            format!("fail #{} ({:?}): {}", id.0, error.delivery, error.kind)
        }
        Effect::Deliver { to, push } => format!("to {}: {}", to.0, tell_push(push)),
        Effect::Status(status) => format!("status: {}", tell_status(status)),
        Effect::Stopped => "stopped".to_owned(),
    }
}

fn tell_request(text: &str) -> String {
    let frame: Value = serde_json::from_str(text).expect("a frame is JSON");
    match frame["params"]["n"].as_u64() {
        Some(number) => format!("#{number}"),
        None => format!("{} {}", frame["method"].as_str().unwrap_or_default(), frame["params"]["auth"]),
    }
}

pub(crate) fn tell_push(push: &Push) -> String {
    match push {
        Push::Snapshot(snapshot) => format!(
            "snapshot of {} (presence {} {}, health {} {})",
            snapshot.epoch(),
            snapshot.state_version.presence,
            snapshot.presence.get(),
            snapshot.state_version.health,
            snapshot.health.get(),
        ),
        Push::Event(event) => {
            let seq = event.seq.map_or("without number".to_owned(), |seq| format!("{seq}"));
            format!("event {} {seq} of {}", event.name, event.epoch)
        }
        Push::Gap(gap) => {
            format!("gap of {}: expected {}, received {}", gap.epoch, gap.expected, gap.received)
        }
        Push::Status(status) => format!("status {}", tell_status(status)),
        Push::Lagged { missed } => format!("lagged {missed}"),
        Push::Closed => "closed".to_owned(),
        other => format!("{other:?}"),
    }
}

fn tell_status(status: &Status) -> String {
    match status {
        Status::Connecting { epoch, attempt } => format!("connecting {epoch}, attempt {attempt}"),
        Status::Handshaking { epoch } => format!("handshaking {epoch}"),
        Status::Ready { epoch } => format!("ready {epoch}"),
        Status::Backoff { attempt, until, cause } => {
            format!("backoff after attempt {attempt} until {until}: {cause}")
        }
        Status::Paused(reason) => format!("paused: {reason}"),
        Status::Idle => "idle".to_owned(),
        Status::NotConfigured => "not configured".to_owned(),
        Status::Closing => "closing".to_owned(),
        Status::Stopped => "stopped".to_owned(),
        other => format!("{other:?}"),
    }
}
