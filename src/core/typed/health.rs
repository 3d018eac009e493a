//! How the gateway is (protocol 10.4).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::rows::{Rows, rows};
use super::{labels, lenient, lenient_count, lenient_number, milliseconds, seconds, texts};
use crate::core::payload::Payload;

/// The gateway's summary of itself: of hello, of a `health` event, and of the answer to the method `health`.
///
/// A gateway that has just started knows nothing yet and sends an empty one.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Health {
    /// Whether the gateway thinks that it is well.
    #[serde(default, deserialize_with = "lenient")]
    pub ok: Option<bool>,
    /// When this was collected.
    #[serde(default, deserialize_with = "lenient_number")]
    pub ts: Option<u64>,
    /// How long collecting it took.
    #[serde(default, rename = "durationMs", deserialize_with = "milliseconds")]
    pub duration: Option<Duration>,
    /// How busy the gateway is.
    #[serde(default, deserialize_with = "lenient")]
    pub event_loop: Option<EventLoopHealth>,
    /// Each channel by its id, as the channel's plugin says it.
    #[serde(default, deserialize_with = "lenient")]
    pub channels: BTreeMap<String, Payload>,
    /// The order in which people expect the channels.
    #[serde(default, deserialize_with = "texts")]
    pub channel_order: Vec<String>,
    /// The names that people know the channels by.
    #[serde(default, deserialize_with = "labels")]
    pub channel_labels: BTreeMap<String, String>,
    /// How often agents look around by themselves.
    #[serde(default, rename = "heartbeatSeconds", deserialize_with = "seconds")]
    pub heartbeat: Option<Duration>,
    /// The agent that answers when nobody names one.
    #[serde(default, deserialize_with = "lenient")]
    pub default_agent_id: Option<String>,
    /// The agents.
    #[serde(default, deserialize_with = "rows")]
    pub agents: Rows<AgentHealth>,
    /// The sessions of all agents.
    #[serde(default, deserialize_with = "lenient")]
    pub sessions: SessionsHealth,
}

/// How busy the gateway is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EventLoopHealth {
    /// Whether it is so busy that answers are late.
    #[serde(default, deserialize_with = "lenient")]
    pub degraded: bool,
    /// Why it is.
    #[serde(default, deserialize_with = "texts")]
    pub reasons: Vec<String>,
    /// How late all but the latest hundredth of its work is.
    #[serde(default, rename = "delayP99Ms", deserialize_with = "milliseconds")]
    pub delay_p99: Option<Duration>,
    /// How much of the time it is busy, from 0 to 1.
    #[serde(default, deserialize_with = "lenient")]
    pub utilization: Option<f64>,
}

/// One agent.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AgentHealth {
    /// Its id.
    pub agent_id: String,
    /// Its name for people.
    #[serde(default, deserialize_with = "lenient")]
    pub name: Option<String>,
    /// Whether it answers when nobody names one.
    #[serde(default, deserialize_with = "lenient")]
    pub is_default: bool,
    /// Its sessions.
    #[serde(default, deserialize_with = "lenient")]
    pub sessions: SessionsHealth,
}

/// Some sessions.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SessionsHealth {
    /// How many there are.
    #[serde(default, deserialize_with = "lenient_count")]
    pub count: u64,
    /// The latest of them.
    #[serde(default, deserialize_with = "rows")]
    pub recent: Rows<RecentSession>,
}

/// A session that was used lately.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RecentSession {
    /// Its key.
    pub key: String,
    /// When it last changed.
    #[serde(default, deserialize_with = "lenient_number")]
    pub updated_at: Option<u64>,
    /// How long ago that was when the summary was made.
    #[serde(default, deserialize_with = "milliseconds")]
    pub age: Option<Duration>,
}
