//! Readers that count while points are written and flushed see whole batches only, and never fewer than before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use model::PointBatch;
use store::{Snapshot, Store, StoreConfig, open_snapshot};

use crate::lake::{batch, config, create, key};
use crate::random::count;

/// Points of a batch in each of its two series.
const POINTS: u64 = 7;
const WRITERS: u64 = 3;

/// Two series of one run with so many points each, in one batch.
fn pair(run: u128, from: u64) -> PointBatch {
    let points: Vec<(i64, f64)> = (from..from + POINTS).map(|step| (step as i64, step as f64)).collect();
    let mut series = batch(run, "left", &points).series().to_vec();
    series.extend(batch(run, "right", &points).series().to_vec());
    PointBatch::new(series).unwrap()
}

async fn counts(snapshot: &Snapshot, run: u128) -> (u64, u64) {
    let count = async |metric| snapshot.series_points(&key(run, metric)).await.unwrap().len() as u64;
    (count("left").await, count("right").await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_see_whole_batches_while_points_are_written_and_flushed() {
    let folder = tempfile::tempdir().unwrap();
    let settings = StoreConfig { flush_bytes: 20_000, wal_file_bytes: 256 << 10, ..config(folder.path()) };
    let store = Store::open(settings).await.unwrap();
    store.apply((1..=u128::from(WRITERS)).map(create).collect(), None).await.unwrap();
    let acknowledged: Arc<Vec<AtomicU64>> = Arc::new((0..WRITERS).map(|_| AtomicU64::new(0)).collect());
    let over = Arc::new(AtomicBool::new(false));
    let writers = (0..WRITERS).map(|writer| {
        let (store, acknowledged, over) = (store.clone(), Arc::clone(&acknowledged), Arc::clone(&over));
        tokio::spawn(async move {
            let mut from = 0;
            while !over.load(Ordering::Relaxed) {
                store.append(pair(u128::from(writer) + 1, from), None).await.unwrap();
                from += POINTS;
                acknowledged[writer as usize].store(from, Ordering::Release);
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let time = Duration::from_millis(count("RUNLAKE_TEST_READ_MILLIS", 2_000));
    let start = Instant::now();
    let (mut reads, mut last) = (0, [[0; WRITERS as usize]; 2]);
    while start.elapsed() < time {
        let before: Vec<u64> = acknowledged.iter().map(|count| count.load(Ordering::Acquire)).collect();
        // A reader in another process may see what is written and not yet acknowledged; each kind of reader has
        // its own order.
        let outside = usize::from(reads % 4 == 0);
        let snapshot = match outside {
            1 => open_snapshot(folder.path()).await.unwrap(),
            _ => store.snapshot(),
        };
        for writer in 0..WRITERS as usize {
            let (left, right) = counts(&snapshot, writer as u128 + 1).await;
            assert_eq!(left, right, "a batch is there in part");
            assert_eq!(left % POINTS, 0, "a batch is there in part");
            assert!(left >= before[writer], "{left} points, {} were acknowledged", before[writer]);
            assert!(left >= last[outside][writer], "points went away");
            last[outside][writer] = left;
        }
        reads += 1;
    }
    over.store(true, Ordering::Relaxed);
    futures::future::join_all(writers).await.into_iter().for_each(|joined| joined.unwrap());
    let files = store.snapshot().point_files().len();
    store.close().await;
    println!("{reads} reads, 0 partial, {} points, {files} segments", last[0].iter().sum::<u64>() * 2);
    assert!(reads > 5 && files > 0, "{reads} reads, {files} segments");
}
