//! Storing a data file on an object store: in one request when it is small, else in parts, so that no request takes long.
//!
//! A file has its name only when it is whole: an upload in parts that was not completed is seen by no reader. Names are
//! never used twice, so a file that is there under ours with our length is ours.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload, Result};

/// The size of a part, and of the largest file that goes in one request: a few seconds at 2 MB/s. Stores take parts
/// from 5 MiB on.
const PART_BYTES: usize = 8 << 20;
/// Parts that are sent at once.
const PARTS_AT_ONCE: usize = 4;

/// Stores a file under a new name; when this returns, it is whole and durable.
///
/// # Errors
/// Of the store, also when another file has the name. What was sent is then rubbish that no reader sees.
pub(super) async fn put(store: &dyn ObjectStore, path: &Path, bytes: &Bytes) -> Result<()> {
    let stored = if bytes.len() <= PART_BYTES {
        store.put_opts(path, PutPayload::from_bytes(bytes.clone()), PutMode::Create.into()).await.map(drop)
    } else {
        put_in_parts(store, path, bytes).await
    };
    let Err(error) = stored else { return Ok(()) };
    // The answer may have got lost, and the client may have tried again: what is there counts.
    match store.head(path).await {
        Ok(found) if found.size == bytes.len() as u64 && is_unclear(&error) => {
            tracing::info!(%path, %error, "a file that was said not to be stored is there");
            Ok(())
        }
        _ => Err(error),
    }
}

/// Whether the file may be there in spite of the error.
fn is_unclear(error: &Error) -> bool {
    matches!(
        error,
        Error::AlreadyExists { .. }
            | Error::Precondition { .. }
            | Error::Generic { .. }
            | Error::NotFound { .. }
    )
}

async fn put_in_parts(store: &dyn ObjectStore, path: &Path, bytes: &Bytes) -> Result<()> {
    let mut upload = store.put_multipart(path).await?;
    let parts: Vec<_> = (0..bytes.len())
        .step_by(PART_BYTES)
        .map(|start| {
            let part = bytes.slice(start..bytes.len().min(start + PART_BYTES));
            upload.put_part(PutPayload::from_bytes(part))
        })
        .collect();
    let sent = futures::stream::iter(parts).buffer_unordered(PARTS_AT_ONCE).try_collect::<Vec<()>>().await;
    let outcome = match sent {
        Ok(_) => upload.complete().await.map(drop),
        Err(error) => Err(error),
    };
    if outcome.is_err()
        && let Err(error) = upload.abort().await
    {
        // It costs its space until the bucket's own rule for incomplete uploads removes it.
        tracing::debug!(%path, %error, "an upload in parts was not aborted");
    }
    outcome
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn files_of_all_sizes_are_stored_whole_and_once() {
        let store = InMemory::new();
        for (name, bytes) in [("small", 10), ("part", PART_BYTES), ("parts", 2 * PART_BYTES + 5)] {
            let (path, bytes) = (Path::from(name), Bytes::from(vec![7; bytes]));
            put(&store, &path, &bytes).await.unwrap();
            assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), bytes);
        }
        // The same again is the same file, as after a lost answer; another one is not.
        let path = Path::from("small");
        put(&store, &path, &Bytes::from(vec![7; 10])).await.unwrap();
        assert!(put(&store, &path, &Bytes::from(vec![7; 11])).await.is_err());
    }
}
