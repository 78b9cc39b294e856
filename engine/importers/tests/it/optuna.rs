//! Storages of Optuna 2.10, 3.6 and 5.0 against Optuna's own reader.

use std::collections::BTreeMap;
use std::path::Path;

use importers::{Options, SourceKind};
use model::RunStatus;
use rusqlite::Connection;
use serde_json::Value;

use crate::collector::{Collector, import, import_kinds};
use crate::expected;

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => format!("{:?}", number.as_f64().unwrap()),
        other => other.to_string(),
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| value.as_str().unwrap().parse().unwrap())
}

#[test]
fn all_storages_give_what_optuna_reads() {
    let Some(data) = e2e::data() else { return };
    let folder = data.join("clients/optuna");
    let document = e2e::expected_document(&folder);
    let points = expected::points(&folder);
    let mut stores: BTreeMap<&str, Collector> = BTreeMap::new();
    for (store, path) in [
        ("optuna-2.10/sqlite", "optuna-2.10/study.db"),
        ("optuna-3.6/sqlite", "optuna-3.6/study.db"),
        ("optuna-3.6/journal", "optuna-3.6/journal.log"),
        ("optuna-5.0/sqlite", "optuna-5.0/study.db"),
        ("optuna-5.0/journal", "optuna-5.0/journal.log"),
    ] {
        let (found, summary) = import(&folder.join(path));
        assert!(found.rejections.is_empty(), "{store}: {:?}", found.rejections);
        let empty: Vec<_> = summary.remarks.iter().filter(|remark| remark.code == "study.empty").collect();
        assert_eq!(empty.len(), 1, "{store}");
        stores.insert(store, found);
    }
    let mut reported = 0;
    for (key, wanted) in document["runs"].as_object().unwrap() {
        let (store, name) = key.split_once(':').unwrap();
        let found = &stores[store];
        let run = found.run_named(name);
        let tag = |key: &str| run.tags.iter().find(|(k, _)| k.as_str() == key).map(|(_, v)| v.as_str());
        assert_eq!(run.experiment.as_str(), name.split('/').next().unwrap());
        let state = wanted["state"].as_str().unwrap();
        assert_eq!(tag("optuna.state"), Some(state));
        let status = match state {
            "COMPLETE" => RunStatus::Finished,
            "PRUNED" => RunStatus::Killed,
            "RUNNING" => RunStatus::Running,
            "WAITING" => RunStatus::Scheduled,
            _ => RunStatus::Failed,
        };
        assert_eq!(run.status, status, "{key}");
        let micros =
            |field: &str| wanted[field].as_str().map(|t| importers::time::micros_from_text(t).unwrap());
        assert_eq!((run.start_time, run.end_time), (micros("start"), micros("complete")), "{key}");
        let params: BTreeMap<_, _> = run.params.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let wanted_params: BTreeMap<_, _> =
            wanted["params"].as_object().unwrap().iter().map(|(k, v)| (k.clone(), text(v))).collect();
        assert_eq!(params, wanted_params, "{key}");
        for name in params.keys() {
            let distribution: Value = tag(&format!("optuna.distribution.{name}")).unwrap().parse().unwrap();
            let shown = wanted["distributions"][name].as_str().unwrap();
            assert!(shown.starts_with(distribution["name"].as_str().unwrap()), "{key} {name}");
        }
        for (name, value) in wanted["user_attrs"].as_object().unwrap() {
            let actual = tag(&format!("optuna.user.{name}")).unwrap();
            match value {
                Value::String(text) => assert_eq!(actual, text),
                value => assert_eq!(actual.parse::<Value>().unwrap(), *value, "{key} {name}"),
            }
        }
        let mut series = found.series_of(run.id);
        if let Some(intermediate) = series.remove("intermediate") {
            let wanted_points = &points[&(key.clone(), "intermediate".to_owned())];
            expected::check_points(key, wanted_points, intermediate, |_| 0);
            expected::check_series(key, &wanted["metrics"]["intermediate"], intermediate);
            reported += intermediate.len();
        } else {
            assert!(wanted["metrics"].as_object().unwrap().is_empty(), "{key}");
        }
        let values: Vec<f64> = wanted["values"].as_array().into_iter().flatten().map(number).collect();
        let study = &document["studies"][&format!("{store}:{}", name.split('/').next().unwrap())];
        let names: Vec<String> = match (&study["metric_names"], values.len()) {
            (Value::Array(names), _) => names.iter().map(text).collect(),
            (_, 1) => vec!["value".to_owned()],
            (_, several) => (0..several).map(|index| format!("values_{index}")).collect(),
        };
        assert_eq!(series.len(), values.len(), "{key}");
        for (name, value) in names.iter().zip(values) {
            assert_eq!(series[name.as_str()].values, [value], "{key} {name}");
        }
    }
    let totals = &document["totals"];
    assert_eq!(reported as u64, totals["points"].as_u64().unwrap());
    assert_eq!(
        stores.values().map(|found| found.runs.len()).sum::<usize>() as u64,
        totals["runs"].as_u64().unwrap()
    );
    // A tree finds all of them.
    let (all, _) = import_kinds(&folder, &[SourceKind::Optuna], &Options::default());
    assert_eq!(all.runs.len() as u64, totals["runs"].as_u64().unwrap());
}

fn storage(path: &Path, statements: &str) {
    const SCHEMA: &str = "
        CREATE TABLE studies(study_id INTEGER PRIMARY KEY, study_name);
        CREATE TABLE study_directions(direction, study_id, objective);
        CREATE TABLE study_user_attributes(study_id, key, value_json);
        CREATE TABLE study_system_attributes(study_id, key, value_json);
        CREATE TABLE trials(trial_id INTEGER PRIMARY KEY, number, study_id, state, datetime_start, datetime_complete);
        CREATE TABLE trial_user_attributes(trial_id, key, value_json);
        CREATE TABLE trial_system_attributes(trial_id, key, value_json);
        CREATE TABLE trial_params(param_id INTEGER PRIMARY KEY, trial_id, param_name, param_value, distribution_json);
        CREATE TABLE trial_values(trial_value_id INTEGER PRIMARY KEY, trial_id, objective, value, value_type);
        CREATE TABLE trial_intermediate_values(trial_intermediate_value_id INTEGER PRIMARY KEY, trial_id, step,
            intermediate_value, intermediate_value_type);";
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(SCHEMA).unwrap();
    connection.execute_batch(statements).unwrap();
}

#[test]
fn infinities_nan_and_damaged_rows() {
    let folder = tempfile::tempdir().unwrap();
    storage(
        &folder.path().join("study.db"),
        "INSERT INTO studies VALUES (1, 's');
         INSERT INTO trials VALUES (1, 0, 1, 'COMPLETE', '2026-11-20 23:26:45.130295', NULL);
         INSERT INTO trials VALUES (2, 1, 1, 'DONE', NULL, NULL);
         INSERT INTO trials VALUES (3, 2, 1, 'WAITING', NULL, NULL);
         INSERT INTO trial_params VALUES (1, 1, 'x', 7.0, 'not json'), (2, 1, 'y', 0.5, '{\"name\": \"FloatDistribution\"}');
         INSERT INTO trial_values VALUES (1, 1, 0, NULL, 'INF_NEG');
         INSERT INTO trial_intermediate_values VALUES (1, 1, 3, NULL, 'INF_POS'), (2, 1, 1, 0.0, 'NAN'),
            (3, 1, 2, 'text', 'FINITE'), (4, 1, 'x', 1.0, 'FINITE'), (5, 1, 9, 0.25, 'FINITE');",
    );
    let (found, _) = import(folder.path());
    let run = found.run_named("s/0");
    let series = found.series_of(run.id);
    assert_eq!(series["value"].values, [f64::NEG_INFINITY]);
    assert_eq!(series["value"].steps, [9]);
    assert_eq!(series["intermediate"].steps, [3, 1, 2, 9]);
    assert_eq!(series["intermediate"].values[0], f64::INFINITY);
    assert!(series["intermediate"].values[1..3].iter().all(|value| value.is_nan()));
    assert_eq!(run.params.len(), 1);
    assert_eq!(found.runs.len(), 2);
    assert_eq!(
        found.codes().into_iter().collect::<Vec<_>>(),
        [("param.malformed", 1), ("status.unknown", 1), ("step.missing", 1)]
    );
}

#[test]
fn a_journal_keeps_what_its_good_lines_say() {
    let folder = tempfile::tempdir().unwrap();
    let lines = [
        r#"{"op_code":0,"worker_id":"a","study_name":"s","directions":[1]}"#,
        r#"{"op_code":4,"worker_id":"a","study_id":0,"datetime_start":"2026-11-20T23:26:55.5+00:00"}"#,
        "{\"op_code\":7,\"worker",
        r#"{"op_code":7,"worker_id":"a","trial_id":0,"step":2,"intermediate_value":0.5}"#,
        r#"{"op_code":77}"#,
    ];
    std::fs::write(folder.path().join("journal.log"), lines.join("\n")).unwrap();
    let (found, _) = import(folder.path());
    assert_eq!(found.series_of(found.run_named("s/0").id)["intermediate"].values, [0.5]);
    assert_eq!(found.codes()["operation.malformed"], 2);
    let places: Vec<_> = found.rejections.iter().map(|rejection| rejection.place.to_string()).collect();
    assert_eq!(places, ["line 3", "line 5"]);
}

#[test]
fn a_schema_that_is_too_old_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let connection = Connection::open(folder.path().join("old.db")).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE studies(x); CREATE TABLE trials(x); CREATE TABLE trial_params(x);
             CREATE TABLE trial_values(trial_id, step, value); CREATE TABLE trial_intermediate_values(x);",
        )
        .unwrap();
    drop(connection);
    let (found, _) = import(folder.path());
    assert!(found.rejections[0].message.contains("older than Optuna 2.4"), "{:?}", found.rejections);
}
