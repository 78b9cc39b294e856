//! How far the last few flushes got, as the tables themselves say: which log files a new writer may delete.

use std::collections::BTreeSet;

use model::schema::Table;

use super::{Catalog, Result, TableVersion, log};

/// Commits of a table that are looked at for their WAL numbers; compactions repeat the number of the flush before.
const LOOKED_AT: i64 = 8;

impl Catalog {
    /// The WAL numbers of the last commits of a table, at most `count` different ones. Commits that are no longer
    /// there, or that cannot be read, are left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn recent_seqs(
        &self,
        table: Table,
        version: &TableVersion,
        count: usize,
    ) -> Result<BTreeSet<u64>> {
        let mut seqs = BTreeSet::from([version.last_seq]);
        let newest = version.version.unwrap_or_default();
        let store = self.store(table);
        for older in (newest.saturating_sub(LOOKED_AT).max(1)..newest).rev() {
            if seqs.len() >= count {
                break;
            }
            if let Some(Ok(commit)) = log::read_commit(store.as_ref(), table.name(), older).await? {
                seqs.extend(commit.last_seq);
            }
        }
        Ok(seqs)
    }
}
