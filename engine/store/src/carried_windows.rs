//! The exactly-once windows of a lake on an object store: each flush leaves them in the store, so that a writer on another
//! machine, which has no log of the one before, still knows which batches are in the tables.
//!
//! Invariant: the windows that are loaded hold no batch that is not in `points`. So they are stored *before* the commit
//! of `points`, under the number that it will have, and count only when it has that number; those of a flush without
//! points are stored after its commits and count at once.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use crate::catalog::{Catalog, CatalogError};
use crate::error::Result;
use crate::wal::record::KIND_WRITERS;
use crate::wal::{Record, WriterWindow};

/// The folder below the root of the lake.
const FOLDER: &str = "writers";
/// The first bytes of an object; the CRC32C of the rest follows.
const MAGIC: &[u8; 4] = b"RLW1";
const HEADER_BYTES: usize = 8;
/// Objects that stay: that of the last commit of points, and some of flushes without points or that failed.
const KEPT: usize = 8;

/// What an object's name says: `<last WAL number, 20 digits>-<epoch, 10 digits>-<p or n>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    seq: u64,
    epoch: u64,
    /// Whether they count only with the commit of points of that number.
    with_points: bool,
}

impl Name {
    fn path(self, catalog: &Catalog) -> Path {
        let kind = if self.with_points { "p" } else { "n" };
        catalog.root_path().clone().join(FOLDER).join(format!("{:020}-{:010}-{kind}", self.seq, self.epoch))
    }

    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('-');
        let (seq, epoch) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let with_points = match parts.next()? {
            "p" => true,
            "n" => false,
            _ => return None,
        };
        Some(Self { seq, epoch, with_points })
    }
}

/// Stores the windows as they are after record `seq`.
///
/// # Errors
/// Of the store.
pub(crate) async fn store(
    catalog: &Catalog,
    seq: u64,
    epoch: u64,
    with_points: bool,
    windows: Vec<WriterWindow>,
) -> Result<()> {
    let mut bytes = vec![0; HEADER_BYTES];
    Record::Writers(windows).encode(&mut bytes);
    let checksum = crc32c::crc32c(&bytes[HEADER_BYTES..]).to_le_bytes();
    bytes[..4].copy_from_slice(MAGIC);
    bytes[4..HEADER_BYTES].copy_from_slice(&checksum);
    let name = Name { seq, epoch, with_points };
    fail::fail_point!("windows-before-put");
    let put = catalog.object_store().put(&name.path(catalog), PutPayload::from(bytes)).await;
    put.map_err(failed)?;
    fail::fail_point!("windows-after-put");
    // Old ones are rubbish; that they are gone is not worth a failed flush.
    if let Err(error) = remove_old(catalog).await {
        tracing::debug!(%error, "old windows of writers stay");
    }
    Ok(())
}

async fn remove_old(catalog: &Catalog) -> Result<()> {
    let mut names = names(catalog).await?;
    names.sort_unstable();
    let old = names.len().saturating_sub(KEPT);
    let paths: Vec<_> = names.iter().take(old).map(|name| Ok(name.path(catalog))).collect();
    let removed = catalog.object_store().delete_stream(futures::stream::iter(paths).boxed());
    removed.try_collect::<Vec<_>>().await.map_err(failed)?;
    Ok(())
}

/// The windows that go with the tables, when `points` holds the log up to `points_seq`.
///
/// # Errors
/// Of the store, or when they are damaged.
pub(crate) async fn load(catalog: &Catalog, points_seq: u64) -> Result<Vec<WriterWindow>> {
    let names = names(catalog).await?;
    let counts = |name: &&Name| !name.with_points || name.seq <= points_seq;
    let Some(newest) = names.iter().filter(counts).max() else { return Ok(Vec::new()) };
    let path = newest.path(catalog);
    let got = catalog.object_store().get(&path).await.map_err(failed)?;
    let bytes = got.bytes().await.map_err(failed)?;
    decode(&bytes).map_err(|reason| {
        CatalogError::LogDamaged { table: FOLDER, file: path.to_string(), reason, last: false }.into()
    })
}

fn decode(bytes: &Bytes) -> std::result::Result<Vec<WriterWindow>, String> {
    let Some((header, payload)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Err("it is too short".to_owned());
    };
    let checksum = crc32c::crc32c(payload).to_le_bytes();
    if &header[..4] != MAGIC || header[4..] != checksum {
        return Err("its checksum does not fit".to_owned());
    }
    match Record::decode(KIND_WRITERS, payload) {
        Ok(Record::Writers(windows)) => Ok(windows),
        Ok(_) => Err("it holds something else".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

async fn names(catalog: &Catalog) -> Result<Vec<Name>> {
    let folder = catalog.root_path().clone().join(FOLDER);
    let listed = catalog.object_store().list_with_delimiter(Some(&folder)).await.map_err(failed)?;
    Ok(listed.objects.iter().filter_map(|object| Name::parse(object.location.filename()?)).collect())
}

fn failed(error: object_store::Error) -> CatalogError {
    CatalogError::store(FOLDER, error)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn windows_count_with_their_commit_and_only_then() {
        let url = "s3://bucket/x".parse().unwrap();
        let catalog = Catalog::open_store(&url, Arc::new(InMemory::new())).unwrap();
        assert_eq!(load(&catalog, 0).await.unwrap(), []);
        let window = |number| vec![WriterWindow::new("client", number, 5)];
        store(&catalog, 10, 1, true, window(1)).await.unwrap();
        store(&catalog, 20, 1, true, window(2)).await.unwrap();
        assert_eq!(load(&catalog, 10).await.unwrap(), window(1));
        assert_eq!(load(&catalog, 20).await.unwrap(), window(2));
        store(&catalog, 25, 1, false, window(3)).await.unwrap();
        assert_eq!(load(&catalog, 20).await.unwrap(), window(3));
        for seq in 30..60 {
            store(&catalog, seq, 2, true, window(seq)).await.unwrap();
        }
        assert_eq!(names(&catalog).await.unwrap().len(), KEPT);
        assert_eq!(load(&catalog, 59).await.unwrap(), window(59));
        let path = Name { seq: 59, epoch: 2, with_points: true }.path(&catalog);
        catalog.object_store().put(&path, PutPayload::from_static(b"RLW1nonsense")).await.unwrap();
        assert!(load(&catalog, 59).await.unwrap_err().to_string().contains("checksum"));
    }
}
