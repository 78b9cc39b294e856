//! Recovery: tables first, then what the log holds beyond them, table by table.
//!
//! Recovery reads everything before it writes anything, and recovering twice gives the same state. Every table carries
//! the sequence number up to which it is complete (`txn`); a record of the log counts for a table when its number is
//! larger. A table that a flush did not touch has an older number than the others, and no record in between concerns it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::schema::Table;

use crate::catalog::{Catalog, TableVersion};
use crate::disk::Disk;
use crate::error::{Result, StoreError};
use crate::flush::chunk_of;
use crate::layout::Layout;
use crate::segment::rows;
use crate::state::{State, table_of};
use crate::tables::decode_into;
use crate::wal::{self, Record, WalError, WriterWindow};
use crate::writer::writer_of;

/// The committed version of every table.
pub(crate) type TableVersions = BTreeMap<Table, Arc<TableVersion>>;

/// How often a reader starts anew when a flush deletes log files under it.
const SNAPSHOT_TRIES: usize = 8;

/// The state that tables and log hold together, for a reader; without a log, that of the tables.
///
/// # Errors
/// When a file is damaged, or a writer flushes faster than this reader reads.
pub(crate) async fn read_snapshot(
    disk: &Arc<dyn Disk>,
    log: Option<&Layout>,
    catalog: &Catalog,
    lake_id: [u8; 16],
) -> Result<State> {
    let Some(layout) = log else {
        let tables = load_versions(catalog).await?;
        let mut state = restore(catalog, &tables).await?;
        state.applied_seq = tables.values().map(|version| version.last_seq).max().unwrap_or_default();
        return Ok(state);
    };
    let mut last = StoreError::Stopped;
    for _ in 0..SNAPSHOT_TRIES {
        match read_state(disk, layout, catalog, lake_id).await {
            Ok(state) => return Ok(state),
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

async fn read_state(
    disk: &Arc<dyn Disk>,
    layout: &Layout,
    catalog: &Catalog,
    lake_id: [u8; 16],
) -> Result<State> {
    let tables = load_versions(catalog).await?;
    let mut state = restore(catalog, &tables).await?;
    let mut windows = HashMap::new();
    let committed = tables.get(&Table::Points).map_or(0, |version| version.last_seq);
    let mut expected = None;
    for record in wal::scan(layout.wal(), lake_id, Arc::clone(disk)) {
        let (seq, record) = record?;
        // The log must reach back to what the tables hold, else a flush went on between the two reads.
        if expected.is_none() && seq > committed + 1 {
            return Err(WalError::Vanished { file: layout.wal() }.into());
        }
        expected = Some(());
        replay(&mut state, &tables, &mut windows, seq, &record, 0)?;
        state.applied_seq = seq;
    }
    Ok(state)
}

pub(crate) async fn load_versions(catalog: &Catalog) -> Result<TableVersions> {
    let mut tables = TableVersions::new();
    for table in Table::ALL {
        tables.insert(table, catalog.load(table).await?);
    }
    Ok(tables)
}

/// The state that the tables hold.
pub(crate) async fn restore(catalog: &Catalog, tables: &TableVersions) -> Result<State> {
    let mut state = State::default();
    for table in Table::ALL {
        let Some(version) = tables.get(&table) else { continue };
        if table == Table::Points {
            state.points = Arc::clone(version);
            continue;
        }
        // The ordinals of runs and series are their positions in the files in order of chunks.
        let mut files: Vec<_> = version.files.iter().collect();
        files.sort_by_key(|file| chunk_of(file));
        for file in files {
            let path = object_store::path::Path::from(file.path.as_str());
            let batch = rows::read_all(table, catalog.store(table), &path, file.bytes).await?;
            decode_into(table, &batch, &mut state.registry, &mut state.series)
                .map_err(|source| StoreError::Row { table, file: file.path.clone(), source })?;
        }
    }
    Ok(state)
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
    if let Some(writer) = writer_of(record) {
        let seq = writer.client_seq();
        windows
            .entry(writer.client_id().to_owned())
            .and_modify(|window| {
                window.observe(seq, now);
            })
            .or_insert_with(|| WriterWindow::new(writer.client_id(), seq, now));
    }
    match record {
        Record::Points { batch, .. } => {
            let (to_series, to_memtable) = (is_new(Table::Series), is_new(Table::Points));
            if to_series || to_memtable {
                state.replay_points(batch, to_series, to_memtable);
            }
        }
        Record::Commands { commands, .. } => {
            for command in commands.iter().filter(|command| is_new(table_of(command))) {
                state.replay_command(command)?;
            }
        }
        Record::Writers(carried) => {
            for window in carried {
                windows.insert(window.client_id().to_owned(), window.clone());
            }
        }
    }
    Ok(())
}
