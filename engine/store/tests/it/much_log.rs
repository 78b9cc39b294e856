//! Opening a lake with much log that no table holds yet: streamed, told, and every point there.
//!
//! `RUNLAKE_LOG_MIB` makes the log that large in place of 4 MiB.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use store::disk::RealDisk;
use store::wal::{Record, Wal, WalConfig};
use store::{LakeFile, Layout, Store, StoreConfig};

use crate::lake::{batch, config, create, key, open};

#[tokio::test]
async fn much_log_is_replayed_with_progress() {
    let mebibytes: u64 =
        std::env::var("RUNLAKE_LOG_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.apply(vec![create(1)], None).await.unwrap();
    let last_seq = store.snapshot().last_seq();
    store.close().await;
    // Straight into the log: many small batches, as a training loop writes them.
    let layout = Layout::new(folder.path());
    let lake_file = LakeFile::read(&RealDisk, &layout.lake_file()).unwrap().unwrap();
    let wal_config = WalConfig {
        committed_seq: last_seq,
        ..WalConfig::new(layout.wal(), lake_file.lake_id_bytes().unwrap(), 1)
    };
    let (mut wal, _) = Wal::open(wal_config, Arc::new(RealDisk)).unwrap();
    let mut written = 0;
    let mut step = 0;
    while written < mebibytes << 20 {
        for _ in 0..1_000 {
            wal.append(&Record::Points { writer: None, batch: batch(1, "loss", &[(step, 0.5)]) }).unwrap();
            step += 1;
        }
        written += wal.pending_bytes();
        wal.sync().unwrap();
    }
    drop(wal);
    let told = Arc::new(Mutex::new(Vec::new()));
    let progress = {
        let told = Arc::clone(&told);
        Some(Arc::new(move |progress: store::Progress| told.lock().push(progress)) as store::ProgressSink)
    };
    let started = Instant::now();
    let store = Store::open(StoreConfig { progress, ..config(folder.path()) }).await.unwrap();
    let seconds = started.elapsed().as_secs_f64();
    let told = told.lock().clone();
    println!(
        "{} records, {:.1} MiB of log: open in {seconds:.2} s, {:.1} MiB/s, told {} times",
        step,
        written as f64 / 1048576.0,
        written as f64 / 1048576.0 / seconds,
        told.len()
    );
    assert!(told.len() >= 50, "told {} times", told.len());
    assert!(told.windows(2).all(|pair| pair[0].bytes_done <= pair[1].bytes_done));
    assert!(told.last().unwrap().bytes_done <= told.last().unwrap().bytes_total);
    let points = store.snapshot().series_points(&key(1, "loss")).await.unwrap();
    assert_eq!(points.len() as i64, step);
    store.close().await;
}
