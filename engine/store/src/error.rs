//! What can go wrong with a lake.

use model::ModelError;
use model::schema::Table;
use thiserror::Error;

use crate::catalog::CatalogError;
use crate::lake_file::LakeFileError;
use crate::lease::LeaseError;
use crate::location::LocationError;
use crate::lock::LockError;
use crate::registry::RegistryError;
use crate::segment::SegmentError;
use crate::state_folder::StateError;
use crate::store_check::StoreCheckError;
use crate::tables::RowError;
use crate::wal::WalError;

/// The result of an operation on the store.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// An operation on the lake failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no lake at this place.
    #[error(
        "there is no lake at {path}; make one with `runlake demo`, `runlake import` or `runlake serve`, or name another with --lake"
    )]
    NoLake {
        /// The folder.
        path: String,
    },
    /// The lake file is missing, damaged or newer.
    #[error(transparent)]
    LakeFile(#[from] LakeFileError),
    /// Another process writes.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The location cannot be used.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// The lease of a lake on an object store cannot be had, or was lost.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The state folder of a lake on an object store cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The object store cannot hold a lake.
    #[error(transparent)]
    StoreCheck(#[from] StoreCheckError),
    /// A folder or file could not be made.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The log refused or failed.
    #[error(transparent)]
    Wal(#[from] std::sync::Arc<WalError>),
    /// A Delta table refused or failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A Parquet file refused or failed.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// A checkpoint holds a row that cannot be.
    #[error("table {table:?}, file {file}: {source}")]
    Row {
        /// The table.
        table: Table,
        /// The file in the table's folder.
        file: String,
        /// What is wrong.
        source: RowError,
    },
    /// A checkpoint could not be built.
    #[error("cannot build the rows of table {table:?}: {source}")]
    Encode {
        /// The table.
        table: Table,
        /// The cause.
        source: arrow::error::ArrowError,
    },
    /// The log begins behind what the tables hold: log files are missing.
    #[error(
        "the log begins at record {first_seq}, but the tables hold only what is up to record {last_seq} (table {table}): older log files are missing; restore them or a backup, or accept the loss with `runlake verify --salvage`"
    )]
    LogStartsLate {
        /// The first record of the log.
        first_seq: u64,
        /// The table that holds most.
        table: &'static str,
        /// What it holds.
        last_seq: u64,
    },
    /// A table holds less than the log says that it held: its newest commits are missing.
    #[error(
        "table {table} held everything up to log record {held} and now only up to {found}: tables/{table}/{file} and what follows it are missing; restore them or a backup"
    )]
    CommitsLost {
        /// The table.
        table: &'static str,
        /// The first commit that is missing.
        file: String,
        /// What it held.
        held: u64,
        /// What it holds.
        found: u64,
    },
    /// A backup cannot be made or restored.
    #[error("{place}: {reason}")]
    Backup {
        /// The file or folder.
        place: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A part of the lake that is needed is damaged.
    #[error("{damage}; `runlake verify` lists all damage, what is not named there is sound")]
    Damaged {
        /// What is damaged.
        damage: Box<crate::damage::Damage>,
    },
    /// A value is not valid.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A command does not fit the registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A writer's number is so far behind that it cannot be told whether the batch was applied.
    #[error(
        "batch {client_seq} of client {client_id:?} is too far behind its newest one to tell whether it was applied; start a new client id"
    )]
    SequenceTooOld {
        /// The client.
        client_id: String,
        /// The number.
        client_seq: u64,
    },
    /// Writers are ahead of what can be flushed.
    #[error(
        "the memtable is full and a flush has not made room within {waited_secs} s{reason}; send the batch again"
    )]
    Busy {
        /// How long the writer waited.
        waited_secs: u64,
        /// Why the flush does not go on, when known.
        reason: String,
    },
    /// What runs, series and writers take in memory has reached its share of the limit.
    #[error(
        "runs, series and writers of this lake take {held_mib} MiB, which is what the memory limit leaves for them; points of known series are still taken; serve with a larger --memory, or delete runs"
    )]
    Resident {
        /// What they take.
        held_mib: usize,
    },
    /// The process is near its memory limit.
    #[error(
        "the process is near its memory limit of {limit_mib} MiB, so no new writes are taken until a flush has made room; send the batch again"
    )]
    Memory {
        /// The limit.
        limit_mib: usize,
    },
    /// The object store does not answer, so that this process cannot know whether it still is the writer.
    #[error(
        "the writer's lease was not renewed for {waited_secs} s, since the object store does not answer; send the batch again with the same sequence"
    )]
    Unrenewed {
        /// How long the write waited.
        waited_secs: u64,
    },
    /// An earlier failure made the writer stop for good.
    #[error(
        "the writer stopped after a failure of the log; the process must be restarted (acknowledged writes are safe)"
    )]
    Stopped,
}

impl From<WalError> for StoreError {
    fn from(error: WalError) -> Self {
        Self::Wal(std::sync::Arc::new(error))
    }
}

impl StoreError {
    /// The stable code of this error, such as `disk.full`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoLake { .. } => "lake.absent",
            Self::LakeFile(LakeFileError::TooNew { .. }) => "lake.too_new",
            Self::LakeFile(LakeFileError::Store { .. }) => "lake.store",
            Self::LakeFile(_) => "lake.damaged",
            Self::Location(_) => "lake.location",
            Self::Lock(LockError::Held { .. }) | Self::Lease(LeaseError::Held { .. }) => "lake.locked",
            Self::Lease(LeaseError::Lost { .. }) => "lease.lost",
            Self::Lease(LeaseError::TooNew { .. }) | Self::State(StateError::TooNew { .. }) => "lake.too_new",
            Self::Lease(LeaseError::Store { .. }) => "lake.store",
            Self::Lease(_) => "lease.damaged",
            Self::State(StateError::Foreign { .. }) => "state.foreign",
            Self::State(StateError::Stale { .. }) => "state.stale",
            Self::State(StateError::Damaged { .. }) => "state.damaged",
            Self::State(StateError::Io { .. }) => "disk.io",
            Self::StoreCheck(StoreCheckError::Failed { .. }) => "lake.store",
            Self::StoreCheck(_) => "store.unfit",
            Self::Lock(_) | Self::Io { .. } => "disk.io",
            Self::Wal(error) => error.code(),
            Self::Catalog(error) => error.code(),
            Self::Segment(error) => error.code(),
            Self::LogStartsLate { .. } => "wal.starts_late",
            Self::CommitsLost { .. } => "catalog.commits_lost",
            Self::Backup { .. } => "backup.refused",
            Self::Damaged { .. } => "lake.part_damaged",
            Self::Row { .. } => "checkpoint.corrupt",
            Self::Encode { .. } => "checkpoint.encode",
            Self::Model(error) => error.code(),
            Self::Registry(RegistryError::RunUnknown { .. }) => "run.unknown",
            Self::Registry(RegistryError::ExperimentUnknown { .. }) => "experiment.unknown",
            Self::Registry(RegistryError::ProjectUnknown { .. }) => "project.unknown",
            Self::Registry(RegistryError::ViewUnknown { .. }) => "view.unknown",
            Self::Registry(RegistryError::TooManyViews { .. }) => "view.too_many",
            Self::Registry(RegistryError::ParamConflict { .. }) => "param.conflict",
            Self::Registry(RegistryError::RunElsewhere { .. }) => "run.elsewhere",
            Self::Registry(RegistryError::Record(error)) => error.code(),
            Self::Registry(RegistryError::RecordUnknown { .. }) => "record.unknown",
            Self::Registry(RegistryError::RecordElsewhere { .. }) => "record.elsewhere",
            Self::SequenceTooOld { .. } => "writer.too_old",
            Self::Busy { .. } => "writer.busy",
            Self::Resident { .. } => "memory.resident",
            Self::Memory { .. } => "memory.limit",
            Self::Unrenewed { .. } => "lease.unrenewed",
            Self::Stopped => "writer.stopped",
        }
    }
}
