//! The write-ahead log: what is acknowledged is synced here first.
//!
//! The bytes and what every possible crash leaves behind stand in `docs/formats/wal.md`. Plain blocking code; the
//! clock is not used.
//!
//! ```
//! # use std::sync::Arc;
//! # use store::disk::RealDisk;
//! # use store::wal::{Record, Wal, WalConfig};
//! # let folder = tempfile::tempdir().unwrap();
//! let mut config = WalConfig::new(folder.path().join("wal"), [7; 16], 1);
//! config.file_bytes = 1 << 20;
//! config.frame_bytes = 1 << 16;
//! let (mut wal, _) = Wal::open(config.clone(), Arc::new(RealDisk)).unwrap();
//! let seq = wal.append(&Record::Writers(vec![])).unwrap();
//! assert_eq!(wal.sync().unwrap(), seq);
//! drop(wal);
//! let (_, recovered) = Wal::open(config, Arc::new(RealDisk)).unwrap();
//! assert_eq!(recovered.count(), 1);
//! ```

mod copy;
mod error;
mod file;
mod format;
mod log;
pub mod record;
mod recover;
mod replay;
mod salvage;
mod scan;
mod survey;
pub mod writer_window;

pub(crate) use copy::whole_files;
pub use error::{Result, WalError};
pub(crate) use file::bytes;
pub use log::{Wal, WalConfig};
pub use record::{FlushedTable, Record, RecordError};
pub use recover::{Recovered, TornTail};
pub(crate) use replay::Replayed;
pub use salvage::SalvagedFile;
pub(crate) use salvage::plan as plan_salvage;
pub use scan::{Scan, first_seq, scan, verify};
pub use survey::{Finding, Survey, survey};
pub use writer_window::{Observation, WriterWindow};

#[cfg(test)]
mod tests;
