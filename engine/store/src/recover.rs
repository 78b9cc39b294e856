//! Opening a lake: tables first, then what the log holds beyond them, table by table.
//!
//! Recovery reads everything before it writes anything, and recovering twice gives the same state. Every table carries
//! the sequence number up to which it is complete (`txn`); a record of the log counts for a table when its number is
//! larger. A table that a flush did not touch has an older number than the others, and no record in between concerns it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use model::schema::Table;

use crate::catalog::{Catalog, TableVersion};
use crate::config::StoreConfig;
use crate::disk::{Disk, RealDisk, replace_file};
use crate::error::{Result, StoreError};
use crate::flush::{EPOCH, chunk_of};
use crate::lake_file::{FORMAT, LakeFile};
use crate::layout::Layout;
use crate::lock::WriterLock;
use crate::segment::points::ReaderCache;
use crate::segment::rows;
use crate::snapshot::Snapshot;
use crate::state::{RUNS_PER_CHUNK, SERIES_PER_CHUNK, State};
use crate::store::READER_CACHE_BYTES;
use crate::tables::{Checkpoint, Extra, decode_into};
use crate::wal::{self, Record, Wal, WalConfig, WalError, WriterWindow};
use crate::writer::writer_of;

/// The committed version of every table.
pub(crate) type TableVersions = BTreeMap<Table, Arc<TableVersion>>;

/// A lake that is open for writing, before its threads start.
pub(crate) struct Opened {
    pub(crate) lock: WriterLock,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) tables: TableVersions,
    pub(crate) state: State,
    pub(crate) wal: Wal,
    pub(crate) windows: HashMap<String, WriterWindow>,
}

/// How often a reader starts anew when a flush deletes log files under it.
const SNAPSHOT_TRIES: usize = 8;

pub(crate) async fn open_for_writing(config: &StoreConfig, layout: &Layout) -> Result<Opened> {
    let disk = &config.disk;
    make_folder(&**disk, layout.root())?;
    let lock = WriterLock::acquire(&**disk, &layout.lock_file(), &config.owner)?;
    let lake_file = match LakeFile::read(&**disk, &layout.lake_file())? {
        Some(lake_file) => lake_file,
        None => make_lake_file(&**disk, layout, (config.clock)())?,
    };
    let catalog = Arc::new(Catalog::open_on(layout.root(), Arc::clone(disk))?);
    for table in Table::ALL {
        for recovered in catalog.recover(table).await? {
            tracing::warn!(table = table.name(), quarantined = recovered.quarantined, "{}", recovered.reason);
        }
    }
    catalog.ensure_tables().await?;
    let tables = load_versions(&catalog).await?;
    let mut state = restore(&catalog, &tables).await?;
    let defaults = WalConfig::new(layout.wal(), lake_file.lake_id_bytes()?, EPOCH);
    let wal_config = WalConfig {
        file_bytes: config.wal_file_bytes,
        frame_bytes: defaults.frame_bytes.min(config.wal_file_bytes / 2),
        committed_seq: tables.values().map(|version| version.last_seq).max().unwrap_or_default(),
        ..defaults
    };
    let (wal, recovered) = Wal::open(wal_config, Arc::clone(disk))?;
    let now = (config.clock)();
    let mut windows = HashMap::new();
    for record in recovered {
        let (seq, record) = record?;
        replay(&mut state, &tables, &mut windows, seq, &record, now)?;
    }
    state.applied_seq = wal.durable_seq();
    Ok(Opened { lock, catalog, tables, state, wal, windows })
}

/// The lake at this moment, for readers that take no lock and may run beside a writer in another process.
///
/// # Errors
/// When there is no lake, it is newer or damaged, or a writer flushes faster than this reader reads.
pub async fn open_snapshot(root: &Path) -> Result<Snapshot> {
    open_snapshot_on(root, Arc::new(RealDisk)).await
}

/// [`open_snapshot`] over any disk.
///
/// # Errors
/// As [`open_snapshot`].
pub async fn open_snapshot_on(root: &Path, disk: Arc<dyn Disk>) -> Result<Snapshot> {
    let layout = Layout::new(root);
    let Some(lake_file) = LakeFile::read(&*disk, &layout.lake_file())? else {
        return Err(StoreError::NoLake { path: root.display().to_string() });
    };
    let lake_id = lake_file.lake_id_bytes()?;
    let catalog = Arc::new(Catalog::open_on(layout.root(), Arc::clone(&disk))?);
    let mut last = StoreError::Stopped;
    for _ in 0..SNAPSHOT_TRIES {
        match read_state(&disk, &layout, &catalog, lake_id).await {
            Ok(state) => {
                return Ok(Snapshot::new(state, catalog, Arc::new(ReaderCache::new(READER_CACHE_BYTES))));
            }
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
    for record in wal::scan(layout.wal(), lake_id, Arc::clone(disk)) {
        let (seq, record) = record?;
        replay(&mut state, &tables, &mut windows, seq, &record, 0)?;
        state.applied_seq = seq;
    }
    // The log lets go only of records that all tables hold. So nothing is missing between the two, unless a flush went
    // on meanwhile.
    for (table, version) in &tables {
        if catalog.load(*table).await?.version != version.version {
            return Err(WalError::Vanished { file: layout.wal() }.into());
        }
    }
    Ok(state)
}

async fn load_versions(catalog: &Catalog) -> Result<TableVersions> {
    let mut tables = TableVersions::new();
    for table in Table::ALL {
        tables.insert(table, catalog.load(table).await?);
    }
    Ok(tables)
}

/// The state that the tables hold.
async fn restore(catalog: &Catalog, tables: &TableVersions) -> Result<State> {
    let mut state = State::default();
    let runs_seq = tables.get(&Table::Runs).map_or(0, |version| version.last_seq);
    for table in Table::ALL {
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
            let (batch, sealed) = rows::read_sealed(table, catalog.store(table), &path, file.bytes).await?;
            let extra =
                Extra::of_file(&sealed).map_err(|error| sealed.corrupt("footer", error.to_string()))?;
            let chunk = chunk_of(file).unwrap_or_default();
            match table {
                Table::Runs => state.registry.restore_gap(chunk.saturating_mul(RUNS_PER_CHUNK)),
                Table::Series => state.series.restore_gap(chunk.saturating_mul(SERIES_PER_CHUNK)),
                _ => {}
            }
            let checkpoint = Checkpoint { table, rows: &batch, extra, table_seq: version.last_seq, runs_seq };
            let left_out = decode_into(&checkpoint, &mut state.registry, &mut state.series)
                .map_err(|source| StoreError::Row { table, file: file.path.clone(), source })?;
            if left_out > 0 {
                state.dirty.note_chunk(table, chunk);
            }
        }
    }
    Ok(state)
}

fn replay(
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
                state.replay_points(batch, seq, to_series, to_memtable);
            }
        }
        Record::Commands { commands, .. } => {
            for command in commands {
                state.replay_command(command, seq, is_new)?;
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

fn make_lake_file(disk: &dyn Disk, layout: &Layout, now: i64) -> Result<LakeFile> {
    let lake_file = LakeFile {
        format: FORMAT,
        lake_id: uuid::Uuid::now_v7().simple().to_string(),
        created_by: env!("CARGO_PKG_VERSION").to_owned(),
        created: now,
    };
    let path = layout.lake_file();
    replace_file(disk, &path, &lake_file.to_bytes()).map_err(io_error("write", &path))?;
    Ok(lake_file)
}

/// Makes a folder with its parents, each name durable.
fn make_folder(disk: &dyn Disk, path: &Path) -> Result<()> {
    disk.create_directories(path).map_err(io_error("create folder", path))
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let path = path.display().to_string();
    move |source| StoreError::Io { action, path, source }
}
