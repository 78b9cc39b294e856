//! Opening a lake, for writing or for reading, in a folder or on an object store.
//!
//! In a folder a file lock keeps other writers out. On an object store there is also the lease, and the order is fixed:
//! the state folder is locked and its claim made durable, the lease is taken, the epoch is committed to every table,
//! and only then the log is replayed. A log that missed a take-over is never replayed: its numbers have been given to
//! other records since.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use model::schema::Table;

use crate::carried_windows;
use crate::catalog::{Catalog, CatalogError, Change, CommitIdentity};
use crate::config::{StaleLog, StoreConfig};
use crate::damage::Reading;
use crate::disk::{Disk, RealDisk, sync_names};
use crate::error::{Result, StoreError};
use crate::lake_file::{LakeFile, LakeFileError};
use crate::layout::Layout;
use crate::lease::{self, Claimant, Found, Lease, LeaseError, LeaseFile, LeaseObject, LeaseTimes};
use crate::location::Location;
use crate::lock::WriterLock;
use crate::ownership::{Ownership, named};
use crate::reach;
use crate::recover::{self, TableVersions, load_versions, note_writer, replay, restore};
use crate::segment::points::ReaderCache;
use crate::snapshot::Snapshot;
use crate::stale_log::StaleRecords;
use crate::state::State;
use crate::state_folder::StateFile;
use crate::store::READER_CACHE_BYTES;
use crate::store_check;
use crate::verify::{Progress, ProgressSink};
use crate::wal::{self, Record, Replayed, Wal, WalConfig, WriterWindow};

/// The epoch of the first writer of a lake in a folder. Its file lock keeps others out, so it stays.
const FIRST_EPOCH: u64 = 1;
/// How often the epoch is committed to a table into which somebody else still commits.
const FENCE_TRIES: usize = 8;
/// Claims of a state folder whose fate is not known, at most.
const CLAIMS: usize = 100;

/// A lake that is open for writing, before its threads start.
pub(crate) struct Opened {
    pub(crate) ownership: Ownership,
    pub(crate) epoch: u64,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) tables: TableVersions,
    pub(crate) state: State,
    pub(crate) wal: Wal,
    pub(crate) windows: HashMap<String, WriterWindow>,
    /// Records of logs that missed a take-over, to be written into the lake.
    pub(crate) adopt: Vec<StaleRecords>,
}

pub(crate) async fn open_for_writing(config: &StoreConfig) -> Result<Opened> {
    let disk = Arc::clone(&config.disk);
    let layout = config.location.layout()?;
    let failed = |action| {
        let path = layout.root().display().to_string();
        move |source| StoreError::Io { action, path, source }
    };
    disk.create_directories(layout.root()).map_err(failed("create folder"))?;
    let lock = WriterLock::acquire(&*disk, &layout.lock_file(), &config.owner)?;
    sync_names(&*disk, layout.root()).map_err(failed("sync the folders of"))?;
    let catalog = Arc::new(Catalog::at(&config.location, Arc::clone(&disk))?);
    let now = (config.clock)();
    let place = (catalog.object_store().as_ref(), catalog.root_path());
    let found = load_lake_file(&config.location, &disk, &catalog).await?;
    let Some(url) = config.location.url() else {
        let lake_file = match found {
            Some(lake_file) => lake_file,
            None => LakeFile::new(now).create(place.0, place.1).await?,
        };
        let log_start = wal::first_seq(&layout.wal(), lake_file.lake_id_bytes()?, &*disk)?;
        recover_tables(&catalog, log_start).await?;
        let tables = load_versions(&catalog).await?;
        let epoch = highest_epoch(&tables).max(FIRST_EPOCH);
        let ownership = Ownership { lock, lease: None };
        return replay_log(config, disk, &layout, &lake_file, epoch, ownership, catalog, tables).await;
    };

    let mut checked = false;
    let lake_file = match found {
        Some(lake_file) => lake_file,
        None => {
            ask(&catalog).await?;
            store_check::check(place.0, place.1).await?;
            checked = true;
            LakeFile::new(now).create(place.0, place.1).await?
        }
    };
    let mut remote = Remote {
        config,
        disk: Arc::clone(&disk),
        layout: layout.clone(),
        catalog: Arc::clone(&catalog),
        state: StateFile::read(&*disk, layout.root())?
            .unwrap_or_else(|| StateFile::new(&lake_file.lake_id, url.as_str())),
        lake_id: lake_file.lake_id_bytes()?,
    };
    remote.state.check(layout.root(), &lake_file.lake_id, url.as_str())?;
    if !remote.state.store_checked {
        if !checked {
            store_check::check(place.0, place.1).await?;
        }
        remote.state.store_checked = true;
        remote.write_state()?;
    }
    let taken = remote.take_over(&lake_file).await?;
    let ownership = Ownership { lock, lease: Some(taken.lease) };
    let (epoch, tables) = match remote.fence(&ownership, taken.continues).await {
        Ok(fenced) => fenced,
        Err(error) => {
            ownership.release().await;
            return Err(error);
        }
    };
    let adopt = StaleRecords::noted(&disk, &layout, remote.lake_id)?;
    let opened = replay_log(config, disk, &layout, &lake_file, epoch, ownership, catalog, tables).await?;
    Ok(Opened { adopt, ..opened })
}

/// A lake on an object store on its way to being opened.
struct Remote<'a> {
    config: &'a StoreConfig,
    disk: Arc<dyn Disk>,
    layout: Layout,
    catalog: Arc<Catalog>,
    state: StateFile,
    lake_id: [u8; 16],
}

struct Taken {
    lease: Lease,
    /// Whether the writer before wrote from this state folder, so that its log goes on.
    continues: bool,
}

impl Remote<'_> {
    fn write_state(&self) -> Result<()> {
        Ok(self.state.write(&*self.disk, self.layout.root())?)
    }

    async fn take_over(&mut self, lake_file: &LakeFile) -> Result<Taken> {
        let folder = self.layout.root();
        let claimant = Claimant {
            lake_id: lake_file.lake_id.clone(),
            owner: named(&self.config.owner),
            machine: lease::machine_name(),
            folder: std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()).display().to_string(),
        };
        let object = lease_object(&self.catalog, lake_file, self.config.lease);
        let is_here = |file: &LeaseFile| {
            self.state.claims.contains(&file.claim)
                && file.machine == claimant.machine
                && file.folder == claimant.folder
        };
        let before = object.wait_for_turn(is_here).await?;
        let continues = match &before {
            Some(found) => self.state.claims.contains(&found.file.claim),
            None => highest_epoch(&load_existing(&self.catalog).await?) <= self.state.epoch,
        };
        if !continues {
            self.stale_log(before.as_ref()).await?;
        }

        let claim = uuid::Uuid::new_v4().simple().to_string();
        self.state.claims.push(claim.clone());
        if self.state.claims.len() > CLAIMS {
            // The first one is the last that is sure; of the others an old one can hardly still stand in the lease.
            self.state.claims.remove(1);
        }
        self.write_state()?;
        let file = LeaseFile::next(
            before.as_ref().map(|found| &found.file),
            &claimant,
            &claim,
            self.state.epoch + 1,
            continues,
            self.config.lease,
        );
        let lease = match object.take(before, file).await {
            Ok(lease) => lease,
            Err(error) => {
                if matches!(error, LeaseError::Held { .. }) {
                    self.state.claims.retain(|known| *known != claim);
                    self.write_state()?;
                }
                return Err(error.into());
            }
        };
        self.state.claims = vec![claim];
        self.state.epoch = lease.holder().epoch().await;
        self.write_state()?;
        Ok(Taken { lease, continues })
    }

    /// What becomes of the log of this machine when somebody else has written to the lake since.
    async fn stale_log(&self, before: Option<&Found>) -> Result<()> {
        let takeover = before.and_then(|found| found.file.takeover_after(self.state.epoch));
        let held: Option<BTreeMap<String, u64>> = match takeover {
            Some(takeover) => match &takeover.tables {
                Some(tables) => Some(tables.clone()),
                // That writer never came to write: the tables are as they were.
                None => Some(numbers(&load_existing(&self.catalog).await?)),
            },
            None => None,
        };
        let story = match takeover {
            Some(takeover) => {
                format!("{} took the lake over with epoch {}", takeover.owner, takeover.epoch)
            }
            None => "another writer took the lake over (when it did is not known any more, so the log may also hold what the lake has, and cannot be adopted)".to_owned(),
        };
        let records =
            StaleRecords::find(&self.disk, self.layout.wal(), self.lake_id, self.state.epoch, held.as_ref())?;
        let adopt = match (self.config.stale_log, held) {
            _ if records.is_empty() => None,
            (StaleLog::SetAside, _) => None,
            (StaleLog::Adopt, Some(held)) => Some(held),
            (StaleLog::Refuse | StaleLog::Adopt, _) => return Err(records.refused(story).into()),
        };
        records.set_aside(&*self.disk, &self.layout, adopt)
    }

    /// Commits the epoch to every table, so that nothing of a writer before can be committed any more, and notes what
    /// the tables then hold.
    async fn fence(&mut self, ownership: &Ownership, continues: bool) -> Result<(u64, TableVersions)> {
        let Some(holder) = ownership.lease.as_ref().map(Lease::holder) else {
            return Err(StoreError::Stopped);
        };
        // After another writer, what a damaged last commit held is not in the log of this machine: it must not be set
        // aside here.
        let log_start = match continues {
            true => wal::first_seq(&self.layout.wal(), self.lake_id, &*self.disk)?,
            false => None,
        };
        recover_tables(&self.catalog, log_start).await?;
        let mut tables = load_versions(&self.catalog).await?;
        let mut epoch = holder.epoch().await;
        if highest_epoch(&tables) >= epoch {
            // The lease was removed at some time; the tables remember.
            epoch = highest_epoch(&tables) + 1;
            holder.raise_epoch(epoch).await?;
            self.state.epoch = epoch;
            self.write_state()?;
        }
        for table in Table::ALL {
            let fenced = self.fence_table(table, epoch, &tables).await?;
            tables.insert(table, fenced);
        }
        holder.note_tables(&numbers(&tables)).await?;
        Ok((epoch, tables))
    }

    async fn fence_table(
        &self,
        table: Table,
        epoch: u64,
        tables: &TableVersions,
    ) -> Result<Arc<crate::catalog::TableVersion>> {
        let mut base = tables.get(&table).cloned().unwrap_or_default();
        for _ in 0..FENCE_TRIES {
            let change = Change {
                add: Vec::new(),
                remove: Vec::new(),
                last_seq: base.last_seq,
                data_change: false,
                info: CommitIdentity {
                    commit_id: uuid::Uuid::new_v4(),
                    epoch,
                    first_seq: base.last_seq + 1,
                    time: (self.config.clock)() / 1000,
                },
            };
            match self.catalog.commit(table, &base, change).await {
                Ok(version) => return Ok(version),
                // What the writer before had still sent came in first.
                Err(CatalogError::Conflict { .. }) => base = self.catalog.load(table).await?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(CatalogError::Change {
            table: table.name(),
            reason: "another writer keeps committing to it".to_owned(),
        }
        .into())
    }
}

fn lease_object(catalog: &Catalog, lake_file: &LakeFile, times: LeaseTimes) -> LeaseObject {
    LeaseObject {
        store: Arc::clone(catalog.object_store()),
        path: catalog.root_path().clone().join(lease::NAME),
        lake_id: lake_file.lake_id.clone(),
        times,
    }
}

/// Asks the store anything, so that a wrong bucket is told from a lake that is not there.
async fn ask(catalog: &Catalog) -> Result<()> {
    let listed = catalog.object_store().list_with_delimiter(Some(catalog.root_path())).await;
    match listed {
        Ok(_) => Ok(()),
        Err(error) => Err(LakeFileError::store("list", catalog.root().as_str(), error).into()),
    }
}

/// Makes every table usable; `log_start` is where the log begins that has what a damaged last commit held.
async fn recover_tables(catalog: &Catalog, log_start: Option<u64>) -> Result<()> {
    for table in Table::ALL {
        reach::check_newest_commit(catalog, table, log_start).await?;
        for recovered in catalog.recover(table).await? {
            tracing::warn!(table = table.name(), quarantined = recovered.quarantined, "{}", recovered.reason);
        }
    }
    Ok(catalog.ensure_tables().await?)
}

/// The tables as they are, of a lake that may have none.
async fn load_existing(catalog: &Catalog) -> Result<TableVersions> {
    let mut tables = TableVersions::new();
    for table in Table::ALL {
        match catalog.load(table).await {
            Ok(version) => drop(tables.insert(table, version)),
            Err(CatalogError::NoTable { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(tables)
}

fn highest_epoch(tables: &TableVersions) -> u64 {
    tables.values().map(|version| version.epoch).max().unwrap_or_default()
}

/// The last WAL number in each table.
fn numbers(tables: &TableVersions) -> BTreeMap<String, u64> {
    tables.iter().map(|(table, version)| (table.name().to_owned(), version.last_seq)).collect()
}

#[expect(clippy::too_many_arguments, reason = "the parts of an open lake come together here")]
async fn replay_log(
    config: &StoreConfig,
    disk: Arc<dyn Disk>,
    layout: &Layout,
    lake_file: &LakeFile,
    epoch: u64,
    ownership: Ownership,
    catalog: Arc<Catalog>,
    tables: TableVersions,
) -> Result<Opened> {
    let lake_id = lake_file.lake_id_bytes()?;
    let log_start = wal::first_seq(&layout.wal(), lake_id, &*disk)?;
    let log = wal::scan(layout.wal(), lake_id, Arc::clone(&disk));
    let mut state = restore(&catalog, &tables, log, &mut Reading::Strict).await?;
    let defaults = WalConfig::new(layout.wal(), lake_id, epoch);
    let wal_config = WalConfig {
        file_bytes: config.wal_file_bytes,
        frame_bytes: defaults.frame_bytes.min(config.wal_file_bytes / 2),
        committed_seq: tables.values().map(|version| version.last_seq).max().unwrap_or_default(),
        ..defaults
    };
    if let Some(log_start) = log_start {
        reach::check_start(&tables, log_start)?;
    }
    let mut told = Told::new(config.progress.clone(), wal::bytes(&*disk, &layout.wal())?);
    let (mut wal, recovered) =
        Wal::open_telling(wal_config, disk, &mut |done, files| told.checked(done, files))?;
    let mut flushed = BTreeSet::new();
    for (table, version) in &tables {
        flushed.append(&mut catalog.recent_seqs(*table, version, 3).await?);
    }
    wal.note_flushed(&flushed);
    let first_seq = recovered.first_seq();
    let now = (config.clock)();
    let mut windows: HashMap<String, WriterWindow> = HashMap::new();
    if ownership.lease.is_some() {
        // The log may be that of another machine, or of nobody.
        let points_seq = tables.get(&Table::Points).map_or(0, |version| version.last_seq);
        let carried = carried_windows::load(&catalog, points_seq).await?;
        windows.extend(carried.into_iter().map(|window| (window.client_id().to_owned(), window)));
    }
    told.replays(first_seq, recovered.last_seq());
    let held = |table| tables.get(&table).map_or(0, |version| version.last_seq);
    for record in recovered.replay(held(Table::Points).min(held(Table::Series)))? {
        let (seq, record) = record?;
        told.at(seq);
        match record {
            Replayed::Whole(record) => {
                if let Record::Flushed(held) = &record {
                    reach::check_flushed(&tables, first_seq, held)?;
                }
                replay(&mut state, &tables, &mut windows, seq, &record, now)?;
            }
            Replayed::Held(writer) => note_writer(&mut windows, writer.as_ref(), now),
        }
    }
    state.applied_seq = wal.durable_seq();
    Ok(Opened { ownership, epoch, catalog, tables, state, wal, windows, adopt: Vec::new() })
}

/// Tells how far the reading of the log is, at most a hundred times. All of it is read twice: checked, then replayed.
struct Told {
    sink: Option<ProgressSink>,
    bytes: u64,
    percent: u64,
    first_seq: u64,
    records: u64,
}

impl Told {
    fn new(sink: Option<ProgressSink>, log_bytes: u64) -> Self {
        Self { sink, bytes: log_bytes, percent: 0, first_seq: 0, records: 1 }
    }

    fn checked(&mut self, files_done: usize, files: usize) {
        let half = (files_done as u64).saturating_mul(50) / (files as u64).max(1);
        self.tell(half, || format!("checking file {} of {files} of the log", files_done + 1));
    }

    fn replays(&mut self, first_seq: u64, last_seq: u64) {
        self.first_seq = first_seq;
        self.records = last_seq.saturating_add(1).saturating_sub(first_seq).max(1);
    }

    fn at(&mut self, seq: u64) {
        let done = seq.saturating_sub(self.first_seq) + 1;
        self.tell(50 + done.saturating_mul(50) / self.records, || format!("record {seq} of the log"));
    }

    fn tell(&mut self, percent: u64, place: impl FnOnce() -> String) {
        let Some(sink) = &self.sink else { return };
        if percent > self.percent {
            self.percent = percent;
            let bytes_done = (self.bytes / 100).saturating_mul(percent);
            sink(Progress { bytes_done, bytes_total: self.bytes, place: place() });
        }
    }
}

/// The lake at this moment, for readers that take no lock and may run beside a writer in another process.
///
/// Of a lake on an object store this is what is committed; where its writer works on this machine with the same state
/// folder, also what is only in its log.
///
/// # Errors
/// When there is no lake, it is newer or damaged, or a writer flushes faster than this reader reads.
pub async fn open_snapshot(location: impl Into<Location>) -> Result<Snapshot> {
    open_snapshot_on(location, Arc::new(RealDisk)).await
}

/// [`open_snapshot`] over any disk.
///
/// # Errors
/// As [`open_snapshot`].
pub async fn open_snapshot_on(location: impl Into<Location>, disk: Arc<dyn Disk>) -> Result<Snapshot> {
    snapshot(location.into(), disk, false).await
}

/// The lake as [`open_snapshot_on`] gives it, also when it is damaged: what cannot be read is left out and told by
/// [`Snapshot::damage`], the rest is there.
///
/// # Errors
/// As [`open_snapshot`], except for damage that is confined to tables.
pub async fn open_snapshot_tolerant(location: impl Into<Location>, disk: Arc<dyn Disk>) -> Result<Snapshot> {
    snapshot(location.into(), disk, true).await
}

fn snapshot(location: Location, disk: Arc<dyn Disk>, tolerant: bool) -> BoxFuture<'static, Result<Snapshot>> {
    async move {
        let (catalog, lake_file) = find_lake(&location, &disk).await?;
        let log = log_of(&location, &disk, &catalog, &lake_file).await?;
        let lake_id = lake_file.lake_id_bytes()?;
        let (state, damage) =
            recover::read_snapshot(&disk, log.as_ref(), &catalog, lake_id, tolerant).await?;
        let readers = Arc::new(ReaderCache::new(READER_CACHE_BYTES));
        Ok(Snapshot::new(state, catalog, readers).with_damage(damage))
    }
    .boxed()
}

/// The lake file of a lake that must be there.
///
/// # Errors
/// When there is no lake, it is newer or damaged, or its store does not answer.
pub fn find<'a>(location: &'a Location) -> BoxFuture<'a, Result<LakeFile>> {
    async move {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        Ok(find_lake(location, &disk).await?.1)
    }
    .boxed()
}

/// The lake file at a location; `None` when there is none.
pub(crate) async fn load_lake_file(
    location: &Location,
    disk: &Arc<dyn Disk>,
    catalog: &Catalog,
) -> Result<Option<LakeFile>, LakeFileError> {
    match location.folder() {
        Some(folder) => LakeFile::read(&**disk, &Layout::new(folder).lake_file()),
        None => LakeFile::load(catalog.object_store().as_ref(), catalog.root_path()).await,
    }
}

/// The catalog and the lake file of a lake that must be there.
pub(crate) async fn find_lake(location: &Location, disk: &Arc<dyn Disk>) -> Result<(Arc<Catalog>, LakeFile)> {
    let catalog = Arc::new(Catalog::at(location, Arc::clone(disk))?);
    match load_lake_file(location, disk, &catalog).await? {
        Some(lake_file) => Ok((catalog, lake_file)),
        None => {
            if location.url().is_some() {
                ask(&catalog).await?;
            }
            Err(StoreError::NoLake { path: location.to_string() })
        }
    }
}

/// The files of the log that goes with the tables, when it is on this machine.
pub(crate) async fn log_of(
    location: &Location,
    disk: &Arc<dyn Disk>,
    catalog: &Catalog,
    lake_file: &LakeFile,
) -> Result<Option<Layout>> {
    let layout = match (location.url(), location.layout()) {
        (None, layout) => return Ok(Some(layout?)),
        (Some(_), Ok(layout)) => layout,
        // A reader needs no state folder.
        (Some(_), Err(_)) => return Ok(None),
    };
    let url = location.to_string();
    let Some(state) = StateFile::read(&**disk, layout.root())? else { return Ok(None) };
    state.check(layout.root(), &lake_file.lake_id, &url)?;
    let object = lease_object(catalog, lake_file, LeaseTimes::default());
    let is_current = match object.read().await? {
        Some(found) => state.claims.contains(&found.file.claim),
        None => true,
    };
    if !is_current {
        tracing::warn!(
            folder = %layout.root().display(),
            "another machine has written to the lake since: what only the log in this folder holds is not shown"
        );
    }
    Ok(is_current.then_some(layout))
}
