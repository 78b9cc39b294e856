//! Whether the log reaches back to what the tables hold: what is in neither is lost, and must never be taken for
//! something that was not there.
//!
//! A table that a flush does not touch keeps an old number, and the log files of that time are removed later. So an old
//! number alone proves no loss; what does is a number below the one that the log itself has noted for the table
//! ([`crate::wal::Record::Flushed`]), or a log that begins behind the highest number of all tables.

use model::schema::Table;

use crate::catalog::{Catalog, CatalogError};
use crate::error::{Result, StoreError};
use crate::recover::TableVersions;
use crate::wal::FlushedTable;

/// Refuses a log that begins behind what the tables together hold.
pub(crate) fn check_start(tables: &TableVersions, first_seq: u64) -> Result<()> {
    let newest = tables.iter().max_by_key(|(_, version)| version.last_seq);
    let Some((table, version)) = newest else { return Ok(()) };
    if first_seq <= version.last_seq.saturating_add(1) {
        return Ok(());
    }
    Err(StoreError::LogStartsLate { first_seq, table: table.name(), last_seq: version.last_seq })
}

/// Refuses a table that holds less than it held once, unless the log still has the rest.
pub(crate) fn check_flushed(tables: &TableVersions, first_seq: u64, held: &[FlushedTable]) -> Result<()> {
    for FlushedTable { table: name, last_seq } in held {
        let Some(table) = Table::ALL.into_iter().find(|table| table.name() == name) else { continue };
        let (version, found) =
            tables.get(&table).map_or((None, 0), |version| (version.version, version.last_seq));
        if found < *last_seq && first_seq > found.saturating_add(1) {
            let file = crate::catalog::commit_file(version.map_or(0, |version| version + 1));
            return Err(StoreError::CommitsLost { table: table.name(), file, held: *last_seq, found });
        }
    }
    Ok(())
}

/// Whether a damaged newest commit can be made again from the log: setting it aside would lose its rows otherwise.
pub(crate) async fn check_newest_commit(
    catalog: &Catalog,
    table: Table,
    first_seq: Option<u64>,
) -> Result<()> {
    let Err(CatalogError::LogDamaged { table: name, file, reason, last: true }) = catalog.load(table).await
    else {
        return Ok(());
    };
    let (prefix, _) = catalog.load_whole_commits(table).await?;
    if first_seq.is_some_and(|first_seq| first_seq <= prefix.last_seq.saturating_add(1)) {
        return Ok(());
    }
    let reason = format!("{reason}; the log does not reach back to what it held, so it cannot be made again");
    Err(CatalogError::LogDamaged { table: name, file, reason, last: false }.into())
}
