//! A lake that is exported and imported into another one is the same lake.

use std::collections::BTreeMap;
use std::path::Path;

use model::{
    Command, Context, ExperimentName, Key, MetricName, NewRun, ParamValue, Point, PointBatch, PointColumns,
    ProjectName, RunStatus, SeriesPoints, TagValue,
};

use super::*;
use crate::ImportOptions;

fn run_id(number: u128) -> RunId {
    RunId::from_u128(number)
}

async fn open(folder: &Path) -> Lake {
    Lake::open(folder.to_str().unwrap()).await.unwrap()
}

async fn create(lake: &Lake, number: u128, tag: &str) {
    let time = 1_750_000_000_000_001;
    let new = NewRun {
        status: RunStatus::Killed,
        parent: (number > 1).then(|| run_id(1)),
        source: (number == 1).then(|| "wandb".to_owned()),
        source_run_id: (number == 1).then(|| "abc".to_owned()),
        end_time: Some(time + 7),
        ..NewRun::named(
            run_id(number),
            ProjectName::new("vision").unwrap(),
            ExperimentName::new("trial").unwrap(),
            format!("run \"{number}\""),
            time,
        )
    };
    let key = |text| Key::new(text).unwrap();
    let commands = vec![
        Command::CreateRun(new),
        Command::SetParams {
            run: run_id(number),
            params: vec![(key("lr"), ParamValue::new("1e-3").unwrap())],
        },
        Command::SetTags { run: run_id(number), tags: vec![(key("arm"), TagValue::new(tag).unwrap())] },
    ];
    lake.apply(commands, None).await.unwrap();
}

/// Points that arrive out of order, some of them in later attempts.
async fn log(
    lake: &Lake,
    number: u128,
    metric: &str,
    context: Option<&str>,
    attempt: u32,
    points: &[(i64, f64)],
) {
    let mut columns = PointColumns::default();
    for (step, value) in points {
        let step_fraction = (step % 3 == 2).then_some(250_000);
        columns.push(Point {
            step: *step,
            step_fraction,
            time: 1_750_000_000_000_000 + step / 4,
            value: *value,
        });
    }
    let series = SeriesPoints {
        run: run_id(number),
        metric: MetricName::new(metric).unwrap(),
        context: context.map(|text| Context::parse(text).unwrap()),
        attempt,
        points: columns,
    };
    lake.append(PointBatch::new(vec![series]).unwrap(), None).await.unwrap();
}

/// A lake with points in segments and in memory.
async fn filled(folder: &Path) -> Lake {
    let lake = open(folder).await;
    for number in 1..=3 {
        create(&lake, number, if number == 3 { "new" } else { "old" }).await;
        log(&lake, number, "loss", None, 0, &[(3, 0.5), (1, f64::NAN), (1, -0.0), (2, 0.1)]).await;
    }
    lake.flush().await.unwrap();
    log(&lake, 1, "loss", None, 1, &[(1, f64::INFINITY), (1, -0.0), (2, 0.1), (9, 1e-300)]).await;
    log(&lake, 1, "acc", Some(r#"{"subset":"val"}"#), 0, &[(5, 0.25)]).await;
    lake.flush().await.unwrap();
    log(&lake, 1, "loss", None, 2, &[(1, 7.0), (2, f64::NEG_INFINITY)]).await;
    log(&lake, 2, "val/acc", None, 0, &[(1, 0.75)]).await;
    lake
}

/// Runs as they are, and the points of each series with their bits and attempts.
async fn everything(lake: &Lake) -> (BTreeMap<RunId, model::Run>, BTreeMap<SeriesKey, String>) {
    let snapshot = lake.snapshot().await.unwrap();
    let runs: BTreeMap<_, _> =
        snapshot.registry().runs().iter().map(|run| (run.id(), run.to_run())).collect();
    let keys: Vec<SeriesKey> = snapshot.series().entries().iter().map(|entry| entry.key()).collect();
    let series = snapshot.read_series(&keys).await.unwrap();
    let shown = series.into_iter().map(|series| {
        let points: Vec<_> = series
            .points
            .iter()
            .zip(&series.attempts)
            .map(|(p, attempt)| (p.step, p.step_fraction, p.time, p.value.to_bits(), *attempt))
            .collect();
        (series.key, format!("{points:?}"))
    });
    (runs, shown.collect())
}

async fn export(lake: &Lake, target: &Path, options: ExportOptions) -> Option<ExportReport> {
    lake.export(target, options, |_| {}).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_comes_back_with_attempts_and_order() {
    let folder = tempfile::tempdir().unwrap();
    let lake = filled(&folder.path().join("lake")).await;
    let expected = everything(&lake).await;
    assert_eq!((expected.0.len(), expected.1.len()), (3, 5));
    for form in [ExportForm::Parquet, ExportForm::Csv, ExportForm::Jsonl] {
        let target = folder.path().join(format!("{form:?}"));
        let report = export(&lake, &target, ExportOptions::new(form)).await.unwrap();
        assert_eq!((report.manifest.runs, report.manifest.series, report.manifest.points), (3, 5, 20));
        assert_eq!(report.points_chosen, 20);
        let back = open(&folder.path().join(format!("{form:?}-lake"))).await;
        let imported = back.import(&target, ImportOptions::default(), |_| {}).await.unwrap();
        assert_eq!((imported.new_points, imported.rejected, imported.new_runs), (20, 0, 3));
        assert_eq!(everything(&back).await, expected, "{form:?}");
        // And into the lake that it came from, which has it all.
        let again = lake.import(&target, ImportOptions::default(), |_| {}).await.unwrap();
        assert_eq!((again.points, again.new_points, again.new_runs, again.rejected), (20, 0, 0, 0));
        back.close().await;
    }
    assert_eq!(everything(&lake).await, expected);
    lake.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_and_metrics_are_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let lake = filled(&folder.path().join("lake")).await;
    let mut count = 0;
    let mut chosen = async |runs: &str, metrics: Option<&str>| {
        count += 1;
        let options = ExportOptions {
            runs: Some(Selector::parse(runs).unwrap()),
            metrics: metrics.map(|text| MetricGlob::parse(text).unwrap()),
            ..ExportOptions::new(ExportForm::Csv)
        };
        let target = folder.path().join(format!("out-{count}"));
        let report = export(&lake, &target, options).await?;
        assert!(target.is_dir());
        Some((report.manifest.runs, report.manifest.series, report.manifest.points))
    };
    assert_eq!(chosen("tag:arm=new", None).await, Some((1, 1, 4)));
    assert_eq!(chosen("experiment:trial", Some("*acc")).await, Some((3, 2, 2)));
    assert_eq!(chosen(&run_id(2).to_string(), None).await, Some((1, 2, 5)));
    assert_eq!(chosen("name LIKE '%1%'", Some("loss")).await, Some((1, 1, 10)));
    assert_eq!(chosen("tag:arm=none", None).await, None);
    lake.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_chunks_are_one_export() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(&folder.path().join("lake")).await;
    create(&lake, 1, "one").await;
    // More series than a chunk has, so that chunks are read and written side by side.
    let series: Vec<SeriesPoints> = (0..CHUNK_SERIES * 2 + 10)
        .map(|number| SeriesPoints {
            run: run_id(1),
            metric: MetricName::new(format!("m{number}")).unwrap(),
            context: None,
            attempt: 0,
            points: PointColumns::at_whole_steps(vec![1, 2], vec![0, 0], vec![number as f64, 0.5]),
        })
        .collect();
    lake.append(PointBatch::new(series).unwrap(), None).await.unwrap();
    let expected = everything(&lake).await;
    let target = folder.path().join("out");
    let report = export(&lake, &target, ExportOptions::new(ExportForm::Parquet)).await.unwrap();
    assert_eq!(report.manifest.points, 2 * expected.1.len() as u64);
    let back = open(&folder.path().join("back")).await;
    back.import(&target, ImportOptions::default(), |_| {}).await.unwrap();
    assert_eq!(everything(&back).await, expected);
    lake.close().await;
    back.close().await;
}
