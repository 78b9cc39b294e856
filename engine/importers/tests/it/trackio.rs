//! A SQLite file of Trackio against Trackio's own reader.

use importers::SourceKind;
use model::{RunId, RunStatus};
use rusqlite::Connection;

use crate::collector::import;
use crate::tool;

fn micros(text: &str) -> i64 {
    importers::time::micros_from_text(text).unwrap()
}

#[test]
fn rows_and_configurations() {
    let Some(data) = e2e::data() else { return };
    let name = |key: &str| key.rsplit('/').next().unwrap().to_owned();
    let (found, _, document) = tool::check(&data.join("clients/trackio"), SourceKind::Trackio, name, micros);
    for (key, wanted) in document["runs"].as_object().unwrap() {
        let run = found.run_named(&name(key));
        assert_eq!(run.project.as_ref().unwrap().as_str(), "demo");
        let (own, params): (Vec<_>, Vec<_>) =
            tool::flattened(&wanted["params"]).into_iter().partition(|(key, _)| key.starts_with('_'));
        assert_eq!(tool::params(run), params.into_iter().collect(), "{key}");
        for (key, value) in own {
            assert_eq!(tool::tag(run, &format!("trackio.{}", &key[1..])), Some(value.as_str()));
        }
        assert_eq!(run.start_time, Some(micros(wanted["params"]["_Created"].as_str().unwrap())));
    }
}

#[test]
fn files_without_run_ids_and_damaged_rows() {
    let folder = tempfile::tempdir().unwrap();
    let connection = Connection::open(folder.path().join("old.db")).unwrap();
    connection
        .execute_batch(
            r#"CREATE TABLE metrics(id INTEGER PRIMARY KEY, timestamp, run_name, step, metrics);
             CREATE TABLE configs(id INTEGER PRIMARY KEY, run_name, config, created_at);
             CREATE TABLE system_metrics(id INTEGER PRIMARY KEY, timestamp, run_name, metrics);
             INSERT INTO configs VALUES (1, 'a', '{"lr": 0.1, "_Group": "g"}', '2026-01-01T00:00:00'), (2, 'c', '{', NULL);
             INSERT INTO metrics VALUES
                (1, '2026-01-01T00:00:01', 'a', 3, '{"loss": "NaN", "x": "Infinity", "image": {"_type": "trackio.image", "n": 1}}'),
                (2, '2026-01-01T00:00:02', 'b', 0, '{"loss": 0.5}'), (3, 'never', 'b', 1, '{"loss": 1}'),
                (4, '2026-01-01T00:00:02', 'b', 2, '[1]'), (5, '2026-01-01T00:00:02', NULL, 2, '{}');
             INSERT INTO system_metrics VALUES (1, '2026-01-01T00:00:05', 'a', '{"gpu": {"util": 99}}');"#,
        )
        .unwrap();
    drop(connection);
    let (found, summary) = import(folder.path());
    assert_eq!(found.runs.len(), 3);
    let run = &found.runs[&RunId::imported("trackio", "old/a")];
    assert_eq!((run.status, run.params.len()), (RunStatus::Finished, 1));
    let series = found.series_of(run.id);
    assert!(series["loss"].values[0].is_nan());
    assert_eq!(
        (series["x"].values.as_slice(), series["x"].steps.as_slice()),
        (&[f64::INFINITY][..], &[3][..])
    );
    assert_eq!((series["system/gpu.util"].values.as_slice(), series.len()), (&[99.0][..], 3));
    assert_eq!(
        found.codes().into_iter().collect::<Vec<_>>(),
        [("config.malformed", 1), ("row.malformed", 1), ("run.missing", 1), ("time.malformed", 1)]
    );
    assert!(summary.remarks.iter().any(|remark| remark.code == "ignored.not_a_number"));
}
