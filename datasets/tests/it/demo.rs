//! The demo corpus unpacks to what `truth.json` and the catalogue say it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use datasets::unpack_demo_corpus;
use serde_json::Value;
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    WalkDir::new(root)
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            let name = entry.path().strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// Unpacked once, into a folder that did not exist: thousands of small files are slow on a busy disk.
static UNPACKED: LazyLock<BTreeMap<String, Vec<u8>>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("new/demo");
    unpack_demo_corpus(&into).unwrap();
    files(&into)
});

#[test]
fn unpacked_files_are_the_committed_ones() {
    let mut committed = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("demo-corpus"));
    committed.retain(|name, _| {
        ["mlflow/", "tensorboard/"].iter().any(|part| name.starts_with(part))
            || ["README.md", "truth.json"].contains(&name.as_str())
    });
    assert!(committed.len() > 2000, "{} files", committed.len());
    assert_eq!(UNPACKED.keys().collect::<Vec<_>>(), committed.keys().collect::<Vec<_>>());
    assert!(*UNPACKED == committed, "contents differ");
}

#[test]
fn unpacking_again_mends_and_leaves_other_files_alone() {
    let folder = tempfile::tempdir().unwrap();
    unpack_demo_corpus(folder.path()).unwrap();
    fs::write(folder.path().join("truth.json"), "spoilt").unwrap();
    fs::write(folder.path().join("mine.txt"), "kept").unwrap();
    unpack_demo_corpus(folder.path()).unwrap();
    let mut after = files(folder.path());
    assert_eq!(after.remove("mine.txt").as_deref(), Some(b"kept".as_slice()));
    assert!(after == *UNPACKED);
}

#[test]
fn an_impossible_place_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let message = unpack_demo_corpus(&file.join("below")).unwrap_err().to_string();
    assert!(message.contains("cannot write the demo corpus to") && message.contains("below"), "{message}");
}

#[test]
fn truth_counts_the_files_on_disk() {
    let files = &*UNPACKED;
    let truth: Value = serde_json::from_slice(&files["truth.json"]).unwrap();
    let under = |part: &str| {
        let marker = format!("/{part}/");
        files.keys().filter(|name| name.starts_with("mlflow/") && name.contains(&marker)).collect::<Vec<_>>()
    };
    let mlflow = &truth["mlflow"];
    assert_eq!(mlflow["params"], under("params").len());
    // Experiments have tags of their own; a run's folder is one level deeper.
    let run_tags = under("tags").into_iter().filter(|name| name.split('/').nth(3) == Some("tags"));
    assert_eq!(mlflow["tags"], run_tags.count());
    assert_eq!(mlflow["series"], under("metrics").len());
    let lines = |name: &&String| files[*name].iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(mlflow["points"], under("metrics").iter().map(lines).sum::<usize>());
    let runs = files.keys().filter(|name| name.split('/').count() == 4 && name.ends_with("/meta.yaml"));
    assert_eq!(mlflow["runs"], runs.count());
    let events = files.keys().filter(|name| name.starts_with("tensorboard/"));
    let folders =
        events.map(|name| name.rsplit_once('/').unwrap().0).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(truth["tensorboard"]["runs"], folders.len());
}

#[test]
fn nothing_names_the_machine_that_trained() {
    for (name, contents) in &*UNPACKED {
        let file = name.rsplit('/').next().unwrap();
        assert!(!file.starts_with("events") || file.ends_with(".demo"), "{name}");
        let text = String::from_utf8_lossy(contents);
        for path in ["file:///", "/home/", "/root/", "/tmp/", "/Users/"] {
            assert!(!text.contains(path), "{name} holds {path}");
        }
        if file == "mlflow.user" {
            assert_eq!(text, "runlake");
        }
    }
}

/// The catalogue's figures are those of the committed folder: SHA-256 over the lines `<sha256 of file>  <name>`.
#[test]
fn the_catalogue_describes_the_demo_corpus() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = &*UNPACKED;
    let hex =
        |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut manifest = String::new();
    for (name, contents) in files {
        manifest += &format!("{}  {name}\n", hex(contents));
    }
    let catalogue = fs::read_to_string(here.join("catalog.toml")).unwrap();
    let entry =
        catalogue.split("[[dataset]]").find(|entry| entry.contains("name = \"demo-corpus\"")).unwrap();
    for line in [
        format!("files = {}", files.len()),
        format!("bytes = {}", files.values().map(Vec::len).sum::<usize>()),
        format!("sha256 = \"{}\"", hex(manifest.as_bytes())),
    ] {
        assert!(entry.lines().any(|found| found == line), "catalog.toml should say: {line}");
    }
}
