//! Backups beside a writer, restored and compared.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use store::disk::{Fault, FaultyDisk, RealDisk};
use store::{BackupReport, RestoreReport, Store, StoreError, open_snapshot, verify};

use crate::lake::{batch, config, create, key};
use crate::sample;

async fn back_up(lake: &Path, destination: &Path) -> BackupReport {
    store::backup(lake, destination, Arc::new(RealDisk), Arc::new(|| 77), None).await.unwrap()
}

fn restore(source: &Path, target: &Path) -> Result<RestoreReport, StoreError> {
    let disk: Arc<dyn store::disk::Disk> = Arc::new(RealDisk);
    store::restore(source, target, None, &disk, None)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_beside_a_writer_holds_all_that_was_acknowledged_before_it_and_no_half_of_a_batch() {
    const BATCH: i64 = 20;
    let folder = tempfile::tempdir().unwrap();
    let (lake, copies) = (folder.path().join("lake"), folder.path().join("copies"));
    let config = store::StoreConfig { flush_bytes: 40_000, ..config(&lake) };
    let store = Store::open(config).await.unwrap();
    store.apply(vec![create(1), create(2)], None).await.unwrap();
    let acknowledged = Arc::new([AtomicI64::new(0), AtomicI64::new(0)]);
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..2_usize)
        .map(|writer| {
            let (store, acknowledged, stop) = (store.clone(), Arc::clone(&acknowledged), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut step = 0;
                while !stop.load(Ordering::Relaxed) {
                    let points: Vec<_> = (step..step + BATCH).map(|s| (s, s as f64)).collect();
                    store.append(batch(writer as u128 + 1, "loss", &points), None).await.unwrap();
                    step += BATCH;
                    acknowledged[writer].store(step, Ordering::Release);
                }
            })
        })
        .collect();
    let mut reports = Vec::new();
    for round in 0..3 {
        let started = std::time::Instant::now();
        let goal = acknowledged[0].load(Ordering::Acquire) + 40 * BATCH;
        while acknowledged[0].load(Ordering::Acquire) < goal && started.elapsed().as_secs() < 20 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        if round == 1 {
            store.flush().await.unwrap();
        }
        let before: Vec<i64> = acknowledged.iter().map(|count| count.load(Ordering::Acquire)).collect();
        let report = back_up(&lake, &copies).await;
        let target = folder.path().join(format!("restored-{round}"));
        let restored = restore(&copies, &target).unwrap();
        assert_eq!((restored.last_seq, restored.files, restored.time), (report.last_seq, report.files, 77));
        assert_eq!(verify(&target).await.unwrap().findings, []);
        for snapshot in [
            open_snapshot(&target).await.unwrap(),
            Store::open(self::config(&target)).await.unwrap().snapshot(),
        ] {
            for (writer, before) in before.iter().enumerate() {
                let points = snapshot.series_points(&key(writer as u128 + 1, "loss")).await.unwrap();
                let count = points.len() as i64;
                assert!(count >= *before, "{before} points were acknowledged, {count} are in the backup");
                assert_eq!(count % BATCH, 0, "half of a batch");
                assert!(points.iter().enumerate().all(|(i, p)| p.step == i as i64 && p.value == i as f64));
            }
        }
        reports.push(report);
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    store.close().await;
    println!("{reports:?}");
    // Nothing changes any more: a second backup in a row copies nothing but what has no name yet.
    let first = back_up(&lake, &copies).await;
    let second = back_up(&lake, &copies).await;
    assert_eq!((second.copied_files, second.copied_bytes), (0, 0), "{second:?}");
    assert_eq!((second.last_seq, second.files, second.bytes), (first.last_seq, first.files, first.bytes));
}

#[tokio::test]
async fn a_restored_lake_is_the_lake_and_a_target_that_holds_anything_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, copies, target) =
        (folder.path().join("lake"), folder.path().join("copies"), folder.path().join("target"));
    sample::build(&lake).await;
    let expected = sample::content(&open_snapshot(&lake).await.unwrap()).await.unwrap();
    back_up(&lake, &copies).await;
    std::fs::create_dir(&target).unwrap();
    std::fs::write(target.join("precious"), "x").unwrap();
    let refused = restore(&copies, &target).unwrap_err();
    assert!(refused.to_string().contains("not empty"), "{refused}");
    assert_eq!(std::fs::read(target.join("precious")).unwrap(), b"x");
    std::fs::remove_file(target.join("precious")).unwrap();
    restore(&copies, &target).unwrap();
    assert_eq!(sample::content(&open_snapshot(&target).await.unwrap()).await.unwrap(), expected);
    let store = Store::open(sample::sample_config(&target)).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(sample::content(&store.snapshot()).await.unwrap(), expected);
    store.close().await;
    let nothing = restore(folder.path(), &folder.path().join("new")).unwrap_err();
    assert!(nothing.to_string().contains("no backup"), "{nothing}");
}

#[tokio::test]
async fn a_damaged_backup_is_refused_by_name_and_leaves_the_target_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, copies) = (folder.path().join("lake"), folder.path().join("copies"));
    sample::build(&lake).await;
    let report = back_up(&lake, &copies).await;
    let mut files = vec![report.manifest.clone()];
    let mut folders = vec![copies.join("files")];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    assert!(files.len() > 20);
    for (number, file) in files.iter().enumerate() {
        let bytes = std::fs::read(file).unwrap();
        let mut damaged = bytes.clone();
        damaged[bytes.len() / 2] ^= 4;
        std::fs::write(file, damaged).unwrap();
        let target = folder.path().join(format!("target-{number}"));
        let error = restore(&copies, &target).unwrap_err().to_string();
        assert!(error.contains(file.file_name().unwrap().to_str().unwrap()), "{error}");
        assert!(!target.exists());
        std::fs::write(file, bytes).unwrap();
    }
    restore(&copies, &folder.path().join("target")).unwrap();
}

/// A lake into which nothing was written yet has no log file, and a backup holds no empty folder.
#[tokio::test]
async fn a_new_lake_comes_back_as_a_lake() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, copies, target) =
        (folder.path().join("lake"), folder.path().join("copies"), folder.path().join("target"));
    Store::open(config(&lake)).await.unwrap().close().await;
    back_up(&lake, &copies).await;
    restore(&copies, &target).unwrap();
    assert_eq!(open_snapshot(&target).await.unwrap().registry().runs().len(), 0);
    assert_eq!(verify(&target).await.unwrap().findings, []);
    let store = Store::open(config(&target)).await.unwrap();
    store.apply(vec![create(1)], None).await.unwrap();
    store.close().await;
}

/// A process that was killed may leave files of a backup with names that are not durable. The next backup takes them as
/// they are, and the power may fail behind it.
#[tokio::test]
async fn a_backup_makes_the_names_durable_that_it_found() {
    let lake = Path::new("/lake");
    let prepared = FaultyDisk::new();
    let settings = |disk: &FaultyDisk| store::StoreConfig {
        disk: Arc::new(disk.process()),
        wal_file_bytes: 16 << 10,
        ..config(lake)
    };
    let store = Store::open(settings(&prepared)).await.unwrap();
    store.apply(vec![create(1)], None).await.unwrap();
    store.append(batch(1, "loss", &[(0, 0.5)]), None).await.unwrap();
    store.flush().await.unwrap();
    store.close().await;
    let copy = async |disk: &FaultyDisk| {
        store::backup(lake, Path::new("/copies"), Arc::new(disk.process()), Arc::new(|| 77), None).await
    };
    let whole = prepared.copy();
    copy(&whole).await.unwrap();
    let operations = whole.operations() - prepared.operations();
    // Among the last ones is a file that is alone in its folder.
    for at in operations - 16..operations {
        let disk = prepared.copy();
        disk.fail_at(disk.operations() + at, Fault::PowerCut);
        assert!(copy(&disk).await.is_err());
        // Only the process is dead.
        disk.kill();
        copy(&disk).await.unwrap();
        disk.crash_to_synced();
        let disk: Arc<dyn store::disk::Disk> = Arc::new(disk.process());
        store::restore(Path::new("/copies"), Path::new("/target"), None, &disk, None)
            .unwrap_or_else(|error| panic!("killed at operation {at}: {error}"));
    }
}
