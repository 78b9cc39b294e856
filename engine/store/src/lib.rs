//! The lake: WAL, memtable, registry, segments and the Delta catalog; one writer, many snapshots.
//!
//! A write goes [`Store::append`] → log, synced → acknowledged → memtable → (flush) Parquet segment → one Delta commit
//! that carries the log's sequence number → log files deleted. Readers hold a [`Snapshot`].

mod backup;
pub mod catalog;
mod committed;
mod compact;
mod config;
mod damage;
pub mod disk;
mod error;
mod flush;
mod lake_file;
mod layout;
mod live;
mod lock;
mod maintenance;
mod memory_scan;
mod memtable;
mod quarantine;
mod reach;
mod recover;
mod registry;
mod salvage;
pub mod segment;
mod series_index;
mod snapshot;
mod state;
mod store;
pub mod tables;
mod vacuum;
mod verify;
pub mod wal;
mod writer;

pub use backup::{BackupReport, RestoreReport, backup, restore};
pub use compact::{CompactOptions, CompactReport, SkippedFile};
pub use config::{Clock, StoreConfig, SyncPolicy};
pub use damage::Damage;
pub use error::{Result, StoreError};
pub use flush::FlushReport;
pub use lake_file::{FORMAT, LakeFile, LakeFileError};
pub use layout::Layout;
pub use lock::LockError;
pub use maintenance::{MaintenanceConfig, WriteVolume};
pub use quarantine::{QuarantineReport, SetAside, quarantine};
pub use recover::{open_snapshot, open_snapshot_on, open_snapshot_tolerant};
pub use registry::{Registry, RegistryError, RunOrdinal, Runs, config_hash};
pub use salvage::{SalvageReport, salvage};
pub use series_index::{SeriesEntries, SeriesEntry, SeriesIndex, SeriesOrdinal};
pub use snapshot::Snapshot;
pub use store::Store;
pub use vacuum::{VacuumOptions, VacuumReport, VacuumedFile};
pub use verify::{Finding, Progress, ProgressSink, VerifyReport, verify, verify_on, verify_with};
pub use writer::Acknowledgement;
