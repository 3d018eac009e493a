//! What agents do, step by step: the events `agent` and `chat`.
//!
//! `seq` counts the steps of one run. It has nothing to do with the numbers of a connection's events
//! (protocol 11.5).

use serde::Deserialize;

use super::{lenient, whole};
use crate::core::payload::Payload;

/// A step of an agent's run.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AgentEvent {
    /// The run; the same as the idempotency key it was asked for with.
    pub run_id: String,
    /// The number of this step in the run.
    #[serde(deserialize_with = "whole")]
    pub seq: u64,
    /// What kind of step it is.
    pub stream: AgentStream,
    /// When it happened.
    #[serde(deserialize_with = "whole")]
    pub ts: u64,
    /// What happened, in the form of its stream.
    pub data: Payload,
    /// The session it belongs to.
    #[serde(default, deserialize_with = "lenient")]
    pub session_key: Option<String>,
    /// The id of the session's present transcript.
    #[serde(default, deserialize_with = "lenient")]
    pub session_id: Option<String>,
    /// The agent.
    #[serde(default, deserialize_with = "lenient")]
    pub agent_id: Option<String>,
    /// The session that started this run, if one did.
    #[serde(default, deserialize_with = "lenient")]
    pub spawned_by: Option<String>,
    /// Whether the agent looks around by itself, without having been asked.
    #[serde(default, deserialize_with = "lenient")]
    pub is_heartbeat: bool,
}

impl AgentEvent {
    /// The phase that the step says the run is in, like `start`, `end` or `error` of the stream
    /// [`AgentStream::Lifecycle`].
    #[must_use]
    pub fn phase(&self) -> Option<String> {
        self.data.part("phase")?.decode().ok()
    }
}

/// The kind of a step.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(from = "String")]
#[non_exhaustive]
pub enum AgentStream {
    /// The run begins or ends.
    Lifecycle,
    /// What the gateway prepares for the run.
    RunStatus,
    /// The agent speaks.
    Assistant,
    /// The agent uses a tool.
    Tool,
    /// Something went wrong.
    Error,
    /// Any other kind, by its name.
    Other(String),
}

impl From<String> for AgentStream {
    fn from(stream: String) -> Self {
        match &*stream {
            "lifecycle" => Self::Lifecycle,
            "run_status" => Self::RunStatus,
            "assistant" => Self::Assistant,
            "tool" => Self::Tool,
            "error" => Self::Error,
            _ => Self::Other(stream),
        }
    }
}

/// A step of a chat's answer.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "WireChat")]
#[non_exhaustive]
pub struct ChatEvent {
    /// The run; the same as the idempotency key of `chat.send`.
    pub run_id: String,
    /// The session it belongs to.
    pub session_key: String,
    /// The agent that answers.
    pub agent_id: Option<String>,
    /// The session that started this run, if one did.
    pub spawned_by: Option<String>,
    /// The number of this step in the run.
    pub seq: u64,
    /// What is new.
    pub update: ChatUpdate,
}

/// What is new in a chat. Messages are as the gateway keeps them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ChatUpdate {
    /// The answer is being prepared.
    Status {
        /// What is being done, like `preparing_workspace`.
        phase: String,
    },
    /// The answer grew.
    Delta {
        /// What to append, or all of it.
        text: String,
        /// Whether the text takes the place of what came before.
        replace: bool,
        /// The whole message so far, if the gateway sends it along.
        message: Option<Payload>,
    },
    /// The answer is complete. No step follows.
    Final {
        /// The message.
        message: Option<Payload>,
        /// Why the agent stopped.
        stop_reason: Option<String>,
    },
    /// Somebody stopped the answer. No step follows.
    Aborted {
        /// The message as far as it came.
        message: Option<Payload>,
        /// Why, for people.
        error_message: Option<String>,
        /// Why, in a word.
        stop_reason: Option<String>,
    },
    /// The answer failed. No step follows, but more than one such step may come.
    Error {
        /// The message as far as it came.
        message: Option<Payload>,
        /// Why, for people.
        error_message: Option<String>,
        /// The kind of failure.
        kind: Option<ChatErrorKind>,
    },
    /// A kind of step that is not known here.
    Other {
        /// Its name.
        state: String,
    },
}

impl ChatUpdate {
    /// Whether the answer has ended with it.
    #[must_use]
    pub fn is_end(&self) -> bool {
        match self {
            Self::Final { .. } | Self::Aborted { .. } | Self::Error { .. } => true,
            Self::Status { .. } | Self::Delta { .. } | Self::Other { .. } => false,
        }
    }
}

/// Why an answer failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(from = "String")]
#[non_exhaustive]
pub enum ChatErrorKind {
    /// The model will not answer this.
    Refusal,
    /// It took too long.
    Timeout,
    /// The model's provider wants fewer requests.
    RateLimit,
    /// The conversation is longer than the model can read.
    ContextLength,
    /// The gateway does not know either.
    Unknown,
    /// A kind that is not known here.
    Other(String),
}

impl From<String> for ChatErrorKind {
    fn from(kind: String) -> Self {
        match &*kind {
            "refusal" => Self::Refusal,
            "timeout" => Self::Timeout,
            "rate_limit" => Self::RateLimit,
            "context_length" => Self::ContextLength,
            "unknown" => Self::Unknown,
            _ => Self::Other(kind),
        }
    }
}

/// All fields of all states.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireChat {
    run_id: String,
    session_key: String,
    #[serde(default, deserialize_with = "lenient")]
    agent_id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    spawned_by: Option<String>,
    #[serde(deserialize_with = "whole")]
    seq: u64,
    state: String,
    #[serde(default, deserialize_with = "lenient")]
    phase: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    delta_text: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    replace: bool,
    #[serde(default)]
    message: Option<Payload>,
    #[serde(default, deserialize_with = "lenient")]
    error_message: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    error_kind: Option<ChatErrorKind>,
    #[serde(default, deserialize_with = "lenient")]
    stop_reason: Option<String>,
}

impl TryFrom<WireChat> for ChatEvent {
    type Error = &'static str;

    fn try_from(wire: WireChat) -> Result<Self, &'static str> {
        let WireChat { message, error_message, stop_reason, .. } = wire;
        let update = match &*wire.state {
            "status" => ChatUpdate::Status { phase: wire.phase.ok_or("missing field `phase`")? },
            "delta" => ChatUpdate::Delta {
                text: wire.delta_text.ok_or("missing field `deltaText`")?,
                replace: wire.replace,
                message,
            },
            "final" => ChatUpdate::Final { message, stop_reason },
            "aborted" => ChatUpdate::Aborted { message, error_message, stop_reason },
            "error" => ChatUpdate::Error { message, error_message, kind: wire.error_kind },
            _ => ChatUpdate::Other { state: wire.state },
        };
        Ok(Self {
            run_id: wire.run_id,
            session_key: wire.session_key,
            agent_id: wire.agent_id,
            spawned_by: wire.spawned_by,
            seq: wire.seq,
            update,
        })
    }
}
