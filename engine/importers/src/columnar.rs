//! Parquet files of strangers, and what is decoded of Arrow: opened with the claims of their footers checked, decoded so
//! that damage is an error.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use parquet::arrow::arrow_reader::{ArrowReaderBuilder, ParquetRecordBatchReaderBuilder, SyncReader};

use crate::error::{ImportError, Result};
use crate::files;
use crate::limits::Limits;

pub(crate) const KIND: &str = "Parquet";

/// What makes readers of a file.
pub(crate) type Builder = ArrowReaderBuilder<SyncReader<File>>;

/// A file with when it was last written, microseconds since 1970 UTC, and its size.
pub(crate) fn open(path: &Path, limits: &Limits) -> Result<(Builder, i64, u64)> {
    let (file, metadata) = files::open_regular(path, limits)?;
    let size = metadata.len();
    let builder =
        caught(path, || ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| error.to_string()))?;
    check_claims(path, &builder, size, limits)?;
    Ok((builder, files::modified_micros(&metadata), size))
}

/// What the footer claims is checked before anything is allocated for it.
fn check_claims(path: &Path, builder: &Builder, size: u64, limits: &Limits) -> Result<()> {
    const GROUP_ROWS: i64 = 64 << 20;
    let unreadable = |reason: String| Err(ImportError::unreadable(path, KIND, reason));
    let mut expanded = 0_u64;
    for (index, group) in builder.metadata().row_groups().iter().enumerate() {
        if !(0..=GROUP_ROWS).contains(&group.num_rows()) {
            return unreadable(format!("row group {index} claims {} rows", group.num_rows()));
        }
        for column in group.columns() {
            // A dictionary stands in front of the data and counts as part of the chunk.
            let data = column.data_page_offset();
            let start = column.dictionary_page_offset().map_or(data, |dictionary| dictionary.min(data));
            let length = column.compressed_size();
            let fits = u64::try_from(start).is_ok_and(|start| {
                u64::try_from(length)
                    .is_ok_and(|length| start.checked_add(length).is_some_and(|end| end <= size))
            });
            if !fits {
                let name = column.column_path().string();
                return unreadable(format!(
                    "row group {index}: column {name:?} claims bytes outside of the file"
                ));
            }
            expanded = expanded.saturating_add(u64::try_from(column.uncompressed_size()).unwrap_or(u64::MAX));
        }
    }
    // A row of a dictionary page expands without limit; what is claimed at least is bounded.
    if expanded > limits.expanded_bytes
        || expanded > (16 << 20_u64).max(size.saturating_mul(limits.expansion_ratio))
    {
        return Err(ImportError::TooLarge {
            path: path.to_owned(),
            what: "the uncompressed size in bytes that the footer claims",
            actual: expanded,
            limit: limits.expanded_bytes.min(size.saturating_mul(limits.expansion_ratio)),
        });
    }
    Ok(())
}

/// Runs a step of the decoder, which must not end the import even where a damaged file makes it panic.
pub(crate) fn caught<T>(path: &Path, step: impl FnOnce() -> std::result::Result<T, String>) -> Result<T> {
    caught_in(path, KIND, step)
}

/// As [`caught`], of a file of another kind.
pub(crate) fn caught_in<T>(
    path: &Path,
    kind: &'static str,
    step: impl FnOnce() -> std::result::Result<T, String>,
) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(reason)) => Err(ImportError::unreadable(path, kind, reason)),
        Err(_) => Err(ImportError::unreadable(path, kind, "the file is damaged: its decoder failed")),
    }
}

/// The names of a file's columns; none of one that cannot be read.
pub(crate) fn column_names(path: &Path, limits: &Limits) -> Vec<String> {
    match open(path, limits) {
        Ok((builder, ..)) => builder.schema().fields().iter().map(|field| field.name().clone()).collect(),
        Err(_) => Vec::new(),
    }
}
