//! The committed version of every table, as the one who may commit knows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::schema::Table;

use crate::catalog::{Catalog, CatalogError, Change, CommitIdentity, TableVersion};
use crate::error::Result;
use crate::ownership::Guard;

/// The newest committed versions. Whoever holds the lock on them may commit.
#[derive(Debug)]
pub(crate) struct Committed {
    versions: BTreeMap<Table, Arc<TableVersion>>,
    /// The epoch that commits of this writer carry.
    epoch: u64,
    guard: Guard,
    /// The table whose last commit failed without a word about the outcome.
    in_doubt: Option<Table>,
}

impl Committed {
    pub(crate) fn new(versions: BTreeMap<Table, Arc<TableVersion>>, epoch: u64, guard: Guard) -> Self {
        Self { versions, epoch, guard, in_doubt: None }
    }

    /// The newest version of a table.
    pub(crate) fn version(&self, table: Table) -> Arc<TableVersion> {
        self.versions.get(&table).cloned().unwrap_or_default()
    }

    /// Commits a change to the newest version of a table.
    ///
    /// # Errors
    /// As [`Catalog::commit`]. One that is fenced ends this writer for good.
    pub(crate) async fn commit(
        &mut self,
        catalog: &Catalog,
        table: Table,
        change: Change,
    ) -> Result<Arc<TableVersion>> {
        let base = self.version(table);
        self.in_doubt = Some(table);
        let version = match catalog.commit(table, &base, change).await {
            Ok(version) => version,
            Err(fenced @ CatalogError::Fenced { .. }) => {
                self.guard.note_lost(fenced.to_string());
                return Err(fenced.into());
            }
            Err(error) => return Err(error.into()),
        };
        self.in_doubt = None;
        self.versions.insert(table, Arc::clone(&version));
        Ok(version)
    }

    /// Commits nothing but the number that the table has, so that a version follows the newest one.
    ///
    /// # Errors
    /// As [`Catalog::commit`].
    pub(crate) async fn touch(&mut self, catalog: &Catalog, table: Table, time: i64) -> Result<()> {
        let base = self.version(table);
        let info = CommitIdentity {
            commit_id: uuid::Uuid::new_v4(),
            epoch: self.epoch,
            first_seq: base.last_seq + 1,
            time,
        };
        let (add, remove, last_seq) = (Vec::new(), Vec::new(), base.last_seq);
        self.commit(catalog, table, Change { add, remove, last_seq, data_change: false, info }).await?;
        Ok(())
    }

    /// Finds out what became of a commit that failed; gives the version that was found back.
    ///
    /// On an object store it may still come in behind this look. The next commit then meets it as a conflict, and is
    /// in doubt itself.
    ///
    /// # Errors
    /// When the table cannot be read; it stays in doubt. When another writer has committed to it: this one ends.
    pub(crate) async fn settle(&mut self, catalog: &Catalog) -> Result<Option<(Table, Arc<TableVersion>)>> {
        let Some(table) = self.in_doubt else { return Ok(None) };
        let version = catalog.load(table).await?;
        if version.epoch > self.epoch {
            let (found, ours) = (version.epoch, self.epoch);
            let fenced = CatalogError::Fenced { table: table.name(), found, ours };
            self.guard.note_lost(fenced.to_string());
            return Err(fenced.into());
        }
        self.in_doubt = None;
        self.versions.insert(table, Arc::clone(&version));
        Ok(Some((table, version)))
    }
}
