//! Damaged files are confined: statements that need them fail and name them, or read the rest and say so.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use model::schema::Table;
use model::{
    Command, ExperimentName, MetricName, NewRun, Point, PointBatch, PointColumns, ProjectName, RunId,
    SeriesPoints,
};
use query::{QueryError, QueryOptions, Settings, run};
use store::catalog::Catalog;
use store::disk::RealDisk;
use store::{Layout, Store, StoreConfig, open_snapshot_tolerant};

use crate::lake::{FACTORY, block_on, texts};

/// Two runs of 200 and 300 points, each in a segment of its own, and 7 points of the second run in the log.
async fn build(root: &Path) {
    let store = Store::open(StoreConfig::new(root, Arc::new(|| 5))).await.unwrap();
    for (run, count) in [(1_u128, 200_i64), (2, 300)] {
        let id = RunId::from_u128(run);
        let (project, experiment) = (ProjectName::default(), ExperimentName::new("e").unwrap());
        store
            .apply(
                vec![Command::CreateRun(NewRun::named(id, project, experiment, format!("r{run}"), 1))],
                None,
            )
            .await
            .unwrap();
        append(&store, id, 0..count).await;
        store.flush().await.unwrap();
    }
    append(&store, RunId::from_u128(2), 300..307).await;
    store.close().await;
}

async fn append(store: &Store, run: RunId, steps: std::ops::Range<i64>) {
    let mut points = PointColumns::default();
    steps.for_each(|step| points.push(Point { step, step_fraction: None, time: step, value: 0.5 }));
    let metric = MetricName::new("loss").unwrap();
    let series = SeriesPoints { run, metric, context: None, attempt: 0, points };
    store.append(PointBatch::new(vec![series]).unwrap(), None).await.unwrap();
}

/// The data files of a table, oldest first.
fn files(root: &Path, table: Table) -> Vec<PathBuf> {
    let version = block_on(async { Catalog::open(root).unwrap().load(table).await.unwrap() });
    version.files.iter().map(|file| Layout::new(root).table(table).join(&file.path)).collect()
}

fn ask(root: &Path, sql: &str, skip: bool) -> Result<(Vec<RecordBatch>, Vec<String>), QueryError> {
    block_on(async {
        let snapshot = open_snapshot_tolerant(root, Arc::new(RealDisk)).await.unwrap();
        let mut settings = Settings::default();
        if skip {
            settings.set("runlake.on_corrupt", "skip").unwrap();
        }
        let answer =
            run(&FACTORY, &snapshot, sql, QueryOptions { settings, ..QueryOptions::default() }).await?;
        let notices = answer.notices.clone();
        Ok((answer.collect().await?, notices.all()))
    })
}

#[test]
fn a_damaged_or_missing_segment_is_named_with_its_rows_and_runs_and_the_rest_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    block_on(build(folder.path()));
    let root = folder.path();
    let first = files(root, Table::Points).swap_remove(0);
    let name = first.file_name().unwrap().to_string_lossy().into_owned();
    let sound = std::fs::read(&first).unwrap();
    let run = RunId::from_u128(1).to_string();
    let (in_data, in_tail) = (sound.len() / 8, sound.len() - 60);
    for damage in [Some(in_data), Some(in_tail), None] {
        match damage {
            Some(at) => {
                let mut bytes = sound.clone();
                bytes[at] ^= 8;
                std::fs::write(&first, bytes).unwrap();
            }
            None => std::fs::remove_file(&first).unwrap(),
        }
        let sql =
            "SELECT count(*), sum(value), count(step), max(run_id), max(time), max(attempt) FROM points";
        let error = ask(root, sql, false).unwrap_err();
        assert!(matches!(error, QueryError::Storage { .. }), "{error:?}");
        let text = error.to_string();
        for word in [&name, "points", "200 rows", run.as_str(), "on_corrupt"] {
            assert!(text.contains(word), "{damage:?}: {word} is not in: {text}");
        }
        let (rows, notices) = ask(root, sql, true).unwrap();
        assert_eq!(texts(&rows)[0][..3], ["307", "153.5", "307"], "{damage:?}");
        assert_eq!(notices.len(), 1, "{notices:?}");
        for word in [&name, "points", "200 rows", run.as_str()] {
            assert!(notices[0].contains(word), "{damage:?}: {word} is not in: {notices:?}");
        }
        // What does not need the file is not touched by it.
        assert_eq!(texts(&ask(root, "SELECT count(*) FROM runs", false).unwrap().0), [["2"]]);
        assert_eq!(texts(&ask(root, "SELECT sum(count) FROM series", false).unwrap().0), [["507"]]);
        if damage == Some(in_data) {
            let other = format!("SELECT count(value) FROM points WHERE run_id = '{}'", RunId::from_u128(2));
            assert_eq!(texts(&ask(root, &other, false).unwrap().0), [["307"]]);
        }
        std::fs::write(&first, &sound).unwrap();
    }
}

#[test]
fn a_damaged_registry_file_fails_only_what_needs_it() {
    let folder = tempfile::tempdir().unwrap();
    block_on(build(folder.path()));
    let root = folder.path();
    let newest = files(root, Table::Series).pop().unwrap();
    let name = newest.file_name().unwrap().to_string_lossy().into_owned();
    let mut bytes = std::fs::read(&newest).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    for sql in ["SELECT * FROM series", "SELECT metrics.loss FROM runs"] {
        let error = ask(root, sql, false).unwrap_err().to_string();
        assert!(error.contains(&name) && error.contains("series"), "{sql}: {error}");
    }
    assert_eq!(texts(&ask(root, "SELECT name FROM runs ORDER BY 1", false).unwrap().0), [["r1"], ["r2"]]);
    assert_eq!(
        texts(&ask(root, "SELECT count(value) FROM points WHERE step < 300", false).unwrap().0),
        [["500"]]
    );
    let (_, notices) = ask(root, "SELECT * FROM series", true).unwrap();
    assert!(notices[0].contains(&name), "{notices:?}");
}

#[test]
fn the_setting_takes_two_words() {
    let mut settings = Settings::default();
    settings.set("runlake.on_corrupt", "fail").unwrap();
    let error = settings.set("runlake.on_corrupt", "ignore").unwrap_err().to_string();
    assert!(error.contains("'fail' or 'skip'"), "{error}");
}
