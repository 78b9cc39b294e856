//! What can go wrong in the library.

use thiserror::Error;

/// The result of an operation of the library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An operation failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The location of a lake cannot be used.
    #[error(transparent)]
    Location(#[from] store::LocationError),
    /// The lake is open for reading only.
    #[error("the lake is open for reading only: {reason}")]
    ReadOnly {
        /// Why.
        reason: String,
    },
    /// A value is not valid.
    #[error(transparent)]
    Model(#[from] model::ModelError),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// An SQL statement is wrong or failed.
    #[error(transparent)]
    Query(#[from] query::QueryError),
    /// Files cannot be imported.
    #[error(transparent)]
    Import(#[from] importers::ImportError),
    /// A receipt cannot be found, read or written.
    #[error("receipt {receipt}: {reason}")]
    Receipt {
        /// Its id, or its file.
        receipt: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// Runs cannot be exported.
    #[error(transparent)]
    Export(#[from] exporters::ExportError),
    /// A selector is not understood.
    #[error("selector {text:?}: {reason}")]
    Selector {
        /// What was given.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// A metric has several series in a run.
    #[error("metric {metric:?} of run {run} has {count} contexts ({contexts}); a gate needs one value a run")]
    AmbiguousContext {
        /// The metric.
        metric: String,
        /// The run.
        run: String,
        /// How many.
        count: usize,
        /// The first of them.
        contexts: String,
    },
    /// A gate cannot be judged as it was asked.
    #[error(transparent)]
    Analysis(#[from] analysis::AnalysisError),
    /// A baseline on record is not there or says too little.
    #[error("baseline {name}: {reason}")]
    Baseline {
        /// The baseline as it was named.
        name: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A gate run on record is not there or says too little.
    #[error("gate run {id:?} {reason}")]
    GateRun {
        /// Its id.
        id: String,
        /// What is wrong.
        reason: String,
    },
    /// A report cannot be written as JSON.
    #[error("the report cannot be written as JSON: {0}")]
    Report(#[source] serde_json::Error),
    /// A result cannot be shown.
    #[error(transparent)]
    Arrow(#[from] arrow::error::ArrowError),
    /// A memory limit in which nothing can be served.
    #[error("a memory limit of {given_mb} MB is too small: at least {least_mb} MB are needed")]
    Memory {
        /// The limit that was given.
        given_mb: usize,
        /// The smallest one.
        least_mb: usize,
    },
    /// The runtime ended while work was going on.
    #[error("the work was cancelled")]
    Cancelled,
}

impl Error {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Location(_) => "lake.location",
            Self::ReadOnly { .. } => "lake.read_only",
            Self::Model(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Query(error) => error.code(),
            Self::Import(error) => error.code(),
            Self::Receipt { .. } => "receipt",
            Self::Export(error) => error.code(),
            Self::Selector { .. } => "selector.malformed",
            Self::AmbiguousContext { .. } => "metric.ambiguous_context",
            Self::Analysis(error) => error.code(),
            Self::Baseline { .. } => "baseline.unusable",
            Self::GateRun { .. } => "gate.not_recorded",
            Self::Report(_) => "internal.report",
            Self::Arrow(_) => "internal.arrow",
            Self::Memory { .. } => "memory.too_small",
            Self::Cancelled => "cancelled",
        }
    }
}
