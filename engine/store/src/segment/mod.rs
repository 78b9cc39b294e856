//! Segments: immutable Parquet files with a checksum over every byte that a reader relies on.
//!
//! A segment of `points` holds whole series, each sorted by (step, fraction, time, arrival), and a chunk index that
//! tells for every series its exact rows. The other tables are written as plain row files. Both carry the same seal:
//! a CRC32C per column chunk and one over everything behind the column data (`docs/formats/segment.md`).

pub mod chunk_index;
mod error;
pub mod points;
pub mod rows;
pub mod seal;
mod series_lookup;
mod statistics;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;
use parquet::basic::{Compression, ZstdLevel};

pub use error::SegmentError;

/// Result of this module.
pub type Result<T, E = SegmentError> = std::result::Result<T, E>;

/// Rows in a row group. A column chunk is checked as a whole at its first read, so it should stay around one
/// mebibyte; and a row group should be large enough that its share of the footer does not matter.
pub const ROW_GROUP_ROWS: usize = 131_072;

/// Rows in a data page: the smallest unit that is decoded. One series of the median run costs one or two pages.
pub const PAGE_ROWS: usize = 8_192;

/// The name under which the parts of Runlake sign files.
pub(crate) const CREATED_BY: &str = concat!("runlake ", env!("CARGO_PKG_VERSION"));

/// The newest segment format that this build reads and the one it writes.
pub const FORMAT: u32 = 1;

/// A segment in memory, ready to be stored and committed.
#[derive(Debug, Clone)]
pub struct EncodedSegment {
    /// The whole file.
    pub bytes: Bytes,
    /// Number of rows.
    pub rows: u64,
    /// Statistics in the JSON form of Delta's `add` action.
    pub stats: String,
    /// Tags for Delta's `add` action: `crc32c` (of the whole file, 8 hexadecimal digits), `kind`, `format`, `series`.
    pub tags: BTreeMap<String, String>,
}

impl EncodedSegment {
    fn new(bytes: Vec<u8>, rows: u64, stats: String, kind: &str) -> Self {
        let tags = BTreeMap::from([
            ("crc32c".to_owned(), format!("{:08x}", crc32c::crc32c(&bytes))),
            ("kind".to_owned(), kind.to_owned()),
            ("format".to_owned(), FORMAT.to_string()),
        ]);
        Self { bytes: bytes.into(), rows, stats, tags }
    }
}

/// How long the compression may take: what was chosen by is in `docs/formats/segment.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effort {
    /// For a flush, which writers may be waiting for.
    #[default]
    Quick,
    /// For a compaction, whose files stay.
    Thorough,
}

impl Effort {
    /// The compression of all columns.
    fn compression(self) -> Compression {
        let level = match self {
            Self::Quick => 1,
            Self::Thorough => 3,
        };
        Compression::ZSTD(ZstdLevel::try_new(level).unwrap_or_default())
    }
}
