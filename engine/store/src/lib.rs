//! The lake: WAL, memtable, registry, segments and the Delta catalog; one writer, many snapshots.
//!
//! A write goes [`Store::append`] → log, synced → acknowledged → memtable → (flush) Parquet segment → one Delta commit
//! that carries the log's sequence number → log files deleted. Readers hold a [`Snapshot`].

mod backup;
mod carried_windows;
pub mod catalog;
mod chunked;
mod committed;
mod compact;
mod config;
mod damage;
pub mod disk;
mod error;
mod flush;
mod kept_files;
mod lake_file;
mod layout;
mod lease;
mod live;
mod location;
mod lock;
mod maintenance;
mod memory_scan;
mod memtable;
mod open;
mod ownership;
mod quarantine;
#[cfg(any(test, feature = "testing"))]
pub mod random;
mod reach;
mod read_series;
mod recover;
mod registry;
mod salvage;
pub mod segment;
mod series_index;
mod snapshot;
mod stale_log;
mod state;
mod state_folder;
mod store;
mod store_check;
pub mod tables;
mod vacuum;
mod verify;
pub mod wal;
mod writer;

pub use backup::{BackupReport, RestoreReport, backup, restore};
pub use compact::{CompactOptions, CompactReport, SkippedFile};
pub use config::{Clock, StaleLog, StoreConfig, SyncPolicy};
pub use damage::Damage;
pub use error::{Result, StoreError};
pub use flush::FlushReport;
pub use kept_files::KeptFiles;
pub use lake_file::{FORMAT, LakeFile, LakeFileError};
pub use layout::Layout;
pub use lease::{LeaseError, LeaseFile, LeaseTimes, Takeover};
pub use location::{Location, LocationError};
pub use lock::LockError;
pub use maintenance::{MaintenanceConfig, WriteVolume};
pub use open::{find, open_snapshot, open_snapshot_on, open_snapshot_tolerant};
pub use quarantine::{QuarantineReport, SetAside, quarantine};
pub use registry::{
    CodedTexts, ConfigHash, KeyColumn, KeyColumns, Place, RecordTable, Registry, RegistryError, RunColumns,
    RunField, RunOrdinal, RunPiece, RunRow, Runs, ValueKinds, boolean,
};
pub use salvage::{SalvageReport, salvage};
pub use series_index::{MetricNumber, SeriesEntries, SeriesEntry, SeriesIndex, SeriesOrdinal};
pub use snapshot::Snapshot;
pub use stale_log::Adopted;
pub use state_folder::{StateError, StateFile};
pub use store::{PendingWrite, Store};
pub use store_check::StoreCheckError;
pub use vacuum::{VacuumOptions, VacuumReport, VacuumedFile};
pub use verify::{Finding, Progress, ProgressSink, VerifyReport, verify, verify_on, verify_with};
pub use writer::Acknowledgement;
