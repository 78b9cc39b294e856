//! The small part of YAML that configuration files use: mappings, sequences and scalars. No tags, no aliases.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

/// Reads a document whose root is a mapping into `path.of.key` → text; nulls and sequences are left out.
///
/// # Errors
/// The reason, when it is no such document, is nested deeper than `depth`, or uses tags or aliases.
pub(crate) fn flat_mapping(text: &str, depth: usize) -> Result<BTreeMap<String, String>, String> {
    let mut values = BTreeMap::new();
    flatten(document(text, depth)?, &mut String::new(), &mut |path, node| {
        if let Node::Scalar(text) = node {
            values.insert(path.to_owned(), text);
        }
    });
    Ok(values)
}

/// As [`flat_mapping`] for params: a null is `null`, a sequence or an empty mapping is JSON.
///
/// # Errors
/// As [`flat_mapping`].
pub(crate) fn flat_params(text: &str, depth: usize) -> Result<Vec<(String, String)>, String> {
    let mut values = Vec::new();
    flatten(document(text, depth)?, &mut String::new(), &mut |path, node| {
        let text = match node {
            Node::Scalar(text) => text,
            other => other.json().to_string(),
        };
        values.push((path.to_owned(), text));
    });
    Ok(values)
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    Null,
    Scalar(String),
    Sequence(Vec<Node>),
    Mapping(Vec<(String, Node)>),
}

impl Node {
    fn json(self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            // A scalar that JSON has too is one there.
            Self::Scalar(text) => match serde_json::from_str(&text) {
                Ok(value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => value,
                _ => serde_json::Value::String(text),
            },
            Self::Sequence(nodes) => nodes.into_iter().map(Self::json).collect(),
            Self::Mapping(entries) => entries.into_iter().map(|(key, node)| (key, node.json())).collect(),
        }
    }
}

/// Calls `leaf` for every value that is no mapping, or an empty one, with its keys joined by dots.
fn flatten(entries: Vec<(String, Node)>, path: &mut String, leaf: &mut dyn FnMut(&str, Node)) {
    for (key, node) in entries {
        let length = path.len();
        path.push_str(&key);
        match node {
            Node::Mapping(inner) if !inner.is_empty() => {
                path.push('.');
                flatten(inner, path, leaf);
            }
            node => leaf(path, node),
        }
        path.truncate(length);
    }
}

/// A sequence or mapping that is not closed yet.
enum Open {
    Sequence(Vec<Node>),
    Mapping(Vec<(String, Node)>, Option<String>),
}

impl Open {
    fn closed(self) -> Node {
        match self {
            Self::Sequence(nodes) => Node::Sequence(nodes),
            Self::Mapping(entries, _) => Node::Mapping(entries),
        }
    }

    /// Takes a value, or the key of the next one.
    fn take(&mut self, node: Node, text: impl FnOnce() -> String) -> Result<(), String> {
        match (self, node) {
            (Self::Sequence(nodes), node) => nodes.push(node),
            (Self::Mapping(entries, key), node) => match (key.take(), node) {
                (Some(name), node) => entries.push((name, node)),
                (None, Node::Null | Node::Scalar(_)) => *key = Some(text()),
                (None, _) => return Err("a key is no plain text".to_owned()),
            },
        }
        Ok(())
    }
}

/// The root of the first document, which must be a mapping or nothing.
fn document(text: &str, depth: usize) -> Result<Vec<(String, Node)>, String> {
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| error.to_string())?;
        let line = span.start.line();
        let node = match event {
            Event::Alias(_) => return Err(format!("line {line}: aliases are not read")),
            Event::Scalar(.., Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => {
                return Err(format!("line {line}: tags are not read"));
            }
            Event::Scalar(text, style, ..) => {
                let null =
                    style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let node = if null { Node::Null } else { Node::Scalar(text.to_string()) };
                let Some(last) = open.last_mut() else { return Err("the root is no mapping".to_owned()) };
                last.take(node, || text.into_owned()).map_err(|reason| format!("line {line}: {reason}"))?;
                continue;
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                let sequence = matches!(event, Event::SequenceStart(..));
                if open.len() >= depth {
                    return Err(format!("line {line}: nested deeper than {depth}"));
                }
                if open.is_empty() && sequence {
                    return Err("the root is no mapping".to_owned());
                }
                open.push(if sequence {
                    Open::Sequence(Vec::new())
                } else {
                    Open::Mapping(Vec::new(), None)
                });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(closed) => closed.closed(),
                None => continue,
            },
            // Only the first document counts.
            Event::DocumentEnd => break,
            _ => continue,
        };
        match (open.last_mut(), node) {
            (None, Node::Mapping(entries)) => return Ok(entries),
            (None, _) => return Err("the root is no mapping".to_owned()),
            (Some(last), node) => {
                last.take(node, String::new).map_err(|reason| format!("line {line}: {reason}"))?;
            }
        }
    }
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_keys_are_joined_and_sequences_left_out() {
        let values = flat_mapping(
            "a: 1\nb:\n  c: 'x y'\n  d: null\n  g: 'null'\nlist: [1, {e: 2}]\nempty: {}\nf: \"line\\nbreak\"\n",
            8,
        )
        .unwrap();
        let pairs: Vec<_> = values.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("a", "1"), ("b.c", "x y"), ("b.g", "null"), ("f", "line\nbreak")]);
    }

    #[test]
    fn params_keep_nulls_and_sequences() {
        let params = flat_params("a: ~\nb: [1, 2.5, x, null, {c: true}]\ne: {}\nf:\n  g: [[]]\n", 8).unwrap();
        let pairs: Vec<_> = params.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            pairs,
            [("a", "null"), ("b", r#"[1,2.5,"x",null,{"c":true}]"#), ("e", "{}"), ("f.g", "[[]]")]
        );
    }

    #[test]
    fn tags_aliases_depth_and_other_roots_are_refused() {
        for text in [
            "a: !!python/object:os.system x",
            "a: &x 1\nb: *x",
            "- 1",
            "just text",
            "{a: {b: {c: {d: 1}}}}",
            "a: [",
            "? [x]\n: 1",
        ] {
            assert!(flat_mapping(text, 3).is_err(), "{text}");
        }
        assert!(flat_mapping("", 3).unwrap().is_empty());
    }
}
