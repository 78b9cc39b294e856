//! What every test needs: a lake in a temporary folder, runs, and batches.

use std::path::Path;
use std::sync::Arc;

use model::{
    Command, ExperimentName, MetricName, NewRun, Point, PointBatch, PointColumns, ProjectName, RunId,
    SeriesKey, SeriesPoints,
};
use store::{Store, StoreConfig};

pub(crate) fn config(root: &Path) -> StoreConfig {
    StoreConfig::new(root, Arc::new(|| 1_000_000))
}

pub(crate) async fn open(root: &Path) -> Store {
    Store::open(config(root)).await.unwrap()
}

pub(crate) fn run_id(number: u128) -> RunId {
    RunId::from_u128(number)
}

pub(crate) fn create(number: u128) -> Command {
    Command::CreateRun(NewRun::named(
        run_id(number),
        ProjectName::new("vision").unwrap(),
        ExperimentName::new("lr").unwrap(),
        format!("run {number}"),
        5,
    ))
}

pub(crate) fn key(run: u128, metric: &str) -> SeriesKey {
    SeriesKey { run: run_id(run), metric: MetricName::new(metric).unwrap(), context: None }
}

pub(crate) fn batch(run: u128, metric: &str, points: &[(i64, f64)]) -> PointBatch {
    let mut columns = PointColumns::default();
    for (step, value) in points {
        columns.push(Point { step: *step, step_fraction: None, time: step * 10, value: *value });
    }
    let metric = MetricName::new(metric).unwrap();
    PointBatch::new(vec![SeriesPoints {
        run: run_id(run),
        metric,
        context: None,
        attempt: 0,
        points: columns,
    }])
    .unwrap()
}

/// The seed of a randomized test, from `RUNLAKE_TEST_SEED` or a fixed one.
pub(crate) fn seed() -> u64 {
    std::env::var("RUNLAKE_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_261_121)
}
