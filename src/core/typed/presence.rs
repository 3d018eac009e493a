//! Who is connected (protocol 10.2).

use serde::Deserialize;

use super::{lenient, lenient_number, texts, whole};

/// One row of the presence list: a client, a node, or the gateway itself.
///
/// A row outlives its connection by some minutes, with the reason [`PresenceReason::Disconnect`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PresenceEntry {
    /// When the row last changed.
    #[serde(deserialize_with = "whole")]
    pub ts: u64,
    /// The name it goes by.
    #[serde(default, deserialize_with = "lenient")]
    pub host: Option<String>,
    /// Its address.
    #[serde(default, deserialize_with = "lenient")]
    pub ip: Option<String>,
    /// Its version.
    #[serde(default, deserialize_with = "lenient")]
    pub version: Option<String>,
    /// Its operating system.
    #[serde(default, deserialize_with = "lenient")]
    pub platform: Option<String>,
    /// The kind of device.
    #[serde(default, deserialize_with = "lenient")]
    pub device_family: Option<String>,
    /// The model of the device.
    #[serde(default, deserialize_with = "lenient")]
    pub model_identifier: Option<String>,
    /// Its time zone.
    #[serde(default, deserialize_with = "lenient")]
    pub time_zone: Option<String>,
    /// One of the protocol's client modes, or `gateway`.
    #[serde(default, deserialize_with = "lenient")]
    pub mode: Option<String>,
    /// How long ago somebody used it, in seconds.
    #[serde(default, deserialize_with = "lenient_number")]
    pub last_input_seconds: Option<u64>,
    /// Why the row last changed.
    #[serde(default, deserialize_with = "lenient")]
    pub reason: Option<PresenceReason>,
    /// Anything it says of itself.
    #[serde(default, deserialize_with = "texts")]
    pub tags: Vec<String>,
    /// A line for people.
    #[serde(default, deserialize_with = "lenient")]
    pub text: Option<String>,
    /// Since when it is connected.
    #[serde(default, deserialize_with = "lenient_number")]
    pub online_since: Option<u64>,
    /// When it was last active.
    #[serde(default, deserialize_with = "lenient_number")]
    pub last_activity_at: Option<u64>,
    /// The device's id.
    #[serde(default, deserialize_with = "lenient")]
    pub device_id: Option<String>,
    /// The roles it has.
    #[serde(default, deserialize_with = "texts")]
    pub roles: Vec<String>,
    /// The scopes it has.
    #[serde(default, deserialize_with = "texts")]
    pub scopes: Vec<String>,
    /// Tells several instances of one application apart.
    #[serde(default, deserialize_with = "lenient")]
    pub instance_id: Option<String>,
    /// Who is there.
    #[serde(default, deserialize_with = "lenient")]
    pub user: Option<PresenceUser>,
    /// The sessions it looks at.
    #[serde(default, deserialize_with = "texts")]
    pub watched_sessions: Vec<String>,
}

/// Who is behind a row of the presence list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PresenceUser {
    /// Who.
    pub id: String,
    /// The address, if it is known.
    #[serde(default, deserialize_with = "lenient")]
    pub email: Option<String>,
    /// A name for people.
    #[serde(default, deserialize_with = "lenient")]
    pub name: Option<String>,
    /// A picture.
    #[serde(default, deserialize_with = "lenient")]
    pub avatar_url: Option<String>,
}

/// Why a row of the presence list changed (protocol 10.6).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(from = "String")]
#[non_exhaustive]
pub enum PresenceReason {
    /// It connected.
    Connect,
    /// It is gone.
    Disconnect,
    /// It is the gateway's own row.
    Gateway,
    /// What a client said itself.
    Other(String),
}

impl From<String> for PresenceReason {
    fn from(reason: String) -> Self {
        match &*reason {
            "connect" => Self::Connect,
            "disconnect" => Self::Disconnect,
            "self" => Self::Gateway,
            _ => Self::Other(reason),
        }
    }
}
