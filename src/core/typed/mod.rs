//! Events and state with types, for those who show them.
//!
//! A gateway is often newer than its clients. So fields that are not known here are skipped, values that are
//! not known are kept as text in an `Other`, and events that are not known are [`TypedEvent::Unknown`]. A value that may
//! be absent and has another type counts as absent, and a row of a list that cannot be read costs that row ([`Rows`]).
//! What must be there and has another shape is a [`DecodeError`], which never repeats what the payload said: it may be
//! somebody's conversation.
//!
//! Points in time are milliseconds since 1970 by the gateway's clock.

mod health;
mod presence;
mod rows;
mod runs;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use thiserror::Error;

use super::event::Event;
use super::json;
use super::payload::Payload;
use super::peer_text::PeerText;
use super::snapshot::Snapshot;

pub use health::{AgentHealth, EventLoopHealth, Health, RecentSession, SessionsHealth};
pub use presence::{PresenceEntry, PresenceReason, PresenceUser};
pub use rows::Rows;
pub use runs::{AgentEvent, AgentStream, ChatErrorKind, ChatEvent, ChatUpdate};

/// What an event says, if it is one of those that have a type here.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum TypedEvent {
    /// Everybody who is connected, or was until just now: it replaces what was known (protocol 10.3).
    Presence(Rows<PresenceEntry>),
    /// The health of the gateway, whole (protocol 10.4).
    Health(Box<Health>),
    /// A step of an agent's run.
    Agent(AgentEvent),
    /// A step of a chat's answer.
    Chat(ChatEvent),
    /// A sign of life.
    Tick(Tick),
    /// The gateway is about to close all connections.
    Shutdown(ShutdownNotice),
    /// Any other event: see its name and payload.
    Unknown,
}

/// A sign of life (protocol 14.1). The connection watches for it by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Tick {
    /// When it was sent.
    #[serde(deserialize_with = "whole")]
    pub ts: u64,
}

/// Why the gateway closes all connections (protocol 16). What to do about it has been decided: reconnecting
/// follows the close. This is for people.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ShutdownNotice {
    /// In the gateway's words, like `gateway stopping`.
    pub reason: PeerText,
    /// When it expects to be back; absent if it does not.
    #[serde(default, rename = "restartExpectedMs", deserialize_with = "milliseconds")]
    pub restart_expected: Option<Duration>,
}

/// A payload that has not the shape its name promises.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the payload of {what} cannot be decoded: {why}")]
pub struct DecodeError {
    /// The event, or the part of a snapshot.
    pub what: PeerText,
    /// What is wrong, and where; nothing of the payload itself.
    pub why: String,
}

impl Event {
    /// The event with a type. Each call reads the payload anew: keep what it gives.
    ///
    /// # Errors
    /// [`DecodeError`] when an event that has a type here has another shape.
    pub fn decode(&self) -> Result<TypedEvent, DecodeError> {
        #[derive(Deserialize)]
        struct Wire {
            presence: Rows<PresenceEntry>,
        }
        let (what, payload) = (&self.name, &self.payload);
        Ok(match &*self.name {
            "presence" => TypedEvent::Presence(read::<Wire>(what, payload)?.presence),
            "health" => TypedEvent::Health(Box::new(read(what, payload)?)),
            "agent" => TypedEvent::Agent(read(what, payload)?),
            "chat" => TypedEvent::Chat(read(what, payload)?),
            "tick" => TypedEvent::Tick(read(what, payload)?),
            "shutdown" => TypedEvent::Shutdown(read(what, payload)?),
            _ => TypedEvent::Unknown,
        })
    }
}

impl Snapshot {
    /// Everybody who is connected, or was until just now, as of this snapshot.
    ///
    /// # Errors
    /// [`DecodeError`] when it is no list, or none of its rows can be read.
    pub fn typed_presence(&self) -> Result<Rows<PresenceEntry>, DecodeError> {
        read(&"presence".into(), &self.presence)
    }

    /// The health of the gateway as of this snapshot. Just after the gateway's start nothing is known
    /// of it, and every field is empty (protocol 10.1).
    ///
    /// # Errors
    /// [`DecodeError`] when it has another shape.
    pub fn typed_health(&self) -> Result<Health, DecodeError> {
        read(&"health".into(), &self.health)
    }
}

fn read<T: DeserializeOwned>(what: &PeerText, payload: &Payload) -> Result<T, DecodeError> {
    payload.decode().map_err(|error| DecodeError { what: what.clone(), why: explain(&error) })
}

/// Names of missing fields are ours; everything else in such an error may quote the payload.
fn explain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let missing = text.strip_prefix("missing field `").and_then(|rest| rest.split_once('`'));
    let at = format!("line {}, column {}", error.line(), error.column());
    match missing {
        Some((field, _)) => format!("{field} is missing at {at}"),
        None if error.is_data() => format!("a value has another type at {at}"),
        None => format!("it is no JSON at {at}"),
    }
}

/// A time in milliseconds, whole or not. One that makes no sense is none.
fn milliseconds<'de, D: Deserializer<'de>>(wire: D) -> Result<Option<Duration>, D::Error> {
    let milliseconds: Option<f64> = lenient(wire)?;
    Ok(milliseconds.and_then(|time| Duration::try_from_secs_f64(time / 1_000.0).ok()))
}

/// A time in seconds, by the same rule.
fn seconds<'de, D: Deserializer<'de>>(wire: D) -> Result<Option<Duration>, D::Error> {
    let seconds: Option<f64> = lenient(wire)?;
    Ok(seconds.and_then(|time| Duration::try_from_secs_f64(time).ok()))
}

/// What can do without its value: one of another type means the same as `null`, or nothing at all.
fn lenient<'de, D: Deserializer<'de>, T: Default + DeserializeOwned>(wire: D) -> Result<T, D::Error> {
    let raw: Box<RawValue> = Box::deserialize(wire)?;
    Ok(json::read(raw.get()).unwrap_or_default())
}

fn lenient_number<'de, D: Deserializer<'de>>(wire: D) -> Result<Option<u64>, D::Error> {
    let raw: Box<RawValue> = Box::deserialize(wire)?;
    Ok(number(raw.get()))
}

fn lenient_count<'de, D: Deserializer<'de>>(wire: D) -> Result<u64, D::Error> {
    lenient_number(wire).map(Option::unwrap_or_default)
}

/// A number that must be there.
fn whole<'de, D: Deserializer<'de>>(wire: D) -> Result<u64, D::Error> {
    lenient_number(wire)?.ok_or_else(|| D::Error::custom("not a number"))
}

/// Numbers of JavaScript have fractions where nobody rounded them.
fn number(json: &str) -> Option<u64> {
    let fraction = || serde_json::from_str::<f64>(json).ok().filter(|number| *number >= 0.0);
    serde_json::from_str(json).ok().or_else(|| fraction().map(|number| number as u64))
}

/// The texts in a list.
fn texts<'de, D: Deserializer<'de>>(wire: D) -> Result<Vec<String>, D::Error> {
    rows::rows(wire).map(Vec::from)
}

/// The texts in a map.
fn labels<'de, D: Deserializer<'de>>(wire: D) -> Result<BTreeMap<String, String>, D::Error> {
    let labels: BTreeMap<String, Box<RawValue>> = lenient(wire)?;
    let text = |(key, label): (String, Box<RawValue>)| Some((key, json::read(label.get()).ok()?));
    Ok(labels.into_iter().filter_map(text).collect())
}
