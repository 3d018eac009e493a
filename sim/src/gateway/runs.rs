//! Runs of `agent` and `chat.send`, and their idempotency (protocol 12.4, 12.5).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::effect::{ConnectionId, Note};
use super::frame::{self, ErrorShape, Request};
use super::methods::{Reply, invalid};
use super::model::{GatewayModel, Turn};
use super::timer::{Answer, Timer};

/// What became of runs, by run id, which is the idempotency key.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcomes {
    runs: BTreeMap<Arc<str>, Run>,
}

#[derive(Debug, Clone)]
struct Run {
    /// Who gets the second response, and under which id; `None` for `chat.send`.
    caller: Option<(ConnectionId, Arc<str>)>,
    began: Duration,
    /// The final response from `"ok"` on, once the run has ended.
    end: Option<End>,
}

#[derive(Debug, Clone)]
struct End {
    body: String,
    ok: bool,
    at: Duration,
}

impl Outcomes {
    pub(super) fn clear(&mut self) {
        self.runs.clear();
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
        self.begin_run(turn, &key, Some((connection, request.id.clone())), delay);
        Reply::Accepted(accepted)
    }

    pub(super) fn chat_send(&mut self, turn: &mut Turn<'_>, request: &Request, delay: Duration) -> Reply {
        let params = request.params_value();
        if params.get("idempotencyKey").and_then(Value::as_str).is_none_or(str::is_empty) {
            return invalid("invalid chat.send params: must have required property 'idempotencyKey'");
        }
        let key = idempotency_key(&params);
        let status = |status: &str| format!(r#"{{"runId":{},"status":"{status}"}}"#, frame::string(&key));
        if let Some(reply) = self.earlier(turn.now, &key, || Reply::Payload(status("in_flight"))) {
            return reply;
        }
        self.begin_run(turn, &key, None, delay);
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

    fn begin_run(
        &mut self,
        turn: &mut Turn<'_>,
        key: &Arc<str>,
        caller: Option<(ConnectionId, Arc<str>)>,
        delay: Duration,
    ) {
        self.outcomes.runs.insert(key.clone(), Run { caller, began: turn.now, end: None });
        turn.note(Note::RunStarted { run: key.clone() });
        let duration = self.random.latency(self.config.runs.duration);
        self.timers.insert(turn.now + delay + duration, Timer::RunEnds(key.clone()));
    }

    pub(super) fn on_run_ends(&mut self, turn: &mut Turn<'_>, key: &Arc<str>) {
        let run_id = frame::string(key);
        let (body, ok) = match &self.config.runs.error {
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
        };
        let Some(run) = self.outcomes.runs.get_mut(key) else { return };
        run.end = Some(End { body: body.clone(), ok, at: turn.now });
        if let Some((connection, id)) = run.caller.clone() {
            self.deliver(turn, connection, &Answer { id, body, ok, accepted: false });
        }
    }

    pub(super) fn agent_wait(
        &mut self,
        turn: &mut Turn<'_>,
        connection: ConnectionId,
        request: &Request,
        delay: Duration,
    ) -> Reply {
        let _ = (turn, connection, request, delay);
        Reply::Payload(r#"{"status":"timeout"}"#.to_owned())
    }
}

fn idempotency_key(params: &Value) -> Arc<str> {
    params.get("idempotencyKey").and_then(Value::as_str).unwrap_or_default().into()
}
