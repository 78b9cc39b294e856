//! The folder of expected values, which a fresh checkout does not have, and the device that is tested.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kernels::{Backend, CpuBackend, Policy};
use serde_json::Value;

/// The shared folder: `RUNLAKE_SHARED`, or `shared` beside any ancestor of this crate.
pub(crate) fn shared() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("RUNLAKE_SHARED") {
        return Some(PathBuf::from(folder));
    }
    let ancestors = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    ancestors.map(|ancestor| ancestor.join("shared")).find(|folder| folder.join("DESIGN.md").is_file())
}

/// The device that is tested: the CPU, or the one that `RUNLAKE_DEVICE` names.
pub(crate) fn backend() -> Arc<dyn Backend> {
    match std::env::var_os("RUNLAKE_DEVICE") {
        None => Arc::new(CpuBackend::new()),
        Some(_) => kernels::select(Policy::Auto).unwrap().backend,
    }
}

/// The vectors of one golden file, `None` (after saying so) where the folder is absent.
pub(crate) fn vectors(suite: &str) -> Option<Vec<Value>> {
    let Some(folder) = shared() else {
        println!("skipped: no shared folder with golden values");
        return None;
    };
    let text = std::fs::read_to_string(folder.join("golden").join(format!("{suite}.json"))).unwrap();
    let Value::Object(mut file) = serde_json::from_str(&text).unwrap() else {
        panic!("{suite} is no object")
    };
    let Some(Value::Array(vectors)) = file.remove("vectors") else { panic!("{suite} has no vectors") };
    Some(vectors)
}

/// A number, with the words that JSON has no literal for.
pub(crate) fn number(value: &Value) -> f64 {
    match value {
        Value::String(word) => match word.as_str() {
            "NaN" => f64::NAN,
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            other => panic!("{other} is no number"),
        },
        value => value.as_f64().unwrap_or_else(|| panic!("{value} is no number")),
    }
}

/// An array of numbers.
pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap_or_else(|| panic!("{value} is no array")).iter().map(number).collect()
}

/// The tolerances of one key of a vector: absolute and relative.
pub(crate) fn tolerances(vector: &Value, key: &str) -> (f64, f64) {
    let of = |field: &str| match &vector[field] {
        Value::Object(by_key) => by_key.get(key).or(by_key.get("*")).map_or(0.0, number),
        value => number(value),
    };
    (of("atol"), of("rtol"))
}

/// Fails unless `got` equals the expected value of `key` within the vector's tolerances.
#[track_caller]
pub(crate) fn assert_close(vector: &Value, key: &str, got: f64, expected: f64) {
    let (absolute, relative) = tolerances(vector, key);
    let close = (got - expected).abs() <= absolute + relative * expected.abs();
    let same = got == expected || (got.is_nan() && expected.is_nan());
    assert!(close || same, "{} {key}: got {got:e}, expected {expected:e}", vector["name"]);
}
