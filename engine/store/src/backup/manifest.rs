//! The file that makes a folder of copies a backup: what belongs to it, with a checksum of each and of itself.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{io_error, refuse};
use crate::catalog::canonical_crc32c;
use crate::disk::{Access, Disk, read_all, replace_file};
use crate::error::Result;

/// The format of backups that this version writes, and the newest that it reads.
pub(super) const FORMAT: u32 = 1;
/// The folder of the manifests.
const FOLDER: &str = "backups";
/// The largest manifest that is read.
const MOST_BYTES: u64 = 1 << 30;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) format: u32,
    pub(super) lake_format: u32,
    pub(super) lake_id: String,
    pub(super) created_by: String,
    /// Microseconds since 1970 UTC.
    pub(super) time: i64,
    pub(super) last_seq: u64,
    pub(super) tables: Vec<BackupTable>,
    pub(super) files: Vec<BackupFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BackupTable {
    pub(super) name: String,
    pub(super) version: Option<i64>,
    pub(super) last_seq: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BackupFile {
    /// Relative to the lake.
    pub(super) path: String,
    pub(super) bytes: u64,
    /// Eight hexadecimal digits.
    pub(super) crc32c: String,
}

impl Manifest {
    /// Writes it durably; from then on it is the newest backup.
    pub(super) fn write(&self, disk: &dyn Disk, root: &Path) -> Result<PathBuf> {
        let folder = root.join(FOLDER);
        disk.create_directories(&folder).map_err(io_error("create folder", &folder))?;
        let path = folder.join(format!("{:020}-{:020}.json", self.last_seq, self.time));
        let mut value = serde_json::to_value(self).map_err(|error| refuse(&path, error.to_string()))?;
        let checksum = format!("{:08x}", canonical_crc32c(&value));
        if let Some(object) = value.as_object_mut() {
            object.insert("crc32c".to_owned(), checksum.into());
        }
        let bytes = serde_json::to_vec_pretty(&value).map_err(|error| refuse(&path, error.to_string()))?;
        replace_file(disk, &path, &bytes).map_err(io_error("write", &path))?;
        Ok(path)
    }

    /// Reads the newest manifest, or that of a record of the log.
    pub(super) fn read(disk: &dyn Disk, root: &Path, at: Option<u64>) -> Result<Self> {
        let folder = root.join(FOLDER);
        let names = match disk.list(&folder) {
            Ok(names) => names,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(io_error("read", &folder)(error)),
        };
        let wanted = at.map(|seq| format!("{seq:020}-"));
        let fits = |name: &&String| {
            name.ends_with(".json") && wanted.as_ref().is_none_or(|wanted| name.starts_with(wanted))
        };
        let Some(name) = names.iter().rev().find(fits) else {
            let reason = match at {
                Some(seq) => format!("it has no backup of log record {seq}"),
                None => "it holds no backup (no manifest in backups/)".to_owned(),
            };
            return Err(refuse(root, reason));
        };
        let path = folder.join(name);
        let file = disk.open(&path, Access::Read).map_err(io_error("open", &path))?;
        let (bytes, _) = read_all(&*file, MOST_BYTES).map_err(io_error("read", &path))?;
        let damaged = |reason: String| refuse(&path, format!("the manifest is damaged: {reason}"));
        let mut value: Value = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        let written = value.as_object_mut().and_then(|object| object.remove("crc32c"));
        let found = format!("{:08x}", canonical_crc32c(&value));
        if written.as_ref().and_then(Value::as_str) != Some(&found) {
            return Err(damaged(format!(
                "its CRC32C is {found}, written was {}",
                written.unwrap_or_default()
            )));
        }
        if let Some(format) = value.get("format").and_then(Value::as_u64)
            && format > u64::from(FORMAT)
        {
            let by = value.get("created_by").and_then(Value::as_str).unwrap_or("an unknown version");
            let reason = format!(
                "the backup was written by Runlake {by}, format {format}; this version reads up to format {FORMAT}: use a newer Runlake"
            );
            return Err(refuse(&path, reason));
        }
        serde_json::from_value(value).map_err(|error| damaged(error.to_string()))
    }
}
