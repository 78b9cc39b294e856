//! The context of a series: a canonical JSON object such as `{"subset":"val"}`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{ModelError, Result};
use crate::{limits, name};

/// A JSON object in canonical form: keys sorted, no blanks. Two spellings of one context are equal.
///
/// ```
/// # use model::Context;
/// let a = Context::parse(r#"{ "b": 1, "a": "x" }"#).unwrap();
/// assert_eq!(a.as_str(), r#"{"a":"x","b":1}"#);
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Context(Arc<str>);

impl Context {
    /// Parses and normalises a context.
    ///
    /// # Errors
    /// Refuses everything but a JSON object, objects nested deeper than 8, and more than 2,000 characters.
    pub fn parse(text: &str) -> Result<Self> {
        // Twice the limit leaves room for blanks; beyond that the text is not even parsed.
        name::check_length("context", text, 2 * limits::CONTEXT_CHARACTERS)?;
        let value: BTreeMap<String, Value> =
            serde_json::from_str(text).map_err(|error| ModelError::Context { reason: error.to_string() })?;
        let mut canonical = String::with_capacity(text.len());
        write_object(value.iter(), &mut canonical, 1)?;
        name::check_length("context", &canonical, limits::CONTEXT_CHARACTERS)?;
        Ok(Self(canonical.into()))
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The canonical text, shared.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

fn write_object<'a>(
    entries: impl Iterator<Item = (&'a String, &'a Value)>,
    out: &mut String,
    depth: usize,
) -> Result<()> {
    if depth > limits::CONTEXT_DEPTH {
        return Err(ModelError::Context { reason: format!("nested deeper than {}", limits::CONTEXT_DEPTH) });
    }
    out.push('{');
    for (index, (key, value)) in entries.enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(&Value::String(key.clone()).to_string());
        out.push(':');
        write_value(value, out, depth)?;
    }
    out.push('}');
    Ok(())
}

fn write_value(value: &Value, out: &mut String, depth: usize) -> Result<()> {
    match value {
        Value::Object(object) => {
            let sorted: BTreeMap<&String, &Value> = object.iter().collect();
            write_object(sorted.into_iter(), out, depth + 1)
        }
        Value::Array(items) => {
            if depth + 1 > limits::CONTEXT_DEPTH {
                return Err(ModelError::Context {
                    reason: format!("nested deeper than {}", limits::CONTEXT_DEPTH),
                });
            }
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_value(item, out, depth + 1)?;
            }
            out.push(']');
            Ok(())
        }
        scalar => {
            out.push_str(&scalar.to_string());
            Ok(())
        }
    }
}

impl TryFrom<String> for Context {
    type Error = ModelError;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<Context> for String {
    fn from(context: Context) -> String {
        context.0.as_ref().to_owned()
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_keys_are_sorted() {
        let context = Context::parse(r#"{"z":{"b":[1,{"d":1,"c":2}],"a":null}}"#).unwrap();
        assert_eq!(context.as_str(), r#"{"z":{"a":null,"b":[1,{"c":2,"d":1}]}}"#);
        assert_eq!(Context::parse(context.as_str()).unwrap(), context);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["", "1", "[1]", "\"a\"", "null", "{", "{\"a\":}"] {
            assert_eq!(Context::parse(text).unwrap_err().code(), "context.malformed", "{text}");
        }
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let deep = format!("{}1{}", "{\"a\":".repeat(9), "}".repeat(9));
        assert_eq!(Context::parse(&deep).unwrap_err().code(), "context.malformed");
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(3_000));
        assert_eq!(Context::parse(&long).unwrap_err().code(), "name.too_long");
    }
}
