//! The members of a JSON object that a gateway wrote, read one by one: one that is odd costs itself and nothing else.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::error::BadMember;
use super::peer_text::PeerText;

/// Texts that are taken from one list, at most: a gateway may write very many.
const TEXTS_MAX: usize = 256;

/// The members of one object. One that is `null` counts as missing, as it does for the gateway.
#[derive(Default)]
pub(super) struct Members<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

impl<'a> Members<'a> {
    /// `None` if the JSON is no object.
    pub(super) fn of(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok().map(Self)
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.get(name).copied().filter(|raw| raw.get() != "null")
    }

    /// The members of an object in this one; none at all if there is no such object.
    pub(super) fn object(&self, name: &str) -> Self {
        self.get(name).and_then(|raw| Self::of(raw.get())).unwrap_or_default()
    }

    pub(super) fn text(&self, name: &str) -> Option<PeerText> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }

    /// The texts of a list, without what is none.
    pub(super) fn texts(&self, name: &str) -> Vec<PeerText> {
        let text = |raw: &&RawValue| serde_json::from_str(raw.get()).ok();
        self.list(name).iter().filter_map(text).take(TEXTS_MAX).collect()
    }

    /// The entries of a list; none at all if there is no such list.
    pub(super) fn list(&self, name: &str) -> Vec<&'a RawValue> {
        self.get(name).and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    }

    /// A number, whole or not: JavaScript has one kind only.
    pub(super) fn number(&self, name: &str) -> Option<f64> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }

    /// A number that counts something, and that JavaScript can tell from its neighbours.
    pub(super) fn whole(&self, name: &str) -> Option<u64> {
        const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;
        let number = self.number(name)?;
        let is_whole = (0.0..=MAX_SAFE_INTEGER).contains(&number) && number.fract() == 0.0;
        is_whole.then_some(number as u64)
    }

    /// What is wrong with a member that is not `wanted`: that it is missing, or what it is instead.
    pub(super) fn fault(
        &self,
        of: &'static str,
        member: &'static str,
        name: &str,
        wanted: &'static str,
    ) -> BadMember {
        BadMember { of, member, found: self.0.get(name).map_or("missing", |raw| kind(raw.get())), wanted }
    }
}

/// What kind of JSON a value is.
pub(super) fn kind(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        Some(_) => "a number",
        None => "missing",
    }
}
