//! Compaction: small and overlapping segments of `points` become few, large, sorted ones with the same rows.
//!
//! Reading and encoding go on beside writers and flushes; only the commit waits for its turn among them. A merge that is
//! cancelled or fails leaves files that no commit names, and nothing else. Points of deleted runs are left out.
//!
//! The tables of the registry need no compaction: a file of theirs holds a fixed range of runs or series, and a flush
//! replaces it, so that a table never has more files than ranges.

mod merge;
pub(crate) mod plan;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;

use model::RunId;
use model::schema::Table;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::catalog::{ARRIVAL_TAG, Change, CommitIdentity, DataFile};
use crate::error::{Result, StoreError};
use crate::maintenance::Throttle;
use crate::registry::Registry;
use crate::segment::points::{PointWriter, SeriesOrder, SortedSeries};
use crate::segment::{Effort, EncodedSegment, SegmentError};
use crate::store::Shared;
use merge::{InputError, Merge};
use plan::{Extent, Plan, Policy};

/// What a compaction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CompactOptions {
    /// Merge whatever overlaps, also where the gain is smaller than what is written.
    pub full: bool,
    /// Look into every file for points of deleted runs, also when none was deleted since the lake was opened.
    pub sweep: bool,
}

/// A file that a compaction left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedFile {
    /// The file, relative to the folder of `points`.
    pub file: String,
    /// Why.
    pub reason: String,
}

/// What a compaction did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompactReport {
    /// Merges that were committed.
    pub merges: u64,
    /// Files of `points` before.
    pub files_before: usize,
    /// Files of `points` after.
    pub files_after: usize,
    /// How many files could lie on top of each other before.
    pub layers_before: usize,
    /// The same after; 1 means that no two files overlap.
    pub layers_after: usize,
    /// Bytes of the files that were merged.
    pub bytes_read: u64,
    /// Bytes of the files that took their place.
    pub bytes_written: u64,
    /// Rows that were written.
    pub rows: u64,
    /// Rows of deleted runs that were left out.
    pub rows_removed: u64,
    /// Damaged files, left as they are.
    pub skipped: Vec<SkippedFile>,
}

impl CompactReport {
    fn add(&mut self, replaced: &Replaced) {
        self.bytes_read += replaced.bytes_read;
        self.bytes_written += replaced.bytes_written;
        self.rows += replaced.rows_after;
        self.rows_removed += replaced.rows_before.saturating_sub(replaced.rows_after);
    }
}

/// Merges until there is nothing worth it. One compaction runs at a time; another caller waits. Files in `skipped` are
/// known to be damaged.
pub(crate) async fn compact(
    shared: &Arc<Shared>,
    options: CompactOptions,
    mut skipped: Vec<SkippedFile>,
    throttle: &mut Throttle,
) -> Result<CompactReport> {
    let _alone = shared.maintenance.alone.lock().await;
    let config = &shared.config.maintenance;
    let policy = Policy {
        target_bytes: config.file_bytes.max(1),
        width: config.width,
        ratio: config.ratio,
        full: options.full,
    };
    let mut report = CompactReport::default();
    let mut first = true;
    loop {
        let (points, registry) = {
            let state = shared.state.read();
            (Arc::clone(&state.points), state.registry.clone())
        };
        let mut files = Vec::new();
        let mut excluded = HashSet::new();
        for file in &points.files {
            let Some(extent) = Extent::of(file) else {
                skip(&mut skipped, &file.path, "its commit does not tell which series it holds");
                continue;
            };
            let is_skipped = skipped.iter().any(|skipped| skipped.file == file.path);
            if is_skipped || file.tags.get("order").is_some_and(|order| order != "run") {
                excluded.insert(files.len());
            }
            files.push((file.clone(), extent));
        }
        let extents: Vec<Extent> = files.iter().map(|(_, extent)| extent.clone()).collect();
        let plan = Plan::new(&extents);
        report.files_after = points.files.len();
        report.layers_after = plan.depth();
        if std::mem::take(&mut first) {
            report.files_before = report.files_after;
            report.layers_before = report.layers_after;
        }
        let job = match plan.next(&policy, &excluded) {
            Some(job) => Some(job),
            None if options.sweep || registry.deletions() > 0 => {
                with_deleted_runs(shared, &registry, &files, &excluded, &mut skipped).await?
            }
            None => None,
        };
        let Some(job) = job else { break };
        let inputs: Vec<_> = job.iter().filter_map(|at| files.get(*at).cloned()).collect();
        match merge(shared, &registry, inputs, policy.target_bytes, throttle, &mut report).await {
            Ok(true) => report.merges += 1,
            // The files are not what they were a moment ago: look again.
            Ok(false) => {}
            Err(Failure::Input(InputError { path, error })) => {
                tracing::error!(file = path, %error, "compaction leaves a damaged file alone");
                skip(&mut skipped, &path, error);
            }
            Err(Failure::Store(error)) => return Err(error),
        }
    }
    report.skipped = skipped;
    Ok(report)
}

fn skip(skipped: &mut Vec<SkippedFile>, file: &str, reason: impl ToString) {
    if !skipped.iter().any(|skipped| skipped.file == file) {
        skipped.push(SkippedFile { file: file.to_owned(), reason: reason.to_string() });
    }
}

/// A file that holds points of runs that were deleted, if there is one.
async fn with_deleted_runs(
    shared: &Arc<Shared>,
    registry: &Registry,
    files: &[(DataFile, Extent)],
    excluded: &HashSet<usize>,
    skipped: &mut Vec<SkippedFile>,
) -> Result<Option<Vec<usize>>> {
    let store = shared.catalog.store(Table::Points);
    for (at, (file, _)) in files.iter().enumerate() {
        if excluded.contains(&at) || shared.maintenance.is_swept(&file.path, registry.deletions()) {
            continue;
        }
        let reader = match shared.readers.open(&store, &Path::from(file.path.as_str()), file.bytes).await {
            Ok(reader) => reader,
            Err(error @ (SegmentError::Corrupt { .. } | SegmentError::Missing { .. })) => {
                skip(skipped, &file.path, error);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let mut last = None;
        let has_deleted = reader.series().iter().any(|series| {
            last != Some(series.run) && {
                last = Some(series.run);
                !registry.holds(series.run, file.arrival())
            }
        });
        if has_deleted {
            return Ok(Some(vec![at]));
        }
        shared.maintenance.note_swept(&file.path, registry.deletions());
    }
    Ok(None)
}

enum Failure {
    /// An input cannot be read; the others can.
    Input(InputError),
    Store(StoreError),
}

impl<E: Into<StoreError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

/// Merges files and commits the outcome; `false` when one of the files is no longer in the table.
async fn merge(
    shared: &Arc<Shared>,
    registry: &Registry,
    inputs: Vec<(DataFile, Extent)>,
    target_bytes: u64,
    throttle: &mut Throttle,
    report: &mut CompactReport,
) -> Result<bool, Failure> {
    let mut written = Vec::new();
    let outcome = match write(shared, registry, &inputs, target_bytes, throttle, &mut written).await {
        Ok(()) => {
            let (owned, inputs, added) = (Arc::clone(shared), inputs.clone(), written.clone());
            // Once begun, a commit goes on to its end, also when nobody waits for it any more.
            shared
                .to_the_end(async move { replace(&owned, &inputs, added).await })
                .await
                .map_err(Failure::Store)
                .map(|done| {
                    if let Some(done) = &done {
                        report.add(done);
                    }
                    done.is_some()
                })
        }
        Err(failure) => Err(failure),
    };
    // After a failed commit it is not known whether it stands in the log: that is for vacuum to find out.
    if matches!(outcome, Err(Failure::Input(_)) | Ok(false)) {
        let store = shared.catalog.store(Table::Points);
        for file in &written {
            drop(store.delete(&Path::from(file.path.as_str())).await);
        }
    }
    outcome
}

/// Writes the series of the inputs into new files.
async fn write(
    shared: &Arc<Shared>,
    registry: &Registry,
    inputs: &[(DataFile, Extent)],
    target_bytes: u64,
    throttle: &mut Throttle,
    written: &mut Vec<DataFile>,
) -> Result<(), Failure> {
    let bytes: u64 = inputs.iter().map(|(file, _)| file.bytes).sum();
    let rows: u64 = inputs.iter().map(|(file, _)| file.rows).sum();
    let arrival = inputs.iter().map(|(file, _)| file.arrival()).max().unwrap_or_default();
    let outputs = bytes.div_ceil(target_bytes).max(1);
    let rows_each = rows.div_ceil(outputs).max(1);
    let keep = |file: &DataFile, run: RunId| registry.holds(run, file.arrival());
    let mut merge = Merge::new(shared.catalog.store(Table::Points), inputs.to_vec(), &keep);
    let mut writer: Option<PointWriter> = None;
    loop {
        let parts = merge.next_parts().await.map_err(Failure::Input)?;
        let ended = parts.is_empty();
        let count: u64 = parts.iter().map(|part| part.points.len() as u64).sum();
        // Encoding is plain computing; it must not hold up the network threads.
        let task = shared.handle.spawn_blocking(move || encode(writer, parts, rows_each, ended));
        let (unfinished, segments) = task.await.map_err(|_| StoreError::Stopped)??;
        writer = unfinished;
        // What was read and what will be written, about.
        throttle.spend(shared, 2 * bytes.saturating_mul(count) / rows.max(1)).await;
        for mut segment in segments {
            fail::fail_point!("compact-before-put");
            segment.tags.insert(ARRIVAL_TAG.to_owned(), arrival.to_string());
            let name = format!("{}-{}.parquet", Table::Points.name(), uuid::Uuid::now_v7().simple());
            written.push(shared.catalog.put(Table::Points, &name, &segment).await?);
            fail::fail_point!("compact-after-put");
        }
        if ended {
            return Ok(());
        }
    }
}

/// Appends parts of series; a file that has its rows ends in front of the next series.
fn encode(
    mut writer: Option<PointWriter>,
    parts: Vec<SortedSeries>,
    rows_each: u64,
    ended: bool,
) -> Result<(Option<PointWriter>, Vec<EncodedSegment>), SegmentError> {
    let mut segments = Vec::new();
    for part in parts {
        if writer.as_ref().is_some_and(|w| w.rows() >= rows_each && w.last_series() != Some(&part.key))
            && let Some(full) = writer.take()
        {
            segments.push(full.finish()?);
        }
        let current = match writer.take() {
            Some(current) => current,
            None => PointWriter::new(SeriesOrder::RunFirst, Effort::Thorough),
        };
        writer.insert(current).append(&part)?;
    }
    if ended && let Some(last) = writer.take() {
        segments.push(last.finish()?);
    }
    Ok((writer, segments))
}

/// Puts the new files in the place of the inputs, in one commit.
async fn replace(
    shared: &Arc<Shared>,
    inputs: &[(DataFile, Extent)],
    written: Vec<DataFile>,
) -> Result<Option<Replaced>> {
    fail::fail_point!("compact-before-commit");
    let mut tables = shared.lock_tables().await?;
    let base = tables.version(Table::Points);
    let remove: Vec<DataFile> = inputs.iter().map(|(file, _)| file.clone()).collect();
    if !remove.iter().all(|file| base.files.contains(file)) {
        return Ok(None);
    }
    let rows_before: u64 = remove.iter().map(|file| file.rows).sum();
    let rows_after: u64 = written.iter().map(|file| file.rows).sum();
    let bytes_read: u64 = remove.iter().map(|file| file.bytes).sum();
    let bytes_written: u64 = written.iter().map(|file| file.bytes).sum();
    let change = Change {
        add: written,
        remove,
        last_seq: base.last_seq,
        data_change: rows_before != rows_after,
        info: CommitIdentity {
            commit_id: uuid::Uuid::new_v4(),
            epoch: shared.epoch,
            first_seq: base.last_seq + 1,
            time: (shared.config.clock)() / 1000,
        },
    };
    let version = tables.commit(&shared.catalog, Table::Points, change).await?;
    fail::fail_point!("compact-after-commit");
    shared.state.write().points = version;
    shared.maintenance.note_compacted(bytes_written);
    Ok(Some(Replaced { bytes_read, bytes_written, rows_before, rows_after }))
}

/// What a commit of a merge changed.
struct Replaced {
    bytes_read: u64,
    bytes_written: u64,
    rows_before: u64,
    rows_after: u64,
}
