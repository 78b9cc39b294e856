//! `runlake.json`: the format version, identity and origin of a lake.

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The name of the file below the root of a lake.
pub(crate) const NAME: &str = "runlake.json";

/// The format that this version writes. Readers take every format up to theirs and refuse newer ones.
pub const FORMAT: u32 = 1;

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
        "the lake was written by Runlake {created_by}, format {format}; this version reads up to format {FORMAT}: use a newer Runlake"
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

    /// Reads the lake file below the root of a lake in any store; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or names a newer format.
    pub async fn load(store: &dyn ObjectStore, root: &Path) -> Result<Option<Self>, LakeFileError> {
        let path = root.clone().join(NAME);
        let read = async { store.get(&path).await?.bytes().await };
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
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let text = br#"{"format": 999, "created_by": "9.9.9", "new_field": []}"#;
        let error = LakeFile::parse(text, "runlake.json").unwrap_err().to_string();
        assert!(error.contains("written by Runlake 9.9.9, format 999"), "{error}");
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
