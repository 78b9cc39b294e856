//! The whole store over a disk that fails and loses power on demand.

use std::path::Path;
use std::sync::Arc;

use store::disk::FaultyDisk;
use store::{Store, StoreConfig, open_snapshot_on, verify_on};

use crate::lake::{batch, create, key};

const ROOT: &str = "/not-on-this-machine/lake";

fn config(disk: &FaultyDisk) -> StoreConfig {
    StoreConfig {
        disk: Arc::new(disk.clone()),
        wal_file_bytes: 32 << 10,
        ..StoreConfig::new(Path::new(ROOT), Arc::new(|| 1_000_000))
    }
}

#[tokio::test]
async fn a_whole_lake_lives_on_the_injected_disk() {
    let disk = FaultyDisk::new();
    for round in 0..3 {
        let store = Store::open(config(&disk)).await.unwrap();
        store.apply(vec![create(1)], None).await.unwrap();
        store.append(batch(1, "loss", &[(round, 0.5)]), None).await.unwrap();
        store.flush().await.unwrap();
        store.append(batch(1, "loss", &[(round, 1.5)]), None).await.unwrap();
        assert!(Store::open(config(&disk)).await.is_err(), "a second writer");
        drop(store);
        disk.crash(round as u64);
    }
    let snapshot = open_snapshot_on(Path::new(ROOT), Arc::new(disk.clone())).await.unwrap();
    assert_eq!(snapshot.series_points(&key(1, "loss")).await.unwrap().len(), 6);
    let report = verify_on(Path::new(ROOT), Arc::new(disk.clone())).await.unwrap();
    assert_eq!((report.findings.as_slice(), report.points), ([].as_slice(), 6));
    assert!(!Path::new(ROOT).exists(), "something went past the disk");
    assert!(disk.files().len() > 30);
}
