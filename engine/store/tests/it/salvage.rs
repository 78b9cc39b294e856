//! A log with damage below the synced mark: the open stops, salvage keeps what is readable and names what is lost.

use std::sync::Arc;

use store::disk::RealDisk;
use store::{Store, open_snapshot, verify};

use crate::lake::{batch, config, create, key, open, run_id};

async fn salvage(root: &std::path::Path) -> store::SalvageReport {
    store::salvage(root, Arc::new(RealDisk), "a test").await.unwrap()
}

#[tokio::test]
async fn salvage_keeps_everything_but_the_damaged_records_and_the_lake_opens() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.apply(vec![create(1)], None).await.unwrap();
    for step in 0..30 {
        store.append(batch(1, "loss", &[(step, step as f64)]), None).await.unwrap();
    }
    store.apply(vec![create(2)], None).await.unwrap();
    store.append(batch(2, "loss", &[(5, 5.0)]), None).await.unwrap();
    store.close().await;
    assert_eq!(salvage(folder.path()).await, store::SalvageReport::default());

    // Record 11 holds step 9; record 32 makes run 2.
    let log = folder.path().join("wal/00000000000000000001.log");
    let original = std::fs::read(&log).unwrap();
    let mut bytes = original.clone();
    let frames = frames(&bytes);
    for seq in [11, 32] {
        bytes[frames[seq - 1] + 34] ^= 1;
    }
    std::fs::write(&log, &bytes).unwrap();
    let refused = Store::open(config(folder.path())).await.unwrap_err();
    assert_eq!(refused.code(), "wal.corrupt");
    let report = verify(folder.path()).await.unwrap();
    let damaged: Vec<_> = report.findings.iter().filter(|finding| finding.code == "log.damaged").collect();
    assert_eq!(damaged.len(), 2, "{:#?}", report.findings);
    assert!(damaged[0].what.contains("records 11 to 11"), "{damaged:?}");

    let salvaged = salvage(folder.path()).await;
    assert_eq!(salvaged.lost, [11..=11, 32..=32]);
    assert_eq!(salvaged.files.len(), 1);
    assert_eq!(std::fs::read(folder.path().join("wal").join(&salvaged.files[0].kept)).unwrap(), bytes);
    assert_eq!(salvaged.left_out.len(), 1);
    assert_eq!(verify(folder.path()).await.unwrap().findings, []);
    for flush in [true, false] {
        let store = open(folder.path()).await;
        let snapshot = store.snapshot();
        let steps: Vec<i64> = snapshot.series_points(&key(1, "loss")).await.unwrap().steps;
        assert_eq!(steps, (0..30).filter(|step| *step != 9).collect::<Vec<_>>());
        assert_eq!(snapshot.series_points(&key(2, "loss")).await.unwrap().values, [5.0]);
        let run = snapshot.registry().run(run_id(2)).unwrap();
        assert_eq!(run.experiment().as_str(), "salvaged");
        if flush {
            store.flush().await.unwrap();
        }
        store.close().await;
    }
    assert_eq!(verify(folder.path()).await.unwrap().findings, []);
}

#[tokio::test]
async fn missing_cut_and_headless_log_files_are_salvaged() {
    for damage in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let mut expected = Vec::new();
        for round in 0..4_i64 {
            let store = open(folder.path()).await;
            store.apply(vec![create(1)], None).await.unwrap();
            for step in round * 10..round * 10 + 10 {
                store.append(batch(1, "loss", &[(step, 0.5)]), None).await.unwrap();
                expected.push(step);
            }
            store.close().await;
        }
        let log = |number: u64| folder.path().join(format!("wal/{number:020}.log"));
        let lost = match damage {
            0 => {
                std::fs::remove_file(log(2)).unwrap();
                10..20
            }
            1 => {
                let bytes = std::fs::read(log(3)).unwrap();
                // The run again, then four points.
                std::fs::write(log(3), &bytes[..frames(&bytes)[5]]).unwrap();
                24..30
            }
            2 => {
                let mut bytes = std::fs::read(log(2)).unwrap();
                bytes[20] ^= 1;
                std::fs::write(log(2), bytes).unwrap();
                0..0
            }
            _ => {
                let mut bytes = std::fs::read(log(4)).unwrap();
                let cut = frames(&bytes)[5] + 3;
                bytes.truncate(cut);
                std::fs::write(log(4), bytes).unwrap();
                34..40
            }
        };
        assert!(Store::open(config(folder.path())).await.is_err(), "{damage}");
        let report = salvage(folder.path()).await;
        assert_eq!(report.files.len(), 1, "{damage}: {report:?}");
        assert_eq!(verify(folder.path()).await.unwrap().findings, [], "{damage}");
        let store = open(folder.path()).await;
        let steps = store.snapshot().series_points(&key(1, "loss")).await.unwrap().steps;
        expected.retain(|step| !lost.contains(step));
        assert_eq!(steps, expected, "{damage}");
        store.append(batch(1, "loss", &[(99, 0.5)]), None).await.unwrap();
        store.flush().await.unwrap();
        store.close().await;
        assert_eq!(
            open_snapshot(folder.path()).await.unwrap().series_points(&key(1, "loss")).await.unwrap().len(),
            expected.len() + 1
        );
    }
}

/// The offsets of the frames of a log file.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let mut offsets = Vec::new();
    let mut offset = 80;
    loop {
        let length = bytes.get(offset + 4..offset + 8).map_or([0; 4], |length| length.try_into().unwrap());
        let length = u32::from_le_bytes(length) as usize;
        if length == 0 {
            return offsets;
        }
        offsets.push(offset);
        offset += length.next_multiple_of(8);
    }
}
