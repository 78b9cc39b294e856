//! The errors of a simulation.

use std::path::PathBuf;

/// Why a simulation stopped.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// A file of real runs cannot be read.
    #[error("{}: {source}; unpack the data anew", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A statistic refused its data.
    #[error(transparent)]
    Analysis(#[from] analysis::AnalysisError),
    /// A kernel refused its data.
    #[error(transparent)]
    Kernel(#[from] kernels::KernelError),
}

/// Results of this crate.
pub type Result<T> = std::result::Result<T, CalibrationError>;
