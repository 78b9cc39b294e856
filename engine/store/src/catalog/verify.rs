//! Checking a table: its log and every byte of its data files.

use futures::TryStreamExt;
use model::schema::Table;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

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

impl Catalog {
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
        for (expected, version) in (0..).zip(versions) {
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
