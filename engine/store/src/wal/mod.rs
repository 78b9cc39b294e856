//! The write-ahead log: what is acknowledged is synced here first.
mod error;
pub mod record;
pub mod writer_window;

pub use error::{Result, WalError};
pub use record::{Record, RecordError};
pub use writer_window::{Observation, WriterWindow};
