//! What the log holds, and its bytes. The kind of a frame names the content and its version; a new layout gets a new
//! kind and old kinds stay readable. The byte tables stand in `docs/formats/wal.md`.

mod decode;
mod encode;

use model::{Command, ModelError, PointBatch, WriterSequence};
use thiserror::Error;

use super::writer_window::WriterWindow;
pub(crate) use decode::Names;

/// One record: what is durable and visible whole or not at all.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// Points of one accepted batch.
    Points {
        /// Who sent it as which number, when the writer counts.
        writer: Option<WriterSequence>,
        /// The points.
        batch: PointBatch,
    },
    /// Registry commands, applied in order.
    Commands {
        /// Who sent them as which number, when the writer counts.
        writer: Option<WriterSequence>,
        /// The commands.
        commands: Vec<Command>,
    },
    /// Exactly-once windows, carried over when the log files they came from are deleted. An empty one stands for
    /// nothing: it proves that what is before it was synced, or keeps the place of records that were lost.
    Writers(Vec<WriterWindow>),
    /// How far each table held the log when this was written. A table that is found to hold less has lost commits.
    Flushed(Vec<FlushedTable>),
}

/// How far a table held the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlushedTable {
    /// The name of the table.
    pub table: String,
    /// Everything up to this number was in the table.
    pub last_seq: u64,
}

/// The kind of [`Record::Points`], first layout.
pub const KIND_POINTS: u16 = 1;
/// The kind of [`Record::Commands`], first layout.
pub const KIND_COMMANDS: u16 = 2;
/// The kind of [`Record::Writers`], first layout.
pub const KIND_WRITERS: u16 = 3;
/// The kind of [`Record::Flushed`], first layout.
pub const KIND_FLUSHED: u16 = 4;
/// The highest kind that this version reads.
pub const HIGHEST_KIND: u16 = KIND_FLUSHED;

/// Why a payload is no record.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The kind is not known to this version.
    #[error("kind {kind} is unknown to this version")]
    UnknownKind {
        /// The kind.
        kind: u16,
    },
    /// The payload ends too early.
    #[error("{what} is cut off at byte {position}")]
    CutOff {
        /// What was being read.
        what: &'static str,
        /// Where in the payload.
        position: usize,
    },
    /// A number is outside of what it may be.
    #[error("{what} is {value} at byte {position}, at most {limit} is possible")]
    OutOfRange {
        /// What was being read.
        what: &'static str,
        /// The number.
        value: u64,
        /// The largest possible number.
        limit: u64,
        /// Where in the payload.
        position: usize,
    },
    /// Bytes follow the end of the record.
    #[error("{count} bytes follow the end of the record at byte {position}")]
    Trailing {
        /// How many.
        count: usize,
        /// Where in the payload.
        position: usize,
    },
    /// A text is not UTF-8.
    #[error("{what} is no UTF-8 text at byte {position}")]
    Text {
        /// What was being read.
        what: &'static str,
        /// Where in the payload.
        position: usize,
    },
    /// The commands are no JSON of this version.
    #[error("the commands cannot be read: {reason}")]
    Json {
        /// What the parser says.
        reason: String,
    },
    /// A value is refused by the model.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl Record {
    /// The kind that this record is written as.
    pub fn kind(&self) -> u16 {
        match self {
            Self::Points { .. } => KIND_POINTS,
            Self::Commands { .. } => KIND_COMMANDS,
            Self::Writers(_) => KIND_WRITERS,
            Self::Flushed(_) => KIND_FLUSHED,
        }
    }

    /// Appends the payload of this record to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Points { writer, batch } => encode::points(writer.as_ref(), batch, out),
            Self::Commands { writer, commands } => encode::commands(writer.as_ref(), commands, out),
            Self::Writers(windows) => encode::writers(windows, out),
            Self::Flushed(tables) => encode::flushed(tables, out),
        }
    }

    /// Reads a payload of a kind.
    ///
    /// # Errors
    /// Any payload that [`Record::encode`] cannot have made is refused with the place where it goes wrong. No bytes,
    /// however hostile, cause a panic or an allocation beyond a small multiple of their own length.
    pub fn decode(kind: u16, payload: &[u8]) -> Result<Self, RecordError> {
        Self::decode_with(kind, payload, &mut Names::default())
    }

    /// [`Self::decode`] for many records, which mostly have the same names.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub(crate) fn decode_with(kind: u16, payload: &[u8], names: &mut Names) -> Result<Self, RecordError> {
        match kind {
            KIND_POINTS => decode::points(payload, names),
            KIND_COMMANDS => decode::commands(payload),
            KIND_WRITERS => decode::writers(payload),
            KIND_FLUSHED => decode::flushed(payload),
            _ => Err(RecordError::UnknownKind { kind }),
        }
    }

    /// Who sent the points of a [`KIND_POINTS`] payload.
    ///
    /// # Errors
    /// As [`Self::decode`], for the beginning of the payload.
    pub(crate) fn decode_writer(payload: &[u8]) -> Result<Option<WriterSequence>, RecordError> {
        decode::writer(payload)
    }
}

/// A payload begins with these flags.
const FLAG_WRITER: u8 = 1;
/// A column whose neighbours all differ by the same amount: only the amount is written.
const COLUMN_STRIDE: u8 = 0;
/// A column of differences.
const COLUMN_DELTAS: u8 = 1;

#[cfg(test)]
mod tests;
