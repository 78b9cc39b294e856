//! Nested values that change over a run, flattened with dots: the configuration and the summary.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiter::JsonValue;

use super::record::{Changes, Item};
use crate::json;

/// Values by their path.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Nested {
    values: BTreeMap<String, String>,
}

/// The key of an item; its parts are joined with dots.
pub(super) fn key_of(item: &Item) -> Cow<'_, str> {
    match item.nested_key.as_slice() {
        [] => Cow::Borrowed(&item.key),
        [only] => Cow::Borrowed(only),
        parts => Cow::Owned(parts.join(".")),
    }
}

impl Nested {
    /// Takes changes; a value replaces all that was below its key. Values that are no JSON are told to `fault`.
    pub(super) fn change(&mut self, changes: &Changes, depth: usize, fault: &mut dyn FnMut(String)) {
        for item in &changes.update {
            let key = key_of(item);
            // What the client keeps for itself.
            if key.is_empty() || key == "_wandb" || key.starts_with("_wandb.") {
                continue;
            }
            match json::parse(&item.value_json) {
                Ok(value) => {
                    self.remove(&key);
                    if let Err(path) = self.insert(key.clone().into_owned(), &value, depth) {
                        fault(format!("{path:?} is nested too deep"));
                    }
                }
                Err(reason) => fault(format!("{key:?}: {reason}")),
            }
        }
        for item in &changes.remove {
            self.remove(&key_of(item));
        }
    }

    fn remove(&mut self, key: &str) {
        self.values.retain(|path, _| {
            path.strip_prefix(key).is_none_or(|rest| !rest.is_empty() && !rest.starts_with('.'))
        });
    }

    fn insert(&mut self, mut key: String, value: &JsonValue<'_>, depth: usize) -> Result<(), String> {
        match value {
            JsonValue::Object(object) if !object.is_empty() => {
                key.push('.');
                json::flatten(object, depth, &mut key, &mut |path, value| {
                    self.values.insert(path.to_owned(), json::text_or_null(value, depth));
                })
            }
            value => {
                self.values.insert(key, json::text_or_null(value, depth));
                Ok(())
            }
        }
    }

    pub(super) fn values(&self) -> &BTreeMap<String, String> {
        &self.values
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn item(key: &[&str], value: &str) -> Item {
        let (key, nested_key) = match key {
            [key] => ((*key).to_owned(), Vec::new()),
            parts => (String::new(), parts.iter().map(|part| (*part).to_owned()).collect()),
        };
        Item { key, nested_key, value_json: Bytes::copy_from_slice(value.as_bytes()) }
    }

    #[test]
    fn values_replace_what_is_below_their_key() {
        let mut nested = Nested::default();
        let mut faults = Vec::new();
        let mut change = |nested: &mut Nested, update: Vec<Item>, remove: Vec<Item>| {
            nested.change(&Changes { update, remove }, 4, &mut |fault| faults.push(fault));
        };
        change(
            &mut nested,
            vec![
                item(&["model"], r#"{"name": "a", "opt": {"betas": [0.9, NaN]}, "none": null, "empty": {}}"#),
                item(&["model_size"], "7"),
                item(&["_wandb"], "{}"),
                item(&["x", "y"], "Infinity"),
                item(&["bad"], "{"),
            ],
            Vec::new(),
        );
        change(&mut nested, vec![item(&["model", "opt"], "\"sgd\"")], vec![item(&["x"], "")]);
        let pairs: Vec<_> = nested.values().iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            pairs,
            [
                ("model.empty", "{}"),
                ("model.name", "a"),
                ("model.none", "null"),
                ("model.opt", "sgd"),
                ("model_size", "7"),
            ]
        );
        assert_eq!(faults.len(), 1);
    }
}
