//! What changed below a path since it was last looked at, told by sizes and times of files alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use walkdir::WalkDir;

use crate::error::{ImportError, Result};
use crate::limits::Limits;
use crate::source::Unit;

/// The files below a path at one moment, each with its size and when it was last written. Nothing is opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    files: BTreeMap<PathBuf, (u64, Option<SystemTime>)>,
}

impl Survey {
    /// Looks around below a path, as far as [`crate::detect`] does.
    ///
    /// # Errors
    /// When the path is not there or holds more files than the limits allow. What goes away meanwhile is no error.
    pub fn of(path: &Path, limits: &Limits) -> Result<Self> {
        let root = std::fs::canonicalize(path).map_err(ImportError::io(path, "finding the path"))?;
        let mut files = BTreeMap::new();
        let walk = WalkDir::new(&root).follow_links(false).max_depth(limits.depth).into_iter();
        for entry in walk.filter_map(std::result::Result::ok) {
            let Some(metadata) = entry.metadata().ok().filter(std::fs::Metadata::is_file) else { continue };
            files.insert(entry.into_path(), (metadata.len(), metadata.modified().ok()));
            if files.len() > limits.files {
                return Err(ImportError::TooLarge {
                    path: root,
                    what: "the number of files",
                    actual: files.len() as u64,
                    limit: limits.files as u64,
                });
            }
        }
        Ok(Self { files })
    }

    /// The files that are new or other than in an earlier survey.
    pub fn changed_since(&self, before: &Self) -> Vec<PathBuf> {
        let changed = self.files.iter().filter(|(path, state)| before.files.get(*path) != Some(state));
        changed.map(|(path, _)| path.clone()).collect()
    }
}

impl Unit {
    /// Whether reading this unit may give something else when this file changed: it is one of its files, stands below it,
    /// is the archive around it, or the log of changes beside its database.
    pub fn may_read(&self, changed: &Path) -> bool {
        let is_side_file = || {
            let text = changed.as_os_str().as_encoded_bytes();
            text.strip_prefix(self.location.as_os_str().as_encoded_bytes()) == Some(b"-wal")
        };
        changed.starts_with(&self.location)
            || self.location.starts_with(changed)
            || self.files.iter().any(|file| file == changed)
            || is_side_file()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceKind;

    #[test]
    fn grown_and_new_files_are_told_and_their_units_known() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let (log, other) = (root.join("a/log.csv"), root.join("b.db"));
        std::fs::create_dir(root.join("a")).unwrap();
        std::fs::write(&log, "step,loss\n").unwrap();
        let limits = Limits::default();
        let first = Survey::of(&root, &limits).unwrap();
        assert!(Survey::of(&root, &limits).unwrap().changed_since(&first).is_empty());
        std::fs::write(&log, "step,loss\n1,0.5\n").unwrap();
        std::fs::write(&other, "").unwrap();
        let changed = Survey::of(&root, &limits).unwrap().changed_since(&first);
        assert_eq!(changed, [log.clone(), other.clone()]);
        let unit = |path: &Path| Unit::of_file(SourceKind::Csv, path, String::new());
        assert!(unit(&log).may_read(&log) && !unit(&log).may_read(&other));
        assert!(unit(&other).may_read(&root.join("b.db-wal")) && !unit(&other).may_read(&root.join("b.dbx")));
        assert!(unit(&root.join("a")).may_read(&log));
        assert!(unit(&log.join("inner/file")).may_read(&log));
        assert_eq!(Survey::of(&root.join("none"), &limits).unwrap_err().code(), "import.io");
    }
}
