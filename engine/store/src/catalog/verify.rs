//! Checking a table: its log and every byte of its data files.

use futures::TryStreamExt;
use model::schema::Table;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use std::collections::{BTreeMap, HashSet};

use super::{Catalog, CatalogError, DataFile, Result, TableVersion, log};

/// The file of a commit, relative to the folder of its table.
pub fn commit_file(version: i64) -> String {
    log::commit_path(version).to_string()
}

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingKind {
    /// A commit of the log is damaged or missing.
    Log,
    /// A data file does not exist.
    Missing,
    /// A data file has another length than its commit says.
    Length,
    /// A data file has another CRC32C than its commit says.
    Checksum,
    /// The file is as committed, but its own seal or structure does not fit.
    Structure,
}

/// One damage found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The table.
    pub table: Table,
    /// The file, relative to the folder of the table.
    pub file: String,
    /// What kind of damage.
    pub kind: FindingKind,
    /// Details.
    pub detail: String,
    /// Rows that cannot be read because of it; 0 when that is not known.
    pub rows: u64,
}

/// A data file and the commit that added it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AddedFile {
    pub(crate) file: DataFile,
    /// WAL numbers of the commit.
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    /// Whether the commit only added files: its rows came from the log.
    pub(crate) is_flush: bool,
}

/// What every commit and checkpoint of a table was found to be.
#[derive(Debug, Default)]
pub(crate) struct LogAudit {
    /// Commits that were read and are whole.
    pub(crate) commits: u64,
    /// Commits that are damaged or missing.
    pub(crate) faults: Vec<(String, String)>,
    /// Commits that are whole and cannot be true.
    pub(crate) contradictions: Vec<(String, String)>,
    /// Checkpoints that are damaged.
    pub(crate) checkpoint_faults: Vec<(String, String)>,
    /// The table as all whole commits make it.
    pub(crate) version: TableVersion,
    /// Its data files.
    pub(crate) files: Vec<AddedFile>,
    /// Every data file that any commit named.
    pub(crate) named: HashSet<String>,
    /// Commits that are left of a beginning that vacuum removed; nobody reads them.
    pub(crate) leftovers: Vec<i64>,
}

impl LogAudit {
    /// Goes on from a checkpoint: which commit brought which file is not known any more.
    fn begin_at(&mut self, checkpoint: TableVersion) {
        let last_seq = checkpoint.last_seq;
        self.named.extend(checkpoint.files.iter().map(|file| file.path.clone()));
        let files = checkpoint.files.iter().cloned();
        self.files.extend(files.map(|file| AddedFile { file, first_seq: 0, last_seq, is_flush: false }));
        self.version = checkpoint;
    }

    fn take(&mut self, version: i64, commit: log::Commit) {
        let file = commit_file(version);
        let before = &self.version;
        let (mut first_seq, mut last_seq) = (0, 0);
        if let Some(stamp) = &commit.stamp {
            (first_seq, last_seq) = (stamp.first_seq, stamp.last_seq);
            let rows: u64 = commit.add.iter().map(|added| added.rows).sum();
            let mut contradict = |what: String| self.contradictions.push((file.clone(), what));
            if stamp.last_seq < before.last_seq {
                contradict(format!(
                    "it holds up to log record {}, the commit before up to {}",
                    stamp.last_seq, before.last_seq
                ));
            }
            if stamp.epoch < before.epoch {
                contradict(format!("its epoch {} is lower than {}", stamp.epoch, before.epoch));
            }
            if stamp.rows != rows {
                contradict(format!("it says {} rows, its files have {rows}", stamp.rows));
            }
        }
        for path in &commit.remove {
            if !self.files.iter().any(|added| added.file.path == *path) {
                self.contradictions
                    .push((file.clone(), format!("it removes {path}, which is not in the table")));
            }
        }
        self.files.retain(|added| !commit.remove.contains(&added.file.path));
        let is_flush = commit.remove.is_empty();
        for added in &commit.add {
            if !self.named.insert(added.path.clone()) {
                self.contradictions.push((file.clone(), format!("it adds {} a second time", added.path)));
            }
            self.files.push(AddedFile { file: added.clone(), first_seq, last_seq, is_flush });
        }
        self.commits += 1;
        self.version.apply(version, commit);
    }
}

impl Catalog {
    /// Reads every commit and every checkpoint of a table, also behind damage.
    ///
    /// # Errors
    /// Only when the store itself cannot be asked.
    pub(crate) async fn audit_log(&self, table: Table) -> Result<LogAudit> {
        let (store, name) = (self.store(table), table.name());
        let mut versions = log::versions(store.as_ref(), name).await?;
        let mut audit = LogAudit::default();
        let mut expected = 0;
        let first = self.log_start(table, &versions).await?;
        audit.leftovers = versions.extract_if(.., |version| *version < first).collect();
        // The beginning of a log that was cleaned up is gone; a checkpoint stands at the first commit that is left.
        if first > 0 {
            match self.read_checkpoint(table, first).await? {
                Ok(checkpoint) => {
                    audit.begin_at(checkpoint);
                    expected = first + 1;
                }
                Err(reason) => {
                    let what = format!("the log begins here, and the checkpoint of it is no help: {reason}");
                    audit.faults.push((commit_file(first), what));
                    expected = first;
                }
            }
        }
        for version in versions {
            for missing in expected..version {
                audit
                    .faults
                    .push((commit_file(missing), "the commit is missing, later ones are there".into()));
            }
            expected = expected.max(version + 1);
            match log::read_commit(store.as_ref(), name, version).await? {
                Some(Ok(_)) if audit.version.version == Some(version) => {}
                Some(Ok(commit)) => audit.take(version, commit),
                Some(Err(log::Fault::Damaged(reason) | log::Fault::Foreign(reason))) => {
                    audit.faults.push((commit_file(version), reason));
                }
                None => {}
            }
            if version == 0
                && let Err(reason) = self.check_creation(table, store.as_ref()).await?
            {
                audit.faults.push((commit_file(0), reason));
            }
        }
        self.audit_checkpoints(table, store.as_ref(), &mut audit).await?;
        Ok(audit)
    }

    /// The last versions of a table before the newest one, the oldest first.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub(crate) async fn recent_versions(&self, table: Table) -> Result<Vec<TableVersion>> {
        const MOST: usize = 64;
        let (store, name) = (self.store(table), table.name());
        let first = self.log_start(table, &log::versions(store.as_ref(), name).await?).await?;
        let mut versions = std::collections::VecDeque::new();
        let (mut version, mut from) = (TableVersion::default(), 0);
        if first > 0
            && let Ok(checkpoint) = self.read_checkpoint(table, first).await?
        {
            versions.push_back(checkpoint.clone());
            (version, from) = (checkpoint, first + 1);
        }
        let commits = log::read(store.as_ref(), name, from).await?;
        for (number, commit) in commits {
            version.apply(number, commit);
            versions.push_back(version.clone());
            if versions.len() > MOST + 1 {
                versions.pop_front();
            }
        }
        versions.pop_back();
        Ok(versions.into())
    }

    /// Sets aside every commit behind a version, the newest first, and the checkpoints that hold them. Only a writer may
    /// call it, and only when the log has the rows.
    ///
    /// # Errors
    /// [`CatalogError::Store`]; what was set aside until then stays so.
    pub(crate) async fn take_back(&self, table: Table, to: i64, reason: &str) -> Result<()> {
        let store = self.store(table);
        let failed = |error| CatalogError::store(table.name(), error);
        let listed = store.list_with_delimiter(Some(&Path::from(log::LOG_FOLDER))).await.map_err(failed)?;
        for object in listed.objects {
            let name = object.location.filename().unwrap_or_default();
            let version = name.split('.').next().and_then(|digits| digits.parse::<i64>().ok());
            if name == "_last_checkpoint" || (name.contains(".checkpoint.") && version > Some(to)) {
                self.quarantine(table, object.location.as_ref(), reason.to_owned()).await?;
            }
        }
        let versions = log::versions(store.as_ref(), table.name()).await?;
        for version in versions.into_iter().rev().take_while(|version| *version > to) {
            self.quarantine(table, &commit_file(version), reason.to_owned()).await?;
        }
        self.known.lock().remove(&table);
        self.delta.lock().await.remove(&table);
        Ok(())
    }

    /// Moves a data file to the quarantine and tells where it is; `None` when it is not there.
    ///
    /// # Errors
    /// [`CatalogError::Store`].
    pub(crate) async fn set_aside(&self, table: Table, file: &str, reason: &str) -> Result<Option<String>> {
        match self.store(table).head(&Path::from(file)).await {
            Ok(_) => Ok(Some(self.quarantine(table, file, reason.to_owned()).await?.quarantined)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(CatalogError::store(table.name(), error)),
        }
    }

    /// The commit that creates a table has no checksum: it is compared with what it must say.
    pub(super) async fn check_creation(
        &self,
        table: Table,
        store: &dyn ObjectStore,
    ) -> Result<std::result::Result<(), String>> {
        let read = async { store.get(&log::commit_path(0)).await?.bytes().await };
        let bytes = match read.await {
            Ok(bytes) => bytes,
            Err(object_store::Error::NotFound { .. }) => return Ok(Ok(())),
            Err(error) => return Err(CatalogError::store(table.name(), error)),
        };
        Ok(created_as(&bytes, table))
    }

    async fn audit_checkpoints(
        &self,
        table: Table,
        store: &dyn ObjectStore,
        audit: &mut LogAudit,
    ) -> Result<()> {
        let failed = |error| CatalogError::store(table.name(), error);
        let listed = match store.list_with_delimiter(Some(&Path::from(log::LOG_FOLDER))).await {
            Ok(listed) => listed.objects,
            Err(object_store::Error::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let mut sizes = BTreeMap::new();
        for object in &listed {
            let name = object.location.filename().unwrap_or_default();
            if let Some(version) = super::checkpoint::version_of(name) {
                if let Err(reason) = self.read_checkpoint(table, version).await? {
                    audit.checkpoint_faults.push((object.location.to_string(), reason));
                }
                continue;
            }
            if !name.contains(".checkpoint.") || !name.ends_with(".parquet") {
                continue;
            }
            let Some(version) = name.split('.').next().and_then(|digits| digits.parse::<i64>().ok()) else {
                continue;
            };
            sizes.insert(version, object.size);
            let bytes = store.get(&object.location).await.map_err(failed)?.bytes().await.map_err(failed)?;
            if let Err(reason) = self.check_checkpoint(table, store, version, bytes).await? {
                audit.checkpoint_faults.push((object.location.to_string(), reason));
            }
        }
        let Some(last) = listed.iter().find(|object| object.location.filename() == Some("_last_checkpoint"))
        else {
            return Ok(());
        };
        let bytes = store.get(&last.location).await.map_err(failed)?.bytes().await.map_err(failed)?;
        let version = serde_json::from_slice::<serde_json::Value>(&bytes)
            .map_err(|error| error.to_string())
            .and_then(|value| {
                value.get("version").and_then(serde_json::Value::as_i64).ok_or("it has no version".to_owned())
            });
        let fault = match version {
            Ok(version) if sizes.contains_key(&version) => None,
            Ok(version) => Some(format!("it names version {version}, of which there is no checkpoint")),
            Err(reason) => Some(reason),
        };
        if let Some(reason) = fault {
            audit.checkpoint_faults.push((last.location.to_string(), reason));
        }
        Ok(())
    }

    /// A checkpoint must hold the files that the commits up to its version make.
    async fn check_checkpoint(
        &self,
        table: Table,
        store: &dyn ObjectStore,
        version: i64,
        bytes: bytes::Bytes,
    ) -> Result<std::result::Result<(), String>> {
        let found = match checkpoint_adds(bytes) {
            Ok(found) => found,
            Err(reason) => return Ok(Err(reason)),
        };
        let mut expected = TableVersion::default();
        for commit in 0..=version {
            match log::read_commit(store, table.name(), commit).await? {
                Some(Ok(read)) => expected.apply(commit, read),
                // The commits are gone or damaged: there is nothing to compare with, and they are told themselves.
                _ => return Ok(Ok(())),
            }
        }
        let expected: BTreeMap<String, i64> = expected
            .files
            .into_iter()
            .map(|file| (file.path, i64::try_from(file.bytes).unwrap_or(i64::MAX)))
            .collect();
        if found == expected {
            return Ok(Ok(()));
        }
        let wrong = expected
            .iter()
            .find(|(path, bytes)| found.get(*path) != Some(bytes))
            .or_else(|| found.iter().find(|(path, bytes)| expected.get(*path) != Some(bytes)));
        let path = wrong.map_or("a file", |(path, _)| path.as_str());
        Ok(Err(format!("{path} stands differently in it than in the commits")))
    }

    /// The table as its commits up to the first damaged or missing one make it, and what is wrong with that one.
    ///
    /// # Errors
    /// Only when the store itself cannot be asked.
    pub(crate) async fn load_whole_commits(
        &self,
        table: Table,
    ) -> Result<(TableVersion, Option<CatalogError>)> {
        let (store, name) = (self.store(table), table.name());
        let versions = log::versions(store.as_ref(), name).await?;
        let newest = versions.last().copied().unwrap_or_default();
        let mut found = TableVersion::default();
        let mut from = 0;
        let first = self.log_start(table, &versions).await?;
        // The beginning of the log may be gone; then a checkpoint stands at the first commit that is left.
        if first > 0
            && let Ok(checkpoint) = self.read_checkpoint(table, first).await?
        {
            found = checkpoint;
            from = first + 1;
        }
        for (expected, version) in (from..).zip(versions.into_iter().filter(|version| *version >= from)) {
            let fault = if expected != version {
                log::Fault::Damaged(format!("commit {expected} is missing, {version} is there"))
            } else {
                match log::read_commit(store.as_ref(), name, version).await? {
                    Some(Ok(commit)) => {
                        found.apply(version, commit);
                        continue;
                    }
                    Some(Err(fault)) => fault,
                    None => log::Fault::Damaged("it vanished".to_owned()),
                }
            };
            return Ok((found, Some(fault.into_error(name, expected, expected == newest))));
        }
        Ok((found, None))
    }

    /// Checks the log of a table and reads every byte of its data files.
    ///
    /// # Errors
    /// Only when the store itself cannot be asked; damage is a finding.
    pub async fn verify(&self, table: Table) -> Result<Vec<Finding>> {
        let version = match self.load_fresh(table).await {
            Ok(version) => version,
            Err(CatalogError::LogDamaged { file, reason, .. }) => {
                return Ok(vec![Finding { table, file, kind: FindingKind::Log, detail: reason, rows: 0 }]);
            }
            Err(CatalogError::Foreign { version, reason, .. }) => {
                let file = super::log::commit_path(version).to_string();
                return Ok(vec![Finding { table, file, kind: FindingKind::Log, detail: reason, rows: 0 }]);
            }
            Err(other) => return Err(other),
        };
        let store = self.store(table);
        let mut findings = Vec::new();
        for file in &version.files {
            if let Some((kind, detail)) = self.check_file(table, store.as_ref(), file).await? {
                findings.push(Finding { table, file: file.path.clone(), kind, detail, rows: file.rows });
            }
        }
        Ok(findings)
    }

    async fn check_file(
        &self,
        table: Table,
        store: &dyn ObjectStore,
        file: &DataFile,
    ) -> Result<Option<(FindingKind, String)>> {
        let failed = |error| CatalogError::store(table.name(), error);
        let path = Path::from(file.path.as_str());
        let found = match store.get(&path).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => {
                return Ok(Some((FindingKind::Missing, "the file does not exist".to_owned())));
            }
            Err(error) => return Err(failed(error)),
        };
        if found.meta.size != file.bytes {
            let detail = format!("it has {} bytes, committed were {}", found.meta.size, file.bytes);
            return Ok(Some((FindingKind::Length, detail)));
        }
        let mut checksum = 0;
        let mut parts = found.into_stream();
        while let Some(part) = parts.try_next().await.map_err(failed)? {
            checksum = crc32c::crc32c_append(checksum, &part);
        }
        if file.crc32c() != Some(checksum) {
            let committed = file.tags.get("crc32c").map_or("none", String::as_str);
            let detail = format!("its CRC32C is {checksum:08x}, committed was {committed}");
            return Ok(Some((FindingKind::Checksum, detail)));
        }
        match crate::segment::seal::SealedFile::open(store, &path, file.bytes, table.name()).await {
            Ok(sealed) => match sealed.verify(store).await {
                Ok(()) => Ok(None),
                Err(error) => Ok(Some((FindingKind::Structure, error.to_string()))),
            },
            Err(error) => Ok(Some((FindingKind::Structure, error.to_string()))),
        }
    }
}

/// What the metadata of a table may say.
const METADATA_KEYS: [&str; 8] = [
    "id",
    "name",
    "description",
    "format",
    "schemaString",
    "partitionColumns",
    "createdTime",
    "configuration",
];

/// Whether the commit that creates a table says what it must: our schema, and nothing that changes how rows are read.
fn created_as(bytes: &[u8], table: Table) -> std::result::Result<(), String> {
    use deltalake_core::kernel::StructType;
    use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel;
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let (mut schema_found, mut protocol_found) = (false, false);
    for (number, line) in text.lines().enumerate() {
        let at = |what: &dyn std::fmt::Display| format!("line {}: {what}", number + 1);
        let action: serde_json::Value = serde_json::from_str(line).map_err(|error| at(&error))?;
        if let Some(metadata) = action.get("metaData") {
            let known = |key: &String| METADATA_KEYS.contains(&key.as_str());
            let strange = metadata.as_object().and_then(|keys| keys.keys().find(|key| !known(key)));
            if let Some(key) = strange {
                return Err(at(&format!(
                    "the metadata of the table have a key {key:?} that does not belong there"
                )));
            }
            if !metadata.get("configuration").is_some_and(serde_json::Value::is_object) {
                return Err(at(&"the metadata of the table have no configuration"));
            }
            let schema: StructType = metadata
                .get("schemaString")
                .and_then(serde_json::Value::as_str)
                .ok_or_else(|| at(&"it has no schema"))
                .and_then(|schema| serde_json::from_str(schema).map_err(|error| at(&error)))?;
            let expected: StructType =
                table.schema().as_ref().try_into_kernel().map_err(|error| at(&error))?;
            if schema != expected {
                return Err(at(&"the schema is not that of the table"));
            }
            if metadata
                .get("partitionColumns")
                .and_then(serde_json::Value::as_array)
                .is_none_or(|c| !c.is_empty())
            {
                return Err(at(&"the table has no partitions, but it names some"));
            }
            schema_found = true;
        } else if let Some(protocol) = action.get("protocol") {
            let version = |key| protocol.get(key).and_then(serde_json::Value::as_i64);
            if version("minReaderVersion").is_none_or(|v| !(1..=3).contains(&v))
                || version("minWriterVersion").is_none_or(|v| !(1..=7).contains(&v))
            {
                return Err(at(&format!("the protocol {protocol} is not one that Runlake writes")));
            }
            protocol_found = true;
        } else if action.get("commitInfo").is_none() {
            return Err(at(&"an action that does not belong here"));
        }
    }
    match (schema_found, protocol_found) {
        (true, true) => Ok(()),
        _ => Err("it has no schema or no protocol".to_owned()),
    }
}

/// The `add` paths and sizes in a checkpoint of a Delta log.
fn checkpoint_adds(bytes: bytes::Bytes) -> std::result::Result<BTreeMap<String, i64>, String> {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Int64Type;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .map_err(|error| text(&error))?;
    let mut adds = BTreeMap::new();
    for batch in reader {
        let batch = batch.map_err(|error| text(&error))?;
        let add = batch.column_by_name("add").and_then(|column| column.as_struct_opt());
        let add = add.ok_or("it has no column add")?;
        let path = add.column_by_name("path").and_then(|column| column.as_string_opt::<i32>());
        let size = add.column_by_name("size").and_then(|column| column.as_primitive_opt::<Int64Type>());
        let (path, size) = path.zip(size).ok_or("its column add has no path and size")?;
        for row in 0..batch.num_rows() {
            if add.is_valid(row) && path.is_valid(row) {
                adds.insert(path.value(row).to_owned(), size.value(row));
            }
        }
    }
    Ok(adds)
}
