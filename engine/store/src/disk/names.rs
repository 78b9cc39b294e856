//! Names that an earlier process left behind: they are there, and nobody knows whether they are durable.
//!
//! A process that is killed between giving a file its name and syncing the folder leaves a name that every later
//! process sees and that the next power cut may take away. Whoever is about to rely on what it finds (a commit, say,
//! which lets log files be deleted) first syncs the folders.

use std::io;
use std::path::Path;

use super::{Disk, EntryKind};

/// Syncs a folder, all folders below it, and as far as that is allowed the ones above it.
///
/// # Errors
/// Whatever the file system says; of folders above, only what means that names were lost.
pub(crate) fn sync_names(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    for above in folder.ancestors().skip(1) {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        match disk.sync_directory(above) {
            // They are somebody else's, or of a file system that has no such thing as syncing a folder.
            Err(error) if is_foreign(&error) => {}
            other => other?,
        }
    }
    sync_below(disk, folder)
}

fn sync_below(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    for entry in disk.entries(folder)? {
        if entry.kind == EntryKind::Directory {
            sync_below(disk, &folder.join(entry.name))?;
        }
    }
    disk.sync_directory(folder)
}

fn is_foreign(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, NotFound, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    matches!(error.kind(), PermissionDenied | InvalidInput | Unsupported | ReadOnlyFilesystem | NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::FaultyDisk;

    #[test]
    fn names_that_a_dead_process_made_survive_after_they_were_settled() {
        for settled in [false, true] {
            let disk = FaultyDisk::new();
            for folder in ["/a", "/a/lake", "/a/lake/tables"] {
                disk.create_directory(Path::new(folder)).unwrap();
            }
            disk.create(Path::new("/a/lake/tables/file")).unwrap().sync_all().unwrap();
            disk.kill();
            if settled {
                sync_names(&disk, Path::new("/a/lake")).unwrap();
            }
            disk.crash_to_synced();
            assert_eq!(disk.files().len(), usize::from(settled));
        }
    }
}
