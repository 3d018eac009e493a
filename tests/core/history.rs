//! The history that follows from a script.
//!
//! [`check`] is the one function that runs a script. It plays the part of a driver: it feeds the
//! inputs, and wakes the core at every deadline in between. At one moment commands go first, then what
//! is due, then the transport. What it returns is for people: a line for every input, and under it the
//! effects, each of them once and in order.

use std::collections::BTreeMap;

use onesocket::core::{Close, Connection, Effect, Epoch, Ignored, Input, Instant, Push, Status, WireText};
use serde_json::Value;

use crate::script::{Action, CONNECT, HELLO, Script, answer, challenge};

/// Runs `script` and writes down what happened.
///
/// Every step is also taken by a clone of the core, which must do the same and become the same.
pub(crate) fn check(script: Script) -> String {
    let core = Connection::new(script.config, script.options, 7).expect("the options are valid");
    let core = if script.has_token_store { core.with_token_store() } else { core };
    let mut player = Player { core, history: String::new(), now: Instant::ZERO, ids: BTreeMap::new() };
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
    now: Instant,
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
        let due = |core: &Connection| {
            let at = core.next_deadline()?.at;
            (at < now || (included && at == now)).then_some(at)
        };
        while let Some(at) = due(&self.core) {
            // What becomes known late may be overdue.
            let at = at.max(self.now);
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
        self.now = now;
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

    /// A line for each effect; but a dial and its status are one line, and so are a status and the pushes
    /// that repeat it to subscribers.
    fn show(&mut self, effects: &[Effect]) {
        let mut rest = effects;
        loop {
            let (line, after) = match rest {
                [] => return,
                [
                    dial @ Effect::Dial { epoch, .. },
                    Effect::Status(Status::Connecting { epoch: of, attempt }),
                    after @ ..,
                ] if epoch == of => (format!("{}, attempt {attempt}", tell(dial)), after),
                [Effect::Status(status), after @ ..] => {
                    let also = subscribers_notified(after, status);
                    let line = match also.is_empty() {
                        true => tell(&rest[0]),
                        false => format!("status, also to {}: {}", also.join(", "), tell_status(status)),
                    };
                    (line, &after[also.len()..])
                }
                [effect, after @ ..] => (tell(effect), after),
            };
            self.line(&format!("  {line}"));
            rest = after;
        }
    }

    fn end(&mut self) {
        let deadline =
            self.core.next_deadline().map_or("none".to_owned(), |deadline| deadline.at.to_string());
        self.line(&format!("end: next deadline {deadline}, {} pending", self.core.pending()));
    }
}

/// The subscribers that are given `status` by the first of these effects.
fn subscribers_notified(effects: &[Effect], status: &Status) -> Vec<String> {
    let notified = |effect: &Effect| match effect {
        Effect::Deliver { to, push: Push::Status(of) } if of == status => Some(to.0.to_string()),
        _ => None,
    };
    effects.iter().map_while(notified).collect()
}

/// An effect in a few words.
pub(crate) fn tell(effect: &Effect) -> String {
    match effect {
        Effect::Dial { epoch, endpoint, headers: _ } => {
            format!("dial {epoch} to {}", endpoint.host().trim_end_matches(".local"))
        }
        Effect::Transmit { epoch, text } => format!("transmit on {epoch}: {}", tell_request(&text.0)),
        Effect::Ping { epoch } => format!("ping {epoch}"),
        Effect::Ignored(reason) => format!("ignored: {}", tell_ignored(*reason)),
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

fn tell_ignored(reason: Ignored) -> String {
    match reason {
        Ignored::NotText => "no text".to_owned(),
        Ignored::NoFrame(error) => error.to_string(),
        Ignored::Unawaited => "nobody waits for this answer".to_owned(),
        Ignored::Challenge => "a challenge after connect".to_owned(),
        other => format!("{other:?}"),
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
        Status::Settling { until } => format!("settling until {until}"),
        Status::Closing => "closing".to_owned(),
        Status::Stopped => "stopped".to_owned(),
        other => format!("{other:?}"),
    }
}
