//! A small closed-schema checker that words its findings as the gateway's validator does.
//!
//! The texts reach clients inside `error.message` (protocol 2.3, 2.4), so their wording and order follow the recordings:
//! missing properties first, then unexpected ones, then the properties' own findings in the order of the value.

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

impl Shape {
    /// Everything that is wrong with `value`, joined as the gateway joins it; `None` when nothing is.
    pub(super) fn complaint(&self, value: &Value) -> Option<String> {
        let mut complaints = Vec::new();
        self.check("", value, &mut complaints);
        (!complaints.is_empty()).then(|| complaints.join("; "))
    }

    fn check(&self, path: &str, value: &Value, complaints: &mut Vec<String>) {
        match self {
            Shape::Any => {}
            Shape::Text { min, max } => match value.as_str() {
                None => complain(path, "must be string", complaints),
                // The gateway counts UTF-16 units; so do its limits.
                Some(text) => {
                    let length = text.encode_utf16().count();
                    if length < *min {
                        let text = format!("must not have fewer than {min} characters");
                        complain(path, &text, complaints);
                    }
                    if length > *max {
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
                        item.check(&format!("{path}/{index}"), value, complaints);
                    }
                }
            },
            Shape::Map(shape) => match value.as_object() {
                None => complain(path, "must be object", complaints),
                Some(entries) => {
                    for (key, value) in entries {
                        shape.check(&format!("{path}/{key}"), value, complaints);
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
    path: &str,
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
        let path = if path.is_empty() { "root" } else { path };
        complaints.push(format!("at {path}: unexpected property '{key}'"));
    }
    for property in properties {
        if let Some(value) = object.get(property.name) {
            property.shape.check(&format!("{path}/{}", property.name), value, complaints);
        }
    }
}

fn complain(path: &str, text: &str, complaints: &mut Vec<String>) {
    if path.is_empty() {
        complaints.push(text.to_owned());
    } else {
        complaints.push(format!("at {path}: {text}"));
    }
}

/// A JavaScript integer: `4.0` is one.
fn integer(value: &Value) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        return Some(number);
    }
    let number = value.as_f64()?;
    (number.fract() == 0.0 && number.is_finite()).then_some(number as i64)
}
