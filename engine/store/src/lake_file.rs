//! `runlake.json`: the format version, identity and origin of a lake.

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::catalog::canonical_crc32c;
use crate::disk::{Access, Disk, read_all};
/// The name of the file below the root of a lake.
pub(crate) const NAME: &str = "runlake.json";

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
    /// The file cannot be read from a local disk.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The store that holds it failed or refused.
    #[error("cannot {action} {path}: {source}{hint}")]
    Store {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: String,
        /// The cause.
        source: Box<object_store::Error>,
        /// What to look at, as the end of a sentence.
        hint: &'static str,
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

const NO_BUCKET: &str = "; the bucket does not exist, or the endpoint or the region is another one";

fn names_no_bucket(answer: &str) -> bool {
    ["NoSuchBucket", "ContainerNotFound"].iter().any(|code| answer.contains(code))
}

impl LakeFileError {
    pub(crate) fn store(action: &'static str, path: impl Into<String>, source: object_store::Error) -> Self {
        use object_store::Error;
        let hint = match &source {
            Error::Unauthenticated { .. } | Error::PermissionDenied { .. } => {
                "; check the keys in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN) and their rights on the bucket"
            }
            Error::NotFound { .. } => NO_BUCKET,
            // Of a list, the client does not tell this apart.
            Error::Generic { source, .. } if names_no_bucket(&source.to_string()) => NO_BUCKET,
            Error::Generic { .. } => {
                "; check the endpoint (AWS_ENDPOINT_URL), the region (AWS_REGION), the keys and the network"
            }
            _ => "",
        };
        Self::Store { action, path: path.into(), source: Box::new(source), hint }
    }
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

    /// A new lake.
    pub(crate) fn new(now: i64) -> Self {
        Self {
            format: FORMAT,
            lake_id: uuid::Uuid::now_v7().simple().to_string(),
            created_by: env!("CARGO_PKG_VERSION").to_owned(),
            created: now,
        }
    }

    /// Reads the lake file of a lake in a folder; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or names a newer format.
    pub fn read(disk: &dyn Disk, path: &std::path::Path) -> Result<Option<Self>, LakeFileError> {
        let shown = path.display().to_string();
        match disk.open(path, Access::Read).and_then(|file| read_all(&*file, MOST_BYTES)) {
            Ok((bytes, _)) => Self::parse(&bytes, &shown).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LakeFileError::Read { path: shown, source }),
        }
    }

    /// Reads the lake file below the root of a lake in any store; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or names a newer format.
    pub async fn load(store: &dyn ObjectStore, root: &Path) -> Result<Option<Self>, LakeFileError> {
        let path = root.clone().join(NAME);
        let read = async {
            let found = store.get(&path).await?;
            if found.meta.size > MOST_BYTES {
                return Ok(bytes::Bytes::new());
            }
            found.bytes().await
        };
        match read.await {
            Ok(bytes) => Self::parse(&bytes, path.as_ref()).map(Some),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(LakeFileError::store("read", path.as_ref(), source)),
        }
    }

    /// Makes the lake file below the root; of several writers that try, one wins, and all get its file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) async fn create(self, store: &dyn ObjectStore, root: &Path) -> Result<Self, LakeFileError> {
        let path = root.clone().join(NAME);
        let payload = PutPayload::from(self.to_bytes());
        match store.put_opts(&path, payload, PutMode::Create.into()).await {
            Ok(_) => Ok(self),
            // Somebody else made it, or we did and the answer got lost.
            Err(error) => match Self::load(store, root).await? {
                Some(found) => Ok(found),
                None => Err(LakeFileError::store("write", path.as_ref(), error)),
            },
        }
    }

    fn parse(bytes: &[u8], shown: &str) -> Result<Self, LakeFileError> {
        let damaged = |error: serde_json::Error| LakeFileError::Damaged {
            path: shown.to_owned(),
            reason: error.to_string(),
        };
        let value: Value = serde_json::from_slice(bytes).map_err(damaged)?;
        check(&value).map_err(|reason| LakeFileError::Damaged { path: shown.to_owned(), reason })?;
        let only: OnlyFormat = serde_json::from_slice(bytes).map_err(damaged)?;
        if only.format > FORMAT {
            return Err(LakeFileError::TooNew { format: only.format, created_by: only.created_by });
        }
        let lake_file: Self = serde_json::from_slice(bytes).map_err(damaged)?;
        lake_file.lake_id_bytes()?;
        Ok(lake_file)
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
    use object_store::memory::InMemory;

    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let text = br#"{"format": 999, "created_by": "9.9.9", "new_field": []}"#;
        let error = LakeFile::parse(text, "runlake.json").unwrap_err().to_string();
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

    #[tokio::test]
    async fn the_first_writer_makes_the_file_and_damage_is_named() {
        let (store, root) = (InMemory::new(), Path::from("a/b"));
        assert_eq!(LakeFile::load(&store, &root).await.unwrap(), None);
        let first = LakeFile::new(5).create(&store, &root).await.unwrap();
        let second = LakeFile::new(6).create(&store, &root).await.unwrap();
        assert_eq!(first, second);
        assert_eq!(LakeFile::load(&store, &root).await.unwrap(), Some(first.clone()));
        for bytes in [&first.to_bytes()[..20], b""] {
            store.put(&root.clone().join(NAME), bytes.to_vec().into()).await.unwrap();
            let error = LakeFile::load(&store, &root).await.unwrap_err().to_string();
            assert!(error.contains("a/b/runlake.json is damaged"), "{error}");
        }
    }
}
