//! Compaction, deletion and vacuum: what readers see never changes but by what was asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use model::{
    Command, Context, ExperimentName, Key, MetricName, NewRun, Note, ParamValue, Point, PointBatch,
    PointColumns, ProjectName, SeriesKey, SeriesPoints,
};
use store::{
    CompactOptions, MaintenanceConfig, Snapshot, Store, StoreConfig, VacuumOptions, open_snapshot, verify,
};

use crate::lake::{batch, config, create, key, run_id};
use crate::random::{Random, count};

const FULL: CompactOptions = CompactOptions { full: true, sweep: true };
const NOW: VacuumOptions = VacuumOptions { older_than: Some(Duration::ZERO), dry_run: false };

/// Small files, so that a few points make many, and nothing that happens by itself.
fn small(root: &Path) -> StoreConfig {
    let maintenance =
        MaintenanceConfig { background: false, file_bytes: 20_000, ..MaintenanceConfig::default() };
    StoreConfig { maintenance, ..config(root) }
}

type Row = (i64, Option<i32>, i64, u64);

#[derive(Debug, Default, Clone)]
struct Model {
    /// Points in order of arrival, by run, metric and context.
    series: BTreeMap<(u128, String, Option<String>), Vec<Row>>,
    runs: BTreeMap<u128, BTreeMap<String, String>>,
}

impl Model {
    async fn assert_is(&self, snapshot: &Snapshot, at: &str) {
        let runs: BTreeSet<u128> = snapshot.registry().runs().iter().map(|run| run.id().as_u128()).collect();
        assert_eq!(runs, self.runs.keys().copied().collect(), "{at}: runs");
        for (run, params) in &self.runs {
            let found = snapshot.registry().run(run_id(*run)).unwrap();
            let found: BTreeMap<String, String> =
                found.params().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            assert_eq!(&found, params, "{at}: params of run {run}");
        }
        assert_eq!(snapshot.series().entries().len(), self.series.len(), "{at}: number of series");
        for ((run, metric, context), rows) in &self.series {
            let mut expected = rows.clone();
            expected.sort_by_key(|(step, fraction, time, _)| (*step, fraction.unwrap_or(0), *time));
            let key = series_key(*run, metric, context.as_deref());
            let found: Vec<Row> = snapshot
                .series_points(&key)
                .await
                .unwrap()
                .iter()
                .map(|p| (p.step, p.step_fraction, p.time, p.value.to_bits()))
                .collect();
            assert_eq!(found, expected, "{at}: run {run}, {metric}, {context:?}");
            let count = snapshot.series_entry(&key).unwrap().statistics.count;
            assert_eq!(count, rows.len() as u64, "{at}: count of run {run}, {metric}");
        }
    }
}

fn series_key(run: u128, metric: &str, context: Option<&str>) -> SeriesKey {
    let context = context.map(|text| Context::parse(text).unwrap());
    SeriesKey { run: run_id(run), metric: MetricName::new(metric).unwrap(), context }
}

fn value(random: &mut Random) -> f64 {
    match random.below(8) {
        0 => f64::from_bits(0x7ff8_0000_0000_0000 | random.below(1 << 51)),
        1 => -0.0,
        2 => f64::NEG_INFINITY,
        3 => f64::from_bits(random.below(1 << 52)),
        _ => random.unit(),
    }
}

/// Appends random points to some series of a run.
async fn append(store: &Store, model: &mut Model, run: u128, random: &mut Random) {
    let mut parts = Vec::new();
    for metric in ["acc", "loss", "z"] {
        for context in [None, Some(r#"{"subset":"val"}"#)] {
            if random.percent(60) {
                continue;
            }
            let mut points = PointColumns::default();
            let first = random.below(45) as i64 - 5;
            for _ in 0..1 + random.below(59) {
                points.push(Point {
                    step: first + random.below(20) as i64,
                    step_fraction: random.percent(10).then_some(500_000),
                    time: random.below(3) as i64,
                    value: value(random),
                });
            }
            let rows = model.series.entry((run, metric.to_owned(), context.map(str::to_owned))).or_default();
            rows.extend(points.iter().map(|p| (p.step, p.step_fraction, p.time, p.value.to_bits())));
            let key = series_key(run, metric, context);
            parts.push(SeriesPoints {
                run: key.run,
                metric: key.metric,
                context: key.context,
                attempt: 0,
                points,
            });
        }
    }
    if !parts.is_empty() {
        store.append(PointBatch::new(parts).unwrap(), None).await.unwrap();
    }
}

async fn make(store: &Store, model: &mut Model, run: u128, random: &mut Random) {
    let lr = random.unit().to_string();
    let params = vec![(Key::new("lr").unwrap(), ParamValue::new(&lr).unwrap())];
    let commands = vec![project_run(run), Command::SetParams { run: run_id(run), params }];
    store.apply(commands, None).await.unwrap();
    model.runs.insert(run, BTreeMap::from([("lr".to_owned(), lr)]));
}

/// Runs below 4 are in one project, the others in another.
fn project_run(run: u128) -> Command {
    let project = if run < 4 { "left" } else { "right" };
    Command::CreateRun(NewRun::named(
        run_id(run),
        ProjectName::new(project).unwrap(),
        ExperimentName::new("e").unwrap(),
        "r",
        5,
    ))
}

fn random() -> (u64, Random) {
    let given = std::env::var("RUNLAKE_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| Random::new(u64::from(std::process::id())).next());
    println!("RUNLAKE_TEST_SEED={seed}");
    (seed, Random::new(seed))
}

fn rounds(default: u32) -> u32 {
    std::env::var("RUNLAKE_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_flushed_merged_deleted_and_restarted_readers_see_the_model() {
    let (seed, mut random) = random();
    for round in 0..rounds(1) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(small(folder.path())).await.unwrap();
        let mut model = Model::default();
        let mut log = Vec::new();
        for _ in 0..60 {
            let run = u128::from(random.below(8));
            let act = random.below(100);
            log.push((act, run));
            let at = format!("seed {seed}, round {round}, {log:?}");
            let is_there = model.runs.contains_key(&run);
            match act {
                0..50 if is_there => append(&store, &mut model, run, &mut random).await,
                0..50 => make(&store, &mut model, run, &mut random).await,
                50..70 => drop(store.flush().await.unwrap()),
                70..78 => drop(store.compact(CompactOptions::default()).await.unwrap()),
                78..82 => {
                    let report = store.compact(FULL).await.unwrap();
                    assert_eq!(report.skipped, [], "{at}");
                    assert!(report.layers_after <= 1, "{at}");
                }
                82..88 if is_there => {
                    store.apply(vec![Command::DeleteRuns { runs: vec![run_id(run)] }], None).await.unwrap();
                    model.runs.remove(&run);
                    model.series.retain(|(of, _, _), _| *of != run);
                }
                88..90 if is_there => {
                    let project = if run < 4 { "left" } else { "right" };
                    let project = ProjectName::new(project).unwrap();
                    store.apply(vec![Command::DeleteProject { project }], None).await.unwrap();
                    model.runs.retain(|of, _| (*of < 4) != (run < 4));
                    model.series.retain(|(of, _, _), _| (*of < 4) != (run < 4));
                }
                90..93 => drop(store.vacuum(NOW).await.unwrap()),
                93..97 => {
                    store.close().await;
                    store = Store::open(small(folder.path())).await.unwrap();
                }
                97..100 => {
                    drop(store);
                    store = Store::open(small(folder.path())).await.unwrap();
                }
                _ => continue,
            }
            model.assert_is(&store.snapshot(), &at).await;
        }
        let at = format!("seed {seed}, round {round}, at the end");
        model.assert_is(&open_snapshot(folder.path()).await.unwrap(), &at).await;
        store.flush().await.unwrap();
        store.compact(FULL).await.unwrap();
        store.close().await;
        model.assert_is(&open_snapshot(folder.path()).await.unwrap(), &at).await;
        assert_eq!(verify(folder.path()).await.unwrap().findings, [], "{at}");
    }
}

/// Polls a future this often, then drops it, as when the process were killed there.
async fn poll_times<T>(times: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut polls = 0;
    std::future::poll_fn(|context| {
        if polls == times {
            return Poll::Ready(None);
        }
        polls += 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

#[tokio::test]
async fn a_compaction_or_vacuum_that_is_given_up_anywhere_changes_nothing_for_readers() {
    let (seed, mut random) = random();
    let folder = tempfile::tempdir().unwrap();
    let mut model = Model::default();
    let mut store = Store::open(small(folder.path())).await.unwrap();
    for run in 0..4 {
        make(&store, &mut model, run, &mut random).await;
    }
    let mut given_up = 0;
    for polls in (0..200).step_by(5) {
        for _ in 0..2 {
            append(&store, &mut model, u128::from(random.below(4)), &mut random).await;
            store.flush().await.unwrap();
        }
        let compacted = poll_times(polls, store.compact(FULL)).await;
        let vacuumed = if polls % 4 == 0 { poll_times(polls, store.vacuum(NOW)).await } else { None };
        given_up += u32::from(compacted.is_none()) + u32::from(vacuumed.is_none());
        let at = format!("seed {seed}, given up after {polls} polls");
        if polls % 5 == 0 {
            if polls % 2 == 0 {
                store.close().await;
            }
            drop(store);
            store = Store::open(small(folder.path())).await.unwrap();
        }
        if polls % 5 == 0 {
            model.assert_is(&store.snapshot(), &at).await;
        }
        if compacted.is_some() && polls > 60 {
            break;
        }
    }
    assert!(given_up > 10, "only {given_up} were given up");
    store.compact(FULL).await.unwrap();
    store.vacuum(NOW).await.unwrap();
    model.assert_is(&store.snapshot(), "at the end").await;
    let snapshot = store.snapshot();
    let named: BTreeSet<String> = snapshot.point_files().iter().map(|file| file.path.clone()).collect();
    let there: BTreeSet<String> = files_in(&folder.path().join("tables/points"))
        .into_iter()
        .filter(|name| name.ends_with(".parquet"))
        .collect();
    assert_eq!(there, named, "vacuum leaves what is named and nothing else");
    store.close().await;
    assert_eq!(verify(folder.path()).await.unwrap().findings, []);
}

fn files_in(folder: &Path) -> Vec<String> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_goes_on_beside_writers_and_flushes() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = small(folder.path());
    config.flush_bytes = 40_000;
    config.maintenance.background = true;
    let store = Store::open(config).await.unwrap();
    store.apply((0..6).map(create).collect(), None).await.unwrap();
    let writers = (0..6_u128).map(|run| {
        let store = store.clone();
        tokio::spawn(async move {
            for step in 0..150 {
                let points: Vec<_> = (0..25).map(|i| (step * 25 + i, (step * 25 + i) as f64)).collect();
                store.append(batch(run, "loss", &points), None).await.unwrap();
            }
        })
    });
    let by_hand = {
        let store = store.clone();
        tokio::spawn(async move {
            for round in 0..20 {
                store.flush().await.unwrap();
                store.compact(if round % 2 == 0 { FULL } else { CompactOptions::default() }).await.unwrap();
                if round % 5 == 4 {
                    store.vacuum(NOW).await.unwrap();
                }
            }
            store.flush().await.unwrap();
            store.compact(FULL).await.unwrap();
        })
    };
    let (written, by_hand) = futures::future::join(futures::future::join_all(writers), by_hand).await;
    written.into_iter().for_each(|joined| joined.unwrap());
    by_hand.unwrap();
    let snapshot = store.snapshot();
    for run in 0..6 {
        let points = snapshot.series_points(&key(run, "loss")).await.unwrap();
        assert_eq!(points.steps, (0..3750).collect::<Vec<i64>>());
    }
    let volume = store.write_volume();
    assert!(volume.compacted > 0 && volume.flushed > 0);
    store.close().await;
    let report = verify(folder.path()).await.unwrap();
    assert_eq!((report.findings, report.points), (vec![], 22_500));
}

#[tokio::test]
async fn a_long_ingest_stays_within_the_promised_files_layers_and_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(small(folder.path())).await.unwrap();
    let mut random = Random::new(7);
    let mut flushes = 0_u32;
    let mut report = None;
    for flush in 0..u128::from(count("RUNLAKE_TEST_FLUSHES", 60)) {
        // Eight runs at a time, two of them new.
        let runs = flush * 2..flush * 2 + 8;
        store.apply(runs.clone().map(create).collect(), None).await.unwrap();
        for run in runs {
            let first = flush as i64 * 40;
            let points: Vec<_> = (0..40).map(|i| (first + i, random.unit())).collect();
            store.append(batch(run, "loss", &points), None).await.unwrap();
        }
        store.flush().await.unwrap();
        flushes += 1;
        report = Some(store.compact(CompactOptions::default()).await.unwrap());
    }
    let report = report.unwrap();
    let volume = store.write_volume();
    let amplification = volume.amplification().unwrap();
    println!(
        "{flushes} flushes of {} bytes: written again {amplification:.2} times, {} files in {} layers",
        volume.flushed, report.files_after, report.layers_after
    );
    let layers = 4 + (f64::from(flushes)).log2().ceil() as usize + 1;
    assert!(report.layers_after <= layers);
    assert!(amplification <= 2.0 * layers as f64);
    let bytes: u64 = store.snapshot().point_files().iter().map(|file| file.bytes).sum();
    assert!(report.files_after as u64 <= 2 * bytes.div_ceil(20_000) + 16 * layers as u64);
    assert!(report.files_after < 60, "{} files", report.files_after);
    store.close().await;
}

#[tokio::test]
async fn a_damaged_file_is_named_and_left_alone_and_the_others_are_merged() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(small(folder.path())).await.unwrap();
    store.apply(vec![create(1), create(2)], None).await.unwrap();
    for step in 0..9 {
        store
            .append(batch(1 + u128::from(step % 2 == 1), "loss", &[(step, step as f64)]), None)
            .await
            .unwrap();
        store.append(batch(1, "acc", &[(step, 0.5)]), None).await.unwrap();
        store.flush().await.unwrap();
    }
    let damaged = store.snapshot().point_files()[4].clone();
    let path = folder.path().join("tables/points").join(&damaged.path);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[60] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let report = store.compact(FULL).await.unwrap();
    assert_eq!(report.skipped.len(), 1);
    assert_eq!(report.skipped[0].file, damaged.path);
    assert!(report.skipped[0].reason.contains("CRC32C"), "{}", report.skipped[0].reason);
    assert_eq!(report.files_after, 3, "what is older, the damaged one, what is newer");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    // When it is healed, all is there, in order.
    bytes[60] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(store.compact(FULL).await.unwrap().files_after, 1);
    let steps = store.snapshot().series_points(&key(1, "acc")).await.unwrap().steps;
    assert_eq!(steps, (0..9).collect::<Vec<i64>>());
    store.close().await;
}

#[tokio::test]
async fn vacuum_keeps_what_is_young_or_held_and_finds_orphans() {
    let folder = tempfile::tempdir().unwrap();
    let now = Arc::new(std::sync::atomic::AtomicI64::new(0));
    let clock = Arc::clone(&now);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let start = i64::try_from(since.as_micros()).unwrap();
    let config = StoreConfig {
        clock: Arc::new(move || start + clock.load(std::sync::atomic::Ordering::Relaxed)),
        ..small(folder.path())
    };
    let store = Store::open(config).await.unwrap();
    store.apply(vec![create(1)], None).await.unwrap();
    for step in 0..5 {
        store.append(batch(1, "loss", &[(step, 1.0)]), None).await.unwrap();
        store.flush().await.unwrap();
    }
    let points = folder.path().join("tables/points");
    std::fs::write(points.join("points-orphan.parquet"), b"never committed").unwrap();
    let held = store.snapshot();
    store.compact(FULL).await.unwrap();
    let count = || files_in(&points).iter().filter(|name| name.ends_with(".parquet")).count();
    assert_eq!(count(), 7);
    let young = store.vacuum(VacuumOptions::default()).await.unwrap();
    assert_eq!((young.files.len(), count()), (0, 7), "nothing is a day old");
    now.store(25 * 3600 * 1_000_000, std::sync::atomic::Ordering::Relaxed);
    let told = store.vacuum(VacuumOptions { dry_run: true, ..VacuumOptions::default() }).await.unwrap();
    let names: Vec<_> = told.files.iter().filter(|f| f.table == "points").map(|f| f.file.as_str()).collect();
    assert_eq!((names, count()), (vec!["points-orphan.parquet"], 7), "the rest is held by a snapshot");
    store.vacuum(VacuumOptions::default()).await.unwrap();
    assert_eq!(held.series_points(&key(1, "loss")).await.unwrap().len(), 5);
    assert_eq!(count(), 6);
    drop(held);
    store.vacuum(VacuumOptions::default()).await.unwrap();
    assert_eq!(count(), 1);
    assert_eq!(store.snapshot().series_points(&key(1, "loss")).await.unwrap().len(), 5);
    store.close().await;
    assert_eq!(verify(folder.path()).await.unwrap().findings, []);
}

fn contains(folder: &Path, marker: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contains(&path, marker));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            if bytes.windows(marker.len()).any(|window| window == marker.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[tokio::test]
async fn a_deleted_project_is_gone_from_views_at_once_and_from_the_disk_after_vacuum() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(small(folder.path())).await.unwrap();
    let secret = "qxzsecretzxq";
    let project = ProjectName::new(format!("{secret}-project")).unwrap();
    let experiment = ExperimentName::new(format!("{secret}-experiment")).unwrap();
    let create_secret =
        Command::CreateRun(NewRun::named(run_id(9), project.clone(), experiment.clone(), secret, 5));
    let metric = format!("{secret}/loss");
    let params = vec![(Key::new(format!("{secret}.lr")).unwrap(), ParamValue::new(secret).unwrap())];
    let note = Note {
        project: project.clone(),
        experiment: Some(experiment),
        run: Some(run_id(9)),
        text: secret.to_owned(),
        author: None,
        time: 1,
    };
    store
        .apply(
            vec![
                create(1),
                create_secret.clone(),
                Command::SetParams { run: run_id(9), params },
                Command::AddNote(note),
                Command::SetRetention { project: project.clone(), days: Some(3) },
            ],
            None,
        )
        .await
        .unwrap();
    for step in 0..3 {
        store.append(batch(9, &metric, &[(step, 7.0)]), None).await.unwrap();
        store.append(batch(1, "loss", &[(step, 1.0)]), None).await.unwrap();
        store.flush().await.unwrap();
    }
    store.append(batch(9, &metric, &[(3, 7.0)]), None).await.unwrap();
    assert!(!contains(folder.path(), secret).is_empty());
    let before = store.snapshot();
    store.apply(vec![Command::DeleteProject { project: project.clone() }], None).await.unwrap();
    let error = store.apply(vec![Command::DeleteProject { project }], None).await.unwrap_err();
    assert_eq!(error.code(), "project.unknown");
    let error = store.append(batch(9, &metric, &[(4, 7.0)]), None).await.unwrap_err();
    assert_eq!(error.code(), "run.unknown");
    for snapshot in [store.snapshot(), open_snapshot(folder.path()).await.unwrap()] {
        assert_eq!(snapshot.registry().runs().len(), 1);
        assert_eq!(snapshot.registry().experiments().count(), 1);
        assert_eq!((snapshot.registry().notes().len(), snapshot.series().entries().len()), (0, 1));
        assert_eq!(snapshot.series_points(&key(9, &metric)).await.unwrap().len(), 0);
        assert_eq!(snapshot.memtable_series(|_| true).len(), 0);
    }
    assert_eq!(before.series_points(&key(9, &metric)).await.unwrap().len(), 4, "a snapshot never changes");
    drop(before);
    // The same id again is a new run, without the old points, params and notes.
    store.apply(vec![create(9)], None).await.unwrap();
    store.append(batch(9, "new", &[(0, 1.0)]), None).await.unwrap();
    assert_eq!(store.snapshot().series_points(&key(9, &metric)).await.unwrap().len(), 0);
    let report = store.compact(CompactOptions { sweep: true, ..CompactOptions::default() }).await.unwrap();
    assert_eq!(report.rows_removed, 3);
    store.vacuum(NOW).await.unwrap();
    assert_eq!(contains(folder.path(), secret), Vec::<String>::new());
    assert_eq!(store.snapshot().series_points(&key(1, "loss")).await.unwrap().len(), 3);
    store.close().await;
    let store = Store::open(small(folder.path())).await.unwrap();
    assert_eq!(store.snapshot().series_points(&key(9, &metric)).await.unwrap().len(), 0);
    assert_eq!(store.snapshot().series_points(&key(9, "new")).await.unwrap().len(), 1);
    assert_eq!(store.snapshot().registry().run(run_id(9)).unwrap().params().count(), 0);
    store.close().await;
    assert_eq!(verify(folder.path()).await.unwrap().findings, []);
}

/// Runs and series have places in a row, and those of deleted ones stay empty until the next start.
#[tokio::test]
async fn a_lake_is_sound_right_after_a_deletion() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(small(folder.path())).await.unwrap();
    store.apply((1..=3).map(create).collect(), None).await.unwrap();
    for run in 1..=3 {
        store.append(batch(run, "loss", &[(0, 0.5)]), None).await.unwrap();
    }
    store.apply(vec![Command::DeleteRuns { runs: vec![run_id(1)] }], None).await.unwrap();
    assert_eq!(verify(folder.path()).await.unwrap().findings, []);
    store.flush().await.unwrap();
    store.close().await;
    assert_eq!(verify(folder.path()).await.unwrap().findings, []);
}
