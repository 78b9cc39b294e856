//! Opening a lake: tables first, then what the log holds beyond them, table by table.
//!
//! Recovery reads everything before it writes anything, and recovering twice gives the same state. Every table carries
//! the sequence number up to which it is complete (`txn`); a record of the log counts for a table when its number is
//! larger. A table that a flush did not touch has an older number than the others, and no record in between concerns it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use model::schema::Table;
use model::{Command, ExperimentUpdate};

use crate::catalog::{Catalog, CatalogError, TableVersion};
use crate::config::StoreConfig;
use crate::damage::Reading;
use crate::disk::{Disk, RealDisk, replace_file, sync_names};
use crate::error::{Result, StoreError};
use crate::flush::{EPOCH, chunk_of};
use crate::lake_file::{FORMAT, LakeFile};
use crate::layout::Layout;
use crate::lock::WriterLock;
use crate::reach;
use crate::segment::points::ReaderCache;
use crate::segment::rows;
use crate::snapshot::Snapshot;
use crate::state::{RUNS_PER_CHUNK, SERIES_PER_CHUNK, State, table_of};
use crate::store::READER_CACHE_BYTES;
use crate::tables::{Checkpoint, Extra, decode_into};
use crate::verify::{Progress, ProgressSink};
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
    sync_names(&**disk, layout.root()).map_err(io_error("sync the folders of", layout.root()))?;
    let lake_file = match LakeFile::read(&**disk, &layout.lake_file())? {
        Some(lake_file) => lake_file,
        None => make_lake_file(&**disk, layout, (config.clock)())?,
    };
    let catalog = Arc::new(Catalog::open_on(layout.root(), Arc::clone(disk))?);
    let lake_id = lake_file.lake_id_bytes()?;
    let log_start = wal::first_seq(&layout.wal(), lake_id, &**disk)?;
    for table in Table::ALL {
        reach::check_newest_commit(&catalog, table, log_start).await?;
        for recovered in catalog.recover(table).await? {
            tracing::warn!(table = table.name(), quarantined = recovered.quarantined, "{}", recovered.reason);
        }
    }
    catalog.ensure_tables().await?;
    let tables = load_versions(&catalog).await?;
    let log = wal::scan(layout.wal(), lake_id, Arc::clone(disk));
    let mut state = restore(&catalog, &tables, log, &mut Reading::Strict).await?;
    let defaults = WalConfig::new(layout.wal(), lake_id, EPOCH);
    let wal_config = WalConfig {
        file_bytes: config.wal_file_bytes,
        frame_bytes: defaults.frame_bytes.min(config.wal_file_bytes / 2),
        committed_seq: tables.values().map(|version| version.last_seq).max().unwrap_or_default(),
        ..defaults
    };
    if let Some(log_start) = log_start {
        reach::check_start(&tables, log_start)?;
    }
    let (mut wal, recovered) = Wal::open(wal_config, Arc::clone(disk))?;
    let mut flushed = BTreeSet::new();
    for (table, version) in &tables {
        flushed.append(&mut catalog.recent_seqs(*table, version, 3).await?);
    }
    wal.note_flushed(&flushed);
    let first_seq = recovered.first_seq();
    let now = (config.clock)();
    let mut windows = HashMap::new();
    let mut told = Told::new(config.progress.clone(), first_seq, recovered.last_seq(), wal.total_bytes());
    for record in recovered {
        let (seq, record) = record?;
        told.at(seq);
        if let Record::Flushed(held) = &record {
            reach::check_flushed(&tables, first_seq, held)?;
        }
        replay(&mut state, &tables, &mut windows, seq, &record, now)?;
    }
    state.applied_seq = wal.durable_seq();
    Ok(Opened { lock, catalog, tables, state, wal, windows })
}

/// Tells how far the replay of the log is, at most a hundred times.
struct Told {
    sink: Option<ProgressSink>,
    first_seq: u64,
    records: u64,
    bytes: u64,
    percent: u64,
}

impl Told {
    fn new(sink: Option<ProgressSink>, first_seq: u64, last_seq: u64, bytes: u64) -> Self {
        let records = last_seq.saturating_add(1).saturating_sub(first_seq).max(1);
        Self { sink, first_seq, records, bytes, percent: 0 }
    }

    fn at(&mut self, seq: u64) {
        let Some(sink) = &self.sink else { return };
        let percent = (seq.saturating_sub(self.first_seq) + 1).saturating_mul(100) / self.records;
        if percent > self.percent {
            self.percent = percent;
            let bytes_done = self.bytes / 100 * percent;
            sink(Progress { bytes_done, bytes_total: self.bytes, place: format!("log record {seq}") });
        }
    }
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
    snapshot(root, disk, false).await
}

/// The lake as [`open_snapshot_on`] gives it, also when it is damaged: what cannot be read is left out and told by
/// [`Snapshot::damage`], the rest is there.
///
/// # Errors
/// As [`open_snapshot`], except for damage that is confined to tables.
pub async fn open_snapshot_tolerant(root: &Path, disk: Arc<dyn Disk>) -> Result<Snapshot> {
    snapshot(root, disk, true).await
}

async fn snapshot(root: &Path, disk: Arc<dyn Disk>, tolerant: bool) -> Result<Snapshot> {
    let layout = Layout::new(root);
    let Some(lake_file) = LakeFile::read(&*disk, &layout.lake_file())? else {
        return Err(StoreError::NoLake { path: root.display().to_string() });
    };
    let lake_id = lake_file.lake_id_bytes()?;
    let catalog = Arc::new(Catalog::open_on(layout.root(), Arc::clone(&disk))?);
    let mut last = StoreError::Stopped;
    for _ in 0..SNAPSHOT_TRIES {
        let mut damage = Vec::new();
        let mut reading = if tolerant { Reading::Tolerant(&mut damage) } else { Reading::Strict };
        match read_state(&disk, &layout, &catalog, lake_id, &mut reading).await {
            Ok(state) => {
                let readers = Arc::new(ReaderCache::new(READER_CACHE_BYTES));
                return Ok(Snapshot::new(state, catalog, readers).with_damage(damage));
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

async fn load_versions(catalog: &Catalog) -> Result<TableVersions> {
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
    log: wal::Scan,
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
                Err(error) => {
                    reading.note(table, shown(), file.rows, error.into())?;
                    continue;
                }
            };
            let extra =
                Extra::of_file(&sealed).map_err(|error| sealed.corrupt("footer", error.to_string()))?;
            let chunk = chunk_of(file).unwrap_or_default();
            match table {
                Table::Runs => state.registry.restore_gap(chunk.saturating_mul(RUNS_PER_CHUNK)),
                Table::Series => state.series.restore_gap(chunk.saturating_mul(SERIES_PER_CHUNK)),
                _ => {}
            }
            let mut orphans = reading.is_tolerant().then_some(0);
            let checkpoint = Checkpoint { table, rows: &batch, extra, table_seq: version.last_seq, runs_seq };
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
                if let Command::CreateRun(new) = command
                    && !is_new(Table::Runs)
                    && is_new(Table::Experiments)
                    && state.registry.experiment(&new.project, &new.experiment).is_none()
                {
                    // The first run of an experiment makes it.
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
