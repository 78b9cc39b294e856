//! Damaged data files that the log can give back are set aside and made again; others stay and are named.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::schema::Table;
use store::catalog::Catalog;
use store::disk::RealDisk;
use store::{Layout, Store, open_snapshot, verify};

use crate::lake::{batch, create, open};
use crate::sample;

/// The data files of a table, oldest first.
async fn data_files(root: &Path, table: Table) -> Vec<PathBuf> {
    let version = Catalog::open(root).unwrap().load(table).await.unwrap();
    version.files.iter().map(|file| Layout::new(root).table(table).join(&file.path)).collect()
}

#[tokio::test]
async fn what_the_log_can_give_back_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let sound = folder.path().join("sound");
    sample::build(&sound).await;
    let expected = sample::content(&open_snapshot(&sound).await.unwrap()).await.unwrap();
    for (number, (table, index, delete)) in [
        (Table::Points, 0, false),
        (Table::Points, 1, true),
        (Table::Series, 0, false),
        (Table::Runs, 0, true),
        (Table::Notes, 0, false),
    ]
    .into_iter()
    .enumerate()
    {
        let root = folder.path().join(format!("lake-{number}"));
        sample::copy(&sound, &root);
        let file = data_files(&root, table).await.swap_remove(index);
        if delete {
            std::fs::remove_file(&file).unwrap();
        } else {
            let mut bytes = std::fs::read(&file).unwrap();
            let middle = bytes.len() / 3;
            bytes[middle] ^= 2;
            std::fs::write(&file, bytes).unwrap();
        }
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(verify(&root).await.unwrap().findings.iter().any(|found| found.place.ends_with(name)));
        let report = store::quarantine(&root, Arc::new(RealDisk), "a test").await.unwrap();
        assert_eq!((report.set_aside.len(), report.left.len()), (1, 0), "{report:?}");
        assert!(report.set_aside[0].file.ends_with(name));
        assert_eq!(report.set_aside[0].kept.is_none(), delete);
        if let Some(kept) = &report.set_aside[0].kept {
            assert!(root.join(kept).exists(), "{kept}");
        }
        assert_eq!(
            sample::content(&open_snapshot(&root).await.unwrap()).await.unwrap(),
            expected,
            "{table:?}"
        );
        let store = Store::open(sample::sample_config(&root)).await.unwrap();
        assert_eq!(sample::content(&store.snapshot()).await.unwrap(), expected, "{table:?}");
        store.flush().await.unwrap();
        store.close().await;
        assert_eq!(
            sample::content(&open_snapshot(&root).await.unwrap()).await.unwrap(),
            expected,
            "{table:?}"
        );
        assert_eq!(verify(&root).await.unwrap().findings, [], "{table:?}");
        let again = store::quarantine(&root, Arc::new(RealDisk), "a test").await.unwrap();
        assert_eq!(again, store::QuarantineReport::default());
    }
}

#[tokio::test]
async fn what_the_log_cannot_give_back_stays_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut alone = crate::lake::config(folder.path());
    // Compaction would give the rows of the damaged file another place.
    alone.maintenance.background = false;
    let store = Store::open(alone).await.unwrap();
    store.apply(vec![create(1)], None).await.unwrap();
    for step in 0..5 {
        store.append(batch(1, "loss", &[(step, 0.5)]), None).await.unwrap();
        store.flush().await.unwrap();
    }
    store.close().await;
    let oldest = data_files(folder.path(), Table::Points).await.swap_remove(0);
    let mut bytes = std::fs::read(&oldest).unwrap();
    bytes[50] ^= 1;
    std::fs::write(&oldest, &bytes).unwrap();
    let report = store::quarantine(folder.path(), Arc::new(RealDisk), "a test").await.unwrap();
    assert_eq!((report.set_aside.len(), report.left.len()), (0, 1), "{report:?}");
    assert!(report.left[0].place.ends_with(oldest.file_name().unwrap().to_str().unwrap()));
    assert_eq!(std::fs::read(&oldest).unwrap(), bytes);
    // The rest is readable and the lake is written as before.
    let store = open(folder.path()).await;
    store.append(batch(1, "loss", &[(9, 0.5)]), None).await.unwrap();
    store.flush().await.unwrap();
    store.close().await;
}
