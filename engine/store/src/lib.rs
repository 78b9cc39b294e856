//! The lake: WAL, memtable, registry, segments and the Delta catalog; one writer, many snapshots.
//!
//! A write goes [`Store::append`] → log, synced → acknowledged → memtable → (flush) Parquet segment → one Delta commit
//! that carries the log's sequence number → log files deleted. Readers hold a [`Snapshot`].

mod carried_windows;
pub mod catalog;
mod config;
pub mod disk;
mod error;
mod flush;
mod lake_file;
mod layout;
mod lease;
mod location;
mod lock;
mod memory_scan;
mod memtable;
mod open;
mod ownership;
mod recover;
mod registry;
pub mod segment;
mod series_index;
mod snapshot;
mod stale_log;
mod state;
mod state_folder;
mod store;
mod store_check;
pub mod tables;
mod unsettled;
mod verify;
pub mod wal;
mod writer;

pub use config::{Clock, StaleLog, StoreConfig, SyncPolicy};
pub use error::{Result, StoreError};
pub use flush::FlushReport;
pub use lake_file::{FORMAT, LakeFile, LakeFileError};
pub use layout::Layout;
pub use lease::{LeaseError, LeaseFile, LeaseTimes, Takeover};
pub use location::{Location, LocationError};
pub use lock::LockError;
pub use open::{find, open_snapshot, open_snapshot_on};
pub use registry::{Registry, RegistryError, RunOrdinal, config_hash};
pub use series_index::{SeriesEntry, SeriesIndex, SeriesOrdinal};
pub use snapshot::Snapshot;
pub use stale_log::Adopted;
pub use state_folder::{StateError, StateFile};
pub use store::Store;
pub use store_check::StoreCheckError;
pub use verify::{Finding, VerifyReport, verify, verify_on};
pub use writer::Acknowledgement;
