//! How the tables of a path were mapped, kept in the lake for the next import of the path.

use std::path::{Path, PathBuf};

use importers::{ImportError, Mapping};
use serde::{Deserialize, Serialize};
use store::KeptFiles;
use store::catalog::Catalog;

use crate::error::Result;
use crate::lake::Lake;

/// The version of the files.
const FORMAT: u32 = 1;

/// A mapping that an import was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptMapping {
    /// The path of the import: the mapping is for tables at and below it.
    pub path: PathBuf,
    /// The mapping.
    pub mapping: Mapping,
    /// When it was given, microseconds since 1970 UTC.
    pub time: i64,
}

#[derive(Serialize, Deserialize)]
struct Document {
    format: u32,
    path: PathBuf,
    time: i64,
    toml: String,
}

impl Lake {
    /// The mappings that imports of this lake were given last, by path.
    ///
    /// # Errors
    /// When the lake cannot be read, or one of them was kept by a newer version.
    pub async fn kept_mappings(&self) -> Result<Vec<KeptMapping>> {
        all(self.snapshot().await?.catalog()).await
    }
}

pub(crate) async fn all(catalog: &Catalog) -> Result<Vec<KeptMapping>> {
    let mut kept = Vec::new();
    for id in catalog.kept(KeptFiles::Mappings).await.map_err(store::StoreError::from)? {
        let bytes = catalog.kept_file(KeptFiles::Mappings, &id).await.map_err(store::StoreError::from)?;
        let Some(bytes) = bytes else { continue };
        let refused = |reason: String| ImportError::Mapping {
            text: format!("mappings/{id}"),
            reason: format!("{reason}; to go on without it give a mapping, or have the columns guessed"),
        };
        let document: Document =
            serde_json::from_slice(&bytes).map_err(|error| refused(error.to_string()))?;
        if document.format > FORMAT {
            return Err(refused(format!("it has format {}; use a newer Runlake", document.format)).into());
        }
        let mapping = Mapping::parse_toml(&document.toml)?;
        kept.push(KeptMapping { path: document.path, mapping, time: document.time });
    }
    kept.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(kept)
}

/// Keeps a mapping, in place of the one of its path.
pub(crate) async fn keep(catalog: &Catalog, kept: &KeptMapping) -> Result<()> {
    let document =
        Document { format: FORMAT, path: kept.path.clone(), time: kept.time, toml: kept.mapping.to_toml()? };
    let bytes = serde_json::to_vec(&document).map_err(|error| ImportError::Mapping {
        text: kept.path.display().to_string(),
        reason: format!("it cannot be kept: {error}"),
    })?;
    let id = id_of(&kept.path);
    let stored = catalog.keep_file(KeptFiles::Mappings, &id, bytes.into()).await;
    Ok(stored.map_err(store::StoreError::from)?)
}

/// Lets go of the mapping of a path.
pub(crate) async fn forget(catalog: &Catalog, path: &Path) -> Result<()> {
    let id = id_of(path);
    let removed = catalog.remove_kept(KeptFiles::Mappings, &id).await;
    Ok(removed.map_err(store::StoreError::from)?)
}

fn id_of(path: &Path) -> String {
    let name = path.as_os_str().as_encoded_bytes();
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, name).simple().to_string()
}
