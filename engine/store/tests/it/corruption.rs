//! Damage to every kind of file: the lake gives exactly its rows, or an error or a finding that names the file. Never a
//! wrong value, never in silence.
//!
//! A few dozen trials by default, spread over all kinds of files; `RUNLAKE_CORRUPTION=all` damages every byte of small
//! files and many of large ones, a number makes that many trials. `RUNLAKE_TEST_SEED` repeats a run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use store::{Store, open_snapshot, verify};

use crate::lake::seed;
use crate::random::Random;
use crate::sample;

/// How a file is damaged.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Flip { byte: usize, bit: u8 },
    ZeroedPage { start: usize },
    Cut { length: usize },
    Emptied,
    Deleted,
}

impl Damage {
    fn apply(self, path: &Path, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        match self {
            Self::Flip { byte, bit } => bytes[byte] ^= 1 << bit,
            Self::ZeroedPage { start } => {
                let end = (start + 4096).min(bytes.len());
                bytes[start..end].fill(0);
            }
            Self::Cut { length } => bytes.truncate(length),
            Self::Emptied => bytes.clear(),
            Self::Deleted => return std::fs::remove_file(path).unwrap(),
        }
        std::fs::write(path, bytes).unwrap();
    }
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(root).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn kind(file: &Path, files: &[PathBuf]) -> String {
    let name = file.to_string_lossy();
    let table = name.split('/').nth(1).unwrap_or_default().to_owned();
    let is_last = |prefix: &str, suffix: &str| {
        files
            .iter()
            .rfind(|f| f.to_string_lossy().starts_with(prefix) && f.to_string_lossy().ends_with(suffix))
            == Some(&file.to_owned())
    };
    match () {
        () if name.starts_with("wal/") && is_last("wal/", ".log") => "spare log file".to_owned(),
        () if name.starts_with("wal/") => "log file".to_owned(),
        () if name.ends_with("_last_checkpoint") => "_last_checkpoint".to_owned(),
        () if name.contains(".checkpoint.") => "checkpoint".to_owned(),
        () if name.contains("_delta_log") && name.ends_with("00000000000000000000.json") => {
            "first commit".to_owned()
        }
        () if name.contains("_delta_log") && is_last(&format!("tables/{table}/_delta_log/"), ".json") => {
            "last commit".to_owned()
        }
        () if name.contains("_delta_log") => "commit".to_owned(),
        () if name.ends_with(".parquet") => format!("data of {table}"),
        () => name.into_owned(),
    }
}

fn copy(from: &Path, to: &Path, files: &[PathBuf]) {
    for file in files {
        let target = to.join(file);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        // What is behind the last byte that was written is a hole, and the copy has one as well.
        let bytes = std::fs::read(from.join(file)).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        std::fs::write(&target, &bytes[..used]).unwrap();
        std::fs::File::options().write(true).open(&target).unwrap().set_len(bytes.len() as u64).unwrap();
    }
}

/// What a damaged lake did.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// The rows are the same.
    Same,
    /// An error or a finding named the file.
    Named,
    /// Other rows, or a part of them.
    Wrong(String),
    /// Something failed, and nothing named the file.
    Silent(String),
}

async fn judge(root: &Path, file: &Path, expected: &str) -> Outcome {
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let named = match verify(root).await {
        Ok(report) => report.findings.iter().any(|finding| finding.to_string().contains(&name)),
        Err(error) => error.to_string().contains(&name),
    };
    // A reader beside a writer, then the next writer itself.
    let read = match open_snapshot(root).await {
        Ok(snapshot) => sample::content(&snapshot).await,
        Err(error) => Err(error),
    };
    let written = match Store::open(sample::sample_config(root)).await {
        Ok(store) => {
            let content = sample::content(&store.snapshot()).await;
            store.close().await;
            content
        }
        Err(error) => Err(error),
    };
    let mut all_same = true;
    for (who, outcome) in [("reader", read), ("writer", written)] {
        match outcome {
            Ok(content) if content == expected => {}
            Ok(content) => {
                let line = content.lines().zip(expected.lines()).find(|(a, b)| a != b);
                let lines = (content.lines().count(), expected.lines().count());
                return Outcome::Wrong(format!(
                    "{who}: lines {lines:?}, first difference {line:?}, named: {named}"
                ));
            }
            Err(error) => {
                all_same = false;
                if !named && !error.to_string().contains(&name) {
                    return Outcome::Silent(format!("{who}: {error}"));
                }
            }
        }
    }
    if all_same { Outcome::Same } else { Outcome::Named }
}

fn damages(bytes: &[u8], all: bool, random: &mut Random) -> Vec<Damage> {
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut damages = vec![Damage::Emptied, Damage::Deleted];
    if used > 0 {
        damages.push(Damage::Cut { length: random.index(used) });
        damages.push(Damage::Cut { length: used - 1 });
        damages.push(Damage::ZeroedPage { start: random.index(used / 4096 + 1) * 4096 });
        let flips = if all { used.min(3000) } else { 5 };
        for flip in 0..flips {
            let byte = if all && used <= 3000 { flip } else { random.index(used) };
            damages.push(Damage::Flip { byte, bit: random.below(8) as u8 });
        }
    } else if !bytes.is_empty() {
        damages.push(Damage::Flip { byte: random.index(bytes.len()), bit: random.below(8) as u8 });
    }
    damages
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_to_any_file_is_named_and_never_gives_a_wrong_value() {
    let seed = seed();
    let wanted = std::env::var("RUNLAKE_CORRUPTION").unwrap_or_default();
    let all = wanted == "all";
    let most = if all { usize::MAX } else { wanted.parse().unwrap_or(24) };
    let mut random = Random::new(seed);
    let folder = tempfile::tempdir().unwrap();
    let sound = folder.path().join("sound");
    sample::build(&sound).await;
    let files = files(&sound);
    let expected = sample::content(&open_snapshot(&sound).await.unwrap()).await.unwrap();
    let mut figures: BTreeMap<String, [u64; 4]> = BTreeMap::new();
    let mut failures = Vec::new();
    let contents: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(sound.join(file)).unwrap()).collect();
    let mut trials: BTreeMap<String, Vec<(usize, Damage)>> = BTreeMap::new();
    for (index, bytes) in contents.iter().enumerate() {
        let of_kind = trials.entry(kind(&files[index], &files)).or_default();
        of_kind.extend(damages(bytes, all, &mut random).into_iter().map(|damage| (index, damage)));
    }
    // One of each kind in turn, so that a few trials touch every kind of file.
    let mut chosen = Vec::new();
    while chosen.len() < most && trials.values().any(|of_kind| !of_kind.is_empty()) {
        for of_kind in trials.values_mut().filter(|of_kind| !of_kind.is_empty()) {
            chosen.push(of_kind.swap_remove(random.index(of_kind.len())));
        }
    }
    for (trial, (index, damage)) in chosen.iter().enumerate() {
        let (file, bytes) = (&files[*index], &contents[*index]);
        let root = folder.path().join(format!("trial-{trial}"));
        copy(&sound, &root, &files);
        damage.apply(&root.join(file), bytes);
        let outcome = judge(&root, file, &expected).await;
        let counts = figures.entry(kind(file, &files)).or_default();
        match outcome {
            Outcome::Same => counts[0] += 1,
            Outcome::Named => counts[1] += 1,
            Outcome::Wrong(what) => {
                counts[2] += 1;
                failures.push(format!("{} {damage:?}: WRONG {what}", file.display()));
            }
            Outcome::Silent(what) => {
                counts[3] += 1;
                failures.push(format!("{} {damage:?}: SILENT {what}", file.display()));
            }
        }
        std::fs::remove_dir_all(root).unwrap();
    }
    let trial = chosen.len();
    println!("{:<24} {:>6} {:>6} {:>6} {:>6}", "file", "same", "named", "wrong", "silent");
    for (kind, [same, named, wrong, silent]) in &figures {
        println!("{kind:<24} {same:>6} {named:>6} {wrong:>6} {silent:>6}");
    }
    println!("seed {seed}: {trial} trials, {} wrong or silent", failures.len());
    assert!(failures.is_empty(), "seed {seed}: {} of {trial}\n{}", failures.len(), failures.join("\n"));
    assert!(trial >= figures.len());
}

#[tokio::test]
async fn a_key_of_the_first_commit_that_changed_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("lake");
    sample::build(&root).await;
    let name = "00000000000000000000.json";
    let file = root.join("tables/points/_delta_log").join(name);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("\"configuration\""));
    std::fs::write(&file, text.replace("\"configuration\"", "\"configuratinn\"")).unwrap();
    let report = verify(&root).await.unwrap();
    assert!(
        report.findings.iter().any(|finding| finding.to_string().contains(name)),
        "{:?}",
        report.findings
    );
    let refused = Store::open(sample::sample_config(&root)).await.unwrap_err();
    assert!(refused.to_string().contains(name), "{refused}");
}
