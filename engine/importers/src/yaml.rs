//! The small part of YAML that configuration files use: one mapping of plain values. No tags, no aliases.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser};

/// Reads a document whose root is a mapping into `path.of.key` → text; values of sequences are left out.
///
/// # Errors
/// The reason, when it is no such document, is nested deeper than `depth`, or uses tags or aliases.
pub(crate) fn flat_mapping(text: &str, depth: usize) -> Result<BTreeMap<String, String>, String> {
    let mut values = BTreeMap::new();
    let mut path: Vec<Level> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| error.to_string())?;
        let line = span.start.line();
        match event {
            Event::Alias(_) => return Err(format!("line {line}: aliases are not read")),
            Event::Scalar(.., Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => {
                return Err(format!("line {line}: tags are not read"));
            }
            Event::Scalar(text, ..) => match path.last_mut() {
                None => return Err("the root is no mapping".to_owned()),
                Some(Level::Sequence) => {}
                Some(Level::Mapping { key }) => match key.take() {
                    None => *key = Some(text.into_owned()),
                    Some(name) => {
                        if let Some(full) = full_name(&path, &name) {
                            values.insert(full, text.into_owned());
                        }
                    }
                },
            },
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                if path.len() >= depth {
                    return Err(format!("line {line}: nested deeper than {depth}"));
                }
                if path.is_empty() && matches!(event, Event::SequenceStart(..)) {
                    return Err("the root is no mapping".to_owned());
                }
                if matches!(path.last(), Some(Level::Mapping { key: None })) {
                    return Err(format!("line {line}: a key is no plain text"));
                }
                path.push(match event {
                    Event::MappingStart(..) => Level::Mapping { key: None },
                    _ => Level::Sequence,
                });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                path.pop();
                if let Some(Level::Mapping { key }) = path.last_mut() {
                    *key = None;
                }
            }
            // Only the first document counts.
            Event::DocumentEnd => break,
            _ => {}
        }
    }
    Ok(values)
}

enum Level {
    Mapping { key: Option<String> },
    Sequence,
}

/// The name with the keys above it; `None` inside of a sequence.
fn full_name(path: &[Level], name: &str) -> Option<String> {
    let above = path.split_last().map_or(&[][..], |(_, above)| above);
    let mut full = String::new();
    for level in above {
        let Level::Mapping { key: Some(key) } = level else { return None };
        full.push_str(key);
        full.push('.');
    }
    full.push_str(name);
    Some(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_keys_are_joined_and_sequences_left_out() {
        let values = flat_mapping(
            "a: 1\nb:\n  c: 'x y'\n  d: null\nlist: [1, {e: 2}]\nempty: {}\nf: \"line\\nbreak\"\n",
            8,
        )
        .unwrap();
        let pairs: Vec<_> = values.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("a", "1"), ("b.c", "x y"), ("b.d", "null"), ("f", "line\nbreak")]);
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
