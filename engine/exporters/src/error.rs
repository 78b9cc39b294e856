//! What can stop an export.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// The result of an operation of this crate.
pub type Result<T, E = ExportError> = std::result::Result<T, E>;

/// An export failed; nothing new stands at its target.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// Something cannot be written.
    #[error("{path}: {action} failed: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The target is there already.
    #[error("{path}: {reason}", path = path.display())]
    Target {
        /// The target.
        path: PathBuf,
        /// What stands there, and what to do.
        reason: String,
    },
    /// A choice that the form does not have.
    #[error("{reason}")]
    Options {
        /// What does not fit, and what does.
        reason: String,
    },
    /// Columns cannot be encoded.
    #[error("{path}: cannot be written as Parquet: {source}", path = path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the encoder said.
        source: parquet::errors::ParquetError,
    },
    /// Points of a run that the export was not given.
    #[error("points of run {run} came, but not the run")]
    UnknownRun {
        /// The run.
        run: model::RunId,
    },
}

impl ExportError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "export.io",
            Self::Target { .. } => "export.target",
            Self::Options { .. } => "export.options",
            Self::Parquet { .. } => "export.parquet",
            Self::UnknownRun { .. } => "export.unknown_run",
        }
    }

    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, action, source }
    }

    pub(crate) fn parquet(path: &Path) -> impl FnOnce(parquet::errors::ParquetError) -> Self {
        let path = path.to_owned();
        move |source| Self::Parquet { path, source }
    }
}
