//! Lakes of every format that was ever written, in `datasets/golden/`: each version opens, reads, writes and flushes them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use store::{Snapshot, Store, open_snapshot, verify};

use crate::lake::{batch, key};
use crate::sample;

fn golden() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    root.join("datasets/golden")
}

/// The rows of a lake in words that do not change with the code: one line a run, param, tag, series and point.
async fn rows(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    let registry = snapshot.registry();
    for run in registry.runs().iter().map(store::RunRow::to_run) {
        let (start, parent) = (run.start_time, run.parent);
        writeln!(
            text,
            "run {} {} {} {:?} {} {start:?} {parent:?}",
            run.id, run.project, run.experiment, run.name, run.status
        )
        .unwrap();
        for (key, value) in &run.params {
            writeln!(text, "param {} {:?} {:?}", run.id, key.as_str(), value.as_str()).unwrap();
        }
        for (key, value) in &run.tags {
            writeln!(text, "tag {} {:?} {:?}", run.id, key.as_str(), value.as_str()).unwrap();
        }
    }
    for note in registry.notes() {
        writeln!(text, "note {} {:?} {:?} {}", note.project, note.run, note.text, note.time).unwrap();
    }
    for record in registry.imports() {
        writeln!(
            text,
            "import {} {} {} {}",
            record.kind, record.location, record.content_hash, record.points
        )
        .unwrap();
    }
    let mut keys: Vec<_> = snapshot.series().entries().iter().map(|entry| entry.key()).collect();
    keys.sort();
    for series in keys {
        let statistics = snapshot.series_entry(&series).unwrap().statistics;
        let context = series.context.as_ref().map(|context| context.as_str().to_owned());
        writeln!(
            text,
            "series {} {:?} {context:?} {} {} {:016x}",
            series.run,
            series.metric.as_str(),
            statistics.count,
            statistics.nan_count,
            statistics.fingerprint
        )
        .unwrap();
        for point in snapshot.series_points(&series).await.unwrap().iter() {
            let (step, fraction, time) = (point.step, point.step_fraction, point.time);
            writeln!(text, "{step} {fraction:?} {time} {:016x}", point.value.to_bits()).unwrap();
        }
    }
    text
}

#[tokio::test]
async fn a_lake_of_every_format_opens_reads_writes_and_flushes() {
    let mut formats = 0;
    for entry in std::fs::read_dir(golden()).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        formats += 1;
        let expected = std::fs::read_to_string(folder.join("expected.txt")).unwrap();
        let work = tempfile::tempdir().unwrap();
        sample::copy(&folder.join("lake"), work.path());
        assert_eq!(verify(work.path()).await.unwrap().findings, [], "{}", folder.display());
        assert_eq!(rows(&open_snapshot(work.path()).await.unwrap()).await, expected, "{}", folder.display());
        let store = Store::open(sample::sample_config(work.path())).await.unwrap();
        assert_eq!(rows(&store.snapshot()).await, expected);
        store.append(batch(1, "loss", &[(1_000, 0.25)]), None).await.unwrap();
        store.flush().await.unwrap();
        store.close().await;
        let snapshot = open_snapshot(work.path()).await.unwrap();
        let points = snapshot.series_points(&key(1, "loss")).await.unwrap();
        assert_eq!(points.values.last(), Some(&0.25));
        assert!(rows(&snapshot).await.lines().count() == expected.lines().count() + 1);
        assert_eq!(verify(work.path()).await.unwrap().findings, []);
    }
    assert_eq!(formats, 1, "one folder for each format");
}

#[tokio::test]
async fn newer_formats_are_refused_by_name_of_file_and_version() {
    let work = tempfile::tempdir().unwrap();
    let lake = golden().join("format-1/lake");
    let refused = |change: &dyn Fn(&Path)| {
        let root = work.path().join("lake");
        if root.exists() {
            std::fs::remove_dir_all(&root).unwrap();
        }
        sample::copy(&lake, &root);
        change(&root);
        root
    };
    let root = refused(&|root| {
        let file = r#"{"format": 9, "created_by": "7.8.9", "something": "new"}"#;
        std::fs::write(root.join("runlake.json"), file).unwrap();
    });
    for error in [
        Store::open(sample::sample_config(&root)).await.unwrap_err().to_string(),
        open_snapshot(&root).await.unwrap_err().to_string(),
        verify(&root).await.unwrap_err().to_string(),
    ] {
        assert!(error.contains("written by Runlake 7.8.9, format 9"), "{error}");
    }
    // A log file of format 2, with a right checksum.
    let root = refused(&|root| {
        let newest = newest_log(root);
        let mut bytes = std::fs::read(&newest).unwrap();
        bytes[8] = 2;
        let checksum = crc32c::crc32c(&bytes[..76]);
        bytes[76..80].copy_from_slice(&checksum.to_le_bytes());
        std::fs::write(newest, bytes).unwrap();
    });
    for error in [
        Store::open(sample::sample_config(&root)).await.unwrap_err().to_string(),
        open_snapshot(&root).await.unwrap_err().to_string(),
        verify(&root).await.unwrap().findings[0].to_string(),
    ] {
        assert!(error.contains(".log") && error.contains("format 2") && error.contains("up to 1"), "{error}");
    }
}

/// The newest log file in which anything was written.
fn newest_log(root: &Path) -> PathBuf {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(root.join("wal")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.is_file() && std::fs::read(path).unwrap().iter().any(|byte| *byte != 0));
    files.sort();
    files.pop().unwrap()
}

/// Writes `datasets/golden/format-1` anew. Only for a format that was never released.
#[tokio::test]
#[ignore = "writes into the source tree"]
async fn make_the_golden_lake() {
    let folder = golden().join(format!("format-{}", store::FORMAT));
    let lake = folder.join("lake");
    if lake.exists() {
        std::fs::remove_dir_all(&lake).unwrap();
    }
    sample::build(&lake).await;
    let text = rows(&open_snapshot(&lake).await.unwrap()).await;
    std::fs::write(folder.join("expected.txt"), text).unwrap();
}
