//! Compaction, deletion and vacuum on an object store, and by a writer that has lost it.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use model::{Command, RunId};
use object_store::ObjectStore;
use store::{CompactOptions, Store, StoreConfig, VacuumOptions, open_snapshot, verify};

use super::faulty_store::FaultyStore;
use super::{append, config, expected, location, open, points_of};
use crate::lake::{batch, create, key};

/// The names of all objects that have these two parts in their path.
async fn objects(store: &dyn ObjectStore, parts: [&str; 2]) -> Vec<String> {
    let listed: Vec<_> =
        store.list(None).map_ok(|object| object.location.to_string()).try_collect().await.unwrap();
    listed.into_iter().filter(|path| parts.iter().all(|part| path.contains(part))).collect()
}

const AT_ONCE: VacuumOptions = VacuumOptions { older_than: Some(Duration::ZERO), dry_run: false };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_merged_deleted_and_removed() {
    let (network, here) = (FaultyStore::new(), tempfile::tempdir().unwrap());
    let mine = location(&network.shared(), here.path());
    let mut alone = config(&mine, "a test");
    alone.maintenance.background = false;
    let lake = Store::open(alone).await.unwrap();
    lake.apply(vec![create(1), create(2)], None).await.unwrap();
    for step in 0..6 {
        append(&lake, step).await.unwrap();
        lake.append(batch(2, "loss", &[(step, 1.0)]), None).await.unwrap();
        lake.flush().await.unwrap();
    }
    let before = lake.snapshot();
    let full = CompactOptions { full: true, sweep: true };
    let report = lake.compact(full).await.unwrap();
    assert_eq!(report.files_after, 1, "{report:?}");
    let deleted = Command::DeleteRuns { runs: vec![RunId::from_u128(2)] };
    lake.apply(vec![deleted], None).await.unwrap();
    lake.flush().await.unwrap();
    assert!(lake.compact(full).await.unwrap().rows_removed > 0);
    // A snapshot from before keeps its files; without it they go.
    lake.vacuum(AT_ONCE).await.unwrap();
    assert_eq!(points_of(&before).await, expected(0..6));
    drop(before);
    assert!(!lake.vacuum(AT_ONCE).await.unwrap().files.is_empty());
    let left = objects(&network, ["/tables/points/", ".parquet"]).await;
    let data: Vec<_> = left.iter().filter(|path| !path.contains("_delta_log")).collect();
    assert_eq!(data.len(), 1, "{left:?}");
    lake.close().await;
    let snapshot = open_snapshot(&mine).await.unwrap();
    assert_eq!(points_of(&snapshot).await, expected(0..6));
    assert_eq!(snapshot.series_points(&key(2, "loss")).await.map_or(0, |points| points.len()), 0);
    assert_eq!(verify(&mine).await.unwrap().findings, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_was_cut_off_removes_nothing_of_its_successor() {
    let (network, here, there) =
        (FaultyStore::new(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let others: Arc<dyn ObjectStore> = network.other_way().shared();
    let (mine, theirs) = (location(&network.shared(), here.path()), location(&others, there.path()));
    // By its clock every file is old.
    let zombie = StoreConfig { clock: Arc::new(|| 4_000_000_000_000_000), ..config(&mine, "a zombie") };
    let zombie = Store::open(zombie).await.unwrap();
    zombie.apply(vec![create(1)], None).await.unwrap();
    append(&zombie, 1).await.unwrap();
    zombie.flush().await.unwrap();
    network.cut_off(true);
    let successor = open(&theirs).await;
    append(&successor, 2).await.unwrap();
    successor.flush().await.unwrap();
    network.cut_off(false);
    let older_than = Some(Duration::from_millis(1));
    let refused = zombie.vacuum(VacuumOptions { older_than, dry_run: false }).await.unwrap_err();
    assert_eq!(refused.code(), "lease.lost", "{refused}");
    zombie.close().await;
    successor.close().await;
    assert_eq!(points_of(&open_snapshot(&theirs).await.unwrap()).await, expected([1, 2]));
    assert_eq!(verify(&theirs).await.unwrap().findings, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_does_not_answer_is_not_taken_for_a_damaged_checkpoint() {
    let (network, here) = (FaultyStore::new(), tempfile::tempdir().unwrap());
    let mine = location(&network.shared(), here.path());
    let lake = open(&mine).await;
    lake.apply(vec![create(1)], None).await.unwrap();
    append(&lake, 1).await.unwrap();
    lake.vacuum(AT_ONCE).await.unwrap();
    lake.close().await;
    let checkpoints = objects(&network, ["_delta_log", ".checkpoint."]).await;
    assert!(!checkpoints.is_empty());
    network.refuse_reads_of(Some(".checkpoint."));
    let error = Store::open(config(&mine, "a test")).await.unwrap_err();
    assert_eq!(error.code(), "catalog.store", "{error}");
    network.refuse_reads_of(None);
    assert_eq!(objects(&network, ["_delta_log", ".checkpoint."]).await, checkpoints);
    let lake = open(&mine).await;
    assert_eq!(points_of(&lake.snapshot()).await, expected([1]));
    lake.close().await;
    assert_eq!(objects(&network, ["quarantine", ""]).await, Vec::<String>::new());
}
