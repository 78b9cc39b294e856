//! Which segments the snapshots of this process may still read.

use std::collections::HashSet;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use url::Url;

use crate::catalog::TableVersion;

/// The versions of `points` in use, with the root of their lake. Dead ones go when the list has doubled.
static VERSIONS: Mutex<Versions> = Mutex::new(Versions { held: Vec::new(), clean_at: 64 });

struct Versions {
    held: Vec<(Url, Weak<TableVersion>)>,
    clean_at: usize,
}

/// Notes that a snapshot of the lake holds this version.
pub(crate) fn note(root: &Url, points: &Arc<TableVersion>) {
    let mut versions = VERSIONS.lock();
    if versions.held.iter().any(|(_, held)| std::ptr::eq(held.as_ptr(), Arc::as_ptr(points))) {
        return;
    }
    versions.held.push((root.clone(), Arc::downgrade(points)));
    if versions.held.len() >= versions.clean_at {
        versions.held.retain(|(_, held)| held.strong_count() > 0);
        versions.clean_at = 64.max(2 * versions.held.len());
    }
}

/// The files of `points` that snapshots of the lake hold.
pub(crate) fn files(root: &Url) -> HashSet<String> {
    let held: Vec<_> = {
        let versions = VERSIONS.lock();
        versions.held.iter().filter(|(of, _)| of == root).filter_map(|(_, held)| held.upgrade()).collect()
    };
    held.iter().flat_map(|version| version.files.iter().map(|file| file.path.clone())).collect()
}
