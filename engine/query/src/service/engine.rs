//! What the tables of the schema `system` show of the engine at work.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use super::ServiceConfig;
use super::journal::Journal;
use crate::guard::QueryLimits;

/// A file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// Its name.
    pub file: String,
    /// Its bytes, those that were never written included.
    pub bytes: u64,
}

/// A kind of work in the background.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobReport {
    /// Its name.
    pub job: &'static str,
    /// Bytes that it wrote since the lake was opened.
    pub bytes: u64,
    /// Points that wait for it; none where that is not known.
    pub waiting_points: Option<u64>,
}

/// What an open lake tells of itself.
pub trait LakeState: Debug + Send + Sync {
    /// The files of its log; empty where it is not the writer.
    fn log_files(&self) -> Vec<LogFile>;

    /// Its work in the background; empty where it is not the writer.
    fn jobs(&self) -> Vec<JobReport>;
}

/// What `system` shows beside the snapshot, the same for all statements of a factory.
#[derive(Debug, Default)]
pub(crate) struct Engine {
    pub(crate) journal: Arc<Journal>,
    pub(crate) service: OnceLock<ServiceConfig>,
    pub(crate) lake: OnceLock<Arc<dyn LakeState>>,
}

/// The engine as one statement sees it.
#[derive(Debug, Clone, Default)]
pub(crate) struct EngineView {
    pub(crate) engine: Arc<Engine>,
    /// Who asks.
    pub(crate) caller: Arc<str>,
    /// What the statement may cost.
    pub(crate) limits: QueryLimits,
    /// What all statements together may take: memory, and disk.
    pub(crate) all: (usize, u64),
}
