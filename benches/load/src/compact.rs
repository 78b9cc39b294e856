//! Compaction: many flushes of runs that all went on at the same time, merged.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use datasets::{Corpus, CorpusConfig};
use model::{PointBatch, PointColumns, SeriesPoints};
use runlake::store::{CompactOptions, Store, StoreConfig};

use crate::corpus::of_run;
use crate::error::Result;
use crate::machine;
use crate::report::Row;

/// Flushes over which every run is spread, so that every file overlaps every other.
const FLUSHES: usize = 12;
/// Series in one batch.
const SERIES_A_BATCH: usize = 16;

/// One of the flushes' shares of a series, in order of its points.
fn share(series: &SeriesPoints, flush: usize) -> SeriesPoints {
    let place = |flush: usize| series.points.len() * flush / FLUSHES;
    let mut points = PointColumns::with_capacity(place(flush + 1) - place(flush));
    series.points.iter().take(place(flush + 1)).skip(place(flush)).for_each(|point| points.push(point));
    SeriesPoints { points, ..series.clone() }
}

fn bytes_per_point(store: &Store, when: &str) -> Row {
    let snapshot = store.snapshot();
    let files = snapshot.point_files();
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let rows: u64 = files.iter().map(|file| file.rows).sum();
    let figure = format!("{:>9.2} in {} files", bytes as f64 / rows.max(1) as f64, files.len());
    Row::new(format!("bytes per point, {when}"), figure)
}

/// Fills a lake with runs of the corpus over many flushes and merges its files: what background compaction does while
/// they come, and then everything that overlaps.
///
/// # Errors
/// What the lake says.
pub async fn compact(folder: &Path, seed: u64, wanted: u64) -> Result<Vec<Row>> {
    let mut config = StoreConfig::new(folder, Arc::new(|| 1));
    config.maintenance.background = false;
    let store = Store::open(config).await.map_err(runlake::Error::from)?;
    let mut all = Vec::new();
    for run in Corpus::new(CorpusConfig::small().with_seed(seed))?.runs_with_points(wanted) {
        let (_, commands, series) = of_run(&run)?;
        store.apply(commands, None).await.map_err(runlake::Error::from)?;
        all.push(series);
    }
    let own = std::process::id();
    let (mut seconds, mut cpu_seconds) = (0.0, 0.0);
    let mut merged = 0;
    let mut rows = Vec::new();
    for step in 0..=FLUSHES {
        let full = step == FLUSHES;
        if full {
            rows.push(bytes_per_point(&store, "as background compaction leaves them"));
        } else {
            for part in all.iter().flat_map(|series| series.chunks(SERIES_A_BATCH)) {
                let part: Vec<_> = part.iter().map(|series| share(series, step)).collect();
                if part.iter().any(|series| !series.points.is_empty()) {
                    let batch = PointBatch::new(part)?;
                    store.append(batch, None).await.map_err(runlake::Error::from)?;
                }
            }
            store.flush().await.map_err(runlake::Error::from)?;
        }
        let (start, cpu) = (Instant::now(), machine::cpu_seconds(own));
        let options = CompactOptions { full, sweep: false };
        merged += store.compact(options).await.map_err(runlake::Error::from)?.rows;
        seconds += start.elapsed().as_secs_f64();
        cpu_seconds += machine::cpu_seconds(own).zip(cpu).map_or(0.0, |(after, before)| after - before);
    }
    rows.push(bytes_per_point(&store, "after a full compaction"));
    let volume = store.write_volume();
    let mut figure = format!("{:>9.0} points/s", merged as f64 / seconds.max(1e-9));
    if cpu_seconds > 0.0 {
        figure.push_str(&format!(", {:.2} M points a CPU-s", merged as f64 / 1e6 / cpu_seconds));
    }
    if let Some(amplification) = volume.amplification() {
        figure.push_str(&format!(", {amplification:.2} bytes written for each byte flushed"));
    }
    rows.insert(0, Row::new(format!("compaction of {FLUSHES} flushes, {merged} rows merged"), figure));
    store.close().await;
    Ok(rows)
}
