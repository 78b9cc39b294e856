//! Care of a Delta log: checkpoints, and the removal of what no reader needs any more.

use std::collections::HashSet;
use std::sync::Arc;

use deltalake_core::DeltaTable;
use futures::{StreamExt, TryStreamExt};
use model::schema::Table;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use super::log::{self, LOG_FOLDER};
use super::{Catalog, CatalogError, Result, TableVersion, checkpoint};

/// Commits after which a checkpoint is made, of the versions 99, 199, …; the default of Delta, whose own checkpoints
/// come at the same versions.
pub(crate) const COMMITS_PER_CHECKPOINT: i64 = 100;
/// Commits that are fetched at once.
const FETCHES: usize = 32;

/// The files of a log by kind.
#[derive(Debug, Default)]
pub(crate) struct LogFiles {
    /// Versions of the commits, rising.
    pub(crate) commits: Vec<i64>,
    /// Versions of our checkpoints, rising.
    pub(crate) checkpoints: Vec<i64>,
    /// Delta's checkpoints: version and file.
    pub(crate) delta_checkpoints: Vec<(i64, Path)>,
}

impl LogFiles {
    /// Lists the log of a table.
    pub(crate) async fn list(store: &dyn ObjectStore, table: &'static str) -> Result<Self> {
        let listed = match store.list_with_delimiter(Some(&Path::from(LOG_FOLDER))).await {
            Ok(listed) => listed.objects,
            Err(object_store::Error::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(CatalogError::store(table, error)),
        };
        let mut files = Self::default();
        for object in listed {
            let Some(name) = object.location.filename() else { continue };
            if let Some(version) = checkpoint::version_of(name) {
                files.checkpoints.push(version);
            } else if let Some(version) = name.strip_suffix(".json").and_then(|digits| digits.parse().ok()) {
                files.commits.push(version);
            } else if let Some((digits, _)) = name.split_once(".checkpoint.")
                && let Ok(version) = digits.parse()
            {
                files.delta_checkpoints.push((version, object.location));
            }
        }
        files.commits.sort_unstable();
        files.checkpoints.sort_unstable();
        files.delta_checkpoints.sort_unstable();
        Ok(files)
    }

    fn has_delta_checkpoint(&self, version: i64) -> bool {
        self.delta_checkpoints.iter().any(|(of, _)| *of == version)
    }
}

impl Catalog {
    /// The newest of our checkpoints that is sound, at most `newest`; damaged ones are left for `verify` to name.
    pub(super) async fn newest_checkpoint(&self, table: Table) -> Result<Option<TableVersion>> {
        let store = self.store(table);
        let files = LogFiles::list(store.as_ref(), table.name()).await?;
        for version in files.checkpoints.iter().rev() {
            match self.read_checkpoint(table, *version).await? {
                Ok(found) => return Ok(Some(found)),
                Err(reason) => {
                    tracing::warn!(table = table.name(), version, reason, "a checkpoint is damaged");
                }
            }
        }
        Ok(None)
    }

    pub(super) async fn read_checkpoint(
        &self,
        table: Table,
        version: i64,
    ) -> Result<std::result::Result<TableVersion, String>> {
        let store = self.store(table);
        let read = async { store.get(&checkpoint::path(version)).await?.bytes().await };
        match read.await {
            Ok(bytes) => Ok(checkpoint::decode(&bytes, table.name(), version)),
            Err(object_store::Error::NotFound { .. }) => Ok(Err("it vanished".to_owned())),
            Err(error) => Err(CatalogError::store(table.name(), error)),
        }
    }

    /// Stores our checkpoint of a version.
    pub(super) async fn put_checkpoint(&self, table: Table, at: &TableVersion) -> Result<()> {
        let (Some(version), Some(bytes)) = (at.version, checkpoint::encode(table.name(), at)) else {
            return Ok(());
        };
        let put = self.store(table).put(&checkpoint::path(version), PutPayload::from_bytes(bytes)).await;
        put.map(drop).map_err(|error| CatalogError::store(table.name(), error))
    }

    /// Makes both checkpoints of the newest version. Only the writer may call it.
    ///
    /// # Errors
    /// [`CatalogError::Store`] and [`CatalogError::Delta`]; nothing is lost by it.
    pub(crate) async fn checkpoint(&self, table: Table, at: &TableVersion) -> Result<()> {
        let Some(version) = at.version.and_then(|version| u64::try_from(version).ok()) else { return Ok(()) };
        let failed = |error| CatalogError::delta(table.name(), error);
        let mut delta = DeltaTable::new(self.log_store(table)?);
        delta.load_version(version).await.map_err(failed)?;
        fail::fail_point!("checkpoint-before-delta");
        deltalake_core::protocol::checkpoints::create_checkpoint(&delta, None).await.map_err(failed)?;
        fail::fail_point!("checkpoint-before-ours");
        self.put_checkpoint(table, at).await
    }

    /// Makes checkpoints when the newest one is old and commits stand behind it.
    ///
    /// # Errors
    /// As [`Self::checkpoint`].
    pub(crate) async fn checkpoint_if_due(
        &self,
        table: Table,
        at: &TableVersion,
        is_old: impl Fn(i64) -> bool,
    ) -> Result<()> {
        let Some(version) = at.version else { return Ok(()) };
        let files = LogFiles::list(self.store(table).as_ref(), table.name()).await?;
        let newest = files.checkpoints.last().copied();
        let behind = version - newest.unwrap_or(0);
        let is_due = match newest {
            _ if behind == 0 => false,
            Some(newest) => {
                behind >= COMMITS_PER_CHECKPOINT || self.is_commit_old(table, newest, is_old).await?
            }
            None => behind >= COMMITS_PER_CHECKPOINT,
        };
        if is_due { self.checkpoint(table, at).await } else { Ok(()) }
    }

    async fn is_commit_old(&self, table: Table, version: i64, is_old: impl Fn(i64) -> bool) -> Result<bool> {
        let commit = log::read_commit(self.store(table).as_ref(), table.name(), version).await?;
        Ok(matches!(commit, Some(Ok(commit)) if commit.time.is_none_or(is_old)))
    }

    /// The files that commits removed at times for which `wanted` holds, as far as the log reaches back.
    ///
    /// # Errors
    /// When a commit cannot be read.
    pub(crate) async fn removed_when(
        &self,
        table: Table,
        wanted: impl Fn(i64) -> bool,
    ) -> Result<HashSet<String>> {
        let store = self.store(table);
        let files = LogFiles::list(store.as_ref(), table.name()).await?;
        let (store, name) = (store.as_ref(), table.name());
        let commits: Vec<log::Commit> = futures::stream::iter(files.commits)
            .map(|version| async move {
                let read = log::read_commit(store, name, version).await?;
                read.transpose().map_err(|fault| fault.into_error(name, version, false))
            })
            .buffered(FETCHES)
            .try_filter_map(|commit| std::future::ready(Ok(commit)))
            .try_collect()
            .await?;
        let wanted = commits.into_iter().filter(|commit| commit.time.is_none_or(&wanted));
        Ok(wanted.flat_map(|commit| commit.remove).collect())
    }

    /// Removes the part of a log that no reader needs: what lies before a checkpoint that is old enough and has another
    /// one behind it. Both are checked first, and Delta must read the same files as we do. Only the writer may call it.
    ///
    /// # Errors
    /// When the store fails; what is left is sound, since the oldest files go first.
    pub(crate) async fn clean_log(&self, table: Table, is_old: impl Fn(i64) -> bool) -> Result<u64> {
        let name = table.name();
        let store = self.store(table);
        let files = LogFiles::list(store.as_ref(), name).await?;
        let Some((newest, earlier)) = files.checkpoints.split_last() else { return Ok(0) };
        let sound = |version: i64| async move {
            Ok::<_, CatalogError>(self.read_checkpoint(table, version).await?.is_ok())
        };
        if !files.has_delta_checkpoint(*newest) || !sound(*newest).await? {
            return Ok(0);
        }
        let mut keep_from = None;
        for version in earlier.iter().rev().copied() {
            if files.has_delta_checkpoint(version)
                && sound(version).await?
                && self.is_commit_old(table, version, &is_old).await?
            {
                keep_from = Some(version);
                break;
            }
        }
        let Some(keep_from) = keep_from else { return Ok(0) };
        if !self.agrees_with_delta(table).await? {
            tracing::error!(table = name, "Delta reads other files than Runlake: the log is left as it is");
            return Ok(0);
        }
        let old = |version: &i64| *version < keep_from;
        let commits = files.commits.iter().filter(|v| old(v)).map(|version| log::commit_path(*version));
        let ours = files.checkpoints.iter().filter(|v| old(v)).map(|version| checkpoint::path(*version));
        let deltas = files.delta_checkpoints.iter().filter(|(v, _)| old(v)).map(|(_, path)| path.clone());
        let mut removed = 0;
        for path in commits.chain(ours).chain(deltas) {
            fail::fail_point!("vacuum-log-before-delete");
            match store.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => removed += 1,
                Err(error) => return Err(CatalogError::store(name, error)),
            }
        }
        Ok(removed)
    }

    /// Where the part of a log begins that counts, of these commits. What stands before it is left of a beginning that
    /// vacuum removed: deletes are not synced, so a power cut can bring any of its files back. As vacuum leaves it, that
    /// part has no gap and begins at a checkpoint with another one behind it.
    pub(super) async fn log_start(&self, table: Table, versions: &[i64]) -> Result<i64> {
        let Some(first) = versions.first().copied() else { return Ok(0) };
        let pairs = versions.iter().zip(versions.iter().skip(1));
        let gapless_from = pairs.rev().find(|(before, version)| **version != **before + 1);
        let gapless_from = gapless_from.map_or(first, |(_, version)| *version);
        if gapless_from == first && (first == 0 || self.read_checkpoint(table, first).await?.is_ok()) {
            return Ok(first);
        }
        let files = LogFiles::list(self.store(table).as_ref(), table.name()).await?;
        let mut sound = Vec::new();
        for version in files.checkpoints.iter().copied().filter(|version| *version >= gapless_from) {
            if files.has_delta_checkpoint(version) && self.read_checkpoint(table, version).await?.is_ok() {
                sound.push(version);
            }
        }
        Ok(if let [start, _, ..] = sound[..] { start } else { first })
    }

    /// Whether Delta, from its own checkpoint, sees the files that we see.
    async fn agrees_with_delta(&self, table: Table) -> Result<bool> {
        let ours: Arc<TableVersion> = self.load(table).await?;
        let mut delta = DeltaTable::new(self.log_store(table)?);
        let failed = |error| CatalogError::delta(table.name(), error);
        delta.load().await.map_err(failed)?;
        let theirs: HashSet<String> = delta
            .get_file_uris()
            .map_err(failed)?
            .filter_map(|uri| Some(uri.rsplit_once('/')?.1.to_owned()))
            .collect();
        let files: HashSet<String> = ours.files.iter().map(|file| file.path.clone()).collect();
        Ok(theirs == files)
    }
}
