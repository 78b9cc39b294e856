//! `runlake.json`: the format version, identity and origin of a lake.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::catalog::canonical_crc32c;
use crate::disk::{Access, Disk, read_all};

/// The format that this version writes. Readers take every format up to theirs and refuse newer ones.
pub const FORMAT: u32 = 1;
/// The most that is read of the file; it has a few hundred bytes.
const MOST_BYTES: u64 = 1 << 20;

/// The content of `runlake.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LakeFile {
    /// Format version of everything in the lake.
    pub format: u32,
    /// The identity of the lake: 32 hexadecimal digits; log files carry it.
    pub lake_id: String,
    /// The version of Runlake that made the lake.
    pub created_by: String,
    /// When it was made, microseconds since 1970 UTC.
    pub created: i64,
}

/// The lake file cannot be used.
#[derive(Debug, Error)]
pub enum LakeFileError {
    /// A newer version wrote the lake.
    #[error(
        "the lake was written by Runlake {created_by}, format {format} (runlake.json); this version reads up to format {FORMAT}: use a newer Runlake"
    )]
    TooNew {
        /// Its format.
        format: u32,
        /// Its version.
        created_by: String,
    },
    /// The file is not what it must be.
    #[error("{path} is damaged: {reason}; restore it from a backup")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
}

/// The key of the checksum: CRC-32C of all other keys as JSON with sorted keys and no blanks, and a line end.
const CHECKSUM: &str = "crc32c";

/// Checks the checksum in a JSON object. One without a checksum is taken.
fn check(value: &Value) -> Result<(), String> {
    let mut rest = value.clone();
    let Some(written) = rest.as_object_mut().and_then(|object| object.remove(CHECKSUM)) else {
        return Ok(());
    };
    let found = format!("{:08x}", canonical_crc32c(&rest));
    if written.as_str() == Some(&found) {
        return Ok(());
    }
    Err(format!("its CRC32C is {found}, written was {written}"))
}

#[derive(Deserialize)]
struct OnlyFormat {
    format: u32,
    #[serde(default)]
    created_by: String,
}

impl LakeFile {
    /// The identity as bytes.
    ///
    /// # Errors
    /// When the file does not hold 32 hexadecimal digits.
    pub fn lake_id_bytes(&self) -> Result<[u8; 16], LakeFileError> {
        u128::from_str_radix(&self.lake_id, 16)
            .ok()
            .filter(|_| self.lake_id.len() == 32)
            .map(u128::to_be_bytes)
            .ok_or_else(|| LakeFileError::Damaged {
                path: "runlake.json".to_owned(),
                reason: format!("lake_id {:?} is not 32 hexadecimal digits", self.lake_id),
            })
    }

    /// Reads the lake file; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or names a newer format.
    pub fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Self>, LakeFileError> {
        let shown = path.display().to_string();
        let bytes = match disk.open(path, Access::Read).and_then(|file| read_all(&*file, MOST_BYTES)) {
            Ok((bytes, _)) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(LakeFileError::Read { path: shown, source }),
        };
        let damaged = |error: serde_json::Error| LakeFileError::Damaged {
            path: shown.clone(),
            reason: error.to_string(),
        };
        let value: Value = serde_json::from_slice(&bytes).map_err(damaged)?;
        check(&value).map_err(|reason| LakeFileError::Damaged { path: shown.clone(), reason })?;
        let only: OnlyFormat = serde_json::from_slice(&bytes).map_err(damaged)?;
        if only.format > FORMAT {
            return Err(LakeFileError::TooNew { format: only.format, created_by: only.created_by });
        }
        let lake_file: Self = serde_json::from_slice(&bytes).map_err(damaged)?;
        lake_file.lake_id_bytes()?;
        Ok(Some(lake_file))
    }

    /// The bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        // A struct of texts and numbers cannot fail to serialise.
        let mut value = serde_json::to_value(self).unwrap_or_default();
        let checksum = format!("{:08x}", canonical_crc32c(&value));
        if let Some(object) = value.as_object_mut() {
            object.insert(CHECKSUM.to_owned(), checksum.into());
        }
        let mut bytes = serde_json::to_vec_pretty(&value).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runlake.json");
        assert_eq!(LakeFile::read(&RealDisk, &path).unwrap(), None);
        std::fs::write(&path, r#"{"format": 999, "created_by": "9.9.9", "new_field": []}"#).unwrap();
        let error = LakeFile::read(&RealDisk, &path).unwrap_err().to_string();
        assert!(error.contains("written by Runlake 9.9.9, format 999"), "{error}");
    }

    #[test]
    fn a_flipped_bit_is_damage_or_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runlake.json");
        let lake_file =
            LakeFile { format: FORMAT, lake_id: "1f".repeat(16), created_by: "0.1.0".into(), created: 5 };
        let bytes = lake_file.to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, damaged).unwrap();
            if let Ok(read) = LakeFile::read(&RealDisk, &path) {
                assert_eq!(read, Some(lake_file.clone()), "{bit}");
            }
        }
    }

    #[test]
    fn what_is_written_is_read_and_damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runlake.json");
        let lake_file = LakeFile {
            format: FORMAT,
            lake_id: "0".repeat(31) + "a",
            created_by: "0.1.0".into(),
            created: 5,
        };
        std::fs::write(&path, lake_file.to_bytes()).unwrap();
        assert_eq!(LakeFile::read(&RealDisk, &path).unwrap(), Some(lake_file.clone()));
        std::fs::write(&path, &lake_file.to_bytes()[..20]).unwrap();
        assert!(LakeFile::read(&RealDisk, &path).unwrap_err().to_string().contains("damaged"));
        std::fs::write(&path, "").unwrap();
        assert!(LakeFile::read(&RealDisk, &path).is_err());
    }
}
