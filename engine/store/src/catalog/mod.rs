//! The catalog: which segments each table has, kept in ordinary Delta logs.
//!
//! Every table is a Delta table at `tables/<name>/` under the root of the lake. One flush of a table is one commit,
//! and that commit carries the last WAL number that the table holds. `docs/formats/catalog.md` tells what each crash
//! leaves behind.

mod care;
mod checkpoint;
mod data_file;
pub mod durable;
mod error;
mod generations;
mod log;
#[cfg(test)]
mod tests;
mod upload;
mod verify;

use std::collections::HashMap;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use deltalake_core::DeltaTable;
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake_core::kernel::{Action, StructType, Transaction};
use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore};
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use model::schema::Table;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;

use crate::disk::Disk;
use crate::location::{Location, LocationError};
use crate::segment::EncodedSegment;
use durable::DurableStore;

pub(crate) use data_file::ARRIVAL_TAG;
pub use data_file::DataFile;
pub use error::CatalogError;
pub(crate) use log::canonical_crc32c;
pub use log::{APP_ID, CommitStamp};
pub(crate) use verify::AddedFile;
pub use verify::{Finding, FindingKind, commit_file};

/// Result of this module.
pub type Result<T, E = CatalogError> = std::result::Result<T, E>;

/// How often a commit is tried when the store fails without a word about the outcome.
const COMMIT_ATTEMPTS: u32 = 3;
/// The pause before the second try; it doubles after each.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// One version of a table: its files and how far the WAL is in them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableVersion {
    /// The version in the Delta log, `None` when the table does not exist.
    pub version: Option<i64>,
    /// The last WAL number whose rows are in the table; 0 when there is none.
    pub last_seq: u64,
    /// The highest epoch of a writer that committed.
    pub epoch: u64,
    /// The data files, those with the oldest rows first: points of one series that are equal in step, fraction and
    /// time stand in the order of their arrival when the files are read in this order.
    pub files: Vec<DataFile>,
}

impl TableVersion {
    /// Takes in the next commit.
    fn apply(&mut self, version: i64, commit: log::Commit) {
        self.version = Some(version);
        if let Some(stamp) = &commit.stamp {
            self.epoch = self.epoch.max(stamp.epoch);
        }
        self.last_seq = commit.last_seq.unwrap_or(self.last_seq);
        if !commit.remove.is_empty() {
            let removed: std::collections::HashSet<&str> = commit.remove.iter().map(String::as_str).collect();
            self.files.retain(|file| !removed.contains(file.path.as_str()));
        }
        self.files.extend(commit.add);
        // What compaction wrote holds old rows: it stands among the files of their time.
        if !self.files.is_sorted_by_key(DataFile::arrival) {
            self.files.sort_by_key(DataFile::arrival);
        }
    }

    /// Rows of all files.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }
}

/// Who commits, and which part of the WAL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitIdentity {
    /// The id of this commit, new for every change; a retry of the same change has the same id.
    pub commit_id: uuid::Uuid,
    /// The epoch of the writer.
    pub epoch: u64,
    /// First WAL number whose rows are in the added files.
    pub first_seq: u64,
    /// Milliseconds since 1970 UTC, written as the time of the files.
    pub time: i64,
}

/// What a commit changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Files to add; they must be durable.
    pub add: Vec<DataFile>,
    /// Files to remove; they stay in the store until vacuum.
    pub remove: Vec<DataFile>,
    /// The last WAL number whose rows are in the table after this commit.
    pub last_seq: u64,
    /// `false` for a rewrite of the same rows, as compaction does.
    pub data_change: bool,
    /// Who commits.
    pub info: CommitIdentity,
}

/// What [`Catalog::recover`] had to do for a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The table.
    pub table: Table,
    /// Where the damaged file went, relative to the lake.
    pub quarantined: String,
    /// What was wrong with it.
    pub reason: String,
}

/// The Delta tables of a lake.
#[derive(Debug)]
pub struct Catalog {
    root: Url,
    root_path: Path,
    store: Arc<dyn ObjectStore>,
    /// The same store when it is a local disk, which tells of failed syncs.
    local: Option<DurableStore>,
    /// Delta's view of each table, at the version that was committed or loaded last.
    delta: Mutex<HashMap<Table, DeltaTable>>,
    /// Our view of each table, to read only what is new.
    known: parking_lot::Mutex<HashMap<Table, Arc<TableVersion>>>,
}

impl Catalog {
    /// The catalog of a lake in a local folder; every write is durable before it is acknowledged.
    ///
    /// # Errors
    /// [`CatalogError::Location`] when the folder cannot be named.
    pub fn open(root: &FilePath) -> Result<Self> {
        Self::open_local(root, DurableStore::new())
    }

    /// The catalog of a lake at any location; a folder is one of `disk`.
    ///
    /// # Errors
    /// [`CatalogError::Location`] when the location cannot be used. An object store is not asked yet.
    pub fn at(location: &Location, disk: Arc<dyn Disk>) -> Result<Self> {
        let failed =
            |error: LocationError| CatalogError::Location { location: error.text, reason: error.reason };
        match (location.folder(), location.url(), location.store().map_err(failed)?) {
            (None, Some(url), Some(store)) => Self::open_store(url, store),
            (folder, ..) => Self::open_on(folder.unwrap_or(FilePath::new(".")), disk),
        }
    }

    /// The same over any disk.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_on(root: &FilePath, disk: Arc<dyn Disk>) -> Result<Self> {
        Self::open_local(root, DurableStore::over(disk))
    }

    /// The same with a store that tells its syncs.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_local(root: &FilePath, store: DurableStore) -> Result<Self> {
        let location =
            |reason: String| CatalogError::Location { location: root.display().to_string(), reason };
        let absolute = std::path::absolute(root).map_err(|error| location(error.to_string()))?;
        let mut url = Url::from_directory_path(&absolute)
            .map_err(|()| location("it is not an absolute path".to_owned()))?;
        if !store.is_of_this_machine() {
            let elsewhere = format!("disk://{}", url.path());
            url = Url::parse(&elsewhere).map_err(|error| location(error.to_string()))?;
        }
        let mut catalog = Self::open_store(&url, Arc::new(store.clone()))?;
        catalog.local = Some(store);
        Ok(catalog)
    }

    /// Why nothing more may be acknowledged: a sync of the local disk failed.
    pub fn failed_sync(&self) -> Option<&str> {
        self.local.as_ref()?.failed_sync()
    }

    /// The catalog of a lake in any store. The store must be rooted where the path of the URL begins (a bucket), and
    /// its conditional puts must have one winner.
    ///
    /// # Errors
    /// [`CatalogError::Location`] when the path of the URL cannot be one of a store.
    pub fn open_store(root: &Url, store: Arc<dyn ObjectStore>) -> Result<Self> {
        let mut root = root.clone();
        if !root.path().ends_with('/') {
            root.set_path(&format!("{}/", root.path()));
        }
        let root_path = Path::from_url_path(root.path()).map_err(|error| CatalogError::Location {
            location: root.to_string(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            root,
            root_path,
            store,
            local: None,
            delta: Mutex::default(),
            known: parking_lot::Mutex::default(),
        })
    }

    /// Whether the lake is on a local disk, real or of a test.
    pub(crate) fn is_local(&self) -> bool {
        self.local.is_some()
    }

    /// The root of the lake.
    pub fn root(&self) -> &Url {
        &self.root
    }

    /// The store that holds the lake, rooted at its bucket or file system.
    pub fn object_store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// The path of the lake in [`Self::object_store`].
    pub fn root_path(&self) -> &Path {
        &self.root_path
    }

    /// The store of a table; its paths are those of the data files.
    pub fn store(&self, table: Table) -> Arc<dyn ObjectStore> {
        Arc::new(PrefixStore::new(Arc::clone(&self.store), self.table_path(table)))
    }

    fn table_path(&self, table: Table) -> Path {
        self.root_path.clone().join("tables").join(table.name())
    }

    fn log_store(&self, table: Table) -> Result<LogStoreRef> {
        // Delta writes the location into the first commit: one within the lake stays true when the lake moves.
        let location = format!("lake:///tables/{}/", table.name());
        let location = Url::parse(&location).map_err(|error| CatalogError::Location {
            location: self.root.to_string(),
            reason: error.to_string(),
        })?;
        let lake = PrefixStore::new(Arc::clone(&self.store), self.root_path.clone());
        // The log store is made with our store directly: no global registry decides where a commit goes.
        Ok(default_logstore(self.store(table), Arc::new(lake), &location, &StorageConfig::default()))
    }

    /// Creates the tables that do not exist. Only a writer may call it.
    ///
    /// # Errors
    /// [`CatalogError::Store`] and [`CatalogError::Delta`].
    pub async fn ensure_tables(&self) -> Result<()> {
        for table in Table::ALL {
            let name = table.name();
            if !log::versions(self.store(table).as_ref(), name).await?.is_empty() {
                continue;
            }
            let schema: StructType =
                table.schema().as_ref().try_into_kernel().map_err(|error| {
                    CatalogError::delta(name, deltalake_core::DeltaTableError::from(error))
                })?;
            let created = CreateBuilder::new()
                .with_log_store(self.log_store(table)?)
                .with_table_name(name)
                .with_comment("A table of a Runlake lake; other programs may read it.")
                .with_columns(schema.fields().cloned())
                .with_save_mode(SaveMode::Ignore)
                .await
                .map_err(|error| CatalogError::delta(name, error))?;
            self.delta.lock().await.insert(table, created);
        }
        Ok(())
    }

    /// The newest version of a table. Reads the commits that are new since the last call, or since the newest
    /// checkpoint.
    ///
    /// # Errors
    /// [`CatalogError::LogDamaged`] names the file; `last` tells whether [`Self::recover`] can help.
    pub async fn load(&self, table: Table) -> Result<Arc<TableVersion>> {
        let mut known = self.known.lock().get(&table).cloned().unwrap_or_default();
        if known.version.is_none()
            && let Some(checkpoint) = self.newest_checkpoint(table).await?
        {
            known = Arc::new(checkpoint);
            self.remember(table, &known);
        }
        let from = known.version.map_or(0, |version| version + 1);
        let commits = log::read(self.store(table).as_ref(), table.name(), from).await?;
        if commits.is_empty() {
            return Ok(known);
        }
        let mut newest = TableVersion::clone(&known);
        for (version, commit) in commits {
            newest.apply(version, commit);
        }
        let newest = Arc::new(newest);
        self.remember(table, &newest);
        Ok(newest)
    }

    /// The newest version of a table, read anew from the newest checkpoint on: what counts before WAL files are deleted.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub async fn load_fresh(&self, table: Table) -> Result<Arc<TableVersion>> {
        self.known.lock().remove(&table);
        self.load(table).await
    }

    fn remember(&self, table: Table, version: &Arc<TableVersion>) {
        let mut known = self.known.lock();
        let slot = known.entry(table).or_default();
        if slot.version < version.version {
            *slot = Arc::clone(version);
        }
    }

    /// Makes a table usable again after a crash: a damaged newest commit goes to `quarantine/` (its rows are still in
    /// the WAL), and so do checkpoints that Delta cannot read. Only a writer may call it, before its first commit.
    ///
    /// # Errors
    /// [`CatalogError::LogDamaged`] when an older commit is damaged: that cannot be made good here.
    pub async fn recover(&self, table: Table) -> Result<Vec<Recovered>> {
        let mut done = Vec::new();
        self.known.lock().remove(&table);
        self.delta.lock().await.remove(&table);
        match self.load(table).await {
            Err(CatalogError::LogDamaged { file, reason, last: true, .. }) => {
                done.push(self.quarantine(table, &file, reason).await?);
                self.load(table).await?;
            }
            other => {
                other?;
            }
        }
        if self.known.lock().get(&table).is_none_or(|known| known.version.is_none()) {
            return Ok(done);
        }
        let mut delta = DeltaTable::new(self.log_store(table)?);
        if let Err(error) = delta.load().await {
            // The commits are sound, so it is a checkpoint, which only makes opening faster; or the store failed.
            self.check_that_delta_refuses(table).await?;
            let reason = error.to_string();
            let store = self.store(table);
            let listed = store.list_with_delimiter(Some(&Path::from(log::LOG_FOLDER))).await;
            for object in listed.map_err(|error| CatalogError::store(table.name(), error))?.objects {
                let name = object.location.filename().unwrap_or_default();
                if name == "_last_checkpoint" || name.contains(".checkpoint.") {
                    done.push(self.quarantine(table, object.location.as_ref(), reason.clone()).await?);
                }
            }
            delta = DeltaTable::new(self.log_store(table)?);
            if let Err(error) = delta.load().await {
                // All other commits have a checksum, which fitted.
                self.check_creation(table, self.store(table).as_ref()).await?.map_err(|reason| {
                    let file = log::commit_path(0).to_string();
                    CatalogError::LogDamaged { table: table.name(), file, reason, last: false }
                })?;
                return Err(CatalogError::delta(table.name(), error));
            }
        }
        self.delta.lock().await.insert(table, delta);
        Ok(done)
    }

    /// Returns when Delta cannot read a copy of the log in memory, so that it is the log that it cannot read.
    ///
    /// # Errors
    /// [`CatalogError::Store`] when the store fails, also when it was the store that failed Delta before.
    async fn check_that_delta_refuses(&self, table: Table) -> Result<()> {
        let (store, copy) = (self.store(table), InMemory::new());
        let failed = |error| CatalogError::store(table.name(), error);
        let listed = store.list_with_delimiter(Some(&Path::from(log::LOG_FOLDER))).await.map_err(failed)?;
        for object in listed.objects {
            let read = async { store.get(&object.location).await?.bytes().await };
            let bytes = read.await.map_err(failed)?;
            copy.put(&object.location, PutPayload::from_bytes(bytes)).await.map_err(failed)?;
        }
        let copy: Arc<dyn ObjectStore> = Arc::new(copy);
        let location = Url::parse("memory:///").map_err(|error| CatalogError::Location {
            location: self.root.to_string(),
            reason: error.to_string(),
        })?;
        let log_store = default_logstore(Arc::clone(&copy), copy, &location, &StorageConfig::default());
        match DeltaTable::new(log_store).load().await {
            Err(_) => Ok(()),
            Ok(()) => {
                let source = "the log could not be read for a moment".into();
                Err(failed(object_store::Error::Generic { store: "catalog", source }))
            }
        }
    }

    async fn quarantine(&self, table: Table, file: &str, reason: String) -> Result<Recovered> {
        let from = under(self.table_path(table), file);
        let name = file.rsplit('/').next().unwrap_or(file);
        let failed = |error| CatalogError::store(table.name(), error);
        for attempt in 0_u32.. {
            let quarantined = format!("quarantine/{}/{name}.{attempt}", table.name());
            let to = under(self.root_path.clone(), &quarantined);
            match self.move_object(&from, &to).await {
                Err(object_store::Error::AlreadyExists { .. }) => {}
                Err(error) => return Err(failed(error)),
                Ok(()) => {
                    tracing::warn!(
                        table = table.name(),
                        file,
                        quarantined,
                        reason,
                        "set aside a damaged file of a log"
                    );
                    return Ok(Recovered { table, quarantined, reason });
                }
            }
        }
        Err(CatalogError::Change { table: table.name(), reason: "the quarantine is full".to_owned() })
    }

    async fn move_object(&self, from: &Path, to: &Path) -> object_store::Result<()> {
        if self.is_local() {
            return self.store.rename_if_not_exists(from, to).await;
        }
        // Object stores cannot rename; after a crash in between, the damaged object is in both places.
        let bytes = self.store.get(from).await?.bytes().await?;
        self.store.put_opts(to, PutPayload::from_bytes(bytes), PutMode::Create.into()).await?;
        self.store.delete(from).await
    }

    /// Stores a segment under a new name; when this returns, the file is durable. It is rubbish until a commit names
    /// it.
    ///
    /// # Errors
    /// [`CatalogError::Store`], also when the name is taken.
    pub async fn put(&self, table: Table, name: &str, segment: &EncodedSegment) -> Result<DataFile> {
        let (store, path) = (self.store(table), Path::from(name));
        let stored = if self.is_local() {
            let payload = PutPayload::from_bytes(segment.bytes.clone());
            store.put_opts(&path, payload, PutMode::Create.into()).await.map(drop)
        } else {
            upload::put(store.as_ref(), &path, &segment.bytes).await
        };
        stored.map_err(|error| CatalogError::store(table.name(), error))?;
        fail::fail_point!("catalog::data_stored");
        Ok(DataFile::of(name, segment))
    }

    /// Commits a change to the version `base`; when this returns, the commit is durable and has been read back.
    ///
    /// # Errors
    /// [`CatalogError::Conflict`] when another commit came in between (load again), [`CatalogError::Fenced`] when it
    /// is that of a newer writer (stop), [`CatalogError::Store`] and [`CatalogError::Delta`] when the outcome is that
    /// the commit does not exist.
    pub async fn commit(
        &self,
        table: Table,
        base: &TableVersion,
        change: Change,
    ) -> Result<Arc<TableVersion>> {
        let name = table.name();
        let refuse = |reason: String| Err(CatalogError::Change { table: name, reason });
        let Some(base_version) = base.version else { return Err(CatalogError::NoTable { table: name }) };
        if change.last_seq < base.last_seq {
            return refuse(format!("WAL number {} is behind {}", change.last_seq, base.last_seq));
        }
        if change.info.epoch < base.epoch {
            return Err(CatalogError::Fenced { table: name, found: base.epoch, ours: change.info.epoch });
        }
        if let Some(file) = change.remove.iter().find(|file| !base.files.contains(file)) {
            return refuse(format!("file {} is not in version {base_version}", file.path));
        }
        if let Some(file) = change.add.iter().find(|file| file.crc32c().is_none()) {
            return refuse(format!("file {} has no CRC32C", file.path));
        }
        let (Ok(last_seq), version) = (i64::try_from(change.last_seq), base_version + 1) else {
            return refuse(format!("WAL number {} is too large", change.last_seq));
        };
        let actions: Vec<Action> = change
            .remove
            .iter()
            .map(|file| Action::Remove(file.to_remove(change.info.time, change.data_change)))
            .chain(
                change.add.iter().map(|file| Action::Add(file.to_add(change.info.time, change.data_change))),
            )
            .collect();
        let transaction = Transaction::new(APP_ID, last_seq);
        let stamp = stamp(&change, &actions, &transaction)
            .map_err(|error| CatalogError::Change { table: name, reason: error.to_string() })?;

        let mut pause = RETRY_PAUSE;
        for attempt in 1.. {
            let outcome = self.try_commit(table, base_version, &actions, &transaction, &stamp).await;
            fail::fail_point!("catalog::committed");
            // What stands in the log after a failed sync may be gone after the next power cut.
            if let Some(reason) = self.failed_sync() {
                return Err(CatalogError::Sync { table: name, reason: reason.to_owned() });
            }
            // Whatever the answer was: what stands in the log counts.
            match log::read_commit(self.store(table).as_ref(), name, version).await? {
                Some(found) => {
                    let found = found.map_err(|fault| fault.into_error(name, version, true))?;
                    let next = self.settle(table, base, version, found, &stamp)?;
                    if (version + 1) % care::COMMITS_PER_CHECKPOINT == 0
                        && let Err(error) = self.put_checkpoint(table, &next).await
                    {
                        // It only makes opening faster.
                        tracing::warn!(table = name, version, %error, "no checkpoint was made");
                    }
                    return Ok(next);
                }
                None => match outcome {
                    Err(error) if attempt < COMMIT_ATTEMPTS => {
                        tracing::warn!(table = name, version, attempt, %error, "commit failed, trying again");
                        tokio::time::sleep(pause).await;
                        pause *= 2;
                    }
                    Err(error) => return Err(error),
                    Ok(()) => {
                        let file = log::commit_path(version).to_string();
                        let reason = "it is not there after its commit".to_owned();
                        return Err(CatalogError::LogDamaged { table: name, file, reason, last: true });
                    }
                },
            }
        }
        refuse("no attempt was made".to_owned())
    }

    fn settle(
        &self,
        table: Table,
        base: &TableVersion,
        version: i64,
        found: log::Commit,
        ours: &CommitStamp,
    ) -> Result<Arc<TableVersion>> {
        let name = table.name();
        match &found.stamp {
            Some(stamp) if stamp == ours => {
                let mut next = base.clone();
                next.apply(version, found);
                let next = Arc::new(next);
                self.remember(table, &next);
                Ok(next)
            }
            Some(stamp) if stamp.epoch > ours.epoch => {
                Err(CatalogError::Fenced { table: name, found: stamp.epoch, ours: ours.epoch })
            }
            stamp => {
                let by = stamp.as_ref().map_or_else(|| "another program".to_owned(), |s| s.commit_id.clone());
                Err(CatalogError::Conflict { table: name, version, by })
            }
        }
    }

    async fn try_commit(
        &self,
        table: Table,
        base_version: i64,
        actions: &[Action],
        transaction: &Transaction,
        stamp: &CommitStamp,
    ) -> Result<()> {
        let name = table.name();
        let failed = |error| CatalogError::delta(name, error);
        let base = u64::try_from(base_version).map_err(|_| CatalogError::NoTable { table: name })?;
        let mut tables = self.delta.lock().await;
        let mut delta = match tables.remove(&table) {
            Some(delta) => delta,
            None => DeltaTable::new(self.log_store(table)?),
        };
        if delta.version() != Some(base) {
            delta.load_version(base).await.map_err(failed)?;
        }
        let stamp = serde_json::to_value(stamp)
            .map_err(|error| CatalogError::Change { table: name, reason: error.to_string() })?;
        let properties = CommitProperties::default()
            .with_max_retries(0)
            .with_metadata([("runlake".to_owned(), stamp)])
            .with_application_transaction(transaction.clone())
            .with_create_checkpoint(true)
            .with_cleanup_expired_logs(Some(false));
        let operation = DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };
        let state = delta.snapshot().map_err(failed)?;
        let committed = CommitBuilder::from(properties)
            .with_actions(actions.to_vec())
            .build(Some(state), delta.log_store(), operation)
            .await
            .map_err(failed)?;
        delta.state = Some(committed.snapshot());
        tables.insert(table, delta);
        Ok(())
    }
}

/// A path below another, from its parts.
fn under(base: Path, relative: &str) -> Path {
    relative.split('/').fold(base, |path, part| path.join(part))
}

fn stamp(
    change: &Change,
    actions: &[Action],
    transaction: &Transaction,
) -> std::result::Result<CommitStamp, serde_json::Error> {
    let mut checksum = 0;
    let mut count = 0;
    for action in actions.iter().chain([&Action::Txn(transaction.clone())]) {
        let value: Value = serde_json::to_value(action)?;
        checksum = log::append_canonical(checksum, &value);
        count += 1;
    }
    Ok(CommitStamp {
        commit_id: change.info.commit_id.to_string(),
        epoch: change.info.epoch,
        first_seq: change.info.first_seq,
        last_seq: change.last_seq,
        rows: change.add.iter().map(|file| file.rows).sum(),
        actions: count,
        crc32c: format!("{checksum:08x}"),
    })
}
