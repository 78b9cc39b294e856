//! Where the policy of a gate stands.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use runlake::analysis::GatePolicy;

use crate::exit::UsageError;

/// The file that is taken when none is named.
const DEFAULT_FILE: &str = "runlake.toml";

/// The folder whose only file is taken when there is no [`DEFAULT_FILE`].
const DEFAULT_FOLDER: &str = "gates";

/// A policy is read up to this size.
const BYTES_MAX: u64 = 4 << 20;

/// The named file, else the one of the working folder.
pub(super) fn find(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(file) = named {
        return Ok(file.to_owned());
    }
    let default = Path::new(DEFAULT_FILE);
    if default.is_file() {
        return Ok(default.to_owned());
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(DEFAULT_FOLDER)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| matches!(path.extension().and_then(|e| e.to_str()), Some("toml" | "json")))
        .collect();
    files.sort();
    match &files[..] {
        [only] => Ok(only.clone()),
        [] => Err(UsageError(
            "what is to be judged? give --metric and --direction, or --policy FILE (there is no runlake.toml here and no gates/*.toml)"
                .to_owned(),
        )
        .into()),
        several => {
            let names: Vec<String> = several.iter().map(|file| file.display().to_string()).collect();
            Err(UsageError(format!("which policy? give --policy with one of {}", names.join(", "))).into())
        }
    }
}

/// Reads a policy: JSON by the end of the file's name, else TOML.
pub(super) fn read(file: &Path) -> anyhow::Result<GatePolicy> {
    let shown = file.display();
    let unreadable = |error: std::io::Error| UsageError(format!("cannot read the policy {shown}: {error}"));
    let bytes = std::fs::metadata(file).map_err(unreadable)?.len();
    if bytes > BYTES_MAX {
        return Err(UsageError(format!(
            "the policy {shown} has {bytes} bytes; at most {BYTES_MAX} are read"
        ))
        .into());
    }
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    let is_json = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let policy = if is_json { GatePolicy::from_json(&text) } else { GatePolicy::from_toml(&text) };
    policy.map_err(runlake::Error::from).with_context(|| format!("policy {shown}"))
}
