//! Nothing acknowledged is lost or doubled over flushes and restarts.

use model::{Key, ParamValue, WriterSequence};
use store::{Snapshot, StoreError, open_snapshot, verify};

use crate::lake::{batch, config, create, key, open, run_id};

async fn points(snapshot: &Snapshot, run: u128, metric: &str) -> Vec<(i64, u64)> {
    let columns = snapshot.series_points(&key(run, metric)).await.unwrap();
    columns.iter().map(|point| (point.step, point.value.to_bits())).collect()
}

fn bits(points: &[(i64, f64)]) -> Vec<(i64, u64)> {
    points.iter().map(|(step, value)| (*step, value.to_bits())).collect()
}

#[tokio::test]
async fn points_are_there_before_and_after_flush_and_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.apply(vec![create(1), create(2)], None).await.unwrap();
    let odd = [(3, f64::NAN), (-1, -0.0), (3, f64::INFINITY), (2, 1e-310), (2, 0.1)];
    store.append(batch(1, "loss", &odd), None).await.unwrap();
    store.append(batch(2, "loss", &[(0, 1.0)]), None).await.unwrap();
    let expected = bits(&[(-1, -0.0), (2, 1e-310), (2, 0.1), (3, f64::NAN), (3, f64::INFINITY)]);
    assert_eq!(points(&store.snapshot(), 1, "loss").await, expected);

    let report = store.flush().await.unwrap();
    assert_eq!(report.points, 6);
    assert_eq!(points(&store.snapshot(), 1, "loss").await, expected);
    store.append(batch(1, "loss", &[(9, 9.0)]), None).await.unwrap();
    let before = store.snapshot();
    store.close().await;

    let store = open(folder.path()).await;
    let after = store.snapshot();
    for snapshot in [&before, &after] {
        let mut all = expected.clone();
        all.extend(bits(&[(9, 9.0)]));
        assert_eq!(points(snapshot, 1, "loss").await, all);
        assert_eq!(points(snapshot, 2, "loss").await, bits(&[(0, 1.0)]));
    }
    let statistics = &after.series_entry(&key(1, "loss")).unwrap().statistics;
    assert_eq!((statistics.count, statistics.nan_count, statistics.infinite_count), (6, 1, 1));
    assert_eq!(statistics.fingerprint, before.series_entry(&key(1, "loss")).unwrap().statistics.fingerprint);
    store.close().await;

    let report = verify(folder.path()).await.unwrap();
    assert_eq!(report.findings, []);
    assert_eq!((report.points, report.runs), (7, 2));
}

#[tokio::test]
async fn the_registry_comes_back_from_tables_and_log() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let set = |run, key: &str, value: &str| model::Command::SetParams {
        run: run_id(run),
        params: vec![(Key::new(key).unwrap(), ParamValue::new(value).unwrap())],
    };
    store.apply(vec![create(1), set(1, "lr", "0.1")], None).await.unwrap();
    store.flush().await.unwrap();
    store.apply(vec![create(2), set(2, "lr", "0.2"), set(1, "seed", "4")], None).await.unwrap();
    let refused = store.apply(vec![create(3), set(1, "lr", "0.3")], None).await.unwrap_err();
    assert_eq!(refused.code(), "param.conflict");
    store.close().await;

    for flush in [false, true] {
        let store = open(folder.path()).await;
        let snapshot = store.snapshot();
        let registry = snapshot.registry();
        assert_eq!(registry.runs().len(), 2, "the refused batch left nothing");
        assert_eq!(registry.run(run_id(1)).unwrap().params().count(), 2);
        assert_eq!(registry.run(run_id(1)).unwrap().seed(), Some(4));
        assert_eq!(registry.run(run_id(2)).unwrap().param("lr"), Some("0.2"));
        assert_eq!(registry.experiments().count(), 1);
        if flush {
            store.flush().await.unwrap();
            store.flush().await.unwrap();
        }
        store.close().await;
    }
    let snapshot = open_snapshot(folder.path()).await.unwrap();
    assert_eq!(snapshot.registry().runs().len(), 2);
    assert_eq!(snapshot.registry().run(run_id(1)).unwrap().params().count(), 2);
}

#[tokio::test]
async fn a_repeated_batch_counts_once_also_after_flush_and_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.apply(vec![create(1)], None).await.unwrap();
    let writer = |seq| Some(WriterSequence::new("client", seq).unwrap());
    let first = store.append(batch(1, "loss", &[(0, 1.0)]), writer(7)).await.unwrap();
    assert!(!first.duplicate);
    assert!(store.append(batch(1, "loss", &[(0, 1.0)]), writer(7)).await.unwrap().duplicate);
    for _ in 0..4 {
        store.flush().await.unwrap();
    }
    assert!(store.append(batch(1, "loss", &[(0, 1.0)]), writer(7)).await.unwrap().duplicate);
    store.close().await;
    let store = open(folder.path()).await;
    assert!(store.append(batch(1, "loss", &[(0, 1.0)]), writer(7)).await.unwrap().duplicate);
    assert!(!store.append(batch(1, "loss", &[(1, 2.0)]), writer(8)).await.unwrap().duplicate);
    assert_eq!(points(&store.snapshot(), 1, "loss").await, bits(&[(0, 1.0), (1, 2.0)]));
    store.close().await;
}

#[tokio::test]
async fn unknown_runs_are_refused_and_a_second_writer_is_told_why() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let error = store.append(batch(9, "loss", &[(0, 1.0)]), None).await.unwrap_err();
    assert_eq!(error.code(), "run.unknown");
    let second = store::Store::open(config(folder.path())).await.unwrap_err();
    assert!(matches!(second, StoreError::Lock(_)), "{second}");
    store.close().await;
    assert_eq!(store.append(batch(9, "loss", &[(0, 1.0)]), None).await.unwrap_err().code(), "writer.stopped");
}

#[tokio::test]
async fn readers_beside_a_writer_see_what_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.apply(vec![create(1)], None).await.unwrap();
    let mut expected = Vec::new();
    for step in 0..20 {
        store.append(batch(1, "loss", &[(step, step as f64)]), None).await.unwrap();
        expected.push((step, (step as f64).to_bits()));
        if step % 6 == 5 {
            store.flush().await.unwrap();
        }
        let reader = open_snapshot(folder.path()).await.unwrap();
        assert_eq!(points(&reader, 1, "loss").await, expected);
    }
    store.close().await;
    let error = open_snapshot(&folder.path().join("elsewhere")).await.unwrap_err();
    assert_eq!(error.code(), "lake.absent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_and_flushes_at_once_lose_and_double_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        store::StoreConfig { flush_bytes: 60_000, hard_limit_bytes: 400_000, ..config(folder.path()) };
    let store = store::Store::open(config).await.unwrap();
    store.apply((0..8).map(create).collect(), None).await.unwrap();
    let writers = (0..8_u128).map(|run| {
        let store = store.clone();
        tokio::spawn(async move {
            for step in 0..200 {
                let points: Vec<_> = (0..25).map(|i| (step * 25 + i, (step * 25 + i) as f64)).collect();
                store.append(batch(run, "loss", &points), None).await.unwrap();
            }
        })
    });
    futures::future::join_all(writers).await.into_iter().for_each(|joined| joined.unwrap());
    let expected: Vec<_> = (0..5000).map(|step| (step, (step as f64).to_bits())).collect();
    let snapshot = store.snapshot();
    assert!(!snapshot.point_files().is_empty(), "nothing was flushed while writers were at work");
    for run in 0..8 {
        assert_eq!(points(&snapshot, run, "loss").await, expected);
    }
    store.close().await;
    let report = verify(folder.path()).await.unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(report.points, 40_000);
}

#[tokio::test]
async fn a_lake_into_which_only_the_registry_is_written_stays_readable_beside_its_writer() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for number in 1..8 {
        store.apply(vec![create(number)], None).await.unwrap();
        store.flush().await.unwrap();
        let reader = open_snapshot(folder.path()).await.unwrap();
        assert_eq!(reader.registry().runs().len() as u128, number);
    }
    store.close().await;
}

#[tokio::test]
async fn log_files_go_away_also_when_every_process_flushes_only_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut sizes = Vec::new();
    for number in 1..14 {
        let store = open(folder.path()).await;
        store.apply(vec![create(number)], None).await.unwrap();
        store.append(batch(number, "loss", &[(0, 1.0)]), None).await.unwrap();
        store.flush().await.unwrap();
        store.close().await;
        let is_log = |name: &String| name.ends_with(".log");
        let names = std::fs::read_dir(folder.path().join("wal")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        sizes.push(names.filter(is_log).count());
    }
    assert!(sizes.last() == sizes.get(8) && sizes[12] < 9, "numbers of log files: {sizes:?}");
    let store = open(folder.path()).await;
    assert_eq!(store.snapshot().registry().runs().len(), 13);
    store.close().await;
    assert_eq!(verify(folder.path()).await.unwrap().findings, []);
}

/// A table that is ahead of `runs` lets recovery look for runs in the log first; the experiment of a new one comes with
/// it all the same.
#[tokio::test]
async fn the_experiment_of_a_new_run_comes_back_when_other_tables_are_ahead_of_runs() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.apply(vec![create(1)], None).await.unwrap();
    store.flush().await.unwrap();
    store.append(batch(1, "loss", &[(0, 1.0)]), None).await.unwrap();
    store.flush().await.unwrap();
    let project = model::ProjectName::new("text").unwrap();
    let experiment = model::ExperimentName::new("new").unwrap();
    let new = model::NewRun::named(crate::lake::run_id(2), project.clone(), experiment.clone(), "run 2", 5);
    store.apply(vec![model::Command::CreateRun(new)], None).await.unwrap();
    store.close().await;
    for _ in 0..2 {
        let store = open(folder.path()).await;
        let snapshot = store.snapshot();
        assert!(snapshot.registry().run(crate::lake::run_id(2)).is_some());
        assert!(snapshot.registry().experiment(&project, &experiment).is_some());
        store.flush().await.unwrap();
        store.close().await;
    }
}

#[tokio::test]
async fn no_file_of_a_lake_says_where_it_lies() {
    // A lake may be moved, copied and handed on; a path in it would be wrong then, and tell of the machine.
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.apply(vec![create(1)], None).await.unwrap();
    store.append(batch(1, "loss", &[(0, 1.0)]), None).await.unwrap();
    store.flush().await.unwrap();
    store.close().await;
    let place = folder.path().to_str().unwrap().as_bytes();
    let mut files = 0;
    let mut folders = vec![folder.path().to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(place.len()).any(|window| window == place), "{}", path.display());
        }
    }
    assert!(files > 10, "{files}");
}
