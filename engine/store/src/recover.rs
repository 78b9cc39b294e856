//! Recovery: tables first, then what the log holds beyond them, table by table.
//!
//! Recovery reads everything before it writes anything, and recovering twice gives the same state. Every table carries
//! the sequence number up to which it is complete (`txn`); a record of the log counts for a table when its number is
//! larger. A table that a flush did not touch has an older number than the others, and no record in between concerns it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use model::schema::Table;
use model::{Command, ExperimentUpdate, WriterSequence};

use crate::catalog::{Catalog, CatalogError, TableVersion};
use crate::damage::{Damage, Reading};
use crate::disk::Disk;
use crate::error::{Result, StoreError};
use crate::flush::chunk_of;
use crate::layout::Layout;
use crate::reach;
use crate::segment::{SegmentError, rows};
use crate::state::{SERIES_PER_CHUNK, State, table_of};
use crate::tables::{Checkpoint, Extra, decode_into};
use crate::wal::{self, Record, WalError, WriterWindow};
use crate::writer::writer_of;

/// The committed version of every table.
pub(crate) type TableVersions = BTreeMap<Table, Arc<TableVersion>>;

/// How often a reader starts anew when a flush deletes log files under it.
const SNAPSHOT_TRIES: usize = 8;

/// The state that tables and log hold together, for a reader; without a log, that of the tables. With it comes what a
/// tolerant reading left out.
///
/// # Errors
/// When a file is damaged and the reading is not tolerant, or a writer flushes faster than this reader reads.
pub(crate) async fn read_snapshot(
    disk: &Arc<dyn Disk>,
    log: Option<&Layout>,
    catalog: &Catalog,
    lake_id: [u8; 16],
    tolerant: bool,
) -> Result<(State, Vec<Damage>)> {
    let mut last = StoreError::Stopped;
    for _ in 0..SNAPSHOT_TRIES {
        let mut damage = Vec::new();
        let mut reading = if tolerant { Reading::Tolerant(&mut damage) } else { Reading::Strict };
        let read = match log {
            Some(layout) => read_state(disk, layout, catalog, lake_id, &mut reading).await,
            None => read_tables(catalog, &mut reading).await,
        };
        match read {
            Ok(state) => return Ok((state, damage)),
            Err(error) if is_passing(&error) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// Whether the error may be due to a flush that went on at the same time.
fn is_passing(error: &StoreError) -> bool {
    matches!(error, StoreError::Wal(wal) if matches!(**wal, WalError::Vanished { .. }))
}

/// The state that the tables hold, of a reader that has no log.
async fn read_tables(catalog: &Catalog, reading: &mut Reading<'_>) -> Result<State> {
    let tables = load_readable_versions(catalog, None, reading).await?;
    let restored = restore(catalog, &tables, std::iter::empty(), reading).await;
    // A flush that went on meanwhile may have put runs into one table and what belongs to them into another.
    check_unchanged(catalog, &tables, Path::new("tables")).await?;
    let mut state = restored?;
    state.applied_seq = tables.values().map(|version| version.last_seq).max().unwrap_or_default();
    Ok(state)
}

/// Refuses when a table got a commit since it was loaded.
async fn check_unchanged(catalog: &Catalog, tables: &TableVersions, place: &Path) -> Result<()> {
    for (table, version) in tables {
        match catalog.load(*table).await {
            Ok(newest) if newest.version == version.version => {}
            Ok(_) => return Err(WalError::Vanished { file: place.to_owned() }.into()),
            // It was judged when it was loaded.
            Err(CatalogError::LogDamaged { .. } | CatalogError::Foreign { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

async fn read_state(
    disk: &Arc<dyn Disk>,
    layout: &Layout,
    catalog: &Catalog,
    lake_id: [u8; 16],
    reading: &mut Reading<'_>,
) -> Result<State> {
    // What the log no longer has at this moment is in the tables that are loaded after it.
    let log_start = wal::first_seq(&layout.wal(), lake_id, &**disk)?;
    let tables = load_readable_versions(catalog, log_start, reading).await?;
    let mut state =
        restore(catalog, &tables, wal::scan(layout.wal(), lake_id, Arc::clone(disk)), reading).await?;
    let mut windows = HashMap::new();
    let mut first_seq = None;
    for record in wal::scan(layout.wal(), lake_id, Arc::clone(disk)) {
        let (seq, record) = match record {
            Ok(record) => record,
            Err(error) if reading.is_tolerant() && !matches!(error, WalError::Vanished { .. }) => {
                let file = "wal";
                let error = Arc::new(error);
                for table in [Table::Runs, Table::Series, Table::Points] {
                    reading.note(table, file, 0, StoreError::Wal(Arc::clone(&error)))?;
                }
                break;
            }
            Err(error) => return Err(error.into()),
        };
        if first_seq.is_none() {
            // Files that were removed between the two looks may hold what the tables did not yet have.
            if log_start.is_some_and(|log_start| seq > log_start) {
                return Err(WalError::Vanished { file: layout.wal() }.into());
            }
            first_seq = Some(seq);
            if let Err(error) = reach::check_start(&tables, seq) {
                reading.note(Table::Points, "wal", 0, error)?;
            }
        }
        if let (Record::Flushed(held), Some(first_seq)) = (&record, first_seq)
            && let Err(error) = reach::check_flushed(&tables, first_seq, held)
        {
            let StoreError::CommitsLost { table: name, ref file, .. } = error else { return Err(error) };
            let file = format!("tables/{name}/{file}");
            if let Some(table) = Table::ALL.into_iter().find(|table| table.name() == name) {
                reading.note(table, file, 0, error)?;
            }
        }
        match replay(&mut state, &tables, &mut windows, seq, &record, 0) {
            // What a command needs may be in a file that could not be read.
            Err(error) if reading.is_tolerant() => {
                let table = match &record {
                    Record::Commands { commands, .. } => commands.first().map_or(Table::Runs, table_of),
                    _ => Table::Points,
                };
                reading.note(table, format!("record {seq} of the log"), 0, error)?;
            }
            other => other?,
        }
        state.applied_seq = seq;
    }
    Ok(state)
}

/// The newest version of every table. One whose newest commit is damaged is taken as it was before: the log has the
/// rest, when it reaches back that far.
async fn load_readable_versions(
    catalog: &Catalog,
    log_start: Option<u64>,
    reading: &mut Reading<'_>,
) -> Result<TableVersions> {
    let mut tables = TableVersions::new();
    for table in Table::ALL {
        let error = match catalog.load(table).await {
            Ok(version) => {
                tables.insert(table, version);
                continue;
            }
            Err(error @ (CatalogError::LogDamaged { .. } | CatalogError::Foreign { .. })) => error,
            Err(error) => return Err(error.into()),
        };
        let (prefix, _) = catalog.load_whole_commits(table).await?;
        let is_last = matches!(error, CatalogError::LogDamaged { last: true, .. });
        let reaches = log_start.is_some_and(|log_start| log_start <= prefix.last_seq.saturating_add(1));
        let file = match &error {
            CatalogError::LogDamaged { file, .. } => format!("tables/{}/{file}", table.name()),
            _ => format!("tables/{}", table.name()),
        };
        if is_last && reaches {
            tables.insert(table, Arc::new(prefix));
            continue;
        }
        reading.note(table, file, 0, error.into())?;
        // Points only grow, an older state of them is a part; an older state of anything else is wrong.
        let kept = if table == Table::Points { prefix } else { TableVersion::default() };
        tables.insert(table, Arc::new(kept));
    }
    Ok(tables)
}

pub(crate) async fn load_versions(catalog: &Catalog) -> Result<TableVersions> {
    let mut tables = TableVersions::new();
    for table in Table::ALL {
        tables.insert(table, catalog.load(table).await?);
    }
    Ok(tables)
}

/// The state that the tables hold, and from the log only the runs that other tables refer to already.
pub(crate) async fn restore(
    catalog: &Catalog,
    tables: &TableVersions,
    log: impl Iterator<Item = Result<(u64, Record), WalError>>,
    reading: &mut Reading<'_>,
) -> Result<State> {
    let mut state = State::default();
    let mut log = Some(log);
    let runs_seq = tables.get(&Table::Runs).map_or(0, |version| version.last_seq);
    for table in Table::ALL {
        if table == Table::Params
            && runs_are_behind(tables)
            && let Some(log) = log.take()
        {
            replay_missing_runs(&mut state, tables, log)?;
        }
        let Some(version) = tables.get(&table) else { continue };
        if table == Table::Points {
            state.points = Arc::clone(version);
            continue;
        }
        // The ordinals of runs and series are the chunk of their file and their position in it. A file has fewer rows
        // than its chunk has places when runs were deleted; what is left moves to the front of its chunk.
        let mut files: Vec<_> = version.files.iter().collect();
        files.sort_by_key(|file| chunk_of(file));
        for file in files {
            let path = object_store::path::Path::from(file.path.as_str());
            let shown = || format!("tables/{}/{}", table.name(), file.path);
            let read = rows::read_sealed(table, catalog.store(table), &path, file.bytes).await;
            let (batch, sealed) = match read {
                Ok(read) => read,
                // A network that fails is no damage to the lake.
                Err(error @ SegmentError::Store { .. }) if !catalog.is_local() => return Err(error.into()),
                Err(error) => {
                    reading.note(table, shown(), file.rows, error.into())?;
                    continue;
                }
            };
            let extra =
                Extra::of_file(&sealed).map_err(|error| sealed.corrupt("footer", error.to_string()))?;
            let chunk = chunk_of(file).unwrap_or_default();
            if table == Table::Series {
                state.series.restore_gap(chunk.saturating_mul(SERIES_PER_CHUNK));
            }
            let mut orphans = reading.is_tolerant().then_some(0);
            let table_seq = version.last_seq;
            let checkpoint = Checkpoint { table, chunk, rows: &batch, extra, table_seq, runs_seq };
            let left_out = decode_into(&checkpoint, &mut state.registry, &mut state.series, &mut orphans)
                .map_err(|source| StoreError::Row { table, file: file.path.clone(), source })?;
            if left_out > 0 {
                state.dirty.note_chunk(table, chunk);
            }
            if let Some(rows) = orphans.filter(|rows| *rows > 0) {
                let reason = "these rows belong to runs that the runs table does not hold".to_owned();
                let error = CatalogError::Change { table: table.name(), reason };
                reading.note(table, shown(), rows, error.into())?;
            }
        }
    }
    Ok(state)
}

/// Makes the runs that other tables refer to and that the runs table does not hold yet, because its newest commits were
/// damaged or lost and the log has them.
fn replay_missing_runs(
    state: &mut State,
    tables: &TableVersions,
    records: impl Iterator<Item = Result<(u64, Record), WalError>>,
) -> Result<()> {
    let held = |table| tables.get(&table).map_or(0, |version| version.last_seq);
    // What is wrong with the log shows when it is read as a whole.
    for (seq, record) in records.map_while(Result::ok).skip_while(|(seq, _)| *seq <= held(Table::Runs)) {
        if let Record::Commands { commands, .. } = &record {
            let new_runs = commands.iter().filter(|command| matches!(command, Command::CreateRun(_)));
            for command in new_runs.filter(|_| seq > held(Table::Runs)) {
                state.replay_command(command, seq, |table| table == Table::Runs)?;
            }
        }
    }
    Ok(())
}

/// Whether tables refer to runs that are newer than the runs table.
fn runs_are_behind(tables: &TableVersions) -> bool {
    let runs = tables.get(&Table::Runs).map_or(0, |version| version.last_seq);
    [Table::Params, Table::Tags, Table::Series]
        .iter()
        .any(|table| tables.get(table).is_some_and(|version| version.last_seq > runs))
}

/// Counts a batch of the log as seen.
pub(crate) fn note_writer(
    windows: &mut HashMap<String, WriterWindow>,
    writer: Option<&WriterSequence>,
    now: i64,
) {
    let Some(writer) = writer else { return };
    match windows.get_mut(writer.client_id()) {
        Some(window) => drop(window.observe(writer.client_seq(), now)),
        None => {
            let window = WriterWindow::new(writer.client_id(), writer.client_seq(), now);
            windows.insert(writer.client_id().to_owned(), window);
        }
    }
}

pub(crate) fn replay(
    state: &mut State,
    tables: &TableVersions,
    windows: &mut HashMap<String, WriterWindow>,
    seq: u64,
    record: &Record,
    now: i64,
) -> Result<()> {
    let is_new = |table: Table| tables.get(&table).is_none_or(|version| seq > version.last_seq);
    note_writer(windows, writer_of(record), now);
    match record {
        Record::Points { batch, .. } => {
            let (to_series, to_memtable) = (is_new(Table::Series), is_new(Table::Points));
            if to_series || to_memtable {
                state.replay_points(batch, seq, to_series, to_memtable);
            }
        }
        Record::Commands { commands, .. } => {
            for command in commands {
                state.replay_command(command, seq, is_new)?;
                if let Command::CreateRun(new) = command
                    && is_new(Table::Experiments)
                    && state.registry.experiment(&new.project, &new.experiment).is_none()
                {
                    // The first run of an experiment makes it; the run itself may be there already.
                    let (project, name) = (new.project.clone(), new.experiment.clone());
                    let update = ExperimentUpdate::named(project, name, new.time);
                    state.replay_command(&Command::UpdateExperiment(update), seq, is_new)?;
                }
            }
        }
        Record::Flushed(_) => {}
        Record::Writers(carried) => {
            for window in carried {
                windows.insert(window.client_id().to_owned(), window.clone());
            }
        }
    }
    Ok(())
}
