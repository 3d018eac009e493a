//! JSON that is kept as the text it arrived in, until somebody asks for a type.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::json;

/// A JSON value inside a received frame.
///
/// Cheap to clone: it shares the text of its frame, so an event is parsed once, however many
/// subscribers see it. `Debug` shows the length only, because payloads may hold secrets.
#[derive(Clone)]
pub struct Payload {
    frame: Arc<str>,
    range: Range<usize>,
}

impl Payload {
    /// A payload of its own, for values that did not arrive in a frame.
    ///
    /// The text is taken as it is; [`decode`](Self::decode) reports text that is not JSON.
    #[must_use]
    pub fn from_text(text: impl Into<Arc<str>>) -> Self {
        let frame = text.into();
        let range = 0..frame.len();
        Self { frame, range }
    }

    /// The JSON value `null`.
    #[must_use]
    pub fn null() -> Self {
        Self::from_text("null")
    }

    /// The part of `frame` that `raw` borrows from it.
    ///
    /// # Panics
    /// If `raw` was not borrowed from `frame`: that is a mistake of the caller, never of a peer.
    pub(crate) fn within(frame: &Arc<str>, raw: &RawValue) -> Self {
        let text = raw.get();
        let start = (text.as_ptr() as usize).wrapping_sub(frame.as_ptr() as usize);
        let range = start..start.wrapping_add(text.len());
        assert!(range.end <= frame.len() && range.start <= range.end, "payload is not part of its frame");
        Self { frame: Arc::clone(frame), range }
    }

    /// The part of this payload that `raw` borrows from it.
    pub(crate) fn slice(&self, raw: &RawValue) -> Self {
        Self::within(&self.frame, raw)
    }

    /// The member `key` of this payload, sharing its text. `None` if this is no object or has no
    /// such member.
    #[must_use]
    pub fn part(&self, key: &str) -> Option<Self> {
        if let Ok(members) = self.members() {
            return members.get(key).map(|raw| self.slice(raw));
        }
        // The name of some member is no text.
        let repaired = self.repaired()?;
        repaired.members().ok()?.get(key).map(|raw| repaired.slice(raw))
    }

    fn members(&self) -> Result<BTreeMap<Cow<'_, str>, &RawValue>, serde_json::Error> {
        serde_json::from_str(self.get())
    }

    /// The same value without what serde_json refuses, as a text of its own; `None` if there is nothing of the kind.
    pub(super) fn repaired(&self) -> Option<Self> {
        let text = json::repair(self.get()).text;
        (text != self.get()).then(|| Self::from_text(text))
    }

    /// The size of the frame whose text this payload shares and keeps alive.
    pub(super) fn frame_len(&self) -> usize {
        self.frame.len()
    }

    /// The JSON text as the gateway wrote it. It is JSON, and JavaScript reads it; some strict readers do not, as it
    /// may hold half of a pair of surrogates (`\ud83d` alone), one name twice, or nesting without end. See
    /// [`decode`](Self::decode).
    #[must_use]
    pub fn get(&self) -> &str {
        &self.frame[self.range.clone()]
    }

    /// The JSON text for readers that are stricter than JavaScript: half of a pair of surrogates is U+FFFD, and a
    /// number beyond all numbers is `null`.
    #[must_use]
    pub fn strict_text(&self) -> Cow<'_, str> {
        match self.repaired() {
            Some(repaired) => Cow::Owned(repaired.get().to_owned()),
            None => Cow::Borrowed(self.get()),
        }
    }

    /// Decodes into a type of your own.
    ///
    /// What JavaScript writes is read: half of a pair of surrogates becomes U+FFFD, and values may be nested 512
    /// levels deep. Of two members with one name the last one counts, and a number beyond all numbers is `null`.
    ///
    /// # Errors
    /// When the JSON does not have the shape of `T`, or is nested deeper.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        json::read(self.get())
    }
}

/// A part of something that is decoded, as text of its own.
impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(wire: D) -> Result<Self, D::Error> {
        let raw: Box<RawValue> = Box::deserialize(wire)?;
        Ok(Self::from_text(Box::<str>::from(raw)))
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.range.len())
    }
}
