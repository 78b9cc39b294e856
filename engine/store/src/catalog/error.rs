//! What can go wrong with the catalog.

use std::sync::Arc;

use crate::segment::SegmentError;

/// An error of the catalog: which table and file, and what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// A commit of the log cannot be read; the table is not usable.
    #[error(
        "the log of table {table} is damaged at {file}: {reason}; the other tables work, restore this one from a backup"
    )]
    LogDamaged {
        /// The table.
        table: &'static str,
        /// The file of the log.
        file: String,
        /// What is wrong with it.
        reason: String,
        /// Whether it is the newest commit, which the writer sets aside and makes again from the WAL.
        last: bool,
    },
    /// A commit of another program stands in the log.
    #[error(
        "commit {version} of table {table} was not made by Runlake: {reason}; one writer per lake, other programs may only read it"
    )]
    Foreign {
        /// The table.
        table: &'static str,
        /// The version of the commit.
        version: i64,
        /// How it shows.
        reason: String,
    },
    /// The table has not been created.
    #[error("table {table} does not exist in this lake; a writer creates it when it opens the lake")]
    NoTable {
        /// The table.
        table: &'static str,
    },
    /// Somebody committed in between.
    #[error("commit {version} of table {table} exists already (by {by}): load the table again")]
    Conflict {
        /// The table.
        table: &'static str,
        /// The version that was to be made.
        version: i64,
        /// The id of the commit that is there.
        by: String,
    },
    /// A writer with a higher epoch took over: this one must stop.
    #[error(
        "a newer writer (epoch {found}, ours {ours}) has committed to table {table}: this writer is fenced and stops"
    )]
    Fenced {
        /// The table.
        table: &'static str,
        /// The epoch of the commit in the log.
        found: u64,
        /// The epoch of this writer.
        ours: u64,
    },
    /// The change makes no sense.
    #[error("cannot commit to table {table}: {reason}")]
    Change {
        /// The table.
        table: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The location cannot be a lake.
    #[error("{location} cannot be a lake: {reason}")]
    Location {
        /// The location as given.
        location: String,
        /// Why not.
        reason: String,
    },
    /// A sync failed: what is on the disk is unknown, and the writer stops.
    #[error("table {table}: {reason}; nothing more is accepted, restart after checking the disk")]
    Sync {
        /// The table.
        table: &'static str,
        /// What could not be synced.
        reason: String,
    },
    /// The store failed.
    #[error("table {table}: the store failed: {source}")]
    Store {
        /// The table.
        table: &'static str,
        /// Why.
        source: Arc<object_store::Error>,
    },
    /// The Delta library failed.
    #[error("table {table}: Delta failed: {source}")]
    Delta {
        /// The table.
        table: &'static str,
        /// Why.
        source: Arc<deltalake_core::DeltaTableError>,
    },
    /// A data file is damaged or missing.
    #[error(transparent)]
    Segment(#[from] SegmentError),
}

impl CatalogError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::LogDamaged { .. } => "catalog.log_damaged",
            Self::Foreign { .. } => "catalog.foreign_commit",
            Self::NoTable { .. } => "catalog.no_table",
            Self::Conflict { .. } => "catalog.conflict",
            Self::Fenced { .. } => "catalog.fenced",
            Self::Change { .. } => "catalog.change",
            Self::Location { .. } => "catalog.location",
            Self::Sync { .. } => "catalog.sync",
            Self::Store { .. } => "catalog.store",
            Self::Delta { .. } => "catalog.delta",
            Self::Segment(error) => error.code(),
        }
    }

    pub(crate) fn store(table: &'static str, source: object_store::Error) -> Self {
        Self::Store { table, source: Arc::new(source) }
    }

    pub(crate) fn delta(table: &'static str, source: deltalake_core::DeltaTableError) -> Self {
        Self::Delta { table, source: Arc::new(source) }
    }
}
