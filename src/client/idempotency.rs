//! Keys that make a request safe to repeat (protocol 12.5).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// The name of the parameter.
const MEMBER: &str = "idempotencyKey";

/// Names one piece of work, however often it is asked for. Keep it for as long as a repetition must not
/// do the work twice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyKey(Arc<str>);

impl IdempotencyKey {
    /// A key of your own, such as one that was stored with the work. It must differ from that of any
    /// other work of this gateway's clients.
    #[must_use]
    pub fn new(key: impl Into<Arc<str>>) -> Self {
        Self(key.into())
    }

    /// The key, as it is sent. For an `agent` run it is the run's id too.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parameters with this key in them; an error when they have another one, or nowhere to put it.
    pub(super) fn added_to(&self, params: Option<&str>) -> Result<Arc<str>, String> {
        let params = params.unwrap_or("{}");
        let members: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(params)
            .map_err(|_| format!("they must be an object, to have an {MEMBER}"))?;
        let key = serde_json::Value::from(self.as_str()).to_string();
        match members.get(MEMBER) {
            Some(present) if present.get() == key => return Ok(Arc::from(params)),
            Some(_) => return Err(format!("they have an {MEMBER} already")),
            None => {}
        }
        let rest = params.trim_start().strip_prefix('{').expect("an object begins with a brace");
        let comma = if members.is_empty() { "" } else { "," };
        Ok(Arc::from(format!("{{\"{MEMBER}\":{key}{comma}{rest}")))
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Makes keys that differ from each other, and from those of every other client.
pub(super) struct KeySeries {
    prefix: String,
    next: AtomicU64,
}

impl KeySeries {
    /// A series like no other, from the system's randomness. A process that was forked has that of its parent, so
    /// the number and the time of the process are added.
    pub(super) fn fresh() -> Self {
        let random = || RandomState::new().build_hasher().finish().to_be_bytes();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let digest = Sha256::new()
            .chain_update("idempotency keys")
            .chain_update(random())
            .chain_update(random())
            .chain_update(std::process::id().to_be_bytes())
            .chain_update(now.as_nanos().to_be_bytes())
            .finalize();
        let mut prefix = String::with_capacity(24);
        for byte in &digest[..12] {
            let _ = write!(prefix, "{byte:02x}");
        }
        Self { prefix, next: AtomicU64::new(1) }
    }

    pub(super) fn next(&self) -> IdempotencyKey {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        IdempotencyKey::new(format!("{}-{number}", self.prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_joins_the_parameters_there_are() {
        let key = IdempotencyKey::new("k\"1");
        let added = |params| key.added_to(params).map(|text| text.to_string());
        assert_eq!(added(None).as_deref(), Ok(r#"{"idempotencyKey":"k\"1"}"#));
        assert_eq!(added(Some("{ }")).as_deref(), Ok(r#"{"idempotencyKey":"k\"1" }"#));
        assert_eq!(added(Some(r#" {"a":1}"#)).as_deref(), Ok(r#"{"idempotencyKey":"k\"1","a":1}"#));
        let present = r#"{"idempotencyKey":"k\"1"}"#;
        assert_eq!(added(Some(present)).as_deref(), Ok(present));
        assert!(added(Some(r#"{"idempotencyKey":"other"}"#)).is_err());
        assert!(added(Some("[1]")).is_err());
        assert!(added(Some("7")).is_err());
    }

    #[test]
    fn no_key_comes_twice() {
        let (one, other) = (KeySeries::fresh(), KeySeries::fresh());
        let keys = [one.next(), one.next(), other.next(), other.next()];
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[..index].contains(key), "{key} comes twice");
            assert_eq!(key.as_str().len(), 24 + 2, "{key}");
        }
    }
}
