//! What can go wrong here.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a command failed.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The command line is none of ours.
    #[error("use: device-code ptx [--check] | resources [--check]")]
    Usage,
    /// A tool cannot be fetched from here.
    #[error("{0}")]
    Unreachable(String),
    /// A tool is not what it should be.
    #[error("{path}: sha256 is {got}, expected {expected}; remove the file and try again")]
    WrongTool {
        /// The file.
        path: PathBuf,
        /// Its hash.
        got: String,
        /// The hash of the one version that is used.
        expected: &'static str,
    },
    /// A tool refused its input.
    #[error("{tool} failed:\n{said}")]
    Refused {
        /// The tool.
        tool: &'static str,
        /// What it printed.
        said: String,
    },
    /// What is in the repository is not what the sources give.
    #[error("{0}")]
    Stale(String),
    /// A file cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

impl Failure {
    /// For `map_err` after work on a file.
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |error| Self::File { path, error }
    }
}
