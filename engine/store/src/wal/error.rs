//! What can go wrong with the log.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::record::RecordError;

/// The result of an operation on the log.
pub type Result<T, E = WalError> = std::result::Result<T, E>;

/// The log refused, failed or was found damaged: what, where, and what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WalError {
    /// Data that was acknowledged is damaged or missing.
    #[error(
        "log file {} is damaged at offset {offset}: {what}; nothing was changed (`runlake verify` lists all damage)",
        file.display()
    )]
    Corrupt {
        /// The log file.
        file: PathBuf,
        /// Where in the file, in bytes.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// The log was written by a newer version of Runlake.
    #[error(
        "log file {} has {what} {found}, this version knows up to {known}; use a newer Runlake",
        file.display()
    )]
    NewerFormat {
        /// The log file.
        file: PathBuf,
        /// What is newer: the format of the file or the kind of a record.
        what: &'static str,
        /// What the file has.
        found: u32,
        /// What this version knows.
        known: u32,
    },
    /// The log belongs to another lake.
    #[error("log file {} belongs to another lake; was the folder copied?", file.display())]
    WrongLake {
        /// The log file.
        file: PathBuf,
    },
    /// A writer with a higher epoch has written since.
    #[error(
        "log file {} was written in epoch {found}, this writer has epoch {own}: another writer took over",
        file.display()
    )]
    Fenced {
        /// The log file.
        file: PathBuf,
        /// The epoch in the file.
        found: u64,
        /// The epoch of this writer.
        own: u64,
    },
    /// The log ends before the number up to which the tables hold everything.
    #[error(
        "the log in {} ends at record {last_seq}, but the tables hold everything up to {committed_seq}: \
         log files are missing",
        directory.display()
    )]
    EndsEarly {
        /// The folder of the log.
        directory: PathBuf,
        /// The last record found.
        last_seq: u64,
        /// What the tables hold.
        committed_seq: u64,
    },
    /// A record is whole but cannot be understood.
    #[error("record {seq} at offset {offset} of log file {} cannot be read: {source}", file.display())]
    Record {
        /// The log file.
        file: PathBuf,
        /// Where the record begins, in bytes.
        offset: u64,
        /// The number of the record.
        seq: u64,
        /// Why.
        source: RecordError,
    },
    /// A record is larger than a frame may be. Nothing was written.
    #[error("the record has {bytes} bytes, at most {limit} are taken at once; send it in parts")]
    RecordTooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The log has reached its total size because flushing is behind. Nothing was written.
    #[error(
        "the log would have {bytes} bytes, at most {limit} are kept; try again when older data is flushed"
    )]
    Full {
        /// Its size with one more file.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Too little space. Nothing that was not acknowledged is kept.
    #[error("the disk of {} is full: {what}; free some space, writing goes on by itself", path.display())]
    DiskFull {
        /// The folder or file.
        path: PathBuf,
        /// How that was found.
        what: String,
    },
    /// A write failed and was undone. Nothing that was not acknowledged is kept.
    #[error("cannot write log file {} at offset {offset}: {source}", file.display())]
    Write {
        /// The log file.
        file: PathBuf,
        /// Where.
        offset: u64,
        /// What the system says.
        source: io::Error,
    },
    /// A sync failed: what is on the disk is unknown, and this writer must end.
    #[error(
        "cannot sync {}: {source}; nothing more is accepted, restart after checking the disk",
        file.display()
    )]
    Sync {
        /// The file or folder.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// An earlier failure ended this writer.
    #[error("the log accepts nothing more since: {reason}")]
    Poisoned {
        /// The earlier failure.
        reason: String,
    },
    /// A file or folder cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// The file or folder.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A log file was removed while it was being read; start again from a fresh snapshot.
    #[error("log file {} was removed while the log was read; read again", file.display())]
    Vanished {
        /// The log file.
        file: PathBuf,
    },
    /// The configuration makes no sense.
    #[error("the configuration of the log is wrong: {what}")]
    Configuration {
        /// What is wrong.
        what: String,
    },
}

impl WalError {
    /// The stable code of this error, such as `wal.corrupt`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Corrupt { .. } => "wal.corrupt",
            Self::NewerFormat { .. } => "wal.newer_format",
            Self::WrongLake { .. } => "wal.wrong_lake",
            Self::Fenced { .. } => "wal.fenced",
            Self::EndsEarly { .. } => "wal.ends_early",
            Self::Record { .. } => "wal.record",
            Self::RecordTooLarge { .. } => "wal.record_too_large",
            Self::Full { .. } => "wal.full",
            Self::DiskFull { .. } => "disk.full",
            Self::Write { .. } => "wal.write",
            Self::Sync { .. } => "wal.sync",
            Self::Poisoned { .. } => "wal.poisoned",
            Self::Read { .. } => "wal.read",
            Self::Vanished { .. } => "wal.vanished",
            Self::Configuration { .. } => "wal.configuration",
        }
    }

    /// Whether the writer must end: a sync failed now or before.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Sync { .. } | Self::Poisoned { .. })
    }
}
