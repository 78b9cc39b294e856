//! One harness for the golden files: expected statistics computed by independent packages.
//!
//! A suite turns each vector into an object with the keys of `expected`. A key that is neither answered nor
//! listed as skipped fails the test, so that a new expectation cannot go unnoticed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

/// What a suite says about one vector.
pub(crate) enum Answer {
    /// Values to compare, under the keys of `expected`.
    Got(Value),
    /// The vector concerns something this crate does not compute.
    Skip(&'static str),
}

/// One vector of a golden file.
pub(crate) struct Vector {
    value: Value,
}

impl Vector {
    pub(crate) fn name(&self) -> &str {
        self.value["name"].as_str().unwrap()
    }

    pub(crate) fn input(&self, key: &str) -> Vec<f64> {
        numbers(&self.value["input"][key])
    }

    pub(crate) fn raw_input(&self, key: &str) -> &Value {
        &self.value["input"][key]
    }

    pub(crate) fn parameter(&self, key: &str) -> &Value {
        &self.value["params"][key]
    }

    pub(crate) fn field(&self, key: &str) -> &Value {
        &self.value[key]
    }

    pub(crate) fn expected(&self) -> &Map<String, Value> {
        self.value["expected"].as_object().unwrap()
    }
}

/// The folder with the golden files and the data, where this machine has one.
pub(crate) fn shared() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("RUNLAKE_SHARED") {
        return Some(PathBuf::from(folder));
    }
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared"))
        .find(|folder| folder.join("DESIGN.md").is_file())
}

/// Checks every vector of a suite and prints how many were checked and which were skipped, and why. Gives the number of
/// values compared, the largest there is where this machine has no golden files.
pub(crate) fn check(suite: &str, skipped_keys: &[&str], answer: impl Fn(&Vector) -> Answer) -> usize {
    let Some(folder) = shared() else {
        println!("golden {suite}: skipped, this machine has no shared/golden");
        return usize::MAX;
    };
    let text = std::fs::read_to_string(folder.join("golden").join(format!("{suite}.json"))).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    assert_eq!(file["count"].as_u64().unwrap() as usize, vectors.len(), "{suite}: the file is incomplete");

    let mut failures = Vec::new();
    let mut checked = 0;
    let mut leaves = 0;
    let mut skipped: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut used_skips = BTreeSet::new();
    for value in vectors {
        let vector = Vector { value: value.clone() };
        let got = match answer(&vector) {
            Answer::Skip(reason) => {
                skipped.entry(reason).or_default().push(vector.name().to_owned());
                continue;
            }
            Answer::Got(got) => got,
        };
        checked += 1;
        let tolerance = Tolerance { absolute: &value["atol"], relative: &value["rtol"] };
        let mut comparison = Comparison {
            tolerance,
            skipped_keys,
            used_skips: &mut used_skips,
            failures: Vec::new(),
            leaves: 0,
        };
        comparison.compare("*", "", &value["expected"], &got);
        leaves += comparison.leaves;
        failures.extend(comparison.failures.into_iter().map(|f| format!("{}{f}", vector.name())));
    }
    println!(
        "golden {suite}: {checked} of {} vectors checked ({leaves} values), keys not computed here: {:?}",
        vectors.len(),
        used_skips
    );
    for (reason, names) in &skipped {
        println!("golden {suite}: {} skipped, {reason}: {}", names.len(), names.join(" "));
    }
    for key in skipped_keys {
        assert!(used_skips.contains(*key), "{suite}: the skip of key {key} is not needed");
    }
    assert!(checked > 0, "{suite}: nothing was checked");
    assert!(failures.is_empty(), "{suite}: {} failures\n{}", failures.len(), failures.join("\n"));
    leaves
}

struct Tolerance<'a> {
    absolute: &'a Value,
    relative: &'a Value,
}

impl Tolerance<'_> {
    fn of(tolerance: &Value, key: &str) -> f64 {
        match tolerance {
            Value::Object(by_key) => {
                by_key.get(key).or_else(|| by_key.get("*")).and_then(Value::as_f64).unwrap_or(0.0)
            }
            number => number.as_f64().unwrap_or(0.0),
        }
    }

    fn accepts(&self, key: &str, got: f64, expected: f64) -> bool {
        let allowed = Self::of(self.absolute, key) + Self::of(self.relative, key) * expected.abs();
        (got - expected).abs() <= allowed
    }
}

struct Comparison<'a> {
    tolerance: Tolerance<'a>,
    skipped_keys: &'a [&'a str],
    used_skips: &'a mut BTreeSet<String>,
    failures: Vec<String>,
    leaves: usize,
}

impl Comparison<'_> {
    fn compare(&mut self, key: &str, path: &str, expected: &Value, got: &Value) {
        match (expected, got) {
            (Value::Object(expected), Value::Object(got)) => {
                for (key, expected) in expected {
                    let path = format!("{path}.{key}");
                    if let Some(got) = got.get(key) {
                        self.compare(key, &path, expected, got);
                    } else if self.skipped_keys.contains(&key.as_str()) {
                        self.used_skips.insert(key.clone());
                    } else {
                        self.failures.push(format!("{path}: unknown key, expected {expected}"));
                    }
                }
            }
            (Value::Array(expected), Value::Array(got)) if expected.len() == got.len() => {
                for (i, (expected, got)) in expected.iter().zip(got).enumerate() {
                    self.compare(key, &format!("{path}[{i}]"), expected, got);
                }
            }
            (Value::Number(e), Value::Number(g)) => {
                self.leaves += 1;
                if !self.tolerance.accepts(key, g.as_f64().unwrap(), e.as_f64().unwrap()) {
                    self.failures.push(format!("{path}: got {g}, expected {e}"));
                }
            }
            (expected, got) => {
                self.leaves += 1;
                if expected != got {
                    self.failures.push(format!("{path}: got {got}, expected {expected}"));
                }
            }
        }
    }
}

/// A number of a golden file; non-finite ones are strings.
pub(crate) fn number(value: &Value) -> f64 {
    match value {
        Value::String(text) if text == "NaN" => f64::NAN,
        Value::String(text) if text == "Infinity" => f64::INFINITY,
        Value::String(text) if text == "-Infinity" => f64::NEG_INFINITY,
        number => number.as_f64().unwrap_or_else(|| panic!("{value} is not a number")),
    }
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap_or_else(|| panic!("{value} is not a list")).iter().map(number).collect()
}

/// A number in the notation of the golden files.
pub(crate) fn shown(value: f64) -> Value {
    match value {
        v if v.is_nan() => json!("NaN"),
        v if v.is_infinite() => json!(if v > 0.0 { "Infinity" } else { "-Infinity" }),
        v => json!(v),
    }
}

pub(crate) fn shown_option(value: Option<f64>) -> Value {
    value.map_or(Value::Null, shown)
}

pub(crate) fn shown_list(values: &[f64]) -> Value {
    Value::Array(values.iter().copied().map(shown).collect())
}

#[test]
fn an_expectation_without_an_answer_is_a_failure() {
    let (absolute, relative) = (json!(0), json!(0));
    let mut used_skips = BTreeSet::new();
    let mut comparison = Comparison {
        tolerance: Tolerance { absolute: &absolute, relative: &relative },
        skipped_keys: &["median"],
        used_skips: &mut used_skips,
        failures: Vec::new(),
        leaves: 0,
    };
    comparison.compare(
        "*",
        "",
        &json!({"mean": 1, "median": 2, "sd": 3, "n": [1, 2]}),
        &json!({"mean": 1, "n": [1]}),
    );
    assert_eq!(comparison.failures, [".sd: unknown key, expected 3", ".n: got [1], expected [1,2]"]);
    assert!(used_skips.contains("median"));
}

#[test]
fn a_value_outside_the_tolerance_is_found() {
    let (absolute, relative) = (json!({"*": 0.0, "p": 0.1}), json!(1e-9));
    let tolerance = Tolerance { absolute: &absolute, relative: &relative };
    assert!(tolerance.accepts("p", 0.55, 0.5));
    assert!(!tolerance.accepts("t", 0.55, 0.5));
    assert!(tolerance.accepts("t", 2.0 + 1e-9, 2.0));
}
