//! The sources keep to what makes them testable: files only through `Disk`, times only from the injected clock.

use std::path::{Path, PathBuf};

/// What would go past the disk or the clock that tests inject.
const FORBIDDEN: [&str; 5] = ["std::fs", "tokio::fs", "std::os::unix::fs", "SystemTime::now", "Utc::now"];

fn source_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            source_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every source file outside of tests, as its path below `src` and its text without the test module at its end.
pub(crate) fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    source_files(&root, &mut files);
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
        (name, code)
    };
    files.into_iter().map(read).filter(|(name, _)| !name.ends_with("tests.rs")).collect()
}

#[test]
fn files_and_times_come_only_from_what_tests_can_replace() {
    let sources = sources();
    assert!(sources.len() > 30, "only {} files were found", sources.len());
    let mut offences = Vec::new();
    for (name, code) in sources.iter().filter(|(name, _)| name != "disk/real.rs") {
        for (number, line) in code.lines().enumerate() {
            let line = line.trim_start();
            if !line.starts_with("//") && FORBIDDEN.iter().any(|word| line.contains(word)) {
                offences.push(format!("src/{name}:{}: {line}", number + 1));
            }
        }
    }
    assert!(
        offences.is_empty(),
        "use disk::Disk and the clock of StoreConfig instead:\n{}",
        offences.join("\n")
    );
}
