//! A small closed-schema checker that words its findings as the gateway's validator does.
//!
//! The texts reach clients inside `error.message` (protocol 2.3, 2.4), so their wording and order follow the recordings:
//! missing properties first, then unexpected ones, then the properties' own findings in the order of the value.

use std::fmt;

use serde_json::{Map, Value};

/// What a JSON value must look like.
#[derive(Debug)]
pub(super) enum Shape {
    /// Anything.
    Any,
    /// A string of at least and at most so many characters.
    Text { min: usize, max: usize },
    /// An integer of at least this value.
    Integer { min: i64 },
    /// A boolean.
    Bool,
    /// Exactly this string.
    Constant(&'static str),
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// An array of such items.
    List(&'static Shape),
    /// An object with values of one shape under any key.
    Map(&'static Shape),
    /// An object with these properties.
    Object { properties: &'static [Property], closed: bool },
}

/// One property of an object.
#[derive(Debug)]
pub(super) struct Property {
    name: &'static str,
    required: bool,
    shape: Shape,
}

/// A property that must be present.
pub(super) const fn required(name: &'static str, shape: Shape) -> Property {
    Property { name, required: true, shape }
}

/// A property that may be absent.
pub(super) const fn optional(name: &'static str, shape: Shape) -> Property {
    Property { name, required: false, shape }
}

/// Any string.
pub(super) const STRING: Shape = Shape::Text { min: 0, max: usize::MAX };
/// A string that is not empty.
pub(super) const NON_EMPTY: Shape = Shape::Text { min: 1, max: usize::MAX };

/// An object with these properties and no others.
pub(super) const fn closed(properties: &'static [Property]) -> Shape {
    Shape::Object { properties, closed: true }
}

/// Where in the value a finding is. It is written out only if there is one.
enum Path<'a> {
    Root,
    Member(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Member(parent, name) => write!(f, "{parent}/{name}"),
            Path::Item(parent, index) => write!(f, "{parent}/{index}"),
        }
    }
}

impl Shape {
    /// Everything that is wrong with `value`, joined as the gateway joins it; `None` when nothing is.
    pub(super) fn complaint(&self, value: &Value) -> Option<String> {
        let mut complaints = Vec::new();
        self.check(&Path::Root, value, &mut complaints);
        (!complaints.is_empty()).then(|| complaints.join("; "))
    }

    fn check(&self, path: &Path<'_>, value: &Value, complaints: &mut Vec<String>) {
        match self {
            Shape::Any => {}
            Shape::Text { min, max } => match value.as_str() {
                None => complain(path, "must be string", complaints),
                // The gateway counts UTF-16 units; so do its limits.
                Some(text) => {
                    if is_shorter(text, *min) {
                        let text = format!("must not have fewer than {min} characters");
                        complain(path, &text, complaints);
                    }
                    if !is_shorter(text, max.saturating_add(1)) {
                        complain(path, &format!("must not have more than {max} characters"), complaints);
                    }
                }
            },
            Shape::Integer { min } => match integer(value) {
                None => complain(path, "must be integer", complaints),
                Some(number) if number < *min => complain(path, &format!("must be >= {min}"), complaints),
                Some(_) => {}
            },
            Shape::Bool => {
                if !value.is_boolean() {
                    complain(path, "must be boolean", complaints);
                }
            }
            Shape::Constant(constant) => {
                if value.as_str() != Some(constant) {
                    complain(path, "must be equal to constant", complaints);
                }
            }
            Shape::OneOf(allowed) => {
                if !value.as_str().is_some_and(|text| allowed.contains(&text)) {
                    complain(path, "must be equal to one of the allowed values", complaints);
                }
            }
            Shape::List(item) => match value.as_array() {
                None => complain(path, "must be array", complaints),
                Some(items) => {
                    for (index, value) in items.iter().enumerate() {
                        item.check(&Path::Item(path, index), value, complaints);
                    }
                }
            },
            Shape::Map(shape) => match value.as_object() {
                None => complain(path, "must be object", complaints),
                Some(entries) => {
                    for (key, value) in entries {
                        shape.check(&Path::Member(path, key), value, complaints);
                    }
                }
            },
            Shape::Object { properties, closed } => match value.as_object() {
                None => complain(path, "must be object", complaints),
                Some(object) => check_object(properties, *closed, path, object, complaints),
            },
        }
    }
}

fn check_object(
    properties: &[Property],
    closed: bool,
    path: &Path<'_>,
    object: &Map<String, Value>,
    complaints: &mut Vec<String>,
) {
    // The validator names only the first missing and the first unexpected property of an object.
    let missing = |property: &&Property| property.required && !object.contains_key(property.name);
    if let Some(property) = properties.iter().find(missing) {
        complain(path, &format!("must have required property '{}'", property.name), complaints);
    }
    let unexpected = |key: &&String| closed && !properties.iter().any(|property| property.name == *key);
    if let Some(key) = object.keys().find(unexpected) {
        let place = if let Path::Root = path { "root".to_owned() } else { path.to_string() };
        complaints.push(format!("at {place}: unexpected property '{key}'"));
    }
    for property in properties {
        if let Some(value) = object.get(property.name) {
            property.shape.check(&Path::Member(path, property.name), value, complaints);
        }
    }
}

fn complain(path: &Path<'_>, text: &str, complaints: &mut Vec<String>) {
    complaints.push(match path {
        Path::Root => text.to_owned(),
        Path::Member(..) | Path::Item(..) => format!("at {path}: {text}"),
    });
}

/// Whether `text` has fewer characters than `units`, as the gateway counts them: in UTF-16 units.
fn is_shorter(text: &str, units: usize) -> bool {
    // Every unit takes a byte at least, and most limits are far away.
    text.len() < units || (units > 0 && text.encode_utf16().nth(units - 1).is_none())
}

/// A JavaScript integer: `4.0` is one.
fn integer(value: &Value) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        return Some(number);
    }
    let number = value.as_f64()?;
    (number.fract() == 0.0 && number.is_finite()).then_some(number as i64)
}
