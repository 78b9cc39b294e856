//! What can go wrong with a segment.

use std::sync::Arc;

/// An error of a segment: which file, which part of it, and what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// A part of the file is not what was written.
    #[error(
        "data file {path} of table {table} is damaged: {part}: {reason}; `runlake verify` lists all damage, restore the file from a backup"
    )]
    Corrupt {
        /// Path of the file in its store.
        path: String,
        /// The table.
        table: &'static str,
        /// The part of the file, such as `row group 2, column value`.
        part: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file does not exist.
    #[error(
        "data file {path} of table {table} is missing; `runlake verify` lists all damage, restore the file from a backup"
    )]
    Missing {
        /// Path of the file in its store.
        path: String,
        /// The table.
        table: &'static str,
    },
    /// The file was written by a newer Runlake.
    #[error(
        "data file {path} has segment format {format}, this build reads up to {supported}: use a newer Runlake"
    )]
    Newer {
        /// Path of the file in its store.
        path: String,
        /// Its format.
        format: u32,
        /// The newest format that is understood.
        supported: u32,
    },
    /// Series did not come in order, or one came twice.
    #[error("series {series} is out of order for a segment: {reason}")]
    Order {
        /// The series.
        series: String,
        /// What is out of order.
        reason: String,
    },
    /// The columns of a series differ in length, or a batch does not have the schema of its table.
    #[error("cannot write a segment of {table}: {reason}")]
    Input {
        /// The table.
        table: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A column or row that does not exist was asked for.
    #[error("segment request is out of range: {reason}")]
    Request {
        /// What is wrong.
        reason: String,
    },
    /// The store failed.
    #[error("reading data file {path} failed: {source}")]
    Store {
        /// Path of the file in its store.
        path: String,
        /// Why.
        source: Arc<object_store::Error>,
    },
    /// The Parquet library failed.
    #[error("Parquet failed on {path}: {source}")]
    Parquet {
        /// Path of the file in its store, or of the table that is written.
        path: String,
        /// Why.
        source: Arc<parquet::errors::ParquetError>,
    },
}

impl SegmentError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Corrupt { .. } => "segment.corrupt",
            Self::Missing { .. } => "segment.missing",
            Self::Newer { .. } => "segment.newer_format",
            Self::Order { .. } => "segment.order",
            Self::Input { .. } => "segment.input",
            Self::Request { .. } => "segment.request",
            Self::Store { .. } => "segment.store",
            Self::Parquet { .. } => "segment.parquet",
        }
    }

    pub(crate) fn store(
        path: &object_store::path::Path,
        table: &'static str,
        error: object_store::Error,
    ) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::Missing { path: path.to_string(), table },
            source => Self::Store { path: path.to_string(), source: Arc::new(source) },
        }
    }

    /// Takes our own error back out of Parquet's, so that a checksum error is shown as one.
    pub(crate) fn parquet(path: &str, error: parquet::errors::ParquetError) -> Self {
        match error {
            parquet::errors::ParquetError::External(inner) => match inner.downcast::<Self>() {
                Ok(own) => *own,
                Err(inner) => Self::Parquet {
                    path: path.to_owned(),
                    source: Arc::new(parquet::errors::ParquetError::External(inner)),
                },
            },
            source => Self::Parquet { path: path.to_owned(), source: Arc::new(source) },
        }
    }
}
