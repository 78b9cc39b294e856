//! `state.json`: which lake on an object store the log in a folder of this machine belongs to.
//!
//! Invariants
//! - A log is only ever replayed into the lake whose id and URL stand here.
//! - Before the lease of a lake is asked for, the claim that will stand in it is durable here. So the lease tells
//!   whether this very folder was the last one to write: then its log goes on, else it is stale.

use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::disk::{Access, Disk, read_all, replace_file};

/// The format of `state.json` that this version writes.
const STATE_FORMAT: u32 = 1;
/// The most that is read of the file; it has a few hundred bytes.
const MOST_BYTES: u64 = 1 << 20;
const NAME: &str = "state.json";

/// The content of `state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFile {
    /// Format version of this file.
    pub format: u32,
    /// The identity of the lake.
    pub lake_id: String,
    /// The URL of the lake.
    pub url: String,
    /// The epoch under which a writer with this folder wrote last; 0 before the first.
    pub epoch: u64,
    /// The claims that a writer with this folder may have put into the lease: the last one that it is sure of, and
    /// those whose answer it never got.
    pub claims: Vec<String>,
    /// Whether the store was seen to let one of several racing writes win.
    pub store_checked: bool,
}

/// The state folder of a lake on an object store cannot be used.
#[derive(Debug, Error)]
pub enum StateError {
    /// It belongs to another lake.
    #[error(
        "{folder} holds the log of the lake {found}, not of {wanted}; name another folder with --state, or, if the lake was moved, change url in state.json"
    )]
    Foreign {
        /// The folder.
        folder: String,
        /// URL and id of the lake that it belongs to.
        found: String,
        /// URL and id of the lake that was asked for.
        wanted: String,
    },
    /// Its log has acknowledged writes that the lake does not have, and somebody else has written to the lake since.
    #[error(
        "the log in {folder} (epoch {epoch}) holds {points} points and {commands} commands that were acknowledged and never came into the lake, before {takeover}; nothing was changed. Write them into the lake as it is now with `runlake flush --stale-log adopt`, or set them aside with `runlake flush --stale-log set-aside`"
    )]
    Stale {
        /// The log's folder.
        folder: String,
        /// Its epoch.
        epoch: u64,
        /// Points that only it has.
        points: u64,
        /// Commands that only it has.
        commands: u64,
        /// Who took the lake over, and under which epoch, when that is known.
        takeover: String,
    },
    /// A newer version wrote it.
    #[error(
        "{path} has format {format}; this version reads up to format {STATE_FORMAT}: use a newer Runlake"
    )]
    TooNew {
        /// The file.
        path: String,
        /// Its format.
        format: u32,
    },
    /// It is not what it must be.
    #[error(
        "{path} is damaged: {reason}; if the log beside it matters, write the file anew as docs/formats/lease.md tells, else remove the folder"
    )]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// It cannot be read or written.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
}

impl StateFile {
    pub(crate) fn new(lake_id: &str, url: &str) -> Self {
        Self {
            format: STATE_FORMAT,
            lake_id: lake_id.to_owned(),
            url: url.to_owned(),
            epoch: 0,
            claims: Vec::new(),
            store_checked: false,
        }
    }

    /// Reads the file in a state folder; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or is of a newer format.
    pub(crate) fn read(disk: &dyn Disk, folder: &Path) -> Result<Option<Self>, StateError> {
        #[derive(Deserialize)]
        struct OnlyFormat {
            format: u32,
        }
        let path = folder.join(NAME);
        let shown = path.display().to_string();
        let bytes = match disk.open(&path, Access::Read).and_then(|file| read_all(&*file, MOST_BYTES)) {
            Ok((bytes, _)) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::Io { action: "read", path: shown, source }),
        };
        let damaged =
            |error: serde_json::Error| StateError::Damaged { path: shown.clone(), reason: error.to_string() };
        let OnlyFormat { format } = serde_json::from_slice(&bytes).map_err(damaged)?;
        if format > STATE_FORMAT {
            return Err(StateError::TooNew { path: shown, format });
        }
        serde_json::from_slice(&bytes).map(Some).map_err(damaged)
    }

    /// Writes the file; when this returns, it is durable.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn write(&self, disk: &dyn Disk, folder: &Path) -> Result<(), StateError> {
        let path = folder.join(NAME);
        // A struct of texts and numbers cannot fail to serialise.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        replace_file(disk, &path, &bytes).map_err(|source| StateError::Io {
            action: "write",
            path: path.display().to_string(),
            source,
        })
    }

    /// Refuses the folder of another lake.
    ///
    /// # Errors
    /// [`StateError::Foreign`].
    pub(crate) fn check(&self, folder: &Path, lake_id: &str, url: &str) -> Result<(), StateError> {
        if self.lake_id == lake_id && self.url == url {
            return Ok(());
        }
        Err(StateError::Foreign {
            folder: folder.display().to_string(),
            found: format!("{} (id {})", self.url, self.lake_id),
            wanted: format!("{url} (id {lake_id})"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn what_is_written_is_read_and_a_foreign_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(StateFile::read(&RealDisk, folder.path()).unwrap(), None);
        let mut state = StateFile::new("0a", "s3://bucket/x");
        state.write(&RealDisk, folder.path()).unwrap();
        state.epoch = 7;
        state.claims.push("c".to_owned());
        state.write(&RealDisk, folder.path()).unwrap();
        assert_eq!(StateFile::read(&RealDisk, folder.path()).unwrap(), Some(state.clone()));
        state.check(folder.path(), "0a", "s3://bucket/x").unwrap();
        for (id, url) in [("0b", "s3://bucket/x"), ("0a", "s3://bucket/y")] {
            let error = state.check(folder.path(), id, url).unwrap_err().to_string();
            assert!(error.contains("s3://bucket/x (id 0a)") && error.contains("--state"), "{error}");
        }
    }

    #[test]
    fn damage_and_newer_formats_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        for (text, word) in [("", "damaged"), ("{\"format\":1}", "damaged"), ("{\"format\":9}", "format 9")] {
            std::fs::write(&path, text).unwrap();
            let error = StateFile::read(&RealDisk, folder.path()).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("state.json"), "{error}");
        }
    }
}
