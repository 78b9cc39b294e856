//! The small part of YAML that configuration files use: mappings, sequences and scalars, aliases as far as they stay small.
//! Of tags only those of plain data, such as `!!python/tuple`, which PyYAML writes; no tag makes anything.

use std::collections::{BTreeMap, HashMap};

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

/// Reads a document whose root is a mapping into `path.of.key` → text; nulls and sequences are left out.
///
/// # Errors
/// The reason, when it is no such document, is nested deeper than `depth`, uses tags of more than
/// plain data, or aliases that grow without end.
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
    /// How many values it holds with itself, and how deep they are.
    fn measure(&self) -> (usize, usize) {
        let sum = |inner: &mut dyn Iterator<Item = &Self>| {
            inner.map(Self::measure).fold((1_usize, 1_usize), |(count, depth), (more, deep)| {
                (count.saturating_add(more), depth.max(deep.saturating_add(1)))
            })
        };
        match self {
            Self::Null | Self::Scalar(_) => (1, 1),
            Self::Sequence(nodes) => sum(&mut nodes.iter()),
            Self::Mapping(entries) => sum(&mut entries.iter().map(|(_, node)| node)),
        }
    }

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

/// Whether a tag only says of what type plain data is; handles are written out by the parser.
fn is_plain(tag: &Tag) -> bool {
    const PLAIN: [&str; 10] =
        ["str", "unicode", "int", "long", "float", "bool", "none", "list", "tuple", "dict"];
    const CORE: [&str; 8] = ["str", "int", "float", "bool", "null", "seq", "map", "omap"];
    let name = tag.suffix.as_str();
    tag.handle == "tag:yaml.org,2002:"
        && match name.strip_prefix("python/") {
            Some(name) => PLAIN.contains(&name),
            None => CORE.contains(&name),
        }
}

/// What aliases stand for, and how much they may still add to a document.
struct Anchors {
    nodes: HashMap<usize, Node>,
    left: usize,
}

impl Anchors {
    /// Remembers a value; 0 is no anchor.
    fn keep(&mut self, anchor: usize, node: &Node) {
        if anchor != 0 {
            self.nodes.insert(anchor, node.clone());
        }
    }

    fn expand(&mut self, anchor: usize) -> Result<Node, String> {
        // An alias within what it names is not closed yet.
        let node = self.nodes.get(&anchor).ok_or("an alias names nothing that stands before it")?;
        let (size, depth) = node.measure();
        self.left = self.left.checked_sub(size).ok_or("aliases make it too large")?;
        if depth > DEEPEST_ALIAS {
            return Err("aliases nest it too deep".to_owned());
        }
        Ok(node.clone())
    }
}

/// How many values aliases may add to a document, and how deep what they stand for may be.
const MOST_ALIASED: usize = 100_000;
const DEEPEST_ALIAS: usize = 32;

/// The root of the first document, which must be a mapping or nothing.
fn document(text: &str, depth: usize) -> Result<Vec<(String, Node)>, String> {
    let mut open: Vec<(Open, usize)> = Vec::new();
    let mut anchors = Anchors { nodes: HashMap::new(), left: MOST_ALIASED };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| error.to_string())?;
        let line = span.start.line();
        if let Event::Scalar(.., Some(tag))
        | Event::SequenceStart(_, Some(tag))
        | Event::MappingStart(_, Some(tag)) = &event
            && !is_plain(tag)
        {
            return Err(format!("line {line}: tags are not read, except those of plain data"));
        }
        let node = match event {
            Event::Alias(anchor) => {
                anchors.expand(anchor).map_err(|reason| format!("line {line}: {reason}"))?
            }
            Event::Scalar(text, style, anchor, _) => {
                let null =
                    style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let node = if null { Node::Null } else { Node::Scalar(text.to_string()) };
                anchors.keep(anchor, &node);
                let Some((last, _)) = open.last_mut() else {
                    return Err("the root is no mapping".to_owned());
                };
                last.take(node, || text.into_owned()).map_err(|reason| format!("line {line}: {reason}"))?;
                continue;
            }
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                let sequence = matches!(event, Event::SequenceStart(..));
                if open.len() >= depth {
                    return Err(format!("line {line}: nested deeper than {depth}"));
                }
                if open.is_empty() && sequence {
                    return Err("the root is no mapping".to_owned());
                }
                let value =
                    if sequence { Open::Sequence(Vec::new()) } else { Open::Mapping(Vec::new(), None) };
                open.push((value, anchor));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some((closed, anchor)) => {
                    let node = closed.closed();
                    anchors.keep(anchor, &node);
                    node
                }
                None => continue,
            },
            // Only the first document counts.
            Event::DocumentEnd => break,
            _ => continue,
        };
        match (open.last_mut(), node) {
            (None, Node::Mapping(entries)) => return Ok(entries),
            (None, _) => return Err("the root is no mapping".to_owned()),
            (Some((last, _)), node) => {
                let text = match &node {
                    Node::Scalar(text) => text.clone(),
                    _ => String::new(),
                };
                last.take(node, || text).map_err(|reason| format!("line {line}: {reason}"))?;
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
            "a: !mine x",
            "a: &x [*x]",
            "b: *x",
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

    /// As PyYAML dumps the hyperparameters of an optimizer, with a list that stands there twice.
    #[test]
    fn tuples_and_repeated_values_are_data() {
        let text = "betas: !!python/tuple\n- 0.9\n- 0.999\nlayers: &id001\n- 64\n- 64\nhead: *id001\n\
                    name: !!python/unicode 'x'\nnested: &id002 {a: 1}\nagain: *id002\n";
        let params = flat_params(text, 8).unwrap();
        let pairs: Vec<_> = params.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            pairs,
            [
                ("betas", "[0.9,0.999]"),
                ("layers", "[64,64]"),
                ("head", "[64,64]"),
                ("name", "x"),
                ("nested.a", "1"),
                ("again.a", "1")
            ]
        );
    }

    #[test]
    fn aliases_do_not_grow_without_end() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let inner = format!("*a{}, ", level - 1).repeat(9);
            text += &format!("a{level}: &a{level} [{inner}]\n");
        }
        assert!(flat_mapping(&text, 8).unwrap_err().contains("too large"));
    }
}
