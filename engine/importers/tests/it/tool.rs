//! The usual comparison of an import with what a tool's own reader gave: runs, series, points, params.

use std::collections::BTreeMap;
use std::path::Path;

use importers::{ImportedRun, Options, SourceKind, Summary};
use serde_json::Value;

use crate::collector::{Collector, import_kinds};
use crate::expected;

/// The values of nested JSON by their dotted paths, as params show them.
pub(crate) fn flattened(value: &Value) -> BTreeMap<String, String> {
    fn walk(value: &Value, path: &str, out: &mut BTreeMap<String, String>) {
        let text = match value {
            Value::Object(object) if !object.is_empty() => {
                for (key, value) in object {
                    walk(value, &format!("{path}{}{key}", if path.is_empty() { "" } else { "." }), out);
                }
                return;
            }
            Value::String(text) => text.clone(),
            Value::Number(number) if number.is_f64() => format!("{:?}", number.as_f64().unwrap()),
            other => other.to_string(),
        };
        out.insert(path.to_owned(), text);
    }
    let mut out = BTreeMap::new();
    walk(value, "", &mut out);
    out.remove("");
    out
}

pub(crate) fn params(run: &ImportedRun) -> BTreeMap<String, String> {
    run.params.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

pub(crate) fn tag<'r>(run: &'r ImportedRun, key: &str) -> Option<&'r str> {
    run.tags.iter().find(|(found, _)| found.as_str() == key).map(|(_, value)| value.as_str())
}

/// Imports a tool's folder and compares all series with the expected ones; `name` makes the name of a run from its key in
/// the document, `micros` a time from its text. Nothing may be rejected.
pub(crate) fn check(
    folder: &Path,
    kind: SourceKind,
    name: fn(&str) -> String,
    micros: fn(&str) -> i64,
) -> (Collector, Summary, Value) {
    let document = e2e::expected_document(folder);
    let points = expected::points(folder);
    let (found, summary) = import_kinds(folder, &[kind], &Options::default());
    assert!(found.rejections.is_empty(), "{:?}", found.rejections);
    let runs = document["runs"].as_object().unwrap();
    assert_eq!(found.runs.len(), runs.len());
    for (key, wanted) in runs {
        let series = found.series_of(found.run_named(&name(key)).id);
        let metrics = wanted["metrics"].as_object().unwrap();
        let names = |names: &mut dyn Iterator<Item = &str>| {
            let mut names: Vec<String> = names.map(str::to_owned).collect();
            names.sort();
            names
        };
        assert_eq!(
            names(&mut series.keys().copied()),
            names(&mut metrics.keys().map(String::as_str)),
            "{key}"
        );
        for (metric, wanted) in metrics {
            let what = format!("{key} {metric}");
            let wanted_points = &points[&(key.clone(), metric.clone())];
            expected::check_points(&what, wanted_points, series[metric.as_str()], micros);
            expected::check_series(&what, wanted, series[metric.as_str()]);
        }
    }
    assert_eq!(summary.total.points, document["totals"]["points"].as_u64().unwrap());
    (found, summary, document)
}
