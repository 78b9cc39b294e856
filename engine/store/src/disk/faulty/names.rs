//! The names on a faulty disk, and changes of them that a power cut may lose.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Directory,
    File(u64),
}

#[derive(Debug, Clone)]
pub(super) enum NameChange {
    Add(PathBuf, Name),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, Name),
}

impl Name {
    pub(super) fn file(&self) -> Option<u64> {
        match self {
            Self::File(id) => Some(*id),
            Self::Directory => None,
        }
    }
}

impl NameChange {
    pub(super) fn apply(&self, names: &mut BTreeMap<PathBuf, Name>) {
        match self {
            Self::Add(path, entry) => {
                names.insert(path.clone(), *entry);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
            Self::Rename(from, to, entry) => {
                names.remove(from);
                names.insert(to.clone(), *entry);
                if *entry == Name::Directory {
                    let inside: Vec<PathBuf> =
                        names.keys().filter(|path| path.starts_with(from)).cloned().collect();
                    for path in inside {
                        if let (Some(name), Ok(rest)) = (names.remove(&path), path.strip_prefix(from)) {
                            names.insert(to.join(rest), name);
                        }
                    }
                }
            }
        }
    }
}

pub(super) fn is_root(path: &Path) -> bool {
    path.as_os_str().is_empty() || path.parent().is_none() || path == Path::new(".")
}

pub(super) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

pub(super) fn has_directory(names: &BTreeMap<PathBuf, Name>, path: &Path) -> bool {
    is_root(path) || names.get(path) == Some(&Name::Directory)
}
