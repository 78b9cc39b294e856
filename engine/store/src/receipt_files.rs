//! Receipts of imports: whole files beside the tables, which the store keeps and never reads
//! (`docs/formats/receipt.md`).

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};

use crate::catalog::{Catalog, CatalogError, Result};

/// The folder of the receipts in the lake.
const FOLDER: &str = "receipts";
/// What the name of a receipt's file ends in.
const ENDING: &str = ".json.zst";
/// The largest file that is stored in one request.
const PART_BYTES: usize = 8 << 20;

impl Catalog {
    /// The ids of all receipts, sorted: oldest first.
    ///
    /// # Errors
    /// [`CatalogError::Store`].
    pub async fn receipts(&self) -> Result<Vec<String>> {
        let folder = self.root_path().clone().join(FOLDER);
        let listed = match self.object_store().list_with_delimiter(Some(&folder)).await {
            Ok(listed) => listed,
            // A lake without receipts has no folder for them.
            Err(object_store::Error::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(CatalogError::store(FOLDER, error)),
        };
        let id = |path: &Path| path.filename()?.strip_suffix(ENDING).map(str::to_owned);
        let mut ids: Vec<String> = listed.objects.iter().filter_map(|object| id(&object.location)).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// The file of a receipt; `None` when there is none of this id.
    ///
    /// # Errors
    /// [`CatalogError::Store`].
    pub async fn receipt(&self, id: &str) -> Result<Option<Bytes>> {
        let read = async { self.object_store().get(&self.receipt_path(id)).await?.bytes().await };
        match read.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(CatalogError::store(FOLDER, error)),
        }
    }

    /// Stores a receipt, in place of the one that has its id; when this returns, it is whole and durable.
    ///
    /// # Errors
    /// [`CatalogError::Store`]: the old one, or none, is there then.
    pub async fn put_receipt(&self, id: &str, file: Bytes) -> Result<()> {
        let (store, path) = (self.object_store(), self.receipt_path(id));
        let stored = async {
            if file.len() <= PART_BYTES {
                return store.put(&path, PutPayload::from_bytes(file)).await.map(drop);
            }
            let mut upload = store.put_multipart(&path).await?;
            for start in (0..file.len()).step_by(PART_BYTES) {
                let part = file.slice(start..file.len().min(start + PART_BYTES));
                upload.put_part(PutPayload::from_bytes(part)).await?;
            }
            upload.complete().await.map(drop)
        };
        stored.await.map_err(|error| CatalogError::store(FOLDER, error))
    }

    /// Removes a receipt; one that is not there is no error.
    ///
    /// # Errors
    /// [`CatalogError::Store`].
    pub async fn remove_receipt(&self, id: &str) -> Result<()> {
        match self.object_store().delete(&self.receipt_path(id)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(CatalogError::store(FOLDER, error)),
        }
    }

    fn receipt_path(&self, id: &str) -> Path {
        self.root_path().clone().join(FOLDER).join(format!("{id}{ENDING}"))
    }
}

/// The path of a receipt in a lake, as a backup names it.
pub(crate) fn path_in_lake(id: &str) -> String {
    format!("{FOLDER}/{id}{ENDING}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn receipts_of_all_sizes_are_kept_replaced_listed_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(folder.path()).unwrap();
        assert_eq!(catalog.receipts().await.unwrap(), Vec::<String>::new());
        assert_eq!(catalog.receipt("b").await.unwrap(), None);
        let large = Bytes::from(vec![7; 2 * PART_BYTES + 5]);
        catalog.put_receipt("b", Bytes::from_static(b"old")).await.unwrap();
        catalog.put_receipt("b", large.clone()).await.unwrap();
        catalog.put_receipt("a", Bytes::from_static(b"small")).await.unwrap();
        assert_eq!(catalog.receipts().await.unwrap(), ["a", "b"]);
        assert_eq!(catalog.receipt("b").await.unwrap(), Some(large));
        catalog.remove_receipt("b").await.unwrap();
        catalog.remove_receipt("b").await.unwrap();
        assert_eq!(catalog.receipts().await.unwrap(), ["a"]);
    }
}
