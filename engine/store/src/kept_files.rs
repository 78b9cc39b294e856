//! What imports keep beside the tables: their receipts (`docs/formats/receipt.md`), and how the columns of a source were
//! mapped. Whole files, which the store keeps and never reads.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};

use crate::catalog::{Catalog, CatalogError, Result};

/// A folder of such files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptFiles {
    /// Receipts of imports.
    Receipts,
    /// Mappings of columns.
    Mappings,
}

impl KeptFiles {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Receipts, Self::Mappings];

    fn folder(self) -> &'static str {
        match self {
            Self::Receipts => "receipts",
            Self::Mappings => "mappings",
        }
    }

    /// What the name of a file ends in.
    fn ending(self) -> &'static str {
        match self {
            Self::Receipts => ".json.zst",
            Self::Mappings => ".json",
        }
    }

    /// The path of a file in a lake.
    pub(crate) fn path(self, id: &str) -> String {
        format!("{}/{id}{}", self.folder(), self.ending())
    }
}

/// The largest file that is stored in one request.
const PART_BYTES: usize = 8 << 20;

impl Catalog {
    /// The ids of all files, sorted.
    ///
    /// # Errors
    /// [`CatalogError::Store`].
    pub async fn kept(&self, files: KeptFiles) -> Result<Vec<String>> {
        let folder = self.root_path().clone().join(files.folder());
        let listed = match self.object_store().list_with_delimiter(Some(&folder)).await {
            Ok(listed) => listed,
            // A lake that never kept one has no folder for them.
            Err(object_store::Error::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(CatalogError::store(files.folder(), error)),
        };
        let id = |path: &Path| path.filename()?.strip_suffix(files.ending()).map(str::to_owned);
        let mut ids: Vec<String> = listed.objects.iter().filter_map(|object| id(&object.location)).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// The contents of a file; `None` when there is none of this id.
    ///
    /// # Errors
    /// [`CatalogError::Store`].
    pub async fn kept_file(&self, files: KeptFiles, id: &str) -> Result<Option<Bytes>> {
        let read = async { self.object_store().get(&self.kept_path(files, id)).await?.bytes().await };
        match read.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(CatalogError::store(files.folder(), error)),
        }
    }

    /// Stores a file, in place of the one that has its id; when this returns, it is whole and durable.
    ///
    /// # Errors
    /// [`CatalogError::Store`]: the old one, or none, is there then.
    pub async fn keep_file(&self, files: KeptFiles, id: &str, bytes: Bytes) -> Result<()> {
        let (store, path) = (self.object_store(), self.kept_path(files, id));
        let stored = async {
            if bytes.len() <= PART_BYTES {
                return store.put(&path, PutPayload::from_bytes(bytes)).await.map(drop);
            }
            let mut upload = store.put_multipart(&path).await?;
            for start in (0..bytes.len()).step_by(PART_BYTES) {
                let part = bytes.slice(start..bytes.len().min(start + PART_BYTES));
                upload.put_part(PutPayload::from_bytes(part)).await?;
            }
            upload.complete().await.map(drop)
        };
        stored.await.map_err(|error| CatalogError::store(files.folder(), error))
    }

    /// Removes a file; one that is not there is no error.
    ///
    /// # Errors
    /// [`CatalogError::Store`].
    pub async fn remove_kept(&self, files: KeptFiles, id: &str) -> Result<()> {
        match self.object_store().delete(&self.kept_path(files, id)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(CatalogError::store(files.folder(), error)),
        }
    }

    fn kept_path(&self, files: KeptFiles, id: &str) -> Path {
        self.root_path().clone().join(files.folder()).join(format!("{id}{}", files.ending()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_of_all_sizes_are_kept_replaced_listed_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(folder.path()).unwrap();
        for files in KeptFiles::ALL {
            assert_eq!(catalog.kept(files).await.unwrap(), Vec::<String>::new());
            assert_eq!(catalog.kept_file(files, "b").await.unwrap(), None);
            let large = Bytes::from(vec![7; 2 * PART_BYTES + 5]);
            catalog.keep_file(files, "b", Bytes::from_static(b"old")).await.unwrap();
            catalog.keep_file(files, "b", large.clone()).await.unwrap();
            catalog.keep_file(files, "a", Bytes::from_static(b"small")).await.unwrap();
            assert_eq!(catalog.kept(files).await.unwrap(), ["a", "b"]);
            assert_eq!(catalog.kept_file(files, "b").await.unwrap(), Some(large));
            catalog.remove_kept(files, "b").await.unwrap();
            catalog.remove_kept(files, "b").await.unwrap();
            assert_eq!(catalog.kept(files).await.unwrap(), ["a"]);
            assert!(folder.path().join(files.path("a")).is_file());
        }
    }
}
