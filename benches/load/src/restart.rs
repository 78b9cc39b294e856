//! Restart: how long a lake takes to open that was left with a long log, as after a crash.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures::stream::{FuturesUnordered, StreamExt};
use model::Command as Registry;
use runlake::store::{Store, StoreConfig, SyncPolicy, open_snapshot};

use crate::batches::{Batches, Shape};
use crate::error::{Result, io};
use crate::ingest::new_run;
use crate::machine;
use crate::report::{Row, show};

/// Runs that log at once.
const RUNS: usize = 16;
/// Batches of a run that are under way at once: the log is to be long, not each batch fast.
const UNDER_WAY: usize = 64;

fn config(folder: &Path) -> StoreConfig {
    StoreConfig::new(folder, Arc::new(|| 1))
}

/// Writes a log of at least so many bytes, none of it flushed, and leaves the lake as a crash would. Returns the points
/// in it.
async fn fill(folder: &Path, shape: Shape, log_bytes: u64) -> Result<u64> {
    let never = usize::MAX / 2;
    let store = Store::open(StoreConfig {
        flush_bytes: never,
        hard_limit_bytes: never,
        sync: SyncPolicy::Interval(std::time::Duration::from_secs(5)),
        ..config(folder)
    })
    .await
    .map_err(runlake::Error::from)?;
    for run in 0..RUNS {
        store.apply(vec![Registry::CreateRun(new_run(run)?)], None).await.map_err(runlake::Error::from)?;
    }
    let points = Arc::new(AtomicU64::new(0));
    let writers = (0..RUNS).map(|run| {
        let (store, points, folder) = (store.clone(), Arc::clone(&points), folder.to_owned());
        tokio::spawn(async move {
            let mut batches = Batches::new(new_run(run)?.id, shape, run as u64)?;
            let mut under_way = FuturesUnordered::new();
            while written(&folder)? < log_bytes {
                for _ in 0..UNDER_WAY {
                    let batch = batches.next_batch()?;
                    points.fetch_add(batch.point_count() as u64, Ordering::Relaxed);
                    under_way.push(store.append(batch, None));
                }
                while let Some(appended) = under_way.next().await {
                    appended.map_err(runlake::Error::from)?;
                }
            }
            Result::Ok(())
        })
    });
    for writer in futures::future::join_all(writers).await {
        crate::error::joined(writer)?;
    }
    store.close().await;
    Ok(points.load(Ordering::Relaxed))
}

/// Bytes in the log files of a lake; those that are made ahead count as nothing.
fn written(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let listed = std::fs::read_dir(folder.join("wal")).map_err(io("list the log"))?;
    let files = listed.filter_map(std::result::Result::ok).filter_map(|entry| entry.metadata().ok());
    Ok(files.filter(std::fs::Metadata::is_file).map(|file| file.blocks() * 512).sum())
}

/// Opens a lake with a log of at least so many bytes, for writing and for reading.
///
/// # Errors
/// What the lake says.
pub async fn restart(folder: &Path, shape: Shape, log_bytes: u64) -> Result<()> {
    let lake = folder.join(format!("restart-{}", shape.name()));
    let points = fill(&lake, shape, log_bytes).await?;
    let megabytes = written(&lake)? as f64 / 1e6;
    let own = std::process::id();
    let told = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&told);
    let (start, cpu) = (Instant::now(), machine::cpu_seconds(own));
    let store = Store::open(StoreConfig {
        progress: Some(Arc::new(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        })),
        ..config(&lake)
    })
    .await
    .map_err(runlake::Error::from)?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu = machine::cpu_seconds(own).zip(cpu).map_or(0.0, |(after, before)| after - before);
    show(&Row::new(
        format!("restart, {}: {megabytes:.0} MB of log, {:.1} M points", shape.name(), points as f64 / 1e6),
        format!(
            "{seconds:>9.2} s, {:.0} MB/s, {cpu:.2} CPU-s, told {} times",
            megabytes / seconds,
            told.load(Ordering::Relaxed)
        ),
    ));
    store.close().await;
    let start = Instant::now();
    drop(open_snapshot(lake.as_path()).await.map_err(runlake::Error::from)?);
    let seconds = start.elapsed().as_secs_f64();
    show(&Row::new(format!("the same for a reader, {}", shape.name()), format!("{seconds:>9.2} s")));
    Ok(())
}
