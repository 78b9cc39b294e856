//! Plain files, clean and messy, against the rules of their `expected.json`.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::DateTime;
use importers::{ImportError, Place};

use crate::collector::{Collector, detect, import};
use crate::expected;

fn micros(text: &str) -> i64 {
    match text.parse::<f64>() {
        Ok(seconds) => (seconds * 1e6).round() as i64,
        Err(_) => DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros(),
    }
}

/// The series of a file by the keys of `expected.json`: `metric`, or `run | metric`.
fn by_key(found: &Collector, runs_in_file: bool) -> BTreeMap<String, &model::PointColumns> {
    found
        .points
        .iter()
        .map(|((run, metric, context), points)| {
            assert_eq!(*context, None);
            let key =
                if runs_in_file { format!("{} | {metric}", found.runs[run].name) } else { metric.clone() };
            (key, points)
        })
        .collect()
}

#[test]
fn every_file_gives_what_its_rules_say() {
    let Some(data) = e2e::data() else { return };
    let folder = data.join("clients/plain");
    let document = e2e::expected_document(&folder);
    let points = expected::points(&folder);
    let mut faults = Vec::new();
    for (name, wanted) in document["runs"].as_object().unwrap() {
        let checked = std::panic::catch_unwind(|| check_file(&folder, name, wanted, &points));
        if checked.is_err() {
            faults.push(name.clone());
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

fn check_file(
    folder: &Path,
    name: &str,
    wanted: &serde_json::Value,
    points: &BTreeMap<(String, String), Vec<expected::TextPoint>>,
) {
    let class = wanted["class"].as_str().unwrap();
    let (found, _) = import(&folder.join(name));
    if class == "unreadable" {
        assert!(found.points.is_empty() && found.runs.is_empty(), "{name}");
        assert_eq!(found.rejections.len(), 1, "{name}");
        assert_eq!(found.rejections[0].code, "import.unreadable");
        assert!(found.rejections[0].message.contains(Path::new(name).file_name().unwrap().to_str().unwrap()));
        return;
    }
    let runs_in_file = wanted["runs_in_file"].is_number();
    let series = by_key(&found, runs_in_file);
    if name == "messy/wide-500-columns.csv" {
        // Its series are told in sum, and point by point in the other file.
        let mut by_metric: BTreeMap<&str, Vec<model::Point>> = BTreeMap::new();
        for ((_, metric, _), columns) in &found.points {
            by_metric.entry(metric).or_default().extend(columns.iter());
        }
        assert_eq!(by_metric.len() as u64, wanted["n_series"].as_u64().unwrap());
        let mut count = 0;
        for ((file, metric), wanted) in points.iter().filter(|((file, _), _)| file == name) {
            let mut columns = model::PointColumns::default();
            by_metric[metric.as_str()].iter().for_each(|point| columns.push(*point));
            expected::check_points(&format!("{file} {metric}"), wanted, &columns, micros);
            count += wanted.len() as u64;
        }
        assert_eq!(count, wanted["n_points"].as_u64().unwrap());
        return;
    }
    let empty = serde_json::Map::new();
    let metrics = wanted["metrics"].as_object().unwrap_or(&empty);
    let wanted_keys: Vec<&str> = {
        let mut keys: Vec<_> = metrics.keys().map(String::as_str).collect();
        keys.sort();
        keys
    };
    assert_eq!(series.keys().map(String::as_str).collect::<Vec<_>>(), wanted_keys, "{name}");
    for (metric, wanted) in metrics {
        let what = format!("{name} {metric}");
        expected::check_points(&what, &points[&(name.to_owned(), metric.clone())], series[metric], micros);
        // A row without a step gets one, which the hash of this file cannot know.
        if name != "messy/nulls-vs-nan.parquet" {
            expected::check_series(&what, wanted, series[metric]);
        }
    }
    let rejected: u64 = found.rejections.iter().map(|rejection| rejection.count).sum();
    match name {
        "messy/mixed-cells.csv" => assert_eq!(found.codes()["cell.not_a_number"], 9),
        "messy/log.jsonl" => {
            // The two bad lines, and the text in a column of numbers.
            let lines: Vec<_> =
                found.rejections.iter().map(|rejection| (rejection.code, rejection.place)).collect();
            let wanted = [
                ("line.not_json", Place::Line(4)),
                ("cell.not_a_number", Place::Line(8)),
                ("line.not_json", Place::Line(10)),
            ];
            assert!(lines.iter().all(|line| wanted.contains(line)), "{lines:?}");
            assert!(lines.contains(&wanted[0]) && lines.contains(&wanted[2]), "{lines:?}");
        }
        "messy/truncated.csv.gz" => assert_eq!(found.codes()["file.cut"], 1),
        _ => assert_eq!(rejected, 0, "{name}: {:?}", found.rejections),
    }
}

#[test]
fn a_table_of_runs_gives_params() {
    let Some(data) = e2e::data() else { return };
    let (found, summary) = import(&data.join("clients/plain/clean/runs.csv"));
    assert_eq!((summary.total.runs, summary.total.points), (3, 0));
    let run = found.run_named("run-001");
    let params: Vec<_> = run.params.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(
        params,
        [
            ("batch_size", "32"),
            ("lr", "0.01"),
            ("notes", "multi\nline, \"quoted\" note"),
            ("optimizer", "sgd"),
            ("seed", "1")
        ]
    );
}

#[test]
fn documents_of_runs_give_params_and_histories() {
    let Some(data) = e2e::data() else { return };
    let (found, _) = import(&data.join("clients/plain/clean/runs.json"));
    let run = found.run_named("run-000");
    let params: Vec<_> = run.params.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(params, [("layers", "[64,64]"), ("lr", "0.1")]);
}

#[test]
fn units_of_time_may_be_mixed() {
    let Some(data) = e2e::data() else { return };
    let (found, _) = import(&data.join("clients/plain/messy/time-units-mixed.csv"));
    let times = &found.points.values().next().unwrap().times;
    let wanted: Vec<i64> = (0..8).map(|second| (1_750_000_000 + second) * 1_000_000).collect();
    assert_eq!(*times, wanted);
}

#[test]
fn hidden_folders_are_named() {
    let Some(data) = e2e::data() else { return };
    let found = detect(&data.join("clients/plain/messy"));
    assert!(found.unrecognised.iter().any(|left| left.path.ends_with(".hidden")));
    let sources: usize = found.sources.iter().map(|source| source.units.len()).sum();
    assert_eq!(sources, 33, "{:#?}", found.unrecognised);
}

#[test]
fn a_missing_path_is_named() {
    let error = importers::detect(Path::new("/nowhere/at/all"), &importers::Limits::default()).unwrap_err();
    assert!(matches!(error, ImportError::Io { .. }) && error.to_string().contains("/nowhere/at/all"));
}
