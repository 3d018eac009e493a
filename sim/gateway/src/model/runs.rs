//! Runs of `agent` and `chat.send`, and their idempotency (protocol 12.4, 12.5).
//!
//! ```text
//!  agent     --> accepted ----(duration)----> final response, same id     task events around it
//!  chat.send --> started  ----(duration)----> nothing more                chat and agent events
//!  either, same key again: while it runs, an acknowledgement; afterwards, the cached outcome
//! ```
//!
//! Runs go on when their caller disconnects (protocol 12.10); they die with the process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::broadcast::Event;
use super::effect::{ConnectionId, ModelEvent};
use super::frame::{self, ErrorShape, Request};
use super::gateway_model::{GatewayModel, Turn};
use super::methods::{Reply, invalid};
use super::requests::capacity_exceeded;
use super::scope::Scope;
use super::timer::{Answer, Timer};

/// How long `agent.wait` waits when it does not say.
const WAIT_DEFAULT: Duration = Duration::from_secs(30);

/// Calls of `agent.wait` that wait at a time. A real gateway has no such limit; the model must not grow for ever.
const WAITS_MAX: usize = 4096;

/// What became of runs, by run id, which is the idempotency key.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcomes {
    runs: BTreeMap<Arc<str>, Run>,
    /// Calls of `agent.wait` for runs that have not ended.
    waits: Vec<Wait>,
}

#[derive(Debug, Clone)]
struct Run {
    kind: Kind,
    began: Duration,
    end: Option<End>,
}

#[derive(Debug, Clone)]
enum Kind {
    /// The caller gets a second response under this id.
    Agent {
        caller: ConnectionId,
        id: Arc<str>,
    },
    Chat,
}

#[derive(Debug, Clone)]
struct End {
    /// The final response from `"ok"` on.
    body: String,
    ok: bool,
    at: Duration,
}

#[derive(Debug, Clone)]
struct Wait {
    run: Arc<str>,
    caller: ConnectionId,
    id: Arc<str>,
}

impl Outcomes {
    pub(super) fn clear(&mut self) {
        self.runs.clear();
        self.waits.clear();
    }

    /// Forgets outcomes that are too old, and the oldest if there are too many.
    fn prune(&mut self, now: Duration, window: Duration, entries_max: usize) {
        self.runs.retain(|_, run| run.end.as_ref().is_none_or(|end| now.saturating_sub(end.at) < window));
        while self.runs.len() >= entries_max.max(1) {
            let oldest = self.runs.iter().min_by_key(|(_, run)| run.began).map(|(id, _)| id.clone());
            let Some(oldest) = oldest else { return };
            self.runs.remove(&oldest);
        }
    }
}

impl GatewayModel {
    pub(super) fn agent(
        &mut self,
        turn: &mut Turn<'_>,
        connection: ConnectionId,
        request: &Request,
        delay: Duration,
    ) -> Reply {
        let key = idempotency_key(&request.params_value());
        let accepted_at = self.unix_ms(turn.now);
        let accepted = format!(
            r#"{{"runId":{},"sessionKey":"agent:main:main","agentId":"main","status":"accepted","acceptedAt":{accepted_at}}}"#,
            frame::string(&key),
        );
        if let Some(reply) = self.earlier(turn.now, &key, || Reply::Payload(accepted.clone())) {
            return reply;
        }
        let kind = Kind::Agent { caller: connection, id: request.id.clone() };
        self.begin_run(turn, &key, kind, delay);
        Reply::Accepted(accepted)
    }

    pub(super) fn chat_send(&mut self, turn: &mut Turn<'_>, request: &Request, delay: Duration) -> Reply {
        let params = request.params_value();
        if params.get("sessionKey").and_then(Value::as_str).is_none_or(str::is_empty) {
            // The gateway looks for the session before it validates the params.
            let error = ErrorShape::invalid_request("session mutation target is unavailable")
                .with_details(r#"{"code":"SESSION_MUTATION_TARGET_REQUIRED","method":"chat.send"}"#);
            return Reply::Error(Box::new(error));
        }
        let key = idempotency_key(&params);
        if key.is_empty() {
            return invalid("invalid chat.send params: must have required property 'idempotencyKey'");
        }
        let status = |status: &str| format!(r#"{{"runId":{},"status":"{status}"}}"#, frame::string(&key));
        if let Some(reply) = self.earlier(turn.now, &key, || Reply::Payload(status("in_flight"))) {
            return reply;
        }
        self.begin_run(turn, &key, Kind::Chat, delay);
        Reply::Payload(status("started"))
    }

    /// The answer to a repeated key: the cached outcome, or what is said while the run goes on.
    fn earlier(&mut self, now: Duration, key: &str, running: impl Fn() -> Reply) -> Option<Reply> {
        let (window, entries) =
            (self.config.timing.idempotency_window, self.config.limits.idempotency_entries);
        self.outcomes.prune(now, window, entries);
        let run = self.outcomes.runs.get(key)?;
        Some(match &run.end {
            Some(end) => Reply::Outcome { body: end.body.clone(), ok: end.ok },
            None => running(),
        })
    }

    fn begin_run(&mut self, turn: &mut Turn<'_>, key: &Arc<str>, kind: Kind, delay: Duration) {
        self.outcomes.runs.insert(key.clone(), Run { kind, began: turn.now, end: None });
        turn.note(ModelEvent::RunStarted { run: key.clone() });
        let duration = self.random.latency(self.config.runs.duration);
        if self.config.runs.events {
            self.timers.insert(turn.now + delay, Timer::RunBegins(key.clone()));
        }
        self.timers.insert(turn.now + delay + duration, Timer::RunEnds(key.clone()));
    }

    pub(super) fn on_run_begins(&mut self, turn: &mut Turn<'_>, key: &str) {
        let Some(run) = self.outcomes.runs.get(key) else { return };
        let run_id = frame::string(key);
        match run.kind {
            Kind::Agent { .. } => self.send_task(turn, &run_id, "running"),
            Kind::Chat => {
                let ts = self.unix_ms(turn.now);
                self.send_run(
                    turn,
                    "chat",
                    &chat(&run_id, 1, r#""state":"status","phase":"preparing_workspace""#),
                );
                let data = format!(
                    r#"{{"runId":{run_id},"stream":"run_status","data":{{"phase":"preparing_workspace"}},{SESSION},"seq":1,"ts":{ts},"isHeartbeat":false}}"#
                );
                self.send_run(turn, "agent", &data);
            }
        }
    }

    pub(super) fn on_run_ends(&mut self, turn: &mut Turn<'_>, key: &Arc<str>) {
        let run_id = frame::string(key);
        let (body, ok) = self.final_body(&run_id);
        let Some(run) = self.outcomes.runs.get_mut(key) else { return };
        run.end = Some(End { body: body.clone(), ok, at: turn.now });
        let kind = run.kind.clone();
        if self.config.runs.events {
            self.announce_end(turn, &kind, &run_id);
        }
        if let Kind::Agent { caller, id } = kind {
            self.deliver(turn, caller, &Answer { id, body, ok, accepted: false });
        }
        let ended = |wait: &Wait| wait.run == *key;
        let waits = std::mem::take(&mut self.outcomes.waits);
        let (ended, waiting) = waits.into_iter().partition(ended);
        self.outcomes.waits = waiting;
        for wait in ended {
            let body = frame::ok_body(&self.wait_payload(key, turn.now));
            self.deliver(turn, wait.caller, &Answer { id: wait.id, body, ok: true, accepted: false });
        }
    }

    fn final_body(&self, run_id: &str) -> (String, bool) {
        match &self.config.runs.error {
            None => {
                let payload =
                    format!(r#"{{"runId":{run_id},"status":"ok","summary":"completed","result":{{}}}}"#);
                (frame::ok_body(&payload), true)
            }
            Some(message) => {
                let summary = frame::string(message);
                let payload = format!(r#"{{"runId":{run_id},"status":"error","summary":{summary}}}"#);
                (frame::error_body(Some(&payload), &ErrorShape::new("UNAVAILABLE", message.clone())), false)
            }
        }
    }

    fn announce_end(&mut self, turn: &mut Turn<'_>, kind: &Kind, run_id: &str) {
        let ts = self.unix_ms(turn.now);
        let error = self.config.runs.error.as_deref().map(frame::string);
        match kind {
            Kind::Agent { .. } => {
                self.send_task(turn, run_id, if error.is_some() { "failed" } else { "succeeded" });
            }
            Kind::Chat => {
                let (phase, detail) = match &error {
                    Some(error) => ("error", format!(r#","error":{error}"#)),
                    None => ("end", String::new()),
                };
                let data = format!(
                    r#"{{"runId":{run_id},"stream":"lifecycle","data":{{"phase":"{phase}","endedAt":{ts}{detail}}},{SESSION},"seq":2,"ts":{ts},"isHeartbeat":false}}"#
                );
                self.send_run(turn, "agent", &data);
                let state = match &error {
                    Some(error) => format!(r#""state":"error","errorMessage":{error}"#),
                    None => r#""state":"final","message":{"role":"assistant","content":[]}"#.to_owned(),
                };
                self.send_run(turn, "chat", &chat(run_id, 2, &state));
            }
        }
    }

    fn send_task(&mut self, turn: &mut Turn<'_>, run_id: &str, status: &str) {
        let ts = self.unix_ms(turn.now);
        let payload = format!(
            r#"{{"action":"upserted","task":{{"id":{run_id},"taskId":{run_id},"kind":"cli","runtime":"cli","status":"{status}","title":"run",{SESSION},"ownerKey":"agent:main:main","runId":{run_id},"sourceId":{run_id},"updatedAt":{ts},"deliveryStatus":"not_applicable"}}}}"#
        );
        self.send_run(turn, "task", &payload);
    }

    fn send_run(&mut self, turn: &mut Turn<'_>, name: &'static str, payload: &str) {
        self.broadcast(turn, &Event::new(name, payload).gated(Scope::Read));
    }

    /// Answers when the run has ended, or says `timeout`.
    pub(super) fn agent_wait(
        &mut self,
        turn: &mut Turn<'_>,
        connection: ConnectionId,
        request: &Request,
    ) -> Reply {
        let params = request.params_value();
        let run: Arc<str> = params.get("runId").and_then(Value::as_str).unwrap_or_default().into();
        if self.outcomes.runs.get(&run).is_some_and(|run| run.end.is_some()) {
            return Reply::Payload(self.wait_payload(&run, turn.now));
        }
        if self.outcomes.waits.len() >= WAITS_MAX {
            return Reply::Error(Box::new(capacity_exceeded()));
        }
        let timeout =
            params.get("timeoutMs").and_then(Value::as_u64).map_or(WAIT_DEFAULT, Duration::from_millis);
        let id = request.id.clone();
        self.outcomes.waits.push(Wait { run, caller: connection, id: id.clone() });
        self.timers.insert(turn.now + timeout, Timer::WaitExpires { connection, id });
        Reply::Later
    }

    /// Nobody is left to be told.
    pub(super) fn forget_waits(&mut self, caller: ConnectionId) {
        if self.outcomes.waits.iter().any(|wait| wait.caller == caller) {
            self.outcomes.waits.retain(|wait| wait.caller != caller);
            self.timers.retain(
                |timer| !matches!(timer, Timer::WaitExpires { connection, .. } if *connection == caller),
            );
        }
    }

    pub(super) fn on_wait_expires(&mut self, turn: &mut Turn<'_>, connection: ConnectionId, id: &Arc<str>) {
        let expired = |wait: &Wait| wait.caller == connection && wait.id == *id;
        let Some(index) = self.outcomes.waits.iter().position(expired) else { return };
        let wait = self.outcomes.waits.remove(index);
        let body = frame::ok_body(&format!(r#"{{"runId":{},"status":"timeout"}}"#, frame::string(&wait.run)));
        self.deliver(turn, connection, &Answer { id: wait.id, body, ok: true, accepted: false });
    }

    fn wait_payload(&self, run: &str, now: Duration) -> String {
        let end = self.outcomes.runs.get(run).and_then(|run| run.end.as_ref());
        let ended_at = self.unix_ms(end.map_or(now, |end| end.at));
        let run_id = frame::string(run);
        match &self.config.runs.error {
            None => format!(r#"{{"runId":{run_id},"status":"ok","endedAt":{ended_at}}}"#),
            Some(error) => {
                let error = frame::string(error);
                format!(r#"{{"runId":{run_id},"status":"error","endedAt":{ended_at},"error":{error}}}"#)
            }
        }
    }
}

/// The session every run belongs to.
const SESSION: &str = r#""sessionKey":"agent:main:main","agentId":"main""#;

fn chat(run_id: &str, seq: u64, state: &str) -> String {
    format!(r#"{{"runId":{run_id},{SESSION},"seq":{seq},{state}}}"#)
}

fn idempotency_key(params: &Value) -> Arc<str> {
    params.get("idempotencyKey").and_then(Value::as_str).unwrap_or_default().into()
}
