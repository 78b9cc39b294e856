//! File stores of MLflow 1.30, 2.22 and 3.17 against MLflow's own client.

use std::collections::BTreeMap;

use importers::{Options, SourceKind};
use model::PointColumns;
use serde_json::Value;

use crate::collector::{Collector, detect, import, import_kinds};
use crate::expected;

fn micros(millis: &str) -> i64 {
    millis.parse::<i64>().unwrap() * 1_000
}

fn texts(value: &Value) -> BTreeMap<String, String> {
    value.as_object().unwrap().iter().map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned())).collect()
}

fn check_store(store: &str, found: &Collector) {
    let folder = e2e::data().unwrap().join("clients/mlflow");
    let document = e2e::expected_document(&folder);
    let points = expected::points(&folder);
    let mut runs = 0;
    for (key, wanted) in document["runs"].as_object().unwrap() {
        let Some(id) = key.strip_prefix(store).and_then(|rest| rest.strip_prefix(':')) else { continue };
        runs += 1;
        let run = &found.runs[&id.parse().unwrap()];
        assert_eq!(run.source_run_id.as_deref(), Some(id));
        assert_eq!(run.name, wanted["name"].as_str().unwrap(), "{key}");
        assert_eq!(run.experiment.as_str(), wanted["experiment"].as_str().unwrap(), "{key}");
        assert_eq!(run.status.as_str(), wanted["status"].as_str().unwrap(), "{key}");
        assert_eq!(run.deleted, wanted["lifecycle_stage"] == "deleted", "{key}");
        assert_eq!(run.start_time, wanted["start_time"].as_i64().map(|t| t * 1_000), "{key}");
        assert_eq!(run.end_time, wanted["end_time"].as_i64().map(|t| t * 1_000), "{key}");
        assert_eq!(run.parent.map(|id| id.to_string()).as_deref(), wanted["parent"].as_str(), "{key}");
        let params: BTreeMap<_, _> = run.params.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        assert_eq!(params, texts(&wanted["params"]), "{key}");
        let tags: BTreeMap<_, _> = run.tags.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        assert_eq!(tags, texts(&wanted["tags"]), "{key}");
        let datasets = wanted["dataset_inputs"].as_array().unwrap();
        assert_eq!(run.datasets.len(), datasets.len(), "{key}");
        for (dataset, wanted) in run.datasets.iter().zip(datasets) {
            assert_eq!(dataset.name, wanted["name"].as_str().unwrap());
            assert_eq!(dataset.digest, wanted["digest"].as_str().unwrap());
            assert_eq!(dataset.source_type, wanted["source_type"].as_str().unwrap());
            assert_eq!(dataset.source, wanted["source"].as_str().unwrap());
            assert_eq!(dataset.tags, texts(&wanted["tags"]));
        }
        let series = found.series_of(run.id);
        let metrics = wanted["metrics"].as_object().unwrap();
        assert_eq!(series.len(), metrics.len(), "{key}");
        for (metric, wanted) in metrics {
            let what = format!("{key} {metric}");
            let wanted_points = &points[&(key.clone(), metric.clone())];
            let mut found = series[metric.as_str()].clone();
            if store.ends_with("sqlite") {
                // The client sorts what it reads from a database; here points stand in the order of their arrival.
                let mut points: Vec<_> = found.iter().collect();
                points.sort_by(|a, b| {
                    (a.time, a.step).cmp(&(b.time, b.step)).then(a.value.total_cmp(&b.value))
                });
                found = PointColumns::default();
                points.into_iter().for_each(|point| found.push(point));
            }
            expected::check_points(&what, wanted_points, &found, micros);
            expected::check_series(&what, wanted, &found);
        }
    }
    assert!(runs >= 10);
    assert_eq!(found.runs.len(), runs, "{store}");
    assert!(found.rejections.is_empty(), "{:?}", found.rejections);
}

#[test]
fn all_three_versions_give_what_mlflow_reads() {
    let Some(data) = e2e::data() else { return };
    for store in ["mlflow-1.30-file", "mlflow-2.22-file", "mlflow-3.17-file"] {
        // The folder of the store, and the folder above it.
        let (inner, _) = import(&data.join("clients/mlflow").join(store).join("mlruns"));
        check_store(store, &inner);
        let (outer, _) = import(&data.join("clients/mlflow").join(store));
        check_store(store, &outer);
        assert_eq!(inner.everything(), outer.everything());
    }
}

#[test]
fn all_three_databases_give_what_mlflow_reads() {
    let Some(data) = e2e::data() else { return };
    for store in ["mlflow-1.30-sqlite", "mlflow-2.22-sqlite", "mlflow-3.17-sqlite"] {
        let (found, summary) = import(&data.join("clients/mlflow").join(store).join("mlflow.db"));
        check_store(store, &found);
        // Two infinities that MLflow clamped, and the number that it clamps to, are told.
        let clamped = summary.remarks.iter().find(|remark| remark.code == "value.clamped");
        assert_eq!(clamped.map(|remark| remark.count), Some(3), "{store}");
    }
    let found = detect(&data.join("clients/mlflow"));
    assert_eq!(found.sources.iter().filter(|source| source.kind == SourceKind::Mlflow).count(), 6);
}

#[test]
fn damaged_databases_keep_their_good_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mlflow.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE experiments(experiment_id INTEGER, name, lifecycle_stage);
             CREATE TABLE runs(run_uuid, name, user_id, status, start_time, end_time, lifecycle_stage, experiment_id);
             CREATE TABLE metrics(key, value, timestamp, run_uuid, step, is_nan);
             CREATE TABLE params(key, value, run_uuid);
             CREATE TABLE tags(key, value, run_uuid);
             INSERT INTO experiments VALUES (1, 'gone', 'deleted');
             INSERT INTO runs VALUES ('b', 'second', 'me', 'ODD', 5, NULL, 'active', 7),
                ('a', '', '', 'FAILED', NULL, NULL, 'active', 1), (NULL, 'x', '', 'FAILED', 1, 1, 'active', 1);
             INSERT INTO params VALUES ('lr', '0.1', 'b'), ('lr', '0.2', 'a'), ('lr', '0.3', 'aa'), ('', 'x', 'b');
             INSERT INTO tags VALUES ('mlflow.runName', 'first', 'a'), ('t', NULL, 'zz');
             INSERT INTO metrics VALUES ('loss', 2.0, 9, 'b', 5, 0), ('loss', 0.0, 8, 'a', -1, 1),
                ('loss', 1.0, 10, 'b', 4, 0), ('loss', 'x', 1, 'a', 0, 0), ('loss', 1.0, 1, 'c', 0, 0),
                ('loss', 1.0, 9223372036854775807, 'a', 0, 0), ('', 1.0, 1, 'a', 0, 0), (NULL, 1.0, 1, 'a', 0, 0);",
        )
        .unwrap();
    drop(connection);
    let (found, _) = import(folder.path());
    assert_eq!(found.runs.len(), 2);
    let (a, b) = (found.run_named("first"), found.run_named("second"));
    assert_eq!((a.experiment.as_str(), a.deleted, a.params["lr"].as_str()), ("gone", true, "0.2"));
    assert_eq!((b.deleted, b.start_time, b.user.as_deref()), (false, Some(5_000), Some("me")));
    assert!(found.series_of(a.id)["loss"].values[0].is_nan());
    assert_eq!(found.series_of(b.id)["loss"].steps, [5, 4]);
    assert_eq!(
        found.codes().into_iter().collect::<Vec<_>>(),
        [
            ("metric.missing", 1),
            ("metric.refused", 1),
            ("param.refused", 1),
            ("point.malformed", 2),
            ("run.missing", 1),
            ("run.unknown", 3),
            ("status.unknown", 1)
        ]
    );
    // A file that is cut is told, and stops nothing.
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(folder.path().join("good.csv"), "step,loss\n0,1\n").unwrap();
    let (found, summary) = import(folder.path());
    assert_eq!(summary.total.points, 1);
    assert!(found.rejections.iter().all(|rejection| rejection.code == "import.unreadable"));
}

#[test]
fn deleted_experiments_old_lines_and_damaged_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("mlruns");
    let run = store.join(".trash/7/816b2fdd6e3c43dbb4c4aa925b920381");
    let write = |path: &str, text: &[u8]| {
        let path = run.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("meta.yaml", b"run_uuid: 816b2fdd6e3c43dbb4c4aa925b920381\nname: old\nstatus: FINISHED\nstart_time: 5\nlifecycle_stage: active\n");
    write("../meta.yaml", b"experiment_id: '7'\nname: gone\nlifecycle_stage: deleted\n");
    write("metrics/loss", b"1 0.5\n2 0.25 -3\n3 nan 4 train 244437a9\n\n4 bad 5\n5 1.0");
    write("metrics/deep/er/acc", b"1 1.0 0\n");
    write(&format!("metrics/{}", "m".repeat(251)), b"1 1.0 0\n");
    write("params/lines", b"a\nb\n");
    write("params/long", "x".repeat(6_001).as_bytes());
    write("tags/bad", b"\xff");
    let broken = store.join("7/0123456789abcdef0123456789abcdef");
    std::fs::create_dir_all(&broken).unwrap();
    std::fs::write(broken.join("meta.yaml"), b"run_id: !!python/object:os.system [x]\n").unwrap();
    std::fs::write(store.join("7/meta.yaml"), b"experiment_id: '7'\nname: again\nlifecycle_stage: active\n")
        .unwrap();
    let detection = detect(&store);
    assert!(detection.unrecognised.iter().any(|left| left.path.starts_with(broken.canonicalize().unwrap()) && left.reason.contains("tags")));
    let (found, summary) = import_kinds(&store, &[SourceKind::Mlflow], &Options::default());
    let run = found.runs.values().next().unwrap();
    assert_eq!((run.experiment.as_str(), run.deleted, run.name.as_str()), ("gone", true, "old"));
    assert_eq!(
        run.params.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(),
        [("lines", "a\nb\n")]
    );
    let series = found.series_of(run.id);
    assert_eq!(series["loss"].steps, [0, -3, 4, 0]);
    assert_eq!(series["deep/er/acc"].times, [1_000]);
    let codes = found.codes();
    assert_eq!(
        codes.into_iter().collect::<Vec<_>>(),
        [("metric.malformed_line", 1), ("metric.refused", 1), ("param.refused", 1), ("text.not_utf8", 1)]
    );
    assert!(
        summary.remarks.iter().any(|remark| remark.code == "ignored.metric_dataset" && remark.count == 1)
    );
}
