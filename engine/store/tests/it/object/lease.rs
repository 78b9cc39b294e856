//! One writer: a second one is refused, one that was cut off commits nothing, and its log is never dropped in silence.

use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::ObjectStoreExt;
use object_store::path::Path;
use store::{StaleLog, Store, StoreConfig, open_snapshot};

use super::faulty_store::FaultyStore;
use super::{LEASE, append, check_lake, config, expected, location, open, points_of};
use crate::lake::create;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lake_is_written_read_and_handed_over() {
    check_lake(&FaultyStore::new().shared()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_writer_is_refused_and_told_by_whom() {
    let (store, here, there) =
        (FaultyStore::new().shared(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = location(&store, here.path());
    let lake = Store::open(config(&first, "runlake serve on http://127.0.0.1:7070")).await.unwrap();
    // From the same folder at once, from another one as soon as the first gives a sign of life.
    for folder in [&here, &there] {
        let second = location(&store, folder.path());
        let start = Instant::now();
        let error = Store::open(config(&second, "other")).await.unwrap_err();
        assert_eq!(error.code(), "lake.locked");
        assert!(error.to_string().contains("runlake serve on http://127.0.0.1:7070"), "{error}");
        assert!(start.elapsed() < LEASE.time_to_live + Duration::from_secs(3));
    }
    lake.apply(vec![create(1)], None).await.unwrap();
    append(&lake, 1).await.unwrap();
    lake.close().await;
    // Given back: the next one need not wait.
    let start = Instant::now();
    let lake = open(&location(&store, here.path())).await;
    assert!(start.elapsed() < LEASE.time_to_live, "{:?}", start.elapsed());
    lake.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_was_cut_off_commits_nothing_and_its_log_is_adopted() {
    let (network, here, there) =
        (FaultyStore::new(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let others: Arc<dyn object_store::ObjectStore> = network.other_way().shared();
    let (mine, theirs) = (location(&network.shared(), here.path()), location(&others, there.path()));
    let zombie = open(&mine).await;
    zombie.apply(vec![create(1)], None).await.unwrap();
    append(&zombie, 1).await.unwrap();
    zombie.flush().await.unwrap();
    append(&zombie, 2).await.unwrap();
    append(&zombie, 3).await.unwrap();

    network.cut_off(true);
    let successor = open(&theirs).await;
    assert_eq!(points_of(&successor.snapshot()).await, expected([1]), "what was committed, no more");
    append(&successor, 2).await.unwrap();
    append(&successor, 10).await.unwrap();
    successor.flush().await.unwrap();
    network.cut_off(false);

    // The zombie is back, with points to flush and to take.
    assert!(zombie.flush().await.is_err());
    let refused = append(&zombie, 4).await.unwrap_err();
    assert!(["lease.lost", "writer.stopped"].contains(&refused.code()), "{refused}");
    let start = Instant::now();
    while !zombie.is_stopped() {
        assert!(start.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(zombie.stop_reason().unwrap().code(), "lease.lost");
    assert_eq!(zombie.flush().await.unwrap_err().code(), "lease.lost");
    zombie.close().await;
    successor.close().await;
    assert_eq!(
        points_of(&open_snapshot(&mine).await.unwrap()).await,
        expected([1, 2, 10]),
        "no commit by a zombie"
    );

    // Its log has points that nobody else has: they are named, and nothing is changed. The last one is among them when
    // it came into the log before the loss was noticed.
    let mut texts = Vec::new();
    for _ in 0..2 {
        let error = Store::open(config(&mine, "back again")).await.unwrap_err();
        assert_eq!(error.code(), "state.stale", "{error}");
        texts.push(error.to_string());
    }
    assert_eq!(texts[0], texts[1]);
    let last_is_there = texts[0].contains("holds 3 points");
    assert!(
        (last_is_there || texts[0].contains("holds 2 points")) && texts[0].contains("adopt"),
        "{}",
        texts[0]
    );
    let all = expected([1, 2, 3, 10].into_iter().chain(last_is_there.then_some(4)));
    let adopting = || StoreConfig { stale_log: StaleLog::Adopt, ..config(&mine, "adopting") };
    let lake = Store::open(adopting()).await.unwrap();
    // Point 2 came to the other writer as well.
    let adopted = &lake.adopted()[0];
    let counts = (adopted.points, adopted.duplicates, adopted.refused.len());
    assert_eq!(counts, (1 + u64::from(last_is_there), 1, 0), "{adopted:?}");
    assert_eq!(points_of(&lake.snapshot()).await, all);
    lake.flush().await.unwrap();
    lake.close().await;
    let lake = Store::open(adopting()).await.unwrap();
    assert_eq!(lake.adopted(), []);
    assert_eq!(points_of(&lake.snapshot()).await, all);
    lake.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_does_not_answer_for_long_only_delays() {
    let (network, here) = (FaultyStore::new(), tempfile::tempdir().unwrap());
    let mine = location(&network.shared(), here.path());
    let lake = open(&mine).await;
    lake.apply(vec![create(1)], None).await.unwrap();
    network.cut_off(true);
    tokio::time::sleep(LEASE.time_to_live).await;
    let waiting = tokio::spawn({
        let lake = lake.clone();
        async move { append(&lake, 1).await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!waiting.is_finished(), "nothing is acknowledged on a lease that was not renewed");
    network.cut_off(false);
    // Nobody took the lake: the lease is renewed, and the write goes on.
    waiting.await.unwrap().unwrap();
    lake.flush().await.unwrap();
    lake.close().await;
    assert_eq!(points_of(&open_snapshot(&mine).await.unwrap()).await, expected([1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_state_folder_loses_what_was_not_flushed_and_nothing_else() {
    let store = FaultyStore::new().shared();
    let here = tempfile::tempdir().unwrap();
    let lake = open(&location(&store, here.path())).await;
    lake.apply(vec![create(1)], None).await.unwrap();
    append(&lake, 1).await.unwrap();
    lake.flush().await.unwrap();
    append(&lake, 2).await.unwrap();
    lake.close().await;
    drop(here);
    let new = tempfile::tempdir().unwrap();
    let lake = open(&location(&store, new.path())).await;
    assert_eq!(points_of(&lake.snapshot()).await, expected([1]));
    append(&lake, 3).await.unwrap();
    lake.close().await;
    // The folder of another lake is refused, for writing and for reading.
    let other = "s3://bucket/other".parse().unwrap();
    let other =
        store::Location::in_store(other, store).unwrap().with_state_folder(Some(new.path().to_owned()));
    let error = Store::open(config(&other, "a test")).await.unwrap_err();
    assert_eq!(error.code(), "state.foreign");
    assert!(error.to_string().contains("--state"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_was_removed_does_not_bring_an_old_epoch_back() {
    let store = FaultyStore::new().shared();
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in [&here, &here, &there] {
        let lake = open(&location(&store, folder.path())).await;
        lake.close().await;
    }
    store.delete(&Path::from("team/läke/lease.json")).await.unwrap();
    let lake = open(&location(&store, here.path())).await;
    lake.apply(vec![create(1)], None).await.unwrap();
    append(&lake, 1).await.unwrap();
    lake.flush().await.unwrap();
    let versions = lake.snapshot().catalog().load_fresh(model::schema::Table::Points).await.unwrap();
    assert!(versions.epoch >= 4, "{versions:?}");
    lake.close().await;
}
