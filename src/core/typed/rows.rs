//! Lists whose rows are read one by one.

use std::ops::Deref;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::core::json;

/// The rows of a list that could be read, in order.
///
/// A row of another shape is left out and counted: it may be a kind of a later version, or the one that somebody
/// filled in by hand. A list none of whose rows can be read is of another shape itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows<T> {
    rows: Vec<T>,
    skipped: usize,
}

impl<T> Rows<T> {
    /// How many rows could not be read.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skipped
    }
}

/// A member that is such a list. Another value has no rows.
pub(super) fn rows<'de, D: Deserializer<'de>, T: DeserializeOwned>(wire: D) -> Result<Rows<T>, D::Error> {
    let raw: Box<RawValue> = Box::deserialize(wire)?;
    Ok(json::read(raw.get()).unwrap_or_default())
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Rows<T> {
    fn deserialize<D: Deserializer<'de>>(wire: D) -> Result<Self, D::Error> {
        let list: Option<Vec<Box<RawValue>>> = Option::deserialize(wire)?;
        let list = list.unwrap_or_default();
        let mut rows = Vec::with_capacity(list.len());
        let mut first_error = None;
        for row in &list {
            match json::read(row.get()) {
                Ok(row) => rows.push(row),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        match first_error {
            Some(error) if rows.is_empty() => Err(D::Error::custom(error)),
            Some(_) | None => Ok(Self { skipped: list.len() - rows.len(), rows }),
        }
    }
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), skipped: 0 }
    }
}

impl<T> Deref for Rows<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.rows
    }
}

impl<T> From<Rows<T>> for Vec<T> {
    fn from(rows: Rows<T>) -> Self {
        rows.rows
    }
}

impl<T> IntoIterator for Rows<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.rows.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Rows<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.rows.iter()
    }
}

impl<T: PartialEq> PartialEq<Vec<T>> for Rows<T> {
    fn eq(&self, other: &Vec<T>) -> bool {
        self.rows == *other
    }
}
