//! Every file name and path rule of a lake.

use std::path::{Path, PathBuf};

use model::schema::Table;

/// The paths of a lake's local files: those of a lake in a folder, or those in the state folder of a lake on an object
/// store, which has a log and a lock and no tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout of the lake at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder of the lake.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Format, identity and origin of the lake.
    pub fn lake_file(&self) -> PathBuf {
        self.root.join("runlake.json")
    }

    /// The file that the one writer holds locked.
    pub fn lock_file(&self) -> PathBuf {
        self.root.join("writer.lock")
    }

    /// The folder of the log files.
    pub fn wal(&self) -> PathBuf {
        self.root.join("wal")
    }

    /// Logs that missed a take-over of their lake.
    pub fn stale(&self) -> PathBuf {
        self.root.join("stale")
    }

    /// The folder of a table.
    pub fn table(&self, table: Table) -> PathBuf {
        self.root.join("tables").join(table.name())
    }
}
