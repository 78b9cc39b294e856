//! Flush: what the memtables and the registry hold becomes Parquet files and one Delta commit per changed table.
//!
//! The order is fixed: registry tables first, `points` last, so that an outside reader never sees points of a run that
//! it cannot find; log files are deleted only after all commits were read back. A flush may stop at any instruction:
//! what was committed counts by its own sequence number, the rest is replayed from the log, and files that no commit
//! names are rubbish.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use imbl::Vector;
use model::schema::Table;
use tokio::sync::oneshot;

use crate::catalog::{Change, CommitIdentity, DataFile, TableVersion};
use crate::committed::Committed;
use crate::error::{Result, StoreError};
use crate::memtable::Memtable;
use crate::registry::{Registry, RunColumns};
use crate::segment::points::SortedSeries;
use crate::segment::{EncodedSegment, points, rows};
use crate::series_index::{SeriesIndex, SeriesOrdinal};
use crate::state::{Dirty, RUNS_PER_CHUNK, SERIES_PER_CHUNK};
use crate::store::Shared;
use crate::tables::Extra;
use crate::wal::{FlushedTable, WriterWindow};
use crate::writer::Control;
use crate::{carried_windows, memory_scan, tables};

/// The tag of a checkpoint file that says which range of ordinals it holds.
pub(crate) const CHUNK_TAG: &str = "chunk";

/// What a flush works on: the state at `last_seq`.
pub(crate) struct FlushInput {
    pub(crate) registry: Registry,
    pub(crate) series: SeriesIndex,
    pub(crate) frozen: Vector<Arc<Memtable>>,
    pub(crate) dirty: Dirty,
    pub(crate) last_seq: u64,
    /// The exactly-once windows at that moment, of a lake on an object store.
    pub(crate) windows: Option<Vec<WriterWindow>>,
}

/// What a flush did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlushReport {
    /// Points that are now in a segment.
    pub points: u64,
    /// Bytes of the new segment.
    pub point_bytes: u64,
    /// Tables that got a commit.
    pub tables: Vec<&'static str>,
    /// The sequence number of the log up to which everything is in tables.
    pub last_seq: u64,
}

/// Flushes what is there now. One flush runs at a time; another caller waits for its turn. A flush that has begun goes
/// on when nobody waits for it any more.
pub(crate) async fn flush(shared: &Arc<Shared>) -> Result<FlushReport> {
    let owned = Arc::clone(shared);
    let report = shared.to_the_end(async move { flush_now(&owned).await }).await?;
    shared.maintenance.note_flushed(report.point_bytes);
    Ok(report)
}

async fn flush_now(shared: &Arc<Shared>) -> Result<FlushReport> {
    let mut versions = shared.lock_tables().await?;
    let (reply, answer) = oneshot::channel();
    let held = Table::ALL.map(|table| {
        let last_seq = versions.version(table).last_seq;
        FlushedTable { table: table.name().to_owned(), last_seq }
    });
    shared.send_control(Control::BeginFlush { tables: held.to_vec(), reply })?;
    let input = answer.await.map_err(|_| StoreError::Stopped)??;
    let mut report = FlushReport { last_seq: input.last_seq, ..FlushReport::default() };
    let outcome = write_tables(shared, &input, &mut versions, &mut report).await;
    let failure = outcome.as_ref().err().map(ToString::to_string);
    shared.note_flush_failure(failure);
    match outcome {
        Ok(()) => {
            // Without them the runs stay rows until the next flush.
            let settled = settled(shared, &input).await.unwrap_or_default();
            let mut state = shared.state.write();
            for (chunk, columns) in settled {
                state.registry.settle(chunk, columns, &input.registry);
            }
            for (kind, chunk) in &input.dirty.records {
                state.registry.settle_records(*kind, *chunk, &input.registry);
            }
            state.take_over_points(versions.version(Table::Points));
            // Without points there was no commit of `points`, and nothing frozen either.
            state.release_frozen(input.last_seq);
        }
        Err(error) => {
            shared.state.write().dirty.merge(input.dirty);
            return Err(error);
        }
    }
    if report.tables.is_empty() {
        // No table says that the log up to here is not needed: its files go away with the next flush that commits.
        return Ok(report);
    }
    fail::fail_point!("flush::before_trim");
    let (reply, answer) = oneshot::channel();
    shared.send_control(Control::Trim { through: input.last_seq, reply })?;
    answer.await.map_err(|_| StoreError::Stopped)??;
    Ok(report)
}

/// The runs of the chunks that were written, in columns.
async fn settled(shared: &Arc<Shared>, input: &FlushInput) -> Result<Vec<(u32, Arc<RunColumns>)>> {
    let dirty = [&input.dirty.runs, &input.dirty.params, &input.dirty.tags];
    let chunks: BTreeSet<u32> = dirty.into_iter().flatten().copied().collect();
    if chunks.is_empty() {
        return Ok(Vec::new());
    }
    let registry = input.registry.clone();
    let settle =
        move || chunks.into_iter().filter_map(|chunk| Some((chunk, registry.settled(chunk)?))).collect();
    shared.handle.spawn_blocking(settle).await.map_err(|_| StoreError::Stopped)
}

async fn write_tables(
    shared: &Arc<Shared>,
    input: &FlushInput,
    versions: &mut Committed,
    report: &mut FlushReport,
) -> Result<()> {
    for table in Table::ALL {
        let encoded = encode(shared, table, input).await?;
        let base = versions.version(table);
        // After a crash between the commits of the two, `series` has the points already that `points` lacks; its number
        // goes ahead all the same.
        let leads = table == Table::Series && !input.frozen.is_empty() && base.last_seq < input.last_seq;
        if encoded.is_empty() && !leads {
            continue;
        }
        let remove = encoded.iter().flat_map(|(chunk, _)| replaced(&base, table, *chunk)).collect();
        let mut add = Vec::with_capacity(encoded.len());
        for (chunk, segment) in encoded {
            let Some(mut segment) = segment else { continue };
            if table == Table::Points {
                report.points += segment.rows;
                report.point_bytes += segment.bytes.len() as u64;
            } else {
                segment.tags.insert(CHUNK_TAG.to_owned(), chunk.to_string());
            }
            let name = format!("{}-{}.parquet", table.name(), uuid::Uuid::now_v7().simple());
            add.push(shared.catalog.put(table, &name, &segment).await?);
        }
        if table == Table::Points {
            carry_windows(shared, input, true).await?;
        }
        fail::fail_point!("flush::before_commit");
        let change = Change {
            add,
            remove,
            last_seq: input.last_seq,
            data_change: true,
            info: CommitIdentity {
                commit_id: uuid::Uuid::new_v4(),
                epoch: shared.epoch,
                first_seq: base.last_seq + 1,
                time: (shared.config.clock)() / 1000,
            },
        };
        versions.commit(&shared.catalog, table, change).await?;
        fail::fail_point!("flush::after_commit");
        report.tables.push(table.name());
    }
    if !report.tables.is_empty() && input.frozen.is_empty() {
        carry_windows(shared, input, false).await?;
    }
    Ok(())
}

async fn carry_windows(shared: &Arc<Shared>, input: &FlushInput, with_points: bool) -> Result<()> {
    match &input.windows {
        Some(windows) => {
            let (seq, epoch) = (input.last_seq, shared.epoch);
            carried_windows::store(&shared.catalog, seq, epoch, with_points, windows.clone()).await
        }
        None => Ok(()),
    }
}

/// The files that a new file of this chunk takes the place of.
fn replaced(base: &TableVersion, table: Table, chunk: u32) -> Vec<DataFile> {
    if table == Table::Points {
        return Vec::new();
    }
    let same = |file: &&DataFile| chunk_of(file) == Some(chunk);
    base.files.iter().filter(same).cloned().collect()
}

/// Which range of ordinals a checkpoint file holds.
pub(crate) fn chunk_of(file: &DataFile) -> Option<u32> {
    file.tags.get(CHUNK_TAG)?.parse().ok()
}

/// The new files of a table by chunk; `None` in place of a file that would hold no row.
async fn encode(
    shared: &Arc<Shared>,
    table: Table,
    input: &FlushInput,
) -> Result<Vec<(u32, Option<EncodedSegment>)>> {
    let chunks: Vec<u32> = match table {
        Table::Runs => input.dirty.runs.iter().copied().collect(),
        Table::Params => input.dirty.params.iter().copied().collect(),
        Table::Tags => input.dirty.tags.iter().copied().collect(),
        Table::Series => input.dirty.series.iter().copied().collect(),
        Table::Records(kind) => {
            let of_kind = input.dirty.records.iter().filter(|(of, _)| *of == kind);
            of_kind.map(|(_, chunk)| *chunk).collect()
        }
        Table::Points => (!input.frozen.is_empty()).then_some(0).into_iter().collect(),
        whole => input.dirty.whole.contains(&whole).then_some(0).into_iter().collect(),
    };
    if chunks.is_empty() {
        return Ok(Vec::new());
    }
    let (registry, series, frozen) = (input.registry.clone(), input.series.clone(), input.frozen.clone());
    // Encoding is plain computing for up to seconds; it must not hold up the network threads.
    let task = shared.handle.spawn_blocking(move || {
        chunks
            .into_iter()
            .map(|chunk| {
                let segment = if table == Table::Points {
                    encode_points(&registry, &series, &frozen)?
                } else {
                    encode_rows(table, chunk, &registry, &series)?
                };
                Ok((chunk, segment))
            })
            .collect()
    });
    task.await.map_err(|_| StoreError::Stopped)?
}

fn encode_rows(
    table: Table,
    chunk: u32,
    registry: &Registry,
    series: &SeriesIndex,
) -> Result<Option<EncodedSegment>> {
    let series_ordinals = || {
        let first = chunk.saturating_mul(SERIES_PER_CHUNK);
        first..first.saturating_add(SERIES_PER_CHUNK)
    };
    let run_ordinals = || {
        let first = chunk.saturating_mul(RUNS_PER_CHUNK);
        first..first.saturating_add(RUNS_PER_CHUNK)
    };
    let runs = || registry.runs().range(run_ordinals());
    let batch: Result<RecordBatch, _> = match table {
        Table::Runs => tables::runs(runs()),
        Table::Params => tables::params(runs()),
        Table::Tags => tables::tags(runs()),
        Table::Experiments => tables::experiments(registry),
        Table::Decisions => tables::decisions(registry),
        Table::Notes => tables::notes(registry),
        Table::Imports => tables::imports(registry),
        Table::Records(kind) => match registry.records(kind) {
            Some(records) => records.chunk(chunk),
            None => return Ok(None),
        },
        Table::Series | Table::Points => tables::series(registry, series.entries().range(series_ordinals())),
    };
    let batch = batch.map_err(|source| StoreError::Encode { table, source })?;
    let extra = match table {
        Table::Runs => Extra::of_runs(registry, run_ordinals()),
        Table::Experiments => Extra::of_experiments(registry),
        _ => Extra::default(),
    };
    // Views are kept also where there is no experiment, and the retention of a project that has only records.
    if batch.num_rows() == 0 && extra.views.is_empty() && extra.retention.is_empty() {
        return Ok(None);
    }
    Ok(Some(rows::write_batch_with(table, &batch, extra.to_metadata(table))?))
}

fn encode_points(
    registry: &Registry,
    series: &SeriesIndex,
    frozen: &Vector<Arc<Memtable>>,
) -> Result<Option<EncodedSegment>> {
    let memtables: Vec<&Memtable> = frozen.iter().map(Arc::as_ref).collect();
    let selected = memory_scan::series_in(series, &memtables, |_: SeriesOrdinal| true);
    if selected.is_empty() {
        // All its runs were deleted meanwhile.
        return Ok(None);
    }
    let sorted = selected.into_iter().filter_map(|ordinal| {
        let sorted: Option<SortedSeries> = memory_scan::sorted(registry, series, &memtables, ordinal);
        sorted
    });
    Ok(Some(points::write(sorted)?))
}
