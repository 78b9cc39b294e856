//! Keys of a document that its JSON Schema does not have, each with the nearest one that it has.

use serde_json::{Map, Value};

/// Below this likeness no key is called near.
const NEAR: f64 = 0.7;

/// One line for each unknown key, with its place.
pub(super) fn unknown(schema: &Value, document: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    walk(schema, schema, document, "", &mut lines);
    lines
}

fn walk(root: &Value, schema: &Value, document: &Value, place: &str, lines: &mut Vec<String>) {
    let schema = resolved(root, schema);
    match document {
        Value::Object(keys) => {
            let Some(known) = schema.get("properties").and_then(Value::as_object) else { return };
            for (key, value) in keys {
                let at = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                match known.get(key) {
                    Some(schema) => walk(root, schema, value, &at, lines),
                    None => lines.push(format!("{at}: unknown key, {}", hint(key, known))),
                }
            }
        }
        Value::Array(values) => {
            let Some(items) = schema.get("items") else { return };
            for (i, value) in values.iter().enumerate() {
                walk(root, items, value, &format!("{place}[{i}]"), lines);
            }
        }
        _ => {}
    }
}

/// Follows references within the schema.
fn resolved<'a>(root: &'a Value, mut schema: &'a Value) -> &'a Value {
    // A schema of ours refers to a definition, which refers to none; the bound is against malformed ones.
    for _ in 0..8 {
        let pointer = schema.get("$ref").and_then(Value::as_str).and_then(|link| link.strip_prefix('#'));
        match pointer.and_then(|pointer| root.pointer(pointer)) {
            Some(target) => schema = target,
            None => break,
        }
    }
    schema
}

fn hint(key: &str, known: &Map<String, Value>) -> String {
    let likeness = |known: &str| strsim::jaro_winkler(key, known);
    let nearest = known.keys().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest {
        Some(nearest) if likeness(nearest) >= NEAR => format!("did you mean {nearest}?"),
        _ => {
            let all: Vec<&str> = known.keys().map(String::as_str).collect();
            format!("known are {}", all.join(", "))
        }
    }
}
