//! What can stop a measurement.

use thiserror::Error;

/// The result of a measurement.
pub type Result<T, E = LoadError> = std::result::Result<T, E>;

/// A measurement could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A file, a folder or a process.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The lake refused.
    #[error(transparent)]
    Lake(Box<runlake::Error>),
    /// The server under load refused, or its connection broke.
    #[error(transparent)]
    Client(Box<server::client::ClientError>),
    /// The corpus cannot be made.
    #[error(transparent)]
    Corpus(#[from] datasets::CorpusError),
    /// A name or a batch of the load is not valid.
    #[error(transparent)]
    Model(#[from] model::ModelError),
    /// The server under load did not start.
    #[error("the server under load did not start: {reason}")]
    Server {
        /// What it said in place of its address.
        reason: String,
    },
    /// A task of the load ended early.
    #[error("a task of the load ended early: {reason}")]
    Task {
        /// Why.
        reason: String,
    },
    /// A file to import cannot be written.
    #[error("cannot write the Parquet file to import: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// A file to import cannot be written.
    #[error("cannot build the Parquet file to import: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// A peer failed.
    #[cfg(feature = "peers")]
    #[error("SQLite: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

impl From<runlake::Error> for LoadError {
    fn from(error: runlake::Error) -> Self {
        Self::Lake(Box::new(error))
    }
}

impl From<server::client::ClientError> for LoadError {
    fn from(error: server::client::ClientError) -> Self {
        Self::Client(Box::new(error))
    }
}

/// Says what was tried with a file.
pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> LoadError {
    let what = what.into();
    move |source| LoadError::Io { what, source }
}

pub(crate) fn joined<T>(outcome: Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    outcome.map_err(|error| LoadError::Task { reason: error.to_string() })?
}
