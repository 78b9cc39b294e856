//! What stays in memory has a limit of its own, and a process near its limit takes no points but everything else.

use std::time::Duration;

use model::{Command, WriterSequence};
use store::{Store, StoreError};

use crate::lake::{batch, config, create, run_id};

async fn small(root: &std::path::Path) -> Store {
    let mut config = config(root);
    config.resident_bytes = 60_000;
    let store = Store::open(config).await.unwrap();
    store.apply(vec![create(1)], None).await.unwrap();
    store
}

#[tokio::test]
async fn new_series_are_refused_at_the_limit_and_known_ones_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = small(folder.path()).await;
    let mut taken = 0;
    let error = loop {
        match store.append(batch(1, &format!("metric/{taken}"), &[(1, 1.0)]), None).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Resident { .. }), "{error}");
    assert!((100..200).contains(&taken), "{taken} series");
    store.append(batch(1, "metric/0", &[(2, 2.0)]), None).await.unwrap();
    assert_eq!(store.snapshot().series().entries().len(), taken);
    // The same after a restart, where the lake is opened whatever it holds.
    store.close().await;
    let store = small(folder.path()).await;
    let again = store.append(batch(1, "another", &[(1, 1.0)]), None).await;
    assert!(matches!(again, Err(StoreError::Resident { .. })), "{again:?}");
    store.apply(vec![Command::DeleteRuns { runs: vec![run_id(1)] }], None).await.unwrap();
    store.apply(vec![create(2)], None).await.unwrap();
    store.append(batch(2, "another", &[(1, 1.0)]), None).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn writers_without_end_are_refused_and_known_ones_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = small(folder.path()).await;
    let write = async |writer: u64, number: u64| {
        let sequence = WriterSequence::new(format!("writer-{writer}"), number).unwrap();
        store.append(batch(1, "loss", &[(1, 1.0)]), Some(sequence)).await
    };
    let mut taken = 0;
    while write(taken, 1).await.is_ok() {
        taken += 1;
    }
    assert!((50..150).contains(&taken), "{taken} writers");
    assert!(matches!(write(taken, 1).await, Err(StoreError::Resident { .. })));
    write(0, 2).await.unwrap();
    assert!(write(0, 2).await.unwrap().duplicate);
    store.close().await;
}

#[tokio::test]
async fn near_the_limit_points_wait_and_everything_else_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.flush_bytes = 100_000;
    let store = Store::open(config).await.unwrap();
    store.apply(vec![create(1)], None).await.unwrap();
    let points: Vec<_> = (0..3_000).map(|step| (step, 1.0)).collect();
    store.append(batch(1, "held", &points), None).await.unwrap();
    // What is flushed stays in memory as long as somebody reads it.
    let reader = store.snapshot();
    store.note_memory(Some(256 << 20));
    let (writer, points) = (store.clone(), batch(1, "loss", &[(1, 1.0)]));
    let write = tokio::spawn(async move { writer.append(points, None).await });
    store.apply(vec![create(2)], None).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!write.is_finished());
    assert_eq!(store.snapshot().registry().runs().len(), 2);
    store.note_memory(None);
    write.await.unwrap().unwrap();
    store.note_memory(Some(256 << 20));
    let refused = store.append(batch(1, "loss", &[(2, 1.0)]), None).await;
    assert!(matches!(refused, Err(StoreError::Memory { limit_mib: 256 })), "{refused:?}");
    // Then there is nothing that a flush could give back, and points go on although the process is near its limit.
    drop(reader);
    store.append(batch(1, "loss", &[(2, 1.0)]), None).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn a_batch_that_was_begun_is_written_whether_or_not_somebody_waits() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    // One batch at a time.
    config.in_flight_bytes = 1024;
    let store = Store::open(config).await.unwrap();
    store.apply(vec![create(1)], None).await.unwrap();
    let mut begun = Vec::new();
    for step in 0..50 {
        let pending = store.begin_append(batch(1, "loss", &[(step, 1.0)]), None);
        begun.push(tokio::time::timeout(Duration::from_secs(20), pending).await.unwrap().unwrap());
    }
    begun.pop().unwrap().acknowledged().await.unwrap();
    assert_eq!(store.snapshot().memtable_points(), 50);
    store.close().await;
}
