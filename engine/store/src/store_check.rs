//! Whether an object store lets exactly one of several racing writers win. Commits and the lease rest on it: a store on
//! which two writers can both be told that they made the same commit loses data, and is refused.

use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload, UpdateVersion};
use thiserror::Error as ThisError;

/// Rounds of racing creates.
const ROUNDS: usize = 5;
/// Rounds that may be run again because nobody was told that he won.
const LOST_ANSWERS: usize = 3;
/// Writers in a round.
const WRITERS: usize = 8;

/// The store cannot hold a lake.
#[derive(Debug, ThisError)]
pub enum StoreCheckError {
    /// Several writers were told that they had made the same object, or none was.
    #[error(
        "the store lets {winners} of {WRITERS} racing writers make the same object (round {round} of {ROUNDS}): commits on it can be lost. It does not honour If-None-Match; use another store or a newer version of it, or keep the lake in a folder"
    )]
    Winners {
        /// How many won.
        winners: usize,
        /// In which round.
        round: usize,
    },
    /// A conditional replacement was not refused, or not possible.
    #[error(
        "the store does not replace objects by their ETag ({what}): a writer that lost its lease could not be told. It does not honour If-Match; use another store or a newer version of it, or keep the lake in a folder"
    )]
    Replacement {
        /// What happened.
        what: String,
    },
    /// The store failed in another way.
    #[error("the store cannot be checked: {source}")]
    Failed {
        /// Why.
        source: Box<Error>,
    },
}

/// Races under a folder of their own below `root`, and removes what it made.
///
/// # Errors
/// [`StoreCheckError`] when the store cannot hold a lake.
pub(crate) async fn check(store: &dyn ObjectStore, root: &Path) -> Result<(), StoreCheckError> {
    let folder = root.clone().join("checks").join(uuid::Uuid::new_v4().simple().to_string());
    let outcome = race(store, &folder).await;
    // Rubbish of a check harms nobody; that it was removed is not worth an error.
    let made = store.list(Some(&folder)).map_ok(|object| object.location).boxed();
    if let Err(error) = store.delete_stream(made).try_collect::<Vec<_>>().await {
        tracing::debug!(%error, "objects of the store check stay");
    }
    outcome
}

async fn race(store: &dyn ObjectStore, folder: &Path) -> Result<(), StoreCheckError> {
    let failed = |source| StoreCheckError::Failed { source: Box::new(source) };
    let (mut round, mut without_winner) = (1, 0);
    while round <= ROUNDS {
        let path = folder.clone().join(format!("race-{round}-{without_winner}"));
        let results = join_all((0..WRITERS).map(|writer| {
            let payload = PutPayload::from(format!("writer {writer}").into_bytes());
            let path = path.clone();
            async move { store.put_opts(&path, payload, PutMode::Create.into()).await }
        }))
        .await;
        let mut winners = 0;
        for result in results {
            match result {
                Ok(_) => winners += 1,
                Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {}
                Err(source) => return Err(failed(source)),
            }
        }
        match winners {
            1 => round += 1,
            // The answer to the winner may have got lost, and its client tried again.
            0 if without_winner < LOST_ANSWERS => without_winner += 1,
            _ => return Err(StoreCheckError::Winners { winners, round }),
        }
    }
    let path = folder.clone().join("replaced");
    let first = store.put(&path, PutPayload::from_static(b"one")).await.map_err(failed)?;
    let first = UpdateVersion::from(first);
    let second = PutPayload::from_static(b"two");
    match store.put_opts(&path, second, PutMode::Update(first.clone()).into()).await {
        Ok(_) => {}
        Err(error @ (Error::NotImplemented { .. } | Error::Precondition { .. })) => {
            return Err(StoreCheckError::Replacement { what: error.to_string() });
        }
        Err(source) => return Err(failed(source)),
    }
    let third = PutPayload::from_static(b"three");
    match store.put_opts(&path, third, PutMode::Update(first).into()).await {
        Err(Error::Precondition { .. } | Error::AlreadyExists { .. }) => Ok(()),
        Ok(_) => Err(StoreCheckError::Replacement {
            what: "an object was replaced that had changed in between".to_owned(),
        }),
        Err(source) => Err(failed(source)),
    }
}
