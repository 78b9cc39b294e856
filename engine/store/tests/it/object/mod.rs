//! Lakes on object storage: in a store of this process that fails on demand, and on a server that speaks S3.

mod faults;
mod faulty_store;
mod lease;
mod lifecycle;
mod moto;
mod reads;
mod s3;

pub(crate) use moto::store as store_on;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::WriterSequence;
use object_store::ObjectStore;
use store::{LeaseTimes, Location, Snapshot, Store, StoreConfig, open_snapshot, verify};

use crate::lake::{batch, create, key};

/// Short enough for tests, long enough for a machine that does other things as well.
pub(crate) const LEASE: LeaseTimes = LeaseTimes {
    renew_every: Duration::from_millis(300),
    time_to_live: Duration::from_secs(3),
    margin: Duration::from_secs(1),
};

/// Step of each point of a run, and the bits of its value.
type Points = BTreeMap<i64, u64>;

fn location(store: &Arc<dyn ObjectStore>, state: &Path) -> Location {
    let url = "s3://bucket/team/läke".parse().unwrap();
    Location::in_store(url, Arc::clone(store)).unwrap().with_state_folder(Some(state.to_owned()))
}

fn config(location: &Location, owner: &str) -> StoreConfig {
    StoreConfig {
        owner: owner.to_owned(),
        lease: LEASE,
        wal_file_bytes: 1 << 20,
        ..StoreConfig::new(location, Arc::new(|| 1_000_000))
    }
}

async fn open(location: &Location) -> Store {
    Store::open(config(location, "a test")).await.unwrap()
}

fn value(step: i64) -> f64 {
    (step as f64).sqrt()
}

/// Appends one point under its own number.
async fn append(store: &Store, step: i64) -> store::Result<()> {
    let sequence = WriterSequence::new("trainer", step as u64).unwrap();
    store.append(batch(1, "loss", &[(step, value(step))]), Some(sequence)).await.map(drop)
}

async fn points_of(snapshot: &Snapshot) -> Points {
    let mut found = Points::new();
    for point in snapshot.series_points(&key(1, "loss")).await.unwrap().iter() {
        assert_eq!(
            found.insert(point.step, point.value.to_bits()),
            None,
            "step {} is there twice",
            point.step
        );
    }
    found
}

fn expected(steps: impl IntoIterator<Item = i64>) -> Points {
    steps.into_iter().map(|step| (step, value(step).to_bits())).collect()
}

/// What must hold on every store.
async fn check_lake(store: &Arc<dyn ObjectStore>) {
    let (state, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (here, there) = (location(store, state.path()), location(store, elsewhere.path()));
    assert_eq!(open_snapshot(&here).await.unwrap_err().code(), "lake.absent");
    let lake = open(&here).await;
    lake.apply(vec![create(1)], None).await.unwrap();
    for step in 0..5 {
        append(&lake, step).await.unwrap();
    }
    assert_eq!(lake.flush().await.unwrap().points, 5);
    for step in 5..8 {
        append(&lake, step).await.unwrap();
    }
    // Readers: with the log of this machine, and without it.
    assert_eq!(points_of(&open_snapshot(&here).await.unwrap()).await, expected(0..8));
    assert_eq!(points_of(&open_snapshot(&there).await.unwrap()).await, expected(0..5));
    assert_eq!(points_of(&lake.snapshot()).await, expected(0..8));
    lake.close().await;

    let lake = open(&here).await;
    assert_eq!(points_of(&lake.snapshot()).await, expected(0..8));
    append(&lake, 7).await.unwrap();
    lake.flush().await.unwrap();
    lake.close().await;
    assert_eq!(points_of(&open_snapshot(&there).await.unwrap()).await, expected(0..8));
    // Another machine goes on, since nothing was left in the log of the first; and then the first one again.
    let lake = open(&there).await;
    append(&lake, 8).await.unwrap();
    lake.flush().await.unwrap();
    lake.close().await;
    let lake = open(&here).await;
    append(&lake, 9).await.unwrap();
    assert_eq!(points_of(&lake.snapshot()).await, expected(0..10));
    lake.close().await;
    let report = verify(&here).await.unwrap();
    assert_eq!(report.findings, []);
    assert_eq!((report.points, report.runs), (10, 1));
}
